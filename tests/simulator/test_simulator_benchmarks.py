"""The benchmark scripts run as their users run them, only smaller."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.uncounted
def test_a_small_soak_holds_all_its_checks() -> None:
    # Memory is still warming up over so few requests; its check is the long run's.
    done = run("benchmarks.soak", "--requests", "150", "--growth", "50")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks hold" in done.stdout


@pytest.mark.uncounted
def test_the_benchmark_prints_every_measurement_and_stage() -> None:
    done = run("benchmarks.gateway", "--requests", "30", "--no-file")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("gateway, stream of 20 chunks", "direct, 1 KB", "count the tokens"):
        assert words in done.stdout
