"""What removes answers from the disk that may not be given any more, also where nobody asks."""

import asyncio
import logging
from collections.abc import Callable

from .board import Alone, Board
from .cached import CacheError

EVERY_S = 600.0

_log = logging.getLogger("turnout.cache")


class Sweep:
    """The companion that has expired answers removed; one per worker, and one of them does it."""

    name = "cache"

    def __init__(self, sweep: Callable[[], int], board: Board | None = None) -> None:
        """Have it done by `sweep`, which blocks, says how many went, and may raise CacheError."""
        self._sweep = sweep
        self._board = board or Alone()

    async def run(self) -> None:
        """Look every ten minutes, and at the start, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Have it done, if this worker is the one for it."""
        if not self._board.leads("cache"):
            return
        try:
            removed = await asyncio.to_thread(self._sweep)
        except CacheError as error:
            _log.warning("expired answers cannot be removed, trying again later: %s", error)
        else:
            _log.debug("removed %d expired answers", removed)
