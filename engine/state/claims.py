"""Who makes an answer that several workers want: each claim is a locked byte of one file.

The kernel lets go of a process' claims however it ends; nothing is written.
"""

import threading
from pathlib import Path

from .locked import LockedFile

_BITS = 61  # of a digest; two answers that share a byte wait for each other once
_OPENING = 1 << 61  # the byte of who makes or replaces the file that the answers are in


class Claims:
    """Claims of one process among all that name the same file; used from any thread.

    A claim and its end cost 4 µs together. Where the file cannot be locked, claims hold within each
    process; where it was removed, those that came before and after do not know of each other.
    """

    def __init__(self, path: Path) -> None:
        """Use a file at this path, made where missing."""
        self._path = path
        self._guard = threading.Lock()
        self._own: set[int] = set()
        self._file = self._opened()

    def claim(self, digest: bytes) -> bool:
        """Whether it is ours now: neither another process nor a thread of this one has it."""
        return self._take(_byte(digest))

    def release(self, digest: bytes) -> None:
        """Give up a claim, if it is ours."""
        self._leave(_byte(digest))

    def open(self) -> bool:
        """Begin to make or replace the file of answers, beside nobody else; ends with `opened`."""
        return self._take(_OPENING)

    def opened(self) -> None:
        """Let others do so."""
        self._leave(_OPENING)

    def close(self) -> None:
        """Give up every claim."""
        with self._guard:
            for byte in self._own:
                self._file.unlock(byte)
            self._own.clear()

    def _take(self, byte: int) -> bool:
        with self._guard:
            if byte in self._own:
                return False
            # Of a folder that could not be used, it may be there with the next file of answers.
            if self._file.is_gone() or (byte == _OPENING and not self._file.is_there):
                self._file = self._opened()
                for held in self._own:
                    self._file.lock(held)
            if not self._file.lock(byte):
                return False
            self._own.add(byte)
            return True

    def _leave(self, byte: int) -> None:
        with self._guard:
            if byte in self._own:
                self._own.discard(byte)
                self._file.unlock(byte)

    def _opened(self) -> LockedFile:
        return LockedFile(
            self._path,
            "what several workers are asked at the same time is made by each of them, not by one "
            "for all",
        )


def _byte(digest: bytes) -> int:
    return int.from_bytes(digest[:8]) >> (64 - _BITS)
