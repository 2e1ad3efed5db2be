"""docs/architecture.md names the files of the house, and none that is not there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = PAGE.split("## The files")[1]
NAMED = set(re.findall(r"`(?:\w+/)?(\w+)(?:…|\.py)?`", FILES))


def files() -> list[Path]:
    """Every source file that is kept in git."""
    git = ["git", "-C", str(ROOT), "ls-files", "*.py"]
    listed = [Path(line) for line in subprocess.check_output(git, text=True).splitlines()]
    return [file for file in listed if file.parts[0] not in ("tests", "docs")]


def modules(folder: str) -> list[str]:
    return sorted(f.stem for f in files() if f.parent == Path(folder) and f.stem != "__init__")


@pytest.mark.parametrize("folder", ["dsl", "dsl/interpret", "engine", "adapters"])
def test_every_file_is_named_itself_or_by_its_first_word(folder: str) -> None:
    assert [m for m in modules(folder) if not {m, m.partition("_")[0]} & NAMED] == []


def test_every_named_file_is_there() -> None:
    there = {
        word
        for folder in ("dsl", "dsl/interpret", "engine", "adapters", "turnout")
        for module in (path.stem for path in (ROOT / folder).glob("*.py"))
        for word in (module, module.partition("_")[0])
    }
    assert NAMED - {"_", "parse"} <= there
    assert "parse" in there


def test_every_path_on_the_page_is_there() -> None:
    for path in re.findall(r"`((?:dsl|engine|turnout|tests|benchmarks)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path


def test_a_file_of_over_300_lines_says_why_in_its_header() -> None:
    silent = []
    for file in files():
        text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        header = " ".join(re.split(r"\n(?:import|from) ", text)[0].split())
        if text.count("\n") > 300 and "300 lines because" not in header:
            silent.append(str(file))
    assert silent == []
