"""The contract between the journal and what keeps it: groups go in, records come out.

A store is used from several threads of a process, and several processes may share what is behind
it. Which library talks to the disk or the server is the store's own affair: errors are mapped here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from turnout.engine.purse import Slip
from turnout.engine.record import DecisionRecord, Late, PulseTable
from turnout.engine.spent import SpendRow


@dataclass(slots=True)
class Group:
    """What is written in one transaction: all of it or nothing.

    `policies` holds (digest, canonical text). `late`: attempts that ended after their records.
    `slips`: what is taken off leases for the ledger's rows of these, by the request's id (those of
    late ones in `late_slips`); they count once, together with their rows.
    """

    records: list[DecisionRecord] = field(default_factory=list)
    pulses: list[PulseTable] = field(default_factory=list)
    policies: list[tuple[str, str]] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    slips: dict[str, Sequence[Slip]] = field(default_factory=dict)
    late_slips: dict[str, Sequence[Slip]] = field(default_factory=dict)


class StoreError(Exception):
    """The store could not do it now: locked, full, unreachable. The same again may succeed."""


class Unwritable(StoreError):
    """The disk takes nothing: it is full, read-only or broken, and waiting alone does not help."""


class Store(Protocol):
    """Where decisions, ledger rows, pulse tables and policies are kept.

    All methods block. Any of them may raise StoreError. Another exception of `write` means that
    something in the group itself cannot be written, now or ever.
    """

    def write(self, group: Group) -> None:
        """Add a group durably; what is already there by its id stays as it is."""

    def record(self, id: str) -> DecisionRecord | None:
        """A decision record, equal to the one written."""

    def pulse(self, id: str) -> PulseTable | None:
        """A table of live values."""

    def policy(self, digest: str) -> str | None:
        """The canonical text of an archived policy."""

    def spending(self, from_us: int, after: int) -> tuple[int, list[SpendRow]]:
        """Sums of the ledger rows from an instant on that were written after row `after`.

        The number is the last row's there is, `after` itself where nothing was added.
        """

    def lost(self) -> Mapping[tuple[str, str, str, int, int], int]:
        """What workers that ended may have spent, by scope, who, and from when to when."""

    def close(self) -> None:
        """Let go of files and connections."""
