"""The journal over real SQLite files, in one process and in several.

Over 300 lines because what is written, what goes wrong and who else writes share their records.
"""

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event

from turnout.engine.journal import Journal
from turnout.engine.ledger import Entry
from turnout.engine.record import Attempt, DecisionRecord, Late, PulseTable
from turnout.engine.request import Usage
from turnout.engine.spent import SpendRow
from turnout.engine.state import migrations
from turnout.engine.state.database import FILE, Database, migrate, url_of
from turnout.engine.state.rows import decision_row, pulse_row, read_pulse, read_record
from turnout.engine.state.sqlite import SqliteStore, open_store
from turnout.engine.state.store import Group, StoreError
from turnout.engine.state.tables import METADATA


def attempt(hop: int = 0, **known: Any) -> Attempt:
    return Attempt("groq/a", "a-1", "ok", hop, 0, 1_000, 50, sent=True, **known)


def record(id: str = "req_1", *attempts: Attempt, **known: Any) -> DecisionRecord:
    given: dict[str, Any] = {
        "id": id,
        "received_us": 1_700_000_000_000_000,
        "took_us": 1_200,
        "digest": "sha256:abc",
        "operation": "chat",
        "tenant": "acme",
        "tier": "pro",
        "team": None,
        "user": None,
        "key_id": None,
        "session_hash": "00",
        "model": "auto",
        "stream": False,
        "clause": 0,
        "rule": "cheap",
        "route": "groq/a",
        "target": "groq/a",
        "values": {"tokens": 80, "has_tools": False},
        "reasons": {},
        "intervals": {},
        "attempts": list(attempts or (attempt(usage=Usage(80, 9), cost_nano_usd=12),)),
        "status": 200,
    }
    return DecisionRecord(**(given | known))


def pulse_table(id: str) -> PulseTable:
    return PulseTable(id, 7, {"p95(groq/a)": 800_000}, {"p50(groq/a)": "3 of 20 samples"})


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def rows(home: Path, query: str) -> list[Any]:
    with sqlite3.connect(home / FILE) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def count(home: Path, table: str) -> int:
    return int(rows(home, f"select count(*) from {table}")[0][0])


@contextmanager
def opened(home: Path, **settings: Any) -> Iterator[Journal]:
    journal = Journal(open_store(home), **settings)
    try:
        yield journal
    finally:
        journal.close()


# --- what goes in comes out ----------------------------------------------------------------------


async def test_a_record_comes_back_equal_from_memory_and_from_disk(tmp_path: Path) -> None:
    written = record()
    with opened(tmp_path) as journal:
        journal.put(written)
        assert await journal.find("req_1", "acme") is written
    with opened(tmp_path) as later:
        found = await later.find("req_1", "acme")
    assert found == written
    assert found is not written


