"""How budgets are at this moment, as data: `turnout budget` and `GET /v1/budgets`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from turnout.dsl.core import Budget
from turnout.dsl.units import format_usd

from .books import Books, Standing
from .costs import permille, projected, told_instant
from .counter import Counter, Known, Whose, ceiling_of
from .request import Caller
from .spent import Period, period_of, tenant_of, who


class Spenders(Protocol):
    """Who has spent something, by the ledger."""

    def last(self) -> int:
        """The newest row of the ledger. Blocks. Raises: StoreError."""

    def spent(
        self, scope: str, stretch: Period, after: int, last: int
    ) -> list[tuple[str, str, int, int]]:
        """Tenant (of a team, user or key), who, settled, unconfirmed.

        Blocks. Raises: StoreError.
        """


def of_everybody(
    books: Books, spenders: Spenders, budgets: Iterable[Budget], timezone: str, now_us: int
) -> list[dict[str, Any]]:
    """Each budget of each who has spent of it, or for whom it was declared; see `told`.

    Blocks: a second for a million ledger rows in the stretch. Raises: StoreError.
    """
    last = spenders.last()
    # By scope and period, in which thousands of budgets may be alike.
    read: dict[tuple[str, str], tuple[Known, dict[Whose, Standing]]] = {}
    found = []
    for budget in budgets:
        key = (budget.scope, budget.period)
        stretch = period_of(budget.period, now_us, timezone)
        if key not in read:
            standings = {(one.tenant, one.who): one for one in books.known(budget.scope, *stretch)}
            spent = spenders.spent(budget.scope, stretch, 0, last)
            for tenant, name, settled, unconfirmed in spent:
                if (tenant, name) not in standings:
                    one = Standing(budget.scope, tenant, name, *stretch, settled, unconfirmed, 0)
                    standings[tenant, name] = one
            read[key] = Known(standings), standings
        known, standings = read[key]
        counters = [standings[whose] for whose in known.about(budget)]
        if budget.of is not None and not counters:
            tenant = tenant_of(budget.scope, budget.tenant or "")
            counters = [Standing(budget.scope, tenant, budget.of, *stretch, 0, 0, 0)]
        counters.sort(key=lambda one: (one.who, one.tenant))
        found += [told(budget, one, now_us) for one in counters]
    return found


def of_caller(
    books: Books, budgets: Sequence[Budget], timezone: str, caller: Caller, now_us: int
) -> list[dict[str, Any]]:
    """The budgets that requests of a caller count against, but for those of targets; see `told`.

    Blocks. Raises: StoreError.
    """
    counters = []
    for budget in budgets:
        name = None if budget.scope == "model" else who(budget.scope, caller, "")
        if name is not None and budget.of in (None, name):
            stretch = period_of(budget.period, now_us, timezone)
            counters.append(
                (
                    budget,
                    Counter(
                        budget.scope,
                        tenant_of(budget.scope, caller.tenant),
                        name,
                        *stretch,
                        _ceiling(budget),
                        budget.name,
                    ),
                )
            )
    standings = books.standings([counter for _, counter in counters])
    return [told(budget, one, now_us) for (budget, _), one in zip(counters, standings, strict=True)]


def told(budget: Budget, one: Standing, now_us: int) -> dict[str, Any]:
    """A budget and how it is.

    Shape: `{name scope tenant who period limit rejects_at settled unconfirmed reserved left percent
    projected from resets_at}`. Money is decimal USD; `rejects_at` None where it only alerts.
    `tenant` is whose team, user or key it is, None for other scopes.
    `reserved` is on lease to workers: what their requests have set aside, and what these have free.
    `left` is what nobody has spent, may have spent or holds, below 0 where more was spent.
    """
    ceiling, used = ceiling_of(budget), one.used_nano_usd
    share = permille(used, budget.limit_nano_usd)
    ahead = projected(used, Period(one.from_us, one.to_us), now_us)
    return {
        "name": budget.name,
        "scope": one.scope,
        "tenant": one.tenant or None,
        "who": one.who,
        "period": budget.period,
        "limit": format_usd(budget.limit_nano_usd),
        "rejects_at": None if ceiling is None else format_usd(ceiling),
        "settled": format_usd(one.settled_nano_usd),
        "unconfirmed": format_usd(one.unconfirmed_nano_usd),
        "reserved": format_usd(one.reserved_nano_usd),
        "left": format_usd(_ceiling(budget) - used - one.reserved_nano_usd),
        "percent": None if share is None else share / 10,
        "projected": None if ahead is None else format_usd(ahead),
        "from": told_instant(one.from_us),
        "resets_at": told_instant(one.to_us),
    }


def is_of(one: Mapping[str, Any], tenant: str) -> bool:
    """Whether a budget as `told` is a tenant's, or that of a team, user or key of it."""
    return bool(one["tenant"] == tenant or (one["scope"], one["who"]) == ("tenant", tenant))


def _ceiling(budget: Budget) -> int:
    ceiling = ceiling_of(budget)
    return budget.limit_nano_usd if ceiling is None else ceiling
