"""What one process tells others through a file: replaced as a whole, never read torn.

A file is read and written, not mapped: a disk that is full or a file that was cut short is then an
error that can be caught, where a mapping would end the process. Writer and readers never wait.
"""

import os
import stat
import struct
import zlib
from functools import cache
from hashlib import sha256
from pathlib import Path

from turnout.engine.boot import boot_id

MOST_BYTES = 64 * 1024 * 1024  # whatever claims to be larger is not ours

# Magic, machine, version, length and checksum of what follows. An odd version is being written.
_HEAD = struct.Struct("<8s8sQII")
_MAGIC = b"turnout1"
_VERSION_AT = 16
_TRIES = 4  # to read what is written at the same moment, before the value of before stands


class Teller:
    """What this process tells, and the file that it is written to."""

    __slots__ = ("_handle", "_version", "pending", "told")

    def __init__(self) -> None:
        """Tell nothing, in no file."""
        self._handle: int | None = None
        self._version = 0
        self.pending = False  # whether `told` is not in the file
        self.told = b""

    def tell(self, told: bytes) -> bool:
        """Say what is to be told from now on; whether it has to be written."""
        if told != self.told or self._handle is None:
            self.told = told
            self.pending = True
        return self.pending

    def write(self, path: Path) -> None:
        """Write it, the first time to a new file at this path. Raises: OSError."""
        told = self.told
        self.pending = True
        if self._handle is None:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            self._handle = os.open(path, flags, 0o600)
        # It stays odd where this does not come to its end, and the value of before stands.
        self._version |= 1
        os.pwrite(self._handle, self._version.to_bytes(8, "little"), _VERSION_AT)
        rest, at = memoryview(told), _HEAD.size
        while rest:
            wrote = os.pwrite(self._handle, rest, at)
            rest, at = rest[wrote:], at + wrote
        self._version += 1
        head = _HEAD.pack(_MAGIC, machine(), self._version, len(told), zlib.crc32(told))
        os.pwrite(self._handle, head, 0)
        self.pending = False

    def close(self) -> bool:
        """Let go of the file; whether there was one."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
        return handle is not None


class Told:
    """What another process tells, as last read whole; None before that."""

    __slots__ = ("_handle", "_seen", "told")

    def __init__(self, path: Path) -> None:
        """Open its file. Raises: OSError."""
        self._handle = open_file(path)
        self._seen = b""
        self.told: bytes | None = None

    def changed(self) -> bool:
        """Whether it is another than at the last question; 0.7 µs where it is not."""
        try:
            for _ in range(_TRIES):
                if os.pread(self._handle, 8, _VERSION_AT) == self._seen:
                    return False
                if self._read():
                    return True
        except OSError:
            pass
        return False

    def _read(self) -> bool:
        """Take what is there; False where that is torn, or none of ours."""
        head = os.pread(self._handle, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return False
        magic, of, version, length, checksum = _HEAD.unpack(head)
        if magic != _MAGIC or of != machine() or version & 1 or length > MOST_BYTES:
            return False
        told = os.pread(self._handle, length, _HEAD.size)
        if len(told) != length or zlib.crc32(told) != checksum:
            return False
        self.told = told
        self._seen = version.to_bytes(8, "little")
        return True

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)


def open_file(path: Path) -> int:
    """A regular file, opened for reading. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is not a file")
    return handle


@cache
def machine() -> bytes:
    """What tells this machine since it was started: monotonic clocks compare only within that."""
    return sha256(boot_id().encode()).digest()[:8]
