"""Any policy over any providers, many requests at a time, on a hand-turned clock.

Whatever happens: each request ends once, within its deadline, and leaves nothing behind.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.test_engine_chain import Over, hop, journey, target, turn
from turnout.adapters.scripted import said, spoken
from turnout.dsl.core import Breaking, Hop
from turnout.engine.breakers import Breakers
from turnout.engine.chain import MOST_ATTEMPTS, Journey
from turnout.engine.clocks import IdleClock
from turnout.engine.provider import FAULTS, Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.request import OwnKey, RequestError
from turnout.engine.seats import Leave

NAMES = "abcd"
RAISED = [fault for fault in Fault if fault is not Fault.BREAKER_OPEN]
WAITS_US = [None, None, 0, -5_000_000, 1, 300_000, 1_500_000, 3_600_000_000, 86_400_000_000]
DELAYS_S = [0.0, 0.0, 0.001, 0.5, 1.0, 2.0, 7.0, 30.0, 1_000.0]
SPOKEN = spoken("x", "y")


class Benches:
    """Seats by name; each is left once."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        assert patience_s >= 0
        if self.taken.get(name, 0) >= seats:
            await asyncio.sleep(patience_s)
            if self.taken[name] >= seats:
                return None
        self.taken[name] = self.taken.get(name, 0) + 1
        left = False

        def leave() -> None:
            nonlocal left
            assert not left, "left twice"
            left = True
            self.taken[name] -= 1

        return leave


class Defect(Exception):
    """Of an adapter."""


class Fickle:
    """A provider that does anything it is allowed to, and now and then what it is not."""

    missing = None
    usable = True

    def __init__(self, name: str, chance: random.Random, failing: float) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.open = 0
        self._chance = chance
        self._failing = failing

    async def _act(self, call: Call) -> None:
        self.calls.append(call)
        call.sent = True
        await asyncio.sleep(self._chance.choice(DELAYS_S))
        if self._chance.random() < self._failing:
            raise self._error()

    def _error(self) -> Exception:
        if self._chance.random() < 0.03:
            return Defect()
        return ProviderError(
            self._chance.choice(RAISED),
            "no",
            retry_after_us=self._chance.choice(WAITS_US),
            should_retry=self._chance.choice([None, None, True, False]),
        )

    async def answer(self, call: Call) -> Answer:
        self.open += 1
        try:
            await self._act(call)
            return said("yes")
        finally:
            self.open -= 1

    async def count(self, call: Call) -> int | None:
        await self.answer(call)
        return 7

    async def models(self, patience_us: int) -> list[str] | None:
        return None

    def owned(self, key: OwnKey) -> None:
        return None

    @property
    def place(self) -> str:
        return self.name

    async def probe(self, patience_us: int) -> bool:
        return False

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        self.open += 1
        try:
            await self._act(call)
            if self._chance.random() < 0.1:
                return
            for chunk in SPOKEN:
                yield replace(chunk, beat=not chunk.content and self._chance.random() < 0.2)
                await asyncio.sleep(self._chance.choice(DELAYS_S))
                if self._chance.random() < self._failing / 3:
                    raise self._error()
        finally:
            self.open -= 1


@dataclass
class World:
    """What all requests of an example share."""

    chain: Over
    providers: dict[str, Fickle]
    breakers: Breakers
    seats: Benches
    ends: list[str] = field(default_factory=list)


async def ask(world: World, trip: Journey, how: str, deadline_s: float) -> None:
    now = asyncio.get_running_loop().time
    began = now()
    roles = contents = terminal = 0
    try:
        if how == "count":
            trip.providers = world.providers
            await world.chain.count(trip)
            terminal += 1
        elif how == "whole":
            await world.chain.answer(trip)
            terminal += 1
        else:
            opened = await world.chain.open(trip)
            idle = IdleClock(opened.idle_us, opened.ends_at)
            roles = sum(b'"role"' in chunk.data for chunk in opened.held)
            contents = sum(chunk.content for chunk in opened.held)
            assert (roles, contents) == (1, 1)
            try:
                while True:
                    try:
                        chunk = await idle.next(opened.rest)
                    except StopAsyncIteration:
                        break
                    roles += b'"role"' in chunk.data
                terminal += 1
                opened.finish()
            except ProviderError as error:
                terminal += 1
                opened.complain(error)
            finally:
                idle.stop()
                opened.leave()
                await opened.rest.aclose()
            assert roles == 1
    except RequestError as error:
        terminal += 1
        world.ends.append(str(error.status))
        assert error.retry_after_us is None or error.status in (429, 503)
    except Defect:
        terminal += 1
    finally:
        assert now() - began <= deadline_s + 1e-6
    assert terminal == 1


