"""Runs a plan: hop after hop, attempt after attempt, within its clocks, up to the first content.

What a fault leads to stands in `provider.FAULTS`, nowhere else. The chain decides which hop comes
next and when to stop; it knows no wire, no price and no HTTP. Time is the event loop's, so that a
test can turn it by hand.

Over 300 lines because the two ways to answer (whole, stream) share one walk and its clocks.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from turnout.dsl.core import REQUESTED, Hop, Program
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Target, Value
from turnout.dsl.snapshot import Snapshot

from .breakers import Breakers
from .complaint import Complaints
from .provider import FAULTS, Answer, Call, Chunk, Fault, Provider, ProviderError
from .pulse import Pulse
from .record import Attempt
from .request import Operation, Request, RequestError, Sets, Usage
from .seats import Boundless, Seats

T = TypeVar("T")
Guard = Callable[[Mapping[str, Value | None]], Value | None]

# While another hop is left, waiting longer than this for the same target is worse than moving on.
PATIENCE_S = 2.0
# Waits before retries double up to this, from the hop's own `backoff`, with full jitter.
LONGEST_BACKOFF_S = 8.0
# What may come before the first content (role, empty deltas); more of it is no answer.
HELD_CHUNKS = 256
HELD_BYTES = 4 * 1024 * 1024
# An ability that is declared or catalogued as missing excludes a target where it is needed.
LACKS = {
    "tools": "it cannot use tools",
    "vision": "it cannot see images",
    "audio": "it cannot hear audio",
    "json": "it cannot be held to JSON",
}
# What reasoning models refuse, by the ability of that name.
SAMPLING = frozenset({"temperature", "top_p"})
NOTHING: frozenset[str] = frozenset()


@dataclass(slots=True)
class Journey:
    """One request's way along its hops, with what was tried so far.

    `route` is the first of `hops` where that is the rule's own, not what follows it.
    `prompt_tokens` is a lower bound of the prompt: a hop whose window is smaller cannot serve it.
    `guards` are the compiled `when` conditions of hops, by the hop's identity. `limits` names, by
    target id, the limit that keeps it out. `sets` is written over the client's body for every hop.
    `ends_at` is the request's deadline by the loop's clock, once the walk has begun.
    """

    request: Request
    program: Program
    hops: tuple[Hop, ...]
    route: Hop | None
    requested: Target | None
    snapshot: Snapshot
    prompt_tokens: int
    guards: Mapping[int, Guard]
    limits: Mapping[str, str] = field(default_factory=dict)
    sets: Sets = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    ends_at: float = math.inf


@dataclass(slots=True)
class Answered:
    """A whole answer, with the target and the attempt that gave it."""

    target: Target
    attempt: Attempt
    answer: Answer
    native: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Counted:
    """How many tokens a prompt has at the target that would get it.

    `tokens` None: its provider has no such call.
    """

    target: Target
    attempt: Attempt
    tokens: int | None


@dataclass(slots=True)
class Opened:
    """A stream that has reached its first content: nothing of it went to the client yet.

    `leave` is to be called once the stream is over, however it ends, and `complain` with the error
    that it broke off with. `ends_at` (the request's deadline) is by the loop's clock.
    """

    target: Target
    attempt: Attempt
    held: list[Chunk]
    rest: AsyncGenerator[Chunk, None]
    idle_us: int
    leave: Callable[[], None]
    complain: Callable[[ProviderError], None]
    ends_at: float = math.inf
    native: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Stop:
    """A hop with its target resolved, or the reason why it cannot serve this request."""

    index: int
    hop: Hop
    target: Target | None
    provider: Provider | None
    excluded: str | None
    exclusion: Fault | None = None


class Chain:
    """The runner of plans; one per worker."""

    def __init__(self, pulse: Pulse, breakers: Breakers, seats: Seats | None = None) -> None:
        """Report every attempt to the pulse and the breakers; hold to seats of targets."""
        self._pulse = pulse
        self._breakers = breakers
        self._seats = seats or Boundless()
        self._complaints = Complaints()

    async def answer(self, journey: Journey) -> Answered:
        """A whole answer from the first hop that gives one.

        Raises: RequestError when no hop did.
        """

        async def attempt(stop: _Stop, number: int, limit_at: float, more: bool) -> Answered:
            return await self._answer_once(journey, stop, number, limit_at)

        return await self._walk(journey, attempt)

    async def count(self, journey: Journey) -> Counted:
        """The prompt's tokens at the first hop that may have it; nothing is generated or billed.

        Raises: RequestError when no hop may.
        """

        async def attempt(stop: _Stop, number: int, limit_at: float, more: bool) -> Counted:
            return await self._count_once(journey, stop, number, limit_at)

        return await self._walk(journey, attempt)

    async def open(self, journey: Journey) -> Opened:
        """A stream at its first content, from the first hop that reaches it.

        Raises: RequestError when no hop did.
        """

        async def attempt(stop: _Stop, number: int, limit_at: float, more: bool) -> Opened:
            return await self._open_once(journey, stop, number, limit_at, more)

        return await self._walk(journey, attempt)

    # --- the walk --------------------------------------------------------------------------------

    async def _walk(
        self,
        journey: Journey,
        attempt: Callable[[_Stop, int, float, bool], Awaitable[T]],
    ) -> T:
        now = asyncio.get_running_loop().time
        deadline_at = journey.ends_at = now() + journey.program.deadline_us / 1e6
        stops = self._stops(journey)
        failures: list[tuple[Target, ProviderError]] = []
        entered_from_route = False
        for position, stop in enumerate(stops):
            if stop.excluded is not None:
                _skip(journey, stop, stop.excluded)
                continue
            if failures:
                last = failures[-1][1].fault
                route = journey.route if entered_from_route else None
                wanted = _wanted_after(last, route, stop.hop)
                if wanted is not None:
                    _skip(journey, stop, wanted)
                    continue
            if stop.hop.when is not None and not self._enters(journey, stop.hop):
                _skip(journey, stop, "its `when` is not true")
                continue
            assert stop.target is not None
            more = any(later.excluded is None for later in stops[position + 1 :])
            limit_at = deadline_at
            clocks = stop.hop.clocks
            if clocks.written_timeout or more:
                limit_at = min(limit_at, now() + clocks.timeout_us / 1e6)
            entered_from_route = position == 0 and journey.route is not None
            try:
                return await _with_retries(stop, attempt, limit_at, more)
            except ProviderError as error:
                failures.append((stop.target, error))
                if now() >= deadline_at:
                    break
        raise _told(stops, failures)

    def _enters(self, journey: Journey, hop: Hop) -> bool:
        return journey.guards[id(hop)](journey.snapshot) is True

    def _stops(self, journey: Journey) -> list[_Stop]:
        stops: list[_Stop] = []
        seen: set[str] = set()
        first: Target | None = None
        for index, hop in enumerate(journey.hops):
            stop = self._resolve(journey, index, hop, first)
            if stop.target is not None:
                if stop.target.id in seen:
                    stop.excluded = "already in the chain"
                seen.add(stop.target.id)
                first = first or stop.target
            stops.append(stop)
        return stops

    def _resolve(self, journey: Journey, index: int, hop: Hop, first: Target | None) -> _Stop:
        """The target of a hop, or why this request cannot go there whatever happens."""
        if hop.target == REQUESTED:
            target = journey.requested
            if target is None:
                return _Stop(index, hop, None, None, "the client left the choice to the policy")
        else:
            target = journey.program.targets[hop.target]
        provider = journey.providers.get(target.provider)
        stop = _Stop(index, hop, target, provider, None)
        if (limit := journey.limits.get(target.id)) is not None:
            stop.excluded = f"the limit `{limit}` keeps it out"
        elif provider is None or provider.missing is not None:
            missing = "no credential" if provider is None else provider.missing
            stop.excluded = f"{missing} for `{target.provider}`"
        elif target.context_window is not None and journey.prompt_tokens > target.context_window:
            stop.excluded = (
                f"the prompt has {journey.prompt_tokens} tokens or more, "
                f"the window {target.context_window}"
            )
            stop.exclusion = Fault.CONTEXT_EXCEEDED
        elif (lacks := _lacks(target, journey)) is not None:
            stop.excluded, stop.exclusion = lacks, Fault.UNSUPPORTED
        elif (
            journey.request.operation is Operation.EMBEDDINGS
            and first is not None
            and target.model != first.model
        ):
            stop.excluded = "another model's vectors are useless"
        return stop

    # --- one attempt -----------------------------------------------------------------------------

    async def _answer_once(
        self, journey: Journey, stop: _Stop, number: int, limit_at: float
    ) -> Answered:
        call, attempt = self._begin_whole(journey, stop, number, limit_at)
        assert stop.provider is not None and stop.target is not None
        answer = await self._whole(stop.provider.answer(call), call, attempt, limit_at)
        attempt.usage = answer.usage
        output = answer.usage.output if answer.usage is not None else None
        self._pulse.record(stop.target.id, attempt.took_us, None, output, failed=False)
        self._breakers.succeeded(stop.target.id)
        return Answered(stop.target, attempt, answer, call.native, call.limits)

    async def _count_once(
        self, journey: Journey, stop: _Stop, number: int, limit_at: float
    ) -> Counted:
        call, attempt = self._begin_whole(journey, stop, number, limit_at)
        assert stop.provider is not None and stop.target is not None
        try:
            counted = await self._whole(stop.provider.count(call), call, attempt, limit_at)
        finally:
            # Counting is free of charge, whatever became of it.
            attempt.usage = Usage(0, 0)
        return Counted(stop.target, attempt, counted)

    def _begin_whole(
        self, journey: Journey, stop: _Stop, number: int, limit_at: float
    ) -> tuple[Call, Attempt]:
        # A whole answer sends nothing while the model thinks: only the hop's limit bounds it.
        left_s = limit_at - asyncio.get_running_loop().time()
        return self._begin(journey, stop, number, int(left_s * 1e6))

    async def _whole(self, asked: Awaitable[T], call: Call, attempt: Attempt, limit_at: float) -> T:
        """What a provider gives in one piece; what becomes of it is noted in the attempt."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(limit_at):
                given = await asked
        except TimeoutError:
            error = ProviderError(Fault.TIMEOUT, f"no answer within {_seconds(limit_at - began)}")
            self._failed(attempt, call, error)
            raise error from None
        except ProviderError as error:
            self._failed(attempt, call, error)
            raise
        except asyncio.CancelledError:
            _left(attempt, call)
            raise
        except Exception:
            _broke(attempt, call)
            raise
        finally:
            self._pulse.left(attempt.target)
        attempt.outcome = "ok"
        _close(attempt, call)
        return given

    async def _open_once(
        self, journey: Journey, stop: _Stop, number: int, limit_at: float, more: bool
    ) -> Opened:
        loop = asyncio.get_running_loop()
        began = loop.time()
        clocks = stop.hop.clocks
        first_at = limit_at
        if clocks.written_ttft or more:
            first_at = min(limit_at, began + clocks.ttft_us / 1e6)
        # The gap between chunks is clocked by whoever relays them (`IdleClock`), so the transport
        # only needs a bound that never strikes first.
        patience_us = max(int((limit_at - began) * 1e6), clocks.idle_us) + 1_000_000
        call, attempt = self._begin(journey, stop, number, patience_us)
        assert stop.provider is not None and stop.target is not None
        chunks = stop.provider.stream(call)
        held: list[Chunk] = []
        held_bytes = 0
        try:
            async with asyncio.timeout_at(first_at):
                async for chunk in chunks:
                    held.append(chunk)
                    if chunk.content:
                        break
                    held_bytes += len(chunk.data)
                    if len(held) > HELD_CHUNKS or held_bytes > HELD_BYTES:
                        raise ProviderError(Fault.BAD_OUTPUT, "the stream brings no content")
                else:
                    raise ProviderError(Fault.BAD_OUTPUT, "the stream ended without content")
        # What happened is noted before the stream is closed: closing can be cut short.
        except TimeoutError:
            fault = Fault.TTFT_TIMEOUT if first_at < limit_at else Fault.TIMEOUT
            error = ProviderError(fault, f"no content within {_seconds(first_at - began)}")
            self._failed(attempt, call, error)
            await chunks.aclose()
            raise error from None
        except ProviderError as error:
            self._failed(attempt, call, error)
            await chunks.aclose()
            raise
        except asyncio.CancelledError:
            _left(attempt, call)
            await chunks.aclose()
            raise
        except Exception:
            _broke(attempt, call)
            await chunks.aclose()
            raise
        finally:
            if not (held and held[-1].content):
                self._pulse.left(stop.target.id)
        self._breakers.succeeded(stop.target.id)
        attempt.ttft_us = took_us(attempt, journey.request)
        attempt.sent = call.sent
        attempt.dropped = call.losses
        return Opened(
            stop.target,
            attempt,
            held,
            chunks,
            clocks.idle_us,
            partial(self._pulse.left, stop.target.id),
            partial(self._complaints.failed, journey.request.id, stop.target.id),
            journey.ends_at,
            call.native,
            call.limits,
        )

    def _begin(
        self, journey: Journey, stop: _Stop, number: int, idle_us: int
    ) -> tuple[Call, Attempt]:
        assert stop.target is not None
        call = Call(
            request=journey.request,
            upstream_model=stop.target.model,
            shown_model=journey.request.model,
            max_output=stop.target.max_output,
            connect_us=stop.hop.clocks.connect_us,
            idle_us=idle_us,
            refused=SAMPLING if stop.target.abilities.get("sampling") is False else NOTHING,
            strict=journey.program.strict if stop.target.strict is None else stop.target.strict,
            sets=journey.sets,
        )
        attempt = Attempt(
            target=stop.target.id,
            upstream_model=stop.target.model,
            outcome="failed",
            hop=stop.index,
            number=number,
            started_us=_utc_us(journey.request),
            took_us=0,
        )
        journey.attempts.append(attempt)
        self._pulse.entered(attempt.target)
        return call, attempt

    def _failed(self, attempt: Attempt, call: Call, error: ProviderError) -> None:
        _close(attempt, call)
        attempt.fault = error.fault.value
        attempt.reason = error.message
        attempt.status = error.status
        attempt.usage = error.usage
        error.limits = call.limits
        self._complaints.failed(call.request.id, attempt.target, error)
        self._breakers.failed(attempt.target, error)
        # The caller's own mistake says nothing about the target.
        if FAULTS[error.fault].breaker:
            self._pulse.record(attempt.target, attempt.took_us, None, None, failed=True)


# --- clocks --------------------------------------------------------------------------------------


class IdleClock:
    """Bounds the gap between chunks, and the whole, with one timer for the whole stream.

    The timer does not move with every chunk: when it strikes, it looks how long the wait in
    progress has lasted and sets itself again. Time that the client takes to read is no gap.
    """

    def __init__(self, idle_us: int, ends_at: float = math.inf) -> None:
        """Start the clock for the stream that the current task relays.

        `ends_at` is the request's deadline by the loop's clock.
        """
        self._idle_s = idle_us / 1e6
        self._ends_at = ends_at
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._struck = False
        self._timer = self._loop.call_at(self._next_look(), self._strike)

    def _next_look(self) -> float:
        now = self._loop.time()
        due = (now if self._waiting_since is None else self._waiting_since) + self._idle_s
        # Where the deadline has passed already, `next` tells.
        return min(due, self._ends_at) if self._ends_at > now else due

    def _strike(self) -> None:
        since = self._waiting_since
        now = self._loop.time()
        if since is not None and self._task is not None:
            if now >= min(since + self._idle_s, self._ends_at):
                self._struck = True
                self._task.cancel()
                return
        self._timer = self._loop.call_at(self._next_look(), self._strike)

    async def next(self, chunks: AsyncGenerator[Chunk, None]) -> Chunk:
        """The next chunk. Raises: StopAsyncIteration at the end; ProviderError TIMEOUT."""
        task = asyncio.current_task()
        if task is not self._task:
            self._task = task
            self._cancelling = task.cancelling() if task is not None else 0
        self._waiting_since = self._loop.time()
        if self._waiting_since >= self._ends_at:
            self._waiting_since = None
            raise _too_late()
        try:
            return await chunks.__anext__()
        except asyncio.CancelledError:
            if self._struck and task is not None and task.uncancel() <= self._cancelling:
                if self._loop.time() >= self._ends_at:
                    raise _too_late() from None
                raise ProviderError(
                    Fault.TIMEOUT, f"nothing came for {_seconds(self._idle_s)}"
                ) from None
            raise
        finally:
            self._waiting_since = None

    def stop(self) -> None:
        """Let go of the timer."""
        self._timer.cancel()


def _too_late() -> ProviderError:
    return ProviderError(Fault.TIMEOUT, "the answer was not complete by the request's deadline")


async def _with_retries(
    stop: _Stop,
    attempt: Callable[[_Stop, int, float, bool], Awaitable[T]],
    limit_at: float,
    more: bool,
) -> T:
    """Attempts at one hop: the first directly, the others through tenacity."""
    first: ProviderError | None
    try:
        return await attempt(stop, 1, limit_at, more)
    except ProviderError as failure:
        if stop.hop.retries == 0 or not FAULTS[failure.fault].retry:
            raise
        first = failure
    now = asyncio.get_running_loop().time

    def wait(state: RetryCallState) -> float:
        asked = _asked_wait(state)
        return asked if asked is not None else backoff(state)

    counted = stop_after_attempt(stop.hop.retries + 1)
    first_us = stop.hop.backoff_us
    backoff = wait_random_exponential(
        multiplier=first_us / 1e6, max=max(LONGEST_BACKOFF_S, first_us / 1e6), exp_base=2
    )

    def enough(state: RetryCallState) -> bool:
        patience = limit_at - now()
        return counted(state) or state.upcoming_sleep >= (
            min(PATIENCE_S, patience) if more else patience
        )

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, ProviderError) and FAULTS[e.fault].retry),
        wait=wait,
        stop=enough,
        sleep=asyncio.sleep,
        reraise=True,
    )
    async for trial in retrying:
        with trial:
            if first is not None:
                # The first attempt is over: it counts as tenacity's first, which now waits.
                over, first = first, None
                raise over
            return await attempt(stop, trial.retry_state.attempt_number, limit_at, more)
    raise AssertionError("tenacity ends with a result or the last error")


