"""A hop that limits keep out of every request that could come to it.

The route, a candidate of a choice, an arm of a split or a fallback of the rule is there in the file
and never tried: a limit under `require` keeps its target out of all that the rule takes. A rule
whose only fallback is such a hop has none; of a split, the share of such an arm is lost. The hops
of `fallback_chain` serve other rules, and are not looked at.

Avoid:

    attributes: {tenant.region: [eu, us]}
    targets:
      openai/gpt-4o: {region: us}
      anthropic/claude-sonnet: {region: eu}
    require:
      - {name: eu_stays, when: tenant.region == "eu", target: region == "eu"}
    routing_policy:
      - name: eu_legal
        condition: tenant.region == "eu"
        route: anthropic/claude-sonnet
        fallback: [openai/gpt-4o]
      - {name: default, route: anthropic/claude-sonnet}

Prefer:

    attributes: {tenant.region: [eu, us]}
    targets:
      groq/llama-3-70b: {region: eu}
      anthropic/claude-sonnet: {region: eu}
    require:
      - {name: eu_stays, when: tenant.region == "eu", target: region == "eu"}
    routing_policy:
      - name: eu_legal
        condition: tenant.region == "eu"
        route: anthropic/claude-sonnet
        fallback: [groq/llama-3-70b]
      - {name: default, route: anthropic/claude-sonnet}
"""

from collections.abc import Iterator
from dataclasses import replace

from turnout.dsl.core import REQUESTED, Clause, Const, Limit, Reject, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.hops import first_hops
from turnout.dsl.logic import TRUE
from turnout.dsl.paths import Paths
from turnout.dsl.source import Span

from .survey import Survey, holds, listed

CODE = "RP313"
LEVEL: Severity = "warning"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Each target of a rule that limits keep out of all its requests."""
    if not survey.program.limits:
        return
    found: list[Diagnostic] = []
    for clause in survey.live():
        if not isinstance(clause.plan.route, Reject):
            found += _of_rule(survey, clause)
    yield from found


def _of_rule(survey: Survey, clause: Clause) -> list[Diagnostic]:
    hops = (*first_hops(clause.plan), *(clause.plan.fallback or ()))
    own = {hop.target: hop.span for hop in reversed(hops) if hop.target != REQUESTED}
    closed: dict[str, Span] = {}
    for target, span in own.items():
        passes = survey.ways.allowed(target)
        if _is_known(survey, clause, passes):
            continue
        subject = f"whether `{target}` is ever tried for `{clause.name}`"
        if survey.is_never(CODE, subject, span, *survey.fires(clause.index), passes):
            closed[target] = span
    if len(closed) == len(own) and all(path.target in closed for path in survey.paths(clause)):
        return []  # nothing is left at all: RP310
    return [_found(survey, clause, target, span) for target, span in closed.items()]


def _is_known(survey: Survey, clause: Clause, passes: Term) -> bool:
    """Whether a request is known that may go there."""
    if isinstance(passes, Const):
        return passes is TRUE
    return any(holds(passes, seen) for seen in survey.taking(clause.index, passes))


def _found(survey: Survey, clause: Clause, target: str, span: Span) -> Diagnostic:
    limits = _keeping_out(survey, clause, target)
    names = [limit.name for limit in limits]
    return Diagnostic(
        CODE,
        LEVEL,
        f"`{target}` is never tried here: {listed(names)} {'keeps' if len(names) == 1 else 'keep'} "
        f"it out of every request that `{survey.rule(clause.index).name.value}` takes",
        span,
        "name a target that passes, or remove it",
        tuple(Related("this limit keeps it out", limit.span) for limit in limits),
    )


def _keeping_out(survey: Survey, clause: Clause, target: str) -> tuple[Limit, ...]:
    """The one limit that does it alone, if one does; else all of them."""
    for limit in survey.program.limits:
        alone = Paths(replace(survey.program, limits=(limit,)))
        if survey.never(*survey.fires(clause.index), alone.allowed(target)):
            return (limit,)
    return survey.program.limits
