"""Looking at counters and setting them right: the contract, for `turnout budget`.

Nothing of the ledger is ever edited. What is found out later (a provider's bill, a worker that
crashed) is appended as a row of the kind `correction`, and moves the counters in the same
transaction. Corrections are no calls, but their money counts.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .counter import Counter
from .ledger import Entry

CORRECTION = "correction"
RECONCILED = "reconciled"  # the `usage_source` of a correction


class Standing(NamedTuple):
    """How a counter is. `unconfirmed_nano_usd` has the leases of lost holders in it.

    `reserved_nano_usd`: what living holders have on lease: open bookings, free parts, and what was
    settled and is not in the ledger yet.
    """

    scope: str
    who: str
    from_us: int
    to_us: int
    settled_nano_usd: int
    unconfirmed_nano_usd: int
    reserved_nano_usd: int

    @property
    def used_nano_usd(self) -> int:
        """What was spent, or may have been."""
        return self.settled_nano_usd + self.unconfirmed_nano_usd


class LostLease(NamedTuple):
    """What a worker that ended had of a counter, and nobody has accounted for."""

    holder: str
    counter: int
    scope: str
    who: str
    from_us: int
    to_us: int
    nano_usd: int
    lost_us: int


class Unconfirmed(NamedTuple):
    """A row of the ledger of which nobody knows what it has cost.

    `left_nano_usd`: what no correction has dealt with yet.
    """

    number: int
    entry: Entry
    left_nano_usd: int


class Drift(NamedTuple):
    """A counter that does not say what the ledger says."""

    scope: str
    who: str
    from_us: int
    to_us: int
    settled_nano_usd: int
    unconfirmed_nano_usd: int
    ledger_settled_nano_usd: int
    ledger_unconfirmed_nano_usd: int


class Books(Protocol):
    """Counters, leases and unconfirmed spend. Every method blocks and may raise StoreError."""

    def standings(self, counters: Sequence[Counter]) -> list[Standing]:
        """How these are, in their order; one without a row is as the ledger says. Makes none."""

    def known(self, scope: str, from_us: int, to_us: int) -> list[Standing]:
        """Every counter of a scope and a stretch, by who it is of."""

    def recount(self) -> list[Drift]:
        """The counters of present stretches that differ from the ledger's sums."""

    def repair(self) -> list[Drift]:
        """Set right what differs, in one transaction; what was wrong."""

    def lost_leases(self) -> list[LostLease]:
        """What lost holders have, oldest first."""

    def unconfirmed(self, since_us: int = 0, tenant: str | None = None) -> list[Unconfirmed]:
        """The rows with unconfirmed spend that the gateway may have to pay, oldest first."""

    def correct(self, number: int, cost_nano_usd: int) -> int:
        """Say what an unconfirmed row has cost; 0 releases it. The number of the row appended.

        Raises: LookupError if there is no such row, or nothing of it is left.
        """

    def settle_lost(self, lost: LostLease, cost_nano_usd: int) -> int:
        """Say what a lost lease has cost; 0 releases it. The number of the row appended.

        The cost is also taken off the same holder's other leases of the same one that cover the
        instant. Raises: LookupError if the lease is gone.
        """
