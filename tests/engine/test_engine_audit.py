"""The audit log: one chain whoever writes, and whatever was done to its rows is found."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.audit import ACTIONS, MINUTE_US, WITHHELD, Event, Sparing, fit, looks_secret
from turnout.engine.audit_chain import NOTHING, Head, Row, check, digest_of, head_of, sealed
from turnout.engine.state.audit import AuditLog, Wanted
from turnout.engine.state.database import Database, open_database
from turnout.engine.state.store import StoreError

_ROOT = Path(__file__).parents[2]


def _chain(many: int) -> list[Row]:
    rows: list[Row] = []
    head = NOTHING
    for n in range(many):
        event = Event("cli", "key.create", f"key {n}", detail={"n": n}, time_us=n + 1)
        rows.append(sealed(event, head))
        head = head_of(rows[-1])
    return rows


_texts = st.text(max_size=12)


@given(
    st.lists(st.builds(Event, _texts, _texts, _texts, detail=st.dictionaries(_texts, _texts))),
)
def test_a_chain_of_any_events_fits(events: list[Event]) -> None:
    rows: list[Row] = []
    head = NOTHING
    for event in events:
        rows.append(sealed(fit(event, 7), head))
        head = head_of(rows[-1])
    verdict = check(rows, head=head if rows else None)
    assert (verdict.fault, verdict.rows, verdict.head, verdict.unsure) == (
        None,
        len(rows),
        head,
        None,
    )


@given(st.data())
def test_a_changed_row_is_found_where_it_stands(data: st.DataObject) -> None:
    rows = _chain(12)
    at = data.draw(st.integers(0, 11))
    column = data.draw(st.sampled_from(Row._fields[1:7]))
    value = 99 if column == "time_us" else data.draw(_texts)
    if getattr(rows[at], column) == value:
        return
    rows[at] = Row(**{**rows[at]._asdict(), column: value})
    fault = check(rows).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (at + 1, "changed")


@given(st.integers(0, 10))
def test_a_row_made_anew_with_its_digest_is_found_at_the_next_one(at: int) -> None:
    rows = _chain(12)
    other = rows[at]._replace(object="another")
    rows[at] = other._replace(digest=digest_of(other))
    fault = check(rows).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (at + 2, "replaced")


@given(st.integers(0, 10), st.integers(1, 11))
def test_removed_rows_are_named(first: int, many: int) -> None:
    rows = _chain(12)
    many = min(many, 11 - first)  # what is cut off at the end only a head can tell
    del rows[first : first + many]
    fault = check(rows).fault
    if not many:
        assert fault is None
        return
    assert fault is not None
    assert (fault.number, fault.kind) == (first + 1, "missing")
    assert str(first + many) in fault.said


@given(st.integers(0, 11), st.integers(1, 11))
def test_an_inserted_row_is_found(source: int, at: int) -> None:
    rows = _chain(12)
    rows.insert(at, rows[source])
    fault = check(rows).fault
    assert fault is not None
    # A copy of an earlier row stands too late; one of a later row leaves a gap before it.
    if source < at:
        assert (fault.number, fault.kind) == (source + 1, "inserted")
    elif source == at:
        assert (fault.number, fault.kind) == (source + 1, "inserted")
    else:
        assert (fault.number, fault.kind) == (at + 1, "missing")


@given(st.permutations(range(8)))
def test_rows_in_another_order_do_not_fit(order: list[int]) -> None:
    rows = _chain(8)
    fault = check([rows[at] for at in order]).fault
    assert (fault is None) == (order == list(range(8)))


def test_only_a_noted_head_tells_that_the_end_was_cut_off() -> None:
    rows = _chain(10)
    head = head_of(rows[-1])
    assert check(rows[:7]).fault is None
    fault = check(rows[:7], head=head).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (8, "truncated")
    assert check(rows, head=Head(4, rows[3].digest)).fault is None
    fault = check(rows, head=Head(4, rows[4].digest)).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (4, "changed")


def test_a_chain_made_anew_from_some_row_on_is_told_by_a_noted_head() -> None:
    rows = _chain(10)
    noted = head_of(rows[8])
    head, forged = head_of(rows[2]), rows[:3]
    for row in rows[3:]:
        event = Event(row.actor, row.action, "forged", time_us=row.time_us)
        forged.append(sealed(event, head))
        head = head_of(forged[-1])
    assert check(forged).fault is None
    assert check(forged, head=noted).fault is not None


def _trimmed(rows: list[Row], to: int) -> list[Row]:
    """As a trim leaves them that removed the rows up to one."""
    last = rows[to - 1]
    event = Event(
        "gateway", "audit.trim", "audit", detail={"number": to, "digest": f"sha256:{last.digest}"}
    )
    return [*rows[to:], sealed(event, head_of(rows[-1]))]


def test_rows_that_a_trim_accounts_for_are_not_missing() -> None:
    rows = _chain(10)
    assert check(_trimmed(rows, 4)).fault is None
    fault = check(_trimmed(rows, 4)[1:]).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (5, "missing")
    fault = check(rows[4:]).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (1, "missing")
    # A trim that was cut short leaves rows that it was about to remove.
    assert check([*rows[2:4], *_trimmed(rows, 4)]).fault is None


def test_a_head_of_a_row_that_is_gone_tells_nothing_and_says_so() -> None:
    rows = _chain(10)
    verdict = check(_trimmed(rows, 4), head=Head(2, rows[1].digest))
    assert verdict.fault is None
    assert verdict.unsure is not None


def test_of_a_selection_rows_are_checked_and_gaps_are_not() -> None:
    rows = _chain(10)
    some = [rows[1], rows[2], rows[7]]
    assert check(some, is_whole=False).fault is None
    some[1] = some[1]._replace(object="x")
    fault = check(some, is_whole=False).fault
    assert fault is not None
    assert (fault.number, fault.kind) == (3, "changed")


# --- what may stand in it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnop1234",
        "the key tk_4fj3kd93kf03kd9f3kd9f3 was used",
        "Bearer abcdefghijklmnop",
        "https://ana:hunter22@example.com/x",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx",
        "Zk3jD93kfLs02mfKd83jDkf93kdLs0Qp",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_withheld(text: str) -> None:
    event = fit(Event(text, "key.create", text, detail={"a": text, "n": 1}), 5)
    assert (event.actor, event.object, event.detail) == (
        WITHHELD,
        WITHHELD,
        {"a": WITHHELD, "n": 1},
    )


@pytest.mark.parametrize(
    "text",
    [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "key_4f0a91c2",
        "openai/gpt-4o-mini-2024-07-18",
        "/etc/turnout/policies/routing-production-2026.yml",
        "req_0198f2f2a0f87c6e9d1cbe5ddf1b5b8e",
        "basic tier",
        "acme",
    ],
)
def test_names_digests_and_ids_are_kept(text: str) -> None:
    assert not looks_secret(text)


def test_values_are_bounded_and_can_be_stored() -> None:
    event = fit(Event("a" * 1_000, "key.create", "x\0\ud800", detail={"v": "é" * 5_000}), 5)
    assert len(event.actor) == 256
    assert event.object == "x\\x00\\ud800"
    assert len(str(event.detail["v"])) == 500
    assert event.time_us == 5


def test_a_refusal_over_and_over_is_kept_once_a_minute_and_counted() -> None:
    sparing = Sparing()
    refused = Event("key_1", "request.refuse", "acme", "refused", {"code": "budget_exceeded"})
    assert [sparing.through(refused, at) for at in (0, 1, 2)] == [True, False, False]
    assert sparing.through(replace(refused, actor="key_2"), 3)
    assert sparing.through(replace(refused, outcome="done"), 3)
    assert list(sparing.over(MINUTE_US - 1)) == []
    assert [one.detail for one in sparing.over(MINUTE_US)] == [
        {"code": "budget_exceeded", "more": 2}
    ]
    assert sparing.through(refused, MINUTE_US)


def test_refusals_of_ever_new_kinds_are_counted_together() -> None:
    sparing = Sparing()
    kept = [
        sparing.through(Event(f"a{n}", "request.refuse", "x", "refused"), 0) for n in range(2_000)
    ]
    assert sum(kept) == 1_000
    assert [(one.object, one.detail["more"]) for one in sparing.over()] == [("others", 1_000)]


# Of the same form, and no actions: an attribute, what a webhook is told.
_OTHERS = {"tenant.region", "budget.alert", "cache.db", "cache.invalidation"}


def _actions_in_source() -> set[str]:
    nouns = "|".join({action.partition(".")[0] for action in ACTIONS})
    written = re.compile(rf"[\"']((?:{nouns})\.[a-z_]+)[\"']")
    folders = [_ROOT / name for name in ("engine", "turnout/server", "turnout/cli")]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    texts = [file.read_text(encoding="utf-8") for file in files if file.name != "audit.py"]
    texts.append((_ROOT / "engine" / "state" / "audit.py").read_text(encoding="utf-8"))
    texts.append((_ROOT / "turnout" / "cli" / "audit.py").read_text(encoding="utf-8"))
    return {action for text in texts for action in written.findall(text)} - _OTHERS


def test_every_action_of_the_source_is_in_the_table_and_the_other_way_round() -> None:
    # Tenants' verbs are put behind their noun where they are written.
    verbs = {"tenant.create", "tenant.change", "tenant.delete"}
    assert _actions_in_source() | verbs == ACTIONS.keys()


# --- the database -----------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    yield opened
    opened.close()


def test_what_was_appended_is_read_back_as_a_chain(database: Database) -> None:
    log = AuditLog(database)
    log.append([Event("cli", "key.create", "key_1", detail={"tenant": "acme"})])
    head = log.append(
        [Event("cli", "key.revoke", "key_1"), Event("admin", "tenant.create", "acme", time_us=9)]
    )
    rows = list(log.rows())
    assert [row.action for row in rows] == ["key.create", "key.revoke", "tenant.create"]
    assert json.loads(rows[0].detail) == {"tenant": "acme"}
    assert check(rows, head=head).fault is None
    assert log.head() == head
    assert [row.number for row in log.rows(Wanted(actor="cli", action="key.revoke"))] == [2]
    assert [row.number for row in log.rows(Wanted(until_us=10))] == [3]
    assert [row.number for row in log.latest(2)] == [3, 2]
    assert [row.number for row in log.latest(2, before=2)] == [1]


def test_what_was_noted_by_many_threads_is_there_once_the_log_is_closed(
    database: Database,
) -> None:
    log = AuditLog(database)

    def note(who: int) -> None:
        for n in range(50):
            log.note(Event(f"key_{who}", "tenant.change", f"t{n}"))

    threads = [threading.Thread(target=note, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    rows = list(log.rows())
    assert len(rows) == 400
    assert check(rows).fault is None


def test_refusals_that_were_counted_are_written_when_the_log_is_closed(database: Database) -> None:
    log = AuditLog(database)
    for _ in range(10):
        log.note(Event("anonymous", "request.refuse", "chat", "refused", {"code": "invalid_key"}))
    log.close()
    assert [json.loads(row.detail) for row in log.rows()] == [
        {"code": "invalid_key"},
        {"code": "invalid_key", "more": 9},
    ]


class _Failing(Database):
    """A database whose first writes fail."""

    def __init__(self, database: Database, failures: threading.Semaphore) -> None:
        self._engine, self._turns = database._engine, database._turns
        self.failures = failures

    def writing(self):  # type: ignore[no-untyped-def]
        if self.failures.acquire(blocking=False):
            raise StoreError("database or disk is full")
        return super().writing()


def test_what_cannot_be_written_at_first_is_written_later(database: Database) -> None:
    log = AuditLog(_Failing(database, threading.Semaphore(2)))
    log.note(Event("cli", "tenant.create", "acme"))
    log.close()
    assert [row.object for row in log.rows()] == ["acme"]


def test_events_beyond_the_queue_are_said_in_the_log(database: Database) -> None:
    held = threading.Semaphore(1_000_000)
    log = AuditLog(_Failing(database, held), capacity=5)
    for n in range(8):
        log.note(Event("cli", "tenant.create", f"t{n}"))
    while held.acquire(blocking=False):
        pass
    log.close()
    rows = list(log.rows())
    assert [row.object for row in rows] == ["t0", "t1", "t2", "t3", "t4", "audit"]
    assert (rows[-1].action, json.loads(rows[-1].detail)) == ("audit.gap", {"dropped": 3})
    assert check(rows).fault is None


def test_a_log_that_can_never_be_written_gives_up_and_never_raises(database: Database) -> None:
    log = AuditLog(_Failing(database, threading.Semaphore(1_000_000)))
    log.note(Event("cli", "tenant.create", "acme"))
    log.close(patience_s=0.05)
    log.note(Event("cli", "tenant.create", "acme"))
    assert log.waiting == 0


_APPENDING = """
import sys
from pathlib import Path
from turnout.engine.audit import Event
from turnout.engine.state.audit import AuditLog
from turnout.engine.state.database import open_database
log = AuditLog(open_database(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[3])):
    log.append([Event(sys.argv[2], "tenant.change", f"t{n}")])
    print(n, flush=True)
