"""What a scenario measured, and which of its bounds hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Size:
    """How large a scenario is run.

    `count` is of what the scenario counts. `quick`: so small that times say nothing; what is left
    to see is whether it comes out right.
    """

    count: int
    workers: int
    seed: int = 1
    quick: bool = False


HOLDS, BROKEN, UNBOUND = ".", "!", " "
LEGEND = f"{HOLDS} before a figure: its bound holds, {BROKEN}: it is broken, nothing: it has none"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure. `bound` is empty where there is none; `holds` says whether it is kept."""

    what: str
    value: str
    bound: str = ""
    holds: bool = True


@dataclass
class Findings:
    """The figures of one scenario, in the order in which they were found.

    `below` is Markdown that stands under their table, `pictures` are files beside the page.
    """

    title: str
    found: list[Finding] = field(default_factory=list)
    below: str = ""
    pictures: dict[str, str] = field(default_factory=dict)

    def told(self, what: str, value: object) -> None:
        """Note a figure that has no bound."""
        self._note(Finding(what, str(value)))

    def held(self, what: str, value: object, bound: str, holds: bool) -> None:
        """Note a figure that has one."""
        self._note(Finding(what, str(value), bound, holds))

    def none(self, what: str, several: list[str], shown: int = 3) -> None:
        """Note a list that has to be empty, with its first entries where it is not."""
        value = "none" if not several else f"{len(several)}: {'; '.join(several[:shown])}"
        self.held(what, value, "none", not several)

    @property
    def summary(self) -> str:
        """How many bounds there were, and which of them are not kept."""
        bounds = sum(1 for one in self.found if one.bound)
        counted = f"{bounds} bound{'' if bounds == 1 else 's'}"
        if not self.broken:
            return f"{counted}, all hold"
        return f"{counted}, {len(self.broken)} broken: {'; '.join(o.what for o in self.broken)}"

    @property
    def broken(self) -> list[Finding]:
        """Those whose bound is not kept."""
        return [one for one in self.found if not one.holds]

    def _note(self, finding: Finding) -> None:
        self.found.append(finding)
        bound = f"   (bound: {finding.bound})" if finding.bound else ""
        mark = UNBOUND if not finding.bound else HOLDS if finding.holds else BROKEN
        print(f"  {mark} {finding.what}: {finding.value}{bound}", flush=True)
        if not finding.holds:
            print("    FAILED", flush=True)


class Scenario(NamedTuple):
    """A scenario, with how many `counted` things it does at full size and at a quick one."""

    run: Callable[[Size], Findings]
    counted: str
    full: int
    quick: int


def section(found: Findings, counted: str, took_s: float) -> str:
    """A scenario's figures as a part of the page."""
    rows = "\n".join(
        f"| {one.what} | {one.value.replace('|', '/')} | {one.bound} | "
        f"{'' if not one.bound else 'yes' if one.holds else '**no**'} |"
        for one in found.found
    )
    return (
        f"## {found.title}\n\n{counted}, {took_s:.0f} s.\n\n"
        f"| measured | | bound | holds |\n|---|---|---|---|\n{rows}\n"
    ) + (f"\n{found.below}" if found.below else "")


def milliseconds(us: float) -> str:
    """Show a time."""
    return f"{us / 1000:.0f} ms" if us >= 10_000 else f"{us / 1000:.1f} ms"
