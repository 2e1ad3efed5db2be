"""Looking at counters and setting them right, in a `Database`."""

from collections.abc import Sequence

from sqlalchemy import Connection

from turnout.engine.bank import Stretch
from turnout.engine.books import (
    CORRECTION,
    RECONCILED,
    Correction,
    Drift,
    Loss,
    LostLease,
    Standing,
    Unconfirmed,
    losses_of,
)
from turnout.engine.counter import Counter
from turnout.engine.ledger import Entry
from turnout.engine.purse import Slip

from .counters import counted, sums_of, take_off
from .database import Database
from .holders import LIVES, LOST, Clocks

_ENTRY = ", ".join(f'"{name}"' for name in Entry._fields)
_ENTRY_OF_L = ", ".join(f'l."{name}"' for name in Entry._fields)
# The tenant that a counter is of; of a model's none is known.
_WHOSE = "CASE c.scope WHEN 'tenant' THEN c.who ELSE c.tenant END"


class SqlBooks:
    """`Books` over the tables of the bank and the ledger."""

    def __init__(self, database: Database, clocks: Clocks | None = None) -> None:
        """Look into this database."""
        self._database = database
        self._clocks = clocks or Clocks()

    def standings(self, counters: Sequence[Counter]) -> list[Standing]:
        """How these are, in their order."""
        with self._database.reading() as reading:
            return [self._standing(reading, one.stretch) for one in counters]

    def known(self, scope: str, from_us: int, to_us: int) -> list[Standing]:
        """Every counter of a scope and a stretch, by who it is of."""
        where = "c.scope = ? AND c.from_us = ? AND c.to_us = ?"
        with self._database.reading() as reading:
            return self._standings(reading, where, (scope, from_us, to_us))

    def recount(self) -> list[Drift]:
        """The counters that differ from the ledger."""
        with self._database.reading() as reading:
            return [drift for _, drift in _drifts(reading, self._clocks.now_us())]

    def repair(self) -> list[Drift]:
        """Set right what differs; what was wrong."""
        with self._database.writing() as bank:
            drifts = _drifts(bank, self._clocks.now_us())
            for number, drift in drifts:
                bank.exec_driver_sql(
                    "UPDATE counters SET settled_nano_usd = ?, unconfirmed_nano_usd = ?"
                    " WHERE id = ?",
                    (drift.ledger_settled_nano_usd, drift.ledger_unconfirmed_nano_usd, number),
                )
        return [drift for _, drift in drifts]

    def losses(self) -> list[Loss]:
        """What lost holders have, oldest first."""
        with self._database.reading() as reading:
            return losses_of(self._lost(reading, "1", ()))

    def unconfirmed(self, since_us: int = 0, tenant: str | None = None) -> list[Unconfirmed]:
        """The rows with unconfirmed spend that the gateway may have to pay, oldest first."""
        where = "l.time_us >= ?"
        given: tuple[object, ...] = (since_us,)
        if tenant is not None:
            where, given = f"{where} AND l.tenant = ?", (since_us, tenant)
        with self._database.reading() as reading:
            return _unconfirmed(reading, where, given)

    def correct(self, number: int, cost_nano_usd: int) -> int:
        """Say what an unconfirmed row has cost. Raises: LookupError."""
        with self._database.writing() as bank:
            found = _unconfirmed(bank, "l.id = ?", (number,))
            if not found:
                raise LookupError(f"row {number} of the ledger has nothing unconfirmed")
            change = (found[0].entry, cost_nano_usd, -found[0].left_nano_usd)
            return _correct(bank, number, *change)

    def correction(self, number: int) -> Correction:
        """What a correction says by now. Raises: LookupError."""
        with self._database.reading() as reading:
            return _correction(reading, number)

    def correct_again(self, number: int, cost_nano_usd: int) -> int:
        """Say anew what a correction has said. Raises: LookupError."""
        with self._database.writing() as bank:
            found = _correction(bank, number)
            change = (found.entry, cost_nano_usd - found.cost_nano_usd, 0)
            return _correct(bank, found.number, *change)

    def settle_lost(self, loss: Loss, cost_nano_usd: int) -> int:
        """Say what a lost holder has spent. Raises: LookupError."""
        with self._database.writing() as bank:
            left = losses_of(self._lost(bank, "l.holder = ?", (loss.holder,)))
            there = [one for one in left if one.tenant == loss.tenant]
            if not there:
                raise LookupError(f"nothing is left of what `{loss.holder}` had")
            now = there[0]
            spent = [Slip(one.holder, one.counter, one.nano_usd) for one in now.leases]
            spent += [Slip(one.holder, one.counter, cost_nano_usd) for one in now.follow]
            take_off(bank, spent)
            sure = min(cost_nano_usd, now.nano_usd)
            entry = Entry(
                time_us=_within(now),
                request=now.id,
                hop=0,
                attempt=-self._clocks.now_us(),
                tenant=now.tenant or "",
                team=now.of("team", sure),
                user=now.of("user", sure),
                key_id=now.of("key", sure),
                model="",
                target=now.of("model", sure) or "",
                upstream_model="",
                rule=None,
                policy="",
                tokens_in=None,
                tokens_out=None,
                tokens_cached=None,
                tokens_cache_write=None,
                tokens_reasoning=None,
                usage_source=RECONCILED,
                cost_nano_usd=cost_nano_usd,
                unconfirmed_nano_usd=0,
                outcome="ok",
                fault=None,
                kind=CORRECTION,
            )
            return _append(bank, entry)

    def _standing(self, reading: Connection, stretch: Stretch) -> Standing:
        where = "c.scope = ? AND c.tenant = ? AND c.who = ? AND c.from_us = ? AND c.to_us = ?"
        found = self._standings(reading, where, stretch)
        return found[0] if found else Standing(*stretch, *sums_of(reading, stretch), 0)

    def _standings(
        self, reading: Connection, where: str, given: tuple[object, ...]
    ) -> list[Standing]:
        in_time = self._clocks.in_time()
        rows = reading.exec_driver_sql(
            "SELECT c.scope, c.tenant, c.who, c.from_us, c.to_us,"
            " c.settled_nano_usd, c.unconfirmed_nano_usd,"
            f" coalesce(sum(l.nano_usd) FILTER (WHERE {LOST}), 0),"
            f" coalesce(sum(l.nano_usd) FILTER (WHERE {LIVES}), 0)"
            " FROM counters AS c LEFT JOIN leases AS l ON l.counter = c.id"
            f" LEFT JOIN holders AS h ON h.id = l.holder WHERE {where}"
            " GROUP BY c.id ORDER BY c.who, c.tenant",
            (*in_time, *in_time, *given),
        )
        return [
            Standing(scope, tenant, who, from_us, to_us, settled, unconfirmed + lost, leased)
            for scope, tenant, who, from_us, to_us, settled, unconfirmed, lost, leased in rows
        ]

    def _lost(self, reading: Connection, where: str, given: tuple[object, ...]) -> list[LostLease]:
        rows = reading.exec_driver_sql(
            f"SELECT l.holder, l.counter, c.scope, {_WHOSE}, c.who, c.from_us, c.to_us, l.nano_usd,"
            " coalesce(h.lost_us, ?) FROM leases AS l JOIN counters AS c ON c.id = l.counter"
            " LEFT JOIN holders AS h ON h.id = l.holder"
            f" WHERE l.nano_usd > 0 AND {LOST} AND {where}"
            " ORDER BY h.lost_us, l.holder, l.counter",
            (self._clocks.now_us(), *self._clocks.in_time(), *given),
        )
        return [LostLease(*row) for row in rows]


