"""Rates that the processes of one machine share: a record for each in one file, its byte locked.

Nothing has to be cleaned up after a crash. The kernel lets go of locks. A record has its level
twice, each with a number and a checksum, and a change overwrites the older one: what was being
written when a process was killed is not there, and so is the request that it was for. What was
taken in each sub-window is written down when time moves on to the next one, and the level is then
added up anew from these: whatever was left half done is right again within 250 ms.

    record: 2 levels of 64 bytes, 256 parts of 16 bytes (number of the sub-window, units)
    level:  whose (16 bytes of a hash), number, sub-window, units before it, units in it, checksum

Where a name's record may be follows from the name: a few places in each of some tables, every one
larger than the one before. The next table begins only when somebody finds no place in these; the
file is as long as its tables, and takes room only for records that were written. A record of which
nothing counts any more is taken for whoever is new, so each place of a name is looked at before one
is taken for it, by one process at a time.

Over 300 lines because how a record is written stands beside what is done with it.
"""

import asyncio
import hashlib
import logging
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from turnout.engine.boot import boot_us
from turnout.engine.rates import (
    PAST,
    Level,
    Part,
    Rate,
    Taken,
    Uncertain,
    UsedUp,
    counts,
    fits_at,
    index_at,
    moved,
    reset_at,
    until_us,
)

from .locked import LockedFile
from .told import machine

FILE = "rates"
LOOK_S = 1.0  # between two looks whether the file is still the one that others open
AGAIN_S = 60.0  # before a file that failed is tried again
_SPINS = 50  # at a lock that another process has, which is seldom held for longer than 20 µs
_PAUSE_S = 0.001
_PATIENCE = 250  # such pauses, for a process that was stopped while it had the lock
_KNOWN = 100_000  # names whose place is remembered; to find it again takes some 20 µs

_LEVEL = struct.Struct("<16sQqqqI12x")
_SAID = struct.Struct("<16sQqqq")  # what of it the checksum is of
_PART = struct.Struct("<qq")
_PARTS = 256
_PARTS_AT = 2 * _LEVEL.size
_RECORD = _PARTS_AT + _PARTS * _PART.size
TABLES: tuple[int, ...] = (1 << 10, 1 << 13, 1 << 16, 1 << 19)  # places of each
PROBES = 8  # places of a name in each table
_APART = 8  # sub-windows, at most, between what two processes read of the clock
_WHICH = 1 << 40  # the byte that is locked while it is found out which record is whose

_log = logging.getLogger("turnout.rates")


