"""A disk that has too little room, or does not answer, stops what would have to be recorded."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from turnout.engine.audit import Event, Unheard
from turnout.engine.board import Alone
from turnout.engine.disk import Disk
from turnout.engine.journal import Journal
from turnout.engine.state.database import open_database
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import Group, StoreError, Unwritable


class Heard(Unheard):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        self.events.append(event)


async def test_it_is_full_below_the_floor_and_says_each_change_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    free = 1_000
    heard = Heard()
    disk = Disk(Path("/home"), 500, audit=heard, free_bytes=lambda _: free)
    seen = []
    for free in (1_000, 499, 400, 500, 900):  # noqa: B007
        await disk.look()
        seen.append(disk.is_full)
    assert seen == [False, True, True, False, False]
    assert [event.action for event in heard.events] == ["disk.full", "disk.free"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert disk.health() == {"full": False, "free_bytes": 900, "floor_bytes": 500}


async def test_only_the_worker_that_leads_says_it() -> None:
    class Behind(Alone):
        def leads(self, role: str) -> bool:
            return False

    heard = Heard()
    disk = Disk(Path("/home"), 500, Behind(), heard, free_bytes=lambda _: 1)
    await disk.look()
    assert disk.is_full
    assert heard.events == []


async def test_a_disk_that_cannot_be_asked_counts_as_full() -> None:
    def broken(_: Path) -> int:
        raise OSError("input/output error")

    disk = Disk(Path("/home"), 0, free_bytes=broken)
    await disk.look()
    assert disk.is_full
    assert disk.free_bytes is None


async def test_a_disk_that_does_not_answer_counts_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    now_s = 100.0
    monkeypatch.setattr("turnout.engine.disk.time.monotonic", lambda: now_s)
    asked = threading.Event()

    def hangs(_: Path) -> int:
        asked.set()
        answers.wait(20)
        return 1_000

    disk = Disk(Path("/home"), 500, free_bytes=hangs)
    look = asyncio.ensure_future(disk.look())
    await asyncio.to_thread(asked.wait, 20)
    assert not disk.is_full
    now_s = 105.1
    assert disk.is_full
    answers.set()
    await look
    assert not disk.is_full


class Full(SqliteStore):
    """A store whose disk takes nothing for a while."""

    error: StoreError | None = Unwritable("database or disk is full")

    def __init__(self, home: Path) -> None:
        super().__init__(open_database(home))
        self.tried = threading.Semaphore(0)

    def write(self, group: Group) -> None:
        if self.error is not None:
            self.tried.release()
            raise self.error
        super().write(group)


def test_a_disk_that_takes_no_group_is_full_at_once_until_it_takes_one(tmp_path: Path) -> None:
    store = Full(tmp_path)
    journal = Journal(store)
    assert journal.refuses is None
    journal.archive("sha256:a", "{}")
    store.tried.acquire()
    store.tried.acquire()
    assert journal.refuses == "disk_full"
    store.error = None
    while journal.refuses is not None:
        threading.Event().wait(0.005)
    assert journal.accepting
    journal.close()


def test_a_lock_that_is_held_for_a_moment_is_no_full_disk(tmp_path: Path) -> None:
    store = Full(tmp_path)
    store.error = StoreError("database is locked")
    journal = Journal(store)
    journal.archive("sha256:a", "{}")
    store.tried.acquire()
    store.tried.acquire()
    assert journal.refuses is None
    store.error = None
    journal.close()


def test_a_journal_refuses_while_its_disk_has_no_room(tmp_path: Path) -> None:
    class Low:
        is_full = True
        free_bytes: int | None = 7

    room = Low()
    journal = Journal(SqliteStore(open_database(tmp_path)), room=room)
    assert (journal.refuses, journal.free_bytes) == ("disk_full", 7)
    room.is_full = False
    assert journal.accepting
    journal.close()
    assert journal.refuses == "journal_full"


def test_a_database_that_cannot_be_written_is_told_from_one_that_is_locked(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with pytest.raises(Unwritable), database.writing() as writing:
        writing.exec_driver_sql("pragma query_only=on")
        writing.exec_driver_sql("delete from audit")
    with database.reading() as reading:
        reading.exec_driver_sql("pragma query_only=off")
    database.close()