def _within(loss: Loss) -> int:
    """When a loss was, within the stretches of all its leases, or else of the largest."""
    from_us = max(one.from_us for one in loss.leases)
    to_us = min(one.to_us for one in loss.leases)
    if from_us >= to_us:
        largest = max(loss.leases, key=lambda one: one.nano_usd)
        from_us, to_us = largest.from_us, largest.to_us
    return min(max(loss.lost_us, from_us), to_us - 1)


def _correct(
    bank: Connection, number: int, entry: Entry, cost_nano_usd: int, unconfirmed_nano_usd: int
) -> int:
    """Append a correction of a row; its number."""
    # Attempts count from 1; corrections of one, and of its fellows, go the other way.
    lowest = bank.exec_driver_sql(
        "SELECT min(attempt) FROM ledger WHERE request = ? AND hop = ?", (entry.request, entry.hop)
    ).scalar_one()
    return _append(
        bank,
        entry._replace(
            attempt=min(int(lowest), 0) - 1,
            tokens_in=None,
            tokens_out=None,
            tokens_cached=None,
            tokens_cache_write=None,
            tokens_reasoning=None,
            usage_source=RECONCILED,
            cost_nano_usd=cost_nano_usd,
            unconfirmed_nano_usd=unconfirmed_nano_usd,
            outcome="ok",
            fault=None,
            kind=CORRECTION,
            corrects=number,
        ),
    )


