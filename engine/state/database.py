"""The SQLite file under `TURNOUT_HOME`: how it is opened, read and written by several processes.

It is in WAL mode. A writer takes the write lock when its transaction begins (BEGIN IMMEDIATE: no
dead locks between writers) and waits up to 30 s for it; writers take turns (`Turns`), since SQLite
itself lets whoever asks at the right moment go first. Importing this module costs 0.4 s for
SQLAlchemy: `lint` never does.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from turnout.engine.folder import make_closed

from .store import StoreError, Unwritable
from .turns import Turns

FILE = "turnout.db"
_BUSY_S = 30.0
_MIGRATIONS = Path(__file__).parent / "migrations"
_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
_migrating = threading.Lock()  # alembic's context is global to the process


class Database:
    """The file of one gateway, of which each part keeps its own tables; used from any thread."""

    def __init__(self, url: str | URL) -> None:
        """Connect lazily; nothing is opened yet."""
        self._engine = _engine(url)
        file = self._engine.url.database
        kept = file is not None and file not in ("", ":memory:")
        self._turns = Turns(Path(f"{file}-turns") if kept else None)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose statements all see the same rows. Raises: StoreError."""
        with _mapped(), self._engine.connect() as connection:
            yield connection.execution_options(turnout_reading=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction beside which nobody writes: all of it or nothing. Raises: StoreError."""
        with self._turns.turn(), _mapped(), self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file; the last process to do so folds the WAL into it."""
        self._engine.dispose()


def open_database(home: Path) -> Database:
    """The database under `TURNOUT_HOME`, with its folder, file and tables made where missing.

    Safe to be called by several processes at once. Raises: StoreError.
    """
    try:
        make_closed(home)
        # SQLite's other files take their permissions from this one.
        (home / FILE).touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"cannot write in the folder `{home}`: {error.strerror}") from error
    migrate(url_of(home))
    return Database(url_of(home))


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


def check_known(database: Database) -> None:
    """Check that a file's tables are no newer than this turnout, changing nothing.

    Raises: StoreError.
    """
    known = {file.stem[1:].partition("_")[0] for file in _MIGRATIONS.glob("versions/v*.py")}
    with database.reading() as reading:
        wanted = "select name from sqlite_master where name = 'alembic_version'"
        if not reading.exec_driver_sql(wanted).all():
            return
        found = set(reading.exec_driver_sql("select version_num from alembic_version").scalars())
    if newer := sorted(found - known):
        raise StoreError(f"it belongs to a newer turnout (its tables are `{newer[0]}`)")


def _engine(url: str | URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_S}, hide_parameters=True)
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
                # Pages that a trim has freed can be given back; means something in a new file only.
                raw.cursor().execute("PRAGMA auto_vacuum=INCREMENTAL")
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
        # Extended codes have the kind of failure in their low byte.
        unwritable = (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _UNWRITABLE
        raise (Unwritable if unwritable else StoreError)(str(cause)) from error
    except PoolTimeoutError as error:
        raise StoreError("no connection to the database was free in time") from error
