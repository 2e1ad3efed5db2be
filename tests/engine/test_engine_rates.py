"""Rates hold in any minute, for all processes, and whatever becomes of them."""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.engine.rates import (
    PAST,
    WIDTH_US,
    Rate,
    Taken,
    Uncertain,
    Unrated,
    UsedUp,
    index_at,
)
from turnout.engine.state import rates as module
from turnout.engine.state.rates import SharedRates

PROGRAM = Path(__file__).with_name("rated.py")
PROGRAM_OF_MANY = Path(__file__).with_name("rated_many.py")
REQUESTS = Rate("tenant:acme", "requests", 5)
MINUTE_US = 60_000_000


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_us = 1_000 * MINUTE_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(tmp_path: Path, clock: Clock) -> SharedRates:
    return SharedRates(tmp_path, clock)


async def refused(rates: SharedRates, rate: Rate, units: int = 1) -> UsedUp:
    with pytest.raises(UsedUp) as caught:
        await rates.take(rate, units)
    return caught.value


# --- what a rate lets through --------------------------------------------------------------------


async def test_all_of_a_limit_may_be_taken_at_once_and_no_more(rates: SharedRates) -> None:
    left = [(await rates.take(REQUESTS, 1)).left for _ in range(5)]
    assert left == [4, 3, 2, 1, 0]
    assert (await refused(rates, REQUESTS)).left == 0


async def test_the_wait_that_is_told_is_exact(rates: SharedRates, clock: Clock) -> None:
    await rates.take(REQUESTS, 3)
    clock.now_us += 7_100_000
    await rates.take(REQUESTS, 2)
    wait_us = (await refused(rates, REQUESTS)).wait_us
    assert wait_us is not None and MINUTE_US - 7_100_000 < wait_us <= MINUTE_US - 6_850_000
    clock.now_us += wait_us - 1
    assert (await refused(rates, REQUESTS)).wait_us == 1
    clock.now_us += 1
    assert (await rates.take(REQUESTS, 3)).left == 0
    # The other two count for a while yet.
    assert (await refused(rates, REQUESTS)).wait_us is not None


async def test_a_refusal_takes_nothing(rates: SharedRates, clock: Clock) -> None:
    await rates.take(REQUESTS, 5)
    first = await refused(rates, REQUESTS)
    for _ in range(100):
        clock.now_us += 100_000
        last = await refused(rates, REQUESTS)
    assert first.wait_us is not None and last.wait_us == first.wait_us - 10_000_000


async def test_more_than_the_whole_limit_never_fits(rates: SharedRates) -> None:
    assert (await refused(rates, REQUESTS, 6)).wait_us is None
    assert (await rates.take(REQUESTS, 5)).left == 0


async def test_requests_and_tokens_and_names_have_windows_of_their_own(rates: SharedRates) -> None:
    await rates.take(REQUESTS, 5)
    assert (await rates.take(REQUESTS._replace(unit="tokens"), 5)).left == 0
    assert (await rates.take(REQUESTS._replace(name="key:acme"), 5)).left == 0


async def test_a_limit_that_was_changed_holds_at_once(rates: SharedRates) -> None:
    await rates.take(REQUESTS, 5)
    assert (await rates.take(REQUESTS._replace(limit=8), 1)).left == 2
    assert (await refused(rates, REQUESTS._replace(limit=2))).left == 0


async def test_without_rates_everybody_is_within_them() -> None:
    taken = await Unrated().take(REQUESTS, 99)
    Unrated().correct(taken, 0)
    assert taken.left == 5


Step = tuple[int, int]
STEPS = st.lists(
    st.tuples(st.integers(0, 30_000_000) | st.integers(0, 300_000), st.integers(1, 6)), max_size=60
)


