"""Runs a plan: hop after hop, attempt after attempt, within its clocks, up to the first content.

What a fault leads to stands in `provider.FAULTS`, nowhere else. The chain decides which hop comes
next and when to stop; it knows no wire, no price and no HTTP. Time is the event loop's, so that a
test can turn it by hand.

Over 300 lines because the two ways to answer (whole, stream) share one walk and its limits.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from turnout.dsl.core import REQUESTED, Hop, Program
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Target, Value
from turnout.dsl.snapshot import Snapshot

from .breakers import Barred, Breakers
from .cache import FLIGHT_PATIENCE_S, Recall
from .cached import CachedAnswer
from .clocks import seconds
from .complaint import Complaints
from .exhausted import Excluded, Exclusion, Failure, exhausted, nowhere
from .granted import UNLISTED, is_granted
from .own_key import is_about_it, not_for_it, of_own_key
from .provider import FAULTS, Answer, Call, Chunk, Fault, Provider, ProviderError
from .pulse import Pulse
from .purse import Booking
from .record import Attempt, Payer
from .request import Operation, Request, Sets, Usage
from .retries import KeptOut, Retries, is_tried_again
from .seats import Boundless, Leave, Seats
from .till import Till

T = TypeVar("T")
Guard = Callable[[Mapping[str, Value | None]], Value | None]

# While another hop is left, waiting longer than this for the same target is worse than moving on.
PATIENCE_S = 2.0
# For a place at a target that has so many only: while another hop is left, and at the last.
SEAT_PATIENCE_S = 0.25
LAST_SEAT_PATIENCE_S = 1.0
# When to come back where all places are taken; nobody knows better.
SEAT_WAIT_US = 1_000_000
# Those who wait for the end of the same pause come back within this time of it.
SPREAD_S = (0.002, 0.05)
# However many hops and retries a policy has: one request is never more attempts than this.
MOST_ATTEMPTS = 16
# SDKs say with it how often they have asked before; what they repeat is not multiplied.
SDK_RETRIES = "x-stainless-retry-count"
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
    `ends_at` is the request's deadline by the loop's clock, once the walk has begun. `till` is
    where its attempts are paid. `recall` is its way past the cache, None where its answer may not
    be given again; `bypass` then says why.
    """

    request: Request
    program: Program
    hops: tuple[Hop, ...]
    route: Hop | None
    requested: Target | None
    snapshot: Snapshot
    prompt_tokens: int
    guards: Mapping[int, Guard]
    till: Till
    limits: Mapping[str, str] = field(default_factory=dict)
    sets: Sets = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    ends_at: float = math.inf
    bypass: str | None = None
    recall: Recall | None = None


