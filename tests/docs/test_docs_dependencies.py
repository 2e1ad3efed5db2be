"""docs/dependencies.md has what is asked for, and nothing that is not."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
INSTALLED, REST = PAGE.split("Only with an extra")
EXTRA, REST = REST.split("Packages for development alone")
DEVELOPMENT, CLIENTS = REST.split("Clients that the tests run")
SDK = ROOT / "tests" / "sdk"


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


def test_each_client_of_the_tests_has_its_row() -> None:
    files = (SDK / "python").glob("*.in")
    wanted = asked([line for file in files for line in file.read_text().splitlines()])
    package = json.loads((SDK / "node" / "package.json").read_text(encoding="utf-8"))
    assert shown(CLIENTS) == wanted | set(package["dependencies"])


def test_the_pins_of_the_clients_name_no_address() -> None:
    for file in (SDK / "python").glob("*.txt"):
        assert "://" not in file.read_text(encoding="utf-8")
    package = json.loads((SDK / "node" / "package.json").read_text(encoding="utf-8"))
    for version in package["dependencies"].values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
