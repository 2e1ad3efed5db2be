"""Budgets, rates and the ledger under bursts, crashes and load, with bounds that have to hold.

    python -m benchmarks.money [SCENARIO …] [--count N] [--workers N] [--seed N] [--quick]

Exit code 0 if every bound holds, 1 if one is broken. What runs at full size gets its section of
`benchmarks/results/money.md`.
"""

import sys

from benchmarks.findings import Scenario
from benchmarks.scenarios import Suite

from .burst import burst, squeeze, trickle
from .crash import crash
from .mutations import mutations
from .overhead import overhead
from .rates import rates

MONEY = Suite(
    "money",
    __doc__,
    "how budgets work is in\n[docs/budgets.md](../../docs/budgets.md)",
    {
        "burst": Scenario(burst, "runs", 20, 1),
        "trickle": Scenario(trickle, "calls that fit", 50, 20),
        "squeeze": Scenario(squeeze, "runs", 10, 1),
        "crash": Scenario(crash, "calls", 10_000, 120),
        "rates": Scenario(rates, "seconds", 181, 5),
        "overhead": Scenario(overhead, "calls each", 5_000, 200),
        "mutations": Scenario(mutations, "hooks at most", 100, 1),
    },
    workers=4,
    workers_help="the gateway's processes; crash varies them",
)

if __name__ == "__main__":
    sys.exit(MONEY.run())