def _asked_wait(state: RetryCallState) -> float | None:
    """What the server's Retry-After of the latest answer asks for, in seconds."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, ProviderError) and error.retry_after_us is not None:
        return error.retry_after_us / 1e6
    return None


# --- faults --------------------------------------------------------------------------------------


def _wanted_after(last: Fault, route: Hop | None, hop: Hop) -> str | None:
    """None where the hop is entered after this fault, else why not.

    `route` is the rule's own hop where that is what failed.
    """
    if route is not None and route.catch is not None and last.value not in route.catch:
        return f"the rule's `catch` does not name {last.value}"
    if hop.catch is not None:
        return None if last.value in hop.catch else f"its `catch` does not name {last.value}"
    if FAULTS[last].next_hop or (route is not None and route.catch is not None):
        return None
    return f"{last.value} is not tried elsewhere"


def _lacks(target: Target, journey: Journey) -> str | None:
    """What the request needs and the target is known not to have."""
    abilities = target.abilities
    if journey.request.operation is Operation.EMBEDDINGS:
        return "it makes no embeddings" if abilities.get("embeddings") is False else None
    for ability, attribute in NEEDS:
        if abilities.get(ability) is False and journey.snapshot[attribute] is True:
            return LACKS[ability]
    return None


def _skip(journey: Journey, stop: _Stop, reason: str) -> None:
    target = stop.target
    journey.attempts.append(
        Attempt(
            target=target.id if target is not None else stop.hop.target,
            upstream_model=target.model if target is not None else "",
            outcome="skipped",
            hop=stop.index,
            number=0,
            started_us=_utc_us(journey.request),
            took_us=0,
            reason=reason,
        )
    )


def _told(stops: list[_Stop], failures: list[tuple[Target, ProviderError]]) -> RequestError:
    """What the client is told when no hop answered: the fault that says most."""
    if not failures:
        return _nowhere_to_go(stops)
    error = failures[0][1]
    for _, candidate in failures:
        if FAULTS[candidate.fault].weight >= FAULTS[error.fault].weight:
            error = candidate
    treatment = FAULTS[error.fault]
    status = treatment.status
    if error.fault is Fault.BAD_REQUEST and error.status in (400, 404, 413, 422):
        status = 400 if error.status == 422 else error.status
    message = error.message
    if len(failures) > 1:
        trail = "; ".join(f"{t.id}: {e.fault.value}" for t, e in failures)
        message = f"{message} (tried {trail})"
    told = RequestError(
        status,
        treatment.type,
        error.code or treatment.code,
        message,
        param=error.param,
        retry_after_us=error.retry_after_us if status in (429, 503) else None,
        should_retry=treatment.should_retry,
    )
    if error.fault is Fault.RATE_LIMIT:
        told.headers.update(error.limits)
    return told


def _nowhere_to_go(stops: list[_Stop]) -> RequestError:
    reasons = "; ".join(
        f"{stop.target.id if stop.target else stop.hop.target}: {stop.excluded or 'not entered'}"
        for stop in stops
    )
    for exclusion in (Fault.CONTEXT_EXCEEDED, Fault.UNSUPPORTED):
        if any(stop.exclusion is exclusion for stop in stops):
            treatment = FAULTS[exclusion]
            return RequestError(
                treatment.status,
                treatment.type,
                treatment.code,
                f"No target can serve this request ({reasons}).",
            )
    return RequestError(
        403,
        "invalid_request_error",
        "no_target_allowed",
        f"No target may serve this request ({reasons}).",
    )


def _close(attempt: Attempt, call: Call) -> None:
    attempt.took_us = took_us(attempt, call.request)
    attempt.sent = call.sent
    attempt.dropped = call.losses


def _left(attempt: Attempt, call: Call) -> None:
    _close(attempt, call)
    attempt.reason = "the client left"


def _broke(attempt: Attempt, call: Call) -> None:
    """A defect of ours: what was sent was sent all the same."""
    _close(attempt, call)
    attempt.reason = "the gateway failed"


def took_us(attempt: Attempt, request: Request) -> int:
    """How long an attempt has lasted. The loop's own clock may only count milliseconds."""
    return _utc_us(request) - attempt.started_us


def _utc_us(request: Request) -> int:
    """The instant of now, by the monotonic clock since the request came."""
    return request.received_us + (time.monotonic_ns() - request.started_ns) // 1000


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s"
