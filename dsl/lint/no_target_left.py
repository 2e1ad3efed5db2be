"""The limits can leave a rule no target at all.

Each limit keeps some targets out, and for some requests they keep out the route and every fallback
behind it. Such a request is answered 403 `no_target_allowed`. Add a target that passes to the
chain, or refuse with a rule that says why.

Avoid:

    targets:
      openai/gpt-4o: {vision: true}
      groq/llama-3-70b: {vision: false}
    require:
      - {name: images_need_eyes, when: has_images, target: vision}
    routing_policy:
      - {name: short, condition: tokens < 100, route: openai/gpt-4o}
      - {name: default, route: groq/llama-3-70b}

Prefer:

    targets:
      openai/gpt-4o: {vision: true}
      groq/llama-3-70b: {vision: false}
    require:
      - {name: images_need_eyes, when: has_images, target: vision}
    routing_policy:
      - {name: short, condition: tokens < 100, route: openai/gpt-4o}
      - {name: default, route: groq/llama-3-70b, fallback: [openai/gpt-4o]}
"""

from collections.abc import Iterator
from dataclasses import replace

from turnout.dsl.core import REQUESTED, Clause, Reject
from turnout.dsl.destination import reached
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.hops import first_hops
from turnout.dsl.logic import any_of, negation
from turnout.dsl.paths import Paths
from turnout.dsl.snapshot import Snapshot

from .survey import Asked, Survey, listed

CODE = "RP310"
LEVEL: Severity = "error"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Rules for which the limits, and nothing else, close every hop to some request."""
    if not survey.program.limits:
        return
    without = Paths(replace(survey.program, limits=()))
    found: list[Diagnostic] = []
    for clause in survey.live():
        if isinstance(clause.plan.route, Reject) or _is_asked_for(clause):
            continue
        is_open = any_of(path.when for path in survey.paths(clause))
        could_be = any_of(path.when for path in without.of(clause))
        subject = f"whether limits leave `{clause.name}` a target"
        terms = (*survey.fires(clause.index), *survey.usable, could_be, negation(is_open))
        seen = survey.ask(CODE, subject, clause.span, *terms)
        if seen is not None:
            found.append(_found(survey, clause, seen, *terms))
    yield from found


def _is_asked_for(clause: Clause) -> bool:
    """Whether the client says where it goes: that a limit refuses it is what the limit is for."""
    return any(hop.target == REQUESTED for hop in first_hops(clause.plan))


def _found(survey: Survey, clause: Clause, seen: Snapshot, *terms: Asked) -> Diagnostic:
    name = survey.rule(clause.index).name
    led = reached(survey.program, clause.index, seen)
    limits = list(dict.fromkeys(limit for _, limit in led.kept_out))
    who = f"{listed(limits)} {'keeps' if len(limits) == 1 else 'keep'}" if limits else "limits keep"
    targets = ", ".join(f"`{target}`" for target, _ in led.kept_out)
    return Diagnostic(
        CODE,
        LEVEL,
        f"a request that `{name.value}` takes can be left without a target: {who} out {targets}",
        name.span,
        "add a target that passes to its fallbacks, or refuse such requests with a rule before it",
        witness=survey.example(seen, *terms),
    )
