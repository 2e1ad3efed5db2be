"""A condition that comes to the same whatever the request.

By its constants alone it is true of every request, or of none, or it compares a value with itself.
What stands there decides nothing, and is probably not what was meant. A name under `let:` for plain
`true` or `false` is a switch, and fine.

Avoid:

    condition: tokens < 100 and 1 == 1

Prefer:

    condition: tokens < 100 and n == 1
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from turnout.dsl import tree
from turnout.dsl.agree import shown
from turnout.dsl.core import (
    And,
    Choice,
    Compare,
    Const,
    Hop,
    If,
    Known,
    Named,
    Not,
    Or,
    Program,
    Read,
    Switch,
    Term,
)
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.refusal import warning
from turnout.dsl.schema import Type
from turnout.dsl.source import Span
from turnout.dsl.walk import children, leaves_first

from .constants import constants
from .written import conditions, parts

CODE = "RP118"
LEVEL: Severity = "warning"

_SAME = {"==": True, "<=": True, ">=": True, "!=": False, "<": False, ">": False}
_UNKNOWN = "unknown, and so never true"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a condition stands: what follows where it is constant, and which plain word is fine."""

    term: Term
    if_true: str = ""
    if_false: str = ""
    fine: tuple[bool, ...] = (True,)
    remove: str = "remove it"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """The largest parts that are constant, each place once; comparisons of a value with itself."""
    if program is None:
        return
    of_requests, of_candidates = list(_of_requests(program)), list(_of_candidates(program))
    # The facts of a candidate are constants there, and others for the next candidate.
    facts = frozenset(_names(policy)) if of_candidates else frozenset[Span]()
    seen: set[Span] = set()
    for places, varying in ((of_requests, frozenset[Span]()), (of_candidates, facts)):
        found = constants((place.term for place in places), varying)
        known = {key: constant for key, constant in found.items() if constant.type is Type.BOOL}
        for place in places if known else ():
            for finding in _constant_parts(place, known):
                if finding.span not in seen:
                    seen.add(finding.span)
                    yield finding
    for term in leaves_first(place.term for place in of_requests):
        why = _by_itself(term, program)
        if why is not None and term.span is not None and term.span not in seen:
            seen.add(term.span)
            yield warning(CODE, why, term.span, "compare with something else, or remove it")


def _of_requests(program: Program) -> Iterator[_Place]:
    """The conditions that are about the request, or a limit's target."""
    for clause in program.clauses:
        if clause.test is not None:
            who = f", so the rule `{clause.name}`"
            yield _Place(clause.test, f"{who} always fires", f"{who} never fires")
        yield from _guards(clause.plan.fallback or ())
    yield from _guards(program.chain)
    for limit in program.limits:
        who = f", so the limit `{limit.name}`"
        if limit.when is not None:
            yield _Place(limit.when, f"{who} always applies", f"{who} never applies")
        yield _Place(
            limit.target, f"{who} keeps no target out", f"{who} keeps every target out", (False,)
        )
    yield from (_Place(invariant.test) for invariant in program.invariants)
    if program.cache is not None:
        follows, off = ", so nothing is ever given again", "remove `cache:`"
        if program.cache.only is not None:
            yield _Place(program.cache.only, if_false=follows, remove=off)
        if program.cache.never is not None:
            yield _Place(program.cache.never, if_true=follows, fine=(False,), remove=off)


def _guards(hops: tuple[Hop, ...]) -> Iterator[_Place]:
    for hop in hops:
        if hop.when is not None:
            yield _Place(hop.when, if_false=f", so `{hop.target}` is never asked here")


def _of_candidates(program: Program) -> Iterator[_Place]:
    for clause in program.clauses:
        if isinstance(clause.plan.route, Choice):
            for candidate in clause.plan.route.candidates:
                if candidate.where is not None:
                    yield _Place(candidate.where, if_false=", so no candidate is left")


def _names(policy: tree.Policy) -> Iterator[Span]:
    for condition in conditions(policy):
        yield from (part.span for part in parts(condition) if not isinstance(part, tree.Literal))


def _constant_parts(place: _Place, known: Mapping[int, Const]) -> Iterator[Diagnostic]:
    root = known.get(id(place.term))
    if root is place.term and root.value in place.fine:
        return
    stack = [place.term]
    while stack:
        term = stack.pop()
        constant = known.get(id(term))
        named = [part for part in _conditions_in(term) if _is_named(part) and id(part) in known]
        if constant is None:
            stack.extend(reversed(_conditions_in(term)))
        elif named:
            stack.extend(named)  # it is constant because of what these names stand for
        elif _is_named(term):
            stack += children(term)  # told where the name is defined
        elif term.span is not None:
            yield _found(term, term.span, constant, place)


def _found(term: Term, span: Span, constant: Const, place: _Place) -> Diagnostic:
    text = shown(span)
    follows = place.if_true if constant.value else place.if_false
    if term is not place.term or constant.value is None:
        follows = ""
    if not isinstance(term, Const):
        told = _UNKNOWN if constant.value is None else str(constant.value).lower()
        help = "compare with an attribute, such as `tokens < 100`, or remove it"
        return warning(CODE, f"`{text}` is always {told}{follows}", span, help)
    if term is not place.term:
        return warning(CODE, f"`{text}` changes nothing here", span, "remove it")
    help = f"{place.remove}, or give it a name to switch by: `let: {{is_on: {text}}}`"
    return warning(CODE, f"this is plain `{text}`{follows}", span, help)


def _is_named(term: Term) -> bool:
    """Whether this is a name of `let`: what lowering names was not written as such."""
    return isinstance(term, Named) and term.operand.span is not None


def _conditions_in(term: Term) -> tuple[Term, ...]:
    """The written conditions directly below one."""
    if isinstance(term, Named) and isinstance(term.operand, Const):
        return ()  # a switch
    if isinstance(term, And | Or | Not | Named | If | Switch):
        return tuple(child for child in children(term) if child.type is Type.BOOL)
    return ()


def _by_itself(term: Term, program: Program) -> str | None:
    """What is to be said of a comparison with itself, and of `known` where it always is."""
    match term:
        case Compare(operator, left, right):
            one, other = _plain(left), _plain(right)
            if isinstance(one, Read) and isinstance(other, Read) and one.key == other.key:
                word = "true wherever it is known" if _SAME[operator] else "never true"
                return f"both sides of `{shown(term.span)}` are the same, so it is {word}"
        case Known(Read(key)):
            slot = program.slots.get(key)
            if slot is not None and slot.attribute.always_known:
                return f"`{shown(term.span)}` is always true: `{key}` is always known"
        case _:
            pass
    return None


def _plain(term: Term) -> Term:
    while isinstance(term, Named):
        term = term.operand
    return term
