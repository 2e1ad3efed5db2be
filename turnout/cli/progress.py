"""A line of progress on standard error, where a person looks at a terminal; else nothing."""

import os
import sys
import time
from typing import TextIO

_EVERY_S = 0.1
_WIDTH = 24


class Progress:
    """What is done, its speed and, where the whole is known, how much of it that is."""

    def __init__(self, whole: int | None, stream: TextIO | None = None, noun: str = "rows") -> None:
        """`whole` is what `moved` adds up to, None where nobody knows; `noun` says of what."""
        self._noun = noun
        self._whole = whole
        self._stream = sys.stderr if stream is None else stream
        self._shows = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._done = 0
        self._started = self._told = time.monotonic()

    def moved(self, part: int) -> None:
        """So much more of the whole is done."""
        self._done += part

    def tell(self, rows: int) -> None:
        """Show where we are; cheap to call, it writes ten times a second at most."""
        if not self._shows:
            return
        now = time.monotonic()
        if now - self._told < _EVERY_S:
            return
        self._told = now
        speed = rows / max(now - self._started, 0.001)
        line = f"{rows:,} {self._noun}, {speed:,.0f} a second".replace(",", " ")
        if self._whole:
            share = min(self._done / self._whole, 1.0)
            full = round(share * _WIDTH)
            line = f"{'█' * full}{'░' * (_WIDTH - full)} {share:4.0%}  {line}"
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()

    def close(self) -> None:
        """Leave an empty line behind."""
        if self._shows:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
