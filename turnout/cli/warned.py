"""What `turnout serve` says at its start of what is not as it should be, and stops nothing."""

import stat
import sys
from pathlib import Path

from turnout.settings import Settings

from .report import printable


def warn_if_open(home: Path) -> None:
    """Say so where others on this machine may look into what is kept."""
    # Not tightened: a mounted volume may belong to somebody else, or be shared on purpose.
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        shown = printable(str(home))
        warn(
            f"the folder `{shown}` is open to others on this machine (mode {mode:04o}); the files "
            f"in it are not; to close it: chmod 700 {shown}"
        )


def warn_of_answers(settings: Settings) -> None:
    """Say so where answers are kept that nobody looks at, or cannot be shared as they are to be."""
    from turnout.engine.state.answers import FILE
    from turnout.wiring import unreachable_answers

    if settings.cache_disk_bytes == 0 and (left := settings.home / FILE).exists():
        shown = printable(str(left))
        warn(
            f"answers of before are still in `{shown}`, in plain text, and nothing reads them "
            f"while TURNOUT_CACHE_DISK_BYTES is 0; to remove them: rm {shown}*"
        )
    if (why := unreachable_answers(settings)) is not None:
        warn(
            f"TURNOUT_REDIS_URL: {printable(why)}; requests are served without it, and answers are "
            "shared once it is there"
        )


def warn(text: str) -> None:
    """Say what is not as it should be and stops nothing."""
    print(f"turnout: warning: {text}", file=sys.stderr)
