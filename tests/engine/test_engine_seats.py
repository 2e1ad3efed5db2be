"""Seats hold for all processes, whatever becomes of those who sit or wait."""

import asyncio
import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout.engine.seats import Boundless, Seats
from turnout.engine.state import locked as module
from turnout.engine.state import seats as places
from turnout.engine.state.seats import MOST_WAITING, LockedSeats

PROGRAM = Path(__file__).with_name("seated.py")
NAME = "target:openai/gpt-4"

Sitter = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def sitter(tmp_path: Path) -> Sitter:
    """Starts a process that takes seats of `NAME` in this test's folder."""

    def started(seats: int, tasks: int, turns: int, hold_us: int) -> subprocess.Popen[bytes]:
        numbers = map(str, (seats, tasks, turns, hold_us))
        command = [sys.executable, str(PROGRAM), str(tmp_path), str(tmp_path / "log"), *numbers]
        return subprocess.Popen(command, start_new_session=True)

    return started


@pytest.mark.uncounted
@pytest.mark.parametrize(("seats", "tasks"), [(1, 3), (3, 10), (40, 20)])
def test_processes_never_hold_more_seats_together_than_there_are(
    sitter: Sitter, tmp_path: Path, seats: int, tasks: int
) -> None:
    turns = 20
    running = [sitter(seats, tasks, turns, 500) for _ in range(4)]
    assert [one.wait(60) for one in running] == [0, 0, 0, 0]
    events = (tmp_path / "log").read_bytes()
    assert len(events) == 2 * 4 * tasks * turns
    most = max(accumulate(1 if event == ord("+") else -1 for event in events))
    assert most <= seats
    # And it was a crowd: every seat was taken at some time.
    assert most == seats


async def test_a_killed_process_frees_its_seats(sitter: Sitter, tmp_path: Path) -> None:
    holder = sitter(3, 0, 0, 0)
    log = tmp_path / "log"
    while not log.exists() or not log.stat().st_size:
        await asyncio.sleep(0.01)
    seats = LockedSeats(tmp_path)
    assert await seats.take(NAME, 3, 0) is None
    waiting = asyncio.create_task(seats.take(NAME, 3, 30))
    await asyncio.sleep(0)
    holder.send_signal(signal.SIGKILL)
    assert await waiting is not None
    holder.wait(10)
    assert await seats.take(NAME, 3, 0) is not None
    assert await seats.take(NAME, 3, 0) is not None
    assert await seats.take(NAME, 3, 0) is None


async def test_names_have_seats_of_their_own(tmp_path: Path) -> None:
    seats = LockedSeats(tmp_path)
    assert await seats.take("tenant:acme", 1, 0) is not None
    assert await seats.take("tenant:acme", 1, 0) is None
    assert await seats.take("target:acme", 1, 0) is not None


async def test_two_holders_in_one_process_share_the_seats(tmp_path: Path) -> None:
    one, other = LockedSeats(tmp_path), LockedSeats(tmp_path)
    leave = await one.take(NAME, 1, 0)
    assert leave is not None
    assert await other.take(NAME, 1, 0) is None
    leave()
    assert await other.take(NAME, 1, 0) is not None


async def test_those_who_wait_are_served_in_their_order(tmp_path: Path) -> None:
    seats = LockedSeats(tmp_path)
    first = await seats.take(NAME, 1, 0)
    assert first is not None
    order: list[int] = []

    async def wait(number: int) -> None:
        leave = await seats.take(NAME, 1, 30)
        assert leave is not None
        order.append(number)
        await asyncio.sleep(0)
        leave()

    waiting = [asyncio.create_task(wait(number)) for number in range(20)]
    await asyncio.sleep(0)
    first()
    late = asyncio.create_task(wait(20))
    await asyncio.gather(*waiting, late)
    assert order == list(range(21))


