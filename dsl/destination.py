"""Where a plan sends a request: its hops in their order, and the target it comes to first.

The one answer for the gateway, for `explain`, `simulate` and the tests of a file. Pure like the
decision: whoever asks evaluates the terms, the gateway compiled ones, an explanation traced ones;
which candidate and which arm it is, says `choose`; which targets may serve at all, say the limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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
    id, the limit that keeps it out. `mirror`: where a copy goes, if one does. `lacks` is the key of
    the bucket that a split reads and nobody gave: its hops are not known then.
    """

    hops: tuple[Hop, ...]
    route: Hop | None = None
    options: tuple[Option, ...] = ()
    bucket: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    mirror: Hop | None = None
    lacks: str | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a snapshot leads before anything fails.

    `clause` is the index of the rule that fired, None where none did. `reject` is there where the
    rule refuses. `first` is the hop that is tried first and `target` its id; None where nothing may
    be tried. `excluded` are the targets passed over before it, each with the name of the limit.
    `unknown_model` is what the client asked for where that comes next and nobody knows it: the
    gateway refuses such a request, whatever else there is.
    """

    clause: int | None
    found: Destination
    reject: Reject | None
    first: Hop | None
    target: str | None
    excluded: tuple[tuple[str, str], ...] = ()
    unknown_model: str | None = None

    @property
    def kept_out(self) -> tuple[tuple[str, str], ...]:
        """The targets that limits kept the request from, each with the name of the limit."""
        return kept_out(self.found, self.excluded)


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
            reason = gate.excluding(target.id, value_of)
        else:  # of a client's making: nothing of it is kept
            reason = Gate(program).excluding(target, by_reference(seen))
        if reason is not None:
            found[target.id] = reason
        return reason

    if plan is None:
        hops, route, chosen = program.chain, None, None
    else:
        chosen = choose(plan.route, value_of, exclude)
        route = chosen.hop
        is_open = chosen.lacks is None and not isinstance(plan.route, Reject)
        hops = following(program, plan) if is_open else ()
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
        None if chosen is None else chosen.lacks,
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


class First(NamedTuple):
    """What is tried first; the fields are those of `Reached` with the same names."""

    first: Hop | None
    target: str | None
    excluded: tuple[tuple[str, str], ...]
    unknown_model: str | None = None


def first_allowed(
    program: Program, found: Destination, value_of: Evaluate, seen: Seen, requested: Target | None
) -> First:
    """What a request comes to if nothing fails.

    What was asked for is passed over where nothing was. What a gateway knows besides (credentials,
    the size of windows) is not asked here.
    """
    excluded: dict[str, str] = {}
    met: set[str] = set()
    model: str | None = None  # another model's vectors are of no use beside those of the first
    for hop in found.hops:
        target = requested if hop.target == REQUESTED else program.targets.get(hop.target)
        if target is None and hop.target == REQUESTED:
            name = asked_name(program, seen)
            if name is not None:
                return First(None, None, tuple(excluded.items()), name)
        if target is None or target.id in met:
            continue
        met.add(target.id)
        model = model or target.model
        if target.id in found.limits:
            excluded[hop.target] = found.limits[target.id]
        elif target.model != model and seen["request_type"] == "embeddings":
            continue
        elif hop.when is None or value_of(hop.when) is True:
            return First(hop, target.id, tuple(excluded.items()))
    return First(None, None, tuple(excluded.items()))


def kept_out(
    found: Destination, excluded: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """The targets that limits kept a request from on its way, each with the name of the limit.

    `excluded` are the hops passed over; the candidates of a choice come before them. Arms that the
    request's bucket is not in were not on its way.
    """
    candidates = found.options if found.bucket is None and found.lacks is None else ()
    out = {one.target: found.limits[one.target] for one in candidates if one.target in found.limits}
    return tuple((out | dict(excluded)).items())


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
    return Reached(clause, found, None, *first_allowed(program, found, value_of, seen, requested))


def asked_target(program: Program, seen: Seen) -> Target | None:
    """The target that a snapshot says was asked for: itself, or the one that its `model` names.

    None where the client left the choice to the policy, and of a name that nobody knows, which the
    gateway refuses before it decides.
    """
    name = asked_name(program, seen)
    return None if name is None else named_target(program, name)


def asked_name(program: Program, seen: Seen) -> str | None:
    """What a snapshot says was asked for by name; None where the policy is to choose."""
    name = seen.get(REQUESTED)
    if name is None:
        name = seen.get("model")
        if isinstance(name, str) and name in program.models:
            name = program.models[name]
    return name if isinstance(name, str) and name != AUTO else None


def named_target(program: Program, name: str) -> Target | None:
    """The target that a client gets by a name that is none of the policy's `models`."""
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


def kept_out_said(kept: tuple[tuple[str, str], ...]) -> str:
    """Which limits kept a request from where, in words; empty where none did.

    >>> kept_out_said((("openai/gpt-4o", "eu"), ("groq/llama-3-8b", "eu")))
    'the limit `eu` keeps out `openai/gpt-4o` and `groq/llama-3-8b`'
    """
    by_limit: dict[str, list[str]] = {}
    for target, limit in kept:
        by_limit.setdefault(limit, []).append(f"`{target}`")
    return ", ".join(
        f"the limit `{limit}` keeps out {' and '.join(targets)}"
        for limit, targets in by_limit.items()
    )


def nowhere_said(reached: Reached) -> str | None:
    """Why a request comes to no target, in words; None where it does, and where a rule refuses."""
    found = reached.found
    if reached.target is not None or reached.reject is not None:
        return None
    if found.lacks is not None:
        return f"the split reads `{found.lacks}`, which is not given"
    if reached.unknown_model is not None:
        return f"nobody knows the model `{reached.unknown_model}`"
    if reached.kept_out:
        return kept_out_said(reached.kept_out)
    if found.options:
        return "nothing is left of the choice"
    return "no hop may be entered" if found.hops else "no rule matched"
