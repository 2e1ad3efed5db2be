"""An event loop whose clock moves only when everyone waits: nothing takes any time."""

import asyncio
import selectors
from typing import Any


class TurnedSelector(selectors.DefaultSelector):
    """Never blocks: waiting moves the loop's clock."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout:
            self.now += timeout
        return events


class TurnedLoop(asyncio.SelectorEventLoop):
    def __init__(self, now: float = 0.0) -> None:
        self._turned = TurnedSelector(now)
        super().__init__(self._turned)

    def time(self) -> float:
        return self._turned.now
