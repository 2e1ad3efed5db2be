"""Budgets, rates and the ledger under bursts, crashes and load, with bounds that have to hold.

    python -m benchmarks.money [SCENARIO …] [--count N] [--workers N] [--seed N] [--quick]

Exit code 0 if every bound holds, 1 if one is broken. At full size it writes
`benchmarks/results/money.md`.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.chaos.findings import LEGEND, Scenario, Size, section
from benchmarks.processes import machine, versions

from .burst import burst, squeeze, trickle
from .crash import crash
from .mutations import mutations
from .overhead import overhead
from .rates import rates

RESULTS = Path(__file__).parents[1] / "results" / "money.md"

SCENARIOS: dict[str, Scenario] = {
    "burst": Scenario(burst, "runs", 20, 1),
    "trickle": Scenario(trickle, "calls that fit", 50, 20),
    "squeeze": Scenario(squeeze, "runs", 10, 1),
    "crash": Scenario(crash, "calls", 10_000, 120),
    "rates": Scenario(rates, "seconds", 181, 5),
    "overhead": Scenario(overhead, "calls each", 5_000, 200),
    "mutations": Scenario(mutations, "hooks at most", 100, 1),
}


def main() -> int:
    """Run the scenarios of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.money", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"default all: {', '.join(SCENARIOS)}")
    parser.add_argument("--count", type=int, help="instead of the scenario's own number")
    parser.add_argument("--workers", type=int, default=4, help="the gateway's; crash varies them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small numbers, no file")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no scenario `{unknown[0]}`; there are {', '.join(SCENARIOS)}")
    print(f"{machine()}\n{versions()}\n{LEGEND}")
    broken = 0
    for name in names:
        scenario = SCENARIOS[name]
        count = arguments.count or (scenario.quick if arguments.quick else scenario.full)
        counted = f"{count:,} {scenario.counted}".replace(",", " ")
        print(f"\n{name}: {counted}", flush=True)
        began = time.monotonic()
        size = Size(count, arguments.workers, arguments.seed, arguments.quick)
        found = scenario.run(size)
        took_s = time.monotonic() - began
        print(f"  {took_s:.0f} s: {found.summary}", flush=True)
        broken += len(found.broken)
        if not arguments.quick and not arguments.count:
            keep(name, section(found, counted, took_s))
    print(f"\n{broken} bounds are broken" if broken else "\nall bounds hold")
    return 1 if broken else 0


def keep(name: str, text: str) -> None:
    """Put a scenario's section into the page of results, instead of the one it had."""
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    sections = {
        one.partition(":")[0]: f"## {one}".rstrip() + "\n" for one in before.split("\n## ")[1:]
    }
    sections[name] = text
    RESULTS.write_text(page([sections[one] for one in SCENARIOS if one in sections]), "utf-8")


def page(sections: list[str]) -> str:
    """The page of a run at full size."""
    head = (
        "# Money\n\nWritten by `python -m benchmarks.money`; how budgets work is in\n"
        "[docs/budgets.md](../../docs/budgets.md).\n\n"
        f"Machine: {machine()}.\n\n{versions()}.\n"
    )
    return "\n".join([head, *sections])


if __name__ == "__main__":
    sys.exit(main())
