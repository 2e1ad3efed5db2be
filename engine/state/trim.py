"""Removes old rows in small steps, so that nobody who wants to write waits for long.

Each step is a transaction of its own, as large as what was done in about 15 ms before, and between
two steps others get their turn. It may be cut off at any point: the next round goes on from there.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, exists, func, select

from turnout.engine.audit import Event
from turnout.engine.audit_chain import TRIM, Head
from turnout.engine.keeping import Cutoffs, Keeping, cutoffs
from turnout.engine.trim import Trimmed

from .audit import append_to
from .database import Database
from .tables import (
    ALERTS,
    AUDIT,
    COUNTERS,
    DECISIONS,
    HOLDERS,
    LATE,
    LEASES,
    LEDGER,
    POLICIES,
    PULSES,
    SAVINGS,
)

RUN = "trim.run"
_STEP_NS = 15_000_000  # how long a step should hold the write lock
_LEAST, _FIRST, _MOST = 5, 50, 5_000  # rows, or pages, of a step
_REST = 2.0  # times as long as a step took is rested after it
_MOST_REST_S = 0.2
# A decision refers to live values of a moment before it came in.
_PULSE_SLACK_US = 60 * 60 * 1_000_000

KINDS: dict[str, str] = {
    "decisions": "journal",
    "late": "journal",
    "pulses": "journal",
    "policies": "journal",
    "ledger": "ledger",
    "savings": "ledger",
    "counters": "ledger",
    "leases": "ledger",
    "holders": "ledger",
    "alerts": "ledger",
    "audit": "audit",
}


class SqliteTrimmer:
    """A `Trimmer` of a SQLite file. Deleting 1 000 decisions takes about 30 ms, in steps."""

    def __init__(
        self,
        database: Database,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remove from this database."""
        self._database = database
        self._now_us = now_us
        self._rest = rest

    def last(self) -> Trimmed | None:
        """The newest round that came to its end. Raises: StoreError."""
        newest = (
            select(AUDIT.c.time_us, AUDIT.c.detail)
            .where(AUDIT.c.action == RUN)
            .order_by(AUDIT.c.number.desc())
            .limit(1)
        )
        with self._database.reading() as reading:
            row = reading.execute(newest).first()
        if row is None:
            return None
        try:
            detail = json.loads(row.detail)
            rows = {kind: int(detail.get(kind, 0)) for kind in KINDS}
            took_us = int(detail.get("took_us", 0))
            return Trimmed(int(row.time_us), rows, int(detail.get("bytes", 0)), took_us)
        except (ValueError, TypeError, AttributeError):
            return None  # somebody has spoiled the row, which `audit verify` finds

    def preview(self, keeping: Keeping) -> tuple[Cutoffs, dict[str, int]]:
        """What a round would remove now, and up to when; reads much. Raises: StoreError."""
        cut = self._cutoffs(keeping)
        with self._database.reading() as reading:
            rows = {
                table.name: int(
                    reading.execute(select(func.count()).select_from(table).where(old)).scalar_one()
                )
                for table, _, old in _plan(cut)
            }
            rows["policies"] = len(_unused_policies(reading, cut))
            head = _last_old(reading, cut.audit_us)
            first = reading.execute(select(func.min(AUDIT.c.number))).scalar_one_or_none()
            rows["audit"] = 0 if head is None or first is None else head.number - first + 1
        return cut, {kind: rows.get(kind, 0) for kind in KINDS}

    def trim(
        self, keeping: Keeping, actor: str, stop: Callable[[], bool] = lambda: False
    ) -> Trimmed | None:
        """Remove what is older; None where it was stopped before the end. Raises: StoreError."""
        began_ns = time.perf_counter_ns()
        cut = self._cutoffs(keeping)
        rows = dict.fromkeys(KINDS, 0)
        for kind, count in self._steps(cut, actor):
            rows[kind] += count
            if stop():
                return None
        given_back = 0
        for count in self._given_back():
            given_back += count
            if stop():
                return None
        took_us = (time.perf_counter_ns() - began_ns) // 1_000
        done = Trimmed(self._now_us(), rows, given_back, took_us)
        detail: dict[str, str | int | None] = {kind: count for kind, count in rows.items() if count}
        detail |= {"bytes": given_back, "took_us": took_us}
        with self._database.writing() as writing:
            append_to(writing, [Event(actor, RUN, "records", detail=detail, time_us=done.at_us)])
        return done

    def _cutoffs(self, keeping: Keeping) -> Cutoffs:
        now_us = self._now_us()
        running = select(func.min(COUNTERS.c.from_us)).where(COUNTERS.c.to_us > now_us)
        with self._database.reading() as reading:
            from_us = reading.execute(running).scalar_one_or_none()
        return cutoffs(keeping, now_us, from_us)

    # --- steps -----------------------------------------------------------------------------------

    def _steps(self, cut: Cutoffs, actor: str) -> Iterator[tuple[str, int]]:
        """Every step of a round, as it is done: of which kind it was, and how many rows it took."""
        for table, order, old in _plan(cut):
            keys = list(table.primary_key.columns)
            oldest = select(*keys).where(old).order_by(order)
            yield from self._removed(table, oldest)
        yield from self._policies(cut)
        yield from self._audit(cut, actor)

    def _removed(self, table: Table, oldest: Select[Any]) -> Iterator[tuple[str, int]]:
        pace = _Pace()
        keys = list(table.primary_key.columns)
        while True:
            # Found before the lock is taken, and gone by then only if another round took it.
            with self._database.reading() as reading:
                found = [tuple(row) for row in reading.execute(oldest.limit(pace.size))]
            if not found:
                return
            asked = pace.size
            with self._paced(pace) as writing:
                if len(keys) == 1:
                    gone: ColumnElement[bool] = keys[0].in_([key for (key,) in found])
                    count = writing.execute(delete(table).where(gone)).rowcount
                else:
                    count = 0
                    for row in found:
                        same = [key == value for key, value in zip(keys, row, strict=True)]
                        count += writing.execute(delete(table).where(*same)).rowcount
            yield table.name, count
            if len(found) < asked:
                return

    def _policies(self, cut: Cutoffs) -> Iterator[tuple[str, int]]:
        with self._database.reading() as reading:
            began_us = self._now_us()
            unused = _unused_policies(reading, cut)
        for digest in unused:
            # Whoever decides by it again has archived it again, which makes it new.
            since = select(DECISIONS.c.id).where(
                DECISIONS.c.time_us >= began_us - _PULSE_SLACK_US, DECISIONS.c.policy == digest
            )
            gone = delete(POLICIES).where(
                POLICIES.c.digest == digest, POLICIES.c.time_us < cut.journal_us, ~exists(since)
            )
            with self._paced(_Pace()) as writing:
                count = writing.execute(gone).rowcount
            yield "policies", count

    def _audit(self, cut: Cutoffs, actor: str) -> Iterator[tuple[str, int]]:
        with self._database.reading() as reading:
            last = _last_old(reading, cut.audit_us)
        if last is None:
            return
        # Said first: rows that it accounts for may be there, never the other way round.
        with self._database.writing() as writing:
            detail: dict[str, str | int | None] = {
                "number": last.number,
                "digest": f"sha256:{last.digest}",
            }
            append_to(writing, [Event(actor, TRIM, "audit", detail=detail)])
        oldest = select(AUDIT.c.number).where(AUDIT.c.number <= last.number)
        yield from self._removed(AUDIT, oldest.order_by(AUDIT.c.number))

    def _given_back(self) -> Iterator[int]:
        """Give pages that nothing uses back to the disk, where the file was made for that."""
        with self._database.reading() as reading:
            size = int(reading.exec_driver_sql("PRAGMA page_size").scalar_one())
            if int(reading.exec_driver_sql("PRAGMA auto_vacuum").scalar_one()) != _INCREMENTAL:
                return
        pace = _Pace()
        while True:
            with self._paced(pace) as writing:
                before = int(writing.exec_driver_sql("PRAGMA freelist_count").scalar_one())
                direct = writing.connection.cursor()
                for _ in range(min(pace.size, before)):
                    # However many are asked for, Python's module has it do one.
                    direct.execute("PRAGMA incremental_vacuum(1)")
                    direct.fetchall()
                after = int(writing.exec_driver_sql("PRAGMA freelist_count").scalar_one())
            yield max(before - after, 0) * size
            if after == 0 or after >= before:
                return

    @contextmanager
    def _paced(self, pace: "_Pace") -> Iterator[Connection]:
        """A write transaction whose time says how large the next one may be."""
        with self._database.writing() as writing:
            began_ns = time.perf_counter_ns()
            yield writing
        took_ns = time.perf_counter_ns() - began_ns
        pace.took(took_ns)
        self._rest(min(took_ns / 1e9 * _REST, _MOST_REST_S))


