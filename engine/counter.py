"""What a request's spend counts against: of each scope, somebody's sum of a stretch of time.

A counter is of a tenant, team, user, key or model, from the first instant of a day, week or month
to the last. Teams and users are names within a tenant: each tenant has counters of its own for
them, also of a budget that names one. Budgets put a ceiling on counters; several that are about the
same one share it, and the lowest ceiling holds. A budget stored with a tenant is about counters of
that tenant alone.
"""

from collections.abc import Collection, Iterable, Iterator
from operator import is_
from typing import NamedTuple

from turnout.dsl.core import Budget

from .request import Caller
from .spent import period_of, tenant_of, who

_WHOLE = 10_000


class Counter(NamedTuple):
    """A counter with its ceiling: what may be spent in `from_us` to `to_us` (UTC), in nano-USD.

    `budget` names the budget whose ceiling it is. `tenant` is whose team, user or key it is, and
    empty for other scopes.
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


Whose = tuple[str, str]
"""The tenant of a team, user or key (else empty), and who it is."""


class Known:
    """Of whom there is something in one scope, found by the budgets that are about them.

    There may be thousands of both: finding costs as much as there is to find.
    """

    def __init__(self, some: Iterable[Whose]) -> None:
        """Know these, each once."""
        self._all = dict.fromkeys(some)
        self._of_tenant: dict[str, list[Whose]] = {}
        self._called: dict[str, list[Whose]] = {}
        for one in self._all:
            self._of_tenant.setdefault(one[0], []).append(one)
            self._called.setdefault(one[1], []).append(one)

    def about(self, budget: Budget) -> Collection[Whose]:
        """Those that a budget is about: of a named team or user, each tenant's of that name."""
        of = budget.of
        if budget.tenant is None:
            return self._all if of is None else self._called.get(of, ())
        tenant = tenant_of(budget.scope, budget.tenant)
        if of is None:
            return self._of_tenant.get(tenant, ())
        return [(tenant, of)] if (tenant, of) in self._all else ()


class _Told(NamedTuple):
    """An answer: about these budgets, at any instant of the stretch that all its counters share."""

    budgets: tuple[Budget, ...]
    from_us: int
    to_us: int
    counters: tuple[Counter, ...]


# The last answer by zone, caller and target: nearly every question is the same as the one before.
_told: dict[tuple[str | None, ...], _Told] = {}
_MOST_TOLD = 4096


def counters_of(
    budgets: Iterable[Budget], timezone: str, caller: Caller, target: str, at_us: int
) -> tuple[Counter, ...]:
    """The counters that an attempt of a caller at a target counts against, each once.

    Cost: 2 µs for each budget, and 1 µs in all where the question was the last one too.
    """
    budgets = tuple(budgets)
    key = (timezone, caller.tenant, caller.team, caller.user, caller.key_id, target)
    told = _told.get(key)
    if (
        told is not None
        and told.from_us <= at_us < told.to_us
        and len(told.budgets) == len(budgets)
        and all(map(is_, told.budgets, budgets))
    ):
        return told.counters
    counters = _found(budgets, timezone, caller, target, at_us)
    if len(_told) >= _MOST_TOLD:
        _told.clear()
    from_us = max((one.from_us for one in counters), default=at_us)
    to_us = min((one.to_us for one in counters), default=at_us + 1)
    _told[key] = _Told(budgets, from_us, to_us, counters)
    return counters


def _found(
    budgets: Iterable[Budget], timezone: str, caller: Caller, target: str, at_us: int
) -> tuple[Counter, ...]:
    found: dict[tuple[str, str, str, int, int], Counter] = {}
    for counter in _applying(budgets, timezone, caller, target, at_us):
        other = found.setdefault(counter.stretch, counter)
        if counter.ceiling_nano_usd < other.ceiling_nano_usd:
            found[counter.stretch] = counter
    return tuple(found.values())


def _applying(
    budgets: Iterable[Budget], timezone: str, caller: Caller, target: str, at_us: int
) -> Iterator[Counter]:
    for budget in budgets:
        ceiling = ceiling_of(budget)
        of = who(budget.scope, caller, target)
        if ceiling is None or of is None or (budget.of is not None and budget.of != of):
            continue
        if budget.tenant is not None and budget.tenant != caller.tenant:
            continue
        period = period_of(budget.period, at_us, timezone)
        tenant = tenant_of(budget.scope, caller.tenant)
        yield Counter(budget.scope, tenant, of, *period, ceiling, budget.name)
