"""The contract between a worker's purse and the bank, which all workers share.

The bank knows of each counter what was spent, and who holds how much of it on lease. It never
leases more than is left below a ceiling, whatever was leased before and to whom.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from .counter import Counter
from .purse import Slip

TERM_US = 6_000_000  # who did not renew for so long is lost

Stretch = tuple[str, str, str, int, int]
"""What tells counters apart: scope, tenant, who, and from when to when (`Counter.stretch`)."""


class Ask(NamedTuple):
    """A booking that waits: as much in each of these counters, or in none."""

    counters: tuple[Counter, ...]
    nano_usd: int


class Held(NamedTuple):
    """What a holder has free of a counter, and how much more than it asks for would be of use."""

    free_nano_usd: int
    extra_nano_usd: int


class Room(NamedTuple):
    """How a counter is, after what was just leased.

    `number` is the bank's own; None: it has no row yet, and nothing of it was leased.
    `granted_nano_usd` is what the holder has got now. `used_nano_usd`: settled and unconfirmed, and
    the leases of lost holders. `leased_nano_usd`: of living holders, the asking one among them.
    """

    number: int | None
    granted_nano_usd: int
    used_nano_usd: int
    leased_nano_usd: int


class LostHolder(Exception):
    """The holder was taken for ended: what it had on lease is not its own any more."""

    def __init__(self, holder: str) -> None:
        """Hold who."""
        super().__init__(holder)
        self.holder = holder


class Bank(Protocol):
    """Where slices of counters are leased. Every method blocks and may raise StoreError."""

    def join(self) -> str:
        """A new holder; what it is called."""

    def renew(self, holder: str) -> None:
        """Say that a holder lives. Raises: LostHolder."""

    def reap(self) -> int:
        """Take for lost who did not renew in time, or was of an earlier start of the machine.

        How many those are. Costs a read where there are none.
        """

    def lease(
        self, holder: str, asks: Sequence[Ask], held: Mapping[Stretch, Held]
    ) -> dict[Stretch, Room]:
        """Lease what these bookings lack beside what the holder has free, in their order.

        Of each booking everything or nothing, all of them in one transaction; where nothing can be
        leased, nothing is written. A booking stands behind an earlier one that lacks something of
        the same counter. Says how each of their counters is. Raises: LostHolder.
        """

    def give_back(self, parts: Sequence[Slip]) -> None:
        """Take what was free off leases, also off those of a holder that was lost meanwhile."""

    def leave(self, holder: str) -> None:
        """Let a holder go. What is still on its leases is lost with it."""

    def close(self) -> None:
        """Let go of files and connections."""
