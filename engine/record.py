"""The decision record: what is kept of a request, enough to decide again. No prompt text.

These are the shapes that `gateway` fills, `journal` and `ledger` write, and `trace` explains.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from turnout.dsl.schema import Value

from .request import Usage

Kind = Literal["answer", "mirror", "embedding"]
Payer = Literal["gateway", "caller"]
MIRROR_HOP, EMBEDDING_HOP = -1, -2


@dataclass(slots=True)
class Attempt:
    """One try at one hop, or one hop that was skipped.

    `outcome` is `ok`, `failed`, `skipped`, or `cached` where its answer was given before and nobody
    was asked; `fault` a `Fault` value where it failed; `reason` one
    sentence for people. `started_us` is UTC. `sent`: request bytes left, so the ledger has a row.
    Money in nano-USD. `unconfirmed_nano_usd` is the worst case of an attempt that was sent and
    whose answer was not read (a timeout, a disconnect): it may have cost so much.
    `kind`: what it was for, `answer`, `mirror` or `embedding`; `hop` counts among the answer's own,
    and is MIRROR_HOP or EMBEDDING_HOP for the others. `reserved_nano_usd`: what was set aside for
    it in budgets before it began, at `booked_us`; None where none applied. `payer`: `gateway`, or
    `caller` who brought a key of its own.
    """

    target: str
    upstream_model: str
    outcome: str
    hop: int
    number: int
    started_us: int
    took_us: int
    fault: str | None = None
    reason: str | None = None
    status: int | None = None
    sent: bool = False
    usage: Usage | None = None
    cost_nano_usd: int = 0
    unconfirmed_nano_usd: int = 0
    ttft_us: int | None = None
    dropped: tuple[str, ...] = ()
    kind: Kind = "answer"
    reserved_nano_usd: int | None = None
    booked_us: int | None = None
    payer: Payer = "gateway"


@dataclass(slots=True)
class Shadowed:
    """What a policy that only looked on would have done with a request.

    `target` is what it comes to if nothing fails, `acting` what the policy in force came to so.
    `agrees`: same rule and same target; None where it could not decide, and `undecided` says why.
    `refused` is the code of the error that it would have been, before any rule. `values`, with
    their `reasons` and `intervals`, are those that it read otherwise than the record has them.
    """

    policy: str
    rule: str | None
    route: str | None
    target: str | None
    acting: str | None
    agrees: bool | None = None
    undecided: str | None = None
    refused: str | None = None
    values: dict[str, Value | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class DecisionRecord:
    """Everything that is kept of one request.

    `values` has the base set and every slot the policy read (unknown ones are None, with their
    `reasons`); `intervals` the counts that were only bounded. `clause` is the matched rule's index,
    None where none matched and the chain was the plan. `status` is the HTTP status sent, `error`
    the envelope's code where there was one. `outcome` is `ok`, `error`, `rejected` (by a rule),
    `disconnect` or `cut`. `pulse_id` names the table of live values at that moment.
    `route` is as written; `chosen` the target that it came to, as the policy names it. `limits`
    names, by target, the limit that kept it out. `mirror` is where a copy went, or was to go.
    `shadow` is what a second policy said of it, where there was one.
    `cache` is `HIT`, `MISS`, or `BYPASS` where no answer might be given again, for the
    `cache_reason`. Of a hit, `served`
    is what the answer had used when it was made, and `saved_nano_usd` what that had cost.
    """

    id: str
    received_us: int
    took_us: int
    digest: str
    operation: str
    tenant: str
    tier: str
    team: str | None
    user: str | None
    key_id: str | None
    session_hash: str
    model: str
    stream: bool
    clause: int | None
    rule: str | None
    route: str | None
    target: str | None
    values: dict[str, Value | None]
    reasons: dict[str, str]
    intervals: dict[str, tuple[int, int]]
    attempts: list[Attempt] = field(default_factory=list)
    status: int = 0
    error: str | None = None
    outcome: str = "ok"
    pulse_id: str | None = None
    cache: str = "BYPASS"
    cache_reason: str | None = None
    chosen: str | None = None
    limits: dict[str, str] = field(default_factory=dict)
    mirror: str | None = None
    shadow: Shadowed | None = None
    served: Usage | None = None
    saved_nano_usd: int = 0

    @property
    def cost_nano_usd(self) -> int:
        """What all attempts cost together."""
        return sum(attempt.cost_nano_usd for attempt in self.attempts)

    @property
    def waited_us(self) -> int:
        """How long it waited for others: the attempts, and the pauses before a hop's next try."""
        tries = [one for one in self.attempts if one.kind != "mirror" and one.outcome != "skipped"]
        pauses = (
            later.started_us - earlier.started_us - earlier.took_us
            for earlier, later in pairwise(tries)
            if later.number > 1
        )
        return sum(one.took_us for one in tries) + sum(max(pause, 0) for pause in pauses)


@dataclass(frozen=True, slots=True)
class Late:
    """An attempt that ended after its request's record had been made: a mirror's."""

    record: DecisionRecord
    attempt: Attempt


def with_late(record: DecisionRecord, attempt: Attempt) -> DecisionRecord:
    """The record with an attempt that ended after it; the record itself stays as it is."""
    if any(one.kind == attempt.kind for one in record.attempts):
        return record
    return replace(record, attempts=[attempt, *record.attempts])


@dataclass(frozen=True, slots=True)
class PulseTable:
    """The live values of all targets at one tick of one worker.

    `values` is by slot key (`p95(openai/gpt-4)`), `reasons` for those not known yet.
    """

    id: str
    at_us: int
    values: dict[str, Value]
    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a worker is at one tick.

    `breakers` has the state of each target's breaker that is not closed, by target; `inflight` how
    many attempts at a target this worker has under way, where there are any. `accepting` is false
    while paid work is refused; `free_bytes` what the disk had free, where somebody looks.
    """

    waiting: int = 0  # records that wait to be written
    requests: int = 0  # decided and not yet recorded
    tasks: int = 0  # of the event loop
    inflight: Mapping[str, int] = field(default_factory=dict)
    breakers: Mapping[str, str] = field(default_factory=dict)
    accepting: bool = True
    free_bytes: int | None = None
    cached: Mapping[str, int] = field(default_factory=dict)  # of the cache, what only rises
    cached_answers: int = 0  # in memory
    cached_bytes: int = 0
    reserved_nano_usd: int = 0  # of the purse, as in `Figures`
    unused_nano_usd: int = 0
    bookings: int = 0
