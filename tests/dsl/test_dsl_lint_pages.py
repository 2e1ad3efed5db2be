"""Every code has a page, and the examples of the pages do what the pages say."""

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from turnout.dsl import lint as folder
from turnout.dsl.diagnostic import NAMES, Diagnostic
from turnout.dsl.lint.page import Page, completed
from turnout.dsl.lint.registry import FINDERS, PAGES_ONLY, PROOFS, UNPROVED, pages

from .conftest import Language

INNER = {
    "__init__",
    "abilities",
    "constants",
    "guesses",
    "page",
    "registry",
    "run",
    "survey",
    "written",
}  # files that are no code's
PAGES = list(pages().values())
BESIDE = {"RP210": {"RP203"}}  # says why there is a gap where only the unknown comes through


def named(page: Page) -> str:
    return f"{page.code}-{page.name}"


def line_of(finding: Diagnostic) -> str:
    return finding.span.source.line_text(finding.span.line)


def test_every_code_has_a_file_of_its_name_and_every_file_a_code() -> None:
    (place,) = folder.__path__
    files = {path.stem for path in Path(place).glob("*.py")}
    assert files - INNER == {name.replace("-", "_") for name in NAMES.values()}


def test_every_file_is_listed_once_under_the_code_of_its_name() -> None:
    proofs = dict.fromkeys((*UNPROVED, *PROOFS))  # some do both
    listed = {rule.CODE: str(rule.__name__) for rule in (*FINDERS, *PAGES_ONLY, *proofs)}  # type: ignore[attr-defined]
    assert len(listed) == len(FINDERS) + len(PAGES_ONLY) + len(proofs)
    assert {code: name.rpartition(".")[2] for code, name in listed.items()} == {
        code: name.replace("-", "_") for code, name in NAMES.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_warns_of_is_found_and_nothing_else(
    page: Page, language: Language, snapshot: SnapshotAssertion
) -> None:
    all_found = language.lint_for(page.code, completed(page.avoid)).findings
    found = [finding for finding in all_found if finding.code == page.code]
    assert {finding.code for finding in all_found} == {page.code} | BESIDE.get(page.code, set())
    assert found[0].severity == page.level
    assert line_of(found[0]) in completed(page.avoid)
    assert line_of(found[0]).strip().removeprefix("- ") in page.avoid
    assert snapshot == "\n".join(
        f"{line_of(finding)}\n{' ' * (finding.span.column - 1)}^ {finding.message}; {finding.help}"
        for finding in found
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_advises_is_sound(page: Page, language: Language) -> None:
    found = language.lint_for(page.code, completed(page.prefer)).findings
    assert page.code not in {finding.code for finding in found}
    assert not [finding for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_is_short_enough_to_be_read(page: Page) -> None:
    assert page.title.endswith(".") and page.title.count(".") <= 2
    assert len(page.text) < 600
    assert max(map(len, page.markdown.splitlines())) <= 110
