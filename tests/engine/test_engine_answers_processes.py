"""Processes share answers in a file, whatever becomes of those who write it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.answering import FOREVER_US, KEYS, MOST_BYTES, a_body, a_key, an_answer, is_of
from turnout.engine.cached import CacheError, Invalidation
from turnout.engine.state.answers import FILE, SqliteAnswers
from turnout.engine.state.generations import SharedGenerations

PROGRAM = Path(__file__).with_name("answering.py")

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """Starts a process of `answering.py` in this test's folder."""
    all_started = []

    def started(mode: str, number: int) -> "subprocess.Popen[str]":
        command = [sys.executable, str(PROGRAM), mode, str(tmp_path), str(number)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        all_started.append(process)
        return process

    yield started
    for process in all_started:
        process.kill()
        process.communicate(timeout=10)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def look(answers: SqliteAnswers) -> int:
    """How many of the keys have an answer; each is whole, and its own."""
    count = 0
    for number in range(KEYS):
        found = answers.get(a_key(number), 0)
        if found is not None:
            assert is_of(a_key(number), found.body)
            count += 1
    return count


@pytest.mark.uncounted
def test_no_part_of_an_answer_is_read_while_writers_are_killed(
    start: Started, tmp_path: Path
) -> None:
    answers = SqliteAnswers(tmp_path, MOST_BYTES)
    chance = random.Random(0)
    for round in range(6):
        writers = [start("fill", 10 * round + one) for one in range(2)]
        for writer in writers:
            assert line(writer) == "began"
        until = time.monotonic() + chance.uniform(0.05, 0.2)
        while time.monotonic() < until:
            look(answers)
        for writer in writers:
            writer.kill()
            writer.wait(10)
        assert look(answers) > 0
    # And who opens it only now finds the same.
    there = look(answers)
    assert look(SqliteAnswers(tmp_path, MOST_BYTES)) == there
    assert answers.invalidate(Invalidation("all", "*", "acme")) == there
    assert look(answers) == 0


@pytest.mark.uncounted
def test_nothing_wrong_is_read_while_the_file_is_removed_and_damaged_under_writers(
    start: Started, tmp_path: Path
) -> None:
    writers = [start("fill", one) for one in range(2)]
    for writer in writers:
        assert line(writer) == "began"
    answers = SqliteAnswers(tmp_path, MOST_BYTES)
    chance = random.Random(1)
    for round in range(8):
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            try:
                look(answers)
            except CacheError:
                continue
        if round % 2:
            (tmp_path / FILE).unlink(missing_ok=True)
        else:
            with (tmp_path / FILE).open("r+b") as file:
                for _ in range(20):
                    file.seek(chance.randrange(200_000))
                    file.write(chance.randbytes(50))
    assert [writer.poll() for writer in writers] == [None, None]
    for writer in writers:
        writer.kill()
        writer.wait(10)
    key = a_key("last")
    for _ in range(3):  # the damage may be found only now
        try:
            answers.put(key, an_answer(a_body(key, 0)), FOREVER_US, number_of(tmp_path))
            assert answers.get(key, 0) is not None
            break
        except CacheError:
            continue
    else:
        pytest.fail("it does not recover")


def number_of(folder: Path) -> int:
    return SharedGenerations(folder / "run").of("acme")


def test_the_claim_of_a_killed_process_is_free(start: Started, tmp_path: Path) -> None:
    holder = start("claim", 1)
    assert line(holder) == "True"
    answers = SqliteAnswers(tmp_path, MOST_BYTES)
    assert answers.get_or_claim(a_key(1), 0) is False
    holder.kill()
    holder.wait(10)
    assert answers.get_or_claim(a_key(1), 0) is True


@pytest.mark.uncounted
def test_of_all_processes_one_makes_each_answer(start: Started) -> None:
    makers = [start("make", 150) for _ in range(4)]
    made = [maker.communicate(timeout=60)[0].split() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0]
    assert sorted(int(one) for some in made for one in some) == list(range(150))


def test_a_stopped_writer_stops_no_reader(start: Started, tmp_path: Path) -> None:
    writer = start("fill", 0)
    assert line(writer) == "began"
    answers = SqliteAnswers(tmp_path, MOST_BYTES)
    for _ in range(20):
        os.kill(writer.pid, signal.SIGSTOP)
        began = time.monotonic()
        look(answers)
        assert time.monotonic() - began < 0.5
        os.kill(writer.pid, signal.SIGCONT)


def test_numbers_that_processes_raise_together_are_all_seen(start: Started, tmp_path: Path) -> None:
    numbers = SharedGenerations(tmp_path / "run")
    raisers = [start("raise", 500) for _ in range(3)]
    seen = [numbers.of("acme")]
    while any(one.poll() is None for one in raisers):
        seen.append(numbers.of("acme"))
    assert [one.returncode for one in raisers] == [0, 0, 0]
    assert seen == sorted(seen)
    assert numbers.of("acme") > seen[0]
    assert numbers.of("acme") == number_of(tmp_path)
