"""Broken texts: each is answered with findings, within a second and 200 MB, never by a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .fuzzing import bombs

CASES = int(os.environ.get("TURNOUT_MUTATIONS", "4000"))
SEED = int(os.environ.get("TURNOUT_SEED", "1"))
FUZZING = Path(__file__).with_name("fuzzing.py")
PATIENCE_S = 60 + CASES // 20


def children(count: int) -> list[subprocess.Popen[str]]:
    """One child for each core, with every n-th case."""
    cores = os.cpu_count() or 1
    return [
        subprocess.Popen(
            [sys.executable, FUZZING, str(SEED), str(first), str(count // cores), str(cores)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for first in range(cores)
    ]


@pytest.mark.timeout(PATIENCE_S * 2)
def test_no_broken_text_breaks_the_language() -> None:
    wrong = []
    for child in children(CASES):
        try:
            lines = child.communicate(timeout=PATIENCE_S)[0].splitlines()
        except subprocess.TimeoutExpired:
            child.kill()
            lines = [*child.communicate()[0].splitlines(), "(it did not end)"]
        wrong += [line for line in lines if line.startswith("!")]
        if lines[-1:] != ["done"]:
            wrong.append(f"a child ended with {child.returncode}: {' / '.join(lines[-20:])}")
    assert not wrong, "\n".join(wrong)


BOMBS = [pytest.param(number, id=name) for number, (name, _) in enumerate(bombs())]


@pytest.mark.parametrize("number", BOMBS)
def test_no_bomb_goes_off(number: int) -> None:
    ran = subprocess.run(
        [sys.executable, FUZZING, "-1", str(number), "1", "1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout.splitlines() == [str(number), "done"], ran.stdout + ran.stderr[-2_000:]