def check(world: World, trips: list[Journey]) -> None:
    made = [one for trip in trips for one in trip.attempts if one.outcome != "skipped"]
    assert len(made) == sum(len(one.calls) for one in world.providers.values())
    for trip in trips:
        assert sum(one.outcome != "skipped" for one in trip.attempts) <= MOST_ATTEMPTS
        assert sum(one.outcome == "ok" for one in trip.attempts) <= 1
        for one in trip.attempts:
            assert one.outcome == "ok" or one.reason or trip.request.stream
            assert "within -" not in (one.reason or ""), one.reason
    assert all(one.open == 0 for one in world.providers.values())
    assert world.chain._pulse.inflight == {}
    assert not any(world.seats.taken.values())
    for breaker in world.breakers._breakers.values():
        assert (breaker.failed.under_way, breaker.cut.under_way) == ({}, {})
        assert not breaker._holds(breaker.claim), "a probe's seat is still taken"


faults = st.none() | st.frozensets(
    st.sampled_from([fault.value for fault in FAULTS]), min_size=1, max_size=4
)
clocks = st.fixed_dictionaries(
    {},
    optional={
        "timeout_us": st.sampled_from([1, 500_000, 1_000_000, 2_000_000, 40_000_000]),
        "ttft_us": st.sampled_from([1, 500_000, 1_000_000, 2_000_000]),
        "idle_us": st.sampled_from([1, 500_000, 1_000_000, 60_000_000]),
    },
)


@st.composite
def hops(draw: st.DrawFn) -> Hop:
    name = draw(st.sampled_from(NAMES))
    made = hop(f"{name}/m", draw(st.integers(0, 20)), draw(faults), **draw(clocks))
    return replace(made, backoff_us=draw(st.sampled_from([1, 200_000, 5_000_000])))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    plan=st.lists(hops(), min_size=1, max_size=6),
    deadline_us=st.sampled_from([1, 1_000_000, 3_000_000, 60_000_000, 600_000_000]),
    failing=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    places=st.none() | st.integers(1, 3),
    failures=st.integers(1, 4),
    repeated=st.sampled_from(["", "0", "1", "-1", "x", "99999999999999999999", "٣"]),
)
def test_every_request_ends_once_in_time_and_leaves_nothing(
    seed: int,
    plan: list[Hop],
    deadline_us: int,
    failing: float,
    places: int | None,
    failures: int,
    repeated: str,
) -> None:
    chance = random.Random(seed)
    random.seed(seed)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        breakers = Breakers(now_ns=lambda: round(loop.time() * 1e9) + 1)
        breakers.follow(Breaking(failures, 3_000_000))
        providers = {name: Fickle(name, chance, failing) for name in NAMES}
        seats = Benches()
        world = World(Over(providers, breakers, seats), providers, breakers, seats)
        known = {f"{n}/m": target(f"{n}/m", concurrency=places) for n in NAMES}
        trips: list[Journey] = []
        tasks: list[asyncio.Task[None]] = []
        for _ in range(chance.randint(1, 12)):
            how = chance.choice(["whole", "stream", "stream", "count"])
            trip = journey(*plan, targets=known, deadline_us=deadline_us, stream=how == "stream")
            trip.request.headers = {"x-stainless-retry-count": repeated}
            trips.append(trip)
            task = asyncio.create_task(ask(world, trip, how, deadline_us / 1e6))
            tasks.append(task)
            if chance.random() < 0.3:
                loop.call_later(chance.choice([0, 0.0005, 0.3, 1.0, 2.0, 5.0]), task.cancel)
            await asyncio.sleep(chance.choice([0, 0, 0.01, 1.0, 5.0]))
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end
        # What has to run after: generators that are closed, claims that end.
        await asyncio.sleep(0)
        check(world, trips)

    turn(go())
