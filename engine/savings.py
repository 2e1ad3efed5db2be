"""What answers from the cache saved: no rows of the ledger, since nobody was paid for them.

They are added up as they are written, by quarters of an hour: days of every time zone begin at one.
So a thousand identical calls are one row, and what a month saved is known long after its decisions
are trimmed.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .record import DecisionRecord

SLOT_US = 15 * 60 * 1_000_000
# Of one column of a row: so that sums of thousands of them fit a database's integer.
MOST_SAVED = 10**15


class Saving(NamedTuple):
    """A row of the table `savings`; the fields are its columns, the first nine its name.

    `from_us`: when its quarter of an hour begins, UTC. Empty texts where there is none. `payer` is
    who would have paid. `calls` were answered from the cache; `tokens_in`, `tokens_out` and
    `saved_nano_usd` are what those answers had used, and cost, when they were made.
    """

    from_us: int
    tenant: str
    team: str
    user: str
    key_id: str
    model: str
    target: str
    rule: str
    payer: str
    calls: int
    tokens_in: int
    tokens_out: int
    saved_nano_usd: int


def was_saved(record: DecisionRecord) -> bool:
    """Whether a request was answered from the cache."""
    return record.cache == "HIT" and record.outcome == "ok"


def savings(records: Iterable[DecisionRecord]) -> list[Saving]:
    """What requests that were answered from the cache have saved, a row for each name."""
    found: dict[tuple[str | int, ...], list[int]] = {}
    for one in records:
        payer = next((a.payer for a in one.attempts if a.outcome == "cached"), "gateway")
        name = (
            one.received_us // SLOT_US * SLOT_US,
            one.tenant,
            one.team or "",
            one.user or "",
            one.key_id or "",
            one.model,
            one.target or "",
            one.rule or "",
            payer,
        )
        sums = found.setdefault(name, [0, 0, 0, 0])
        sums[0] += 1
        if one.served is not None:
            sums[1] += one.served.input
            sums[2] += one.served.output
        sums[3] += one.saved_nano_usd
    return [
        Saving(*name, *(min(total, MOST_SAVED) for total in sums))  # type: ignore[arg-type]
        for name, sums in found.items()
    ]
