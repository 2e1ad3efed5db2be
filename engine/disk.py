"""Whether there is room for what has to be kept, looked at once a second, away from requests.

A disk with less free than a floor counts as full, while there still is room to write out what is
under way: paid work is refused before a record is lost, not after.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .audit import Audit, Event, Unheard
from .board import Alone, Board
from .keeping import MIN_FREE_BYTES

LOOK_S = 1.0
_HANGS_S = 5.0  # a disk that has not answered for so long counts as full

_log = logging.getLogger("turnout.disk")


class Room(Protocol):
    """What the journal asks before more is promised; answers at once."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be begun that has to be written down."""

    @property
    def free_bytes(self) -> int | None:
        """What was free at the last look; None where nobody looks."""


class Endless:
    """The room of a gateway whose disk nobody looks at."""

    is_full = False
    free_bytes: int | None = None


def free_bytes_of(folder: Path) -> int:
    """What this process may still write below a folder. Blocks. Raises: OSError."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


class Disk:
    """A `Room` and the companion that looks at it; one per worker.

    One of the workers says in the log and in the audit log when it changes. A disk that cannot be
    asked, or does not answer, counts as full. Cost: a call of 2 µs in a thread, once a second.
    """

    name = "disk"

    def __init__(
        self,
        folder: Path,
        floor_bytes: int = MIN_FREE_BYTES,
        board: Board | None = None,
        audit: Audit | None = None,
        free_bytes: Callable[[Path], int] = free_bytes_of,
    ) -> None:
        """Look at the disk of this folder; `floor_bytes` 0: only what cannot be written is full."""
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._board = board or Alone()
        self._audit = audit or Unheard()
        self._ask = free_bytes
        self._is_low = self._is_said = False
        self._asked_at: float | None = None  # while there is no answer
        self.free_bytes: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether less is free than the floor, or nobody knows."""
        since = self._asked_at
        return self._is_low or (since is not None and time.monotonic() - since > _HANGS_S)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once, and say what has changed."""
        self._asked_at = time.monotonic()
        try:
            self.free_bytes = await asyncio.to_thread(self._ask, self._folder)
            self._is_low = self.free_bytes < self._floor_bytes
        except OSError as error:
            self.free_bytes, self._is_low = None, True
            _log.debug("the disk cannot be asked: %s", error.strerror)
        self._asked_at = None
        if self._is_low != self._is_said:
            self._is_said = self._is_low
            if self._board.leads("disk"):
                self._say()

    def _say(self) -> None:
        free = "nobody can tell how much" if self.free_bytes is None else f"{self.free_bytes} bytes"
        if self._is_low:
            _log.error(
                "the disk of `%s` is full: %s free, and at least %d have to be "
                "(TURNOUT_MIN_FREE_BYTES); paid work is refused until there is room",
                self._folder,
                free,
                self._floor_bytes,
            )
        else:
            _log.warning("the disk of `%s` has room again: %s free", self._folder, free)
        detail: dict[str, str | int | None] = {
            "free_bytes": self.free_bytes,
            "floor_bytes": self._floor_bytes,
        }
        action = "disk.full" if self._is_low else "disk.free"
        self._audit.note(Event("gateway", action, "TURNOUT_HOME", detail=detail))

    def health(self) -> dict[str, Any]:
        """How it stands, for `/health`."""
        return {
            "full": self.is_full,
            "free_bytes": self.free_bytes,
            "floor_bytes": self._floor_bytes,
        }
