"""Broken texts: each is answered with findings, within a second and 200 MB, never by a crash."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .fuzzing import bombs

pytestmark = pytest.mark.uncounted

CASES = int(os.environ.get("TURNOUT_MUTATIONS", "4000"))
SEED = int(os.environ.get("TURNOUT_SEED", "1"))
FUZZING = Path(__file__).with_name("fuzzing.py")
PATIENCE_S = 60 + CASES // 50


# Time is measured in the children: what watches each line would be measured too.
UNTRACED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def children(count: int, folder: Path) -> list[tuple[subprocess.Popen[bytes], Path]]:
    """One child for each core, with every n-th case; each writes to a file, which never fills."""
    cores = os.cpu_count() or 1
    started = []
    for first in range(cores):
        said = folder / f"{first}.txt"
        arguments = [str(SEED), str(first), str(count // cores), str(cores)]
        with said.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, FUZZING, *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=UNTRACED,
            )
        started.append((child, said))
    return started


@pytest.mark.timeout(PATIENCE_S + 60)
def test_no_broken_text_breaks_the_language(tmp_path: Path) -> None:
    wrong = []
    deadline = time.monotonic() + PATIENCE_S
    for child, said in children(CASES, tmp_path):
        try:
            child.wait(max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
        wrong += [line for line in lines if line.startswith("!")]
        if lines[-1:] != ["done"]:
            wrong.append(f"a child ended with {child.returncode}: {' / '.join(lines[-20:])}")
    assert not wrong, "\n".join(wrong)


def test_no_bomb_goes_off() -> None:
    names = [name for name, _ in bombs()]
    ran = subprocess.run(
        [sys.executable, FUZZING, "-1", "0", str(len(names)), "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=UNTRACED,
    )
    *lines, last = ran.stdout.splitlines() or [""]
    wrong = [line for line in lines if line.startswith("!")]
    begun = [names[int(line)] for line in lines if line.isdigit()]
    assert not wrong, (wrong, begun)
    assert last == "done", (begun[-1:], ran.stdout[-200:] + ran.stderr[-2_000:])
    assert begun == names
