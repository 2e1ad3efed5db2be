"""Two rules that do the same, with nothing between them that would be in the way: one is enough.

Lint tells it only on request (`--notes`): two short conditions can be easier to read than one long
one.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: free, condition: stream, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}

Prefer:

    - {name: small, condition: tokens < 100 or stream, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl.core import Clause
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.logic import any_of

from .survey import Reached, Survey

CODE = "RP207"
LEVEL: Severity = "info"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Of each rule the next one that does the same, where it could as well stand right behind."""
    if not survey.notes:
        return
    found: list[Diagnostic] = []
    for clause in survey.live():
        later = next(
            (
                other
                for other in survey.program.clauses[clause.index + 1 :]
                if survey.plans[other.index] == survey.plans[clause.index]
            ),
            None,
        )
        if later is None or later.test is None or clause.test is None:
            continue
        if _can_move_up(survey, clause, later):
            found.append(_found(survey, clause, later))
    yield from found


def _can_move_up(survey: Survey, clause: Clause, later: Clause) -> bool:
    """Whether no request that the later one matches is taken by a rule in between."""
    between = survey.taken[clause.index + 1 : later.index]
    if not between:
        return True
    subject = f"whether `{later.name}` could stand beside `{clause.name}`"
    taken = (Reached(clause.index + 1), any_of(between), survey.taken[later.index])
    return survey.is_never(CODE, subject, clause.span, *taken)


def _found(survey: Survey, clause: Clause, later: Clause) -> Diagnostic:
    name, other = survey.rule(clause.index).name, survey.rule(later.index).name
    return Diagnostic(
        CODE,
        LEVEL,
        f"`{name.value}` and `{other.value}` do the same and could be one rule",
        name.span,
        "join their conditions with `or`",
        (Related("does the same", other.span),),
    )
