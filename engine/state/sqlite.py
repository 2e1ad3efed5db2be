"""Decisions, ledger, pulse tables and policies in one SQLite file (`database` says how)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select
from sqlalchemy.dialects.sqlite import dialect, insert

from turnout.engine.ledger import Entry, entries, entries_of
from turnout.engine.purse import Slip
from turnout.engine.record import DecisionRecord, PulseTable, with_late
from turnout.engine.savings import MOST_SAVED, Saving, savings, was_saved
from turnout.engine.spent import SpendRow

from .counters import counted, lost_leases, take_off
from .database import Database, open_database
from .rows import (
    Row,
    column_text,
    decision_row,
    encodable,
    late_row,
    pulse_row,
    read_attempt,
    read_pulse,
    read_record,
)
from .store import Group
from .tables import DECISIONS, LATE, LEDGER, POLICIES, PULSES, SAVINGS

_BATCH_RECORDS = 1_000  # read at once by whoever reads them all
_Paid = tuple[Sequence[Entry], Sequence[Slip]]  # rows of the ledger, and what they take off leases


def open_store(home: Path) -> "SqliteStore":
    """The store under `TURNOUT_HOME`, made where missing. Raises: StoreError."""
    return SqliteStore(open_database(home))


class SqliteStore:
    """A `Store` in a SQLite file that has its tables already (`open_database` makes them).

    Cost: 25 µs per decision with its ledger row in groups of 100 and more.
    """

    def __init__(self, database: Database) -> None:
        """Keep them in this database, which is closed with the store."""
        self._database = database

    def write(self, group: Group) -> None:
        """Add a group in one transaction; what is already there by its id stays as it is.

        New rows of the ledger are added to the counters that they belong to, and taken off leases.
        """
        now_us = time.time_ns() // 1_000
        rows: list[tuple[Table, list[Row]]] = [
            (POLICIES, [(digest, now_us, canonical) for digest, canonical in group.policies]),
            (PULSES, [pulse_row(table) for table in group.pulses]),
            (DECISIONS, [decision_row(record) for record in group.records]),
            (LATE, [late_row(late) for late in group.late]),
        ]
        paid = [
            *((entries(one), group.slips.get(one.id, ())) for one in group.records),
            *((entries_of(one), group.late_slips.get(one.record.id, ())) for one in group.late),
        ]
        saved = [record for record in group.records if was_saved(record)]
        try:
            self._insert(rows, paid, saved)
        except UnicodeEncodeError:
            self._insert(
                [(table, [encodable(row) for row in some]) for table, some in rows],
                [([Entry._make(encodable(row)) for row in some], slips) for some, slips in paid],
                saved,
            )

    def record(self, id: str) -> DecisionRecord | None:
        """A decision record, equal to the one written."""
        data = self._value(DECISIONS.c.record, DECISIONS.c.id, id)
        if data is None:
            return None
        record = read_record(data)
        # Only what was copied can have an attempt that ended after it.
        late = self._value(LATE.c.attempt, LATE.c.request, id) if record.mirror else None
        return record if late is None else with_late(record, read_attempt(late))

    def pulse(self, id: str) -> PulseTable | None:
        """A table of live values."""
        data = self._value(PULSES.c.pulse, PULSES.c.id, id)
        return None if data is None else read_pulse(data)

    def policy(self, digest: str) -> str | None:
        """The canonical text of an archived policy."""
        text: str | None = self._value(POLICIES.c.canonical, POLICIES.c.digest, digest)
        return text

    def newest_policy(self) -> str | None:
        """The digest of the policy that decided last."""
        newest = select(DECISIONS.c.policy).order_by(DECISIONS.c.time_us.desc()).limit(1)
        with self._database.reading() as reading:
            return reading.execute(newest).scalar_one_or_none()

    def spending(self, from_us: int, after: int) -> tuple[int, list[SpendRow]]:
        """Sums of the ledger rows from an instant on that were written after row `after`.

        Writers take turns, so the rows of one are never numbered below those of an earlier one.
        """
        who = (LEDGER.c.tenant, LEDGER.c.team, LEDGER.c.user, LEDGER.c.key_id, LEDGER.c.target)
        spent = func.sum(LEDGER.c.cost_nano_usd + LEDGER.c.unconfirmed_nano_usd)
        paid = (LEDGER.c.time_us >= from_us) & (LEDGER.c.payer == "gateway")
        rows = select(*who, spent).where(paid).group_by(*who)
        if after:  # without it the index of times serves better than that of rows
            rows = rows.where(LEDGER.c.id > after)
        with self._database.reading() as reading:
            last = reading.execute(select(func.max(LEDGER.c.id))).scalar_one_or_none()
            found = [SpendRow(*row) for row in reading.execute(rows)]
        return max(last or 0, after), found

    def lost(self) -> Mapping[tuple[str, str, str, int, int], int]:
        """What workers that ended may have spent, by what tells counters apart."""
        with self._database.reading() as reading:
            return lost_leases(reading)

    def records(self, since_us: int = 0) -> Iterator[DecisionRecord]:
        """Every record from an instant on, oldest first, read in batches. Raises: StoreError."""
        time_us, id = since_us, ""
        key = (DECISIONS.c.time_us, DECISIONS.c.id)
        while True:
            statement = (
                select(*key, DECISIONS.c.record)
                .where((key[0] > time_us) | ((key[0] == time_us) & (key[1] > id)))
                .order_by(*key)
                .limit(_BATCH_RECORDS)
            )
            with self._database.reading() as reading:
                rows = reading.execute(statement).all()
            for _, id, data in rows:
                record = read_record(data)
                late = self._value(LATE.c.attempt, LATE.c.request, id) if record.mirror else None
                yield record if late is None else with_late(record, read_attempt(late))
            if len(rows) < _BATCH_RECORDS:
                return
            time_us = rows[-1][0]

    def count(self, since_us: int = 0) -> int:
        """How many records there are from an instant on. Raises: StoreError."""
        statement = select(func.count()).where(DECISIONS.c.time_us >= since_us)
        with self._database.reading() as reading:
            return int(reading.execute(statement).scalar_one())

    def close(self) -> None:
        """Let go of the file; the last process to do so folds the WAL into it."""
        self._database.close()

    def _insert(
        self,
        rows: list[tuple[Table, list[Row]]],
        paid: Sequence[_Paid],
        saved: Sequence[DecisionRecord],
    ) -> None:
        with self._database.writing() as connection:
            _add_savings(connection, saved)  # before the decisions, which tell what is new
            for table, some in rows:
                if some:
                    connection.exec_driver_sql(_INSERTIONS[table], some)
            _enter(connection, [one for one in paid if one[0]])

    def _value(self, column: Column[Any], key: Column[Any], wanted: str) -> Any:
        statement = select(column).where(key == column_text(wanted))
        with self._database.reading() as reading:
            return reading.execute(statement).scalar_one_or_none()


def _enter(connection: Connection, paid: Sequence[_Paid]) -> None:
    """Add rows to the ledger, and what they say to counters and leases: of each row once."""
    entries = [row for rows, _ in paid for row in rows]
    if not entries:
        return
    last = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM ledger").scalar_one()
    added = connection.exec_driver_sql(_INSERTIONS[LEDGER], list(entries))
    if added.rowcount == len(entries):
        new = None
    else:  # some were there already: a group whose first try had come to its end after all
        found = connection.exec_driver_sql(
            "SELECT request, hop, attempt FROM ledger WHERE id > ?", (last,)
        )
        new = {tuple(row) for row in found}
        entries = [row for row in entries if (row.request, row.hop, row.attempt) in new]
    counted(connection, entries)
    slips: list[Slip] = []
    for rows, some in paid:
        if some and (
            new is None or any((row.request, row.hop, row.attempt) in new for row in rows)
        ):
            slips += some
    take_off(connection, slips)


def _add_savings(connection: Connection, saved: Sequence[DecisionRecord]) -> None:
    """Add what requests have saved to the rows that they belong to: each request once."""
    written: set[str] = set()
    for at in range(0, len(saved), _MOST_ASKED):
        ids = [record.id for record in saved[at : at + _MOST_ASKED]]
        marks = ",".join("?" * len(ids))
        there = f"SELECT id FROM decisions WHERE id IN ({marks})"
        written.update(id for (id,) in connection.exec_driver_sql(there, tuple(ids)))
    rows = savings(record for record in saved if record.id not in written)
    if rows:
        connection.exec_driver_sql(_SAVE, [encodable(row) for row in rows])


def _insertion(table: Table, columns: Sequence[str]) -> str:
    """The text of an insert, made once: building it for each group costs more than running it."""
    statement = insert(table).on_conflict_do_nothing()
    return str(statement.compile(dialect=dialect(), column_keys=columns))


_MOST_ASKED = 500  # ids in one statement
_NAME = ", ".join(f'"{column.name}"' for column in SAVINGS.primary_key)
_SUMS = tuple(column.name for column in SAVINGS.c if not column.primary_key)
_SAVE = (
    f"{_insertion(SAVINGS, Saving._fields).removesuffix(' DO NOTHING')} ({_NAME}) DO UPDATE SET "
    + ", ".join(f"{name} = min({name} + excluded.{name}, {MOST_SAVED})" for name in _SUMS)
)
_INSERTIONS = {
    DECISIONS: _insertion(DECISIONS, DECISIONS.c.keys()),
    LATE: _insertion(LATE, LATE.c.keys()),
    LEDGER: _insertion(LEDGER, Entry._fields),
    PULSES: _insertion(PULSES, PULSES.c.keys()),
    # Archived again it is in use again, and not to be removed as an old one.
    POLICIES: (
        f"{_insertion(POLICIES, POLICIES.c.keys()).removesuffix(' DO NOTHING')} (digest) "
        "DO UPDATE SET time_us = max(time_us, excluded.time_us)"
    ),
}
