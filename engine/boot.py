"""Time since the machine was started, and which start that was.

It goes on while the machine sleeps, and is the same for all processes; setting the wall clock does
not touch it. Instants of two starts have nothing to do with each other.
"""

import time
import uuid
from functools import cache
from pathlib import Path

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_us() -> int:
    """Microseconds since the machine was started; 0.1 µs."""
    return time.clock_gettime_ns(_CLOCK) // 1_000


@cache
def boot_id() -> str:
    """What tells this start of this machine from others; where it cannot be told, the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return f"machine-{uuid.getnode():x}"
