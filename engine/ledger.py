"""What attempts cost, and the ledger's rows: money that was, or may have been, spent.

The ledger has one row per attempt whose request bytes left, cost 0 included. It says what was
spent; why a request went where it went is the journal's. Nothing here estimates: an attempt without
usage has no token counts, it does not have zero.
"""

from typing import NamedTuple

from turnout.dsl.schema import Tariff

from .record import Attempt, DecisionRecord, Late
from .request import Usage

_PER_TARIFF_UNIT = 1_000_000  # rates are per million tokens
# A provider may report anything. More than this of one attempt is no truth, and sums of it would
# be more than a database's integer holds: nothing could be added up any more.
MOST_NANO_USD = 10**15
MOST_TOKENS = 10**12


def charge(tariff: Tariff, usage: Usage) -> int:
    """What usage costs, in nano-USD: exact over all its parts, rounded up once.

    Cached and cache-write tokens are part of `usage.input`, and are paid at the input rate where
    the tariff has no rate of their own. The last step of `tariff.above` that the prompt exceeds
    replaces the whole tariff.

    >>> charge(Tariff(input=3_000_000_000, output=15_000_000_000), Usage(input=1_000, output=10))
    3150000
    """
    for prompt_tokens, step in tariff.above:
        if usage.input > prompt_tokens:
            tariff = step
    cached = max(usage.cached, 0)
    written = max(usage.cache_write, 0)
    uncached = max(usage.input - cached - written, 0)
    parts = (
        uncached * tariff.input
        + cached * (tariff.input if tariff.cached is None else tariff.cached)
        + written * (tariff.input if tariff.cache_write is None else tariff.cache_write)
        + max(usage.output, 0) * tariff.output
    )
    return -(-parts // _PER_TARIFF_UNIT) + tariff.request


class Entry(NamedTuple):
    """A row of the table `ledger`; the fields are its columns.

    `time_us`: when the attempt began, or its worst case was reserved, UTC. `request`, `hop`,
    `attempt`: which one; `attempt` counts within the hop. `model`: what the client asked for;
    `upstream_model`: what the provider was asked for. `policy`: its digest.
    `tokens_in` includes `tokens_cached` and `tokens_cache_write`,
    `tokens_out` includes `tokens_reasoning`; all are None where no usage is known.
    `usage_source`: `upstream`, `estimated`, `none` (the provider refused, nothing was used) or
    `unconfirmed` (sent, and nobody knows what was used; it may have cost `unconfirmed_nano_usd`
    and is in no sum of `cost_nano_usd`). `outcome` is `ok` or `failed`, `fault` says why. `kind`:
    what the attempt was for, `answer`, `mirror` or `embedding`; `hop` is below 0 of the last two.
    `payer`: `gateway`, or `caller` who brought a key of its own; only the former counts against
    budgets. `corrects`: the number of the row that a `correction` corrects.
    """

    time_us: int
    request: str
    hop: int
    attempt: int
    tenant: str
    team: str | None
    user: str | None
    key_id: str | None
    model: str
    target: str
    upstream_model: str
    rule: str | None
    policy: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    tokens_cache_write: int | None
    tokens_reasoning: int | None
    usage_source: str
    cost_nano_usd: int
    unconfirmed_nano_usd: int
    outcome: str
    fault: str | None
    kind: str
    payer: str = "gateway"
    corrects: int | None = None


def entries(record: DecisionRecord) -> list[Entry]:
    """The ledger's rows of a request: one per attempt whose request bytes left."""
    return [_entry(record, attempt) for attempt in record.attempts if attempt.sent]


def entries_of(late: Late) -> list[Entry]:
    """The ledger's row of an attempt that ended after its record, where its bytes left."""
    return [_entry(late.record, late.attempt)] if late.attempt.sent else []


def usage_source(attempt: Attempt) -> str:
    """Where an attempt's token counts come from; see `Entry`."""
    if attempt.usage is not None:
        return "estimated" if attempt.usage.estimated else "upstream"
    answered = attempt.status is None or 200 <= attempt.status < 300
    return "unconfirmed" if answered else "none"


def _entry(record: DecisionRecord, attempt: Attempt) -> Entry:
    usage = attempt.usage
    return Entry(
        time_us=attempt.started_us if attempt.booked_us is None else attempt.booked_us,
        request=record.id,
        hop=attempt.hop,
        attempt=attempt.number,
        tenant=record.tenant,
        team=record.team,
        user=record.user,
        key_id=record.key_id,
        model=record.model,
        target=attempt.target,
        upstream_model=attempt.upstream_model,
        rule=record.rule,
        policy=record.digest,
        tokens_in=_bounded(usage.input) if usage else None,
        tokens_out=_bounded(usage.output) if usage else None,
        tokens_cached=_bounded(usage.cached) if usage else None,
        tokens_cache_write=_bounded(usage.cache_write) if usage else None,
        tokens_reasoning=_bounded(usage.reasoning) if usage else None,
        usage_source=usage_source(attempt),
        cost_nano_usd=min(attempt.cost_nano_usd, MOST_NANO_USD),
        unconfirmed_nano_usd=min(attempt.unconfirmed_nano_usd, MOST_NANO_USD),
        outcome=attempt.outcome,
        fault=attempt.fault,
        kind=attempt.kind,
        payer=attempt.payer,
    )


def _bounded(count: int) -> int:
    return count if count < MOST_TOKENS else MOST_TOKENS
