"""What this worker may spend: slices of budgets, leased for all its requests together.

Before anything is sent, the worst case of an attempt is set aside from each counter that it counts
against; once it is over, what it did not cost comes back. Slices are leased off the request's path
from a bank that all workers share, so that together they never have more than there is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .counter import Counter


class Slip(NamedTuple):
    """What is to be taken off a lease once the ledger has the attempt that it was spent on.

    `counter` is the bank's number of the counter.
    """

    holder: str
    counter: int
    nano_usd: int


@dataclass(slots=True)
class Booking:
    """An amount set aside in some counters, until it is settled.

    `at_us`: when, UTC; the counters are those of that instant.
    """

    nano_usd: int
    at_us: int
    counters: tuple[Counter, ...] = ()
    open: bool = True


class Exceeded(Exception):
    """A budget has not as much left. `left_nano_usd` is what it has beside open reservations.

    `is_reserved`: it would fit, but for what others have set aside and may not need.
    """

    def __init__(self, counter: Counter, left_nano_usd: int, is_reserved: bool) -> None:
        """Hold which, and what is left of it."""
        super().__init__(counter.budget)
        self.counter = counter
        self.left_nano_usd = left_nano_usd
        self.is_reserved = is_reserved


class Unavailable(Exception):
    """Nobody can say what is left: the bank does not answer, or this worker has lost its leases."""


class Purse(Protocol):
    """What attempts are paid from; used from one event loop.

    `run` goes on beside requests. At the end, `close` comes before the journal writes what is left,
    and `leave` after it.
    """

    name: str

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        """Set an amount aside in all of these counters, or in none.

        Where only what others have set aside is in the way, waits up to `patience_s` for it.
        Raises: Exceeded, Unavailable.
        """

    def settle(self, booking: Booking, nano_usd: int) -> Sequence[Slip]:
        """Say what a booking has cost, or may have; the rest is free again. Once per booking.

        The slips go to the store together with the attempt's ledger row.
        """

    async def run(self) -> None:
        """Keep what is leased, and give back what is not needed, until cancelled."""

    async def close(self) -> None:
        """Book nothing any more, and give back what is free."""

    async def leave(self) -> None:
        """Let go of everything; what no ledger row has accounted for may have been spent."""

    def figures(self) -> "Figures":
        """How it stands."""


class Figures(NamedTuple):
    """How a purse stands, for `/health` and `/metrics`.

    `reserved_nano_usd`: open bookings; `free_nano_usd`: leased beside them; both add up several
    counters. `waiting`: bookings that the bank has not answered, or that wait for others.
    `renewed_us`: how long ago the lease was renewed; None: nothing is leased.
    `lost`: how often this worker was taken for ended. `trouble`: why the bank cannot be used now.
    """

    reserved_nano_usd: int = 0
    free_nano_usd: int = 0
    waiting: int = 0
    renewed_us: int | None = None
    lost: int = 0
    trouble: str | None = None


class Bottomless:
    """A purse without a bottom: for gateways whose budgets nobody watches."""

    name = "purse"

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        """There is always enough."""
        return Booking(nano_usd, 0, tuple(counters))

    def settle(self, booking: Booking, nano_usd: int) -> Sequence[Slip]:
        """Nothing was leased."""
        booking.open = False
        return ()

    async def run(self) -> None:
        """There is nothing to keep."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """There is nothing to give back."""

    async def leave(self) -> None:
        """There is nothing to let go of."""

    def figures(self) -> Figures:
        """Nothing is counted."""
        return Figures()
