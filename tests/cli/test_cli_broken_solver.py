"""What the commands say where z3 is there and of no use: another package, half a one, a broken one.

Each is a program of its own: what was once imported stays.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

POLICY = """routing_policy:
  - {name: short, condition: tokens < 9, route: openai/gpt-4o}
invariants: [{name: i, never: tokens < 5 and route == "openai/gpt-4o"}]
"""
BROKEN = {
    "foreign": ("z3/__init__.py", "__version__ = '0.2'\n", "AttributeError: "),
    "unloadable": (
        "z3/__init__.py",
        "print('Could not find libz3.so')\n"
        "raise OSError('libz3\\x1b[31m.so: no such file\\nmore')\n",
        "OSError: libz3␛[31m.so: no such file)",
    ),
    "silent": ("z3.py", "raise ImportError\n", "ImportError: no reason given)"),
    "odd": ("z3.py", "raise type('Z3Exception', (Exception,), {})('old')\n", "Z3Exception: old)"),
}
ADVICE = "install it anew with `pip install --force-reinstall z3-solver`"


def ran(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    code = "import shlex, sys, turnout.cli; sys.exit(turnout.cli.policy(shlex.split(sys.argv[1])))"
    return subprocess.run(
        [sys.executable, "-c", code, line.removeprefix("policy ")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A folder with policies and a z3 that comes first, and what is said of it."""
    name, text, said = BROKEN[request.param]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    (tmp_path / "routing.yml").write_text(POLICY)
    (tmp_path / "old.yml").write_text(POLICY.replace("9", "8"))
    return tmp_path, said


def test_lint_goes_on_without_proofs_and_says_why(broken: tuple[Path, str]) -> None:
    folder, said = broken
    found = ran(folder, "policy lint --format json")
    assert (found.returncode, found.stderr) == (0, "")
    assert "RP329" in found.stdout and "RP320" not in found.stdout
    found = ran(folder, "policy lint")
    assert found.returncode == 0
    (line,) = found.stderr.splitlines()
    assert line.startswith("z3 does not work (") and said in line
    assert "so it is not checked: RP201, RP202, RP203, " in line and line.endswith(ADVICE)


@pytest.mark.parametrize(
    "line",
    [
        "policy lint --require-proofs",
        "policy diff old.yml routing.yml",
        "policy prove 'never tokens < 7'",
        "policy bounds",
    ],
)
def test_what_needs_proofs_fails_in_words(broken: tuple[Path, str], line: str) -> None:
    folder, said = broken
    found = ran(folder, line)
    assert (found.returncode, found.stdout) == (2, "")
    told, help_ = found.stderr.splitlines()
    assert "z3 does not work (" in told and said in told
    assert help_ == f"  help: {ADVICE}"
