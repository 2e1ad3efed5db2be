"""Bounds on what is under way at a time, by name: a target's attempts, a tenant's requests.

A seat is taken before something begins and left when it is over. The seats of a name hold for all
workers together.
"""

from collections.abc import Callable
from typing import Protocol

Leave = Callable[[], None]


class Seats(Protocol):
    """Seats by name; used from one event loop."""

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        """A seat among so many of this name, waited for no longer than `patience_s`.

        What is returned gives the seat back and must be called once; None: there was none in time,
        or too many wait already.
        """


class Boundless:
    """Seats without a bound."""

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        """There is always one."""
        return nothing


def all_taken(seats: int | None) -> str:
    """What a tenant is told that has none left of so many seats; None: the number is not known."""
    if seats is None:
        return "As many requests of this tenant are under way as it may have at a time."
    counted = "1 request at a time is" if seats == 1 else f"{seats} requests at a time are"
    return f"This tenant is full: its {counted} under way; try again in a moment."


def nothing() -> None:
    """Give back what was never bounded."""
