"""Every command line in the documents is one that the command line takes."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from turnout.cli import COMMANDS, POLICY_COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/codes/*.md",
        "policies/README.md",
        "policies/**/*.yml",
    )
    for path in ROOT.glob(pattern)
)
NAMES = "|".join({*COMMANDS, *POLICY_COMMANDS, "policy"})
# At the start of a line of a block (behind a prompt, a list's dash, variables), or in backticks.
BEFORE = r"(?:^|`|\| )(?:[ #$-]|check:|try:|run:)*(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?"
LINE = re.compile(rf"{BEFORE}((?:policy|turnout) (?:{NAMES}) [^`\n|>]*)", re.MULTILINE)
# Words that stand for what a reader puts there.
OPEN = re.compile(r"[…\[\]·]|\.\.\.")


def lines(page: Path) -> list[str]:
    found = LINE.findall(page.read_text(encoding="utf-8"))
    return [re.split(r"\s{2,}#|\s#\s", line)[0].strip() for line in found]


CASES = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")
    for page in PAGES
    for line in dict.fromkeys(lines(page))
    if not OPEN.search(line)
]


def test_command_lines_are_found() -> None:
    assert len(CASES) > 60


@pytest.mark.parametrize("line", CASES)
def test_a_command_line_of_the_documents_can_be_read(line: str) -> None:
    words = shlex.split(line)
    if words[:2] == ["turnout", "policy"]:
        del words[0]
    program, name, *rest = words
    assert name in (POLICY_COMMANDS if program == "policy" else COMMANDS)
    command = importlib.import_module(f"turnout.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    command.configure(parser)
    _, unknown = parser.parse_known_args(rest)
    assert not unknown
