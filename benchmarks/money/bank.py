"""What a gateway's database says of money, read from outside of the gateway."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from benchmarks.chaos.books import ledger_rows, until
from benchmarks.processes import GatewayProcess


@dataclass(slots=True)
class Held:
    """A counter: what the ledger had of it, and what leases hold of it beside."""

    scope: str
    tenant: str
    who: str
    from_us: int
    to_us: int
    settled: int
    unconfirmed: int
    reserved: int = 0  # leases of the living
    lost: int = 0  # leases of the lost

    @property
    def used(self) -> int:
        """What is not available any more."""
        return self.settled + self.unconfirmed + self.reserved + self.lost


@dataclass(slots=True)
class Books:
    """Everything at one moment, in one read transaction; money is nano-USD.

    `doubled`: attempts with more than one row. `sums`: by counter what the ledger's rows come to.
    `dearest`: the most that one row costs or may have cost. `reported`: what those cost whose usage
    the provider reported. `rows_of`: by the hash of a session its rows.
    """

    counters: list[Held] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)
    leases: int = 0
    rows: int = 0
    doubled: int = 0
    cost: int = 0
    unconfirmed: int = 0
    dearest: int = 0
    reported: set[int] = field(default_factory=set)
    rows_of: Counter[str] = field(default_factory=Counter)

    @property
    def reserved(self) -> int:
        """What living workers hold."""
        return sum(one.reserved for one in self.counters)

    @property
    def lost(self) -> int:
        """What lost workers may have spent."""
        return sum(one.lost for one in self.counters)


_SUM = """
select coalesce(sum(cost_nano_usd + unconfirmed_nano_usd), 0) from ledger
where payer = 'gateway' and time_us >= ? and time_us < ? and {} = ? and ? in ('', tenant)
"""
_COLUMNS = {"tenant": "tenant", "team": "team", "user": "user", "key": "key_id", "model": "target"}


def books(gateway: GatewayProcess) -> Books:
    """Read a gateway's books as they are now."""
    found = Books()
    with closing(gateway.ledger()) as database:
        database.execute("begin")
        _read_ledger(database, found)
        rows = database.execute(
            "select id, scope, tenant, who, from_us, to_us, settled_nano_usd, unconfirmed_nano_usd "
            "from counters order by id"
        ).fetchall()
        for number, *rest in rows:
            held = Held(*rest)
            held.reserved, held.lost = _leased(database, number)
            found.counters.append(held)
            column = f'"{_COLUMNS[held.scope]}"'
            asked = (held.from_us, held.to_us, held.who, held.tenant)
            found.sums.append(int(database.execute(_SUM.format(column), asked).fetchone()[0]))
        found.leases = int(database.execute("select count(*) from leases").fetchone()[0])
    return found


def _leased(database: sqlite3.Connection, counter: int) -> tuple[int, int]:
    rows = database.execute(
        "select coalesce(sum(case when holders.id is not null and holders.lost_us is null "
        "then nano_usd else 0 end), 0), coalesce(sum(nano_usd), 0) "
        "from leases left join holders on holders.id = leases.holder where counter = ?",
        (counter,),
    )
    living, all_of_them = rows.fetchone()
    return int(living), int(all_of_them - living)


def _read_ledger(database: sqlite3.Connection, found: Books) -> None:
    found.rows, found.cost, found.unconfirmed = database.execute(
        "select count(*), coalesce(sum(cost_nano_usd), 0), coalesce(sum(unconfirmed_nano_usd), 0) "
        "from ledger"
    ).fetchone()
    found.doubled = database.execute(
        "select count(*) from (select 1 from ledger where kind != 'correction' "
        "group by request, hop, attempt having count(*) > 1)"
    ).fetchone()[0]
    sessions = dict(
        database.execute(
            "select id, coalesce(json_extract(cast(record as text), '$.session_hash'), '') "
            "from decisions"
        ).fetchall()
    )
    for request, spent, source in database.execute(
        "select request, cost_nano_usd + unconfirmed_nano_usd, usage_source from ledger"
    ):
        found.rows_of[sessions.get(request, "")] += 1
        found.dearest = max(found.dearest, spent)
        if source == "upstream":
            found.reported.add(spent)


def wait_for_rows(gateway: GatewayProcess, rows: int) -> bool:
    """Wait until the ledger has so many rows; whether it came to have them."""
    return until(lambda: ledger_rows(gateway) >= rows)


def wrong_counters(found: Books, ceiling: int | None = None) -> list[str]:
    """Counters that are not the sum of their rows, are below 0, or above a ceiling."""
    wrong = []
    for held, total in zip(found.counters, found.sums, strict=True):
        named = f"{held.scope} {held.who}"
        if held.settled + held.unconfirmed != total:
            wrong.append(f"{named}: {held.settled} + {held.unconfirmed} is not {total}")
        if min(held.settled, held.unconfirmed, held.reserved, held.lost) < 0:
            wrong.append(f"{named}: below 0: {held}")
        if ceiling is not None and held.used > ceiling:
            wrong.append(f"{named}: {held.used} of {ceiling}")
    return wrong
