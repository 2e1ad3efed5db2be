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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from cachetools import LRUCache

from turnout.dsl.core import Clause, Program
from turnout.dsl.schema import Target

from .cache_key import is_exact, key, shared_part, target_part
from .cached import CachedAnswer, CacheError, Form, Generations, Invalidation, Key, Shelved, Store
from .directives import Directives, directives
from .provider import Provider
from .readers import tags_of
from .request import Operation, Request, RequestError, Sets, Usage

T = TypeVar("T")

MEMORY_BYTES = 64 * 1024 * 1024
MOST_ANSWER_BYTES = 4 * 1024 * 1024  # of one answer, streamed or whole
MOST_HEARD_BYTES = 64 * 1024 * 1024  # of all streams under way together
INLINE_EVENTS = 100  # of a stream, put together in half a millisecond; more leave the event loop
READ_PATIENCE_S = 0.05  # for the store, before a request goes on without it
# The same for those who already wait for another worker's answer: to ask by themselves costs more.
WAITING_PATIENCE_S = 0.25
# For another request's answer, from when it was asked; and at most half of the time that is left.
FLIGHT_PATIENCE_S = 30.0
# For which memory is taken at its word, before the store is asked whether another worker has made
# the answer anew.
LOOK_AGAIN_US = 10_000_000
POLL_S = 0.02  # between two looks whether another worker's answer is there
PAUSES_S = (1.0, 5.0, 30.0)  # for which a store is left alone that was slow or failed
MOST_WRITES = 256  # that wait for the store; more answers are not kept there
MOST_WRITE_BYTES = 64 * 1024 * 1024
MOST_WRITE_WAIT_S = 1.0  # in that queue; others wait for the claim of what is not written yet
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
    generation: int
    began_at: float  # by the loop's clock
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
    failed: int = 0  # times that the store was left alone, for whatever reason


