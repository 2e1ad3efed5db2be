"""The reference interpretation: a walk over the terms that keeps the value of every node.

What a program means is what this file says. It is made for explanations, long after the decision:
nothing is skipped that a short circuit could skip. Rules after the one that fired are not tried.

This file is over 300 lines because it says of each term both what it means and how it is shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from turnout.dsl import kleene
from turnout.dsl.brackets import is_enclosed
from turnout.dsl.core import (
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
from turnout.dsl.keys import written_key
from turnout.dsl.schema import Type, Value
from turnout.dsl.units import format_value, quote
from turnout.dsl.walk import children, leaves_first

Outcome = Literal["true", "false", "unknown", "not_tried"]

NOT_GIVEN = "not given"
MAX_TEXT = 400  # characters of a node's text; terms made by hand could grow with every level


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a condition with its value.

    `text` is what was written, white space normalised; parts that lowering made up are put into
    words. `reason` says why a value is unknown, or not the one that was given. `interval` is there
    where a count was bounded only and `value` is its low end.
    """

    text: str
    value: Value | None
    type: Type
    reason: str | None
    children: tuple["Node", ...]
    interval: tuple[int, int] | None = None

    @property
    def written(self) -> str | None:
        """The value as the language writes it; None where it is unknown."""
        if self.value is None:
            return None
        if self.interval is not None:
            return "..".join(format_value(end, self.type) for end in self.interval)
        return format_value(self.value, self.type)

    def to_json(self) -> dict[str, object]:
        """The node as the `expression` of a trail; `reason` is there where the value has one."""
        data: dict[str, object] = {"text": self.text, "value": self.written}
        if self.value is None or self.reason is not None:
            data["reason"] = self.reason
        return data | {"children": [child.to_json() for child in self.children]}


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one rule; `expression` None where there was no condition to look at."""

    rule: str
    outcome: Outcome
    expression: Node | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The clause that fired (None: no rule did), and every rule on the way to it."""

    clause: int | None
    steps: tuple[Step, ...]

    def to_json(self) -> list[dict[str, object]]:
        """The trail: `[{rule, outcome, expression: {text, value, children}}]`."""
        return [
            {
                "rule": step.rule,
                "outcome": step.outcome,
                "expression": None if step.expression is None else step.expression.to_json(),
            }
            for step in self.steps
        ]


def trace(
    program: Program, snapshot: Mapping[str, Value | None], only: str | None = None
) -> Verdict:
    """Decide on a snapshot and keep every value; `only` looks at the rule of that name alone.

    A key that the snapshot does not have is unknown. `reasons` and `intervals` are taken from a
    `Snapshot`; a plain mapping has none.
    """
    fired: int | None = None
    steps: list[Step] = []
    walk = _Walk(snapshot)
    for clause in program.clauses:
        if fired is not None or (only is not None and clause.name != only):
            steps.append(Step(clause.name, "not_tried", None))
            continue
        step = _try(clause, walk)
        steps.append(step)
        if step.outcome == "true":
            fired = clause.index
    return Verdict(fired, tuple(steps))


def evaluate(term: Term, snapshot: Mapping[str, Value | None]) -> Node:
    """One term with the values of all its parts."""
    return _Walk(snapshot).node(term)


def value_of(term: Term, snapshot: Mapping[str, Value | None]) -> Value | None:
    """The value of a term alone, for whoever asks often and shows nothing."""
    return _Walk(snapshot).value(term)


def values(terms: Iterable[Term], snapshot: Mapping[str, Value | None]) -> Iterator[Value | None]:
    """The values of terms, as `evaluate` gives them, without what explains them."""
    walk = _Walk(snapshot)
    return (walk.value(term) for term in terms)


def _try(clause: Clause, walk: "_Walk") -> Step:
    truth = walk.value(clause.applies)
    shown = clause.test
    # The guard about the request's kind is shown only where it is what kept the rule from firing.
    if shown is None or walk.value(shown) is not truth:
        shown = None if truth is True else clause.applies
    outcome: Outcome = "unknown" if truth is None else "true" if truth else "false"
    return Step(clause.name, outcome, None if shown is None else walk.node(shown))


