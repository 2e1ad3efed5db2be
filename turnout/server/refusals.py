"""What is said of requests that were turned away: a counter for each, a line for many."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping

# The first line comes soon, the next ones seldom.
_SOON_S = 1.0
_EVERY_S = 60.0

# What a client is told by each reason, which it may have complained of by that name.
_TOLD: Mapping[str, str] = {
    "tenant_full": "concurrency_exceeded",
    "over_rate": "rate_limit_exceeded",
    "worker_full": "overloaded",
    "connections_full": "overloaded (connections)",
}

_log = logging.getLogger("turnout.server")


class Refusals:
    """Counts who was turned away in one worker, and warns of it at most once a minute.

    Used from the worker's event loop. One more costs a count; the line is a timer's.
    """

    def __init__(self, counted: Callable[[str], None]) -> None:
        """`counted` is told the reason of each as well."""
        self._counted = counted
        self._reasons: Counter[str] = Counter()
        self._since = 0.0
        self._said_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, reason: str) -> None:
        """Note a request that was not taken; `reason` is one word of a few (`worker_full`)."""
        self._counted(reason)
        self._reasons[reason] += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            at = max(self._since + _SOON_S, self._said_at + _EVERY_S)
            self._timer = loop.call_at(at, self.say)

    def say(self) -> None:
        """Say what there is to say now."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        now = self._said_at = asyncio.get_running_loop().time()
        number = self._reasons.total()
        _log.warning(
            "worker %d turned away %d request%s in the last %.0f s: %s",
            os.getpid(),
            number,
            "" if number == 1 else "s",
            max(now - self._since, 1.0),
            ", ".join(f"{_TOLD.get(one, one)} {n}" for one, n in self._reasons.most_common()),
        )
        self._reasons.clear()
