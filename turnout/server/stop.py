"""The wish to stop a process. Imports next to nothing, so that signals are caught from early on."""

import signal
import time
from collections.abc import Callable

# A signal that comes later than this after the first was meant as another one.
_SECOND_THOUGHT_S = 1.0


class Stop:
    """The wish to stop: said by signals, from before the event loop exists.

    The first one drains, another one a second later ends the drain. (One keystroke often sends
    two: to the process group, and once more through whatever started this program.)
    """

    def __init__(self) -> None:
        """Nobody has asked to stop yet."""
        self.asked = False
        self.hurried = False
        self._asked_at = 0.0
        self._wake: Callable[[], object] | None = None

    def catch(self, *numbers: signal.Signals) -> None:
        """Let these signals ask to stop, from now on."""
        for number in numbers:
            signal.signal(number, lambda *_: self.ask())

    def ask(self) -> None:
        """Ask to stop, or to hurry."""
        now = time.monotonic()
        if not self.asked:
            self.asked = True
            self._asked_at = now
        elif now - self._asked_at >= _SECOND_THOUGHT_S:
            self.hurried = True
        if self._wake is not None:
            self._wake()

    def wake_with(self, wake: Callable[[], object]) -> None:
        """Call this whenever somebody asks; also now, if somebody has asked already."""
        self._wake = wake
        if self.asked:
            wake()
