"""Which targets are left alone for a while, and why: breakers, cool-downs, probes.

One breaker for each target, a state machine of pybreaker's; its time is ours, so that a test can
turn it by hand. What one worker learns all of them know, through the board.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from turnout.dsl.core import Breaking
from turnout.dsl.schema import Value

from .board import Alone, Board
from .provider import ProviderError


class Barred(NamedTuple):
    """Why a target is not to be tried now; `left_us` until that may be otherwise."""

    reason: str
    left_us: int


class Breakers:
    """The breakers and cool-downs of all targets; used from one event loop."""

    def __init__(
        self, board: Board | None = None, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """All closed. `now_ns` is a clock that all workers of the machine share."""
        self._board = board or Alone()
        self._now_ns = now_ns
        self._breaking = Breaking()

    def follow(self, breaking: Breaking) -> None:
        """Hold to these bounds from now on."""
        self._breaking = breaking

    def barred(self, target: str) -> Barred | None:
        """Why a target is not to be tried now; None where it may be."""
        return None

    def succeeded(self, target: str) -> None:
        """Note that an attempt brought an answer, or its first content."""

    def failed(self, target: str, error: ProviderError) -> None:
        """Note an attempt that failed, before or after its first content."""

    def values(self) -> Mapping[str, Value]:
        """`breaker(…)`, `healthy(…)` and `rate_limited(…)` where they are otherwise than usual."""
        return {}

    def look(self) -> bool:
        """Learn from the other workers and from the clock; whether `values` changed by that."""
        return False