_LEAVES = (Read, Const)


class _Walk:
    """The values and nodes of terms on one snapshot, from the leaves up, each term once."""

    def __init__(self, snapshot: Mapping[str, Value | None]) -> None:
        self._snapshot = snapshot
        self._reasons: Mapping[str, str] = getattr(snapshot, "reasons", {})
        self._intervals: Mapping[str, tuple[int, int]] = getattr(snapshot, "intervals", {})
        self._values: dict[int, Value | None] = {}
        self._shown: dict[int, tuple[Node, ...]] = {}
        self._nodes: dict[int, Node] = {}

    def value(self, root: Term) -> Value | None:
        """The value of a term, by the values of all below it."""
        if id(root) not in self._values:
            if _is_shallow(root):
                self._values[id(root)] = self._meaning(root)
                return self._values[id(root)]
            for term in leaves_first([root]):
                if id(term) not in self._values:
                    self._values[id(term)] = self._meaning(term)
        return self._values[id(root)]

    def node(self, root: Term) -> Node:
        """A term with all below it, each with its value."""
        self.value(root)
        for term in leaves_first([root]):
            if id(term) not in self._nodes:
                self._show(term)
        return self._nodes[id(root)]

    def _show(self, term: Term) -> None:
        value = self._values[id(term)]
        text = self._text(term)
        text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
        why = self._reason(term) if value is None else self._told(term)
        below = tuple(self._below(term))
        interval = self._intervals.get(term.key) if isinstance(term, Read) else None
        node = Node(text, value, term.type, why, below, interval)
        self._nodes[id(term)] = node
        self._shown[id(term)] = below if _is_transparent(term) else (node,)

    # --- what terms mean -----------------------------------------------------------------------

    def _meaning(self, term: Term) -> Value | None:
        match term:
            case Const(value, type_):
                is_number = isinstance(value, int) and type_ is not Type.BOOL
                return kleene.fitting(int(value)) if is_number and value is not None else value
            case Read(key):
                try:
                    return self._snapshot[key]
                except KeyError:
                    return None
            case Named(_, operand):
                return self.value(operand)
            case Not(operand):
                return kleene.negate(self._truth(operand))
            case And(operands):
                return kleene.conjoin(self._truth(operand) for operand in operands)
            case Or(operands):
                return kleene.disjoin(self._truth(operand) for operand in operands)
            case Compare(operator, left, right):
                return kleene.compare(operator, self.value(left), self.value(right))
            case Member(operand, values):
                value = self.value(operand)
                return None if value is None else value in values
            case TextTest(kind, operand, text):
                value = self.value(operand)
                return kleene.match_text(kind, None if value is None else str(value), text)
            case Known(operand):
                return self.value(operand) is not None
            case Coalesce(operand, default):
                value = self.value(operand)
                return self.value(default) if value is None else value
            case Arithmetic(operator, left, right):
                return kleene.calculate(operator, self._number(left), self._number(right))
            case CeilDiv(operand, divisor):
                return kleene.ceil_div(self._number(operand), divisor)
            case If() | Switch():
                chosen = self._chosen(term)
                return None if chosen is None else self.value(chosen)
            case _:
                assert_never(term)

    def _truth(self, term: Term) -> bool | None:
        value = self.value(term)
        return None if value is None else bool(value)

    def _number(self, term: Term) -> int | None:
        value = self.value(term)
        return None if value is None else int(value)

    def _chosen(self, term: If | Switch) -> Term | None:
        if isinstance(term, If):
            truth = self._truth(term.test)
            return None if truth is None else term.then if truth else term.otherwise
        value = self.value(term.operand)
        if value is None:
            return None
        return next((case for key, case in term.cases if key == value), None)

    # --- how terms are shown -------------------------------------------------------------------

    def _told(self, term: Term) -> str | None:
        """Why a value is another than the one that was given, where that is so."""
        return self._reasons.get(term.key) if isinstance(term, Read) else None

    def _reason(self, term: Term) -> str:
        """Why a term is unknown: the reason of its first unknown part, or its own."""
        if isinstance(term, Read):
            return self._reasons.get(term.key, NOT_GIVEN)
        parts: tuple[Term, ...] = children(term)
        if isinstance(term, If | Switch):
            chosen = self._chosen(term)
            parts = (parts[0],) if chosen is None else (chosen,)
        for part in parts:
            if self.value(part) is None:
                return self._nodes[id(part)].reason or NOT_GIVEN
        match term:
            case Const():
                return "division by zero"
            case Switch():
                return f"nothing is known of {quote(str(self.value(term.operand)))}"
            case _:
                return "the number is too large"

    def _below(self, term: Term) -> Iterator[Node]:
        parts: tuple[Term, ...] = children(term)
        if isinstance(term, If | Switch):
            chosen = self._chosen(term)
            parts = (parts[0],) if chosen is None else (parts[0], chosen)
        seen: set[str] = set()
        for part in parts:
            if isinstance(part, Const):
                continue  # a constant says nothing that its parent's text does not
            for node in self._shown[id(part)]:
                if node.text not in seen:
                    seen.add(node.text)
                    yield node

    def _text(self, term: Term) -> str:
        if isinstance(term, Named) and term.span is None:
            return term.name
        if term.span is not None:
            return " ".join(term.span.text.split())

        def of(part: Term) -> str:
            return self._nodes[id(part)].text

        match term:
            case Const(value, type_):
                return format_value(value, type_)
            case Read(key):
                return written_key(key)
            case Not(operand):
                return f"not ({of(operand)})"
            case And(operands):
                return " and ".join(_inside(And, part, of(part)) for part in operands) or "true"
            case Or(operands):
                return " or ".join(_inside(Or, part, of(part)) for part in operands) or "false"
            case Compare(operator, left, right):
                return f"{of(left)} {operator} {of(right)}"
            case Member(operand, values):
                items = (format_value(v, operand.type) for v in sorted(values, key=str))
                return f"{of(operand)} in [{', '.join(items)}]"
            case TextTest(kind, operand, text):
                return f"{of(operand)} {kind} {quote(text)}"
            case Known(operand):
                return f"known({of(operand)})"
            case Coalesce(operand, default):
                return f"{of(operand)} ?? {of(default)}"
            case Arithmetic(operator, left, right):
                if operator in ("min", "max"):
                    return f"{operator}({of(left)}, {of(right)})"
                sides = (_inside(None, side, of(side)) for side in (left, right))
                return f" {operator} ".join(sides)
            case CeilDiv(operand) | Named(_, operand):
                return of(operand)
            case If(test, then, _):
                return of(then) if term.type is Type.BOOL else f"{of(then)} if {of(test)}"
            case Switch(operand):
                return f"by {of(operand)}"
            case _:
                assert_never(term)


def _is_shallow(term: Term) -> bool:
    """Whether a term has nothing below its operands: no walk is needed, and most are such."""
    if isinstance(term, Compare):
        return isinstance(term.left, _LEAVES) and isinstance(term.right, _LEAVES)
    if isinstance(term, Member | TextTest | Known | Not):
        return isinstance(term.operand, _LEAVES)
    return isinstance(term, _LEAVES)


def _is_transparent(term: Term) -> bool:
    """Whether a part made up by lowering gives its place to its own parts."""
    is_made_up = term.span is None and isinstance(term, Arithmetic | CeilDiv | If | Switch)
    return is_made_up and term.type is not Type.BOOL


def _inside(whole: type[And] | type[Or] | None, part: Term, text: str) -> str:
    """The text of a part of something made up: what was written may bind looser than its place."""
    is_loose = isinstance(part, And | Or | Arithmetic | Coalesce) and type(part) is not whole
    is_call = isinstance(part, Arithmetic) and part.operator in ("min", "max")
    return f"({text})" if is_loose and not is_call and not is_enclosed(text) else text
