"""The audit log in the database: one chain of rows for all processes of a home.

Appending reads the newest row inside the transaction that writes the next ones, so that processes
take turns and the chain has neither a gap nor a fork.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from turnout.engine.audit import Event, Sparing, fit
from turnout.engine.audit_chain import NOTHING, Head, Row, head_of, sealed

from .database import Database
from .store import StoreError
from .tables import AUDIT

_log = logging.getLogger("turnout.audit")

_GROUP = 250  # events in one transaction
_FLUSH_S = 1.0  # between two looks at refusals whose minute is over
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)  # between tries; the last one for good
_BATCH_ROWS = 1_000  # read at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are read: from `since_us` on, before `until_us`, of this actor and action."""

    since_us: int | None = None
    until_us: int | None = None
    actor: str | None = None
    action: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == ALL


ALL = Wanted()


def append_to(connection: Connection, events: Sequence[Event]) -> Head:
    """Append events within a write transaction; together with what they tell of, or not at all."""
    now_us = time.time_ns() // 1_000
    head = _head(connection)
    rows = []
    for event in events:
        row = sealed(fit(event, now_us), head)
        rows.append(row._asdict())
        head = head_of(row)
    if rows:
        connection.execute(insert(AUDIT), rows)
    return head


def _head(connection: Connection) -> Head:
    newest = select(AUDIT.c.number, AUDIT.c.digest).order_by(AUDIT.c.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return NOTHING if row is None else Head(*row)


def _is_there(reading: Connection, number: int) -> bool:
    return (
        reading.execute(select(AUDIT.c.number).where(AUDIT.c.number == number)).first() is not None
    )


def _row(found: Sequence[Any]) -> Row:
    """A row as the log has it; what somebody put there of another type cannot fit its digest."""
    number, time_us, *texts = found
    at_us = time_us if isinstance(time_us, int) else -1
    return Row(number, at_us, *(text if isinstance(text, str) else f"({text!r})" for text in texts))


class AuditLog:
    """An `Audit` that keeps events; used from any thread. One per process and database.

    `note` queues for a thread that starts with the first event, so it must not be used before the
    process was forked. What cannot be written is tried again; beyond `capacity` events waiting,
    more are dropped, counted, and said in the log itself (`audit.gap`) once it can be written.
    `kill -9` loses what was noted in the last moments and not written.
    """

    def __init__(
        self,
        database: Database,
        *,
        capacity: int = 10_000,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """Keep rows in this database, which stays open when the log is closed."""
        self._database = database
        self._capacity = capacity
        self._now_us = now_us
        self._changed = threading.Condition(threading.Lock())  # guards all that follows
        self._queue: deque[Event] = deque()
        self._sparing = Sparing()
        self._dropped = 0  # and not yet said in the log
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._give_up_at = 0.0
        self._failing = False

    # --- writing ---------------------------------------------------------------------------------

    def append(self, events: Sequence[Event]) -> Head:
        """Write events now, in one transaction; for commands. Blocks. Raises: StoreError."""
        with self._database.writing() as connection:
            return append_to(connection, events)

    def note(self, event: Event) -> None:
        """Keep an event; never blocks, never raises."""
        now_us = self._now_us()
        with self._changed:
            if not self._sparing.through(event, now_us):
                return
            self._put(fit(event, now_us))

    def _put(self, event: Event) -> None:
        """Queue an event. The lock is held."""
        if len(self._queue) >= self._capacity or self._closing.is_set():
            self._dropped += 1
            if self._dropped == 1:
                why = "the log is closed" if self._closing.is_set() else "too many are waiting"
                _log.error("audit events are dropped, first %s: %s", event.action, why)
            return
        self._queue.append(event)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()
        self._changed.notify()

    @property
    def waiting(self) -> int:
        """How many events are not written yet."""
        return len(self._queue)

    def close(self, patience_s: float = 5.0) -> None:
        """Write what waits, then stop; blocks. A failing disk is given up on after `patience_s`."""
        with self._changed:
            for event in self._sparing.over():
                self._put(fit(event, self._now_us()))
            if not self._closing.is_set():
                self._give_up_at = time.monotonic() + patience_s
                self._closing.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        if self._dropped:
            _log.error("%d audit events were dropped and are not in the log", self._dropped)

    def _run(self) -> None:
        tries = 0
        while True:
            with self._changed:
                if not self._queue and not self._dropped:
                    if self._closing.is_set():
                        return
                    self._changed.wait(_FLUSH_S)
                for event in self._sparing.over(self._now_us()):
                    if len(self._queue) < self._capacity:
                        self._queue.append(fit(event, self._now_us()))
                    else:
                        self._dropped += 1
                # They stay in the queue until they are written: it is bounded with them.
                group = [self._queue[at] for at in range(min(len(self._queue), _GROUP))]
                dropped = self._dropped
            if not group and not dropped:
                continue
            if self._written(group, dropped):
                tries = 0
                continue
            if self._closing.is_set() and time.monotonic() >= self._give_up_at:
                with self._changed:
                    self._dropped += len(self._queue)
                    self._queue.clear()
                return
            self._closing.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            if self._closing.is_set():
                time.sleep(_PAUSES_S[0])
            tries += 1

    def _written(self, group: list[Event], dropped: int) -> bool:
        gap = [Event("gateway", "audit.gap", "audit", "failed", {"dropped": dropped})]
        try:
            self.append(group + (gap if dropped else []))
            written, lost = len(group), 0
        except StoreError as error:
            if not self._failing:
                self._failing = True
                _log.error("the audit log cannot be written, trying again: %s", error)
            return False
        except Exception as error:  # something in an event, so trying again would not help
            if len(group) > 1:
                return all(self._written([one], 0) for one in group) and self._written([], dropped)
            _log.error("an audit event cannot be written: %s", type(error).__name__)
            written, lost, dropped = len(group), len(group), 0
        if self._failing:
            self._failing = False
            _log.warning("the audit log can be written again")
        with self._changed:
            for _ in range(written):
                self._queue.popleft()
            self._dropped += lost - dropped
        return True

    # --- reading ---------------------------------------------------------------------------------

    def head(self) -> Head:
        """The newest row. Blocks. Raises: StoreError."""
        with self._database.reading() as reading:
            return _head(reading)

    def rows(self, wanted: Wanted = ALL, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Rows by their numbers, those after `after` and up to `until`, read in batches.

        Blocks. Raises: StoreError, also where a trim has overtaken the reading: what it removes
        would look as if somebody had.
        """
        read: int | None = None
        while True:
            statement = select(AUDIT).where(AUDIT.c.number > after)
            if until is not None:
                statement = statement.where(AUDIT.c.number <= until)
            if wanted.since_us is not None:
                statement = statement.where(AUDIT.c.time_us >= wanted.since_us)
            if wanted.until_us is not None:
                statement = statement.where(AUDIT.c.time_us < wanted.until_us)
            if wanted.actor is not None:
                statement = statement.where(AUDIT.c.actor == wanted.actor)
            if wanted.action is not None:
                statement = statement.where(AUDIT.c.action == wanted.action)
            with self._database.reading() as reading:
                found = reading.execute(statement.order_by(AUDIT.c.number).limit(_BATCH_ROWS)).all()
                if read is not None and not _is_there(reading, read):
                    raise StoreError("rows were removed while they were read: do it again")
            for row in found:
                yield _row(row)
            if len(found) < _BATCH_ROWS:
                return
            after = read = found[-1].number

    def latest(self, many: int, before: int | None = None) -> list[Row]:
        """The newest rows before a number, newest first. Blocks. Raises: StoreError."""
        statement = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(many)
        if before is not None:
            statement = statement.where(AUDIT.c.number < before)
        with self._database.reading() as reading:
            return [_row(row) for row in reading.execute(statement)]
