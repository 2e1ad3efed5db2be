"""The clocks of streams: what bounds the gaps between chunks, and the whole.

Time is the event loop's, so that a test can turn it by hand.
"""

import asyncio
import math
from collections.abc import AsyncGenerator

from .provider import Chunk, Fault, ProviderError


class IdleClock:
    """Bounds the gap between chunks, and the whole, with one timer for the whole stream.

    The timer does not move with every chunk: when it strikes, it looks how long the wait in
    progress has lasted and sets itself again. Time that the client takes to read is no gap, and
    what only keeps the connection alive ends none.
    """

    def __init__(self, idle_us: int, ends_at: float = math.inf) -> None:
        """Start the clock for the stream that the current task relays.

        `ends_at` is the request's deadline by the loop's clock.
        """
        self._idle_s = idle_us / 1e6
        self._ends_at = ends_at
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._waited_s = 0.0  # of the gap in progress, before the last beat
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
        now = self._loop.time()
        if now >= self._ends_at:
            raise _too_late()
        self._waiting_since = now - self._waited_s
        if self._waited_s:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._next_look(), self._strike)
        try:
            chunk = await chunks.__anext__()
            self._waited_s = self._loop.time() - self._waiting_since if chunk.beat else 0.0
            return chunk
        except asyncio.CancelledError:
            if self._struck and task is not None and task.uncancel() <= self._cancelling:
                if self._loop.time() >= self._ends_at:
                    raise _too_late() from None
                raise ProviderError(
                    Fault.TIMEOUT, f"nothing came for {seconds(self._idle_s)}"
                ) from None
            raise
        finally:
            self._waiting_since = None

    def stop(self) -> None:
        """Let go of the timer."""
        self._timer.cancel()


def _too_late() -> ProviderError:
    return ProviderError(Fault.TIMEOUT, "the answer was not complete by the request's deadline")


def seconds(seconds: float) -> str:
    """A span of time as messages say it."""
    return f"{seconds:.3g} s"
