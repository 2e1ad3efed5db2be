"""The page about security names tests that there are, and what is set as it is."""

import re
from pathlib import Path

import pytest

from turnout import credentials
from turnout.engine.redaction import Secrets
from turnout.rotation import LEAST_S
from turnout.server import body, tls
from turnout.settings import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))


def defined() -> set[str]:
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {
        name for text in tests for name in re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.M)
    }


def test_each_threat_names_a_test() -> None:
    _, _, table = PAGE.partition("## Who attacks")
    rows = [row for row in table.partition("\n## ")[0].splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 10
    assert [row for row in rows if "`test_" not in row] == []


def test_each_test_that_is_named_is_there() -> None:
    assert len(NAMED) > 20
    assert set(NAMED) - defined() == set()


@pytest.mark.parametrize(
    "told",
    [
        f"{credentials.COMMAND_S:.0f} seconds and {credentials.MOST_BYTES // 1024} KiB",
        f"at most every {LEAST_S:.0f} seconds",
        f"every {tls.LOOK_S:.0f} seconds and at a SIGHUP",
        f"same {Limits().header_us // 1_000_000} seconds as headers",
        f"first {body._TOLD_BYTES} bytes",
    ],
)
def test_the_bounds_on_the_page_are_those_of_the_gateway(told: str) -> None:
    assert told in " ".join(PAGE.split())


def test_no_secret_and_no_address_stands_on_the_page() -> None:
    assert Secrets().cut(PAGE) == PAGE
