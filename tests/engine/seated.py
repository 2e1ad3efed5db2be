"""A process that takes seats, for tests: FOLDER LOG SEATS TASKS TURNS HOLD_US.

Each of TASKS takes a seat TURNS times and holds it for about so long. LOG gets a `+` after each
taking and a `-` before each leaving, in one write each, so that its order is that of the machine.
With TURNS 0 it holds one seat until it is killed.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from turnout.engine.state.seats import LockedSeats

NAME = "target:openai/gpt-4"


async def run(folder: Path, log: int, seats: int, tasks: int, turns: int, hold_us: int) -> None:
    shared = LockedSeats(folder)

    async def sit() -> None:
        for _ in range(turns):
            leave = await shared.take(NAME, seats, 60)
            assert leave is not None
            os.write(log, b"+")
            await asyncio.sleep(random.uniform(0, 2) * hold_us / 1e6)
            os.write(log, b"-")
            leave()

    if turns == 0:
        for _ in range(seats):
            assert await shared.take(NAME, seats, 0)
        os.write(log, b"+")
        await asyncio.sleep(60)
    await asyncio.gather(*(sit() for _ in range(tasks)))


def main() -> None:
    folder, path, *numbers = sys.argv[1:]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asyncio.run(run(Path(folder), log, *map(int, numbers)))


if __name__ == "__main__":
    main()
