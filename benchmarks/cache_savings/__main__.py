"""What the cache saves, and what it must not do, with bounds that have to hold.

    python -m benchmarks.cache_savings [SCENARIO …] [--count N] [--workers N] [--seed N] [--quick]

Exit code 0 if every bound holds, 1 if one is broken. What runs at full size gets its section of
`benchmarks/results/cache_savings.md`, and its picture beside it.
"""

import sys

from benchmarks.findings import Scenario
from benchmarks.scenarios import Suite

from .burst import burst
from .ceiling import ceiling
from .fragments import fragments
from .thousand import thousand

CACHE = Suite(
    "cache_savings",
    __doc__,
    "what is kept, for whom and for how long is in\n[docs/cache.md](../../docs/cache.md)",
    {
        "thousand": Scenario(thousand, "calls ten times each way", 1_000, 30),
        "burst": Scenario(burst, "bursts each", 10, 1),
        "fragments": Scenario(fragments, "calls", 4_000, 200),
        "ceiling": Scenario(ceiling, "requests each", 20_000, 300),
    },
    workers=4,
    workers_help="the gateway's processes; thousand and ceiling have one",
)

if __name__ == "__main__":
    sys.exit(CACHE.run())
