"""Policies that a sensible author writes are not warned of."""

from pathlib import Path

import pytest

from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

SENSIBLE = (Path(__file__).parent / "files" / "sensible.txt").read_text().split("----\n")
TODAY = 20_778  # 2026-11-21


@pytest.mark.parametrize("text", SENSIBLE, ids=range(1, len(SENSIBLE) + 1))
def test_a_sensible_policy_is_not_warned_of(text: str) -> None:
    linted = lint(Source("routing.yml", text), language_schema(), TODAY)
    assert linted.program is not None, linted.findings
    found = [(f.code, f.message) for f in linted.findings if f.severity != "info"]
    assert found == []


def test_there_are_many() -> None:
    assert len(SENSIBLE) >= 40
