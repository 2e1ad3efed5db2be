"""Takes requests of one rate as fast as it can: `rated.py FOLDER LOG LIMIT SECONDS`.

Each line of the log is the instant at which one was taken, by the clock that all processes share.
"""

import asyncio
import sys
import time
from pathlib import Path

from turnout.engine.boot import boot_us
from turnout.engine.rates import Rate, Uncertain, UsedUp
from turnout.engine.state.rates import SharedRates


async def main() -> None:
    folder, log, limit, seconds = Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:])
    rates, rate = SharedRates(folder), Rate("tenant:acme", "requests", int(limit))
    end = time.monotonic() + seconds
    with log.open("ab", buffering=0) as file:
        while time.monotonic() < end:
            try:
                await rates.take(rate, 1)
            except (UsedUp, Uncertain):
                continue
            file.write(b"%d\n" % boot_us())


asyncio.run(main())
