"""What budgets have used in their present period, as the ledger says it.

Nothing is enforced here (`purse` does that): these are the values behind `budget("x").left`.
`refresh` blocks and belongs off the event loop, about once a second, where the program has budgets;
reading takes a microsecond and sees the state of the last refresh. Spend is what was
charged and what may have been (`unconfirmed`, and the leases of workers that ended), of all workers
that write to the same store; what is reserved for requests under way is not spent.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from turnout.dsl.core import Program

from .request import Caller, Request

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# In the order of `SpendRow`; a model is counted as the target that was called.
_SCOPES = ("tenant", "team", "user", "key", "model")
_WITHIN_TENANT = ("team", "user", "key")


class SpendRow(NamedTuple):
    """A sum of ledger rows that are alike; `nano_usd` has what is unconfirmed in it."""

    tenant: str
    team: str | None
    user: str | None
    key: str | None
    target: str
    nano_usd: int


class Spending(Protocol):
    """Where sums of the ledger come from."""

    def spending(self, from_us: int, after: int) -> tuple[int, list[SpendRow]]:
        """Sums of the rows from an instant on that were written after row `after`.

        Only what the gateway pays. The number is the last row's there is, `after` itself where
        nothing was added. Blocks.
        """

    def lost(self) -> Mapping[tuple[str, str, str, int, int], int]:
        """What workers that ended may have spent, by what tells counters apart. Blocks."""


class Period(NamedTuple):
    """A stretch of a budget: from its first instant to that of the next, UTC µs."""

    from_us: int
    to_us: int


class _Tally:
    """The sums of one period."""

    def __init__(self, period: Period) -> None:
        self.period = period
        self.after = 0
        self.sums: Counter[tuple[str, str, str]] = Counter()  # by scope, tenant and who it is

    def add(self, rows: list[SpendRow]) -> None:
        for row in rows:
            for scope, of in zip(_SCOPES, row[:5], strict=True):
                if of is not None:
                    self.sums[scope, tenant_of(scope, row.tenant), of] += row.nano_usd


class Spent:
    """What was spent per scope in each current period."""

    def __init__(self, ledger: Spending | None = None) -> None:
        """Read this ledger; without one nothing is ever known."""
        self._ledger = ledger
        self._tallies: dict[tuple[str, str], _Tally] = {}  # by kind of period and timezone
        self._lost: Mapping[tuple[str, str, str, int, int], int] = {}

    def refresh(self, program: Program, now_us: int) -> None:
        """Add what was written to the ledger since the last time; blocks.

        Cost: the first time the rows of the period, then those that are new. One thread at a time.
        Raises: StoreError; what is known stays.
        """
        if self._ledger is None:
            return
        for kind in {budget.period for budget in program.budgets}:
            key = (kind, program.timezone)
            tally = self._tallies.get(key)
            period = period_of(kind, now_us, program.timezone)
            if tally is None or tally.period != period:
                tally = _Tally(period)
            after, rows = self._ledger.spending(period.from_us, tally.after)
            tally.add(rows)
            tally.after = after
            # Published only now, whole: a reader never sees a period without its sums.
            self._tallies[key] = tally
        self._lost = self._ledger.lost()

    def value(
        self, program: Program, name: str, part: str, request: Request
    ) -> tuple[int | None, str | None]:
        """A part (`left`, `used`, `limit`, `resets_in`) of the caller's own counter of a budget.

        Money in nano-USD (`left` is below 0 where more was spent), `resets_in` in µs. Where there
        is no value there is a reason in words, and the other way round.
        """
        budget = next((one for one in program.budgets if one.name == name), None)
        if budget is None:
            return None, f"there is no budget `{name}`"
        if budget.scope == "model":
            # Which target it will be is what the policy is about to say.
            if budget.of is None:
                return None, "each target has a counter of its own: a budget with `of` has one"
            of: str | None = budget.of
        else:
            of = who(budget.scope, request.caller, "")
        if of is None:
            return None, f"the caller has no {budget.scope}"
        if budget.of is not None and budget.of != of:
            return None, f"the budget is of the {budget.scope} `{budget.of}`"
        if part == "limit":
            return budget.limit_nano_usd, None
        period = period_of(budget.period, request.received_us, program.timezone)
        if part == "resets_in":
            return period.to_us - request.received_us, None
        tally = self._tallies.get((budget.period, program.timezone))
        if tally is None or tally.period.from_us > period.from_us:
            return None, "the ledger was not read yet"
        # A new period has begun since the last refresh: nothing of it is spent.
        tenant = tenant_of(budget.scope, request.caller.tenant)
        used = tally.sums[budget.scope, tenant, of] if tally.period == period else 0
        used += self._lost.get((budget.scope, tenant, of, *period), 0)
        return (used if part == "used" else budget.limit_nano_usd - used), None


NOTHING_SPENT = Spent()


# The period that was last asked for, by kind and zone: nearly every question is about the same.
_latest: dict[tuple[str, str], Period] = {}


def period_of(kind: str, at_us: int, timezone: str) -> Period:
    """The day, week (from Monday) or month that an instant lies in, on the zone's own calendar."""
    period = _latest.get((kind, timezone))
    if period is None or not period.from_us <= at_us < period.to_us:
        period = _latest[kind, timezone] = _worked_out(kind, at_us, timezone)
    return period


def _worked_out(kind: str, at_us: int, timezone: str) -> Period:
    zone = ZoneInfo(timezone)
    day = (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone).date()
    match kind:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case _:
            first = day.replace(day=1)
            after = (first + timedelta(days=31)).replace(day=1)
    from_us, to_us = (
        (datetime(one.year, one.month, one.day, tzinfo=zone) - _EPOCH) // timedelta(microseconds=1)
        for one in (first, after)
    )
    return Period(from_us, to_us)


def tenant_of(scope: str, tenant: str) -> str:
    """Whose a counter of a scope is that a caller of this tenant counts against; "" where nobody's.

    Teams and users are names within a tenant, and a key is of one; models are everybody's.
    """
    return tenant if scope in _WITHIN_TENANT else ""


def who(scope: str, caller: Caller, target: str) -> str | None:
    """Whose counter of a scope an attempt of this caller at this target is about."""
    match scope:
        case "tenant":
            return caller.tenant
        case "team":
            return caller.team
        case "user":
            return caller.user
        case "key":
            return caller.key_id
        case _:
            return target
