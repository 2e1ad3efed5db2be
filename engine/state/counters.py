"""Counters and leases as rows: what the store, the bank and the books do in their transactions.

Every function is part of a transaction that is the caller's.
"""

import json
from collections import Counter as Sums
from collections.abc import Iterable

from sqlalchemy import Connection

from turnout.engine.bank import Stretch
from turnout.engine.ledger import Entry
from turnout.engine.purse import Slip
from turnout.engine.spent import tenant_of

from .holders import FOUND_LOST

# Columns of the ledger, by the scope of the counters that they are summed up in.
COLUMN = {
    "tenant": "tenant",
    "team": "team",
    "user": '"user"',
    "key": "key_id",
    "model": "target",
}


def counted(bank: Connection, rows: Iterable[Entry]) -> None:
    """Add new rows of the ledger to every counter that they belong to.

    To be called in the transaction that writes the rows, once for each.
    """
    paid = [
        row
        for row in rows
        if row.payer == "gateway" and (row.cost_nano_usd or row.unconfirmed_nano_usd)
    ]
    if not paid:
        return
    by_who: dict[tuple[str, str, str], list[Entry]] = {}
    for row in paid:
        for of in _whose(row):
            by_who.setdefault(of, []).append(row)
    found = bank.exec_driver_sql(
        "SELECT c.id, c.scope, c.tenant, c.who, c.from_us, c.to_us FROM json_each(?) AS w"
        " CROSS JOIN counters AS c"
        " ON c.scope = w.value ->> 0 AND c.tenant = w.value ->> 1 AND c.who = w.value ->> 2"
        " AND c.from_us <= ? AND c.to_us > ?",
        (
            json.dumps(list(by_who)),
            max(row.time_us for row in paid),
            min(row.time_us for row in paid),
        ),
    ).all()
    sums = []
    for number, scope, tenant, who, from_us, to_us in found:
        its = [row for row in by_who[scope, tenant, who] if from_us <= row.time_us < to_us]
        settled = sum(row.cost_nano_usd for row in its)
        unconfirmed = sum(row.unconfirmed_nano_usd for row in its)
        if settled or unconfirmed:
            sums.append((settled, unconfirmed, number))
    if sums:
        bank.exec_driver_sql(
            "UPDATE counters SET settled_nano_usd = settled_nano_usd + ?,"
            " unconfirmed_nano_usd = unconfirmed_nano_usd + ? WHERE id = ?",
            sums,
        )


def take_off(bank: Connection, slips: Iterable[Slip]) -> None:
    """Take slips off the leases that they are of; a lease that is used up is forgotten.

    One that somebody has released meanwhile stays gone.
    """
    sums: Sums[tuple[str, int]] = Sums()
    for slip in slips:
        sums[slip.holder, slip.counter] += slip.nano_usd
    rows = [(holder, number, nano_usd) for (holder, number), nano_usd in sums.items() if nano_usd]
    if not rows:
        return
    bank.exec_driver_sql(
        "UPDATE leases SET nano_usd = max(nano_usd - ?, 0) WHERE holder = ? AND counter = ?",
        [(nano_usd, holder, number) for holder, number, nano_usd in rows],
    )
    bank.exec_driver_sql(
        "DELETE FROM leases WHERE holder = ? AND counter = ? AND nano_usd = 0",
        [(holder, number) for holder, number, _ in rows],
    )


def make_counters(bank: Connection, stretches: Iterable[Stretch]) -> None:
    """Make counters that there are not yet, from what the ledger has of them.

    What holders that were lost in a stretch may have spent is on lease of its new counter, too: a
    budget of another length, or another time zone, does not make it free.
    """
    for stretch in stretches:
        made = bank.exec_driver_sql(
            "INSERT INTO counters"
            " (scope, tenant, who, from_us, to_us, settled_nano_usd, unconfirmed_nano_usd)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*stretch, *sums_of(bank, stretch)),
        )
        if made.rowcount:
            # A holder's leases of several stretches tell of the same money: the largest counts. If
            # it lives after all, what it still settles is counted beside, which errs on the safe
            # side until it is reconciled.
            bank.exec_driver_sql(
                "INSERT INTO leases (holder, counter, nano_usd)"
                " SELECT l.holder, n.id, max(l.nano_usd) FROM counters AS n"
                " JOIN counters AS c ON c.scope = n.scope AND c.tenant = n.tenant"
                " AND c.who = n.who AND c.id <> n.id"
                " AND c.from_us < n.to_us AND c.to_us > n.from_us"
                " JOIN leases AS l ON l.counter = c.id JOIN holders AS h ON h.id = l.holder"
                " WHERE n.id = ? AND l.nano_usd > 0"
                " AND h.lost_us >= n.from_us AND h.lost_us < n.to_us GROUP BY l.holder",
                (made.lastrowid,),
            )


def sums_of(reading: Connection, stretch: Stretch) -> tuple[int, int]:
    """What the ledger has of a counter: settled, and unconfirmed."""
    scope, tenant, who, from_us, to_us = stretch
    within, whose = (" AND tenant = ?", (tenant,)) if tenant_of(scope, tenant) else ("", ())
    row = reading.exec_driver_sql(
        "SELECT coalesce(sum(cost_nano_usd), 0), coalesce(sum(unconfirmed_nano_usd), 0) FROM ledger"
        f" WHERE {COLUMN[scope]} = ?{within} AND time_us >= ? AND time_us < ?"
        " AND payer = 'gateway'",
        (who, *whose, from_us, to_us),
    ).one()
    return int(row[0]), int(row[1])


def lost_leases(reading: Connection) -> dict[Stretch, int]:
    """What lost holders have on lease, of each counter."""
    rows = reading.exec_driver_sql(
        "SELECT c.scope, c.tenant, c.who, c.from_us, c.to_us, sum(l.nano_usd) FROM leases AS l"
        " JOIN counters AS c ON c.id = l.counter LEFT JOIN holders AS h ON h.id = l.holder"
        f" WHERE {FOUND_LOST} GROUP BY c.id"
    )
    return {
        (scope, tenant, who, from_us, to_us): lost
        for scope, tenant, who, from_us, to_us, lost in rows
    }


def _whose(row: Entry) -> list[tuple[str, str, str]]:
    of = (
        ("tenant", row.tenant),
        ("team", row.team),
        ("user", row.user),
        ("key", row.key_id),
        ("model", row.target),
    )
    return [(scope, tenant_of(scope, row.tenant), who) for scope, who in of if who is not None]