class SharedRates:
    """`Rates` for all processes that use the same folder; used from one event loop.

    Cost: 10 µs to take, as much to correct, 60 µs once in 250 ms for each name; a refusal 60 µs.
    A name's first time takes some 20 µs more, however many there are. Whoever finds a record locked
    for a quarter of a second, or no place for a name, is told `Uncertain`. Where the folder
    cannot hold the file, each process counts for itself, and says so once. Where it was cleared,
    all meet again in a new file within a second, and rates begin anew.
    """

    def __init__(self, folder: Path, now_us: Callable[[], int] = boot_us) -> None:
        """Use a file in this folder, made at the first taking."""
        self._path = folder / FILE
        self._now_us = now_us
        self._file: _File | None = None
        self._records: OrderedDict[str, int] = OrderedDict()  # by whose they are
        self._look_at = 0.0
        self._late: list[tuple[Taken, int]] = []  # corrections for which a lock was not free

    async def take(self, rate: Rate, units: int) -> Taken:
        """Take units of a rate; a refusal takes nothing. Raises: UsedUp, Uncertain."""
        for _ in range(_PATIENCE):
            for _ in range(_SPINS):
                try:
                    return self._take(rate, units)
                except _Full:
                    raise Uncertain from None
                except _Busy:
                    pass
                except OSError as error:
                    self._fall_back(error)
            await asyncio.sleep(_PAUSE_S)
        raise Uncertain

    def correct(self, taken: Taken, units: int) -> None:
        """Say that so many units were used, not those that were taken; once for each taking."""
        if units == taken.units:
            return
        self._late.append((taken, units))
        if len(self._late) == 1:
            self._correct_late()

    @property
    def waiting(self) -> int:
        """How many corrections wait for a lock."""
        return len(self._late)

    def _correct_late(self) -> None:
        while self._late:
            if not self._corrected(*self._late[0]):
                asyncio.get_running_loop().call_later(_PAUSE_S, self._correct_late)
                return
            self._late.pop(0)

    def _corrected(self, taken: Taken, units: int) -> bool:
        for _ in range(_SPINS):
            try:
                self._correct(taken, units)
                return True
            except _Full:
                return True  # its record is another's by now: what was taken counts no more
            except _Busy:
                pass
            except OSError as error:
                self._fall_back(error)
        return False

    # --- with a record locked --------------------------------------------------------------------

    def _take(self, rate: Rate, units: int) -> Taken:
        now_us = self._now_us()
        with _Locked(self, _whose(rate), index_at(now_us)) as record:
            level = record.level
            left = rate.limit - level.used
            reset_us = until_us(reset_at(level), now_us)
            if units > left:
                at = fits_at(level, record.parts(), rate.limit, units)
                wait_us = None if at is None else until_us(at, now_us)
                raise UsedUp(rate, max(left, 0), wait_us, reset_us if level.used else 0)
            record.write(level._replace(now=level.now + units))
            return Taken(rate, units, level.at, left - units, reset_us)

    def _correct(self, taken: Taken, units: int) -> None:
        with _Locked(self, _whose(taken.rate), index_at(self._now_us())) as record:
            level = record.level
            if units > taken.units or taken.index == level.at:
                now = max(level.now + units - taken.units, 0)
                record.write(level._replace(now=now))
            elif counts(taken.index, level.at):
                before = record.part(taken.index)
                after = max(before - (taken.units - units), 0)
                record.write_part(taken.index, after)
                record.write(level._replace(past=max(level.past - (before - after), 0)))

    # --- which record is whose -------------------------------------------------------------------

    def file(self) -> "_File":
        """The file; another one where it is not the others' any more."""
        now = time.monotonic()
        file = self._file
        if file is None or (now >= self._look_at and file.is_gone()):
            opened = LockedFile(self._path)
            file = self._file = opened if opened.is_there else _Memory()
            self._look_at = now + (LOOK_S if opened.is_there else AGAIN_S)
            self._records.clear()
        elif now >= self._look_at:
            self._look_at = now + LOOK_S
        return file

    def _fall_back(self, error: OSError) -> None:
        """Count for this process alone, for a while."""
        _log.warning(
            "rates hold for each worker by itself, not for all together: `%s` cannot be used (%s)",
            self._path,
            error.strerror,
        )
        self._file = _Memory()
        self._records.clear()
        self._look_at = time.monotonic() + AGAIN_S

    def locked(self, whose: str, index: int) -> "tuple[_Record, int]":
        """A name's record, locked, with its number; made where there is none.

        Raises: _Busy, _Full, OSError.
        """
        file, name = self.file(), _name(whose)
        number = self._records.get(whose)
        if number is not None:
            record = _lock(file, number)
            if record.name == name:
                return record, number
            file.unlock(number)
            del self._records[whose]
        if not file.lock(_WHICH):
            raise _Busy
        try:
            number = _find(file, name, index)
            record = _lock(file, number)
            if record.name != name:
                if not record.is_idle(index):
                    file.unlock(number)
                    raise _Busy
                record.clear(name, index)
        finally:
            file.unlock(_WHICH)
        self._records[whose] = number
        if len(self._records) > _KNOWN:
            self._records.popitem(last=False)
        return record, number


class _Busy(Exception):
    """Another process has the lock."""


class _Full(Exception):
    """Whatever may be a name's place is somebody else's."""


class _Locked:
    """A record for as long as nobody else uses it; its level is that of the present sub-window."""

    __slots__ = ("_file", "_number", "_record")

    def __init__(self, rates: SharedRates, whose: str, index: int) -> None:
        self._record, self._number = rates.locked(whose, index)
        self._file = self._record.file
        try:
            self._record.move(index)
        except BaseException:
            self._file.unlock(self._number)
            raise

    def __enter__(self) -> "_Record":
        return self._record

    def __exit__(self, *_: object) -> None:
        self._file.unlock(self._number)


