"""Looking at counters and setting them right: the contract, for `turnout budget`.

Nothing of the ledger is ever edited. What is found out later (a provider's bill, a worker that
crashed) is appended as a row of the kind `correction`, and moves the counters in the same
transaction. Corrections are no calls, but their money counts.
"""

from collections import Counter as Totals
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from .counter import Counter
from .ledger import Entry

CORRECTION = "correction"
RECONCILED = "reconciled"  # the `usage_source` of a correction


class Standing(NamedTuple):
    """How a counter is. `unconfirmed_nano_usd` has the leases of lost holders in it.

    `reserved_nano_usd`: what living holders have on lease: open bookings, free parts, and what was
    settled and is not in the ledger yet. `tenant` is as a `Counter` has it.
    """

    scope: str
    tenant: str
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
    """What a worker that ended had of a counter, and nobody has accounted for.

    `tenant`: whose counter it is, of each scope; empty where that is of several, as a model's is.
    """

    holder: str
    counter: int
    scope: str
    tenant: str
    who: str
    from_us: int
    to_us: int
    nano_usd: int
    lost_us: int


class Loss(NamedTuple):
    """What a worker that ended may have spent for a tenant, and nobody has accounted for.

    A request is booked in several counters, so leases of one worker tell of the same money:
    `nano_usd`, the most that it can be, is the largest of the tenant's (of those who share a scope
    and a stretch: together), not their sum. `follow`: leases that are of other tenants, too, as
    those of models are. `tenant` is None where no lease tells whose it was.
    """

    holder: str
    tenant: str | None
    lost_us: int
    nano_usd: int
    leases: tuple[LostLease, ...]
    follow: tuple[LostLease, ...] = ()

    @property
    def id(self) -> str:
        """What tells losses apart."""
        return f"lease:{self.holder}" + (f":{self.tenant}" if self.tenant is not None else "")

    def of(self, scope: str, nano_usd: int = 0) -> str | None:
        """Who alone of a scope can have spent this much; None where there are several, or none.

        A model, too, whose lease only follows: what is taken off it has to be in its counter.
        """
        its = [one for one in (*self.leases, *self.follow) if one.scope == scope]
        names = {one.who for one in its}
        if len(names) == 1 and max(one.nano_usd for one in its) >= nano_usd:
            return names.pop()
        return None


def losses_of(leases: Iterable[LostLease]) -> list[Loss]:
    """Lost leases, those that belong together as one; in the order of the first of each."""
    by_holder: dict[str, list[LostLease]] = {}
    for lease in leases:
        by_holder.setdefault(lease.holder, []).append(lease)
    found = []
    for holder, its in by_holder.items():
        by_tenant: dict[str, list[LostLease]] = {}
        for one in its:
            by_tenant.setdefault(one.tenant, []).append(one)
        models = by_tenant.pop("", [])
        if not by_tenant:
            found.append(_loss(holder, None, models))
            continue
        if len(by_tenant) == 1:
            # What others spent at these models, who have no budget of their own, is not the
            # tenant's: at most it is what its own leases say.
            ((tenant, those),) = by_tenant.items()
            found.append(_loss(holder, tenant, those)._replace(leases=tuple(its)))
            continue
        found += [_loss(holder, tenant, those, models) for tenant, those in by_tenant.items()]
    return found


def _loss(
    holder: str,
    tenant: str | None,
    leases: Sequence[LostLease],
    follow: Sequence[LostLease] = (),
) -> Loss:
    return Loss(holder, tenant, leases[0].lost_us, _most(leases), tuple(leases), tuple(follow))


def _most(leases: Sequence[LostLease]) -> int:
    """What may have been spent at most, where leases tell of the same money."""
    sums: Totals[tuple[str, int, int]] = Totals()
    for one in leases:
        sums[one.scope, one.from_us, one.to_us] += one.nano_usd
    return max(sums.values())


class Unconfirmed(NamedTuple):
    """A row of the ledger of which nobody knows what it has cost.

    `left_nano_usd`: what no correction has dealt with yet.
    """

    number: int
    entry: Entry
    left_nano_usd: int


class Correction(NamedTuple):
    """A correction of the ledger, with what was said of it since."""

    number: int
    entry: Entry
    cost_nano_usd: int


class Drift(NamedTuple):
    """A counter that does not say what the ledger says."""

    scope: str
    tenant: str
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

    def losses(self) -> list[Loss]:
        """What lost holders have, oldest first."""

    def unconfirmed(self, since_us: int = 0, tenant: str | None = None) -> list[Unconfirmed]:
        """The rows with unconfirmed spend that the gateway may have to pay, oldest first."""

    def correct(self, number: int, cost_nano_usd: int) -> int:
        """Say what an unconfirmed row has cost; 0 releases it. The number of the row appended.

        Raises: LookupError if there is no such row, or nothing of it is left.
        """

    def correction(self, number: int) -> Correction:
        """What a correction says by now. Raises: LookupError if the row is none."""

    def correct_again(self, number: int, cost_nano_usd: int) -> int:
        """Say anew what a correction has said; the number of the row appended.

        The row has the difference, which may be below 0. Raises: LookupError if there is none.
        """

    def settle_lost(self, loss: Loss, cost_nano_usd: int) -> int:
        """Say what a lost holder has spent; 0 releases it. The number of the one row appended.

        All leases of the loss are gone after it; the cost is taken off those that follow. The row
        names of tenant, team, user, key and target who alone can have spent as much. Raises:
        LookupError if nothing is left of it.
        """
