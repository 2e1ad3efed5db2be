"""A part of a condition that decides nothing where it stands.

With it or without it the rule takes the same requests: the rest of the condition says as much, or
the rules before have taken what it is about. What they took is a note only: to say a range in full
can be easier to read.

Avoid:

    - {name: short, condition: tokens < 100 and tokens < 200, route: groq/llama-3-8b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
"""

from collections.abc import Iterator
from dataclasses import dataclass

from turnout.dsl.agree import shown
from turnout.dsl.core import And, Clause, Const, Not, Or, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.logic import FALSE, TRUE, all_of, any_of, is_true, negation
from turnout.dsl.refusal import warning
from turnout.dsl.source import Span
from turnout.dsl.walk import children, leaves_first, with_children

from .constants import constants
from .survey import Reached, Survey, holds, listed

CODE = "RP205"
LEVEL: Severity = "warning"


@dataclass(frozen=True, slots=True)
class _Idle:
    """A part that could as well be a constant, and whether the rule would then differ."""

    clause: Clause
    span: Span
    constant: Const
    differs: Term


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Operands of `and` that could be `true`, and of `or` that could be `false`."""
    for clause in survey.live():
        test = clause.test
        if isinstance(test, Or) and test.span is not None and _is_always_true(survey, clause, test):
            yield _always(clause, test.span)
            continue
        for one in list(_idle(survey, clause)):
            yield _found(survey, one)


def _idle(survey: Survey, clause: Clause) -> Iterator[_Idle]:
    if clause.test is None:
        return
    known = constants([clause.test])
    kept = clause.applies  # without what was found: of two parts that say the same, one has to stay
    idle: list[Span] = []
    for part, constant in _parts(clause.test):
        span = part.span
        if span is None or id(part) in known or any(_is_in(one, span) for one in survey.told):
            continue
        if any(_is_in(span, one) for one in idle):
            continue
        differs = _difference(survey, clause, clause.applies, part, constant)
        if differs is None or (idle and _difference(survey, clause, kept, part, constant) is None):
            continue
        yield _Idle(clause, span, constant, differs)
        kept = _replaced(kept, part, constant)
        idle.append(span)


def _is_always_true(survey: Survey, clause: Clause, test: Or) -> bool:
    """Whether a condition is true of every request by itself."""
    if clause.test is None or any(not holds(test, seen) for seen in survey.known()):
        return False
    subject = f"whether the condition of `{clause.name}` is always true"
    return survey.is_never(CODE, subject, test.span or clause.span, negation(is_true(test)))


def _difference(
    survey: Survey, clause: Clause, condition: Term, part: Term, constant: Const
) -> Term | None:
    """Where a constant instead of the part would make a difference, if it is proved to be never."""
    without = _replaced(condition, part, constant)
    if _is_known_to_differ(survey, clause, part, condition, without):
        return None
    differs = _differ(condition, without)
    subject = f"whether `{shown(part.span)}` decides anything in `{clause.name}`"
    asked = (Reached(clause.index), differs)
    return differs if survey.is_never(CODE, subject, part.span or clause.span, *asked) else None


def _parts(condition: Term) -> Iterator[tuple[Term, Const]]:
    """The operands, from the left, each before its own, with the constant that is nothing there.

    What a name stands for is not taken apart; what lowering made of one comparison is one part.
    """
    stack = list(reversed(_written(condition)))
    while stack:
        part, nothing = stack.pop()
        yield part, nothing
        stack.extend(reversed(_written(part)))


def _written(term: Term) -> tuple[tuple[Term, Const], ...]:
    if isinstance(term, Not):
        return _written(term.operand)
    if not isinstance(term, And | Or) or any(c.span is None for c in children(term)):
        return ()
    nothing = TRUE if isinstance(term, And) else FALSE
    return tuple((child, nothing) for child in children(term))


def _is_in(place: Span, whole: Span) -> bool:
    return place.source is whole.source and whole.start <= place.start and place.end <= whole.end


def _replaced(root: Term, part: Term, constant: Const) -> Term:
    done: dict[int, Term] = {}
    for term in leaves_first([root]):
        if term is part:
            done[id(term)] = constant
        else:
            done[id(term)] = with_children(term, tuple(done[id(c)] for c in children(term)))
    return done[id(root)]


def _differ(one: Term, other: Term) -> Term:
    first, second = is_true(one), is_true(other)
    return any_of((all_of((first, negation(second))), all_of((negation(first), second))))


def _is_known_to_differ(
    survey: Survey, clause: Clause, part: Term, kept: Term, without: Term
) -> bool:
    """Whether a request is known on which the part decides."""
    return any(
        holds(kept, seen) is not holds(without, seen)
        for seen in survey.reaching(clause.index, part)
    )


def _always(clause: Clause, span: Span) -> Diagnostic:
    return warning(
        CODE,
        f"the condition of `{clause.name}` is true of every request",
        span,
        "remove the condition, or write what was meant",
    )


def _found(survey: Survey, idle: _Idle) -> Diagnostic:
    index = idle.clause.index
    blockers = survey.blockers(idle.differs, index)
    before = [survey.rule(at).name for at in blockers or ()]
    is_true_here = idle.constant is TRUE
    text = shown(idle.span)
    if before:
        names = listed([name.value for name in before])
        truth = "always true" if is_true_here else "never true"
        take = "takes" if len(before) == 1 else "together take"
        message = f"`{text}` is {truth} here: {names} before it {take} the rest"
        if not is_true_here:
            message = f"`{text}` never decides here: {names} before it {take} what it is about"
    else:
        message = f"`{text}` decides nothing in `{idle.clause.name}`: " + (
            "the rest of the condition says as much"
            if is_true_here
            else "the rest of the condition never needs it, or rules it out"
        )
    is_repeated = bool(before) and is_true_here
    return Diagnostic(
        CODE,
        "info" if is_repeated else LEVEL,
        message,
        idle.span,
        "it can be left out" if is_repeated else "remove it, or write what was meant",
        tuple(Related("is tried before", name.span) for name in before),
    )
