"""Whether a request may begin: how many are under way, of this worker and of a tenant.

Asked before a body is read, so that a request that is turned away costs next to nothing and uses
nothing up. Where there is no room it may wait in a short queue, since a moment later there often
is; beyond the queue and its time it is told when to come back.
"""

import asyncio
import random
import resource
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from turnout.engine.request import RequestError
from turnout.engine.seats import Leave, all_taken
from turnout.settings import Limits

SeatOf = Callable[[str, float], Awaitable[Leave | None]]
"""A seat among those a tenant may have, waited for so many seconds; None: there was none."""

SeatsOf = Callable[[str], int | None]
"""How many seats a tenant may have; None: no number is set."""

# Files that a worker has open whatever is under way: code, journal, logs, the listening socket.
_OWN_FILES = 128
_MOST_FILES = 65_536
# Of a request: its client, the provider, and perhaps a copy to another or an embedding.
_FILES_EACH = 4
_MOST_REQUESTS = 2_000
_MOST_CONNECTIONS = 10_000
_FEWEST = 16


class Capacity(NamedTuple):
    """How many requests may be under way in one worker, and how many clients connected."""

    concurrency: int
    connections: int


def raise_open_files() -> None:
    """Let this process open as many files as the system lets it, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # a sandbox may forbid it; then it is what it was


def capacity(limits: Limits) -> Capacity:
    """What the settings say, else what fits into the files that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if soft == resource.RLIM_INFINITY else min(soft, _MOST_FILES)
    spare = files - _OWN_FILES
    concurrency = limits.concurrency
    if concurrency is None:
        concurrency = max(_FEWEST, min(_MOST_REQUESTS, spare // _FILES_EACH))
    connections = limits.connections
    if connections is None:
        connections = max(_FEWEST, min(_MOST_CONNECTIONS, spare - 2 * concurrency))
    return Capacity(concurrency, connections)


class Admission:
    """The requests under way in one worker; used from its event loop."""

    def __init__(self, limits: Limits, most: int, turned_away: Callable[[str], None]) -> None:
        """Admit `most` at a time; `turned_away` is told of each that is not, and why."""
        self.most = most
        self.under_way = 0
        self._queue = limits.queue
        self._patience_s = limits.queue_us / 1e6
        self._turned_away = turned_away
        self._waiting: dict[asyncio.Future[bool], None] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    async def enter(self, tenant: str, seat_of: SeatOf, seats_of: SeatsOf) -> Leave:
        """Let a request of a tenant begin; what is returned ends it and must be called once.

        The tenant's seat comes first: who waits for that keeps nobody else out. `seats_of` is for
        telling those who get none.
        Raises: RequestError 503 `overloaded` or `draining`, 429 `concurrency_exceeded`.
        """
        self._check_open()
        if self._is_full():
            raise self._overloaded()
        seat = await seat_of(tenant, self._patience_s)
        if seat is None:
            self._turned_away("tenant_full")
            raise RequestError(
                429,
                "rate_limit_error",
                "concurrency_exceeded",
                all_taken(seats_of(tenant)),
                retry_after_us=_a_while_us(),
                should_retry=True,
            )
        try:
            await self._take_room()
        except BaseException:
            seat()
            raise

        def leave() -> None:
            seat()
            self._leave_room()

        return leave

    def close(self) -> None:
        """Admit nothing more, and tell those who wait."""
        self._closed = True
        for one in self._waiting:
            _give_up(one)

    def _is_full(self) -> bool:
        return self.under_way >= self.most and len(self._waiting) >= self._queue

    async def _take_room(self) -> None:
        self._check_open()
        if self.under_way < self.most:
            self.under_way += 1
            return
        if self._is_full():
            raise self._overloaded()
        loop = asyncio.get_running_loop()
        room: asyncio.Future[bool] = loop.create_future()
        self._waiting[room] = None
        patience = loop.call_later(self._patience_s, _give_up, room)
        try:
            given = await room
        except asyncio.CancelledError:
            if not room.cancelled() and room.result():
                self._leave_room()
            raise
        finally:
            patience.cancel()
            self._waiting.pop(room, None)
        if not given:
            self._check_open()
            raise self._overloaded()

    def _leave_room(self) -> None:
        for first in self._waiting:
            if not first.done():
                first.set_result(True)
                return
        self.under_way -= 1

    def _check_open(self) -> None:
        if self._closed:
            self._turned_away("draining")
            raise RequestError(
                503,
                "service_unavailable_error",
                "draining",
                "The gateway is shutting down and takes no new requests.",
                retry_after_us=_a_while_us(),
                should_retry=True,
            )

    def _overloaded(self) -> RequestError:
        self._turned_away("worker_full")
        return RequestError(
            503,
            "service_unavailable_error",
            "overloaded",
            "The gateway has as many requests under way as it can; try again in a moment.",
            retry_after_us=_a_while_us(),
            should_retry=True,
        )


def _give_up(room: asyncio.Future[bool]) -> None:
    if not room.done():
        room.set_result(False)


def _a_while_us() -> int:
    """Half a second to one and a half: who was refused together does not come back together."""
    return random.randrange(500_000, 1_500_000)
