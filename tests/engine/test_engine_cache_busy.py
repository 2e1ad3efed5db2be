"""A worker whose event loop was busy takes what the store has said meanwhile."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from turnout.engine.cache import READ_PATIENCE_S, Cache
from turnout.engine.cached import CachedAnswer, Invalidation, Key, Shelved
from turnout.engine.state.generations import SharedGenerations

AT = Key("acme", bytes(32))


class Asked:
    """A store that says yes to whoever asks, once `before` has returned."""

    def __init__(self, before: Callable[[], object]) -> None:
        self._before = before

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        return None

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        self._before()
        return True

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        pass

    def release(self, key: Key) -> None:
        pass

    def invalidate(self, which: Invalidation) -> int:
        return 0

    def stats(self, tenant: str | None) -> list[Shelved]:
        return []

    def close(self) -> None:
        pass


async def claimed(folder: Path, before: Callable[[], object], busy: Callable[[], object]) -> Cache:
    """A cache that was asked, whose loop is busy meanwhile; it has the claim."""
    cache = Cache(Asked(before), SharedGenerations(folder), {})
    asking = asyncio.create_task(cache.claim(AT, 0))
    await asyncio.sleep(0)
    busy()
    assert await asking is True
    cache.close()
    return cache


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_came_while_the_loop_was_busy_counts(tmp_path: Path, loop: str) -> None:
    said = threading.Event()

    def busy() -> None:
        assert said.wait(10)
        time.sleep(3 * READ_PATIENCE_S)  # what is tested is a loop that stands still

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        cache = runner.run(claimed(tmp_path, said.set, busy))
    assert cache.counts.slow == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_store_that_had_no_turn_while_the_loop_was_busy_gets_one(
    tmp_path: Path, loop: str
) -> None:
    over = threading.Event()

    def before() -> None:
        assert over.wait(10)
        time.sleep(READ_PATIENCE_S / 4)

    def busy() -> None:
        time.sleep(3 * READ_PATIENCE_S)
        over.set()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        cache = runner.run(claimed(tmp_path, before, busy))
    assert cache.counts.slow == 0
