"""Seats that the processes of one machine share: each is a locked byte of one file.

The kernel keeps who holds what, takes each lock in one step, and lets go of a process' locks when
it ends, however it ends. Nothing is written, and nothing has to be cleaned up after a crash.
"""

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from pathlib import Path

from turnout.engine.seats import Leave

from .locked import LockedFile

POLL_S = 0.02  # how often the first who waits looks for what other processes have left
LOOK_S = 1.0  # between two looks whether the file is still the one that others open
MOST_WAITING = 100  # for one name in one process; more would wait for nothing

_BITS = 20  # of the bytes of one name
_WAITING = 1 << (_BITS - 1)  # from here on, a byte says that a process has somebody waiting
MOST_SEATS = _WAITING
_QUESTIONS = 64  # to the kernel in one search: all runs of seats, where there are so few
_GUESSES = 24  # at single seats, before the search among more of them


class LockedSeats:
    """Seats by name for all processes that use the same folder; used from one event loop.

    Taking and leaving a free seat costs two system calls, 5 µs together. In one process those who
    wait are served in their order; among processes, whoever looks first. There are never more
    seats than there should be; of more than 64, a last free one may be overlooked for a moment.
    Where the folder cannot hold locks, each process counts for itself, and says so once. Where it
    was cleared, all meet again in a new file within a second, with what they hold.
    """

    def __init__(self, folder: Path) -> None:
        """Use a file in this folder, made at the first taking."""
        self._folder = folder
        self._file: LockedFile | None = None
        self._places: dict[str, _Place] = {}
        self._look_at = 0.0

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        """A seat among so many of this name, waited for no longer than `patience_s`.

        Where `seats` has shrunk, those who sit beyond the new number are not counted any more.
        """
        file = self._there()
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = _Place(file, _base(name))
        seats = min(seats, MOST_SEATS)
        if not place.queue:
            seat = place.find(seats)
            if seat is not None:
                return _Seat(place, seat)
        if patience_s <= 0 or len(place.queue) >= MOST_WAITING:
            return None
        return await place.wait(seats, patience_s)

    def _there(self) -> LockedFile:
        """The file, with what is held here; another one where it is not the others' any more."""
        now = time.monotonic()
        if self._file is None or (now >= self._look_at and self._file.is_gone()):
            self._file = LockedFile(self._folder / "seats")
            for place in self._places.values():
                place.move(self._file)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
        return self._file


