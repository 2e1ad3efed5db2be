"""Scenarios as one command: its command line, what it prints, and the page of its results."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .findings import LEGEND, Findings, Scenario, Size, section
from .processes import machine, versions

RESULTS = Path(__file__).parent / "results"


class Suite(NamedTuple):
    """The scenarios of `python -m benchmarks.<name>`.

    `reference`: what its page of results says of where to read more.
    """

    name: str
    about: str
    reference: str
    scenarios: Mapping[str, Scenario]
    workers: int
    workers_help: str

    @property
    def command(self) -> str:
        """What it is run by."""
        return f"python -m benchmarks.{self.name}"

    def run(self) -> int:
        """Run the scenarios of the command line; 1 if a bound is broken.

        Each that runs at full size has its section of the page written anew.
        """
        arguments = self._arguments()
        names = arguments.scenario or list(self.scenarios)
        print(f"{machine()}\n{versions()}\n{LEGEND}")
        summaries = []
        broken = 0
        for name in names:
            scenario = self.scenarios[name]
            count = arguments.count or (scenario.quick if arguments.quick else scenario.full)
            counted = f"{count:,} {scenario.counted}".replace(",", " ")
            print(f"\n{name}: {counted}", flush=True)
            began = time.monotonic()
            found = scenario.run(Size(count, arguments.workers, arguments.seed, arguments.quick))
            took_s = time.monotonic() - began
            print(f"  {took_s:.0f} s", flush=True)
            broken += len(found.broken)
            summaries.append(f"  {name:{max(map(len, names))}}   {found.summary}")
            if not arguments.quick and not arguments.count:
                self._keep(name, found, counted, took_s)
        print("\nin short", *summaries, sep="\n")
        print(f"\n{broken} bounds are broken" if broken else "\nall bounds hold")
        return 1 if broken else 0

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(self.command, description=self.about)
        known = ", ".join(self.scenarios)
        parser.add_argument("scenario", nargs="*", help=f"default all: {known}")
        parser.add_argument("--count", type=int, help="instead of the scenario's own number")
        parser.add_argument("--workers", type=int, default=self.workers, help=self.workers_help)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--quick", action="store_true", help="small numbers, no file")
        arguments = parser.parse_args()
        for name in arguments.scenario:
            if name not in self.scenarios:
                parser.error(f"no scenario `{name}`; there are {known}")
        return arguments

    def _keep(self, name: str, found: Findings, counted: str, took_s: float) -> None:
        file = RESULTS / f"{self.name}.md"
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        sections = sections_of(before) | {name: section(found, counted, took_s)}
        file.write_text(self.page(sections), encoding="utf-8")
        for picture, text in found.pictures.items():
            (RESULTS / picture).write_text(text, encoding="utf-8")

    def page(self, sections: Mapping[str, str]) -> str:
        """The page of results, with these scenarios' sections in the order of the suite."""
        head = (
            f"# {self.name.replace('_', ' ').capitalize()}\n\nWritten by `{self.command}`; "
            f"{self.reference}.\n\nMachine: {machine()}.\n\n{versions()}.\n"
        )
        return "\n".join([head, *(sections[one] for one in self.scenarios if one in sections)])


def sections_of(page: str) -> dict[str, str]:
    """A page's sections by scenario, whose name begins each title."""
    return {one.partition(":")[0]: f"## {one}".rstrip() + "\n" for one in page.split("\n## ")[1:]}