def test_each_attempt_that_was_sent_has_its_ledger_row_beside_the_decision(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.put(record("req_1", attempt(0), attempt(1, usage=Usage(5, 6), cost_nano_usd=70)))
        journal.put(record("req_2", replace(attempt(), sent=False)))
    assert rows(tmp_path, "select request, hop, tokens_in, cost_nano_usd from ledger") == [
        ("req_1", 0, None, 0),
        ("req_1", 1, 5, 70),
    ]
    assert count(tmp_path, "decisions") == 2


texts = st.text(st.characters(), max_size=12)  # half surrogate pairs too
values = st.none() | st.booleans() | st.integers(-(2**127), 2**127) | texts
tokens = st.integers(0, 2**70)
usages = st.builds(Usage, tokens, tokens, cached=tokens, estimated=st.booleans())
attempts = st.builds(
    Attempt,
    target=texts,
    upstream_model=texts,
    outcome=st.sampled_from(["ok", "failed", "skipped"]),
    hop=st.integers(0, 9),
    number=st.integers(0, 9),
    started_us=st.integers(0, 2**53),
    took_us=st.integers(0, 2**53),
    fault=st.none() | texts,
    reason=st.none() | texts,
    status=st.none() | st.integers(100, 599),
    sent=st.booleans(),
    usage=st.none() | usages,
    cost_nano_usd=st.integers(0, 2**70),
    ttft_us=st.none() | st.integers(0, 2**53),
    dropped=st.lists(texts, max_size=3).map(tuple),
)
records = st.builds(
    lambda id, tried, known: record(id, **known, attempts=tried),
    texts,
    st.lists(attempts, max_size=3),
    st.fixed_dictionaries(
        {
            "model": texts,
            "tenant": texts,
            "values": st.dictionaries(texts, values, max_size=4),
            "reasons": st.dictionaries(texts, texts, max_size=3),
            "intervals": st.dictionaries(texts, st.tuples(tokens, tokens), max_size=3),
            "clause": st.none() | st.integers(0, 99),
            "rule": st.none() | texts,
            "target": st.none() | texts,
        }
    ),
)


def exactly(value: object) -> str:
    """Equality that tells True from 1, as the language does."""
    return repr(value)


@given(records)
def test_every_record_survives_being_a_row(written: DecisionRecord) -> None:
    data = decision_row(written)[-1]
    assert isinstance(data, bytes)
    assert exactly(read_record(data)) == exactly(written)


@given(
    st.builds(
        PulseTable,
        texts,
        st.integers(0, 2**53),
        st.dictionaries(texts, st.integers(0, 2**70), max_size=4),
        st.dictionaries(texts, texts, max_size=4),
    )
)
def test_every_pulse_table_survives_being_a_row(written: PulseTable) -> None:
    data = pulse_row(written)[-1]
    assert isinstance(data, bytes)
    assert exactly(read_pulse(data)) == exactly(written)


@settings(max_examples=15)
@given(st.lists(records, max_size=4, unique_by=lambda one: one.id.encode("utf-8", "replace")))
def test_the_store_takes_every_record(
    tmp_path_factory: pytest.TempPathFactory, written: list[DecisionRecord]
) -> None:
    home = tmp_path_factory.mktemp("home")
    store = open_store(home)
    store.write(Group(written))
    assert count(home, "decisions") == len(written)
    for one in written:
        assert exactly(store.record(one.id)) == exactly(one)
    store.close()


def test_a_record_of_another_version_is_read_as_far_as_it_is_known() -> None:
    data = decision_row(record())[-1]
    assert isinstance(data, bytes)
    newer = data.replace(b'{"id"', b'{"invented_later":1,"id"', 1)
    older = data.replace(b',"cache":"BYPASS"', b"", 1)
    assert read_record(newer) == read_record(older) == record()


def test_writing_a_group_again_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for _ in range(2):
        store.write(Group([record()], [pulse_table("pulse_1")], [("sha256:abc", "{}")]))
    store.close()
    found = [count(tmp_path, name) for name in ("decisions", "ledger", "pulses", "policies")]
    assert found == [1, 1, 1, 1]


# --- finding -------------------------------------------------------------------------------------


async def test_a_record_that_another_process_is_about_to_write_is_waited_for(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ours, opened(tmp_path) as theirs:
        search = asyncio.create_task(ours.find("req_late", "acme"))
        await asyncio.sleep(0)
        theirs.put(record("req_late"))
        assert await search == record("req_late")


async def test_a_search_gives_up_after_its_time(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        began = time.monotonic()
        assert await journal.find("req_none", None, wait_us=120_000) is None
        assert 0.1 <= time.monotonic() - began < 2


async def test_another_tenants_record_is_not_found(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.put(record("req_1", tenant="acme"))
        assert await journal.find("req_1", "other", wait_us=0) is None
        wait_for(lambda: journal.counts.written == 1)
        assert await journal.find("req_1", "other", wait_us=0) is None
        assert await journal.find("req_1", None, wait_us=0) is not None


# --- groups --------------------------------------------------------------------------------------


class Counting(SqliteStore):
    """A real store that remembers how large the groups were."""

    def __init__(self, home: Path) -> None:
        migrate(url_of(home))
        super().__init__(Database(url_of(home)))
        self.sizes: list[int] = []

    def write(self, group: Group) -> None:
        self.sizes.append(len(group.records))
        super().write(group)


def test_records_are_written_in_groups(tmp_path: Path) -> None:
    store = Counting(tmp_path)
    journal = Journal(store)
    for number in range(1_000):
        journal.put(record(f"req_{number}"))
    journal.close()
    assert sum(store.sizes) == count(tmp_path, "decisions") == 1_000
    assert max(store.sizes) <= 250
    assert len(store.sizes) <= 20


def test_a_group_is_closed_within_200_ms(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.put(record("req_warm"))
        wait_for(lambda: journal.counts.written == 1)
        began = time.monotonic()
        journal.put(record("req_1"))
        wait_for(lambda: journal.counts.written == 2)
        # What it takes on a quiet machine is 0.1 s; the rest is for a busy one.
        assert time.monotonic() - began < 1


def test_closing_writes_what_waits_at_once(tmp_path: Path) -> None:
    journal = Journal(open_store(tmp_path))
    for number in range(600):
        journal.put(record(f"req_{number}"))
    journal.close()
    journal.close()
    assert count(tmp_path, "decisions") == 600
    assert (journal.counts.waiting, journal.counts.written) == (0, 600)


def test_a_record_after_the_end_is_counted_as_lost_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(open_store(tmp_path))
    journal.close()
    assert not journal.accepting
    for number in range(2):
        journal.put(record(f"req_{number}"))
    assert journal.counts.lost == 2
    assert [line.getMessage() for line in caplog.records] == [
        "decision req_0 is lost, and any that follow: the journal is closed"
    ]


def test_putting_never_waits_for_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.put(record("req_0"))
        wait_for(lambda: journal.counts.written == 1)
        blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        blocker.execute("begin immediate")
        began = time.monotonic()
        for number in range(1, 500):
            journal.put(record(f"req_{number}"))
        took_s = time.monotonic() - began  # a machine may be slow; the lock is never given up
        assert (count(tmp_path, "decisions"), journal.counts.waiting) == (1, 499)
        assert took_s < 4
        blocker.execute("rollback")
        blocker.close()
    assert count(tmp_path, "decisions") == 500


# --- pulse tables and policies -------------------------------------------------------------------


def test_only_pulse_tables_that_a_decision_refers_to_are_written(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in range(5):
            journal.put_pulse(pulse_table(f"pulse_{number}"))
        journal.put(record("req_1", pulse_id="pulse_1"))
        journal.put(record("req_2", pulse_id="pulse_1"))
        journal.put(record("req_3", pulse_id="pulse_3"))
        journal.put(record("req_4", pulse_id="pulse_unheard_of"))
        assert journal.pulse("pulse_1") == pulse_table("pulse_1")
    with opened(tmp_path) as later:
        assert later.pulse("pulse_1") == pulse_table("pulse_1")
        assert later.pulse("pulse_0") is None
    assert rows(tmp_path, "select id from pulses order by id") == [("pulse_1",), ("pulse_3",)]


def test_tables_that_nobody_refers_to_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in range(2_000):
            journal.put_pulse(pulse_table(f"pulse_{number}"))
        assert journal.pulse("pulse_0") is None
        assert journal.pulse("pulse_1999") is not None


def test_a_policy_is_archived_once_and_read_by_its_digest(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for _ in range(3):
            journal.archive("sha256:abc", '{"version": 1}')
        assert journal.archived("sha256:abc") == '{"version": 1}'
    with opened(tmp_path) as later:
        later.archive("sha256:abc", '{"version": 1}')
        assert later.archived("sha256:abc") == '{"version": 1}'
        assert later.archived("sha256:def") is None
    assert count(tmp_path, "policies") == 1


# --- trouble -------------------------------------------------------------------------------------


@contextmanager
def small_disk(pages: int) -> Iterator[Callable[[int], None]]:
    """Every connection opened inside can fill so many pages; the function makes room."""
    allowed = [pages]

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"pragma max_page_count={allowed[0]}")

    def grow(more: int) -> None:
        allowed[0] = more

    event.listen(Engine, "connect", limit)
    event.listen(Engine, "checkout", limit)
    try:
        yield grow
    finally:
        event.remove(Engine, "connect", limit)
        event.remove(Engine, "checkout", limit)


async def test_a_full_disk_refuses_paid_work_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(tmp_path).close()
    with small_disk(20) as grow:
        journal = Journal(SqliteStore(Database(url_of(tmp_path))), capacity=600)
        for number in range(600):
            journal.put(record(f"req_{number}"))
        assert not journal.accepting
        wait_for(lambda: journal.counts.retries >= 2)
        assert journal.counts.lost == journal.counts.refused == 0
        assert await journal.find("req_599", "acme") == record("req_599")
        grow(100_000)
        wait_for(lambda: journal.counts.written == 600)
        assert journal.accepting
        journal.close()
    assert count(tmp_path, "decisions") == count(tmp_path, "ledger") == 600
    told = [line.getMessage() for line in caplog.records if line.name == "turnout.journal"]
    assert told == [
        "the journal cannot be written, trying again: database or disk is full",
        "the journal can be written again",
    ]


def test_a_disk_that_stays_full_is_given_up_on_at_the_end_and_the_loss_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(tmp_path).close()
    with small_disk(20):
        journal = Journal(SqliteStore(Database(url_of(tmp_path))))
        for number in range(200):
            journal.put(record(f"req_{number}"))
        wait_for(lambda: journal.counts.retries >= 1)
        journal.close(patience_s=0.1)
    counts = journal.counts
    assert (counts.waiting, counts.written + counts.lost) == (0, 200)
    assert counts.lost > 0
    assert caplog.records[-1].levelno == logging.ERROR


class Failing:
    """A store whose writes hang or fail for as long as a test wants."""

    def __init__(self, error: Exception | None = None) -> None:
        self.free = threading.Event()
        self.error = error
        self.written: list[str] = []
        self.poison = ""

    def write(self, group: Group) -> None:
        ids = [one.id for one in group.records]
        if self.poison in ids:
            raise OverflowError("too large")
        if not self.free.is_set():
            if self.error is not None:
                raise self.error
            self.free.wait(20)
        self.written += ids

    def record(self, id: str) -> DecisionRecord | None:
        return None

    def pulse(self, id: str) -> PulseTable | None:
        return None

    def policy(self, digest: str) -> str | None:
        return None

    def spending(self, from_us: int, after: int) -> tuple[int, list[SpendRow]]:
        return after, []

    def lost(self) -> dict[tuple[str, str, str, int, int], int]:
        return {}

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("error", [None, StoreError("disk I/O error")], ids=["hangs", "fails"])
def test_a_write_that_hangs_or_fails_for_long_refuses_paid_work(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.engine.journal._PATIENCE_S", 0.2)
    store = Failing(error)
    journal = Journal(store)
    journal.put(record())
    assert journal.accepting
    wait_for(lambda: not journal.accepting)
    store.free.set()
    wait_for(lambda: journal.accepting)
    journal.close()
    assert store.written == ["req_1"]


def test_beyond_twice_the_capacity_records_are_counted_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Failing()
    journal = Journal(store, capacity=5)
    for number in range(12):
        journal.put(record(f"req_{number}"))
    assert (journal.counts.waiting, journal.counts.lost) == (10, 2)
    assert [line.getMessage() for line in caplog.records] == [
        "decision req_10 is lost, and any that follow: too many are waiting"
    ]
    store.free.set()
    journal.close()
    assert len(store.written) == 10


def test_a_record_that_cannot_be_written_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Failing()
    store.free.set()
    store.poison = "req_3"
    journal = Journal(store)
    for number in range(6):
        journal.put(record(f"req_{number}"))
    journal.close()
    assert sorted(store.written) == ["req_0", "req_1", "req_2", "req_4", "req_5"]
    assert (journal.counts.written, journal.counts.refused) == (5, 1)
    assert caplog.records[-1].getMessage() == "cannot write req_3: OverflowError: too large"


# --- several processes ---------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_engine_journal import record
from turnout.engine.journal import Journal
from turnout.engine.state.sqlite import open_store

home, name, many = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
journal = Journal(open_store(home))
print("ready", flush=True)
sys.stdin.readline()
for number in range(many):
    journal.put(record(f"{name}_{number}"))
    if number % 50 == 49:
        time.sleep(0.02)
    if number % 200 == 199:
        print(journal.counts.written, flush=True)
journal.close()
print("done", journal.counts, flush=True)
"""


def writer(home: Path, name: str, many: int) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, here, str(home), name, str(many)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.uncounted
def test_processes_that_start_at_once_make_one_database_and_all_write_to_it(
    tmp_path: Path,
) -> None:
    home = tmp_path / "new" / "home"
    processes = [writer(home, name, 600) for name in ("a", "b", "c")]
    for process in processes:
        assert line(process) == "ready"
        begin(process)
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.splitlines()[-1].endswith(
            "Counts(waiting=0, written=600, retries=0, refused=0, lost=0)"
        )
    assert count(home, "decisions") == count(home, "ledger") == 1_800
    assert rows(home, "pragma integrity_check") == [("ok",)]


def test_a_killed_writer_leaves_a_sound_file_with_all_that_it_said_was_written(
    tmp_path: Path,
) -> None:
    process = writer(tmp_path, "k", 100_000)
    assert line(process) == "ready"
    begin(process)
    said = 0
    while said < 300:
        said = int(line(process))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = count(tmp_path, "decisions")
    assert kept >= said
    assert count(tmp_path, "ledger") == kept
    assert rows(tmp_path, "pragma integrity_check") == [("ok",)]
    with opened(tmp_path) as journal:
        journal.put(record("after"))
    assert count(tmp_path, "decisions") == kept + 1


# --- the file and its tables ---------------------------------------------------------------------


def test_the_file_is_in_wal_mode_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_store(home).close()
    assert rows(home, "pragma journal_mode") == [("wal",)]
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / FILE).stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with create_engine(url_of(tmp_path)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with create_engine(url_of(tmp_path)).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        first = [name for name in Entry._fields if name not in ("kind", "payer", "corrects")]
        columns = ",".join(f'"{name}"' for name in first)
        values = ",".join(str(number) for number in range(len(first)))
        connection.exec_driver_sql(f"insert into ledger ({columns}) values ({values})")
    store = open_store(tmp_path)
    store.write(Group(records=[record()]))
    store.close()
    assert rows(tmp_path, "select kind from ledger") == [("answer",), ("answer",)]


def test_an_attempt_that_ends_after_its_record_is_found_with_it(tmp_path: Path) -> None:
    journal = Journal(open_store(tmp_path))
    made = record(mirror="groq/b")
    late = replace(attempt(-1, kind="mirror"), target="groq/b")
    journal.put(made)
    wait_for(lambda: count(tmp_path, "decisions") == 1)
    journal.put_late(Late(made, late))
    assert found(journal, made.id) == replace(made, attempts=[late, *made.attempts])
    journal.close()
    assert found(Journal(open_store(tmp_path)), made.id).attempts == [late, *made.attempts]
    assert rows(tmp_path, "select kind, target from ledger order by id") == [
        ("answer", "groq/a"),
        ("mirror", "groq/b"),
    ]


def found(journal: Journal, id: str) -> DecisionRecord:
    kept = asyncio.run(journal.find(id, "acme"))
    assert kept is not None
    return kept


def test_opening_waits_for_another_process_that_is_opening_too(tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
    blocker.execute("begin exclusive")
    blocker.execute("create table early (id)")
    release = threading.Timer(0.2, blocker.execute, ["commit"])
    release.start()
    open_store(tmp_path).close()
    release.join()
    blocker.close()
    assert count(tmp_path, "early") == count(tmp_path, "decisions") == 0


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("update alembic_version set version_num = 'from the future'")
    connection.close()
    with pytest.raises(StoreError, match="belongs to a newer turnout"):
        open_store(tmp_path)


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(tmp_path)


def test_a_home_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write in the folder"):
        open_store(tmp_path / "file" / "home")