@given(STEPS, st.integers(1, 12))
@settings(deadline=None)
def test_it_agrees_with_a_list_of_all_that_was_taken(steps: list[Step], limit: int) -> None:
    """Sub-window by sub-window: a naive model; and no stretch of 60 s has more than the limit."""

    async def run() -> None:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            rates, rate = SharedRates(Path(folder), clock), REQUESTS._replace(limit=limit)
            taken: deque[tuple[int, int]] = deque()

            def wait(units: int, present: int) -> int | None:
                for at in range(present, present + PAST + 2):
                    if sum(n for t, n in taken if t // WIDTH_US >= at - PAST) + units <= limit:
                        return at * WIDTH_US - clock.now_us
                return None

            for pause_us, units in steps:
                clock.now_us += pause_us
                present = clock.now_us // WIDTH_US
                used = sum(n for at, n in taken if at // WIDTH_US >= present - PAST)
                try:
                    left = (await rates.take(rate, units)).left
                except UsedUp as full:
                    assert used + units > limit and full.left == limit - used
                    assert full.wait_us == wait(units, present)
                else:
                    assert left == limit - used - units
                    taken.append((clock.now_us, units))
            for start, _ in taken:
                assert sum(n for at, n in taken if start <= at < start + MINUTE_US) <= limit

    asyncio.run(run())


async def test_a_load_without_end_gets_the_limit_to_within_a_hundredth(
    rates: SharedRates, clock: Clock
) -> None:
    rate = REQUESTS._replace(limit=1_200)
    admitted, minutes = 0, 10
    end_us = clock.now_us + minutes * MINUTE_US
    while clock.now_us < end_us:
        try:
            await rates.take(rate, 1)
            admitted += 1
        except UsedUp as full:
            assert full.wait_us is not None
            clock.now_us += full.wait_us
    assert 0.99 * 1_200 * minutes <= admitted <= 1_200 * minutes


# --- corrections ---------------------------------------------------------------------------------

TOKENS = Rate("tenant:acme", "tokens", 1_000)


async def test_what_was_not_used_comes_back_where_it_was_taken(
    rates: SharedRates, clock: Clock
) -> None:
    first = await rates.take(TOKENS, 600)
    clock.now_us += 30_000_000
    await rates.take(TOKENS, 300)
    rates.correct(first, 100)
    assert (await refused(rates, TOKENS, 601)).left == 600
    clock.now_us += 30_250_000
    assert (await refused(rates, TOKENS, 701)).left == 700  # the 100 count no more


async def test_what_was_used_beyond_counts_from_then_on(rates: SharedRates, clock: Clock) -> None:
    first = await rates.take(TOKENS, 100)
    clock.now_us += 59_000_000
    rates.correct(first, 1_500)
    full = await refused(rates, TOKENS)
    assert full.left == 0
    clock.now_us += 30_000_000
    assert (await refused(rates, TOKENS)).left == 0
    clock.now_us += 30_250_000
    assert (await rates.take(TOKENS, 1_000)).left == 0


async def test_what_counts_no_more_does_not_come_back(rates: SharedRates, clock: Clock) -> None:
    first = await rates.take(TOKENS, 600)
    clock.now_us += 61_000_000
    await rates.take(TOKENS, 1_000)
    rates.correct(first, 0)
    assert (await refused(rates, TOKENS)).left == 0


@given(st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(0, 40)), max_size=40))
@settings(deadline=None)
def test_taking_and_giving_back_leaves_nothing(steps: list[Step]) -> None:
    async def run() -> None:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            rates = SharedRates(Path(folder), clock)
            held: list[Taken] = []
            for pause_us, which in steps:
                clock.now_us += pause_us
                if which < len(held):
                    rates.correct(held.pop(which), 0)
                else:
                    held.append(await rates.take(TOKENS, which))
            for one in held:
                rates.correct(one, 0)
            assert (await rates.take(TOKENS, 1_000)).left == 0

    asyncio.run(run())


# --- several processes ---------------------------------------------------------------------------


def taken_of(logs: list[Path]) -> list[int]:
    return sorted(int(line) for log in logs for line in log.read_bytes().split())


@pytest.mark.uncounted
def test_four_processes_together_take_the_limit_and_no_more(tmp_path: Path) -> None:
    logs = [tmp_path / f"log{number}" for number in range(4)]
    command = [sys.executable, str(PROGRAM), str(tmp_path / "run")]
    running = [
        subprocess.Popen([*command, str(log), "700", "3"], start_new_session=True) for log in logs
    ]
    assert [one.wait(60) for one in running] == [0, 0, 0, 0]
    assert len(taken_of(logs)) == 700


