"""A file of which single bytes are locked: the kernel keeps who holds what.

A lock is taken in one step, and gone when its process ends, however it ends. Nothing is written for
it; the file may hold something else.
"""

import errno
import fcntl
import logging
import os
import struct
from pathlib import Path

from turnout.engine.folder import make_closed

# `struct flock` of Linux: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")
# Locks of an open file, not of a process: two holders in one process exclude each other too.
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_GET: int = getattr(fcntl, "F_OFD_GETLK", 0)
_HELD_BY_ANOTHER = frozenset({errno.EAGAIN, errno.EACCES})
_UNUSED = 1 << 62  # a byte that nobody has a use for

_log = logging.getLogger("turnout.seats")


class LockedFile:
    """A file whose bytes are locked; where that cannot be done, every lock succeeds.

    A process' own locks, over the same object, do not stand in its way: it has to keep them apart.
    """

    def __init__(
        self,
        path: Path,
        without: str = "limits on what is under way, and rates, hold for each worker by itself, "
        "not for all together",
    ) -> None:
        """Open the file, or make it; says in the log if its bytes cannot be locked.

        `without`: what is so without locks, as the log says it.
        """
        self._path = path
        self._file: int | None = None
        try:
            if _SET is None:
                raise OSError(errno.ENOSYS, "this platform has no locks of open files")
            make_closed(path.parent)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            # Not every filesystem has locks.
            self._ask(_SET, fcntl.F_WRLCK, _UNUSED + os.getpid(), 1)
            self.unlock(_UNUSED + os.getpid())
        except OSError as error:
            self._close()
            _log.warning("%s: `%s` cannot be locked (%s)", without, path, error.strerror)

    def __del__(self) -> None:
        """Let go of everything."""
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def is_gone(self) -> bool:
        """Whether who opens it by its name now finds another one, or none; 3 µs."""
        if self._file is None:
            return False
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return not os.path.samestat(there, os.fstat(self._file))

    def lock(self, byte: int) -> bool:
        """Lock a byte, unless another process holds it."""
        if self._file is None or _SET is None:
            return True
        try:
            self._ask(_SET, fcntl.F_WRLCK, byte, 1)
        except OSError as error:
            if error.errno not in _HELD_BY_ANOTHER:
                # The kernel has no room for a lock: no seat, rather than one too many.
                _log.warning("a seat cannot be locked: %s", error.strerror)
            return False
        return True

    def unlock(self, byte: int) -> None:
        """Let go of a byte."""
        if self._file is not None and _SET is not None:
            self._ask(_SET, fcntl.F_UNLCK, byte, 1)

    @property
    def is_there(self) -> bool:
        """Whether there is a file, and its bytes can be locked."""
        return self._file is not None

    def size(self) -> int:
        """How many bytes it has. Raises: OSError."""
        assert self._file is not None
        return os.fstat(self._file).st_size

    def read(self, at: int, size: int) -> bytes:
        """Bytes from a place on, fewer where it ends. Raises: OSError."""
        assert self._file is not None
        return os.pread(self._file, size, at)

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a place. Raises: OSError."""
        assert self._file is not None
        if os.pwrite(self._file, data, at) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def held(self, low: int, high: int) -> tuple[int, int] | None:
        """A run of bytes within `low..high` that another process holds; None if there is none."""
        if self._file is None:
            return None
        found = self._ask(_GET, fcntl.F_WRLCK, low, high - low)
        kind, _, start, length, _ = _FLOCK.unpack(found)
        return None if kind == fcntl.F_UNLCK else (start, start + length)

    def _ask(self, command: int, kind: int, byte: int, length: int) -> bytes:
        assert self._file is not None
        return fcntl.fcntl(self._file, command, _FLOCK.pack(kind, 0, byte, length, 0))
