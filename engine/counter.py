"""What a request's spend counts against: of each scope, somebody's sum of a stretch of time.

A counter is of a tenant, team, user, key or model, from the first instant of a day, week or month
to the last. Teams and users are names within a tenant: each tenant has counters of its own for
them, also of a budget that names one. Budgets put a ceiling on counters; several that are about the
same one share it, and the lowest ceiling holds.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from turnout.dsl.core import Budget

from .request import Caller
from .spent import period_of, tenant_of, who

_WHOLE = 10_000


class Counter(NamedTuple):
    """A counter with its ceiling: what may be spent in `from_us` to `to_us` (UTC), in nano-USD.

    `budget` names the budget whose ceiling it is. `tenant` is whose team or user it is, and empty
    for other scopes.
    """

    scope: str
    tenant: str
    who: str
    from_us: int
    to_us: int
    ceiling_nano_usd: int
    budget: str

    @property
    def stretch(self) -> tuple[str, str, str, int, int]:
        """What tells counters apart."""
        return self[:5]


def ceiling_of(budget: Budget) -> int | None:
    """Where a budget refuses, in nano-USD; None for one that only alerts.

    Without steps that is its limit; else the lowest share of it whose step is `reject`.
    """
    shares = [share for share, what in budget.steps if what == "reject"]
    if budget.steps and not shares:
        return None
    share = min(shares, default=_WHOLE)
    return budget.limit_nano_usd * share // _WHOLE


def counters_of(
    budgets: Iterable[Budget], timezone: str, caller: Caller, target: str, at_us: int
) -> list[Counter]:
    """The counters that an attempt of a caller at a target counts against, each once."""
    found: dict[tuple[str, str, str, int, int], Counter] = {}
    for counter in _applying(budgets, timezone, caller, target, at_us):
        other = found.setdefault(counter.stretch, counter)
        if counter.ceiling_nano_usd < other.ceiling_nano_usd:
            found[counter.stretch] = counter
    return list(found.values())


def _applying(
    budgets: Iterable[Budget], timezone: str, caller: Caller, target: str, at_us: int
) -> Iterator[Counter]:
    for budget in budgets:
        ceiling = ceiling_of(budget)
        of = who(budget.scope, caller, target)
        if ceiling is None or of is None or (budget.of is not None and budget.of != of):
            continue
        period = period_of(budget.period, at_us, timezone)
        tenant = tenant_of(budget.scope, caller.tenant)
        yield Counter(budget.scope, tenant, of, *period, ceiling, budget.name)
