"""Decisions, ledger, pulse tables and policies in one SQLite file.

Several processes share the file: it is in WAL mode, a writer takes the write lock when its
transaction begins (BEGIN IMMEDIATE: no dead locks between writers) and waits up to 30 s for it.
Importing this module costs 0.4 s for SQLAlchemy: `lint` never does.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from turnout.engine.ledger import Entry, entries, entries_of
from turnout.engine.record import DecisionRecord, PulseTable, with_late
from turnout.engine.spent import SpendRow

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
from .store import Group, StoreError
from .tables import DECISIONS, LATE, LEDGER, POLICIES, PULSES

FILE = "turnout.db"
_BUSY_S = 30.0
_BATCH_RECORDS = 1_000  # read at once by whoever reads them all
_MIGRATIONS = Path(__file__).parent / "migrations"
_migrating = threading.Lock()  # alembic's context is global to the process


def open_store(home: Path) -> "SqliteStore":
    """The store under `TURNOUT_HOME`, with its folder, file and tables made where missing.

    Safe to be called by several processes at once. Raises: StoreError.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite's other files take their permissions from this one.
        (home / FILE).touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"cannot write in the folder `{home}`: {error.strerror}") from error
    migrate(url_of(home))
    return SqliteStore(url_of(home))


def url_of(home: Path) -> URL:
    """The address of the SQLite file under `TURNOUT_HOME`."""
    return url_of_file(home / FILE)


def url_of_file(file: Path) -> URL:
    """The address of a SQLite file."""
    return URL.create("sqlite", database=str(file))


def migrate(url: str | URL) -> None:
    """Bring the tables up to date, in one transaction that others wait for. Raises: StoreError."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    engine = _engine(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with _migrating, _mapped():
            _use_wal(engine)
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except CommandError as error:
        # The only cause here: the file names a revision that these migrations do not have.
        raise StoreError(f"`{engine.url.database}` belongs to a newer turnout: {error}") from error
    finally:
        engine.dispose()


class SqliteStore:
    """A `Store` in a SQLite file that has its tables already (`open_store` makes them).

    Cost: 25 µs per decision with its ledger row in groups of 100 and more.
    """

    def __init__(self, url: str | URL) -> None:
        """Connect lazily; nothing is opened yet."""
        self._engine = _engine(url)

    def write(self, group: Group) -> None:
        """Add a group in one transaction; what is already there by its id stays as it is."""
        now_us = time.time_ns() // 1_000
        rows: list[tuple[Table, list[Row]]] = [
            (POLICIES, [(digest, now_us, canonical) for digest, canonical in group.policies]),
            (PULSES, [pulse_row(table) for table in group.pulses]),
            (DECISIONS, [decision_row(record) for record in group.records]),
            (LEDGER, [entry for record in group.records for entry in entries(record)]),
            (LATE, [late_row(late) for late in group.late]),
            (LEDGER, [entry for late in group.late for entry in entries_of(late)]),
        ]
        try:
            self._insert(rows)
        except UnicodeEncodeError:
            self._insert([(table, [encodable(row) for row in some]) for table, some in rows])

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

    def spending(self, from_us: int, after: int) -> tuple[int, list[SpendRow]]:
        """Sums of the ledger rows from an instant on that were written after row `after`.

        Writers take turns, so the rows of one are never numbered below those of an earlier one.
        """
        who = (LEDGER.c.tenant, LEDGER.c.team, LEDGER.c.user, LEDGER.c.key_id, LEDGER.c.model)
        spent = func.sum(LEDGER.c.cost_nano_usd + LEDGER.c.unconfirmed_nano_usd)
        rows = select(*who, spent).where(LEDGER.c.time_us >= from_us).group_by(*who)
        if after:  # without it the index of times serves better than that of rows
            rows = rows.where(LEDGER.c.id > after)
        with _mapped(), self._engine.connect() as connection:
            # One transaction: both see the same rows.
            reading = connection.execution_options(turnout_reading=True)
            last = reading.execute(select(func.max(LEDGER.c.id))).scalar_one_or_none()
            found = [SpendRow(*row) for row in reading.execute(rows)]
        return max(last or 0, after), found

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
            with _mapped(), self._engine.connect() as connection:
                reading = connection.execution_options(turnout_reading=True)
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
        with _mapped(), self._engine.connect() as connection:
            reading = connection.execution_options(turnout_reading=True)
            return int(reading.execute(statement).scalar_one())

    def close(self) -> None:
        """Let go of the file; the last process to do so folds the WAL into it."""
        self._engine.dispose()

    def _insert(self, rows: list[tuple[Table, list[Row]]]) -> None:
        with _mapped(), self._engine.begin() as connection:
            for table, some in rows:
                if some:
                    connection.exec_driver_sql(_INSERTIONS[table], some)

    def _value(self, column: Column[Any], key: Column[Any], wanted: str) -> Any:
        statement = select(column).where(key == column_text(wanted))
        with _mapped(), self._engine.connect() as connection:
            reading = connection.execution_options(turnout_reading=True)
            return reading.execute(statement).scalar_one_or_none()


def _insertion(table: Table, columns: Sequence[str]) -> str:
    """The text of an insert, made once: building it for each group costs more than running it."""
    statement = insert(table).on_conflict_do_nothing()
    return str(statement.compile(dialect=dialect(), column_keys=columns))


_INSERTIONS = {
    DECISIONS: _insertion(DECISIONS, DECISIONS.c.keys()),
    LATE: _insertion(LATE, LATE.c.keys()),
    LEDGER: _insertion(LEDGER, Entry._fields),
    PULSES: _insertion(PULSES, PULSES.c.keys()),
    POLICIES: _insertion(POLICIES, POLICIES.c.keys()),
}


def _engine(url: str | URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not by themselves
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("turnout_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _use_wal(engine: Engine) -> None:
    """Put the file into WAL mode, which it then stays in.

    SQLite does not wait for its lock here when others do the same, so the waiting is ours.
    """
    raw = engine.raw_connection()
    give_up = time.monotonic() + _BUSY_S
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
    finally:
        raw.close()


@contextmanager
def _mapped() -> Iterator[None]:
    """What the disk or a lock is to blame for becomes StoreError; a bad row stays what it is."""
    try:
        yield
    except (DBAPIError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        # DatabaseError itself, and not a subclass, is what a damaged file raises.
        if (
            not isinstance(cause, sqlite3.OperationalError)
            and type(cause) is not sqlite3.DatabaseError
        ):
            raise
        raise StoreError(str(cause)) from error
    except PoolTimeoutError as error:
        raise StoreError("no connection to the database was free in time") from error
