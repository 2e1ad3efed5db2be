"""What the gateway wrote down of a run: ledger rows and decision records."""

import time
from collections.abc import Callable

from benchmarks.processes import GatewayProcess
from turnout.engine.record import DecisionRecord
from turnout.engine.state.rows import read_record

_SETTLE_S = 20.0


def ledger_rows(gateway: GatewayProcess) -> int:
    """Return the number of ledger rows."""
    with gateway.ledger() as database:
        return int(database.execute("select count(*) from ledger").fetchone()[0])


def records(gateway: GatewayProcess) -> list[DecisionRecord]:
    """Return all decision records, oldest first."""
    with gateway.ledger() as database:
        rows = database.execute("select record from decisions order by time_us")
        return [read_record(row[0]) for row in rows]


def until(true: Callable[[], bool], patience_s: float = _SETTLE_S) -> bool:
    """Wait for what another process brings about; whether it did so in time."""
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
