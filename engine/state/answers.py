"""Answers that the workers of one machine share, in a SQLite file of their own.

It is apart from `turnout.db` because all that is in it may be lost: a file that is damaged, foreign
or gone is made anew, and nobody waits long for it. Readers do not wait at all (WAL). Writers sync
at checkpoints only (NORMAL): a crash of the machine may lose the last answers, never mix them up,
which OFF could. Through the sqlite3 module itself a get costs 20 µs, through SQLAlchemy 60. Answers
lie in their order of age, facts apart from bodies, so that looking through all reads few pages.

Over 300 lines because a file that can be lost is opened, replaced and bounded where it is used.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import orjson

from turnout.engine.cached import (
    CachedAnswer,
    CacheError,
    Generations,
    Invalidation,
    Key,
    Shelved,
)
from turnout.engine.folder import make_closed

from .board import FOLDER
from .claims import Claims
from .generations import SharedGenerations
from .shelf import Damaged, Label, meant, pack, unpack

T = TypeVar("T")

FILE = "cache.db"
READ_PATIENCE_S = 0.02  # for a file that is being mended after a crash; else readers never wait
WRITE_PATIENCE_S = 1.0  # for other writers
_OPEN_PATIENCE_S = 1.0  # for another process that makes or replaces the file
_ROOM_PATIENCE_S = 0.5  # for older answers to go; then a new one is left out

_APPLICATION = 0x7475726E  # `turn`, so that a foreign file is known
_VERSION = 1  # of the tables; an older file is made anew, a newer one left alone
_ROW_BYTES = 600  # of an answer beside its body: facts and four indexes
_STEP_ROWS = 200  # removed at once
_EXPIRED_ROWS = 16  # removed with each answer that is kept
_WALK_ROWS = 1000  # looked at between two removals
_SPARE_PAGES = 256  # given back at once

_TABLES = """
CREATE TABLE answers (
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  tenant TEXT NOT NULL,
  target TEXT NOT NULL,
  model TEXT NOT NULL,
  rule TEXT,
  tags TEXT NOT NULL,
  stored_us INTEGER NOT NULL,
  expires_us INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  saves_nano_usd INTEGER NOT NULL
) STRICT;
CREATE TABLE bodies (id INTEGER PRIMARY KEY, packed BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX answers_digest ON answers (digest);
CREATE INDEX answers_expires ON answers (expires_us);
CREATE INDEX answers_tenant ON answers (tenant);
"""
_GET = (
    "SELECT a.expires_us, b.packed FROM answers a JOIN bodies b ON b.id = a.id WHERE a.digest = ?"
)
_INSERT = (
    "INSERT INTO answers (digest, tenant, target, model, rule, tags, stored_us, expires_us, bytes, "
    "saves_nano_usd) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STATS = (
    "SELECT target, count(*), sum(bytes), min(stored_us), max(stored_us), sum(saves_nano_usd) "
    "FROM answers WHERE expires_us > ?1 AND (?2 IS NULL OR tenant = ?2) GROUP BY target"
)
_WALK = (
    "SELECT id, target, model, rule, tags, stored_us FROM answers "
    "WHERE id > ? AND id <= ? {of}ORDER BY id LIMIT ?"
)

# What says that the file is not what was made: it is made anew.
_RUINED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_log = logging.getLogger("turnout.cache")


def sweep(home: Path) -> int:
    """Remove what has expired from the file under a folder, if there is one; how much that was.

    Also where nobody uses the cache any more. Raises: CacheError.
    """
    if not (home / FILE).exists():
        return 0
    answers = SqliteAnswers(home, 0)
    try:
        return answers.sweep(time.time_ns() // 1000)
    finally:
        answers.close()


class SqliteAnswers:
    """A `Store` in the file `cache.db` under `TURNOUT_HOME`; used from any thread.

    `get` costs 20 µs for an answer of 1 KB, 35 µs of 8 KB, `put` 100 and 200 µs; a claim and its
    end 15 µs more. The file takes `most_bytes` at most, and a log of about 4 MB beside it; older
    answers make room for new ones.
    """

    def __init__(self, home: Path, most_bytes: int, generations: Generations | None = None) -> None:
        """Use the file under this folder; it is made, or made anew, where it has to be.

        `generations`: those of the machine, unless said. Never raises: every call tries again.
        """
        self._path = home / FILE
        self._most_bytes = most_bytes
        self._generations = generations or SharedGenerations(home / FOLDER)
        self._guard = threading.Lock()
        self._file: _File | None = None
        self._closed = False
        self._claims = Claims(home / f"{FILE}-claims")
        with suppress(CacheError):
            self._opened()

    # --- as a Store ------------------------------------------------------------------------------

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        """The answer under a key that has not expired."""

        def found(connection: sqlite3.Connection) -> CachedAnswer | None:
            # All rows, though there is one at most: a statement that is not at its end would keep
            # the file as it was for this connection.
            rows = connection.execute(_GET, (key.digest,)).fetchall()
            return unpack(key, rows[0][1]) if rows and rows[0][0] > now_us else None

        return self._do(found, READ_PATIENCE_S)

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        """The answer, else whether the claim to make it is ours now; False: somebody else's."""
        found = self.get(key, now_us)
        if found is not None:
            return found
        if not self._claims.claim(key.digest):
            return False
        # Whoever had the claim before may have kept the answer since we looked.
        try:
            found = self.get(key, now_us)
        except BaseException:
            self._claims.release(key.digest)
            raise
        if found is None:
            return True
        self._claims.release(key.digest)
        return found

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer, unless its tenant's generation is another one by now.

        What would take more than a quarter of the file is left out.
        """
        try:
            packed = pack(key, answer)
            row = (
                key.digest,
                key.tenant,
                answer.target,
                answer.model,
                answer.rule,
                orjson.dumps(answer.tags).decode(),
                answer.stored_us,
                expires_us,
                len(packed),
                answer.cost_nano_usd,
            )

            def kept(connection: sqlite3.Connection) -> None:
                _remove_expired(connection, answer.stored_us)
                if not self._has_room(connection, len(packed) + _ROW_BYTES):
                    return
                with _writing(connection):
                    # Within the transaction: an invalidation raises the number and then removes,
                    # so either the number is another one already, or it finds what is kept here.
                    if self._generations.of(key.tenant) != generation:
                        return
                    _remove(connection, _ids(connection, "digest = ?", key.digest))
                    added = connection.execute(_INSERT, row)
                    connection.execute(
                        "INSERT INTO bodies VALUES (?, ?)", (added.lastrowid, packed)
                    )

            if len(packed) + _ROW_BYTES <= self._most_bytes // 4:
                self._do(kept, WRITE_PATIENCE_S)
        except (TypeError, ValueError, OverflowError) as error:
            raise CacheError(f"an answer cannot be written: {error}") from error
        finally:
            self._claims.release(key.digest)

    def release(self, key: Key) -> None:
        """Give up a claim."""
        self._claims.release(key.digest)

    def invalidate(self, which: Invalidation) -> int:
        """Remove answers; how many they were. Their tenant's generation was raised before.

        In small steps, between which others write: 2 s for a million answers that are looked at.
        """
        is_meant = meant(which)
        of, tenant = ("", ()) if which.tenant is None else ("AND tenant = ? ", (which.tenant,))
        walk = _WALK.format(of=of)

        def removed(connection: sqlite3.Connection) -> int:
            # A write lock for a moment: who had it and still saw the old number has ended by now,
            # so that what it kept is among the rows up to the last one.
            with _writing(connection):
                last = connection.execute("SELECT coalesce(max(id), 0) FROM answers").fetchone()[0]
            after = count = 0
            while True:
                rows = connection.execute(walk, (after, last, *tenant, _WALK_ROWS)).fetchall()
                ids = [
                    id
                    for id, target, model, rule, tags, stored_us in rows
                    if is_meant(Label(target, model, rule, orjson.loads(tags), stored_us))
                ]
                for at in range(0, len(ids), _STEP_ROWS):
                    with _writing(connection):
                        count += _remove(connection, ids[at : at + _STEP_ROWS])
                if len(rows) < _WALK_ROWS:
                    return count
                after = rows[-1][0]

        return self._do(removed, WRITE_PATIENCE_S)

    def stats(self, tenant: str | None) -> list[Shelved]:
        """What is there and has not expired, by target; `tenant` None: of all tenants."""
        now_us = time.time_ns() // 1000

        def found(connection: sqlite3.Connection) -> list[Shelved]:
            return [
                Shelved(*row) for row in connection.execute(_STATS, (now_us, tenant)).fetchall()
            ]

        return self._do(found, READ_PATIENCE_S)

    def sweep(self, now_us: int) -> int:
        """Remove what has expired, in small steps; how many they were. Raises: CacheError."""

        def removed(connection: sqlite3.Connection) -> int:
            count = 0
            while step := _remove_expired(connection, now_us, _STEP_ROWS):
                count += step
            return count

        return self._do(removed, WRITE_PATIENCE_S)

    def close(self) -> None:
        """Let go of everything, claims too."""
        self._closed = True
        with self._guard:
            file, self._file = self._file, None
        if file is not None:
            file.close()
        self._claims.close()

    # --- the file --------------------------------------------------------------------------------

    def _do(self, work: Callable[[sqlite3.Connection], T], patience_s: float) -> T:
        """Do something with a connection; a second time with a new file, where this one is ruined.

        Raises: CacheError.
        """
        for is_last in (False, True):
            file = self._opened()
            try:
                with file.connection(patience_s) as connection:
                    return work(connection)
            except (sqlite3.Error, Damaged) as error:
                if not _is_ruined(error):
                    raise CacheError(f"`{self._path}` cannot be used: {error}") from error
                self._set_aside(file, str(error))
                if is_last:
                    raise CacheError(f"`{self._path}` is damaged: {error}") from error
        raise AssertionError("unreachable")

    def _opened(self) -> "_File":
        """The file that is there now, opened once. Raises: CacheError."""
        file = self._file
        if file is not None and file.is_there():
            return file
        with self._guard:
            if self._closed:
                raise CacheError("the cache is closed")
            file = self._file
            if file is not None:
                if file.is_there():
                    return file
                self._file = None
                file.close()
            try:
                self._file = file = self._open()
            except (sqlite3.Error, OSError) as error:
                raise CacheError(f"`{self._path}` cannot be opened: {error}") from error
            return file

    def _open(self) -> "_File":
        for _ in range(2):
            if not self._path.exists():
                make_closed(self._path.parent)
                with self._alone():
                    if not self._path.exists():
                        _make(self._path)
            file = _File(self._path)
            try:
                with file.connection(WRITE_PATIENCE_S) as connection:
                    application = connection.execute("PRAGMA application_id").fetchone()[0]
                    version = connection.execute("PRAGMA user_version").fetchone()[0]
                if application == _APPLICATION and version == _VERSION:
                    return file
                if application == _APPLICATION and version > _VERSION:
                    file.close()
                    raise CacheError(f"`{self._path}` belongs to a newer turnout")
                why = "it is of an older turnout" if application == _APPLICATION else "not a cache"
            except sqlite3.Error as error:
                if not _is_ruined(error):
                    file.close()
                    raise
                why = str(error)
            self._replace(file, why)
        raise CacheError(f"`{self._path}` changes all the time")

    def _set_aside(self, file: "_File", why: str) -> None:
        with self._guard:
            if self._file is file:
                self._file = None
            try:
                self._replace(file, why)
            except (OSError, sqlite3.Error) as error:
                raise CacheError(f"`{self._path}` cannot be replaced: {error}") from error

    def _replace(self, file: "_File", why: str) -> None:
        """Put a file that cannot be used out of the way, unless another process has."""
        file.close()
        with self._alone():
            if file.is_there():
                # Nobody has a use for what is left of answers, nor would it ever be removed.
                if _is_ours(self._path):
                    self._path.unlink()
                    what = "removed"
                else:
                    aside = self._path.with_name(f"{FILE}-set-aside")
                    os.replace(self._path, aside)
                    what = f"now `{aside}`"
                _make(self._path)
                _log.warning(
                    "the shared cache is made anew: `%s` could not be used (%s), and is %s",
                    self._path,
                    why,
                    what,
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who makes or replaces the file."""
        give_up = time.monotonic() + _OPEN_PATIENCE_S
        while not self._claims.open():
            if time.monotonic() >= give_up:
                raise CacheError(f"`{self._path}` is being made by another process")
            time.sleep(0.002)
        try:
            yield
        finally:
            self._claims.opened()

    def _has_room(self, connection: sqlite3.Connection, wanted_bytes: int) -> bool:
        """Remove the oldest answers until there is room, or time is up."""
        most = self._most_bytes - wanted_bytes
        give_up = time.monotonic() + _ROOM_PATIENCE_S
        page_bytes, pages, spare = _pages(connection)
        while (pages - spare) * page_bytes > most:
            if time.monotonic() >= give_up:
                return False
            with _writing(connection):
                oldest = "SELECT id, bytes FROM answers ORDER BY id LIMIT ?"
                rows = connection.execute(oldest, (_STEP_ROWS,)).fetchall()
                freed = 0
                ids: list[int] = []
                for id, bytes in rows:
                    # Of small ones several: a page is free once nothing is left on it.
                    if freed >= wanted_bytes and len(ids) >= _EXPIRED_ROWS:
                        break
                    freed += bytes + _ROW_BYTES
                    ids.append(id)
                _remove(connection, ids)
            if not ids:
                return False
            page_bytes, pages, spare = _pages(connection)
        if pages * page_bytes > most and spare > _SPARE_PAGES:
            # The file itself is too large, since it was allowed to be once.
            # A script, since `execute` would stop after the first page.
            connection.executescript(f"PRAGMA incremental_vacuum({_SPARE_PAGES})")
        return True


class _File:
    """A file that was opened, and its connections; it is not made where it is missing."""

    def __init__(self, path: Path) -> None:
        """Take the file that is there. Raises: OSError."""
        self._path = path
        self._there = os.stat(path)
        self._idle: dict[float, list[sqlite3.Connection]] = {}
        self._closed = False

    def is_there(self) -> bool:
        """Whether the path still leads to it; 1 µs."""
        try:
            return os.path.samestat(os.stat(self._path), self._there)
        except OSError:
            return False

    @contextmanager
    def connection(self, patience_s: float) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile, and that waits so long for locks.

        Raises: sqlite3.Error.
        """
        idle = self._idle.setdefault(patience_s, [])
        try:
            connection = idle.pop()
        except IndexError:
            connection = _connect(self._path, patience_s)
        try:
            yield connection
        except BaseException:
            # It may be in the middle of something.
            connection.close()
            raise
        idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close what nobody uses now; the rest is closed once it is not used any more."""
        self._closed = True
        for idle in self._idle.values():
            with suppress(IndexError):
                while True:
                    idle.pop().close()


def _connect(path: Path, patience_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        timeout=patience_s,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=8388608")
        # What is removed does not stay in pages that are written anyway.
        connection.execute("PRAGMA secure_delete=FAST")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_ours(path: Path) -> bool:
    """Whether a file says that it is one of answers, as far as it can be read. Raises: OSError."""
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(b"SQLite format 3") and head[68:] == _APPLICATION.to_bytes(4)


def _make(path: Path) -> None:
    """Make an empty file of answers, all at once. Raises: OSError, sqlite3.Error."""
    made = path.with_name(f"{path.name}-new")
    for one in (made, path):
        # A log beside a file that is gone would be taken for that of the new one.
        for rest in ("-wal", "-shm"):
            one.with_name(one.name + rest).unlink(missing_ok=True)
    made.unlink(missing_ok=True)
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(made, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT")
    finally:
        connection.close()
    os.replace(made, path)


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _ids(connection: sqlite3.Connection, where: str, value: object) -> list[int]:
    found = connection.execute(f"SELECT id FROM answers WHERE {where}", (value,))
    return [id for (id,) in found.fetchall()]


def _remove(connection: sqlite3.Connection, ids: list[int]) -> int:
    """Remove some rows; how many there were. Within a transaction."""
    if not ids:
        return 0
    marks = ",".join(map(str, ids))
    connection.execute(f"DELETE FROM bodies WHERE id IN ({marks})")
    return connection.execute(f"DELETE FROM answers WHERE id IN ({marks})").rowcount


def _remove_expired(connection: sqlite3.Connection, now_us: int, most: int = _EXPIRED_ROWS) -> int:
    where = f"expires_us <= ? ORDER BY expires_us LIMIT {most}"
    ids = _ids(connection, where, now_us)
    if not ids:
        return 0
    with _writing(connection):
        return _remove(connection, ids)


def _pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The size of a page, how many there are, and how many of them are free."""
    rows = connection.execute(
        "SELECT page_size, page_count, freelist_count "
        "FROM pragma_page_size, pragma_page_count, pragma_freelist_count"
    ).fetchall()
    size, count, free = rows[0]
    return size, count, free


def _is_ruined(error: Exception) -> bool:
    # Extended codes have the kind of failure in their low byte.
    return isinstance(error, Damaged) or (getattr(error, "sqlite_errorcode", 0) & 0xFF in _RUINED)
