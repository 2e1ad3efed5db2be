"""The script that makes the table of peers runs, here without a peer."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_has_this_gateway_and_what_stands_behind_it() -> None:
    command = [sys.executable, "-m", "benchmarks.conformance", "--no-file"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    _, own, *others = done.stdout.split("\n## What ")
    assert own.endswith("fails\n\nNothing.\n")
    assert any(title.startswith("the simulated OpenAI fails") for title in others)