"""


def _appending(home: Path, actor: str, many: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _APPENDING, str(home), actor, str(many)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_four_processes_write_one_chain_and_one_that_is_killed_breaks_nothing(
    tmp_path: Path,
) -> None:
    open_database(tmp_path).close()
    processes = [_appending(tmp_path, f"p{n}", 60 if n else 100_000) for n in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        _go(process)
    killed, *others = processes
    assert killed.stdout is not None
    for _ in range(20):
        killed.stdout.readline()
    os.kill(killed.pid, signal.SIGKILL)
    said = 20 + sum(1 for line in killed.stdout if line.endswith("\n"))
    for process in others:
        process.communicate(timeout=60)
        assert process.returncode == 0
    killed.communicate()
    database = open_database(tmp_path)
    rows = list(AuditLog(database).rows())
    database.close()
    assert check(rows).fault is None
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    by = [sum(row.actor == f"p{n}" for row in rows) for n in range(4)]
    assert by[1:] == [60, 60, 60]
    assert said <= by[0] <= said + 1  # whatever was said to be written is there


def test_a_trim_that_overtakes_the_reading_is_not_taken_for_rows_that_somebody_removed(
    database: Database,
) -> None:
    log = AuditLog(database)
    log.append([Event("cli", "key.create", str(n)) for n in range(2_500)])
    reading = log.rows()
    assert [next(reading).number for _ in range(900)] == list(range(1, 901))
    with database.writing() as writing:
        writing.exec_driver_sql("delete from audit where number <= 500")
    assert [next(reading).number for _ in range(200)] == list(range(901, 1_101))
    with database.writing() as writing:
        writing.exec_driver_sql("delete from audit where number <= 2200")
    with pytest.raises(StoreError, match="do it again"):
        check(reading)
