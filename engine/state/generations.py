"""Numbers of tenants that all processes of a machine see: another number, and answers are void.

A file of numbers of eight bytes: the first is another one after every change, the others belong to
all tenants and to those whose name falls there. It is read and written, not mapped: a file that was
cut short is then an error that can be caught, where a mapping would end the process.
"""

import fcntl
import logging
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

from turnout.engine.cached import CacheError
from turnout.engine.folder import make_closed

FILE = "generations"
_CHANGES, _ALL, _FIRST = 0, 1, 2  # places in the file; of tenants from `_FIRST` on
_PLACES = 4096  # tenants that share one void each other's answers, no more
_SIZE = 8 * (_FIRST + _PLACES)
_LOOK_NS = 1_000_000_000  # between two looks whether the file is still the one that others read
_PATIENCE_S = 1.0  # for another process that raises a number
_MOST_TENANTS = 10_000  # whose numbers are remembered

_log = logging.getLogger("turnout.cache")


def fleeting() -> int:
    """A number while there is none to be had: another one every second, and no real one.

    So requests at the same time still share an answer, and none is given for longer.
    """
    return -1 - time.monotonic_ns() // 1_000_000_000


class SharedGenerations:
    """`Generations` for all processes that use the same folder; used from any thread.

    `of` costs 1 µs: one read of eight bytes. It sees what another process raised before it was
    called; where the file was removed meanwhile, up to a second later. Where there can be no file,
    numbers are `fleeting`: nothing is given for longer that another process may have made void.
    """

    def __init__(self, folder: Path) -> None:
        """Use a file in this folder, made where missing; says in the log if there can be none."""
        self._folder = folder
        self._path = folder / FILE
        self._guard = threading.Lock()
        self._file = -1
        # What was read with which changes: one value, so that nobody sees a part of it.
        self._read_at: tuple[bytes, dict[str, int]] = (b"", {})
        self._look_at = 0
        self._is_closed = False
        self._complained = False
        with self._guard:
            self._look()

    def of(self, tenant: str) -> int:
        """The number now."""
        if time.monotonic_ns() >= self._look_at:
            with self._guard:
                self._look()
        try:
            changes = os.pread(self._file, 8, 0)
        except OSError:
            changes = b""
        seen, known = self._read_at
        if changes == seen and (found := known.get(tenant)) is not None:
            return found
        with self._guard:
            return self._read(tenant)

    def raise_(self, tenant: str | None) -> None:
        """Let it be another one. Raises: CacheError, where others would not see it."""
        with self._guard:
            self._look(anew=True)
            if self._file < 0:
                raise CacheError(f"`{self._path}` cannot be written")
            try:
                self._raise(_ALL if tenant is None else _place(tenant))
            except OSError as error:
                raise CacheError(f"`{self._path}` cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file; numbers are fleeting from here on."""
        with self._guard:
            self._is_closed = True
            self._drop()

    def __del__(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)

    # --- with the guard --------------------------------------------------------------------------

    def _raise(self, place: int) -> None:
        _lock(self._file)
        try:
            # A time, so that a number never comes again, whatever becomes of the file.
            raised = max(time.time_ns(), self._number(place) + 1)
            _write(self._file, place, raised)
            # Last: who sees this one sees the other.
            _write(self._file, _CHANGES, self._number(_CHANGES) + 1)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read(self, tenant: str) -> int:
        """The number of a tenant, as it is in the file; a fleeting one if there is none."""
        try:
            # Before the numbers: what is raised while they are read is looked at once more.
            changes = os.pread(self._file, 8, 0)
            number = (self._number(_ALL) << 64) + self._number(_place(tenant))
        except OSError:
            self._look_at = 0
            return fleeting()
        seen, known = self._read_at
        if changes != seen or len(known) >= _MOST_TENANTS:
            # Anew, not cleared: others read it without the guard.
            known = {}
            self._read_at = (changes, known)
        known[tenant] = number
        return number

    def _number(self, place: int) -> int:
        found = os.pread(self._file, 8, 8 * place)
        if len(found) != 8:
            raise OSError(0, "it was cut short")
        return int.from_bytes(found, "little")

    def _look(self, anew: bool = False) -> None:
        """Open the file that is there now, made where missing."""
        now = time.monotonic_ns()
        if self._is_closed or (not anew and now < self._look_at):
            return
        self._look_at = now + _LOOK_NS
        if self._file >= 0 and self._is_current():
            return
        self._drop()
        try:
            self._file = _opened(self._folder, self._path)
            self._complained = False
        except OSError as error:
            if not self._complained:
                self._complained = True
                _log.warning(
                    "no answer is kept for longer than a second: `%s` cannot be used (%s)",
                    self._path,
                    error.strerror,
                )

    def _is_current(self) -> bool:
        try:
            there = os.stat(self._path)
            return os.path.samestat(there, os.fstat(self._file)) and there.st_size == _SIZE
        except OSError:
            return False

    def _drop(self) -> None:
        file, self._file = self._file, -1
        self._read_at = (b"", {})
        if file >= 0:
            os.close(file)


def _opened(folder: Path, path: Path) -> int:
    """The file at a path, made as a whole where it is missing or no such file. Raises: OSError."""
    make_closed(folder)
    for _ in range(3):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            if os.fstat(file).st_size == _SIZE:
                return file
            os.close(file)
            os.unlink(path)
        _make(path)
    raise OSError(0, "it changes all the time")


def _make(path: Path) -> None:
    """Make the file, unless another process does."""
    made = path.with_name(f"{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    file = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        now = time.time_ns().to_bytes(8, "little")
        if os.write(file, now * (_SIZE // 8)) != _SIZE:
            raise OSError(0, "there is no room for it")
        try:
            os.link(made, path)  # all of it at once, and never over another one
        except FileExistsError:
            pass
    finally:
        os.close(file)
        os.unlink(made)


def _lock(file: int) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise OSError(0, "another process holds it") from None
        time.sleep(0.000_5)


def _write(file: int, place: int, number: int) -> None:
    if os.pwrite(file, number.to_bytes(8, "little"), 8 * place) != 8:
        raise OSError(0, "there is no room for it")


def _place(tenant: str) -> int:
    digest = sha256(tenant.encode("utf-8", "surrogatepass")).digest()
    return _FIRST + int.from_bytes(digest[:8]) % _PLACES
