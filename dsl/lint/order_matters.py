"""Two rules that both match some requests and do different things: their order decides.

That is how first match works, and often meant. Lint tells it only on request (`--notes`), for
whoever is about to move a rule.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: with_tools, condition: has_tools, route: openai/gpt-4o}
    - {name: default, route: openai/gpt-4}

Prefer:

    - {name: short, condition: tokens < 100 and not has_tools, route: groq/llama-3-8b}
    - {name: with_tools, condition: has_tools, route: openai/gpt-4o}
    - {name: default, route: openai/gpt-4}
"""

from collections.abc import Iterator

from turnout.dsl.core import Clause
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.interpret.traced import value_of
from turnout.dsl.snapshot import Snapshot

from .constants import takes_all
from .survey import Survey, listed

CODE = "RP206"
LEVEL: Severity = "info"

_MOST = 2_000  # pairs that are looked at
_SHOWN = 3


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Of each rule the later ones with a condition that match some of its requests, too."""
    if not survey.notes:
        return
    found: list[Diagnostic] = []
    pairs = 0
    for clause in survey.live():
        others: list[int] = []
        example: Snapshot | None = None
        after = range(clause.index + 1, len(survey.plans))
        for at in survey.meeting(clause.applies, after):
            later = survey.program.clauses[at]
            pairs += 1
            is_same = survey.plans[at] == survey.plans[clause.index]
            if pairs > _MOST or is_same or takes_all(later):
                continue
            met = _meet(survey, clause, later)
            if met is not None:
                others.append(later.index)
                example = example or met
        if example is not None:
            found.append(_found(survey, clause, others, example))
    yield from found


def _meet(survey: Survey, clause: Clause, later: Clause) -> Snapshot | None:
    """A request that both match."""
    for seen in survey.firing(clause.index):
        if value_of(later.applies, seen) is True:
            return seen
    subject = f"whether `{clause.name}` and `{later.name}` overlap"
    terms = (*survey.fires(clause.index), survey.taken[later.index])
    return survey.ask(CODE, subject, clause.span, *terms)


def _found(survey: Survey, clause: Clause, others: list[int], seen: Snapshot) -> Diagnostic:
    names = [survey.rule(index).name for index in others]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Diagnostic(
        CODE,
        LEVEL,
        f"`{clause.name}` takes requests that {listed([n.value for n in names[:_SHOWN]])}{more} "
        "would send elsewhere: their order decides",
        survey.rule(clause.index).name.span,
        "keep this order in mind when you move one",
        tuple(Related("matches some of them, too", name.span) for name in names[:_SHOWN]),
        survey.example(seen, *survey.fires(clause.index), survey.taken[others[0]]),
    )
