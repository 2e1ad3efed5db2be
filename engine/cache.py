"""Answers that are given again: looked for before a target is asked, kept once they are complete.

Level 1 is this worker's memory, bounded in bytes; level 2 a store that workers share. Of requests
that ask the same at the same time, one makes the answer and the others wait for it: those of this
worker on a flight, those of other workers by a claim in the store. A store that is slow or broken
costs no request more than `READ_PATIENCE_S`, and is then left alone for a while.

Over 300 lines because looking, making and keeping are one walk.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from cachetools import LRUCache

from turnout.dsl.core import Clause, Program
from turnout.dsl.schema import Target

from .cache_key import key, shared_part, target_part
from .cached import CachedAnswer, CacheError, Form, Generations, Invalidation, Key, Shelved, Store
from .directives import Directives, directives
from .provider import Provider
from .readers import tags_of
from .request import Operation, Request, RequestError, Sets, Usage

T = TypeVar("T")

MEMORY_BYTES = 64 * 1024 * 1024
MOST_ANSWER_BYTES = 4 * 1024 * 1024  # of one answer, streamed or whole
READ_PATIENCE_S = 0.05  # for the store, before a request goes on without it
FLIGHT_PATIENCE_S = 30.0  # for another request's answer, and at most half of the time that is left
POLL_S = 0.02  # between two looks whether another worker's answer is there
PAUSES_S = (1.0, 5.0, 30.0)  # for which a store is left alone that was slow or failed
MOST_WRITES = 256  # that wait for the store; more answers are not kept there
MOST_WRITE_BYTES = 64 * 1024 * 1024
MOST_TAGS = 32
_TARGETS = 1024

_log = logging.getLogger("turnout.cache")


class Ending(Enum):
    """How a flight ended without an answer to give again."""

    LEFT = "left"  # whoever made the answer went away: the next one makes it
    FAILED = "failed"  # there is none, or none that may be kept: everybody asks by itself


@dataclass(slots=True)
class _Flight:
    """The making of one answer in this worker."""

    done: "asyncio.Future[CachedAnswer | Ending]"
    claimed: bool = False


@dataclass(slots=True)
class Counts:
    """What became of requests that might have been answered from the cache, in this worker."""

    hits: int = 0  # from memory
    shared_hits: int = 0  # from the store
    awaited: int = 0  # of a flight of this worker
    misses: int = 0
    stored: int = 0
    unstored: int = 0  # answers that the store had no room or time for
    slow: int = 0  # reads of the store that were given up


@dataclass(slots=True)
class _Memory:
    """An answer in memory, until when, and of which generation."""

    answer: CachedAnswer
    expires_us: int
    generation: int


class Cache:
    """The answers of one worker; used from its event loop, but for `invalidate` and `stats`."""

    def __init__(
        self,
        store: Store | None,
        generations: Generations,
        forms: Mapping[Operation, Form],
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Keep answers in memory, and in `store` where there is one.

        `forms` has how each operation's own protocol tells answers; chat's is that of all others.
        """
        self._store = store
        self._generations = generations
        self._forms = forms
        self._memory: LRUCache[bytes, _Memory] = LRUCache(
            max(memory_bytes, 1), getsizeof=lambda kept: kept.answer.size
        )
        self._flights: dict[bytes, _Flight] = {}
        self._targets: LRUCache[tuple[str, str, str], bytes] = LRUCache(_TARGETS)
        self._readers = ThreadPoolExecutor(2, "cache-read")
        self._writes = _Writes(store)
        self._left_alone_until = 0.0
        self._failures = 0
        self.counts = Counts()

    # --- one request -----------------------------------------------------------------------------

    def recall(
        self, program: Program, clause: Clause | None, request: Request, sets: Sets, ttl_us: int
    ) -> "Recall | None":
        """A request's way past the cache; None where its client wants to go another.

        `ttl_us` is for how long its answer may be given again. Raises: RequestError 400.
        """
        said = directives(request.headers)
        if not said.read and not said.write:
            return None
        rule, tags = (None, ()) if clause is None else (clause.name, clause.tags)
        tags = (*tags, *tags_of(request.headers))[:MOST_TAGS]
        return Recall(self, program, request, sets, said, ttl_us, tags, rule)

    def form(self, request: Request, *, native: bool) -> Form:
        """How the answers to a request are told."""
        return self._forms[request.operation if native else Operation.CHAT]

    def target(self, program: Program, target: Target, provider: Provider) -> bytes:
        """What of a target is in the key."""
        name = (program.digest, target.id, provider.place)
        found = self._targets.get(name)
        if found is None:
            found = self._targets[name] = target_part(program, target, provider)
        return found

    def generation(self, tenant: str) -> int:
        """The number of the tenant's answers now."""
        return self._generations.of(tenant)

    def remembered(self, at: Key, now_us: int) -> CachedAnswer | None:
        """An answer from memory."""
        kept = self._memory.get(at.digest)
        if kept is None:
            return None
        if kept.expires_us <= now_us or kept.generation != self._generations.of(at.tenant):
            del self._memory[at.digest]
            return None
        return kept.answer

    def remember(self, at: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer in memory, where there is room for one so large."""
        if answer.size <= self._memory.maxsize:
            self._memory[at.digest] = _Memory(answer, expires_us, generation)

    def flight(self, at: Key) -> "_Flight | None":
        """The making of this answer that is under way in this worker."""
        return self._flights.get(at.digest)

    def lead(self, at: Key) -> "_Flight":
        """Begin the making of an answer."""
        flight = _Flight(asyncio.get_running_loop().create_future())
        self._flights[at.digest] = flight
        return flight

    def land(self, at: Key, flight: "_Flight", ending: CachedAnswer | Ending) -> None:
        """Let those go on who wait for an answer."""
        if self._flights.get(at.digest) is flight:
            del self._flights[at.digest]
        if not flight.done.done():
            flight.done.set_result(ending)

    def put(self, at: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer; the claim to make it, if there was one, ends with it."""
        if generation != self._generations.of(at.tenant):
            self._writes.release(at)
            return
        self.counts.stored += 1
        self.remember(at, answer, expires_us, generation)
        if not self._writes.put(at, answer, expires_us, generation):
            self.counts.unstored += 1

    def release(self, at: Key) -> None:
        """Give up the claim to make an answer."""
        self._writes.release(at)

    async def claim(self, at: Key, now_us: int) -> CachedAnswer | bool | None:
        """An answer from the store, else whether it is ours to make; None: no store can say."""
        store = self._store
        loop = asyncio.get_running_loop()
        if store is None or loop.time() < self._left_alone_until:
            return None
        asked: Future[CachedAnswer | bool] = self._readers.submit(store.get_or_claim, at, now_us)
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(asked), READ_PATIENCE_S)
        except TimeoutError:
            self.counts.slow += 1
            self._forsake(asked, at)
            self._leave_alone(f"no answer within {READ_PATIENCE_S * 1000:.0f} ms")
            return None
        except CacheError as error:
            self._leave_alone(str(error))
            return None
        except asyncio.CancelledError:
            self._forsake(asked, at)
            raise
        self._failures = 0
        return found

    def _forsake(self, asked: "Future[CachedAnswer | bool]", at: Key) -> None:
        """Nobody waits for this any more: a claim that it brings is given up."""

        def give_up(ended: "Future[CachedAnswer | bool]") -> None:
            if not ended.cancelled() and ended.exception() is None and ended.result() is True:
                self._writes.release(at)

        asked.cancel()
        asked.add_done_callback(give_up)

    def _leave_alone(self, why: str) -> None:
        pause_s = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        if self._failures == 0:
            _log.warning("the shared cache is left alone for %.0f s: %s", pause_s, why)
        self._failures += 1
        self._left_alone_until = asyncio.get_running_loop().time() + pause_s

    # --- all of them -----------------------------------------------------------------------------

    def invalidate(self, which: Invalidation) -> int | None:
        """Give these answers to nobody any more; how many the store had, None where there is none.

        Blocks. In memory, all of the tenant's are forgotten, by every worker. Raises: CacheError.
        """
        # First the number: what is being made now is not kept, whenever it comes.
        self._generations.raise_(which.tenant)
        if self._store is None:
            return None
        try:
            return self._store.invalidate(which)
        finally:
            # What was still found in the store meanwhile is in memory, under the new number.
            self._generations.raise_(which.tenant)

    def stats(self, tenant: str | None) -> list[Shelved]:
        """What the store has, by target; blocks. Raises: CacheError."""
        return [] if self._store is None else self._store.stats(tenant)

    @property
    def memory(self) -> tuple[int, int]:
        """How many answers this worker has in memory, and about how many bytes they take."""
        return len(self._memory), int(self._memory.currsize)

    def close(self) -> None:
        """Write what waits for a moment, and let go; blocks."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writes.close()


class _Writes:
    """The store's writer: a thread of its own, and a queue that never makes anybody wait."""

    def __init__(self, store: Store | None) -> None:
        """Begin at the first write."""
        self._store = store
        self._queue: deque[tuple[Key, CachedAnswer | None, int, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False

    def put(self, at: Key, answer: CachedAnswer, expires_us: int, generation: int) -> bool:
        """Have an answer written; False: there is no room for it, and its claim is given up."""
        if self._store is None:
            return True
        with self._changed:
            fits = len(self._queue) < MOST_WRITES and self._bytes + answer.size < MOST_WRITE_BYTES
            if fits and not self._closing:
                self._bytes += answer.size
                self._wake((at, answer, expires_us, generation))
                return True
        self.release(at)
        return False

    def release(self, at: Key) -> None:
        """Have a claim given up; the queue has room for any number."""
        if self._store is None:
            return
        with self._changed:
            self._wake((at, None, 0, 0))

    def close(self, patience_s: float = 2.0) -> None:
        """Write what waits, but not for longer than this; blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience_s)
        if self._store is not None and (self._thread is None or not self._thread.is_alive()):
            self._store.close()

    def _wake(self, write: tuple[Key, CachedAnswer | None, int, int]) -> None:
        self._queue.append(write)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cache-write", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                at, answer, expires_us, generation = self._queue.popleft()
                if answer is not None:
                    self._bytes -= answer.size
            self._write(at, answer, expires_us, generation)

    def _write(
        self, at: Key, answer: CachedAnswer | None, expires_us: int, generation: int
    ) -> None:
        assert self._store is not None
        try:
            if answer is None:
                self._store.release(at)
                return
            self._store.put(at, answer, expires_us, generation)
        except CacheError as error:
            if not self._failing:
                _log.warning("answers cannot be kept in the shared cache: %s", error)
            self._failing = True
        except Exception:
            _log.exception("an answer cannot be kept in the shared cache")
        else:
            self._failing = False


@dataclass(slots=True)
class Recall:
    """One request's way past the cache.

    `find` is asked before each target; what is made where it finds nothing goes to `keep`, and
    `close` must be called once the request is over, however it ends. `result` is what
    `x-turnout-cache` says. `on_miss` is called before the first target is asked.
    """

    cache: Cache
    program: Program
    request: Request
    sets: Sets
    directives: Directives
    ttl_us: int
    tags: tuple[str, ...] = ()
    rule: str | None = None
    on_miss: Callable[[], None] = lambda: None
    result: str = "MISS"
    _shared: bytes = b""
    _at: Key | None = None
    _generation: int = 0
    _flight: _Flight | None = None
    _missed: bool = False
    _events: list[bytes] | None = field(default_factory=list)
    _event_bytes: int = 0

    async def find(
        self, target: Target, provider: Provider, patience_s: float, *, of_caller: bool
    ) -> CachedAnswer | None:
        """An answer that this target gave before; None: it is to be asked, and `keep` its answer.

        Waits where the same is being asked, no longer than `patience_s` in all.
        """
        self._end(Ending.FAILED)  # of the target before
        cache = self.cache
        if not self._shared:
            self._shared = shared_part(self.request, self.sets)
        part = cache.target(self.program, target, provider)
        at = self._at = key(self._shared, self.request, part, of_caller=of_caller)
        self._generation = cache.generation(at.tenant)
        found = await self._look(at, patience_s) if self.directives.read else None
        if found is not None:
            self.result = "HIT"
            return found
        if self.directives.only:
            raise RequestError(
                504,
                "invalid_request_error",
                "not_cached",
                "The request may be answered from the cache only (`Cache-Control: "
                "only-if-cached`), and there is no such answer.",
                should_retry=False,
            )
        if not self._missed:
            self._missed = True
            cache.counts.misses += 1
            self.on_miss()
        return None

    async def _look(self, at: Key, patience_s: float) -> CachedAnswer | None:
        cache = self.cache
        now = asyncio.get_running_loop().time
        until = now() + patience_s
        while True:
            if (found := self._fresh(cache.remembered(at, _now_us()))) is not None:
                cache.counts.hits += 1
                return found
            flight = cache.flight(at)
            if flight is None:
                return await self._ask_store(at, until)
            try:
                async with asyncio.timeout_at(until):
                    ended = await asyncio.shield(flight.done)
            except TimeoutError:
                return None
            if isinstance(ended, CachedAnswer):
                if (found := self._fresh(ended)) is not None:
                    cache.counts.awaited += 1
                    return found
                return None
            if ended is Ending.FAILED:
                return None

    async def _ask_store(self, at: Key, until: float) -> CachedAnswer | None:
        """Lead the making of an answer, unless the store has it or another worker makes it."""
        cache = self.cache
        now = asyncio.get_running_loop().time
        self._flight = flight = cache.lead(at)
        try:
            while True:
                found = await cache.claim(at, _now_us())
                if isinstance(found, CachedAnswer):
                    if (fresh := self._fresh(found)) is None:
                        return None
                    cache.counts.shared_hits += 1
                    expires_us = found.stored_us + self.ttl_us
                    cache.remember(at, found, expires_us, self._generation)
                    self._flight = None
                    cache.land(at, flight, fresh)
                    return fresh
                if found is True:
                    flight.claimed = True
                if found is not False or now() >= until:
                    return None
                await asyncio.sleep(min(POLL_S, max(until - now(), 0.0)))
        except BaseException:
            self._end(Ending.LEFT)
            raise

    def _fresh(self, answer: CachedAnswer | None) -> CachedAnswer | None:
        """The answer, unless it is older than the policy or the client takes."""
        if answer is None:
            return None
        age_us = _now_us() - answer.stored_us
        limit_us = self.ttl_us
        if self.directives.max_age_us is not None:
            limit_us = min(limit_us, self.directives.max_age_us)
        return answer if age_us < limit_us else None

    # --- what was asked for and came -------------------------------------------------------------

    def heard(self, event: bytes) -> None:
        """Take an event of the stream that answers."""
        if self._events is not None and self.directives.write:
            self._event_bytes += len(event)
            if self._event_bytes > MOST_ANSWER_BYTES:
                self._events = None
            else:
                self._events.append(event)

    def keep_stream(
        self, target: str, usage: Usage | None, cost: int, dropped: Sequence[str], *, native: bool
    ) -> None:
        """Keep the answer that the events told which were heard, now that it is complete."""
        if not self._events or not self.directives.write:
            return
        reported = None if usage is None or usage.estimated else usage
        body = self.cache.form(self.request, native=native).whole(self._events, reported)
        self._events = None
        if body is not None:
            self.keep(body, target, usage, cost, dropped, native=native)

    def keep(
        self,
        body: bytes,
        target: str,
        usage: Usage | None,
        cost: int,
        dropped: Sequence[str],
        *,
        native: bool,
    ) -> None:
        """Keep a whole answer, unless it is cut short, or may not be kept."""
        at = self._at
        if at is None or not self.directives.write or len(body) > MOST_ANSWER_BYTES:
            return
        is_list = self.request.operation is Operation.EMBEDDINGS
        if not is_list and not self.cache.form(self.request, native=native).is_complete(body):
            return
        now_us = _now_us()
        answer = CachedAnswer(
            body=body,
            native=native,
            target=target,
            model=self.request.model,
            rule=self.rule,
            tags=self.tags,
            usage=usage,
            cost_nano_usd=cost,
            dropped=tuple(dropped),
            stored_us=now_us,
        )
        self.cache.put(at, answer, now_us + self.ttl_us, self._generation)
        flight, self._flight = self._flight, None
        if flight is not None:
            self.cache.land(at, flight, answer)

    def close(self, *, left: bool = False) -> None:
        """Let go of what was not kept; `left`: because the client went away."""
        self._end(Ending.LEFT if left else Ending.FAILED)
        self._events = None

    def _end(self, ending: Ending) -> None:
        flight, self._flight = self._flight, None
        if flight is not None and self._at is not None:
            if flight.claimed:
                self.cache.release(self._at)
            self.cache.land(self._at, flight, ending)


def _now_us() -> int:
    return time.time_ns() // 1000
