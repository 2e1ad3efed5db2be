"""A request breaks an invariant: what must never happen can happen.

Every target that a request may be sent to counts: the route, each fallback if all before it failed,
a mirror. `never` is broken where its condition is true; `always` where it is not, so that what is
unknown breaks it. An invariant that does not test `request_type` is about generation, as rules are.

Avoid:

    routing_policy:
      - {name: free, condition: tier == "free", route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
    fallback_chain: [anthropic/claude-sonnet]
    invariants:
      - {name: free_is_cheap, never: tier == "free" and route == "anthropic/claude-sonnet"}
    attributes: {tier: [free, pro]}

Prefer:

    routing_policy:
      - name: free
        condition: tier == "free"
        route: groq/llama-3-8b
        fallback: [groq/llama-3-70b]
      - {name: default, route: openai/gpt-4o}
    fallback_chain: [anthropic/claude-sonnet]
    invariants:
      - {name: free_is_cheap, never: tier == "free" and route == "anthropic/claude-sonnet"}
    attributes: {tier: [free, pro]}
"""

from collections.abc import Iterator

from turnout.dsl.claims import Breach, Claims
from turnout.dsl.core import REQUESTED, Invariant
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.prove import NotDecided
from turnout.dsl.source import Span

from .survey import Survey

CODE = "RP320"
LEVEL: Severity = "error"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Of each invariant the first rule with a request that breaks it."""
    claims = Claims(survey.program, survey.prover, survey.ways)
    for entry, invariant in zip(survey.policy.invariants, survey.program.invariants, strict=True):
        answer = claims.breach_of(invariant)
        match answer:
            case Breach():
                yield _found(survey, invariant, answer, entry.name.span)
            case NotDecided():
                subject = f"whether the invariant `{invariant.name}` holds"
                survey.leave_open(CODE, subject, entry.name.span, answer)
            case _:
                pass


def _found(survey: Survey, invariant: Invariant, breach: Breach, place: Span) -> Diagnostic:
    to = "what the client asked for" if breach.target == REQUESTED else f"`{breach.target}`"
    how = (
        "falls back to"
        if breach.is_fallback
        else "sends a copy to"
        if breach.is_copy
        else "goes to"
    )
    if breach.clause is None:
        who = "a request that no rule takes"
        related: tuple[Related, ...] = ()
    else:
        name = survey.rule(breach.clause).name
        who = f"a request that `{name.value}` takes"
        related = (Related("this rule takes the request", name.span),)
        if breach.is_copy:
            how = "is copied to"
    return Diagnostic(
        CODE,
        LEVEL,
        f"the invariant `{invariant.name}` does not hold: {who} {how} {to}",
        place,
        "change the rule or its fallbacks, or keep the target out with a limit under `require:`",
        related,
        survey.shown(breach.witness, breach.broken),
    )
