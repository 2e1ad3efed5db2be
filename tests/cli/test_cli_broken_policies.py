"""The mistakes people make: each is one error, at its place, with a caret and a fix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from syrupy.assertion import SnapshotAssertion

from .conftest import Ran

HERE = Path(__file__).parent


class Broken(NamedTuple):
    """A file of `broken/`, the code and place of its error, what is underlined, and the fix."""

    file: str
    code: str
    line: int
    column: int
    underlined: str
    fix: str


CASES = (
    Broken("unknown_key", "RP005", 4, 5, "conditon", "`condition`"),
    Broken("typo_in_attribute", "RP101", 4, 16, "tokns", "`tokens`"),
    Broken("missing_unit", "RP110", 5, 22, "800", "`800ms`"),
    Broken("single_equals", "RP001", 4, 38, "=", "`==`"),
    Broken("c_style_and", "RP001", 4, 29, "&&", "`and`"),
    Broken("unterminated_string", "RP001", 4, 41, '"free', '`"free"`'),
    Broken("duplicate_rule_name", "RP004", 6, 11, "cheap", "rename"),
    Broken("duplicate_key", "RP004", 6, 5, "condition", "keep one"),
    Broken("unknown_provider", "RP301", 5, 12, "grok/llama-3-8b", "`groq/llama-3-8b`"),
    Broken("bad_unit", "RP001", 4, 26, "800msec", "`800ms`"),
    Broken("yaml_trap", "RP002", 4, 16, "!has_tools", "`not has_tools`"),
    Broken("tab", "RP002", 4, 1, "\t", "spaces"),
)


def row_of(ran: Ran) -> dict[str, Any]:
    (row,) = json.loads(ran.out)
    assert isinstance(row, dict)
    return row


def test_every_broken_file_is_in_the_table() -> None:
    assert {path.stem for path in (HERE / "broken").glob("*.yml")} == {c.file for c in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_broken_file_is_one_error_at_its_place_with_a_fix(
    case: Broken, command: Callable[[str], Ran]
) -> None:
    ran = command(f"policy lint broken/{case.file}.yml --format json")
    row = row_of(ran)
    text = (HERE / "broken" / f"{case.file}.yml").read_text().splitlines()[row["line"] - 1]
    marked = text[row["column"] - 1 : row["end_column"] - 1]
    assert (row["code"], row["severity"], row["file"], row["line"], row["column"], marked) == (
        case.code,
        "error",
        f"broken/{case.file}.yml",
        case.line,
        case.column,
        case.underlined,
    )
    assert case.fix in row["help"]
    assert row["line"] == row["end_line"]
    assert (ran.status, ran.err) == (1, "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_the_text_shows_what_the_data_says(
    case: Broken, command: Callable[[str], Ran], snapshot: SnapshotAssertion
) -> None:
    row = row_of(command(f"policy lint broken/{case.file}.yml --format json"))
    ran = command(f"policy lint broken/{case.file}.yml")
    head, source, carets, *rest = ran.out.splitlines()
    assert head == (
        f"{row['file']}:{row['line']}:{row['column']}: "
        f"error[{row['code']} {row['name']}] {row['message']}"
    )
    assert f"   = help: {row['help']}" in rest
    assert "^" in carets and source.partition("|")[0].strip() == str(row["line"])
    assert (ran.status, ran.err) == (1, "")
    assert snapshot == ran.out
