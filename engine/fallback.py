"""A fallback that comes with a request, in place of what the policy says follows.

Only a caller in process may bring one (`turnout.library`); over HTTP the policy alone decides. The
policy's limits hold for its targets as for any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from turnout.dsl.core import REQUESTED, Hop, Program, Reject
from turnout.dsl.destination import by_reference
from turnout.dsl.limits import Gate
from turnout.dsl.schema import Target

from .decide import Decider, Decision
from .embedding import leave_out
from .observed import Observed
from .readers import NotFetched


@dataclass(frozen=True, slots=True)
class Fallback:
    """Hops to try after a request's own route, and the targets that they name, by id."""

    hops: tuple[Hop, ...]
    targets: Mapping[str, Target]


def instead(decision: Decision, fallback: Fallback, decider: Decider) -> Decision:
    """The decision with this fallback in place of the rule's own and of the program's chain.

    The rule's `catch` is about what stood there: it says nothing of these hops, which have their
    own. A rejection stays one. Where no rule matched, the fallback is all there is; so it is where
    the route gives what was asked for, and nothing was.
    """
    clause, found, seen = decision.clause, decision.destination, decision.snapshot
    if clause is not None and isinstance(clause.plan.route, Reject):
        return decision
    route = found.route
    if route is not None and route.target == REQUESTED and seen.target is None:
        route = None
    program = replace(decision.program, targets={**fallback.targets, **decision.program.targets})
    limits = dict(found.limits)
    for hop in fallback.hops:
        if hop.target not in limits and program.limits:
            name = _excluding(decision.program, program.targets[hop.target], seen, decider)
            if name is not None:
                limits[hop.target] = name
    if route is not None and route.catch is not None:
        route = replace(route, catch=None)
    hops = fallback.hops if route is None else (route, *fallback.hops)
    led = replace(found, hops=hops, route=route, limits=limits)
    return replace(decision, program=program, destination=led)


def _excluding(program: Program, target: Target, seen: Observed, decider: Decider) -> str | None:
    """The limit that keeps a target out; what only a call could tell counts as unknown."""
    try:
        return _asked(program, target, seen, decider)
    except NotFetched:
        leave_out(seen, program)
        return _asked(program, target, seen, decider)


def _asked(program: Program, target: Target, seen: Observed, decider: Decider) -> str | None:
    if target.id in program.targets:
        return decider.excluding(target.id, seen)
    return Gate(program).excluding(target, by_reference(seen))