@pytest.mark.uncounted
def test_killed_processes_leave_a_rate_that_holds(tmp_path: Path) -> None:
    """Many are killed at random moments; what they were told they had is never more than all."""
    logs = [tmp_path / f"log{number}" for number in range(8)]
    command = [sys.executable, str(PROGRAM), str(tmp_path / "run")]
    running = [
        subprocess.Popen([*command, str(log), "9000000", "60"], start_new_session=True)
        for log in logs[:3]
    ]
    try:
        for log in logs[3:]:
            time.sleep(random.uniform(0.3, 0.5))
            victim = running.pop(0)
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            running.append(
                subprocess.Popen([*command, str(log), "9000000", "60"], start_new_session=True)
            )
    finally:
        for one in running:
            one.kill()
            one.wait(10)
    admitted = len(taken_of([log for log in logs if log.exists()]))
    rate, left = REQUESTS._replace(limit=9_000_000), 0

    async def look() -> int:
        return (await SharedRates(tmp_path / "run").take(rate, 1)).left

    left = asyncio.run(look())
    # One of each that was killed may have been taken and not written down, or the other way round.
    assert abs((9_000_000 - left - 1) - admitted) <= len(logs)
    assert admitted > 100


# --- a file that is not as it was left -----------------------------------------------------------


@given(st.integers(0, 127), st.binary(min_size=1, max_size=64))
@settings(deadline=None)
def test_a_torn_level_is_the_one_of_before(at: int, garbage: bytes) -> None:
    """Of the two levels of a record one may be anything; the other one stands."""

    async def run() -> None:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            rates = SharedRates(path, clock)
            for _ in range(3):
                await rates.take(REQUESTS, 1)
            start = place(rates, REQUESTS, clock) * module._RECORD
            end = min(at + len(garbage), 64 * (at >= 64) + 64)
            with (path / module.FILE).open("r+b") as file:
                file.seek(start + at)
                file.write(garbage[: end - at])
            left = (await SharedRates(path, clock).take(REQUESTS, 1)).left
            assert left in (1, 2)  # of 5, three or the two of before were taken

    asyncio.run(run())


@given(st.binary(max_size=9_000))
@settings(deadline=None, max_examples=50)
def test_garbage_is_no_rate(garbage: bytes) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / module.FILE).write_bytes(garbage)
            rates = SharedRates(Path(folder), Clock())
            assert [(await rates.take(REQUESTS, 1)).left for _ in range(5)] == [4, 3, 2, 1, 0]
            await refused(rates, REQUESTS)

    asyncio.run(run())


async def test_a_folder_that_was_cleared_is_shared_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    one, other = SharedRates(tmp_path, clock), SharedRates(tmp_path, clock)
    await one.take(REQUESTS, 5)
    (tmp_path / module.FILE).unlink()
    assert (await one.take(REQUESTS, 3)).left == 2
    assert (await refused(other, REQUESTS, 3)).left == 2


