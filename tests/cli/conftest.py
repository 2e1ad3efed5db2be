import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from turnout import cli

HERE = Path(__file__).parent
PROGRAMS = {"policy": cli.policy, "turnout": cli.main}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command line printed and ended with."""

    out: str
    err: str
    status: int


def masked(text: str) -> str:
    """The text without what changes from day to day: a digest covers the prices of today."""
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", text)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ran]:
    """Runs a command line, as a shell would, in this folder; `< file` is understood."""
    monkeypatch.chdir(HERE)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(line: str) -> Ran:
        words = shlex.split(line)
        given_bytes = b""
        if "<" in words:
            at = words.index("<")
            given_bytes = Path(words[at + 1]).read_bytes()
            del words[at : at + 2]
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given_bytes)))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = PROGRAMS[words[0]](words[1:])
        return Ran(masked(out.getvalue()), masked(err.getvalue()), status)

    return run


@pytest.fixture
def diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[str], Ran]
) -> Callable[..., Ran]:
    """Runs `policy diff` on two texts, as `old.yml` and `new.yml` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(old: str, new: str, words: str = "") -> Ran:
        (tmp_path / "old.yml").write_text(old)
        (tmp_path / "new.yml").write_text(new)
        return command(f"policy diff old.yml new.yml {words}")

    return run
