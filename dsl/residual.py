"""What is left of a program once some values are known: the rules that can still match, simplified.

Pure and exact: on every snapshot that agrees with the given values what is left decides as the
program does. Terms are simplified only in ways that hold with the unknown: `x or not x` stays, for
x may be unknown. A value that is given as unknown (None) is known to be that.

Over 300 lines because simplifying and the reasons why a rule is gone look at terms in one way.

Law: tests/dsl/test_dsl_residual.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from .core import (
    And,
    Arithmetic,
    CeilDiv,
    Clause,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Program,
    Read,
    Switch,
    Term,
    TextTest,
)
from .interpret.traced import evaluate
from .regions import outcomes
from .schema import Type, Value
from .walk import children, leaves_first

Given = Mapping[str, Value | None]

TRUE, FALSE = Const(True, Type.BOOL), Const(False, Type.BOOL)

# Of conditions with more parts than this only single parts are looked for in the rules before.
_MAX_PARTS = 16


@dataclass(frozen=True, slots=True)
class Dropped:
    """A rule that can match no more, and why: a sentence without its subject."""

    clause: Clause
    reason: str


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of a program, and what is not, both in order.

    Of a clause that is left, `applies` and `test` are what is left of them (`test` None: nothing
    but the kind of request); `index` and `name` are those of the program.
    """

    rules: tuple[Clause, ...]
    dropped: tuple[Dropped, ...]

    def program(self, of: Program) -> Program:
        """What is left as a program; its clauses keep the index that they had."""
        return replace(of, clauses=self.rules)


def residual(program: Program, given: Given) -> Residual:
    """What is left of a program once some of the snapshot's values are known."""
    rules: list[Clause] = []
    dropped: list[Dropped] = []
    taken = _Taken()
    last: Clause | None = None
    for clause in program.clauses:
        if last is not None:
            dropped.append(Dropped(clause, f"`{last.name}` takes every request before it"))
            continue
        applies = firing(simplify(clause.applies, given))
        if outcomes(applies).true is None:
            dropped.append(Dropped(clause, _reason(clause, given)))
            continue
        earlier = taken.by(applies)
        if earlier is not None:
            dropped.append(Dropped(clause, f"`{earlier}` takes these requests before it"))
            continue
        taken.add(applies, clause.name)
        test = None if clause.test is None else firing(simplify(clause.test, given))
        if test is not None and _is_true(test):
            test = None
        rules.append(replace(clause, applies=applies, test=test))
        if _is_true(applies):
            last = clause
    return Residual(tuple(rules), tuple(dropped))


# --- simplifying ---------------------------------------------------------------------------------


def simplify(term: Term, given: Given) -> Term:
    """A term with the same value on every snapshot that agrees with the given values."""
    found: dict[int, Term] = {}
    for part in leaves_first([term]):
        left = _simplified(part, [found[id(child)] for child in children(part)], given)
        if part.span is not None and not isinstance(left, Const) and not _is_written(part):
            left = left if left is part else replace(left, span=part.span)
        found[id(part)] = left
    return found[id(term)]


def firing(term: Term) -> Term:
    """A condition that is true exactly where this one is: a part that is unknown helps nobody.

    Between false and unknown it may differ.
    """
    found: dict[int, tuple[Term, Term]] = {}  # instead of a part: as it stands, and under `not`
    for part in leaves_first([term]):
        below = [found.get(id(child), (child, child)) for child in children(part)]
        pair: tuple[Term, Term] = (part, part)
        match part:
            case Const(None, Type.BOOL):
                pair = FALSE, TRUE
            case And() | Or():
                plain, turned = ([both[side] for both in below] for side in (0, 1))
                pair = _simplified(part, plain, {}), _simplified(part, turned, {})
            case Not():
                pair = _simplified(part, [below[0][1]], {}), _simplified(part, [below[0][0]], {})
            case _:
                pass
        found[id(part)] = pair
    return found[id(term)][0]


def _simplified(term: Term, parts: list[Term], given: Given) -> Term:
    """A term whose parts are simplified already."""
    before = children(term)
    if isinstance(term, Read):
        return Const(given[term.key], term.type) if term.key in given else term
    match term:
        case And():
            return _joined(term, parts, neutral=True)
        case Or():
            return _joined(term, parts, neutral=False)
        case _ if all(new is old for new, old in zip(parts, before, strict=True)):
            return term
        case _ if all(isinstance(part, Const) for part in parts):
            return Const(evaluate(_rebuilt(term, parts), {}).value, term.type)
        case Named():
            # A name no longer stands for what is left of a condition.
            keeps = term.type is not Type.BOOL and not isinstance(parts[0], Const)
            return replace(term, operand=parts[0]) if keeps else parts[0]
        case Not():
            if isinstance(parts[0], Not):
                return parts[0].operand
        case Coalesce():
            if isinstance(parts[0], Const):
                return parts[1] if _value_of(parts[0]) is None else parts[0]
        case If():
            if isinstance(parts[0], Const):
                truth = parts[0].value
                return Const(None, term.type) if truth is None else parts[1 if truth else 2]
        case Switch():
            if isinstance(parts[0], Const):
                value = parts[0].value
                cases = zip(term.cases, parts[1:], strict=True)
                nothing = Const(None, term.type)
                if value is None:
                    return nothing
                return next((part for (key, _), part in cases if key == value), nothing)
        case Compare(operator, left) if left.type is Type.BOOL:
            for one, other in ((parts[0], parts[1]), (parts[1], parts[0])):
                if isinstance(other, Const) and other.value is not None:
                    if (operator == "==") is other.value:
                        return one
                    return _simplified(Not(FALSE), [one], given)
    return _rebuilt(term, parts)


