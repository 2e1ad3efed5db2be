"""The pages of the codes, as people read them: complete, linked, and true of today's catalogue."""

import re
from pathlib import Path

import pytest

from turnout.dsl.diagnostic import NAMES
from turnout.dsl.lint.page import beside, completed
from turnout.dsl.lint.registry import ON_REQUEST, PROVED
from turnout.dsl.lint.run import lint
from turnout.dsl.prove import Prover
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

CODES = Path(__file__).parents[2] / "docs" / "codes"
PAGES = sorted(CODES.glob("RP*.md"))
TODAY = 20_778  # 2026-11-21
BESIDE = {"RP210": {"RP203"}}  # says why there is a gap where only the unknown comes through


def examples(page: Path) -> tuple[str, str]:
    avoid, prefer = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return avoid, prefer


def codes_of(example: str, code: str) -> dict[str, str]:
    source = Source("routing.yml", completed(example))
    prover = Prover if code in PROVED else None
    linted = lint(source, language_schema(), TODAY, beside, prover, code in ON_REQUEST)
    return {finding.code: finding.severity for finding in linted.findings}


def test_every_code_has_a_page() -> None:
    assert {page.stem for page in PAGES} == set(NAMES)


def test_the_index_leads_to_every_page_and_no_other() -> None:
    index = (CODES / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((RP\d+)\.md\) \| `([\w-]+)`", index)
    assert linked == sorted(NAMES.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_are_what_it_says(page: Path) -> None:
    avoid, prefer = examples(page)
    assert codes_of(avoid, page.stem).keys() == {page.stem} | BESIDE.get(page.stem, set())
    advised = codes_of(prefer, page.stem)
    assert page.stem not in advised
    assert "error" not in advised.values()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_lint_says_and_the_way_back(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    said = re.findall(r"^\S+\.yml:\d+:\d+: (\w+)\[(RP\d+) ([\w-]+)\]", text, re.MULTILINE)
    assert said and {(code, name) for _, code, name in said} == {(page.stem, NAMES[page.stem])}
    assert "(README.md)" in text and f"policy lint --explain {page.stem}" in text
