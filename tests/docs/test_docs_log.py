"""Every line of the gateway's log names only values that are listed, and the list has no others."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from turnout.engine.logged import LOGGED, PROMPTS

ROOT = Path(__file__).parents[2]
METHODS = frozenset("debug info warning error exception critical log".split())
LISTED = frozenset(value for values in LOGGED.values() for value in values)


class Line(NamedTuple):
    """A call that writes a line: where, how loud, its text and the values in it."""

    place: str
    level: str
    text: ast.expr
    values: tuple[str, ...]


def sources() -> Iterator[Path]:
    for folder in ("dsl", "engine", "adapters", "conformance"):
        yield from (ROOT / folder).rglob("*.py")
    for path in (ROOT / "turnout").iterdir():
        if not path.is_symlink():
            yield from [path] if path.suffix == ".py" else path.rglob("*.py")


def lines_of(path: Path, source: str) -> Iterator[Line]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        on = ast.unparse(node.func.value)
        if node.func.attr not in METHODS or not (on.endswith("log") or "logg" in on.lower()):
            continue
        words = node.args[1:] if node.func.attr == "log" else node.args
        values = tuple(f"{path.stem}: {ast.unparse(value)}" for value in words[1:])
        yield Line(f"{path}:{node.lineno}", node.func.attr, words[0], values)


LINES = [line for path in sorted(sources()) for line in lines_of(path, path.read_text("utf-8"))]


def unlisted(lines: list[Line]) -> list[str]:
    return [
        f"{line.place} logs `{value}`: if it can hold nothing of a prompt, an answer, a header or "
        "a key, add it to engine/logged.py under what it is, else leave it out"
        for line in lines
        for value in line.values
        if value not in LISTED
    ]


def test_every_value_in_a_line_of_the_log_is_listed() -> None:
    assert len(LINES) > 50
    assert unlisted(LINES) == []


def test_a_value_that_is_not_listed_is_told_with_what_to_do() -> None:
    new = list(lines_of(Path("chain.py"), "_log.info('%s asks %s', request.id, request.body)"))
    (first, second) = unlisted(new)
    assert "chain.py:1 logs `chain: request.id`" in first
    assert "add it to engine/logged.py under what it is, else leave it out" in second


def test_nothing_is_listed_that_no_line_names() -> None:
    assert LISTED - {value for line in LINES for value in line.values} == set()


def test_only_a_line_of_debug_holds_a_prompt() -> None:
    holding = [line for line in LINES if PROMPTS & set(line.values)]
    assert [line.level for line in holding] == ["debug"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place.rpartition("/")[2])
def test_the_text_of_a_line_is_fixed(line: Line) -> None:
    # An f-string would hold what nobody listed.
    is_name = isinstance(line.text, ast.Name) and line.text.id.isupper()
    assert is_name or isinstance(ast.literal_eval(line.text), str)


def test_logs_are_written_by_loggers_alone() -> None:
    # `print` is for commands and their output.
    for path in sorted(sources()):
        if path.is_relative_to(ROOT / "turnout" / "cli") or "conformance" in path.parts:
            continue
        if path.is_relative_to(ROOT / "turnout" / "simulator"):
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        assert not [call.lineno for call in calls if ast.unparse(call.func) == "print"], path
