"""docs/dependencies.md has what pyproject.toml asks for, and nothing that it does not."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
INSTALLED, REST = PAGE.split("Only with an extra")
EXTRA, DEVELOPMENT = REST.split("Packages for development alone")


def asked(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}


def shown(text: str) -> set[str]:
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("|")][2:]
    return {re.sub(r" \(.*", "", name.strip()).lower() for c in cells for name in c.split(",")}


def test_each_dependency_has_its_row() -> None:
    assert shown(INSTALLED) == asked(PROJECT["project"]["dependencies"])


def test_each_extra_dependency_has_its_row() -> None:
    extras = PROJECT["project"].get("optional-dependencies", {}).values()
    assert shown(EXTRA) == {name for group in extras for name in asked(group)} - {"turnout"}


def test_each_development_dependency_has_its_row() -> None:
    assert shown(DEVELOPMENT) == asked(PROJECT["dependency-groups"]["dev"])
