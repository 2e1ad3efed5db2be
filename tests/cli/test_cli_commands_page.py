"""The examples of docs/commands.md print what the page says, but for today's prices."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.adapters import PROVIDERS

from .conftest import Ran
from .spent import keep_ledger

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```console\n\$ (.*?)\n(.*?)```", (ROOT / "docs" / "commands.md").read_text(), re.DOTALL
)


def without_prices(text: str) -> str:
    """What the price library of another day would say too."""
    return re.sub(r"\([-+][0-9.]+ %\)", "(…)", re.sub(r"\$[0-9][0-9 .]*[0-9]", "$…", text))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs this may have keys, and nobody is to be asked with them."""
    for kind in PROVIDERS.values():
        for name in (kind.key_variable, *kind.variables):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was spent of it stands on the page."""
    monkeypatch.delenv("TURNOUT_BUDGET_MONTHLY_USD", raising=False)
    monkeypatch.setenv("TURNOUT_HOME", str(keep_ledger(tmp_path / "home")))


@pytest.mark.parametrize(("line", "printed"), BLOCKS)
def test_an_example_of_the_page_prints_what_it_says(
    line: str, printed: str, command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ran = command(line)
    assert ran.err == ""
    told = ran.out + (f"[{ran.status}]\n" if ran.status else "")
    assert without_prices(told) == without_prices(printed)


def test_the_page_has_an_example_of_each_command() -> None:
    assert [line.split()[1] for line, _ in BLOCKS] == [
        "test",
        "test",
        "why-not",
        "show",
        "simulate",
        "diff",
        "prove",
        "prove",
        "bounds",
        "conformance",
        "providers",
        "audit",
        "costs",
        "budget",
        "cache",
    ]


def test_the_example_of_the_readme_prints_what_it_says(
    command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    ((line, printed),) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    before, after = re.findall(r"`(paying: [^`]*)`", page)
    text = (ROOT / "policies" / "tiers.yml").read_text(encoding="utf-8")
    text, count = re.subn(re.escape(before).replace(r":\ ", r":\s+"), after, text)
    assert count == 1
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    (tmp_path / "shorter.yml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = command(line)
    assert (ran.out, ran.err, ran.status) == (printed, "", 0)
