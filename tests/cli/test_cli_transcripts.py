"""Command lines with their exact output: `transcripts/*.txt`.

A transcript is `$ command`, what it prints, lines of standard error behind `! `, and `[n]` where
the exit code is not 0. `pytest tests/cli --snapshot-update` rewrites them; read what it changed.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


def play(commands: list[str], command: Callable[[str], Ran]) -> str:
    """The transcript of these command lines."""
    parts = []
    for line in commands:
        ran = command(line)
        complaints = "".join(f"! {row}\n" for row in ran.err.splitlines())
        status = f"[{ran.status}]\n" if ran.status else ""
        parts.append(f"$ {line}\n{ran.out}{complaints}{status}")
    return "\n".join(parts)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_transcript_plays_again_word_for_word(
    path: Path, command: Callable[[str], Ran], request: pytest.FixtureRequest
) -> None:
    written = path.read_text(encoding="utf-8")
    commands = [line[2:] for line in written.splitlines() if line.startswith("$ ")]
    played = play(commands, command)
    if request.config.getoption("update_snapshots"):
        path.write_text(played, encoding="utf-8")
        return
    assert commands
    assert played == written


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 5
