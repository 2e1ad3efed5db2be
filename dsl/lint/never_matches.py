"""A rule whose condition no request can make true.

Its parts exclude each other, so the rule never runs, whatever stands before it. Mostly a sign was
turned round, or `and` was written for `or`.

Avoid:

    - {name: middle, condition: tokens < 100 and tokens > 500, route: groq/llama-3-8b}

Prefer:

    - {name: middle, condition: tokens >= 100 and tokens <= 500, route: groq/llama-3-8b}
"""

from collections.abc import Iterator

from turnout.dsl.agree import shown
from turnout.dsl.core import And, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.logic import TRUE, is_true
from turnout.dsl.walk import reads

from .survey import Survey, listed

CODE = "RP201"
LEVEL: Severity = "error"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Rules that would not run if they stood first."""
    for dead in survey.dead:
        condition = survey.rule(dead.index).condition
        if dead.blockers != () or condition is None or condition.span in survey.told:
            continue
        name = survey.rule(dead.index).name.value
        parts = _at_odds(survey, survey.program.clauses[dead.index].test)
        places = tuple(part.span for part in parts if part.span is not None)
        why = "no request makes its condition true"
        if len(places) == 1:
            why = f"`{shown(places[0])}` is never true"
        elif places:
            why = f"{listed([shown(place) for place in places])} are never true together"
        yield Diagnostic(
            CODE,
            LEVEL,
            f"the rule `{name}` can never run: {why}",
            condition.span,
            _advice(parts),
            tuple(Related("is never true together with the rest", place) for place in places[1:]),
        )


def _advice(parts: tuple[Term, ...]) -> str:
    if len(parts) < 2:
        return "change the condition, or remove the rule"
    # Of one value there may be several that are meant; of values that are tied together there is
    # no choice.
    if len({frozenset(reads([part])) for part in parts}) == 1:
        return "write `or` where one of them is enough, or remove one"
    return "change one of them, or remove the rule"


def _at_odds(survey: Survey, test: Term | None) -> tuple[Term, ...]:
    """The parts of a conjunction that cannot all be true, as few as there can be."""
    if not isinstance(test, And):
        return ()
    parts = [part for part in test.operands if part.span is not None]
    found = survey.prover.blockers(TRUE, [is_true(part) for part in parts])
    return tuple(parts[at] for at in found or ())
