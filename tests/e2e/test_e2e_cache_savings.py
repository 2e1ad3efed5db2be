"""The benchmark of the cache as its users run it, only smaller: the bounds hold there too."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.cache_savings.__main__ import CACHE
from benchmarks.cache_savings.picture import Series, savings
from benchmarks.findings import Findings, section

ROOT = Path(__file__).parents[2]


@pytest.mark.uncounted
@pytest.mark.parametrize("scenario", CACHE.scenarios)
def test_the_bounds_of_a_cache_scenario_hold_at_small_counts(scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", CACHE.command.split()[-1], scenario, "--quick", "--workers", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n\nall bounds hold\n")


def test_the_picture_shows_the_cost_and_the_time_of_each_way() -> None:
    ways = [Series("without", 0.25, [30.0, 31.0], [40.0, 44.0]), Series("with, x", 0.0, [3], [9])]
    root = ElementTree.fromstring(savings(1000, "20ms", ways))
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0.25", "0", "without", "with", "x", "1 ms", "100 ms"} <= {*texts}
    assert len([*root.iter("{http://www.w3.org/2000/svg}circle")]) == 6
    every = "".join(root.itertext())
    assert "1000 identical calls of a provider that takes 20ms" in every
    assert not [one for one in root.iter() if {"href", "src"} & {*one.attrib}]


def test_what_stands_below_a_scenarios_table_is_on_its_page() -> None:
    found = Findings("title: more")
    found.below = "| a |\n|---|\n| 1 |\n"
    assert section(found, "7 calls", 1.0).endswith("|---|---|---|---|\n\n\n| a |\n|---|\n| 1 |\n")
    assert CACHE.page({}).startswith("# Cache savings\n")
