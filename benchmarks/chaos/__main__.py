"""Faults, signals and changes under load, with bounds that have to hold.

    python -m benchmarks.chaos [SCENARIO …] [--count N] [--workers N] [--seed N] [--quick]

Exit code 0 if every bound holds, 1 if one is broken. What runs at full size gets its section of
`benchmarks/results/chaos.md`.
"""

import sys

from benchmarks.findings import Scenario
from benchmarks.scenarios import Suite

from .drain import drain
from .killed import killed
from .long import long
from .reloads import reloads
from .thirty import cut, thirty

CHAOS = Suite(
    "chaos",
    __doc__,
    "what the scenarios are is in\n[docs/chaos.md](../../docs/chaos.md)",
    {
        "thirty": Scenario(thirty, "requests", 20_000, 300),
        "cut": Scenario(cut, "requests", 5_000, 200),
        "killed": Scenario(killed, "provider", 1, 1),
        "reloads": Scenario(reloads, "changes", 1_000, 24),
        "drain": Scenario(drain, "streams", 100, 20),
        "long": Scenario(long, "requests", 200_000, 400),
    },
    workers=2,
    workers_help="the gateway's processes; killed and drain vary them",
)

if __name__ == "__main__":
    sys.exit(CHAOS.run())
