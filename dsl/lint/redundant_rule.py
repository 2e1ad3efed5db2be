"""A rule that could be removed, and no request would go elsewhere.

Whatever it takes comes to a later rule that does the same. Either it is left over, or it was meant
to do something else.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: with_tools, condition: has_tools, route: openai/gpt-4o}
    - {name: default, route: openai/gpt-4o}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator, Sequence

from turnout.dsl.core import Clause, If, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.logic import FALSE, TRUE
from turnout.dsl.refusal import warning
from turnout.dsl.schema import Type

from .survey import Survey, listed

CODE = "RP204"
LEVEL: Severity = "warning"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Rules with a later one that does the same, and takes all of their requests."""
    found: list[Diagnostic] = []
    for clause in survey.live():
        index = clause.index
        plan = survey.plans[index]
        if plan not in survey.plans[index + 1 :]:
            continue
        if _is_known_to_matter(survey, clause):
            continue
        later = survey.meeting(clause.applies, range(index + 1, len(survey.plans)))
        same = [at for at in later if survey.plans[at] == plan]
        if not same:
            continue
        subject = f"whether `{clause.name}` could be removed"
        question = (*survey.fires(index), _goes_elsewhere(survey, index, later))
        if survey.is_never(CODE, subject, clause.span, *question):
            found.append(_found(survey, clause, same))
    yield from found


def _is_known_to_matter(survey: Survey, clause: Clause) -> bool:
    """Whether a request is known that would go elsewhere, or nowhere."""
    plans = survey.plans
    for seen in survey.firing(clause.index)[:2]:
        following = survey.next_taker(seen, clause.index)
        if following is None or plans[following] != plans[clause.index]:
            return True
    return False


def _goes_elsewhere(survey: Survey, index: int, later: Sequence[int]) -> Term:
    """Whether the next rule that takes a request, if there is one, does something else."""
    goes: Term = TRUE
    for other in reversed(later):
        does_same = survey.plans[other] == survey.plans[index]
        goes = If(survey.taken[other], FALSE if does_same else TRUE, goes, Type.BOOL)
    return goes


def _found(survey: Survey, clause: Clause, same: list[int]) -> Diagnostic:
    later = [survey.rule(index).name for index in same]
    names = listed([name.value for name in later][:3])
    does = "does the same" if len(later) == 1 else "do the same"
    name = survey.rule(clause.index).name
    finding = warning(
        CODE,
        f"the rule `{clause.name}` changes nothing: every request that it takes would come to "
        f"{names}, which {does}",
        name.span,
        "remove it, or write what it was meant to do",
    )
    related = tuple(Related("does the same", one.span) for one in later[:3])
    return Diagnostic(
        finding.code, finding.severity, finding.message, finding.span, finding.help, related
    )
