"""Takes requests of many rates until none is left: `rated_many.py FOLDER LOG LIMIT NAMES SEED`.

Each line of the log is the number of a name of which one was taken. The tables are small ones, so
that names are in each other's way and the file grows meanwhile.
"""

import asyncio
import random
import sys
from pathlib import Path

from turnout.engine.rates import Rate, Uncertain, UsedUp
from turnout.engine.state import rates as module

module.TABLES = (4, 32, 512)


async def main() -> None:
    folder, log = Path(sys.argv[1]), Path(sys.argv[2])
    limit, names, seed = map(int, sys.argv[3:])
    rates, chance = module.SharedRates(folder), random.Random(seed)
    left = list(range(names))
    with log.open("ab", buffering=0) as file:
        while left:
            number = chance.choice(left)
            try:
                await rates.take(Rate(f"tenant:{number}", "requests", limit), 1)
            except UsedUp:
                left.remove(number)
            except Uncertain:
                continue
            else:
                file.write(b"%d\n" % number)


asyncio.run(main())
