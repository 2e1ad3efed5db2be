"""What workers tell each other: boards of one process, and of real processes that are killed."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.board import Alone
from turnout.engine.state import board as board_module
from turnout.engine.state.board import SharedBoard

SECOND = 1_000_000_000


class Clock:
    """A clock turned by hand."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], SharedBoard]]:
    """Join the board of this test; everybody leaves at its end."""
    joined: list[SharedBoard] = []

    def join_here() -> SharedBoard:
        joined.append(SharedBoard(tmp_path / "run", clock))
        return joined[-1]

    yield join_here
    for one in joined:
        one.close()


def looked(board: SharedBoard, clock: Clock, topic: str = "pulse") -> list[bytes] | None:
    """What is told a second later, in order."""
    clock.now_ns += SECOND
    told = board.look(topic)
    return None if told is None else sorted(told)


Join = Callable[[], SharedBoard]


def test_each_sees_what_all_others_tell(join: Join, clock: Clock) -> None:
    one, two, three = join(), join(), join()
    one.post("pulse", b"1")
    two.post("pulse", b"2")
    two.post("held", b"other")
    assert looked(one, clock) == [b"2"]
    assert looked(three, clock) == [b"1", b"2"]
    assert looked(three, clock, "held") == [b"other"]
    assert looked(three, clock, "nothing") is None


def test_what_is_told_is_seen_by_the_next_look_at_once(join: Join) -> None:
    one, two = join(), join()
    for number in range(50):
        topic = f"topic_{chr(97 + number % 25)}"
        two.post(topic, b"%d" % number)
        assert one.look(topic) == [b"%d" % number]
    three = join()
    three.post("pulse", b"came")
    assert one.look("pulse") == [b"came"]


def test_there_is_news_only_where_something_changed(join: Join, clock: Clock) -> None:
    one, two, three = join(), join(), join()
    assert looked(one, clock) is None
    two.post("pulse", b"a")
    three.post("pulse", b"b")
    assert looked(one, clock) == [b"a", b"b"]
    assert looked(one, clock) is None
    two.post("pulse", b"a")
    assert looked(one, clock) is None
    two.post("pulse", b"c")
    assert one.look("pulse") is not None
    assert looked(one, clock) is None
    two.post("pulse", b"")
    assert looked(one, clock) == [b"", b"b"]


