"""Where a decision sends a request: the target that its route comes to, and what follows.

Pure like the decision. The gateway hands in compiled terms, an explanation traced ones; which
candidate and which arm it is, says `dsl.choose`; which targets may serve at all, say the limits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.dsl.choose import Evaluate, Option, choose
from turnout.dsl.core import (
    REQUESTED,
    Arm,
    Candidate,
    Choice,
    Clause,
    Const,
    Hop,
    Plan,
    Program,
    Read,
    Reject,
    Route,
    Split,
    Term,
)
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.limits import Gate
from turnout.dsl.schema import Target, Type, Value
from turnout.dsl.units import format_value, quote

Seen = Mapping[str, Value | None]


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


def replayed(
    program: Program, clause: Clause | None, seen: Seen, requested: Target | None
) -> Destination:
    """Where a snapshot that was recorded, or written by hand, leads by the reference meaning."""
    if clause is not None:
        plan: Plan | None = clause.plan
    else:
        plan = plan_without_rule(program, seen["request_type"] == "embeddings")
    return destination(program, plan, by_reference(seen), Gate(program), seen, requested)


def by_reference(seen: Seen) -> Evaluate:
    """The values of terms as the tracing interpreter finds them."""
    return lambda term: evaluate(term, seen).value


def plan_without_rule(program: Program, embeddings: bool) -> Plan | None:
    """What is done where no rule matched: None is the chain; embeddings get what they ask for."""
    return Plan(program.requested, None) if embeddings else None


def following(program: Program, plan: Plan) -> tuple[Hop, ...]:
    """What is tried where a plan's route fails: its own fallback, else the program's chain."""
    return program.chain if plan.fallback is None else plan.fallback


def first_allowed(found: Destination, value_of: Evaluate, requested: Target | None) -> str | None:
    """The target that a request comes to if nothing fails; None where there is none.

    None too where the rule gives what was asked for and nothing was. What a gateway knows besides
    (credentials, the size of windows) is not asked here.
    """
    for hop in found.hops:
        target = hop.target
        if target == REQUESTED:
            if requested is None:
                if hop is found.route:
                    return None
                continue
            target = requested.id
        if target not in found.limits and (hop.when is None or value_of(hop.when) is True):
            return target
    return None


def route_of(program: Program, clause: Clause | None) -> str | None:
    """The route of a rule as written; without one, where the chain begins."""
    if clause is not None:
        return written(clause.plan.route)
    return program.chain[0].target if program.chain else None


def is_expired(clause: Clause, today: int) -> bool:
    """Whether a rule is past its date; `today` is in days since 1970-01-01."""
    return clause.expires is not None and today > clause.expires


def explained(found: Destination, clause: Clause | None, today: int | None) -> dict[str, Any]:
    """What a trace or an explanation says of where a request goes, beside its target.

    Shape: `choice: [{target, excluded, rank}]`, `excluded` being the reason or null, `rank` as the
    language writes it; `bucket` of a split, 0..9999; `limits: [{limit, target}]`; `set` the fields
    written over the client's; `mirror` where a copy goes; `tags`; `expired` null where it takes a
    clock and there is none.
    """
    plan = None if clause is None else clause.plan
    type_ = Type.NUMBER if plan is None else _rank_type(plan.route)
    return {
        "choice": [
            {
                "target": one.target,
                "excluded": one.excluded,
                "rank": None if one.rank is None else format_value(one.rank, type_),
            }
            for one in found.options
        ],
        "bucket": found.bucket,
        "limits": [{"limit": name, "target": target} for target, name in found.limits.items()],
        "set": {} if plan is None else dict(plan.sets),
        "mirror": None if found.mirror is None else found.mirror.target,
        "tags": [] if clause is None else list(clause.tags),
        "expired": _expired(clause, today),
    }


def _expired(clause: Clause | None, today: int | None) -> bool | None:
    if clause is None or clause.expires is None:
        return False
    return None if today is None else is_expired(clause, today)


def _rank_type(route: Route) -> Type:
    if isinstance(route, Choice):
        for one in route.candidates:
            if one.rank is not None:
                return one.rank.type
    return Type.NUMBER


def hops_of(route: Route) -> tuple[Hop, ...]:
    """Every hop that a route may come to, in the order of the file."""
    match route:
        case Hop():
            return (route,)
        case Choice(candidates=candidates):
            return tuple(candidate.hop for candidate in candidates)
        case Split(arms=arms):
            return tuple(arm.hop for arm in arms)
        case Reject():
            return ()


def written(route: Route) -> str:
    """A route in a line: the very text where it was written so, else put together of its parts."""
    if isinstance(route, Hop):
        return route.target
    text = " ".join(route.span.text.split())
    if text.startswith("{"):
        return text
    match route:
        case Choice():
            parts = [f"{route.form}: [{', '.join(one.hop.target for one in route.candidates)}]"]
            parts += _options(route.form, route.candidates[0])
        case Split(bucket=bucket, arms=arms):
            parts = [f"split: {{{', '.join(_shares(arms))}}}", *_sticky(bucket)]
        case Reject(status=status, message=message):
            parts = [f"reject: {status}", f"message: {quote(message)}"]
    return f"{{{', '.join(parts)}}}"


def _options(form: str, candidate: Candidate) -> list[str]:
    options = []
    rank, where = candidate.rank, candidate.where
    if form == "fastest_of" and isinstance(rank, Read) and not rank.key.startswith("p95("):
        options.append(f"by: {rank.key.partition('(')[0]}")
    if where is not None and where.span is not None:
        options.append(f"where: {' '.join(where.span.text.split())}")
    return options


def _shares(arms: tuple[Arm, ...]) -> Iterator[str]:
    """The arms with their shares; those of a ramp change, so they are left out."""
    below = 0
    for arm in arms:
        if not isinstance(arm.upto, Const) or not isinstance(arm.upto.value, int):
            yield arm.hop.target
            continue
        yield f"{arm.hop.target}: {format_value(arm.upto.value - below, Type.PERCENT)}"
        below = arm.upto.value


def _sticky(bucket: Term) -> list[str]:
    if not isinstance(bucket, Read):
        return []
    name = bucket.key.partition("(")[0].removeprefix("bucket").removeprefix(".")
    return [] if name == "request" else [f"sticky: {name or 'session'}"]
