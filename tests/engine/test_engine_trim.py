"""What is past its days goes, in small steps; nothing else does."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from turnout.engine.audit import Event
from turnout.engine.audit_chain import check
from turnout.engine.board import Alone
from turnout.engine.keeping import DAY_US, Keeping, cutoffs
from turnout.engine.state.audit import AuditLog
from turnout.engine.state.database import FILE, Database, open_database
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import Group, StoreError
from turnout.engine.state.tables import (
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
from turnout.engine.state.trim import SqliteTrimmer
from turnout.engine.trim import Trimmed, Trimming, due_us

NOW_US = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
HOUR_US = DAY_US // 24


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    yield opened
    opened.close()


def trimmer(database: Database, now_us: int = NOW_US) -> SqliteTrimmer:
    return SqliteTrimmer(database, lambda: now_us, lambda _: None)


def days_ago(days: float) -> int:
    return NOW_US - int(days * DAY_US)


def decided(database: Database, days: float, many: int = 1, policy: str = "sha256:p") -> None:
    """Decisions of so many days ago, each with its ledger row."""
    at_us = days_ago(days)
    with database.writing() as writing:
        ids = [f"req_{at_us}_{n}_{policy}" for n in range(many)]
        writing.execute(
            insert(DECISIONS),
            [
                {"id": id, "time_us": at_us, "tenant": "t", "policy": policy, "record": b"x" * 2000}
                for id in ids
            ],
        )
        writing.execute(
            insert(LEDGER),
            [
                {
                    "time_us": at_us,
                    "request": id,
                    "hop": 0,
                    "attempt": 0,
                    "tenant": "t",
                    "model": "m",
                    "target": "a/m",
                    "upstream_model": "m",
                    "policy": policy,
                    "usage_source": "provider",
                    "cost_nano_usd": 1,
                    "unconfirmed_nano_usd": 0,
                    "outcome": "ok",
                }
                for id in ids
            ],
        )


def times(database: Database, table: str) -> list[int]:
    with database.reading() as reading:
        rows = reading.exec_driver_sql(f"select time_us from {table} order by time_us")
        return [row[0] for row in rows]


def count(database: Database, table: str) -> int:
    with database.reading() as reading:
        return int(reading.exec_driver_sql(f"select count(*) from {table}").scalar_one())


# --- when ---------------------------------------------------------------------------------------


@given(st.integers(0, 4_000), st.integers(0, 4_000), st.integers(0, 4_000), st.integers(0, 3_000))
def test_nothing_younger_than_its_days_goes_and_no_running_stretch(
    ledger: int, journal: int, audit: int, running: int
) -> None:
    from_us = days_ago(running)
    cut = cutoffs(Keeping(ledger, journal, audit), NOW_US, from_us)
    assert cut.ledger_us <= min(from_us, days_ago(35))
    for days, cut_us in ((ledger, cut.ledger_us), (journal, cut.journal_us), (audit, cut.audit_us)):
        assert cut_us <= days_ago(days)
        if days == 0:
            assert cut_us == 0


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]),
    st.integers(0, 1_799),
)
def test_the_next_round_is_in_the_quiet_hour_and_within_a_day(
    last: datetime, zone: str, jitter_s: int
) -> None:
    last_us = int(last.replace(tzinfo=UTC).timestamp() * 1_000_000)
    due = due_us(last_us, ZoneInfo(zone), jitter_s)
    assert last_us < due <= last_us + 25 * HOUR_US + HOUR_US
    local = datetime.fromtimestamp(due / 1_000_000, ZoneInfo(zone))
    # Where clocks are set on over it, the hour after.
    assert local.hour in (3, 4)


class Scripted:
    """A trimmer that is told what to say."""

    def __init__(self) -> None:
        self.rounds = 0
        self.newest: Trimmed | None = None
        self.fails = False
        self.now_us = NOW_US

    def last(self) -> Trimmed | None:
        return self.newest

    def trim(self, keeping: Keeping, actor: str, stop: object) -> Trimmed | None:
        if self.fails:
            raise StoreError("database is locked")
        self.rounds += 1
        self.newest = Trimmed(self.now_us, {"decisions": 3})
        return self.newest


async def test_a_round_is_done_once_in_a_night_and_again_where_it_was_missed() -> None:
    scripted = Scripted()

    def now_us() -> int:
        return scripted.now_us

    def trimming(board: Alone | None = None) -> Trimming:
        return Trimming(scripted, Keeping(), board, now_us=now_us, since_boot_us=now_us)

    first = trimming()
    await first.look()
    assert scripted.rounds == 0  # it is noon
    scripted.now_us += 16 * HOUR_US
    scripted.fails = True
    await first.look()
    scripted.fails = False
    await first.look()
    await first.look()
    assert scripted.rounds == 1
    assert first.health()["removed"] == {"decisions": 3}
    await trimming().look()  # a worker that did not do it, and knows
    assert scripted.rounds == 1
    scripted.now_us += 40 * HOUR_US  # down for a night
    later = trimming()
    await later._read_last()
    await later.look()
    assert scripted.rounds == 2


class Clocks:
    """What the wall shows, and how long the machine runs."""

    def __init__(self) -> None:
        self.wall_us, self.since_boot_us = NOW_US, 5_000_000

    def wait(self, us: int) -> None:
        self.wall_us += us
        self.since_boot_us += us


@pytest.mark.parametrize("set_right", [True, False])
async def test_nothing_goes_for_a_day_after_the_clock_has_jumped_ahead(
    set_right: bool, caplog: pytest.LogCaptureFixture
) -> None:
    scripted, clocks = Scripted(), Clocks()
    trimming = Trimming(
        scripted,
        Keeping(),
        now_us=lambda: clocks.wall_us,
        since_boot_us=lambda: clocks.since_boot_us,
    )

    async def wait(hours: int) -> int:
        before = scripted.rounds
        for _ in range(hours):
            clocks.wait(HOUR_US)
            scripted.now_us = clocks.wall_us
            await trimming.look()
        return scripted.rounds - before

    assert await wait(16) == 1
    clocks.wall_us += 500 * 24 * HOUR_US
    assert await wait(12) == 0
    assert "`turnout trim`" in caplog.text
    if set_right:
        clocks.wall_us -= 500 * 24 * HOUR_US
        assert await wait(24) == 1
    else:
        assert await wait(12) == 0
        assert await wait(1) == 1
    assert await wait(48) == 2
    assert caplog.text.count("far ahead") == 1


async def test_nothing_goes_for_a_day_where_the_last_round_seems_long_ago() -> None:
    scripted, clocks = Scripted(), Clocks()
    scripted.newest = Trimmed(NOW_US - 36 * 24 * HOUR_US, {})
    scripted.now_us = clocks.wall_us
    trimming = Trimming(
        scripted,
        Keeping(),
        now_us=lambda: clocks.wall_us,
        since_boot_us=lambda: clocks.since_boot_us,
    )
    await trimming._read_last()
    for _ in range(24):
        await trimming.look()
        clocks.wait(HOUR_US)
    assert scripted.rounds == 0
    await trimming.look()
    assert scripted.rounds == 1


async def test_a_worker_that_does_not_lead_removes_nothing_but_archives_its_policies() -> None:
    class Behind(Alone):
        def leads(self, role: str) -> bool:
            return False

    scripted, archived = Scripted(), []
    trimming = Trimming(
        scripted,
        Keeping(),
        Behind(),
        archive=lambda: archived.append(scripted.now_us),
        now_us=lambda: scripted.now_us,
        since_boot_us=lambda: scripted.now_us,
    )
    for _ in range(48):
        scripted.now_us += HOUR_US
        await trimming.look()
    assert scripted.rounds == 0
    assert len(archived) == 4


# --- what ---------------------------------------------------------------------------------------


def test_each_kind_goes_after_its_own_days(database: Database) -> None:
    for days in (1, 29, 31, 89, 91, 399, 401, 500):
        decided(database, days)
    with database.writing() as writing:
        for days in (29, 31):
            writing.execute(
                insert(LATE), {"request": f"r{days}", "time_us": days_ago(days), "attempt": b""}
            )
            writing.execute(
                insert(PULSES), {"id": f"p{days}", "time_us": days_ago(days), "pulse": b""}
            )
    done = trimmer(database).trim(Keeping(), "cli")
    assert done is not None
    assert times(database, "decisions") == [days_ago(29), days_ago(1)]
    # The oldest is the row that was written last, which stays.
    assert times(database, "ledger") == [days_ago(d) for d in (500, 399, 91, 89, 31, 29, 1)]
    assert times(database, "late") == times(database, "pulses") == [days_ago(29)]
    assert {kind: n for kind, n in done.rows.items() if n} == {
        "decisions": 6,
        "ledger": 1,
        "late": 1,
        "pulses": 1,
    }
    (row,) = AuditLog(database).rows()
    assert (row.actor, row.action) == ("cli", "trim.run")
    last = trimmer(database).last()
    assert last is not None
    assert last.rows == done.rows


@pytest.mark.parametrize(
    "spoiled", ["detail = 'x'", "detail = '[1]'", "detail = x'00'", "time_us = 'x'"]
)
def test_a_round_whose_row_was_spoiled_is_as_none(database: Database, spoiled: str) -> None:
    assert trimmer(database).trim(Keeping(), "cli") is not None
    with database.writing() as writing:
        writing.exec_driver_sql(f"update audit set {spoiled}")
    assert trimmer(database).last() is None


def test_the_number_of_a_ledger_row_is_never_another_row_s(database: Database) -> None:
    decided(database, 500, 3)

    def numbers() -> list[int]:
        with database.reading() as reading:
            return [row[0] for row in reading.exec_driver_sql("select id from ledger order by id")]

    before = numbers()
    done = trimmer(database).trim(Keeping(), "cli")
    assert done is not None and done.rows["ledger"] == 2
    decided(database, 0.1)
    assert numbers() == [before[-1], before[-1] + 1]


def test_a_preview_says_what_a_round_then_removes(database: Database) -> None:
    for days in (500, 40, 10):
        decided(database, days, 3, policy=f"sha256:{days}")
    log = AuditLog(database)
    log.append([Event("cli", "key.create", str(n), time_us=days_ago(100 - n)) for n in range(20)])
    with database.writing() as writing:
        writing.execute(
            insert(POLICIES),
            [
                {"digest": f"sha256:{days}", "time_us": days_ago(days), "canonical": ""}
                for days in (10, 40, 500)
            ],
        )
    _, rows = trimmer(database).preview(Keeping(ledger_days=36, journal_days=30, audit_days=90))
    assert count(database, "decisions") == 9
    done = trimmer(database).trim(Keeping(ledger_days=36, journal_days=30, audit_days=90), "cli")
    assert done is not None
    # Policies of decisions that go in the same round: the preview cannot know them.
    assert rows == {**done.rows, "policies": 0}
    assert done.rows["audit"] == 10
    assert done.rows["policies"] == 2


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ages=st.lists(st.integers(0, 600), max_size=12),
    keeping=st.builds(
        Keeping, st.sampled_from([0, 35, 60, 400]), st.integers(0, 90), st.integers(0, 90)
    ),
    stretch=st.none() | st.tuples(st.integers(0, 500), st.integers(1, 40)),
)
def test_after_a_round_there_is_exactly_what_is_to_be_kept(
    tmp_path_factory: pytest.TempPathFactory,
    ages: list[int],
    keeping: Keeping,
    stretch: tuple[int, int] | None,
) -> None:
    database = open_database(tmp_path_factory.mktemp("home"))
    for number, days in enumerate(ages):
        decided(database, days + 0.5, policy=str(number))
    log = AuditLog(database)
    log.append([Event("cli", "key.create", "k", time_us=days_ago(d)) for d in sorted(ages)[::-1]])
    running = 0
    if stretch is not None:  # a budget's stretch that is running, or has ended
        running = stretch[0]
        with database.writing() as writing:
            writing.execute(
                insert(COUNTERS),
                {
                    "scope": "tenant",
                    "tenant": "",
                    "who": "t",
                    "from_us": days_ago(running),
                    "to_us": NOW_US + DAY_US,
                    "settled_nano_usd": 0,
                    "unconfirmed_nano_usd": 0,
                },
            )
    trimmer(database).trim(keeping, "gateway")

    def kept(days: int) -> list[int]:
        return sorted(days_ago(age + 0.5) for age in ages if not days or age + 0.5 <= days)

    assert times(database, "decisions") == kept(keeping.journal_days)
    ledger = keeping.ledger_days and max(keeping.ledger_days, 35, running)
    newest = [days_ago(age + 0.5) for age in ages[-1:] if ledger and age + 0.5 > ledger]
    assert times(database, "ledger") == sorted(kept(ledger) + newest)
    verdict = check(log.rows())
    assert verdict.fault is None
    assert count(database, "counters") == (stretch is not None)
    database.close()


def test_counters_of_ended_stretches_go_with_what_hangs_on_them(database: Database) -> None:
    with database.writing() as writing:
        for number, (from_days, to_days) in enumerate([(450, 420), (60, 30), (10, -20)]):
            writing.execute(
                insert(COUNTERS),
                {
                    "id": number,
                    "scope": "tenant",
                    "tenant": "",
                    "who": "t",
                    "from_us": days_ago(from_days),
                    "to_us": days_ago(to_days),
                    "settled_nano_usd": 0,
                    "unconfirmed_nano_usd": 5,
                },
            )
            holder = {"boot": "b", "joined_us": 0, "heartbeat_us": 0}
            writing.execute(
                insert(HOLDERS), {"id": f"h{number}", **holder, "lost_us": days_ago(to_days)}
            )
            writing.execute(
                insert(LEASES), {"holder": f"h{number}", "counter": number, "nano_usd": 7}
            )
    done = trimmer(database).trim(Keeping(), "gateway")
    assert done is not None
    assert {kind: n for kind, n in done.rows.items() if n} == {
        "counters": 1,
        "leases": 1,
        "holders": 1,
    }
    assert count(database, "leases") == 2


def test_what_the_cache_saved_goes_with_the_ledger_of_its_time(database: Database) -> None:
    names = {name: "" for name in ("team", "user", "key_id", "model", "target", "rule")}
    sums = {"calls": 1, "tokens_in": 1, "tokens_out": 1, "saved_nano_usd": 1}
    with database.writing() as writing:
        for days in (10, 399, 401, 500):
            row = {"from_us": days_ago(days), "tenant": "acme", "payer": "gateway", **names, **sums}
            writing.execute(insert(SAVINGS), row)
    done = trimmer(database).trim(Keeping(), "gateway")
    assert done is not None and done.rows["savings"] == 2
    assert count(database, "savings") == 2


def test_only_policies_that_nobody_refers_to_or_decides_by_go(database: Database) -> None:
    store = SqliteStore(database)
    with database.writing() as writing:
        for name in ("forgotten", "of_a_decision", "of_the_ledger", "in_force"):
            writing.execute(
                insert(POLICIES), {"digest": name, "time_us": days_ago(50), "canonical": name}
            )
    decided(database, 10, policy="of_a_decision")
    decided(database, 100, policy="of_the_ledger")
    store.write(Group(policies=[("in_force", "in_force")]))  # said again by whoever decides by it
    trimmer(database, time.time_ns() // 1_000 - 1).trim(Keeping(), "gateway")
    trimmer(database).trim(Keeping(), "gateway")
    found = {name for name in ("forgotten", "of_a_decision", "of_the_ledger", "in_force")
             if store.policy(name) is not None}  # fmt: skip
    assert found == {"of_a_decision", "of_the_ledger", "in_force"}


def test_the_audit_log_is_verified_from_where_it_was_trimmed(database: Database) -> None:
    log = AuditLog(database)
    log.append([Event("cli", "key.create", str(n), time_us=days_ago(100 - n)) for n in range(40)])
    before = log.head()
    for now_us in (NOW_US, NOW_US + 5 * DAY_US, NOW_US + 6 * DAY_US):
        trimmer(database, now_us).trim(Keeping(audit_days=90), "gateway")
        rows = list(log.rows())
        verdict = check(rows, head=before)
        assert (verdict.fault, verdict.unsure) == (None, None)
        assert verdict.first == rows[0].number > 1
    assert check(rows[1:]).fault is not None
    with database.writing() as writing:  # by somebody else than a trim
        writing.exec_driver_sql(f"delete from audit where number = {rows[0].number}")
    fault = check(log.rows()).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (rows[0].number, "missing")


# --- how ----------------------------------------------------------------------------------------


def test_a_round_that_is_cut_off_is_gone_on_with(database: Database) -> None:
    decided(database, 50, 500)
    steps = iter([False, False, True])
    assert trimmer(database).trim(Keeping(), "gateway", lambda: next(steps)) is None
    left = count(database, "decisions")
    assert 0 < left < 500
    assert trimmer(database).last() is None
    done = trimmer(database).trim(Keeping(), "gateway")
    assert done is not None
    assert done.rows["decisions"] == left


_TRIMS = """
import sys, time
from pathlib import Path
from turnout.engine.keeping import Keeping
from turnout.engine.state.database import open_database
from turnout.engine.state.trim import SqliteTrimmer

