"""Holders of leases as rows: who lives, and who is lost.

Who has not renewed in time is lost, whether or not a living worker has found that out; `lost_us`
says that one has, and when.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from turnout.engine.bank import TERM_US
from turnout.engine.boot import boot_id, boot_us

LIVES = "h.lost_us IS NULL AND h.boot = ? AND h.heartbeat_us >= ?"
"""The row `h` of `holders` is of who lives. `Clocks.in_time` is to be given, here and to `LOST`."""

LOST = f"NOT coalesce({LIVES}, 0)"
"""The opposite, also where there is no such row."""

FOUND_LOST = "(h.id IS NULL OR h.lost_us IS NOT NULL)"
"""Nobody needs to look at a clock to say that this one is lost."""


def _wall_us() -> int:
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the time is, for dates and for heartbeats, and which start of the machine this is."""

    now_us: Callable[[], int] = _wall_us
    since_boot_us: Callable[[], int] = boot_us
    boot: Callable[[], str] = boot_id

    def in_time(self) -> tuple[str, int]:
        """The start of the machine, and the oldest heartbeat, of those who live."""
        return self.boot(), self.since_boot_us() - TERM_US
