"""Faults, signals and changes under load, with bounds that have to hold.

    python -m benchmarks.chaos [SCENARIO …] [--requests N] [--workers N] [--seed N] [--quick]

Exit code 0 if every bound holds, 1 if one is broken. At full size it writes
`benchmarks/results/chaos.md`.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.processes import machine, versions

from .drain import drain
from .findings import LEGEND, Scenario, Size, section
from .killed import killed
from .long import long
from .reloads import reloads
from .thirty import cut, thirty

RESULTS = Path(__file__).parents[1] / "results" / "chaos.md"


SCENARIOS: dict[str, Scenario] = {
    "thirty": Scenario(thirty, "requests", 20_000, 300),
    "cut": Scenario(cut, "requests", 5_000, 200),
    "killed": Scenario(killed, "provider", 1, 1),
    "reloads": Scenario(reloads, "changes", 1_000, 24),
    "drain": Scenario(drain, "streams", 100, 20),
    "long": Scenario(long, "requests", 200_000, 400),
}


def main() -> int:
    """Run the scenarios of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"default all: {', '.join(SCENARIOS)}")
    parser.add_argument("--requests", type=int, help="instead of the scenario's own number")
    parser.add_argument(
        "--workers", type=int, default=2, help="the gateway's processes; killed and drain vary them"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small numbers, no file")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no scenario `{unknown[0]}`; there are {', '.join(SCENARIOS)}")
    print(f"{machine()}\n{versions()}\n{LEGEND}")
    sections = []
    summaries = []
    broken = 0
    for name in names:
        scenario = SCENARIOS[name]
        requests = arguments.requests or (scenario.quick if arguments.quick else scenario.full)
        size = Size(requests, arguments.workers, arguments.seed, arguments.quick)
        counted = f"{requests:,} {scenario.counted}".replace(",", " ")
        print(f"\n{name}: {counted}", flush=True)
        began = time.monotonic()
        found = scenario.run(size)
        took_s = time.monotonic() - began
        print(f"  {took_s:.0f} s", flush=True)
        broken += len(found.broken)
        sections.append(section(found, counted, took_s))
        summaries.append(f"  {name:{max(map(len, names))}}   {found.summary}")
    if not arguments.quick and not arguments.requests and not arguments.scenario:
        RESULTS.write_text(page(sections), encoding="utf-8")
    print("\nin short", *summaries, sep="\n")
    print(f"\n{broken} bounds are broken" if broken else "\nall bounds hold")
    return 1 if broken else 0


def page(sections: list[str]) -> str:
    """The page of a run at full size."""
    head = (
        "# Chaos\n\nWritten by `python -m benchmarks.chaos`; what the scenarios are is in\n"
        "[docs/chaos.md](../../docs/chaos.md).\n\n"
        f"Machine: {machine()}.\n\n{versions()}.\n"
    )
    return "\n".join([head, *sections])


if __name__ == "__main__":
    sys.exit(main())