def _joined(term: And | Or, parts: list[Term], *, neutral: bool) -> Term:
    """An `and` without what is true, an `or` without what is false; the other truth decides."""
    kept: list[Term] = []
    for part in parts:
        if isinstance(part, Const) and part.value is (not neutral):
            return FALSE if neutral else TRUE
        if isinstance(part, Const) and (part.value is neutral or part in kept):
            continue
        kept.append(part)
    if len(kept) == 1:
        return kept[0]
    if not kept:
        return TRUE if neutral else FALSE
    if len(kept) == len(term.operands) and all(
        new is old for new, old in zip(kept, term.operands, strict=True)
    ):
        return term
    return type(term)(tuple(kept))


def _is_true(term: Term) -> bool:
    return isinstance(term, Const) and term.value is True


def _value_of(constant: Const) -> Value | None:
    return evaluate(constant, {}).value


def _is_written(term: Term) -> bool:
    """Whether a term's parts were written; what lowering made up reads best as it was written."""
    return all(isinstance(part, Const) or part.span is not None for part in children(term))


def _rebuilt(term: Term, parts: list[Term]) -> Term:
    """The term over other parts. It is put into words anew, unless its own parts are made up."""
    span = None if _is_written(term) else term.span
    match term:
        case Not():
            return Not(parts[0], span)
        case Compare(operator):
            return Compare(operator, parts[0], parts[1], span)
        case Member(_, values):
            return Member(parts[0], values, span)
        case TextTest(kind, _, text):
            return TextTest(kind, parts[0], text, span)
        case Known():
            return Known(parts[0], span)
        case Coalesce():
            return Coalesce(parts[0], parts[1], term.type, span)
        case Arithmetic(operator):
            return Arithmetic(operator, parts[0], parts[1], term.type, span)
        case CeilDiv(_, divisor):
            return CeilDiv(parts[0], divisor, term.type, span)
        case If():
            return If(parts[0], parts[1], parts[2], term.type, span)
        case Named(name):
            return Named(name, parts[0], term.type, span)
        case Switch(_, cases):
            keys = (key for key, _ in cases)
            return Switch(parts[0], tuple(zip(keys, parts[1:], strict=True)), term.type, span)
        case _:
            return term


# --- why a rule is gone --------------------------------------------------------------------------


def _reason(clause: Clause, given: Given) -> str:
    """The first part of the condition that the given values decide against the rule."""
    for part in (*_conjuncts(clause.test or TRUE), *_conjuncts(clause.applies)):
        left = simplify(part, given)
        if isinstance(left, Const) and left.value is not True:
            outcome = "unknown" if left.value is None else "false"
            return f"`{evaluate(part, {}).text}` is {outcome}"
    for part in (*_conjuncts(clause.test or TRUE), *_conjuncts(clause.applies)):
        if outcomes(firing(simplify(part, given))).true is None:
            return f"`{evaluate(part, {}).text}` is never true"
    return "its parts are never true together"


def _conjuncts(term: Term) -> list[Term]:
    """The parts that must all be true, the names that stand for an `and` opened."""
    parts: list[Term] = []
    stack = [term]
    while stack:
        part = stack.pop()
        if isinstance(part, And):
            stack.extend(reversed(part.operands))
        elif isinstance(part, Named) and isinstance(part.operand, And):
            stack.append(part.operand)
        else:
            parts.append(part)
    return parts


class _Taken:
    """The requests that earlier rules take, by the parts of their conditions.

    Parts are told apart by what they mean, not by where they were written.
    """

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._rules: dict[frozenset[int], str] = {}

    def add(self, applies: Term, name: str) -> None:
        """A rule fires where all of these parts are true."""
        self._rules.setdefault(self._parts(applies), name)

    def by(self, applies: Term) -> str | None:
        """The earlier rule that is true wherever this condition is, if it is seen to be one."""
        parts = self._parts(applies)
        some: Iterable[frozenset[int]] = (
            frozenset(few)
            for size in ((1, 2, 3) if len(parts) <= _MAX_PARTS else (1,))
            for few in combinations(sorted(parts), size)
        )
        return next((self._rules[few] for few in (*some, parts) if few in self._rules), None)

    def _parts(self, applies: Term) -> frozenset[int]:
        return frozenset(self._number(part) for part in _conjuncts(applies))

    def _number(self, root: Term) -> int:
        found: dict[int, int] = {}
        for part in leaves_first([root]):
            below = tuple(found[id(child)] for child in children(part))
            if isinstance(part, Named):
                found[id(part)] = below[0]
                continue
            key = (type(part), part.type, _own(part), below)
            found[id(part)] = self._numbers.setdefault(key, len(self._numbers))
        return found[id(root)]


def _own(term: Term) -> object:
    """What a term says beside its parts."""
    match term:
        case Const(value):
            return type(value), value
        case Read(key):
            return key
        case Compare(operator) | Arithmetic(operator):
            return operator
        case Member(_, values):
            return values
        case TextTest(kind, _, text):
            return kind, text
        case CeilDiv(_, divisor):
            return divisor
        case Switch(_, cases):
            return tuple(key for key, _ in cases)
        case _:
            return None