_INCREMENTAL = 2


class _Pace:
    """How much is done in a step: what fits into its time."""

    def __init__(self) -> None:
        self.size = _FIRST

    def took(self, took_ns: int) -> None:
        """Say how long a step of this size took."""
        if took_ns > _STEP_NS:
            self.size = max(self.size * _STEP_NS // took_ns, _LEAST)
        elif took_ns < _STEP_NS // 2:
            self.size = min(self.size * 2, _MOST)


def _plan(cut: Cutoffs) -> Iterator[tuple[Table, ColumnElement[Any], ColumnElement[bool]]]:
    """What goes: the table, in which order, and which of its rows are old."""
    yield DECISIONS, DECISIONS.c.time_us, DECISIONS.c.time_us < cut.journal_us
    yield LATE, LATE.c.time_us, LATE.c.time_us < cut.journal_us
    yield PULSES, PULSES.c.time_us, PULSES.c.time_us < cut.journal_us - _PULSE_SLACK_US
    # The newest row stays however old: a row's number is never another's, and those who add up the
    # ledger go on from the last one that they have read.
    newest = select(func.max(LEDGER.c.id)).scalar_subquery()
    yield LEDGER, LEDGER.c.time_us, (LEDGER.c.time_us < cut.ledger_us) & (LEDGER.c.id < newest)
    yield SAVINGS, SAVINGS.c.from_us, SAVINGS.c.from_us < cut.ledger_us
    ended = select(COUNTERS.c.id).where(COUNTERS.c.to_us < cut.ledger_us)
    yield LEASES, LEASES.c.counter, LEASES.c.counter.in_(ended)
    yield ALERTS, ALERTS.c.time_us, ALERTS.c.to_us < cut.ledger_us
    yield COUNTERS, COUNTERS.c.to_us, COUNTERS.c.to_us < cut.ledger_us
    leased = select(LEASES.c.holder).where(LEASES.c.holder == HOLDERS.c.id)
    yield HOLDERS, HOLDERS.c.lost_us, (HOLDERS.c.lost_us < cut.ledger_us) & ~exists(leased)


def _unused_policies(reading: Connection, cut: Cutoffs) -> list[str]:
    """Policies archived long ago that no decision refers to. Reads every decision once."""
    old = reading.execute(select(POLICIES.c.digest).where(POLICIES.c.time_us < cut.journal_us))
    digests = {str(digest) for (digest,) in old}
    if not digests:
        return []
    for column in (DECISIONS.c.policy, LEDGER.c.policy):
        if digests:
            used = select(column).where(column.in_(digests)).distinct()
            digests -= {str(digest) for (digest,) in reading.execute(used)}
    return sorted(digests)


def _last_old(reading: Connection, before_us: int) -> Head | None:
    """The last of the audit rows at the front that are all older; None where there is none."""
    if not before_us:
        return None
    columns = (AUDIT.c.number, AUDIT.c.digest)
    newer = select(AUDIT.c.number).where(AUDIT.c.time_us >= before_us)
    first = reading.execute(newer.order_by(AUDIT.c.number).limit(1)).scalar_one_or_none()
    last = select(*columns).order_by(AUDIT.c.number.desc()).limit(1)
    if first is not None:
        last = last.where(AUDIT.c.number < first)
    row = reading.execute(last).first()
    return None if row is None else Head(*row)
