"""Copies of requests to a second target: sent in the background, their answers thrown away.

A copy never delays or fails the request that it copies. It runs like any other attempt (limits,
credential, window, clocks, price), its target's pulse learns from it, and it is kept as an attempt
of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from turnout.dsl.core import Hop

from .chain import Answered, Chain, Journey, Opened, took_us
from .clocks import IdleClock
from .provider import ProviderError
from .pulse import Pulse
from .purse import Slip
from .record import MIRROR_HOP, Attempt
from .request import RequestError
from .settle import estimate, note, price

_log = logging.getLogger("turnout.mirror")

STOPPED = "the gateway was stopped"
BROKE = "the gateway failed"
# Copies under way in a worker; each holds its request in memory, so their bytes are bounded too.
AT_ONCE = 64
BYTES_AT_ONCE = 64 * 1024 * 1024
OnEnd = Callable[[Attempt, Sequence[Slip]], None]


class Mirrors:
    """The copies of a worker that are under way."""

    def __init__(
        self,
        chain: Chain,
        pulse: Pulse,
        at_once: int = AT_ONCE,
        bytes_at_once: int = BYTES_AT_ONCE,
    ) -> None:
        """Send copies by this chain, at most so many, and of so many bytes, at a time."""
        self._chain = chain
        self._pulse = pulse
        self._at_once = at_once
        self._bytes_left = bytes_at_once
        self._under_way: set[asyncio.Task[None]] = set()

    def send(self, journey: Journey, hop: Hop, on_end: OnEnd) -> None:
        """Send a copy of the journey's request to a hop; returns at once.

        `on_end` is called once with the attempt and what is to be taken off leases for it, also
        where nothing was sent.
        """
        # One try within the hop's own clocks: nobody waits for it, so nothing is gained by more.
        clocks = replace(hop.clocks, written_timeout=True, written_ttft=True)
        request = journey.request
        if request.own is not None:
            # Nobody asked the caller whether it pays for a copy.
            request = replace(request, own=None)
        copy = replace(
            journey,
            request=request,
            hops=(replace(hop, retries=0, clocks=clocks),),
            route=None,
            attempts=[],
            till=journey.till.beside(),
            recall=None,  # a copy is sent to see what its target answers now
        )
        size = len(journey.request.raw)
        if len(self._under_way) >= self._at_once or size > self._bytes_left:
            on_end(_dropped(copy, hop, "too many copies are under way"), ())
            return
        task = asyncio.create_task(self._run(copy, hop, on_end), name="mirror")
        self._under_way.add(task)
        self._bytes_left -= size

        def over(ended: asyncio.Task[None]) -> None:
            self._under_way.discard(ended)
            self._bytes_left += size

        task.add_done_callback(over)

    async def drain(self, patience_s: float) -> None:
        """Wait for the copies under way, and end those that take longer."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=patience_s)
        for task in late:
            task.cancel()
        if late:
            _log.warning("%d mirrored requests did not finish in time", len(late))
            await asyncio.wait(late)

    async def _run(self, copy: Journey, hop: Hop, on_end: OnEnd) -> None:
        try:
            if copy.request.stream:
                opened = await self._chain.open(copy)
                assert isinstance(opened, Opened)  # what a copy is sent for is never an old answer
                await self._read_out(copy, opened)
            else:
                answered = await self._chain.answer(copy)
                assert isinstance(answered, Answered)
                if answered.attempt.usage is None:
                    text = answered.answer.text
                    answered.attempt.usage = estimate(
                        copy.request, text, answered.attempt.upstream_model
                    )
                price(answered.attempt, answered.target)
        except RequestError:
            pass  # its attempt says why
        except asyncio.CancelledError:
            # Nobody else ends a copy; the chain takes it for a client that left.
            if copy.attempts and copy.attempts[-1].outcome == "failed":
                copy.attempts[-1].reason = STOPPED
            raise
        except Exception:
            _log.exception("%s: a mirrored request broke inside the gateway", copy.request.id)
        finally:
            attempt = copy.attempts[-1] if copy.attempts else _dropped(copy, hop, BROKE)
            attempt.kind, attempt.hop = "mirror", MIRROR_HOP
            copy.till.settle(attempt, copy.program.targets.get(attempt.target))
            on_end(attempt, copy.till.slips())

    async def _read_out(self, copy: Journey, opened: Opened) -> None:
        attempt = opened.attempt
        output: list[str] = []
        idle = IdleClock(opened.idle_us, opened.ends_at)
        try:
            for chunk in opened.held:
                note(attempt, output, chunk.text, chunk.usage)
            while True:
                try:
                    chunk = await idle.next(opened.rest)
                except StopAsyncIteration:
                    break
                note(attempt, output, chunk.text, chunk.usage)
            attempt.outcome = "ok"
            opened.finish()
        except ProviderError as error:
            attempt.fault, attempt.reason = error.fault.value, error.message
            attempt.usage = error.usage or attempt.usage
            opened.complain(error)
        except asyncio.CancelledError:
            attempt.reason = STOPPED
            raise
        finally:
            idle.stop()
            opened.leave()
            attempt.took_us = took_us(attempt, copy.request)
            if attempt.usage is None:
                attempt.usage = estimate(copy.request, "".join(output), attempt.upstream_model)
            price(attempt, opened.target)
            if attempt.outcome == "ok":
                self._pulse.record(
                    attempt.target, attempt.took_us, attempt.ttft_us, attempt.usage.output, False
                )
            elif attempt.fault is not None:
                self._pulse.record(attempt.target, attempt.took_us, None, None, failed=True)
            await opened.rest.aclose()


def _dropped(copy: Journey, hop: Hop, reason: str) -> Attempt:
    now_us = copy.request.received_us
    return Attempt(
        target=hop.target,
        upstream_model="",
        outcome="skipped",
        hop=MIRROR_HOP,
        number=0,
        started_us=now_us,
        took_us=0,
        reason=reason,
        kind="mirror",
    )
