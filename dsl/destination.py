"""Where a plan sends a request: its hops in their order, and the target it comes to first.

The one answer for the gateway, for `explain`, `simulate` and the tests of a file. Pure like the
decision: whoever asks evaluates the terms, the gateway compiled ones, an explanation traced ones;
which candidate and which arm it is, says `choose`; which targets may serve at all, say the limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .choose import Evaluate, Option, choose
from .core import REQUESTED, Hop, Plan, Program, Reject
from .interpret.traced import evaluate
from .limits import Gate
from .schema import Target, Tariff, Value

Seen = Mapping[str, Value | None]
AUTO = "auto"  # the model of a client that leaves the choice to the policy


@dataclass(frozen=True, slots=True)
class Destination:
    """The hops of a request in their order.

    `route` is the hop that the rule's route came to, and then the first of `hops`: None of a
    rejection, of a choice that nothing was left of, and where no rule matched. `options` are the
    candidates or arms as they were looked at, `bucket` that of a split. `limits` names, by target
    id, the limit that keeps it out. `mirror`: where a copy goes, if one does.
    """

    hops: tuple[Hop, ...]
    route: Hop | None = None
    options: tuple[Option, ...] = ()
    bucket: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    mirror: Hop | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a snapshot leads before anything fails.

    `clause` is the index of the rule that fired, None where none did. `reject` is there where the
    rule refuses. `first` is the hop that is tried first and `target` its id; None where nothing may
    be tried. `excluded` are the targets passed over before it, each with the name of the limit.
    """

    clause: int | None
    found: Destination
    reject: Reject | None
    first: Hop | None
    target: str | None
    excluded: tuple[tuple[str, str], ...] = ()


def destination(
    program: Program,
    plan: Plan | None,
    value_of: Evaluate,
    gate: Gate,
    seen: Seen,
    requested: Target | None,
) -> Destination:
    """Where a plan sends a request; `plan` None: to the program's chain, for no rule matched.

    `requested` is the target that the client asked for.
    """
    found: dict[str, str] = {}

    def exclude(name: str) -> str | None:
        target = requested if name == REQUESTED else program.targets.get(name)
        if target is None:
            return None
        if target.id in program.targets:
            reason = gate.excluding(target.id, seen, value_of)
        else:  # of a client's making: nothing of it is kept
            reason = Gate(program).excluding(target, seen, by_reference(seen))
        if reason is not None:
            found[target.id] = reason
        return reason

    if plan is None:
        hops, route, chosen = program.chain, None, None
    else:
        chosen = choose(plan.route, value_of, exclude)
        route = chosen.hop
        hops = () if isinstance(plan.route, Reject) else following(program, plan)
        hops = hops if route is None else (route, *hops)
    mirror = None
    copied = plan.mirror if plan is not None and hops else None
    if copied is not None and value_of(copied.sampled) is True:
        mirror = copied.hop
    if program.limits:
        for hop in hops if mirror is None else (*hops, mirror):
            exclude(hop.target)
    return Destination(
        hops,
        route,
        () if chosen is None else chosen.options,
        None if chosen is None else chosen.bucket,
        found,
        mirror,
    )


def plan_without_rule(program: Program, embeddings: bool) -> Plan | None:
    """What is done where no rule matched: None is the chain; embeddings get what they ask for."""
    return Plan(program.requested, None) if embeddings else None


def following(program: Program, plan: Plan) -> tuple[Hop, ...]:
    """What is tried where a plan's route fails: its own fallback, else the program's chain."""
    return program.chain if plan.fallback is None else plan.fallback


def by_reference(seen: Seen) -> Evaluate:
    """The values of terms as the tracing interpreter finds them."""
    return lambda term: evaluate(term, seen).value


def first_allowed(
    program: Program, found: Destination, value_of: Evaluate, seen: Seen, requested: Target | None
) -> str | None:
    """The target that a request comes to if nothing fails; None where there is none.

    What was asked for is passed over where nothing was. What a gateway knows besides (credentials,
    the size of windows) is not asked here.
    """
    return _walked(program, found, value_of, seen, requested)[1]


def reached(
    program: Program,
    clause: int | None,
    seen: Seen,
    value_of: Evaluate | None = None,
    gate: Gate | None = None,
) -> Reached:
    """Where the clause that fired (an index; None: no rule did) leads on a snapshot."""
    value_of = value_of or by_reference(seen)
    requested = asked_target(program, seen)
    if clause is None:
        plan = plan_without_rule(program, seen["request_type"] == "embeddings")
    else:
        plan = program.clauses[clause].plan
    found = destination(program, plan, value_of, gate or Gate(program), seen, requested)
    if plan is not None and isinstance(plan.route, Reject):
        return Reached(clause, found, plan.route, None, None)
    is_asked = found.route is not None and found.route.target == REQUESTED
    if is_asked and requested is None and _asks_by_name(seen):
        return Reached(clause, found, None, None, None)  # the gateway refuses such a name
    first, target, excluded = _walked(program, found, value_of, seen, requested)
    return Reached(clause, found, None, first, target, excluded)


def asked_target(program: Program, seen: Seen) -> Target | None:
    """The target that a snapshot says was asked for: itself, or the one that its `model` names.

    None where the client left the choice to the policy, and of a name that nobody knows, which the
    gateway refuses before it decides.
    """
    name = seen.get(REQUESTED)
    if name is None:
        name = seen.get("model")
        if isinstance(name, str) and name in program.models:
            name = program.models[name]
    if not isinstance(name, str) or name == AUTO:
        return None
    catalog = program.schema.catalog
    target = (
        program.targets.get(name)
        or catalog.requestable(program.providers).get(name)
        or catalog.find(name)
    )
    if target is None:
        provider, _, model = name.partition("/")
        kind = program.providers[provider].kind if provider in program.providers else ""
        free = program.schema.providers.get(kind, False)
        return Target(name, provider, model, Tariff(0, 0)) if free and model else None
    is_known = target.provider in program.providers and target.tariff is not None
    return target if is_known else None


def _asks_by_name(seen: Seen) -> bool:
    return (seen.get(REQUESTED) or seen.get("model")) not in (None, AUTO)


def _walked(
    program: Program, found: Destination, value_of: Evaluate, seen: Seen, requested: Target | None
) -> tuple[Hop | None, str | None, tuple[tuple[str, str], ...]]:
    """The first hop that may be tried, its target, and what limits kept out before it."""
    excluded: dict[str, str] = {}
    met: set[str] = set()
    model: str | None = None  # another model's vectors are of no use beside those of the first
    for hop in found.hops:
        target = requested if hop.target == REQUESTED else program.targets.get(hop.target)
        if target is None or target.id in met:
            continue
        met.add(target.id)
        model = model or target.model
        if target.id in found.limits:
            excluded[hop.target] = found.limits[target.id]
        elif target.model != model and seen["request_type"] == "embeddings":
            continue
        elif hop.when is None or value_of(hop.when) is True:
            return hop, target.id, tuple(excluded.items())
    return None, None, tuple(excluded.items())
