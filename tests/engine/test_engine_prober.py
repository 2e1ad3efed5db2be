"""Probes on a hand-turned clock: when, how many, by whom, and what all workers know of them."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from turnout.adapters.scripted import Scripted
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Breaking
from turnout.dsl.source import Source
from turnout.engine.board import Alone, Board
from turnout.engine.breakers import Breakers
from turnout.engine.catalog import language_schema
from turnout.engine.live import Live, make_live
from turnout.engine.prober import JITTER, LOOK_S, PATIENCE_US, TOPIC, Prober
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.request import OwnKey

from .turned import TurnedLoop

T = TypeVar("T")
EVERY_S = 30.0
POLICY = """
routing_policy:
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4o, fallback: [anthropic/claude-sonnet-4]}
"""
NAMES = ("anthropic", "groq", "openai")


def turn(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=partial(TurnedLoop, 1_000.0)) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


class Listing(Scripted):
    """A provider that is only ever probed; `ways` says what becomes of it, else all is well."""

    def __init__(self, name: str, *, usable: bool = True) -> None:
        super().__init__(name, [], usable=usable)
        self.asked: list[float] = []
        self.most_at_once = 0
        self.way: Callable[[], Coroutine[Any, Any, bool]] | None = None
        self._at_once = 0

    def owned(self, key: OwnKey) -> None:
        return None

    @property
    def place(self) -> str:
        return self.name

    async def probe(self, patience_us: int) -> bool:
        assert patience_us == PATIENCE_US
        self.asked.append(now())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return True if self.way is None else await self.way()
        finally:
            self._at_once -= 1


def refusing(fault: Fault) -> Callable[[], Coroutine[Any, Any, bool]]:
    async def refuse() -> bool:
        raise ProviderError(fault, "told by nobody else")

    return refuse


async def hang() -> bool:
    await asyncio.Event().wait()
    return True


async def silent() -> bool:
    return False


@dataclass
class Shared:
    """What the workers of one machine share, in this process."""

    posts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    leaders: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    workers: int = 0

    def board(self) -> "SharedHere":
        self.workers += 1
        return SharedHere(self, self.workers)


class SharedHere:
    def __init__(self, shared: Shared, number: int) -> None:
        self._shared = shared
        self._number = number
        self._seen: dict[str, int] = {}

    def post(self, topic: str, told: bytes) -> None:
        self._shared.posts.setdefault(topic, {})[self._number] = told
        self._shared.changes += 1

    def look(self, topic: str) -> list[bytes] | None:
        if self._seen.get(topic) == self._shared.changes:
            return None
        self._seen[topic] = self._shared.changes
        posts = self._shared.posts.get(topic, {})
        return [told for number, told in posts.items() if number != self._number]

    def leads(self, role: str) -> bool:
        return self._shared.leaders.setdefault(role, self._number) == self._number

    def close(self) -> None:
        for posts in self._shared.posts.values():
            posts.pop(self._number, None)
        for role, number in list(self._shared.leaders.items()):
            if number == self._number:
                del self._shared.leaders[role]
        self._shared.changes += 1


def a_live(
    providers: Mapping[str, Listing], policy: str = POLICY, breaking: Breaking | None = None
) -> Live:
    program = compile_policy(Source("test", policy), language_schema())
    return make_live(replace(program, breaking=breaking or program.breaking), providers)


class Worker:
    """A prober with its breakers, as one process has it."""

    def __init__(
        self,
        live: Live,
        board: Board | None = None,
        seed: int = 7,
        every_us: int = round(EVERY_S * 1_000_000),
    ) -> None:
        self.live = live
        self.board = board or Alone()
        self.breakers = Breakers(self.board, lambda: round(now() * 1_000_000_000))
        self.breakers.follow(live.program.breaking)
        self.prober = Prober(
            lambda: self.live, self.breakers, self.board, every_us, random.Random(seed)
        )
        self.task = asyncio.get_running_loop().create_task(self.prober.run())

    async def die(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        self.board.close()


def listings(*names: str) -> dict[str, Listing]:
    return {name: Listing(name) for name in names or NAMES}


def gaps(times: list[float]) -> Iterator[float]:
    return (later - earlier for earlier, later in pairwise(times))


async def an_hour() -> None:
    await asyncio.sleep(3_600)


# --- when ----------------------------------------------------------------------------------------


def test_an_hour_of_probes_is_so_many_lists_and_no_completion() -> None:
    providers = listings()

    async def work() -> None:
        worker = Worker(a_live(providers))
        await an_hour()
        await worker.die()

    turn(work())
    for provider in providers.values():
        assert 100 <= len(provider.asked) <= 145
        assert provider.calls == []
        least, most = min(gaps(provider.asked)), max(gaps(provider.asked))
        assert EVERY_S * (1 - JITTER) - LOOK_S <= least
        assert most <= EVERY_S * (1 + JITTER) + LOOK_S
        # All over the range, or fleets would strike together.
        assert most - least > EVERY_S * JITTER


@pytest.mark.parametrize("seed", range(20))
def test_the_first_probe_comes_after_an_interval_and_not_of_all_at_once(seed: int) -> None:
    providers = listings()

    async def work() -> float:
        began = now()
        worker = Worker(a_live(providers), seed=seed)
        await asyncio.sleep(2.5 * EVERY_S)
        await worker.die()
        return began

    began = turn(work())
    first = sorted(provider.asked[0] - began for provider in providers.values())
    assert first[0] >= EVERY_S * (1 - JITTER)
    assert first[-1] <= EVERY_S * (2 + JITTER) + LOOK_S
    assert first[-1] - first[0] > EVERY_S * 0.2


def test_only_what_the_policy_reaches_and_can_be_called_is_probed() -> None:
    providers = listings(*NAMES, "mistral")
    providers["anthropic"] = Listing("anthropic", usable=False)

    async def work() -> dict[str, Any]:
        worker = Worker(a_live(providers))
        await asyncio.sleep(300)
        health = worker.prober.health()
        await worker.die()
        return health

    health = turn(work())
    assert {name for name, one in providers.items() if one.asked} == {"groq", "openai"}
    assert set(health) == set(NAMES)
    assert health["anthropic"] == {
        "usable": False,
        "healthy": None,
        "checked_at": None,
        "reason": "no credential",
    }
    assert health["groq"]["healthy"] is True


def test_without_a_policy_what_has_a_key_is_probed() -> None:
    providers = listings("openai", "ollama", "mistral")
    policy = "routing_policy:\n  - {name: requested, route: requested}\n"

    async def work() -> None:
        worker = Worker(a_live(providers, policy))
        await asyncio.sleep(300)
        await worker.die()

    turn(work())
    assert {name for name, one in providers.items() if one.asked} == {"openai", "mistral"}


def test_a_provider_without_a_free_list_is_asked_once() -> None:
    providers = listings()
    providers["groq"].way = silent

    async def work() -> Mapping[str, Any]:
        worker = Worker(a_live(providers))
        await an_hour()
        health = worker.prober.health()
        await worker.die()
        return health

    health = turn(work())
    assert len(providers["groq"].asked) == 1
    assert health["groq"] == {
        "usable": True,
        "healthy": None,
        "checked_at": None,
        "reason": None,
    }


def test_a_hung_endpoint_delays_nobody_and_is_never_asked_twice_at_a_time() -> None:
    providers = listings()
    providers["groq"].way = hang

    async def work() -> dict[str, Any]:
        worker = Worker(a_live(providers), every_us=2_000_000)
        await an_hour()
        health = worker.prober.health()
        await worker.die()
        return health

    health = turn(work())
    assert providers["groq"].most_at_once == 1
    assert health["groq"]["reason"] == "timeout"
    assert health["groq"]["healthy"] is False
    for name in ("openai", "anthropic"):
        assert len(providers[name].asked) > 1_300
        assert max(gaps(providers[name].asked)) <= 2 * (1 + JITTER) + LOOK_S


def test_a_breaker_that_opened_is_probed_for_as_soon_as_it_lets_one_try() -> None:
    providers = listings()
    broken = ProviderError(Fault.SERVER, "down")

    async def work() -> tuple[list[float], list[str]]:
        live = a_live(providers, breaking=Breaking(failures=3, cool_down_us=15_000_000))
        worker = Worker(live, every_us=600_000_000)
        await asyncio.sleep(100)
        for _ in range(3):
            worker.breakers.failed("openai/gpt-4o", broken)
        assert worker.breakers.states()["openai/gpt-4o"]["breaker"] == "open"
        opened = now()
        await asyncio.sleep(15 * (1 + JITTER) + 2 * LOOK_S)
        asked = [at - opened for at in providers["openai"].asked]
        await worker.die()
        return asked, list(worker.breakers.states())

    asked, left_alone = turn(work())
    assert len(asked) == 1
    assert asked[0] >= 15
    assert left_alone == []  # closed, without any traffic
    assert not providers["groq"].asked


def test_a_provider_that_stays_away_is_probed_every_cool_down() -> None:
    providers = listings()
    providers["openai"].way = refusing(Fault.CONNECT)
    broken = ProviderError(Fault.CONNECT, "down")

    async def work() -> None:
        live = a_live(providers, breaking=Breaking(failures=1, cool_down_us=10_000_000))
        worker = Worker(live, every_us=600_000_000)
        await asyncio.sleep(10)
        worker.breakers.failed("openai/gpt-4o", broken)
        await asyncio.sleep(120)
        assert worker.breakers.values()["healthy(openai/gpt-4o)"] is False
        providers["openai"].way = None
        await asyncio.sleep(10 * (1 + JITTER) + 2 * LOOK_S)
        assert worker.breakers.states() == {}
        assert worker.breakers.values() == {}
        await worker.die()

    turn(work())
    assert 9 <= len(providers["openai"].asked) <= 16
    assert max(gaps(providers["openai"].asked)) <= 10 * (1 + JITTER) + LOOK_S


# --- by whom -------------------------------------------------------------------------------------


def test_one_of_four_workers_probes_and_all_know() -> None:
    fleets = [listings() for _ in range(4)]
    fleets[0]["groq"].way = refusing(Fault.AUTH)

    async def work() -> list[dict[str, Any]]:
        shared = Shared()
        workers = [Worker(a_live(fleet), shared.board()) for fleet in fleets]
        await asyncio.sleep(300)
        for worker in workers:
            worker.breakers.look()
        health = [worker.prober.health() for worker in workers]
        for worker in workers:
            assert worker.breakers.values(["groq/llama-3-8b"])["healthy(groq/llama-3-8b)"] is False
        for worker in workers:
            await worker.die()
        return health

    health = turn(work())
    assert all(one.asked for one in fleets[0].values())
    assert not any(one.asked for fleet in fleets[1:] for one in fleet.values())
    assert all(one == health[0] for one in health)
    assert health[0]["groq"]["reason"] == "auth"
    assert health[0]["openai"]["healthy"] is True


def test_another_worker_takes_over_where_the_leader_dies() -> None:
    fleets = [listings() for _ in range(2)]

    async def work() -> float:
        shared = Shared()
        first, second = (Worker(a_live(fleet), shared.board()) for fleet in fleets)
        await asyncio.sleep(300)
        await first.die()
        died = now()
        known = second.prober.health()
        assert all(one["healthy"] for one in known.values())
        await asyncio.sleep(300)
        await second.die()
        return died

    died = turn(work())
    for before, after in zip(fleets[0].values(), fleets[1].values(), strict=True):
        assert max(before.asked) <= died < min(after.asked)
        # It goes on where the other one left off.
        gap = after.asked[0] - before.asked[-1]
        assert EVERY_S * (1 - JITTER) - LOOK_S <= gap <= EVERY_S * (1 + JITTER) + LOOK_S


def test_what_another_worker_tells_in_another_form_is_left_alone() -> None:
    async def work() -> dict[str, Any]:
        shared = Shared()
        board = shared.board()
        for garbage in (b"", b"[]", b'{"groq": 1}', b'{"groq": {"ok": true}}', b"\xff"):
            board.post(TOPIC, garbage)
            board = shared.board()
        worker = Worker(a_live(listings()), board)
        await asyncio.sleep(1)
        health = worker.prober.health()
        await worker.die()
        return health

    assert all(one["healthy"] is None for one in turn(work()).values())


# --- what changes --------------------------------------------------------------------------------


def test_a_provider_that_falls_ill_and_recovers_is_told_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    providers = listings()

    async def work() -> None:
        worker = Worker(a_live(providers))
        await asyncio.sleep(120)
        providers["openai"].way = refusing(Fault.CONNECT)
        await asyncio.sleep(120)
        assert worker.prober.health()["openai"]["reason"] == "connect"
        providers["openai"].way = None
        await asyncio.sleep(120)
        assert worker.prober.health()["openai"]["reason"] is None
        await worker.die()

    with caplog.at_level(logging.INFO, "turnout.prober"):
        turn(work())
    assert [record.getMessage() for record in caplog.records] == [
        "the provider `openai` is not well: connect",
        "the provider `openai` is well again",
    ]


def test_a_probe_that_breaks_says_nothing_of_the_provider(
    caplog: pytest.LogCaptureFixture,
) -> None:
    providers = listings()

    async def broken() -> bool:
        raise RuntimeError("a defect of ours")

    providers["groq"].way = broken

    async def work() -> dict[str, Any]:
        worker = Worker(a_live(providers))
        await asyncio.sleep(120)
        health = worker.prober.health()
        assert not worker.task.done()
        await worker.die()
        return health

    health = turn(work())
    assert health["groq"]["healthy"] is None
    assert health["openai"]["healthy"] is True
    assert len(providers["groq"].asked) >= 2
    assert "the probe of `groq` broke" in caplog.text


def test_another_policy_has_its_own_providers_probed() -> None:
    providers = listings(*NAMES, "mistral")
    other = "routing_policy:\n  - {name: all, route: mistral/mistral-small-latest}\n"

    async def work() -> None:
        worker = Worker(a_live(providers))
        await asyncio.sleep(120)
        asked = {name: len(one.asked) for name, one in providers.items()}
        worker.live = a_live(providers, other)
        await asyncio.sleep(120)
        assert list(worker.prober.health()) == ["mistral"]
        assert list(worker.prober.found) == ["mistral"]
        assert all(len(providers[name].asked) == asked[name] for name in NAMES)
        await worker.die()

    turn(work())
    assert providers["mistral"].asked


def test_a_prober_that_ends_leaves_no_probe_behind() -> None:
    providers = listings()
    for provider in providers.values():
        provider.way = hang

    async def work() -> int:
        worker = Worker(a_live(providers))
        while not providers["openai"].asked:
            await asyncio.sleep(0.1)
        await worker.die()
        return len(asyncio.all_tasks())

    assert turn(work()) == 1