@dataclass(slots=True)
class Answered:
    """A whole answer, with the target and the attempt that gave it."""

    target: Target
    attempt: Attempt
    answer: Answer
    native: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Recalled:
    """An answer that this target gave before; nobody was asked."""

    target: Target
    answer: CachedAnswer


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

    `leave` is to be called once the stream is over, however it ends; before it `finish` where it is
    complete, or `complain` with the error that it broke off with. `ends_at` (the request's
    deadline) is by the loop's clock.
    """

    target: Target
    attempt: Attempt
    held: list[Chunk]
    rest: AsyncGenerator[Chunk, None]
    idle_us: int
    leave: Callable[[], None]
    finish: Callable[[], None]
    complain: Callable[[ProviderError], None]
    ends_at: float = math.inf
    native: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Stop:
    """A hop with its target resolved, or the reason why it cannot serve this request.

    From when it is entered: `limit_at` bounds it by the loop's clock, and `is_last_after` says
    whether no other hop would be entered after a fault. `payer`: `caller` where `provider` is
    called with a key of the caller's own. From when an attempt begins: `since_ns` is what the
    breakers let it in with, `booking` what was set aside for it, and `leave` gives its
    place back.
    """

    index: int
    hop: Hop
    target: Target | None
    provider: Provider | None
    excluded: str | None
    exclusion: Exclusion | None = None
    payer: Payer = "gateway"
    limit_at: float = math.inf
    is_last_after: Callable[[Fault], bool] = lambda _: True
    since_ns: int | None = None
    booking: Booking | None = None
    leave: Leave = lambda: None


Try = Callable[[_Stop, int], Awaitable[T]]
"""One attempt at a stop, with its number."""


class Chain:
    """The runner of plans; one per worker."""

    def __init__(self, pulse: Pulse, breakers: Breakers, seats: Seats | None = None) -> None:
        """Report every attempt to the pulse and the breakers; hold to seats of targets."""
        self._pulse = pulse
        self._breakers = breakers
        self._seats = seats or Boundless()
        self._complaints = Complaints()

    async def answer(self, journey: Journey) -> Answered | Recalled:
        """A whole answer from the first hop that gives one, or gave it before.

        Raises: RequestError when no hop did.
        """
        return await self._walk(journey, partial(self._answer_once, journey))

    async def count(self, journey: Journey) -> Counted:
        """The prompt's tokens at the first hop that may have it; nothing is generated or billed.

        Raises: RequestError when no hop may.
        """
        journey.till = journey.till.free()
        counted = await self._walk(journey, partial(self._count_once, journey))
        assert not isinstance(counted, Recalled)  # who counts has no `recall`
        return counted

    async def open(self, journey: Journey) -> Opened | Recalled:
        """A stream at its first content, from the first hop that reaches it, or gave it before.

        Raises: RequestError when no hop did.
        """
        return await self._walk(journey, partial(self._open_once, journey))

    # --- the walk --------------------------------------------------------------------------------

    async def _walk(self, journey: Journey, attempt: Try[T]) -> T | Recalled:
        now = asyncio.get_running_loop().time
        deadline_at = journey.ends_at = now() + journey.program.deadline_us / 1e6
        stops = self._stops(journey)
        failures: list[Failure] = []
        # What a hop may be entered after: the last failure, and what was kept out since.
        pending: list[tuple[Fault, Hop | None]] = []
        made = 0
        retries_at_most = 0 if _is_repeated(journey.request) else MOST_ATTEMPTS
        for position, stop in enumerate(stops):
            if (reason := self._unwanted(journey, stop, pending)) is not None:
                _skip(journey, stop, reason)
                continue
            if made == MOST_ATTEMPTS:
                _skip(journey, stop, f"{MOST_ATTEMPTS} attempts were made")
                continue
            route = stop.hop if position == 0 and journey.route is not None else None
            stop.is_last_after = partial(self._is_last, stops[position + 1 :], route)
            stop.limit_at = deadline_at
            clocks = stop.hop.clocks
            if clocks.written_timeout or not stop.is_last_after(Fault.TIMEOUT):
                stop.limit_at = min(deadline_at, now() + clocks.timeout_us / 1e6)
            tries = min(stop.hop.retries, retries_at_most, MOST_ATTEMPTS - made - 1) + 1
            assert stop.target is not None
            try:
                if (recalled := await self._recall(journey, stop)) is not None:
                    return recalled
                try:
                    return await self._try(journey, stop, attempt, 1)
                except ProviderError as failure:
                    if tries == 1 or not is_tried_again(failure):
                        raise
                    again = partial(self._try, journey, stop, attempt)
                    return await self._retries(stop, tries).after(failure, again)
            except KeptOut as kept:
                _skip(journey, stop, kept.message, kept.fault)
                pending.append((kept.fault, route))
                failures.append((stop.target, kept))
            except ProviderError as error:
                made = sum(one.outcome != "skipped" for one in journey.attempts)
                pending = [(error.fault, route)]
                failures.append((stop.target, error))
            if now() >= deadline_at:
                break
        if failures:
            raise exhausted(failures, made)
        raise nowhere([_excluded(stop) for stop in stops], _unlisted_name(journey))

    def excluded(self, journey: Journey) -> list[Excluded]:
        """The hops that cannot serve this request whatever happens, with why; asks nobody."""
        return [_excluded(stop) for stop in self._stops(journey) if stop.excluded is not None]

    def may_serve(self, journey: Journey) -> bool:
        """Whether there is any hop that may serve this request at all."""
        return any(stop.excluded is None for stop in self._stops(journey))

    def _unwanted(
        self, journey: Journey, stop: _Stop, pending: Sequence[tuple[Fault, Hop | None]]
    ) -> str | None:
        """Why a hop is passed over by this request; None where it is entered."""
        if stop.excluded is not None:
            return stop.excluded
        unwanted = [_unwanted_after(fault, route, stop.hop) for fault, route in pending]
        if unwanted and None not in unwanted:
            return unwanted[-1]
        if stop.hop.when is not None and not self._enters(journey, stop.hop):
            return "its `when` is not true"
        return None

    def _is_last(self, later: Sequence[_Stop], route: Hop | None, fault: Fault) -> bool:
        """Whether none of the later hops would be entered after this fault, as far as known."""
        for stop in later:
            if (
                stop.excluded is None
                and stop.target is not None
                and _unwanted_after(fault, route, stop.hop) is None
                and self._breakers.barred(stop.target.id) is None
            ):
                return False
        return True

    def _retries(self, stop: _Stop, tries: int) -> Retries:
        assert stop.target is not None
        now = asyncio.get_running_loop().time
        target = stop.target.id

        def asked_s(error: ProviderError) -> float | None:
            asked = None if error.retry_after_us is None else error.retry_after_us / 1e6
            barred = self._breakers.barred(target)
            if barred is None:
                return asked
            # Its breaker opened under these very attempts, or under others'.
            return max(asked or 0.0, barred.left_us / 1e6) if barred.is_cooling else math.inf

        def patience_s(error: ProviderError) -> float:
            left_s = stop.limit_at - now()
            return left_s if stop.is_last_after(error.fault) else min(PATIENCE_S, left_s)

        return Retries(tries, stop.hop.backoff_us, asked_s, patience_s)

    async def _recall(self, journey: Journey, stop: _Stop) -> Recalled | None:
        """What the stop's target answered before; neither paid for nor held up by its breaker."""
        recall, target = journey.recall, stop.target
        if recall is None:
            return None
        assert target is not None and stop.provider is not None
        began_us = _utc_us(journey.request)
        left_s = stop.limit_at - asyncio.get_running_loop().time()
        patience_s = min(FLIGHT_PATIENCE_S, left_s / 2)
        of_caller = stop.payer == "caller"
        found = await recall.find(target, stop.provider, patience_s, of_caller=of_caller)
        if found is None:
            return None
        took_us = _utc_us(journey.request) - began_us
        journey.attempts.append(
            Attempt(
                target=target.id,
                upstream_model=target.model,
                outcome="cached",
                hop=stop.index,
                number=0,
                started_us=began_us,
                took_us=took_us,
                reason=_given_before(began_us - found.stored_us),
                payer=stop.payer,
            )
        )
        return Recalled(target, found)

    async def _try(self, journey: Journey, stop: _Stop, attempt: Try[T], number: int) -> T:
        """One attempt, once it may begin. Raises: ProviderError; KeptOut where it may not."""
        assert stop.target is not None
        before = len(journey.attempts)
        left_s = stop.limit_at - asyncio.get_running_loop().time()
        # What the caller pays itself counts against no budget.
        pays = stop.payer == "gateway"
        stop.booking = await journey.till.book(stop.target, left_s) if pays else None
        try:
            await self._enter(stop, stop.target, number)
            return await attempt(stop, number)
        except BaseException:
            if len(journey.attempts) > before:
                journey.till.settle(journey.attempts[-1], stop.target)
            else:
                journey.till.give_back(stop.booking)
            raise

    async def _enter(self, stop: _Stop, target: Target, number: int) -> None:
        """Take a place at the target, past its breaker. Raises: KeptOut."""
        if target.concurrency is not None:
            await self._sit(stop, target, target.concurrency)
        entered = self._breakers.enter(target.id)
        pays = stop.payer == "gateway"
        if isinstance(entered, Barred) and number == 1 and pays and _is_short(entered, stop):
            # Where nobody else is left, a little later is better than not at all.
            try:
                await asyncio.sleep(entered.left_us / 1e6 + random.uniform(*SPREAD_S))
            except asyncio.CancelledError:
                stop.leave()
                raise
            entered = self._breakers.enter(target.id)
        if not isinstance(entered, Barred):
            stop.since_ns = entered
        elif entered.is_cooling and (number > 1 or stop.payer == "caller"):
            # These attempts have waited for as long as the provider asked them to; or it was
            # another account that it asked.
            stop.since_ns = None
        else:
            stop.leave()
            raise KeptOut(Fault.BREAKER_OPEN, entered.reason, entered.left_us)

    async def _sit(self, stop: _Stop, target: Target, places: int) -> None:
        """Take one of the target's places. Raises: KeptOut."""
        barred = self._breakers.barred(target.id)
        if barred is not None and not barred.is_cooling:
            # Nobody waits for a place where nobody is let in.
            raise KeptOut(Fault.BREAKER_OPEN, barred.reason, barred.left_us)
        left_s = stop.limit_at - asyncio.get_running_loop().time()
        is_last = stop.is_last_after(Fault.OVERLOADED)
        patience_s = min(left_s, LAST_SEAT_PATIENCE_S if is_last else SEAT_PATIENCE_S)
        leave = await self._seats.take(f"target:{target.id}", places, max(patience_s, 0.0))
        if leave is None:
            raise KeptOut(Fault.OVERLOADED, f"its {places} places are taken", SEAT_WAIT_US)
        stop.leave = leave

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
        request = journey.request
        provider = journey.providers.get(target.provider)
        stop = _Stop(index, hop, target, provider, None)
        if request.own is not None and provider is not None:
            theirs = provider.owned(request.own)
            if theirs is not None:
                stop.provider = provider = theirs
                stop.payer = "caller"
        if (limit := journey.limits.get(target.id)) is not None:
            stop.excluded = f"the limit `{limit}` keeps it out"
        elif not _is_granted(journey, target):
            stop.excluded, stop.exclusion = UNLISTED, Exclusion.MODELS
        elif stop.payer == "gateway" and not request.gateway_pays:
            stop.excluded = not_for_it(request.own, provider)
        elif provider is None or provider.missing is not None:
            missing = "no credential" if provider is None else provider.missing
            stop.excluded = f"{missing} for `{target.provider}`"
        elif target.tariff is None:
            stop.excluded, stop.exclusion = "its price is not known", Exclusion.PRICE
        elif target.context_window is not None and journey.prompt_tokens > target.context_window:
            stop.excluded = (
                f"the prompt has {journey.prompt_tokens} tokens or more, "
                f"the window {target.context_window}"
            )
            stop.exclusion = Exclusion.WINDOW
        elif (lacks := _lacks(target, journey)) is not None:
            stop.excluded, stop.exclusion = lacks, Exclusion.ABILITY
        elif (
            journey.request.operation is Operation.EMBEDDINGS
            and first is not None
            and target.model != first.model
        ):
            stop.excluded = "another model's vectors are useless"
        return stop

    # --- one attempt -----------------------------------------------------------------------------

    async def _answer_once(self, journey: Journey, stop: _Stop, number: int) -> Answered:
        call, attempt = self._begin_whole(journey, stop, number)
        assert stop.provider is not None and stop.target is not None
        answer = await self._whole(stop.provider.answer(call), call, attempt, stop)
        attempt.usage = answer.usage
        output = answer.usage.output if answer.usage is not None else None
        self._pulse.record(stop.target.id, attempt.took_us, None, output, failed=False)
        self._breakers.succeeded(stop.target.id, stop.since_ns)
        return Answered(stop.target, attempt, answer, call.native, call.limits)

    async def _count_once(self, journey: Journey, stop: _Stop, number: int) -> Counted:
        call, attempt = self._begin_whole(journey, stop, number)
        assert stop.provider is not None and stop.target is not None
        try:
            counted = await self._whole(stop.provider.count(call), call, attempt, stop)
        finally:
            # Counting is free of charge, whatever became of it.
            attempt.usage = Usage(0, 0)
        # That it counts does not say that it answers.
        self._unheard(attempt, stop)
        return Counted(stop.target, attempt, counted)

    def _begin_whole(self, journey: Journey, stop: _Stop, number: int) -> tuple[Call, Attempt]:
        # A whole answer sends nothing while the model thinks: only the hop's limit bounds it.
        left_s = stop.limit_at - asyncio.get_running_loop().time()
        return self._begin(journey, stop, number, int(left_s * 1e6))

    async def _whole(self, asked: Awaitable[T], call: Call, attempt: Attempt, stop: _Stop) -> T:
        """What a provider gives in one piece; what becomes of it is noted in the attempt."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(stop.limit_at):
                given = await asked
        except TimeoutError:
            within = seconds(stop.limit_at - began)
            error = ProviderError(Fault.TIMEOUT, f"no answer within {within}")
            self._failed(attempt, call, error, stop)
            raise error from None
        except ProviderError as error:
            self._failed(attempt, call, error, stop)
            raise
        except asyncio.CancelledError:
            _left(attempt, call)
            self._unheard(attempt, stop)
            raise
        except Exception:
            _broke(attempt, call)
            self._unheard(attempt, stop)
            raise
        finally:
            self._pulse.left(attempt.target)
            stop.leave()
        attempt.outcome = "ok"
        _close(attempt, call)
        return given

    async def _open_once(self, journey: Journey, stop: _Stop, number: int) -> Opened:
        loop = asyncio.get_running_loop()
        began = loop.time()
        clocks = stop.hop.clocks
        limit_at = first_at = stop.limit_at
        if clocks.written_ttft or not stop.is_last_after(Fault.TTFT_TIMEOUT):
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
                        # Not a hiccup: it would do so again.
                        raise ProviderError(
                            Fault.BAD_OUTPUT, "the stream brings no content", should_retry=False
                        )
                else:
                    raise ProviderError(Fault.BAD_OUTPUT, "the stream ended without content")
        # What happened is noted before the stream is closed: closing can be cut short.
        except TimeoutError:
            fault = Fault.TTFT_TIMEOUT if first_at < limit_at else Fault.TIMEOUT
            error = ProviderError(fault, f"no content within {seconds(first_at - began)}")
            self._failed(attempt, call, error, stop)
            await chunks.aclose()
            raise error from None
        except ProviderError as error:
            self._failed(attempt, call, error, stop)
            await chunks.aclose()
            raise
        except asyncio.CancelledError:
            _left(attempt, call)
            self._unheard(attempt, stop)
            await chunks.aclose()
            raise
        except Exception:
            _broke(attempt, call)
            self._unheard(attempt, stop)
            await chunks.aclose()
            raise
        finally:
            if not (held and held[-1].content):
                self._pulse.left(stop.target.id)
                stop.leave()
        self._breakers.spoke(stop.target.id, stop.since_ns)
        attempt.ttft_us = took_us(attempt, journey.request)
        attempt.sent = call.sent
        attempt.dropped = call.losses
        return Opened(
            stop.target,
            attempt,
            held,
            chunks,
            clocks.idle_us,
            partial(self._gone, stop.target.id, stop.since_ns, stop.leave),
            partial(self._breakers.finished, stop.target.id, stop.since_ns),
            partial(self._broke_off, journey.request.id, stop),
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
            payer=stop.payer,
        )
        journey.till.hold(attempt, stop.booking)
        journey.attempts.append(attempt)
        self._pulse.entered(attempt.target)
        return call, attempt

    def _gone(self, target: str, since_ns: int | None, leave: Leave) -> None:
        """A stream is over."""
        self._pulse.left(target)
        if since_ns is not None:
            # Says nothing where it was complete or broke: that is known by now.
            self._breakers.left(target, since_ns)
        leave()

    def _broke_off(self, request_id: str, stop: _Stop, error: ProviderError) -> None:
        """A stream broke after its first content."""
        assert stop.target is not None
        if stop.payer == "caller" and is_about_it(error):
            return  # `_gone` gives up what it was let in with
        self._complaints.failed(request_id, stop.target.id, error)
        self._breakers.failed(stop.target.id, error, stop.since_ns)

    def _unheard(self, attempt: Attempt, stop: _Stop) -> None:
        """An attempt ended that says nothing of its target."""
        if stop.since_ns is not None:
            self._breakers.left(attempt.target, stop.since_ns)

    def _failed(self, attempt: Attempt, call: Call, error: ProviderError, stop: _Stop) -> None:
        about_key = stop.payer == "caller" and is_about_it(error)
        if about_key:
            of_own_key(error)
        _close(attempt, call)
        attempt.fault = error.fault.value
        attempt.reason = error.message
        attempt.status = error.status
        attempt.usage = error.usage
        error.limits = call.limits
        if about_key:
            # It says nothing of the target, and is nothing for the gateway's operator to mend.
            self._unheard(attempt, stop)
            return
        self._complaints.failed(call.request.id, attempt.target, error)
        self._breakers.failed(attempt.target, error, stop.since_ns)
        # The caller's own mistake says nothing about the target.
        if FAULTS[error.fault].breaker:
            self._pulse.record(attempt.target, attempt.took_us, None, None, failed=True)


# --- faults --------------------------------------------------------------------------------------


def _unwanted_after(last: Fault, route: Hop | None, hop: Hop) -> str | None:
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


def _is_repeated(request: Request) -> bool:
    """Whether an SDK asks again for what it has asked for before."""
    told = request.headers.get(SDK_RETRIES, "0")
    return told.isdecimal() and int(told[:9]) > 0


def _unlisted_name(journey: Journey) -> str | None:
    """What the client asked for by name, where its list of models does not have it."""
    asked = journey.requested
    return None if asked is None or _is_granted(journey, asked) else journey.request.model


def _is_granted(journey: Journey, target: Target) -> bool:
    models = journey.request.caller.models
    return models is None or is_granted(
        models, journey.request.model, journey.requested, journey.program, target.id
    )


def _excluded(stop: _Stop) -> Excluded:
    target = stop.target.id if stop.target else stop.hop.target
    return target, stop.excluded or "not entered", stop.exclusion


def _is_short(barred: Barred, stop: _Stop) -> bool:
    """Whether the pause that a provider asked for is waited for."""
    left_s = stop.limit_at - asyncio.get_running_loop().time()
    pause_s = barred.left_us / 1e6
    is_soon = pause_s < PATIENCE_S and pause_s + SPREAD_S[1] < left_s
    return barred.is_cooling and is_soon and stop.is_last_after(Fault.BREAKER_OPEN)


def _skip(journey: Journey, stop: _Stop, reason: str, fault: Fault | None = None) -> None:
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
            fault=None if fault is None else fault.value,
            reason=reason,
        )
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


def _given_before(age_us: int) -> str:
    """How old an answer is that was given before; a clock that was ahead makes it no younger."""
    if age_us <= 0:
        return "made for another meanwhile"
    seconds, minutes = age_us // 1_000_000, age_us // 60_000_000
    age = f"{seconds} s" if minutes < 2 else f"{minutes} min"
    return f"given before, {age if minutes < 120 else f'{minutes // 60} h'} ago"


def _utc_us(request: Request) -> int:
    """The instant of now, by the monotonic clock since the request came."""
    return request.received_us + (time.monotonic_ns() - request.started_ns) // 1000