async def test_patience_has_an_end_and_so_has_the_queue(tmp_path: Path) -> None:
    seats = LockedSeats(tmp_path)
    leave = await seats.take(NAME, 1, 0)
    assert leave is not None
    began = time.monotonic()
    assert await seats.take(NAME, 1, 0.05) is None
    assert 0.04 < time.monotonic() - began < 1
    waiting = [asyncio.create_task(seats.take(NAME, 1, 30)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    assert await seats.take(NAME, 1, 30) is None
    leave()
    served = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(served[0]) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_seat_left_twice_is_left_once(tmp_path: Path) -> None:
    seats = LockedSeats(tmp_path)
    first = await seats.take(NAME, 1, 0)
    assert first is not None
    first()
    second = await seats.take(NAME, 1, 0)
    assert second is not None
    first()
    assert await seats.take(NAME, 1, 0) is None


async def test_what_other_processes_leave_is_found_by_the_first_who_waits(tmp_path: Path) -> None:
    here, there = LockedSeats(tmp_path), LockedSeats(tmp_path)
    leave = await there.take(NAME, 1, 0)
    assert leave is not None
    waiting = [asyncio.create_task(here.take(NAME, 1, 30)) for _ in range(2)]
    await asyncio.sleep(0)
    leave()
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert done == {waiting[0]}
    given = waiting[0].result()
    assert given is not None
    given()
    assert await waiting[1] is not None


async def test_a_process_with_a_queue_leaves_seats_to_the_queues_of_others(
    tmp_path: Path,
) -> None:
    """Else those who wait here would hand its seats on for ever."""
    here, there = LockedSeats(tmp_path), LockedSeats(tmp_path)
    leave = await here.take(NAME, 1, 0)
    assert leave is not None
    over = False

    async def take_turns() -> None:
        while not over:
            mine = await here.take(NAME, 1, 30)
            assert mine is not None
            await asyncio.sleep(0.001)
            mine()

    busy = [asyncio.create_task(take_turns()) for _ in range(5)]
    await asyncio.sleep(0)
    leave()
    try:
        assert await there.take(NAME, 1, 10) is not None
    finally:
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_a_limit_that_changes_holds_from_the_next_seat_on(tmp_path: Path) -> None:
    seats, others = LockedSeats(tmp_path), LockedSeats(tmp_path)
    held = [await seats.take(NAME, 4, 0) for _ in range(4)]
    assert await seats.take(NAME, 4, 0) is None
    more = [await seats.take(NAME, 6, 0) for _ in range(2)]
    assert all(more)
    assert await others.take(NAME, 6, 0) is None
    for leave in (*held, *more):
        assert leave is not None
        assert await seats.take(NAME, 1, 0) is None
        leave()
    assert await seats.take(NAME, 1, 0) is not None
    assert await others.take(NAME, 1, 0) is None
    assert await others.take(NAME, 2, 0) is not None


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_no_storm_of_cancellations_loses_or_invents_a_seat(
    tmp_path: Path, seed: int, number: int
) -> None:
    chance = random.Random(seed)

    async def storm() -> None:
        holders = [LockedSeats(tmp_path), LockedSeats(tmp_path)]
        sitting = 0

        async def sit(seats: Seats) -> None:
            nonlocal sitting
            leave = await seats.take(NAME, number, chance.choice([0, 0.001, 0.01, 5]))
            if leave is None:
                return
            sitting += 1
            assert sitting <= number
            try:
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
            finally:
                sitting -= 1
                leave()

        tasks = [asyncio.create_task(sit(chance.choice(holders))) for _ in range(60)]
        while not all(task.done() for task in tasks):
            for task in chance.sample(tasks, 5):
                if chance.random() < 0.5:
                    task.cancel()
            await asyncio.sleep(chance.choice([0, 0, 0.0005]))
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        for holder in holders:
            taken = [await holder.take(NAME, number, 0) for _ in range(number)]
            assert await holder.take(NAME, number, 0) is None
            for leave in taken:
                assert leave is not None
                leave()

    asyncio.run(storm())


@pytest.mark.parametrize("again", [False, True], ids=["not there", "made anew"])
async def test_the_number_of_seats_holds_where_the_folder_was_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr(places, "LOOK_S", 0.0)
    folder = tmp_path / "run"
    old, new = LockedSeats(folder), LockedSeats(folder)
    first = await old.take(NAME, 3, 0)
    assert first is not None
    (folder / "seats").unlink()
    folder.rmdir()
    if again:
        assert await new.take("target:other", 1, 0) is not None
    # It takes what it holds along, to where those look who come later.
    assert await old.take(NAME, 3, 0) is not None
    assert await new.take(NAME, 3, 0) is not None
    assert await new.take(NAME, 3, 0) is None
    assert await old.take(NAME, 3, 0) is None
    first()
    assert await new.take(NAME, 3, 0) is not None


async def test_without_locks_each_process_counts_for_itself_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    with caplog.at_level(logging.WARNING):
        seats = LockedSeats(no_folder)
        leave = await seats.take(NAME, 1, 0)
        assert leave is not None
        assert await seats.take(NAME, 1, 0) is None
        assert await seats.take("tenant:acme", 1, 0) is not None
        leave()
        assert await seats.take(NAME, 1, 0) is not None
    assert len(caplog.records) == 1
    assert "each worker by itself" in caplog.text


async def test_a_platform_without_such_locks_counts_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SET", None)
    seats = LockedSeats(tmp_path)
    assert await seats.take(NAME, 1, 0) is not None
    assert await seats.take(NAME, 1, 0) is None


async def test_a_full_house_is_seen_in_few_steps(tmp_path: Path) -> None:
    """A worker that looks every 20 ms must not ask for each seat."""
    others = [LockedSeats(tmp_path) for _ in range(3)]
    taken = 0
    for turn in range(1_000):
        taken += await others[turn % 3].take(NAME, 1_000, 0) is not None
    # All but full: what is left is found by looking again, or not at all.
    assert taken > 900
    seats = LockedSeats(tmp_path)
    began = time.process_time()
    for _ in range(20):
        await seats.take(NAME, 1_000, 0)
    assert (time.process_time() - began) / 20 < 0.005


async def test_boundless_seats_are_always_there() -> None:
    leave = await Boundless().take(NAME, 1, 0)
    assert leave is not None
    leave()
