"""Nobody is given an answer of before an invalidation, once that has come to its end."""

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.answering import FOREVER_US, MOST_BYTES, a_key, an_answer
from turnout.engine.cache import Cache
from turnout.engine.cached import CachedAnswer, Invalidation, Key
from turnout.engine.state.answers import SqliteAnswers
from turnout.engine.state.generations import SharedGenerations

KEYS = [a_key(number) for number in range(3)]


class Interrupted(SqliteAnswers):
    """Where something else happens just before and just after answers are removed."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    def invalidate(self, which: Invalidation) -> int:
        self.before()
        removed = super().invalidate(which)
        self.after()
        return removed


@pytest.mark.parametrize("tenant", ["acme", None])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_happens_beside_an_invalidation_does_not_outlast_it(
    tmp_path: Path, tenant: str | None, moment: str
) -> None:
    numbers, of_other = SharedGenerations(tmp_path / "run"), SharedGenerations(tmp_path / "run")
    store = Interrupted(tmp_path, MOST_BYTES, numbers)
    cache = Cache(store, numbers, {})
    other = Cache(SqliteAnswers(tmp_path, MOST_BYTES, of_other), of_other, {})
    key, old = KEYS[0], an_answer(b"old")
    asked_under = of_other.of("acme")
    store.put(key, old, FOREVER_US, asked_under)

    def beside() -> None:
        # One request is given what is still there, another one's answer has just come.
        number = other.generation("acme")
        found = store.get(key, 0)
        if found is not None:
            other.remember(key, found, FOREVER_US, number)
        store.put(KEYS[1], old, FOREVER_US, asked_under)
        other.remember(KEYS[1], old, FOREVER_US, asked_under)

    setattr(store, moment, beside)
    cache.invalidate(Invalidation("all", "*", tenant))
    for one in KEYS:
        assert store.get(one, 0) is None
        assert other.remembered(one, 0) is None
    cache.close()
    other.close()


class World:
    """What providers would answer now, and what all invalidations so far allow."""

    def __init__(self) -> None:
        self.version = 0
        self.least = 0


async def asked(cache: Cache, key: Key, world: World, chance: random.Random) -> int:
    """Which version a request is given: one that is kept, or what a provider says."""
    number = cache.generation(key.tenant)
    found: CachedAnswer | bool | None = cache.remembered(key, 0)
    if found is None:
        found = await cache.claim(key, 0)
        if isinstance(found, CachedAnswer):
            cache.remember(key, found, FOREVER_US, number)
    if isinstance(found, CachedAnswer):
        return int(found.body)
    version = world.version
    for _ in range(chance.randrange(3)):
        await asyncio.sleep(0)
    if found is True:
        cache.put(key, an_answer(b"%d" % version), FOREVER_US, number)
    return version


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_given_is_never_older_than_the_last_invalidation(
    tmp_path: Path, seed: int
) -> None:
    world = World()
    caches = []
    for _ in range(2):  # as many workers
        numbers = SharedGenerations(tmp_path / "run")
        caches.append(Cache(SqliteAnswers(tmp_path, MOST_BYTES, numbers), numbers, {}))
    ended = threading.Event()
    hits = 0

    async def ask_on(cache: Cache, chance: random.Random) -> None:
        nonlocal hits
        while not ended.is_set():
            least = world.least
            version = await asked(cache, chance.choice(KEYS), world, chance)
            assert version >= least
            hits += 1
            await asyncio.sleep(0)

    def invalidate_on() -> None:
        chance = random.Random(seed)
        try:
            while hits < 3000:
                world.version += 1
                version = world.version
                tenant = chance.choice(["acme", None])
                chance.choice(caches).invalidate(Invalidation("model", "openai/*", tenant))
                world.least = version
                ended.wait(chance.choice([0, 0.001, 0.004]))
        finally:
            ended.set()

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(ask_on(caches[number % 2], random.Random(number)))
        tasks.create_task(asyncio.to_thread(invalidate_on))
    for cache in caches:
        cache.close()
