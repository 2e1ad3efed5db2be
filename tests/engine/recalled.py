"""A cache of a worker as tests hold it: its store, its numbers and its clock are turned by hand.

What the cache does in threads is done at once here, in the order of the calls.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from turnout.adapters.scripted import Scripted
from turnout.dsl.check import compile_policy
from turnout.dsl.schema import Target
from turnout.dsl.source import Source
from turnout.engine import cache as cache_module
from turnout.engine.cache import Cache, Recall
from turnout.engine.cached import (
    CachedAnswer,
    CacheError,
    Invalidation,
    Key,
    Shelved,
)
from turnout.engine.catalog import language_schema
from turnout.engine.request import Operation, Request, Usage

from .benches import request_of
from .turned import TurnedLoop

T = TypeVar("T")

HOUR_US = 3_600_000_000
POLICY = """
routing_policy:
  - {name: a, route: groq/llama-3-8b, tags: [team=search]}
  - {name: b, route: openai/gpt-4}
cache: {ttl: 1h}
"""
PROGRAM = compile_policy(Source("test", POLICY), language_schema())
TARGET = PROGRAM.targets["groq/llama-3-8b"]
OTHER = PROGRAM.targets["openai/gpt-4"]
PROVIDER = Scripted("groq", [])


def turned(work: Coroutine[Any, Any, T]) -> T:
    """Run on a loop whose clock moves only when everyone waits."""
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        return runner.run(work)


class Numbers:
    """Generations in this process."""

    def __init__(self) -> None:
        self.everybodys = 0
        self.numbers: dict[str, int] = {}

    def of(self, tenant: str) -> int:
        return self.everybodys * 1000 + self.numbers.get(tenant, 0)

    def close(self) -> None:
        pass

    def raise_(self, tenant: str | None) -> None:
        if tenant is None:
            self.everybodys += 1
        else:
            self.numbers[tenant] = self.numbers.get(tenant, 0) + 1


class Plain:
    """A form whose stream is its whole answer in pieces; one that begins with `cut` is cut."""

    def is_complete(self, body: bytes) -> bool:
        return not body.startswith(b"cut")

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        return b"".join(events)

    def events(self, body: bytes, request: Request) -> list[bytes]:
        return [body[:1], body[1:]]


@dataclass
class Shelf:
    """A store that several workers share: `of(worker)` is it as one of them sees it."""

    numbers: Numbers
    kept: dict[bytes, tuple[CachedAnswer, int]] = field(default_factory=dict)
    claims: dict[bytes, str] = field(default_factory=dict)
    fails: Exception | None = None
    asked: int = 0
    put_fails: Exception | None = None

    def of(self, worker: str) -> "View":
        return View(self, worker)


class View:
    """A `Store`."""

    def __init__(self, shelf: Shelf, worker: str) -> None:
        self.shelf = shelf
        self.worker = worker
        self.closed = False

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        self.shelf.asked += 1
        if self.shelf.fails is not None:
            raise self.shelf.fails
        answer, expires_us = self.shelf.kept.get(key.digest, (None, 0))
        return answer if now_us < expires_us else None

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        found = self.get(key, now_us)
        if found is not None:
            return found
        if key.digest in self.shelf.claims:
            return False  # of whichever worker
        self.shelf.claims[key.digest] = self.worker
        return True

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        if self.shelf.put_fails is not None:
            raise self.shelf.put_fails
        if self.shelf.numbers.of(key.tenant) == generation:
            self.shelf.kept[key.digest] = (answer, expires_us)
        self.release(key)

    def release(self, key: Key) -> None:
        if self.shelf.claims.get(key.digest) == self.worker:
            del self.shelf.claims[key.digest]

    def invalidate(self, which: Invalidation) -> int:
        removed = len(self.shelf.kept)
        self.shelf.kept.clear()
        return removed

    def stats(self, tenant: str | None) -> list[Shelved]:
        raise CacheError("not here")

    def close(self) -> None:
        self.closed = True


class Readers:
    """Threads that take no time; what is `held` is done when it is let go."""

    def __init__(self) -> None:
        self.holds = False
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], *given: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        if self.holds:
            self.held.append((future, lambda: work(*given)))
            return future
        self._do(future, lambda: work(*given))
        return future

    def let_go(self) -> None:
        """Do what was held; what was cancelled before it began is not done."""
        held, self.held = self.held, []
        for future, work in held:
            self._do(future, work)

    def begin(self) -> None:
        """Have what is held under way: it cannot be cancelled any more."""
        for future, _ in self.held:
            future.set_running_or_notify_cancel()

    def shutdown(self, **_: Any) -> None:
        """Nothing is left behind."""

    def _do(self, future: "Future[Any]", work: Callable[[], Any]) -> None:
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)


class Worker:
    """The cache of one worker."""

    def __init__(self, shelf: Shelf | None, numbers: Numbers, name: str = "a", **more: Any) -> None:
        store = None if shelf is None else shelf.of(name)
        form = Plain()
        self.store = store
        self.cache = Cache(store, numbers, {one: form for one in Operation}, **more)
        self.readers = self.cache._readers = Readers()  # type: ignore[assignment]
        writes = self.cache._writes

        def wake(write: tuple[Key, CachedAnswer | None, int, int]) -> None:
            if write[1] is not None:
                writes._bytes -= write[1].size
            writes._write(*write)

        writes._wake = wake  # type: ignore[method-assign]

    def recall(self, ttl_us: int | None = HOUR_US, headers: Any = None, **body: Any) -> Recall:
        """A request's way past it."""
        request = request_of({"messages": []} | body, headers=headers)
        found = self.cache.recall(PROGRAM, PROGRAM.clauses[0], request, {}, ttl_us)
        assert found is not None
        return found

    async def find(
        self, recall: Recall, patience_s: float = 10.0, target: Target = TARGET
    ) -> CachedAnswer | None:
        return await recall.find(target, PROVIDER, patience_s, of_caller=False)

    async def ask(self, body: bytes = b"answer", **more: Any) -> bytes | None:
        """Find an answer; None where it was made, and kept."""
        recall = self.recall(**more)
        found = await self.find(recall)
        if found is None:
            keep(recall, body)
        recall.close()
        return None if found is None else found.body


def keep(recall: Recall, body: bytes = b"answer", cost: int = 7) -> None:
    """The target has answered."""
    recall.keep(body, TARGET.id, Usage(10, 5), cost, (), native=False)


class Clock:
    """What the cache takes for the time of day."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    turned_clock = Clock()
    monkeypatch.setattr(cache_module, "_now_us", turned_clock)
    return turned_clock
