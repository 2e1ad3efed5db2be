"""The page about the conformance suite has its areas as they are."""

from pathlib import Path

from turnout.conformance.run import Outcome
from turnout.conformance.suite import AREAS

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def test_the_page_lists_each_area_with_its_cases() -> None:
    listed = [line for line in PAGE.splitlines() if line.startswith("| ") and "| `" in line]
    assert listed == [
        f"| {area.name} | {len(area.cases)} | `{area.endpoint}` | {area.about} |" for area in AREAS
    ]


def test_the_page_explains_each_outcome() -> None:
    assert all(f"| {outcome.value} |" in PAGE for outcome in Outcome)
