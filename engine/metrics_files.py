"""The files in which the workers count together, made so that a full disk ends none of them.

`prometheus_client` writes through a mapping of a file with holes. A hole that the disk has no room
for ends whoever writes into it (SIGBUS), and then the worker that takes its place. Here room is
taken first; what there is none for is counted in memory, where the other workers do not see it.
"""

import logging
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

_FIRST_BYTES = 16 * 1024  # of a file; it doubles
_BESIDE_NAME_BYTES = 32  # of a row, at most

_log = logging.getLogger("turnout.metrics")


class _Counts(MmapedDict):
    """Values by name, in a file without holes as far as there is room.

    What was without room once stays in memory. Costs a look into a dictionary for each count.
    """

    _complained = False

    def __init__(self, filename: str) -> None:
        self._file = Path(filename)
        self._apart: dict[str, tuple[float, float]] = {}
        self._f: Any = None
        self._m: Any = None
        self._positions: dict[str, int] = {}
        with suppress(OSError):
            self._open()  # else at the first value

    def read_value(self, key: str) -> tuple[float, float]:
        """A value and when it was set, 0 for a new one."""
        found = self._apart.get(key)
        if found is None:
            try:
                found = super().read_value(key)  # type: ignore[no-untyped-call]
            except OSError as error:
                found = self._apart[key] = (0.0, 0.0)
                self._complain(error)
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Replace a value that was read before."""
        if key in self._apart:
            self._apart[key] = (value, timestamp)
        else:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._f is None:
            self._open()
        while self._used + len(key.encode()) + _BESIDE_NAME_BYTES > self._capacity:
            capacity = 2 * self._capacity
            _fill(self._f.fileno(), capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        _make(self._file)
        super().__init__(str(self._file))  # type: ignore[no-untyped-call]

    def _complain(self, error: OSError) -> None:
        if not _Counts._complained:
            _Counts._complained = True
            _log.warning(
                "there is no room for the counts of this worker in `%s`: %s; what it counts from "
                "now on is not seen by the others",
                self._file.parent,
                error.strerror,
            )


def use() -> None:
    """Let what this process counts from here on be kept in such files."""
    values.MmapedDict = _Counts  # type: ignore[assignment, attr-defined]


def _make(path: Path) -> None:
    """Make the file, all of it at once: who reads it never finds it empty. Raises: OSError."""
    with suppress(FileNotFoundError):
        if path.stat().st_size:
            return
    made = path.with_suffix(".new")
    handle = os.open(made, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _fill(handle, _FIRST_BYTES)
        made.replace(path)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def _fill(handle: int, size: int) -> None:
    """Write zeros from the end of a file to this size; it stays as it was where that fails."""
    before = os.fstat(handle).st_size
    at = before
    try:
        while at < size:
            at += os.pwrite(handle, bytes(size - at), at)
    except OSError:
        os.ftruncate(handle, before)
        raise
