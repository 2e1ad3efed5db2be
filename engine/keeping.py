"""How long each kind of record is kept, and how much of the disk is left alone."""

from dataclasses import dataclass

DAY_US = 24 * 60 * 60 * 1_000_000
# No budget's stretch is longer than a month of 31 days; the rest is for time zones and clocks.
LONGEST_STRETCH_DAYS = 35
MIN_FREE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how many days records are kept; 0: for ever.

    `ledger_days` is for the ledger, ended budgets' counters, alerts and what was leased of them;
    `journal_days` for decisions, copies, live values and policies; `audit_days` for the audit log.
    """

    ledger_days: int = 400
    journal_days: int = 30
    audit_days: int = 90


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What is older than this goes (UTC µs); 0: nothing does."""

    ledger_us: int
    journal_us: int
    audit_us: int


def cutoffs(keeping: Keeping, now_us: int, running_from_us: int | None = None) -> Cutoffs:
    """Up to which instants records go now.

    `running_from_us` is where the longest stretch that a budget counts now began: no ledger row
    since then goes, and none of the last 35 days, whatever is set.
    """

    def before(days: int) -> int:
        return max(now_us - days * DAY_US, 0) if days else 0

    ledger_us = min(before(keeping.ledger_days), before(LONGEST_STRETCH_DAYS))
    if running_from_us is not None:
        ledger_us = min(ledger_us, running_from_us)
    return Cutoffs(ledger_us, before(keeping.journal_days), before(keeping.audit_days))
