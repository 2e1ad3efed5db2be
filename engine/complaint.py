"""Tells the gateway's log of each attempt that failed, in bounded numbers.

A line holds nothing of the request: where a fault is about the request, the provider's own words
may repeat it, so they stay in the trace and the line says only that it was refused.
"""

import logging
import time
from collections.abc import Callable

from .provider import FAULTS, Fault, ProviderError

_log = logging.getLogger("turnout.attempts")

# So many lines at once, and one more for every second since.
_BURST = 60
_PER_S = 1.0
_LONGEST_NAME = 200

# Whose message may be the provider's own words about the request.
_ABOUT_THE_REQUEST = frozenset(
    (Fault.BAD_REQUEST, Fault.CONTEXT_EXCEEDED, Fault.CONTENT_FILTER, Fault.UNSUPPORTED)
)


class Complaints:
    """Writes a line for each failed attempt; those beyond the bound are counted in the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the whole burst; `clock` counts seconds."""
        self._clock = clock
        self._left = float(_BURST)
        self._since = clock()
        self._unsaid = 0

    def failed(self, request_id: str, target: str, error: ProviderError) -> None:
        """Tell of one attempt. A fault that tells against the target is a warning."""
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._since) * _PER_S)
        self._since = now
        if self._left < 1:
            self._unsaid += 1
            return
        self._left -= 1
        if self._unsaid:
            _log.warning("%d failed attempts before this one were not logged", self._unsaid)
            self._unsaid = 0
        is_ours = error.fault not in _ABOUT_THE_REQUEST
        _log.log(
            logging.WARNING if is_ours or FAULTS[error.fault].breaker else logging.INFO,
            "%s: %s failed: %s, %s%s",
            _plain(request_id),
            _plain(target),
            error.fault.value,
            "" if error.status is None else f"status {error.status}, ",
            _plain(error.message) if is_ours else "the request was refused; its trace says why",
        )


def _plain(text: str) -> str:
    """A text on one line, whoever made it up; names of targets may be a client's."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: _LONGEST_NAME + 1])
    return shown if len(shown) <= _LONGEST_NAME else shown[:_LONGEST_NAME] + "…"
