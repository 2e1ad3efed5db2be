"""The policies in the documents are linted and tested; their commands print what they say."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from turnout.cli import policy
from turnout.dsl.facts import FACTS
from turnout.dsl.vocabulary import POLICY, Either, Kind, ListOf, MapOf, Section
from turnout.engine.attributes import ATTRIBUTES

from .conftest import Ran
from .test_cli_transcripts import play

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/policy.md",
    "docs/language.md",
    "docs/simulator.md",
    "docs/cache.md",
    "docs/ci.md",
    "policies/README.md",
)


def blocks(language: str, pages: tuple[str, ...] = PAGES) -> list[ParameterSet]:
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page in pages
        for number, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        )
    ]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_policy_in_the_documents_has_no_finding_and_passes_its_tests(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(block)
    assert policy(["lint", str(file), "--fail-on", "warning"]) == 0, capsys.readouterr().out
    assert policy(["test", str(file)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("block", blocks("yaml", PAGES[1:]))
def test_a_policy_in_the_documents_is_in_form_but_for_short_hops(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(re.sub(r"- (\S+) \((timeout: \w+)\)", r"- {to: \1, \2}", block))
    assert policy(["fmt", "--diff", "--check", str(file)]) == 0, capsys.readouterr().out


COMMANDS = [block for block in blocks("text") if str(block.values[0]).startswith("$ policy")]


@pytest.mark.parametrize("block", COMMANDS)
def test_a_command_in_the_documents_prints_what_they_say(
    block: str, command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert play(commands, command) == block


def keys(kind: Kind) -> Iterator[str]:
    """Every key of the language within a kind of value."""
    match kind:
        case Section(keys=inner):
            for key in inner:
                yield key.name
                yield from keys(key.kind)
        case ListOf(item=one) | MapOf(value=one):
            yield from keys(one)
        case Either(kinds=kinds):
            for one in kinds:
                yield from keys(one)


def test_the_language_page_names_every_key_and_attribute() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    shown = [a for a in ATTRIBUTES if not a.hidden and a.too_late is None]
    names = {a.name.partition(".")[2] if a.name.startswith("budget.") else a.name for a in shown}
    missing = {
        word
        for word in {*keys(POLICY), *names, *FACTS}
        if not re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", text)
    }
    assert missing == {"expected_output"}  # nobody writes that one