def _correction(reading: Connection, number: int) -> Correction:
    """A correction, or the one that it says anew. Raises: LookupError."""
    said_anew = f"SELECT corrects FROM ledger WHERE id = ? AND kind = '{CORRECTION}'"
    row = reading.exec_driver_sql(
        "SELECT l.id, l.cost_nano_usd + coalesce(sum(c.cost_nano_usd), 0),"
        f" {_ENTRY_OF_L}"
        " FROM ledger AS l LEFT JOIN ledger AS c ON c.request = l.request AND c.corrects = l.id"
        f" WHERE l.kind = '{CORRECTION}' AND l.id IN (?, ({said_anew})) GROUP BY l.id"
        " ORDER BY l.id LIMIT 1",
        (number, number),
    ).one_or_none()
    if row is None:
        raise LookupError(f"row {number} of the ledger is no correction")
    return Correction(row[0], Entry(*row[2:]), row[1])


def _append(bank: Connection, entry: Entry) -> int:
    """Add a row to the ledger, and to its counters; its number."""
    marks = ", ".join("?" * len(entry))
    added = bank.exec_driver_sql(f"INSERT INTO ledger ({_ENTRY}) VALUES ({marks})", tuple(entry))
    counted(bank, [entry])
    return int(added.lastrowid)


def _unconfirmed(reading: Connection, where: str, given: tuple[object, ...]) -> list[Unconfirmed]:
    rows = reading.exec_driver_sql(
        "SELECT l.id, l.unconfirmed_nano_usd + coalesce(sum(c.unconfirmed_nano_usd), 0) AS rest,"
        f" {_ENTRY_OF_L}"
        " FROM ledger AS l LEFT JOIN ledger AS c ON c.request = l.request AND c.corrects = l.id"
        " WHERE l.unconfirmed_nano_usd > 0 AND l.payer = 'gateway' AND l.corrects IS NULL"
        f" AND {where} GROUP BY l.id HAVING rest > 0 ORDER BY l.time_us, l.id",
        given,
    )
    return [Unconfirmed(row[0], Entry(*row[2:]), row[1]) for row in rows]


def _drifts(reading: Connection, now_us: int) -> list[tuple[int, Drift]]:
    """The counters that differ from the ledger, with their numbers; of stretches not over yet.

    Of those that are, the ledger's rows may have been trimmed.
    """
    rows = reading.exec_driver_sql(
        "SELECT id, scope, tenant, who, from_us, to_us, settled_nano_usd, unconfirmed_nano_usd"
        " FROM counters WHERE to_us > ? ORDER BY id",
        (now_us,),
    ).all()
    found = []
    for number, *stretch, settled, unconfirmed in rows:
        scope, tenant, who, from_us, to_us = stretch
        sums = sums_of(reading, (scope, tenant, who, from_us, to_us))
        if (settled, unconfirmed) != sums:
            drift = Drift(scope, tenant, who, from_us, to_us, settled, unconfirmed, *sums)
            found.append((number, drift))
    return found