async def test_where_nothing_can_be_shared_each_counts_for_itself(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    one, other = (SharedRates(tmp_path / "file", clock) for _ in range(2))
    await one.take(REQUESTS, 5)
    await refused(one, REQUESTS)
    assert (await other.take(REQUESTS, 5)).left == 0
    assert "hold for each worker by itself" in caplog.text


async def test_a_correction_waits_for_who_has_the_lock(tmp_path: Path, clock: Clock) -> None:
    mine, others = SharedRates(tmp_path, clock), SharedRates(tmp_path, clock)
    taken = await mine.take(TOKENS, 1_000)
    number = place(others, TOKENS, clock)
    assert others.file().lock(number)
    mine.correct(taken, 100)
    assert mine.waiting == 1
    others.file().unlock(number)
    while mine.waiting:
        await asyncio.sleep(0.001)
    assert (await others.take(TOKENS, 900)).left == 0


# --- which record is whose -----------------------------------------------------------------------


def place(rates: SharedRates, rate: Rate, clock: Clock) -> int:
    """The number of a rate's record."""
    record, number = rates.locked(f"{rate.unit} {rate.name}", index_at(clock.now_us))
    record.file.unlock(number)
    return number


def tenants(count: int) -> list[Rate]:
    return [REQUESTS._replace(name=f"tenant:{number}") for number in range(count)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables in which names are in each other's way."""
    monkeypatch.setattr(module, "TABLES", (8, 32, 256))


@pytest.mark.usefixtures("small")
async def test_names_that_share_places_have_records_of_their_own(
    tmp_path: Path, clock: Clock
) -> None:
    one, other = SharedRates(tmp_path, clock), SharedRates(tmp_path, clock)
    many = tenants(100)
    for rate in many:
        await one.take(rate, 3)
    assert len({place(one, rate, clock) for rate in many}) == 100
    assert [place(other, rate, clock) for rate in many] == [
        place(one, rate, clock) for rate in many
    ]
    for rate in many:
        assert (await other.take(rate, 2)).left == 0
        await refused(one, rate)


@pytest.mark.usefixtures("small")
async def test_a_record_that_is_idle_is_taken_for_another_name(
    tmp_path: Path, rates: SharedRates, clock: Clock
) -> None:
    for rate in tenants(100):
        await rates.take(rate, 1)
        clock.now_us += 70_000_000
    # One after the other they all had room in the first table.
    assert (tmp_path / module.FILE).stat().st_size <= 8 * module._RECORD
    await rates.take(tenants(1)[0], 5)
    await refused(rates, tenants(1)[0])


async def test_a_record_is_nobody_elses_as_long_as_anything_counts_in_it(
    tmp_path: Path, rates: SharedRates, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TABLES", (1,))
    first, other = tenants(2)
    await rates.take(first, 5)
    for _ in range(PAST):
        clock.now_us += WIDTH_US
        # However late in its minute another one comes, the first is not forgotten.
        with pytest.raises(Uncertain):
            await rates.take(other, 1)
    await refused(rates, first)
    clock.now_us += (PAST + 10) * WIDTH_US
    assert (await rates.take(other, 5)).left == 0


@pytest.mark.usefixtures("small")
async def test_a_name_stays_where_it_is_when_a_place_before_it_becomes_free(
    tmp_path: Path, clock: Clock
) -> None:
    one, many = SharedRates(tmp_path, clock), tenants(40)
    for rate in many:
        await one.take(rate, 5)
    clock.now_us += 40_000_000
    late = next(rate for rate in reversed(many) if place(one, rate, clock) >= 8)
    clock.now_us += 30_000_000
    await one.take(late, 5)
    clock.now_us += 1_000_000
    # All others are idle by now, those in the first table too; who has not met it yet finds it.
    await refused(SharedRates(tmp_path, clock), late)


async def test_where_every_place_is_taken_nothing_is_admitted_and_the_others_go_on(
    tmp_path: Path, rates: SharedRates, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TABLES", (4, 8))
    *many, new = tenants(13)
    taken = [await rates.take(rate, 2) for rate in many]
    with pytest.raises(Uncertain):
        await rates.take(new, 1)
    rates.correct(Taken(new, 1, taken[0].index, 4, 0), 0)  # whose record is gone
    assert rates.waiting == 0
    assert [(await rates.take(rate, 3)).left for rate in many] == [0] * 12
    clock.now_us += 70_000_000
    assert (await rates.take(new, 1)).left == 4


async def test_the_first_sight_of_a_name_reads_as_much_among_thousands(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, reads = SharedRates(tmp_path, clock), 0
    for rate in tenants(3_000):
        await rates.take(rate, 1)
    new = SharedRates(tmp_path, clock)
    file = new.file()
    read = file.read

    def counted(at: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(at, size)

    monkeypatch.setattr(file, "read", counted)
    await new.take(REQUESTS, 1)
    assert reads <= len(module.TABLES) * module.PROBES + 4


async def test_without_a_file_as_many_names_have_records_in_memory(
    tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "file").write_text("no folder")
    rates = SharedRates(tmp_path / "file", clock)
    many = tenants(500)
    assert [(await rates.take(rate, 5)).left for rate in many] == [0] * 500
    for rate in many:
        await refused(rates, rate)


def test_four_processes_agree_on_the_place_of_each_name(tmp_path: Path) -> None:
    logs = [tmp_path / f"log{number}" for number in range(4)]
    running = [
        subprocess.Popen(
            [sys.executable, PROGRAM_OF_MANY, tmp_path / "run", log, "5", "120", str(seed)],
            start_new_session=True,
        )
        for seed, log in enumerate(logs)
    ]
    assert [one.wait(60) for one in running] == [0, 0, 0, 0]
    assert Counter(taken_of(logs)) == dict.fromkeys(range(120), 5)