def test_what_is_told_may_grow_and_shrink(join: Join, clock: Clock) -> None:
    one, two = join(), join()
    for size in (10, 3_000_000, 0, 70_000, 1):
        two.post("pulse", bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        told = looked(one, clock)
        assert told is not None and len(told[0]) == size


def test_who_closes_is_gone_with_everything_it_told(
    join: Join, clock: Clock, tmp_path: Path
) -> None:
    one, two = join(), join()
    two.post("pulse", b"a")
    assert two.leads("probes")
    assert looked(one, clock) == [b"a"]
    assert not one.leads("probes")
    two.close()
    assert looked(one, clock) == []
    assert looked(one, clock) is None
    assert one.leads("probes")
    two.post("pulse", b"late")
    two.close()
    assert not two.leads("probes")
    assert looked(one, clock) is None
    one.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["probes.role"]


def test_who_comes_later_learns_what_was_told_before(join: Join, clock: Clock) -> None:
    join().post("held", b"since long ago")
    assert looked(join(), clock, "held") == [b"since long ago"]


def test_a_role_has_one_holder_at_a_time(join: Join) -> None:
    crew = [join() for _ in range(5)]
    assert [one.leads("probes") for one in crew] == [True, False, False, False, False]
    assert [one.leads("probes") for one in reversed(crew)] == [False, False, False, False, True]
    assert crew[3].leads("another role")


@given(data=st.data())
def test_a_look_is_what_those_there_told_last(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock = Clock()
    folder = tmp_path_factory.mktemp("run")
    there: dict[SharedBoard, bytes | None] = {}
    seen: dict[SharedBoard, list[bytes]] = {}
    try:
        for _ in range(data.draw(st.integers(1, 12))):
            what = data.draw(st.sampled_from(["join", "post", "close", "look", "clear"]))
            if what == "join" and len(there) < 4:
                one = SharedBoard(folder, clock)
                there[one], seen[one] = None, []
            if what == "clear":
                shutil.rmtree(folder, ignore_errors=True)
                for one in there:  # each finds out at its next look
                    looked(one, clock, "nothing")
            if not there:
                continue
            one = data.draw(st.sampled_from(list(there)))
            if what == "post":
                there[one] = data.draw(st.binary(max_size=40))
                one.post("pulse", there[one] or b"")
            if what == "close":
                one.close()
                del there[one]
            if what == "look":
                told = looked(one, clock)
                seen[one] = seen[one] if told is None else told
                rest = [told for other, told in there.items() if other is not one]
                assert seen[one] == sorted(told for told in rest if told is not None)
    finally:
        for one in there:
            one.close()


# --- what else may be in the folder --------------------------------------------------------------


def test_the_folder_is_for_its_owner_alone(join: Join, tmp_path: Path) -> None:
    one = join()
    one.post("pulse", b"a")
    assert one.leads("probes")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o600}


def test_what_a_crash_left_behind_is_not_read_and_taken_away(
    join: Join, clock: Clock, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    one, two = join(), join()
    two.post("pulse", b"true")
    whole = next(path for path in run.iterdir() if path.suffix == ".pulse").read_bytes()
    orphan, dead = "1-00000000000000aa", "1-00000000000000bb"
    (run / f"{orphan}.pulse").write_bytes(whole)
    (run / f"{dead}.live").touch()
    (run / f"{dead}.pulse").write_bytes(whole)
    (run / f"{dead}.held").write_bytes(b"")
    (run / "notes.txt").write_text("not ours")
    assert looked(one, clock) == [b"true"]
    assert not [path for path in run.iterdir() if path.name.startswith((orphan, dead))]
    assert (run / "notes.txt").exists()


@pytest.mark.parametrize("how", ["torn", "garbage", "empty", "cut", "fifo", "link", "folder"])
def test_a_file_that_is_none_of_ours_tells_nothing_and_breaks_nothing(
    join: Join, clock: Clock, tmp_path: Path, how: str
) -> None:
    one, two, three = join(), join(), join()
    two.post("pulse", b"spoilt" * 100)
    three.post("pulse", b"true")
    file = next(path for path in (tmp_path / "run").iterdir() if b"spoilt" in path.read_bytes())
    whole = file.read_bytes()
    if how in ("fifo", "link", "folder"):
        file.unlink()
    match how:
        case "torn":
            file.write_bytes(whole[:-7] + bytes(7))
        case "garbage":
            file.write_bytes(random.Random(1).randbytes(5_000))
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(whole[:-1])
        case "fifo":
            os.mkfifo(file)
        case "link":
            file.symlink_to("/dev/zero")
        case "folder":
            file.mkdir()
    assert looked(one, clock) == [b"true"]
    three.post("pulse", b"also true")
    assert looked(one, clock) == [b"also true"]


def test_what_another_machine_told_is_not_read(join: Join, clock: Clock, tmp_path: Path) -> None:
    one, two = join(), join()
    two.post("pulse", b"by another clock")
    file = next(path for path in (tmp_path / "run").iterdir() if path.suffix == ".pulse")
    spoilt = bytearray(file.read_bytes())
    spoilt[8] ^= 1
    file.write_bytes(spoilt)
    assert looked(one, clock) is None


def test_what_was_read_whole_stands_while_the_next_is_written(
    join: Join, clock: Clock, tmp_path: Path
) -> None:
    one, two, three = join(), join(), join()
    two.post("pulse", b"before")
    assert looked(one, clock) == [b"before"]
    file = next(path for path in (tmp_path / "run").iterdir() if path.suffix == ".pulse")
    with file.open("r+b") as spoilt:
        spoilt.seek(16)
        spoilt.write((3).to_bytes(8, "little"))
    three.post("pulse", b"news")
    assert looked(one, clock) == [b"before", b"news"]


def test_who_cannot_be_asked_is_not_taken_for_dead(
    join: Join, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = join(), join()
    two.post("pulse", b"alive")
    with monkeypatch.context() as patch:
        patch.setattr(board_module, "open_file", refuse(errno.EMFILE))
        assert looked(one, clock) is None
    assert looked(one, clock) == [b"alive"]


# --- where it cannot be shared -------------------------------------------------------------------


def refuse(code: int) -> Callable[..., Any]:
    """A call to the system that fails."""

    def fail(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def test_without_a_folder_each_works_as_if_alone_and_says_so_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file stands in the way")
    one = SharedBoard(tmp_path / "run", clock)
    for _ in range(3):
        one.post("pulse", b"a")
        assert looked(one, clock) is None
        assert one.leads("probes")
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    (tmp_path / "run").unlink()
    two = SharedBoard(tmp_path / "run", clock)
    looked(one, clock)
    assert looked(two, clock) == [b"a"]
    one.close()
    two.close()


@pytest.mark.parametrize("call", ["pwrite", "open"])
def test_a_full_disk_breaks_nothing_and_is_made_up_for(
    join: Join,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
) -> None:
    one, two, three = join(), join(), join()
    two.post("pulse", b"before")
    assert looked(one, clock) == [b"before"]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.ENOSPC))
        two.post("pulse", b"after")
        three.post("pulse", b"first")
    if call == "pwrite":
        assert looked(one, clock) is None
    looked(two, clock)
    looked(three, clock)
    assert looked(one, clock) == [b"after", b"first"]
    assert len({entry.message for entry in caplog.records}) == 1


def test_a_disk_without_locks_is_worked_on_alone_and_not_littered(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", refuse(errno.ENOLCK))
    one = SharedBoard(tmp_path / "run", clock)
    for _ in range(3):
        one.post("pulse", b"a")
        assert looked(one, clock) is None
        assert one.leads("probes")
    one.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["probes.role"]


def test_who_is_asked_for_in_the_moment_of_joining_joins_under_another_name(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: Any, flags: int, mode: int = 0o600) -> int:
        handle = os_open(path, flags, mode)
        if flags & os.O_EXCL and not held:
            held.append(os_open(path, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_SH)
        return handle

    os_open, held = os.open, list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", asked)
        one = SharedBoard(tmp_path / "run", clock)
    two = SharedBoard(tmp_path / "run", clock)
    one.post("pulse", b"there")
    assert len(held) == 1
    assert looked(two, clock) == [b"there"]
    assert len(list((tmp_path / "run").glob("*.live"))) == 2
    one.close()
    two.close()
    os.close(held[0])


def test_a_role_has_one_holder_where_the_folder_was_cleared(
    join: Join, clock: Clock, tmp_path: Path
) -> None:
    one, two = join(), join()
    assert one.leads("probes") and not two.leads("probes")
    shutil.rmtree(tmp_path / "run")
    clock.now_ns += 2 * SECOND
    for board in (one, two):
        board.look("pulse")
    assert [board.leads("probes") for board in (two, one, two)] == [True, False, True]


def test_a_folder_that_was_cleared_is_used_again(join: Join, clock: Clock, tmp_path: Path) -> None:
    one, two = join(), join()
    two.post("pulse", b"told once")
    shutil.rmtree(tmp_path / "run")
    looked(two, clock)
    assert looked(one, clock) == [b"told once"]


def test_a_worker_alone_tells_nobody() -> None:
    alone = Alone()
    alone.post("pulse", b"a")
    assert alone.look("pulse") is None and alone.leads("probes")


# --- real processes ------------------------------------------------------------------------------

FELLOW = """
import json, sys
from pathlib import Path
from turnout.engine.state.board import SharedBoard
board = SharedBoard(Path(sys.argv[1]))
for line in sys.stdin:
    what, *rest = json.loads(line)
    if what == "post":
        answer = board.post(rest[0], rest[1].encode())
    elif what == "look":
        told = board.look(rest[0])
        answer = None if told is None else sorted(one.decode() for one in told)
    elif what == "leads":
        answer = board.leads(rest[0])
    elif what == "hammer":
        print("null", flush=True)
        number = 0
        while True:
            number += 1
            board.post(rest[0], number.to_bytes(4, "big") * (25_000 + number % 999))
    print(json.dumps(answer), flush=True)
"""


class Fellow:
    """A board in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FELLOW, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *what: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


@pytest.fixture
def fellows(tmp_path: Path) -> Iterator[list[Fellow]]:
    """Three of them."""
    started = [Fellow(tmp_path / "run") for _ in range(3)]
    yield started
    for one in started:
        one.end()


def within(seconds: float, true: Callable[[], bool]) -> float:
    """How long it took until that was so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


def test_processes_see_what_each_tells(fellows: list[Fellow]) -> None:
    for number, one in enumerate(fellows):
        one("post", "pulse", f"told by {number}")
    for number, one in enumerate(fellows):
        others = [f"told by {other}" for other in range(3) if other != number]
        seen: list[list[str]] = [[]]

        def told(one: Fellow = one, seen: list[list[str]] = seen) -> list[str]:
            seen.append(one("look", "pulse") or seen[-1])
            return seen[-1]

        within(5, lambda told=told, others=others: told() == others)  # type: ignore[misc]


def test_a_process_that_is_killed_is_gone_and_its_role_is_free(
    fellows: list[Fellow], tmp_path: Path
) -> None:
    first, second, third = fellows
    first("post", "pulse", "going to die")
    second("post", "pulse", "goes on")
    assert first("leads", "probes") is True
    assert second("leads", "probes") is False
    within(5, lambda: third("look", "pulse") == ["goes on", "going to die"])
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    within(2.5, lambda: third("look", "pulse") == ["goes on"])
    assert second("leads", "probes") is True
    assert not list((tmp_path / "run").glob(f"{first.process.pid}-*"))


def test_a_process_that_is_stopped_holds_up_nobody(fellows: list[Fellow]) -> None:
    first, second, third = fellows
    first("post", "pulse", "stopped")
    first.process.send_signal(signal.SIGSTOP)
    second("post", "pulse", "goes on")
    within(5, lambda: third("look", "pulse") == ["goes on", "stopped"])


def test_nobody_reads_what_is_half_written(fellows: list[Fellow], tmp_path: Path) -> None:
    for one in fellows:
        one("hammer", "pulse")
    board = SharedBoard(tmp_path / "run")
    seen: set[bytes] = set()
    end = time.monotonic() + 20
    while len(seen) < 1_000 and time.monotonic() < end:
        for told in board.look("pulse") or ():
            number = told[:4]
            assert told == number * (25_000 + int.from_bytes(number, "big") % 999)
            seen.add(number)
    board.close()
    assert len(seen) >= 1_000


def test_a_look_at_eight_that_told_nothing_new_costs_microseconds(join: Join) -> None:
    crew = [join() for _ in range(9)]
    for one in crew:
        one.post("pulse", b"x" * 1_000)
    assert len(crew[0].look("pulse") or ()) == 8
    began = time.thread_time()
    for _ in range(2_000):
        crew[0].look("pulse")
    assert (time.thread_time() - began) / 2_000 < 100e-6