class _Record:
    """One record, as it was read."""

    __slots__ = ("_at", "_number", "file", "level", "name")

    def __init__(self, file: "_File", number: int) -> None:
        self.file = file
        self._at = number * _RECORD
        self._number = -1
        self.name = b""
        self.level = Level(0, 0, 0)
        read = file.read(self._at, _PARTS_AT)
        for at in (0, _LEVEL.size):
            if len(read) < at + _LEVEL.size:
                return
            name, version, index, past, now, checksum = _LEVEL.unpack_from(read, at)
            if version > self._number and zlib.crc32(read[at : at + _SAID.size]) == checksum:
                self._number, self.name = version, name
                self.level = Level(index, past, now)

    def is_idle(self, index: int) -> bool:
        """Whether nothing in it counts: not now, and not for who has read the clock before us."""
        # A level far ahead is of before the machine was started anew.
        return not self.name or not index - PAST - _APART <= self.level.at <= index + _APART

    def move(self, index: int) -> None:
        """Come to the present sub-window; one that another process has seen already stands."""
        level = self.level
        if index > level.at:
            if level.now:
                self.write_part(level.at, level.now)
            self.write(moved(self.parts(), index))

    def write(self, level: Level) -> None:
        self._number += 1
        said = _SAID.pack(self.name, self._number, *level)
        checked = said + zlib.crc32(said).to_bytes(4, "little")
        self.file.write(self._at + (self._number & 1) * _LEVEL.size, checked)
        self.level = level

    def parts(self) -> list[Part]:
        """What was taken in the sub-windows before; some of them count no more."""
        read = self.file.read(self._at + _PARTS_AT, _PARTS * _PART.size)
        return list(_PART.iter_unpack(read[: len(read) // _PART.size * _PART.size]))

    def part(self, index: int) -> int:
        read = self.file.read(self._part_at(index), _PART.size)
        at, units = _PART.unpack(read) if len(read) == _PART.size else (0, 0)
        return units if at == index else 0

    def write_part(self, index: int, units: int) -> None:
        self.file.write(self._part_at(index), _PART.pack(index, units))

    def clear(self, name: bytes, index: int) -> None:
        """Let it be somebody else's, and empty."""
        self.file.write(self._at, bytes(_RECORD))
        self.name, self._number = name, -1
        self.write(Level(index, 0, 0))

    def _part_at(self, index: int) -> int:
        return self._at + _PARTS_AT + index % _PARTS * _PART.size


def _lock(file: "_File", number: int) -> _Record:
    """A record, locked. Raises: _Busy, OSError."""
    if not file.lock(number):
        raise _Busy
    try:
        return _Record(file, number)
    except BaseException:
        file.unlock(number)
        raise


def _find(file: "_File", name: bytes, index: int) -> int:
    """The place of a name: where its record is, else the first that is idle. Raises: _Full.

    Cost: 2 µs for each place, up to its own.
    """
    idle = None
    size = file.size()
    for first, places in _places(name):
        if idle is not None and first * _RECORD >= size:
            break  # nobody has begun this table, nor those after it
        for one in places:
            record = _Record(file, one)
            if record.name == name:
                return one
            if idle is None and record.is_idle(index):
                idle = one
    if idle is None:
        raise _Full
    return idle


def _places(name: bytes) -> Iterator[tuple[int, list[int]]]:
    """Where a name's record may be: of each table its first place of all, and the name's own."""
    home, step = (int.from_bytes(part, "little") for part in (name[:8], name[8:]))
    first = 0
    for size in TABLES:
        # An odd step meets each place of a table once before it comes back.
        yield first, [first + (home + number * (step | 1)) % size for number in range(PROBES)]
        first += size


def _whose(rate: Rate) -> str:
    return f"{rate.unit} {rate.name}"


def _name(whose: str) -> bytes:
    """A name as records have it: of this machine since it was started, by whose clock they go."""
    return hashlib.sha256(machine() + whose.encode("utf-8", "surrogatepass")).digest()[:16]


class _File(Protocol):
    """Where records are: a `LockedFile`, or memory."""

    def lock(self, byte: int) -> bool: ...
    def unlock(self, byte: int) -> None: ...
    def is_gone(self) -> bool: ...
    def size(self) -> int: ...
    def read(self, at: int, size: int) -> bytes: ...
    def write(self, at: int, data: bytes) -> None: ...


class _Memory:
    """Records of this process alone."""

    def __init__(self) -> None:
        self._records: dict[int, bytearray] = {}

    def lock(self, byte: int) -> bool:
        return True

    def unlock(self, byte: int) -> None:
        pass

    def is_gone(self) -> bool:
        """Whether to look again for a file that can be shared."""
        return True

    def size(self) -> int:
        return (max(self._records, default=-1) + 1) * _RECORD

    def read(self, at: int, size: int) -> bytes:
        number, start = divmod(at, _RECORD)
        return bytes(self._records.get(number, b"")[start : start + size])

    def write(self, at: int, data: bytes) -> None:
        number, start = divmod(at, _RECORD)
        record = self._records.setdefault(number, bytearray(_RECORD))
        record[start : start + len(data)] = data