@dataclass(slots=True)
class _Memory:
    """An answer in memory, until when, of which generation, and when the store is asked again."""

    answer: CachedAnswer
    expires_us: int
    generation: int
    look_us: int = 0


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
        self._heard_bytes = 0
        self._beside: set[asyncio.Task[None]] = set()
        self.counts = Counts()

    # --- one request -----------------------------------------------------------------------------

    def recall(
        self,
        program: Program,
        clause: Clause | None,
        request: Request,
        sets: Sets,
        ttl_us: int | None,
    ) -> "Recall | None":
        """A request's way past the cache; None where it goes another.

        `ttl_us` is for how long its answer may be given again; None: not at all.
        Raises: RequestError 400, and 504 where nobody else may be asked.
        """
        said = directives(request.headers)
        is_asked = said.read or said.write
        if ttl_us is None or not is_asked or not is_exact(request):
            if said.only:
                raise _not_cached()
            return None
        rule, tags = (None, ()) if clause is None else (clause.name, clause.tags)
        tags = (*tags, *tags_of(request.headers))
        if len(tags) > MOST_TAGS:
            # What cannot all be noted could not be taken back by all of them.
            said, tags = replace(said, write=False), tags[:MOST_TAGS]
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
            look_us = _now_us() + LOOK_AGAIN_US
            self._memory[at.digest] = _Memory(answer, expires_us, generation, look_us)
        else:
            self._memory.pop(at.digest, None)

    def is_due(self, at: Key, now_us: int) -> bool:
        """Whether the store is to be asked again for an answer that is in memory."""
        kept = self._memory.get(at.digest)
        return self._store is not None and kept is not None and kept.look_us <= now_us

    def confirm(self, at: Key, now_us: int) -> None:
        """Take memory at its word again: the store has nothing else."""
        if (kept := self._memory.get(at.digest)) is not None:
            kept.look_us = now_us + LOOK_AGAIN_US

    def flight(self, at: Key, generation: int) -> "_Flight | None":
        """The making of this answer that is under way in this worker."""
        flight = self._flights.get(at.digest)
        # One that began before answers were invalidated brings what nobody wants any more.
        return flight if flight is not None and flight.generation == generation else None

    def lead(self, at: Key, generation: int) -> "_Flight":
        """Begin the making of an answer.

        The claim of one that is made in vain, because answers were invalidated, goes over to it.
        """
        loop = asyncio.get_running_loop()
        flight = _Flight(loop.create_future(), generation, loop.time())
        if (before := self._flights.get(at.digest)) is not None:
            flight.claimed, before.claimed = before.claimed, False
        self._flights[at.digest] = flight
        return flight

    def land(self, at: Key, flight: "_Flight", ending: CachedAnswer | Ending) -> None:
        """Let those go on who wait for an answer."""
        if self._flights.get(at.digest) is flight:
            del self._flights[at.digest]
        if not flight.done.done():
            flight.done.set_result(ending)

    @property
    def flights(self) -> int:
        """How many answers are being made in this worker that others may wait for."""
        return len(self._flights)

    def put(self, at: Key, answer: CachedAnswer, expires_us: int, generation: int) -> bool:
        """Keep an answer; whether the store gets it, which ends the claim to make it."""
        if generation != self._generations.of(at.tenant):
            return False
        self.counts.stored += 1
        self.remember(at, answer, expires_us, generation)
        is_written = self._writes.put(at, answer, expires_us, generation)
        self.counts.unstored += not is_written
        return is_written

    def release(self, at: Key) -> None:
        """Give up the claim to make an answer."""
        self._writes.release(at)

    def hears(self, size: int) -> bool:
        """Whether there is room to remember so much more of a stream under way, which is taken."""
        if self._heard_bytes + size > MOST_HEARD_BYTES:
            return False
        self._heard_bytes += size
        return True

    def forgets(self, size: int) -> None:
        """Give back what `hears` took."""
        self._heard_bytes -= size

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside requests."""
        task = asyncio.create_task(work, name="cache-keep")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def claim(
        self, at: Key, now_us: int, patience_s: float = READ_PATIENCE_S
    ) -> CachedAnswer | bool | None:
        """An answer from the store, else whether it is ours to make; None: no store can say."""
        store = self._store
        loop = asyncio.get_running_loop()
        if store is None or loop.time() < self._left_alone_until:
            return None
        try:
            # Where nothing can be kept, it is no use to wait for what another worker makes.
            ask: Callable[[Key, int], CachedAnswer | bool | None]
            ask = store.get if self._writes.is_failing else store.get_or_claim
            asked = self._readers.submit(ask, at, now_us)
        except RuntimeError:  # closed
            return None
        answered = asyncio.wrap_future(asked)
        began = loop.time()
        try:
            await asyncio.wait((answered,), timeout=patience_s)
            # Hundreds of requests at once keep the loop itself for so long: that is not the store's
            # doing. It may have answered meanwhile (uvloop runs timers first), or had no turn.
            if not asked.done() and loop.time() - began > patience_s + READ_PATIENCE_S:
                await asyncio.wait((answered,), timeout=patience_s)
        except asyncio.CancelledError:
            self._forsake(asked, answered, at)
            raise
        if not asked.done():
            self.counts.slow += 1
            self._forsake(asked, answered, at)
            self._leave_alone(f"no answer within {patience_s * 1000:.0f} ms")
            return None
        if asked.cancelled():  # by `close`
            return None
        if not answered.cancel():
            answered.exception()  # read, or the loop complains that nobody did
        match asked.exception():
            case None:
                self._failures = 0
                return asked.result()
            case CacheError() as error:
                self._leave_alone(str(error))
            case error:
                _log.error("the shared cache is broken", exc_info=error)
                self._leave_alone("it is broken")
        return None

    def _forsake(
        self,
        asked: "Future[CachedAnswer | bool | None]",
        answered: "asyncio.Future[CachedAnswer | bool | None]",
        at: Key,
    ) -> None:
        """Nobody waits for this any more: a claim that it brings is given up."""

        def give_up(ended: "Future[CachedAnswer | bool | None]") -> None:
            if not ended.cancelled() and ended.exception() is None and ended.result() is True:
                self._writes.release(at)

        answered.cancel()
        asked.add_done_callback(give_up)

    def _leave_alone(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._left_alone_until:
            return  # as was said of another that asked at the same time
        pause_s = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        if self._failures == 0:
            _log.warning("the shared cache is left alone for %.0f s: %s", pause_s, why)
        self._failures += 1
        self.counts.failed += 1
        self._left_alone_until = now + pause_s

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

    def health(self) -> dict[str, Any]:
        """How this worker's cache is: what it has in memory, its store, and what became of asks."""
        answers, size = self.memory
        is_failing = self._failures > 0 or self._writes.is_failing
        store = "none" if self._store is None else "left alone" if is_failing else "ok"
        return {"answers": answers, "bytes": size, "store": store, **asdict(self.counts)}

    def prepare(self) -> None:
        """Open the store, so that no request has to wait for that; blocks, and never raises."""
        if self._store is not None:
            with suppress(CacheError):
                self._store.get(Key("", bytes(32)), 0)

    def close(self) -> None:
        """Write what waits for a moment, and let go; blocks."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writes.close()
        self._generations.close()


class _Writes:
    """The store's writer: a thread of its own, and a queue that never makes anybody wait.

    Also not those who wait for the claims of what is in it: what could not be written soon is not
    written, and a store that takes nothing is left alone for a while.
    """

    def __init__(self, store: Store | None) -> None:
        """Begin at the first write."""
        self._store = store
        self._queue: deque[tuple[float, tuple[Key, CachedAnswer | None, int, int]]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._left_alone_until = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the last answer could not be written."""
        return self._failures > 0

    def put(self, at: Key, answer: CachedAnswer, expires_us: int, generation: int) -> bool:
        """Have an answer written, which ends its claim; False: there is no room for it."""
        if self._store is None:
            return True
        with self._changed:
            fits = len(self._queue) < MOST_WRITES and self._bytes + answer.size < MOST_WRITE_BYTES
            if not fits or self._closing:
                return False
            self._bytes += answer.size
            self._wake((at, answer, expires_us, generation))
            return True

    def release(self, at: Key) -> None:
        """Have a claim given up; the queue has room for as many as there are claims."""
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
        self._queue.append((time.monotonic(), write))
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
                since, (at, answer, expires_us, generation) = self._queue.popleft()
                if answer is not None:
                    self._bytes -= answer.size
            is_late = time.monotonic() - since > MOST_WRITE_WAIT_S
            self._write(at, None if is_late else answer, expires_us, generation)

    def _write(
        self, at: Key, answer: CachedAnswer | None, expires_us: int, generation: int
    ) -> None:
        assert self._store is not None
        if answer is not None and time.monotonic() >= self._left_alone_until:
            try:
                self._store.put(at, answer, expires_us, generation)
            except CacheError as error:
                self._leave_alone(error)
            except Exception as error:
                _log.exception("an answer cannot be kept in the shared cache")
                self._leave_alone(error)
            else:
                self._failures = 0
                return
        # Others may try to make it.
        try:
            self._store.release(at)
        except Exception as error:
            _log.warning("a claim of the shared cache cannot be given up: %s", error)

    def _leave_alone(self, error: Exception) -> None:
        if self._failures == 0:
            _log.warning("answers cannot be kept in the shared cache: %s", error)
        pause_s = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        self._failures += 1
        self._left_alone_until = time.monotonic() + pause_s


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
    _event_bytes: int = 0  # of `_events`, and what `Cache.hears` has granted

    async def find(
        self, target: Target, provider: Provider, patience_s: float, *, of_caller: bool
    ) -> CachedAnswer | None:
        """An answer that this target gave before; None: it is to be asked, and `keep` its answer.

        Waits where the same is being asked, no longer than `patience_s` in all.
        Raises: RequestError 504 where nobody may be asked.
        """
        self._end(Ending.FAILED)  # of the target before
        try:
            found = await self._find(target, provider, patience_s, of_caller=of_caller)
        except Exception:
            # Without a cache the request can still be answered.
            _log.exception("%s: the cache cannot be asked", self.request.id)
            self._at, found = None, None
        if found is not None:
            self.result = "HIT"
            return found
        if self.directives.only:
            self._end(Ending.LEFT)  # whoever waits for it may ask somebody, one for all
            raise _not_cached()
        if not self._missed:
            self._missed = True
            self.cache.counts.misses += 1
            self.on_miss()
        return None

    async def _find(
        self, target: Target, provider: Provider, patience_s: float, *, of_caller: bool
    ) -> CachedAnswer | None:
        cache = self.cache
        if not self._shared:
            self._shared = shared_part(self.request, self.sets)
        part = cache.target(self.program, target, provider)
        at = self._at = key(self._shared, self.request, part, of_caller=of_caller)
        self._generation = cache.generation(at.tenant)
        return await self._look(at, patience_s) if self.directives.read else None

    async def _look(self, at: Key, patience_s: float) -> CachedAnswer | None:
        cache = self.cache
        until = asyncio.get_running_loop().time() + patience_s
        while True:
            now_us = _now_us()
            known = self._fresh(cache.remembered(at, now_us))
            if known is not None and not cache.is_due(at, now_us):
                cache.counts.hits += 1
                return known
            flight = cache.flight(at, self._generation)
            if flight is None:
                return await self._ask_store(at, until, known)
            if known is not None:  # somebody asks the store already
                cache.counts.hits += 1
                return known
            try:
                async with asyncio.timeout_at(min(until, flight.began_at + FLIGHT_PATIENCE_S)):
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

    async def _ask_store(
        self, at: Key, until: float, known: CachedAnswer | None
    ) -> CachedAnswer | None:
        """Lead the making of an answer, unless the store has it or another worker makes it.

        `known` is the one in memory, which is given where the store has no other.
        """
        cache = self.cache
        now = asyncio.get_running_loop().time
        self._flight = flight = cache.lead(at, self._generation)
        patience_s = READ_PATIENCE_S
        try:
            while True:
                found = await cache.claim(at, _now_us(), patience_s)
                if isinstance(found, CachedAnswer):
                    return self._shared_with(at, flight, found)
                if found is True:
                    flight.claimed = True
                if known is not None:
                    return self._confirmed(at, flight, known)
                if found is not False or flight.claimed or now() >= until:
                    return None
                patience_s = WAITING_PATIENCE_S
                await asyncio.sleep(min(POLL_S, max(until - now(), 0.0)))
        except BaseException:
            self._end(Ending.LEFT)
            raise

    def _confirmed(self, at: Key, flight: _Flight, known: CachedAnswer) -> CachedAnswer:
        """What is in memory, of which the store knows nothing else."""
        cache = self.cache
        cache.confirm(at, _now_us())
        cache.counts.hits += 1
        if flight.claimed:
            cache.release(at)
        self._flight = None
        cache.land(at, flight, known)
        return known

    def _shared_with(self, at: Key, flight: _Flight, found: CachedAnswer) -> CachedAnswer | None:
        """What the store has, if it is fresh enough for this request; others may take it older."""
        if not self._is_younger(found, self.ttl_us):
            return None  # the policy has been changed: it is to be made anew, by this request
        self.cache.remember(at, found, found.stored_us + self.ttl_us, self._generation)
        if flight.claimed:  # by a flight of before, whose answer was made void
            self.cache.release(at)
        self._flight = None
        self.cache.land(at, flight, found)
        if (fresh := self._fresh(found)) is not None:
            self.cache.counts.shared_hits += 1
        return fresh

    def _fresh(self, answer: CachedAnswer | None) -> CachedAnswer | None:
        """The answer, unless it is older than the policy or the client takes."""
        if answer is None:
            return None
        limit_us = self.ttl_us
        if self.directives.max_age_us is not None:
            limit_us = min(limit_us, self.directives.max_age_us)
        return answer if self._is_younger(answer, limit_us) else None

    @staticmethod
    def _is_younger(answer: CachedAnswer, limit_us: int) -> bool:
        # By a clock that was ahead, or is behind: as far off either way.
        return abs(_now_us() - answer.stored_us) < limit_us

    # --- what was asked for and came -------------------------------------------------------------

    def heard(self, event: bytes) -> None:
        """Take an event of the stream that answers."""
        events = self._events
        if events is None or self._at is None:
            return
        size = len(event)
        fits = self._event_bytes + size <= MOST_ANSWER_BYTES
        if fits and self.directives.write and self.cache.hears(size):
            self._event_bytes += size
            events.append(event)
            return
        self._forget()
        self._end(Ending.FAILED)  # whoever waits for it waits for nothing

    def keep_stream(
        self, target: str, usage: Usage | None, cost: int, dropped: Sequence[str], *, native: bool
    ) -> None:
        """Keep the answer that the events told which were heard, now that it is complete."""
        events = self._events
        self._forget()
        if not events:
            return
        reported = None if usage is None or usage.estimated else usage

        def keep(body: bytes | None) -> None:
            if body is not None:
                self.keep(body, target, usage, cost, dropped, native=native)

        try:
            make = partial(self.cache.form(self.request, native=native).whole, events, reported)
            if len(events) <= INLINE_EVENTS:
                keep(make())
                return
        except Exception:
            self._cannot_keep()
            return
        flight, self._flight = self._flight, None  # it goes on when the request is over
        self.cache.beside(self._keep_later(flight, make, keep))

    async def _keep_later(
        self,
        flight: _Flight | None,
        make: Callable[[], bytes | None],
        keep: Callable[[bytes | None], None],
    ) -> None:
        """Keep a long answer; what takes milliseconds to be put together holds nobody up."""
        self._flight = flight
        try:
            keep(await asyncio.to_thread(make))
        except Exception:
            self._cannot_keep()
        finally:
            self._end(Ending.FAILED)

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
        try:
            self._keep(body, target, usage, cost, tuple(dropped), native)
        except Exception:
            self._cannot_keep()

    def _keep(
        self,
        body: bytes,
        target: str,
        usage: Usage | None,
        cost: int,
        dropped: tuple[str, ...],
        native: bool,
    ) -> None:
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
            dropped=dropped,
            stored_us=now_us,
        )
        is_written = self.cache.put(at, answer, now_us + self.ttl_us, self._generation)
        flight, self._flight = self._flight, None
        if flight is not None:
            if flight.claimed and not is_written:
                self.cache.release(at)
            self.cache.land(at, flight, answer)

    def _cannot_keep(self) -> None:
        # The answer itself is not touched by it.
        _log.exception("%s: its answer cannot be kept", self.request.id)

    def close(self, *, left: bool = False) -> None:
        """Let go of what was not kept; `left`: because the client went away."""
        self._end(Ending.LEFT if left else Ending.FAILED)
        self._forget()

    def _forget(self) -> None:
        self._events = None
        self.cache.forgets(self._event_bytes)
        self._event_bytes = 0

    def _end(self, ending: Ending) -> None:
        flight, self._flight = self._flight, None
        if flight is not None and self._at is not None:
            if flight.claimed:
                self.cache.release(self._at)
            self.cache.land(self._at, flight, ending)


def _not_cached() -> RequestError:
    return RequestError(
        504,
        "invalid_request_error",
        "not_cached",
        "The request may be answered from the cache only (`Cache-Control: only-if-cached`), and "
        "there is no such answer.",
        should_retry=False,
    )


def _now_us() -> int:
    return time.time_ns() // 1000
