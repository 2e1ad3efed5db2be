"""Turns at writing: the processes and threads that write a database go one after another.

SQLite lets whoever asks at the right moment go first and sends the others to sleep for longer and
longer, so that of several busy writers one may wait for seconds. Here whoever wants to write locks
the byte of a file whose number is the time of the machine, and goes when nobody has an earlier one.
The kernel lets go of a byte however its holder ends; nothing is written.
"""

import errno
import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from turnout.engine.boot import boot_us

PATIENCE_S = 5.0  # then a turn is taken for stuck, and passed over from there on
_SHORTEST_S, _LONGEST_S = 0.000_1, 0.000_5  # between two looks at who is before
_TRIES = 64  # at a byte of one's own, where several come at once

# `struct flock` of Linux: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_GET: int = getattr(fcntl, "F_OFD_GETLK", 0)

_log = logging.getLogger("turnout.store")


class Turns:
    """The order in which all that name the same file write; used from any thread.

    Cost where nobody else writes: 10 µs. Where the file cannot be made or locked, nobody waits, and
    it is for the database alone to keep writers apart. So it is where a writer hangs: it is waited
    for once, up to `patience_s`.
    """

    def __init__(self, path: Path | None, patience_s: float = PATIENCE_S) -> None:
        """Take turns by a file, made at the first turn; None: there are none."""
        self._path = path if _SET is not None else None
        self._patience_s = patience_s
        self._passed = -1  # bytes up to this one are of writers that hang
        self._complained = False
        self._guard = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn, and have it."""
        handle = self._enter()
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def _enter(self) -> int | None:
        if self._path is None:
            return None
        handle = None
        try:
            # Of each turn its own: locks of one open file do not stand in each other's way.
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._wait(handle, _queue(handle))
        except OSError as error:
            if handle is not None:
                os.close(handle)
            self._complain(error)
            return None
        return handle

    def _wait(self, handle: int, place: int) -> None:
        give_up_at = time.monotonic() + self._patience_s
        pause_s = _SHORTEST_S
        while (before := _locked_between(handle, self._passed + 1, place)) is not None:
            if time.monotonic() >= give_up_at:
                with self._guard:
                    self._passed = max(self._passed, before)
                continue
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_S)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "writers take no turns: `%s` cannot be locked (%s)", self._path, error.strerror
            )


def _queue(handle: int) -> int:
    """Lock a byte behind those of all who came before; which. Raises: OSError."""
    place = boot_us()
    for _ in range(_TRIES):
        try:
            _ask(handle, _SET or 0, place, 1)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            place += 1
        else:
            return place
    raise OSError(errno.EAGAIN, "too many writers come at once")


def _locked_between(handle: int, low: int, high: int) -> int | None:
    """A byte from `low` to before `high` that another holds."""
    if low >= high:
        return None
    kind, _, start, _, _ = _FLOCK.unpack(_ask(handle, _GET, low, high - low))
    return None if kind == fcntl.F_UNLCK else int(start)


def _ask(handle: int, command: int, byte: int, length: int) -> bytes:
    return fcntl.fcntl(handle, command, _FLOCK.pack(fcntl.F_WRLCK, 0, byte, length, 0))