def rest(seconds):
    print("step", flush=True)
    time.sleep(0.001)

database = open_database(Path(sys.argv[1]))
SqliteTrimmer(database, lambda: int(sys.argv[2]), rest).trim(Keeping(), "gateway")
print("done", flush=True)
"""


def test_a_round_that_is_killed_leaves_a_chain_that_fits_and_is_gone_on_with(
    database: Database, tmp_path: Path
) -> None:
    log = AuditLog(database)
    for days, many in ((100, 3_000), (1, 500)):
        at_us = days_ago(days)
        log.append([Event("cli", "key.create", str(n), time_us=at_us) for n in range(many)])
    decided(database, 500, 2_000)
    decided(database, 1, 10)
    for table in ("decisions", "ledger", "audit"):
        many = count(database, table)
        command = [sys.executable, "-c", _TRIMS, str(tmp_path), str(NOW_US)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while count(database, table) >= many:
                assert process.stdout.readline() == "step\n"
            process.kill()
        log.append([Event("cli", "key.create", "after")])
        assert check(log.rows()).fault is None
    done = trimmer(database).trim(Keeping(), "gateway")
    assert done is not None
    rows = list(log.rows())
    assert check(rows).fault is None
    assert sum(row.time_us == days_ago(1) for row in rows) == 500
    assert not any(row.time_us == days_ago(100) for row in rows)
    assert times(database, "decisions") == times(database, "ledger") == [days_ago(1)] * 10


def test_space_is_given_back_to_the_disk(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    decided(database, 50, 3_000)
    with closing(sqlite3.connect(tmp_path / FILE)) as direct:
        direct.execute("pragma wal_checkpoint(truncate)")
    before = (tmp_path / FILE).stat().st_size
    done = trimmer(database).trim(Keeping(), "gateway")
    assert done is not None
    database.close()
    after = (tmp_path / FILE).stat().st_size
    # A decision is 2 KB; its ledger row and their indexes stay.
    assert before - after > 3_000 * 2_000
    assert done.bytes > 3_000 * 2_000


def test_whoever_writes_meanwhile_waits_for_a_step_and_not_for_the_round(
    tmp_path: Path,
) -> None:
    database, other = open_database(tmp_path), open_database(tmp_path)
    for days in range(31, 34):
        decided(database, days, 1_000)
    store = SqliteStore(other)
    waits_s: list[float] = []
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            began = time.perf_counter()
            store.write(Group(policies=[(f"p{number}", "x")]))
            waits_s.append(time.perf_counter() - began)
            number += 1
            done.wait(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    trimmed = SqliteTrimmer(database, lambda: NOW_US).trim(Keeping(), "gateway")
    done.set()
    thread.join()
    assert trimmed is not None
    assert trimmed.rows["decisions"] == 3_000
    waits_s.sort()
    # A step is 15 ms on an idle machine; on one that does other things too, some take longer.
    assert waits_s[len(waits_s) // 2] < 0.1
    assert waits_s[-1] < 2.0
    database.close()
    other.close()


def test_a_gateway_that_stops_does_not_wait_for_the_round(database: Database) -> None:
    decided(database, 50, 2_000)

    async def serve() -> None:
        trimming = Trimming(
            SqliteTrimmer(database, lambda: NOW_US), Keeping(), now_us=lambda: NOW_US
        )
        trimming._since_us = days_ago(3)
        look = asyncio.ensure_future(trimming.look())
        while count(database, "decisions") == 2_000:
            await asyncio.sleep(0.001)
        trimming._stopped = True
        await look
        assert trimming.last is None

    asyncio.run(serve())
    assert count(database, "decisions") > 0
