"""Where a decision sends a request, in words: routes as written, and what a trace says of them.

Where it is sent, says `dsl.destination`.
"""

from collections.abc import Iterator
from typing import Any

from turnout.dsl.core import (
    Arm,
    Candidate,
    Choice,
    Clause,
    Const,
    Hop,
    Program,
    Read,
    Reject,
    Route,
    Split,
    Term,
)
from turnout.dsl.destination import Destination
from turnout.dsl.schema import Type
from turnout.dsl.units import format_value, quote


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
