"""The nightly round that removes records past their days.

One worker of a home does it, at 03 o'clock in the policy's time zone, or as soon as the gateway
runs again where that hour was missed. Where the wall clock has jumped ahead nothing goes for a day:
if it is wrong, records would go before their time, and with them what budgets have used. How it is
removed is in `state/trim`.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol

from .board import Alone, Board
from .boot import boot_us
from .judgement import instant
from .keeping import DAY_US, LONGEST_STRETCH_DAYS, Keeping
from .state.store import StoreError

QUIET_HOUR = 3
LOOK_S = 60.0  # between two looks at whether it is time
_JUMP_US = 60 * 60 * 1_000_000  # what a clock is set on by in earnest is less
_JITTER_S = 30 * 60  # homes on one machine do not all begin at once

_log = logging.getLogger("turnout.trim")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a round has removed: rows by kind, and bytes given back to the disk."""

    at_us: int
    rows: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    took_us: int = 0

    @property
    def total(self) -> int:
        """How many rows there were of all kinds."""
        return sum(self.rows.values())


class Trimmer(Protocol):
    """What removes records; its methods block and may raise StoreError."""

    def last(self) -> Trimmed | None:
        """The newest round that came to its end; None where there was none."""

    def trim(self, keeping: Keeping, actor: str, stop: Callable[[], bool]) -> Trimmed | None:
        """Remove what is older, in small steps; None where it was stopped before the end."""


def due_us(last_us: int, zone: tzinfo, jitter_s: int = 0) -> int:
    """When the next round is due after one: the next quiet hour of the zone, and some seconds."""
    last = datetime.fromtimestamp(last_us / 1_000_000, zone) - timedelta(seconds=jitter_s)
    quiet = last.replace(hour=QUIET_HOUR, minute=0, second=0, microsecond=0)
    if quiet <= last:
        quiet = (quiet.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    return int(quiet.astimezone(UTC).timestamp() + jitter_s) * 1_000_000


class Trimming:
    """The companion that has records removed in time; one per worker, and one of them does it.

    Every worker says once a day which policies it decides by, so that none of these goes.
    """

    name = "trim"

    def __init__(
        self,
        trimmer: Trimmer,
        keeping: Keeping,
        board: Board | None = None,
        zone: Callable[[], tzinfo] = lambda: UTC,
        archive: Callable[[], None] = lambda: None,
        place: str = "",
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        since_boot_us: Callable[[], int] = boot_us,
    ) -> None:
        """Have this removed with `trimmer`; `place` tells this home from others on the machine."""
        self._trimmer = trimmer
        self._keeping = keeping
        self._board = board or Alone()
        self._zone = zone
        self._archive = archive
        self._jitter_s = zlib.crc32(place.encode()) % _JITTER_S
        self._now_us = now_us
        self._since_us = now_us()
        self._archived_us = self._since_us
        self._since_boot_us = since_boot_us
        self._booted_us = self._since_us - since_boot_us()  # by the wall clock
        self._trusts_from_us = 0  # since the machine was started
        self._is_long = False  # whether the last round is so long ago that the clock may be wrong
        self._stopped = False
        self.last: Trimmed | None = None

    async def run(self) -> None:
        """Look every minute until cancelled."""
        try:
            await self._read_last()
            while True:
                await asyncio.sleep(LOOK_S)
                await self.look()
        finally:
            self._stopped = True  # a round that is under way ends after its step

    async def look(self) -> None:
        """Begin a round where one is due."""
        now_us = self._now_us()
        if now_us - self._archived_us >= DAY_US // 2:
            self._archived_us = now_us
            self._archive()
        if not self._trusts(now_us) or now_us < self._due_us():
            return
        await self._read_last()  # another worker, or somebody by hand, may have done it
        if not self._trusts(now_us) or now_us < self._due_us() or not self._board.leads("trim"):
            return
        try:
            trimmed = await asyncio.to_thread(
                self._trimmer.trim, self._keeping, "gateway", lambda: self._stopped
            )
        except StoreError as error:
            _log.warning("old records cannot be removed, trying again in a minute: %s", error)
            return
        if trimmed is not None:
            self.last = trimmed
            _log.info(
                "removed %d records past their days in %.1f s", trimmed.total, trimmed.took_us / 1e6
            )

    def _trusts(self, now_us: int) -> bool:
        """Whether the wall clock is one to remove records by: it has not jumped since a day."""
        since_boot_us = self._since_boot_us()
        booted_us = now_us - since_boot_us
        ahead_us, self._booted_us = booted_us - self._booted_us, booted_us
        is_long = self.last is not None and now_us - self.last.at_us > LONGEST_STRETCH_DAYS * DAY_US
        if ahead_us > _JUMP_US or (is_long and not self._is_long):
            self._trusts_from_us = since_boot_us + DAY_US
            _log.warning(
                "the clock is far ahead of where it was: old records are not removed for a day; "
                "where it is right, `turnout trim` removes them now"
            )
        elif ahead_us < -_JUMP_US:
            self._trusts_from_us = 0  # set right
        self._is_long = is_long
        return since_boot_us >= self._trusts_from_us

    def _due_us(self) -> int:
        last_us = self._since_us if self.last is None else self.last.at_us
        return due_us(last_us, self._zone(), self._jitter_s)

    async def _read_last(self) -> None:
        try:
            self.last = await asyncio.to_thread(self._trimmer.last) or self.last
        except StoreError as error:
            _log.debug("the last trim cannot be read: %s", error)

    def health(self) -> dict[str, Any]:
        """When it was last done, and what went then, for `/health`."""
        last = self.last
        return {
            "last_at": None if last is None else instant(last.at_us),
            "removed": {} if last is None else {k: n for k, n in last.rows.items() if n},
            "due_at": instant(self._due_us()),
        }