class _Seat:
    """A seat that is held; calling it leaves it, once."""

    __slots__ = ("_place", "_seat")

    def __init__(self, place: "_Place", seat: int) -> None:
        self._place: _Place | None = place
        self._seat = seat

    def __call__(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave(self._seat)


class _Waiter:
    """Somebody in the queue; `seat` is resolved with a seat, or with None when time is up."""

    __slots__ = ("patience", "seat", "seats")

    def __init__(self, seats: int, seat: asyncio.Future[int | None]) -> None:
        self.seats = seats
        self.seat = seat
        self.patience: asyncio.TimerHandle | None = None


class _Place:
    """The seats of one name, as one process sees them.

    Its own locks do not stand in its way, so it keeps which seats are its own.
    """

    def __init__(self, file: LockedFile, base: int) -> None:
        self.queue: OrderedDict[_Waiter, None] = OrderedDict()
        self._file = file
        self._base = base  # the first byte of the name
        self._own: set[int] = set()
        self._left: list[int] = []  # seats that were held here and are likely to be free
        self._untried = 0  # how many seats have been tried, from this process' first on
        self._seats = 0
        self._poll: asyncio.TimerHandle | None = None
        self._generous = False
        # Each process begins elsewhere, so that they seldom meet and their seats lie together.
        self._first = random.getrandbits(_BITS - 1)
        self._mark = _WAITING + self._first  # what is locked while somebody waits here

    def find(self, seats: int) -> int | None:
        """Lock a free seat below `seats`; None if there is none."""
        own = self._own
        if seats != self._seats:
            self._seats = seats
            self._untried = 0
        if len(own) >= seats:
            return None
        while self._left:
            seat = self._left.pop()
            if seat < seats and seat not in own and self._file.lock(self._base + seat):
                own.add(seat)
                return seat
        while self._untried < seats:
            seat = (self._first + self._untried) % seats
            self._untried += 1
            if seat not in own:
                if self._file.lock(self._base + seat):
                    own.add(seat)
                    return seat
                break
        return self._search(seats)

    def move(self, file: LockedFile) -> None:
        """Hold in another file what is held here."""
        self._file = file
        self._untried = 0
        for seat in self._own:
            file.lock(self._base + seat)
        if self.queue:
            file.lock(self._base + self._mark)

    def _search(self, seats: int) -> int | None:
        """Look between the runs of seats that other processes hold: a question for each run."""
        if seats > _QUESTIONS:
            for _ in range(_GUESSES):
                seat = random.randrange(seats)
                if seat not in self._own and self._file.lock(self._base + seat):
                    self._own.add(seat)
                    return seat
        middle = random.randrange(seats)
        spans = [(0, middle), (middle, seats)]
        for _ in range(_QUESTIONS):
            low = high = 0
            while spans and low >= high:
                low, high = spans.pop()
            if low >= high:
                return None
            held = self._file.held(self._base + low, self._base + high)
            if held is not None:
                spans += ((held[1] - self._base, high), (low, held[0] - self._base))
                continue
            for seat in range(low, high):
                if seat not in self._own and self._file.lock(self._base + seat):
                    self._own.add(seat)
                    return seat
        return None

    def leave(self, seat: int) -> None:
        """Give a seat to the first who waits here, or back to all processes."""
        waiter = next(iter(self.queue), None)
        if waiter is not None and seat < waiter.seats and not self._gives_way():
            self._serve(waiter, seat)
            return
        self._own.discard(seat)
        self._file.unlock(self._base + seat)
        self._left.append(seat)
        if waiter is not None:
            # Another process' first in line looks before ours does.
            self._look_in(2 * POLL_S)

    def _gives_way(self) -> bool:
        """Whether this seat is for another process: every other one, where one has a queue."""
        self._generous = not self._generous
        low = self._base + _WAITING
        return self._generous and self._file.held(low, low + _WAITING) is not None

    async def wait(self, seats: int, patience_s: float) -> Leave | None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(seats, loop.create_future())
        waiter.patience = loop.call_later(patience_s, self._give_up, waiter)
        if not self.queue:
            self._file.lock(self._base + self._mark)
            self._look_in(POLL_S)
        self.queue[waiter] = None
        try:
            seat = await waiter.seat
        except asyncio.CancelledError:
            self._remove(waiter)
            if not waiter.seat.cancelled():
                given = waiter.seat.result()
                if given is not None:
                    self.leave(given)
            raise
        return None if seat is None else _Seat(self, seat)

    def _serve(self, waiter: _Waiter, seat: int | None) -> None:
        self._remove(waiter)
        if not waiter.seat.done():
            waiter.seat.set_result(seat)
        elif seat is not None:
            self.leave(seat)

    def _remove(self, waiter: _Waiter) -> None:
        if waiter.patience is not None:
            waiter.patience.cancel()
        self.queue.pop(waiter, None)
        if self.queue:
            return
        self._file.unlock(self._base + self._mark)
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _give_up(self, waiter: _Waiter) -> None:
        first = next(iter(self.queue), None)
        self._serve(waiter, self.find(waiter.seats) if waiter is first else None)

    def _look_in(self, seconds: float) -> None:
        if self._poll is not None:
            self._poll.cancel()
        self._poll = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._poll = None
        while self.queue:
            waiter = next(iter(self.queue))
            seat = self.find(waiter.seats)
            if seat is None:
                self._look_in(POLL_S)
                return
            self._serve(waiter, seat)


def _base(name: str) -> int:
    """The first of a name's bytes: its own, but for one chance in a million millions."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:5]) << _BITS
