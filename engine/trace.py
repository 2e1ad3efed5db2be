"""Explains a recorded request: the trace document, and the same for people.

Nothing was computed up front: the policy of that day, from the archive, is run again by the
tracing interpreter on the recorded values. `turnout trace` and `GET /v1/traces/{id}` show the same
document. How it reads on a terminal is in `trace_text`.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cachetools import LRUCache

from turnout.dsl.check import restore
from turnout.dsl.core import Program
from turnout.dsl.destination import Destination, reached
from turnout.dsl.interpret.traced import trace
from turnout.dsl.schema import Schema, Type, Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.units import format_usd, format_value

from .attributes import BY_NAME
from .destination import explained
from .record import MIRROR_HOP, Attempt, DecisionRecord, Kind, PulseTable, Shadowed
from .request import Usage
from .trace_text import NOT_READ, render, render_trail

__all__ = ["Programs", "document", "render", "render_trail", "snapshot"]

_PROGRAMS_KEPT = 32
# A copy has the policy's deadline of its own; where that is not known any more, it had an hour.
_LONGEST_DEADLINE_US = 3_600_000_000
_WRITTEN_WITHIN_US = 60_000_000  # and what became of it is written by then
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Programs:
    """Programs of the past, built again from their canonical text; the last few are kept."""

    def __init__(self, schema: Schema) -> None:
        """Build against this schema: attributes come from it, catalogue rows from the text."""
        self._schema = schema
        self._kept: LRUCache[str, Program] = LRUCache(_PROGRAMS_KEPT)
        self._lock = threading.Lock()

    def get(self, digest: str, archived: Callable[[str], str | None]) -> Program | None:
        """The program of a digest; `archived` gives its text. None if there is none. Blocks."""
        with self._lock:
            program = self._kept.get(digest)
        if program is None:
            canonical = archived(digest)
            if canonical is None:
                return None
            program = restore(canonical, self._schema)
            with self._lock:
                self._kept[digest] = program
        return program


def document(
    record: DecisionRecord,
    program: Program | None,
    pulse: PulseTable | None = None,
    now_us: int | None = None,
    shadow: Program | None = None,
) -> dict[str, Any]:
    """The trace of a request, as data.

    Shape: `id policy rule route trail hops tokens cost cache` are for scripts to rely on. `trail`
    is None where the policy is no longer kept; `replayed` says whether it ends in the rule that
    was recorded, and it always should. Each of `hops` is an attempt or a skipped hop:
    `target outcome fault ms`, and what else is known. `tokens` and `cost` (decimal USD) are summed
    over all attempts; `tokens` is None where no usage is known. `cache_reason` is why no answer
    might be given again, None where one might. Of an answer from the cache
    `served` is what that had used, and `saved` what it had cost, when it was made. What
    `destination.explained` says is there too, worked out again, and None where the policy is no
    longer kept; `limits` are those of that day.
    `mirror` (the copy) is like one of `hops`, or None; under way it has the outcome `pending`, and
    `lost` where at `now_us` (UTC; None: now) none can be under way any more.
    `embeddings` are the calls that a signal cost, like `hops`. `shadow` is what a policy beside
    said, or None: `{policy, rule, route, target, acting, agrees, undecided, refused, trail}`, with
    a `trail` where its program is handed in.
    """
    verdict = None
    way: dict[str, Any] = dict.fromkeys(_NOTHING)
    replays = None
    if program is not None:
        seen = snapshot(record, program)
        verdict = trace(program, seen)
        clause = None if record.clause is None else program.clauses[record.clause]
        found = reached(program, record.clause, seen).found
        way = explained(found, clause, int(seen["date"] or 0))
        chosen = None if found.route is None else found.route.target
        replays = verdict.clause == record.clause and record.chosen in (None, chosen)
    usages = [attempt.usage for attempt in record.attempts if attempt.usage is not None]
    return {
        "id": record.id,
        "time": _instant(record.received_us),
        "policy": record.digest,
        "rule": record.rule,
        "route": record.route,
        "target": record.target,
        "outcome": record.outcome,
        "status": record.status,
        "error": record.error,
        "ms": _ms(record.took_us),
        "operation": record.operation,
        "model": record.model,
        "stream": record.stream,
        "tenant": record.tenant,
        "tier": record.tier,
        "team": record.team,
        "user": record.user,
        "key": record.key_id,
        "values": {
            key: _shown(value, _type_of(key, program))
            for key, value in sorted(record.values.items())
        },
        "unknown": {
            key: record.reasons.get(key)
            for key, value in sorted(record.values.items())
            if value is None
        },
        "intervals": {key: [low, high] for key, (low, high) in sorted(record.intervals.items())},
        "pulse": None if pulse is None else {"id": pulse.id, "time": _instant(pulse.at_us)},
        "trail": None if verdict is None else verdict.to_json(),
        "replayed": replays,
        **way,
        "limits": [{"limit": name, "target": id} for id, name in record.limits.items()],
        "chosen": record.chosen,
        "hops": _of_kind(record, "answer"),
        "mirror": next(iter(_of_kind(record, "mirror")), _without_end(record, program, now_us)),
        "embeddings": _of_kind(record, "embedding"),
        "shadow": None if record.shadow is None else _beside(record, record.shadow, shadow),
        "tokens": _tokens(usages) if usages else None,
        "cost": format_usd(record.cost_nano_usd),
        "unconfirmed": format_usd(sum(one.unconfirmed_nano_usd for one in record.attempts)),
        "cache": record.cache,
        "cache_reason": record.cache_reason,
        "served": None if record.served is None else _tokens([record.served]),
        "saved": format_usd(record.saved_nano_usd),
    }


def snapshot(record: DecisionRecord, program: Program) -> Snapshot:
    """The values that a program would have decided this request on, as far as they were kept.

    What the clock said follows from the instant, in the program's zone. What nobody had to read is
    unknown with the reason `not read`; it cannot change the outcome of the program that decided.
    """
    seen = Snapshot(dict(record.values))
    seen.reasons = dict(record.reasons)
    seen.intervals = dict(record.intervals)
    return _with_clock(seen, record, program)


def shadow_snapshot(record: DecisionRecord, shadowed: Shadowed, program: Program) -> Snapshot:
    """The values that the policy beside decided this request on; `program` is its own."""
    seen = Snapshot({**record.values, **shadowed.values})
    kept = record.values.keys() - shadowed.values.keys()
    seen.reasons = {key: why for key, why in record.reasons.items() if key in kept}
    seen.reasons |= shadowed.reasons
    seen.intervals = {key: both for key, both in record.intervals.items() if key in kept}
    seen.intervals |= shadowed.intervals
    return _with_clock(seen, record, program)


def _with_clock(seen: Snapshot, record: DecisionRecord, program: Program) -> Snapshot:
    local = (_EPOCH + timedelta(microseconds=record.received_us)).astimezone(
        ZoneInfo(program.timezone)
    )
    seen["time"] = local.hour * 60 + local.minute
    seen["weekday"] = local.weekday()
    seen["date"] = (local.date() - _EPOCH.date()).days
    for key in program.slots:
        if key not in seen:
            seen.reasons[key] = NOT_READ
    return seen


# --- the document's parts ------------------------------------------------------------------------


_NOTHING = explained(Destination(()), None, None)


def _of_kind(record: DecisionRecord, kind: Kind) -> list[dict[str, Any]]:
    return [_hop(one) for one in record.attempts if one.kind == kind]


def _beside(record: DecisionRecord, shadowed: Shadowed, program: Program | None) -> dict[str, Any]:
    trail = None
    if program is not None and shadowed.agrees is not None and shadowed.refused is None:
        trail = trace(program, shadow_snapshot(record, shadowed, program)).to_json()
    return {
        "policy": shadowed.policy,
        "rule": shadowed.rule,
        "route": shadowed.route,
        "target": shadowed.target,
        "acting": shadowed.acting,
        "agrees": shadowed.agrees,
        "undecided": shadowed.undecided,
        "refused": shadowed.refused,
        "trail": trail,
    }


def _without_end(
    record: DecisionRecord, program: Program | None, now_us: int | None
) -> dict[str, Any] | None:
    """A copy that no end is known of: it is under way, or its process ended before it did."""
    if record.mirror is None:
        return None
    now_us = time.time_ns() // 1_000 if now_us is None else now_us
    longest_us = _LONGEST_DEADLINE_US if program is None else program.deadline_us
    over_us = record.received_us + record.took_us + longest_us + _WRITTEN_WITHIN_US
    ended = Attempt(
        record.mirror, "", "pending", MIRROR_HOP, 0, record.received_us, 0, kind="mirror"
    )
    if now_us > over_us:
        ended.outcome = "lost"
        ended.reason = "the gateway ended before the copy did; it may have cost something"
    return _hop(ended)


def _hop(attempt: Attempt) -> dict[str, Any]:
    return {
        "target": attempt.target,
        "outcome": attempt.outcome,
        "fault": attempt.fault,
        "ms": _ms(attempt.took_us),
        "hop": attempt.hop,
        "attempt": attempt.number,
        "time": _instant(attempt.started_us),
        "reason": attempt.reason,
        "status": attempt.status,
        "sent": attempt.sent,
        "upstream_model": attempt.upstream_model,
        "ttft_ms": None if attempt.ttft_us is None else _ms(attempt.ttft_us),
        "tokens": None if attempt.usage is None else _tokens([attempt.usage]),
        "cost": format_usd(attempt.cost_nano_usd),
        "unconfirmed": format_usd(attempt.unconfirmed_nano_usd),
        "reserved": None
        if attempt.reserved_nano_usd is None
        else format_usd(attempt.reserved_nano_usd),
        "payer": attempt.payer,
        "dropped": list(attempt.dropped),
    }


def _tokens(usages: list[Usage]) -> dict[str, Any]:
    return {
        "input": sum(usage.input for usage in usages),
        "output": sum(usage.output for usage in usages),
        "cached": sum(usage.cached for usage in usages),
        "cache_write": sum(usage.cache_write for usage in usages),
        "reasoning": sum(usage.reasoning for usage in usages),
        "estimated": any(usage.estimated for usage in usages),
    }


def _type_of(key: str, program: Program | None) -> Type | None:
    slot = program.slots.get(key) if program is not None else None
    if slot is not None:
        return slot.attribute.type
    attribute = BY_NAME.get(key) or BY_NAME.get(key.partition("(")[0])
    return None if attribute is None else attribute.type


def _shown(value: Value | None, type: Type | None) -> bool | int | float | str | None:
    """A value as a JSON snapshot has it: bare where a condition would have it bare."""
    if value is None or type in (None, Type.BOOL, Type.NUMBER, Type.TEXT, Type.ENUM):
        return value
    if type is Type.SCORE:
        return int(value) / 10_000
    return format_value(value, type)


def _instant(utc_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=utc_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ms(took_us: int) -> float:
    return took_us / 1_000
