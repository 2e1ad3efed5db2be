"""Sums of the ledger and of what the cache saved, for whoever asks what was spent; reads only.

Cost: 1 000 000 rows of one month are added up by day in about a second, whoever writes meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, null, select

from turnout.engine.costs import Cell, Sums
from turnout.engine.spent import Period, tenant_of

from .database import Database
from .rows import column_text
from .tables import LEDGER, SAVINGS

_COLUMNS = {
    "model": LEDGER.c.model,
    "target": LEDGER.c.target,
    "rule": LEDGER.c.rule,
    "tenant": LEDGER.c.tenant,
    "team": LEDGER.c.team,
    "user": LEDGER.c.user,
    "key": LEDGER.c.key_id,
}


_SAVED_COLUMNS = {
    "model": SAVINGS.c.model,
    "target": SAVINGS.c.target,
    "rule": SAVINGS.c.rule,
    "tenant": SAVINGS.c.tenant,
    "team": SAVINGS.c.team,
    "user": SAVINGS.c.user,
    "key": SAVINGS.c.key_id,
}


class LedgerSums:
    """The ledger's `Spendings`."""

    def __init__(self, database: Database) -> None:
        """Read this database, which others close."""
        self._database = database

    def cells(
        self, stretches: Sequence[Period], by: str | None, filters: Mapping[str, str]
    ) -> list[Cell]:
        """The sums of each stretch, all of one moment."""
        # A row of what a worker that ended may have spent is of one scope: its tenant may be empty.
        name: ColumnElement[Any] = null() if by is None else func.nullif(_COLUMNS[by], "")
        groups: list[ColumnElement[Any]] = (
            [LEDGER.c.payer] if by is None else [LEDGER.c.payer, name]
        )
        # A team, user or key is one within its tenant.
        tenant: ColumnElement[Any] = null()
        if by is not None and tenant_of(by, "any"):
            tenant = func.nullif(LEDGER.c.tenant, "")
            groups.append(tenant)
        wanted = [_COLUMNS[column] == column_text(who) for column, who in filters.items()]
        saved = _savings(by, filters)
        found: list[Cell] = []
        with self._database.reading() as reading:
            for at, stretch in enumerate(stretches):
                within = (LEDGER.c.time_us >= stretch.from_us, LEDGER.c.time_us < stretch.to_us)
                statement = (
                    select(tenant, name, LEDGER.c.payer, *_SUMS)
                    .where(*within, *wanted)
                    .group_by(*groups)
                )
                for of, called, payer, *sums in reading.execute(statement):
                    found.append(Cell(at, called, payer, Sums(*map(int, sums)), of))
                # A quarter of an hour is in the stretch that it begins in.
                began = SAVINGS.c.from_us
                rows = saved.where(began >= stretch.from_us, began < stretch.to_us)
                for of, called, payer, *sums in reading.execute(rows):
                    found.append(Cell(at, called, payer, Sums(**_recalled(sums)), of))
        return found

    def tenants(self, stretch: Period, filters: Mapping[str, str]) -> list[str]:
        """The tenants that a stretch has rows of, at most two of them."""
        within = (LEDGER.c.time_us >= stretch.from_us, LEDGER.c.time_us < stretch.to_us)
        wanted = [_COLUMNS[column] == column_text(who) for column, who in filters.items()]
        first = select(LEDGER.c.tenant).where(*within, *wanted, LEDGER.c.tenant != "").limit(1)
        with self._database.reading() as reading:
            one = reading.execute(first).scalar_one_or_none()
            if one is None:
                return []
            other = reading.execute(first.where(LEDGER.c.tenant != one)).scalar_one_or_none()
        return [one] if other is None else [one, other]


def _savings(by: str | None, filters: Mapping[str, str]) -> Select[Any]:
    """What was answered from the cache, as cells: `tenant name payer` and the sums."""
    columns = _SAVED_COLUMNS
    name: ColumnElement[Any] = null() if by is None else func.nullif(columns[by], "")
    of_tenant = by is not None and tenant_of(by, "any")
    tenant: ColumnElement[Any] = func.nullif(SAVINGS.c.tenant, "") if of_tenant else null()
    groups = [
        SAVINGS.c.payer,
        *([name] if by is not None else []),
        *([tenant] if of_tenant else []),
    ]
    wanted = [columns[column] == column_text(who) for column, who in filters.items()]
    sums = (SAVINGS.c.calls, SAVINGS.c.tokens_in, SAVINGS.c.tokens_out, SAVINGS.c.saved_nano_usd)
    statement = select(tenant, name, SAVINGS.c.payer, *map(_sum, sums))
    return statement.where(*wanted).group_by(*groups)


def _recalled(sums: Sequence[Any]) -> dict[str, int]:
    names = ("recalled", "recalled_in", "recalled_out", "saved_nano_usd")
    return dict(zip(names, map(int, sums), strict=True))


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_SUMS = (
    func.sum(case((LEDGER.c.kind != "correction", literal(1)), else_=literal(0))),
    _sum(LEDGER.c.tokens_in),
    _sum(LEDGER.c.tokens_out),
    _sum(LEDGER.c.tokens_cached),
    _sum(LEDGER.c.tokens_cache_write),
    _sum(LEDGER.c.tokens_reasoning),
    _sum(LEDGER.c.cost_nano_usd),
    _sum(LEDGER.c.unconfirmed_nano_usd),
)
