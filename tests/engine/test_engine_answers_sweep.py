"""What has expired is removed from the disk, also where nobody asks for it any more."""

import asyncio
from pathlib import Path

import pytest

from tests.engine.answering import FOREVER_US, MOST_BYTES, a_key, an_answer
from tests.engine.turned import TurnedLoop
from turnout.engine.board import Alone
from turnout.engine.cache_sweep import EVERY_S, Sweep
from turnout.engine.cached import CacheError
from turnout.engine.state.answers import FILE, SqliteAnswers, sweep
from turnout.engine.state.generations import SharedGenerations


def test_the_file_of_a_home_loses_what_has_expired_and_nothing_else(tmp_path: Path) -> None:
    numbers = SharedGenerations(tmp_path / "run")
    answers = SqliteAnswers(tmp_path, MOST_BYTES)
    for number in range(300):
        expires_us = FOREVER_US if number < 5 else 1000
        answers.put(a_key(number), an_answer(b"a", stored_us=0), expires_us, numbers.of("acme"))
    assert sweep(tmp_path) == 295
    assert sweep(tmp_path) == 0
    assert [one.answers for one in answers.stats(None)] == [5]


def test_a_home_without_answers_gets_no_file_for_them(tmp_path: Path) -> None:
    assert sweep(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


class Follower(Alone):
    """The board of a worker that another one goes before."""

    def leads(self, role: str) -> bool:
        return False


@pytest.mark.parametrize(("board", "times"), [(Alone(), 3), (Follower(), 0)])
def test_one_worker_has_it_done_every_ten_minutes_whatever_fails(
    board: Alone, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[None] = []

    def swept() -> int:
        done.append(None)
        if len(done) == 1:
            raise CacheError("the disk is full")
        return 3

    sweeping = Sweep(swept, board)

    async def run() -> None:
        for _ in range(3):
            await sweeping.look()

    asyncio.run(run())
    assert len(done) == times
    assert ("the disk is full" in caplog.text) is bool(times)


def test_it_is_done_at_the_start_and_then_every_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at: list[float] = []
    sweeping = Sweep(lambda: 0)

    async def looked() -> None:
        at.append(asyncio.get_running_loop().time())

    monkeypatch.setattr(Sweep, "look", lambda self: looked())

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sweeping.run(), 2.5 * EVERY_S)

    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(run())
    assert at == pytest.approx([0, EVERY_S, 2 * EVERY_S])


def test_a_ruined_file_is_made_anew_by_the_way(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"ruined" * 1000)
    assert sweep(tmp_path) == 0
    assert SqliteAnswers(tmp_path, MOST_BYTES).get(a_key(0), 0) is None
