import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.cli.colour import COLOURED, PLAIN, palette_of
from turnout.cli.exchange import findings_as_cases, render_junit
from turnout.cli.report import (
    printable,
    render_github,
    render_json,
    render_text,
    summary,
    width_of,
)
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.source import Source, Span


def finding(
    text: str,
    marked: str,
    *,
    code: str = "RP101",
    severity: Severity = "error",
    message: str = "unknown attribute `tokns`",
    help: str | None = "did you mean `tokens`?",
    related: tuple[Related, ...] = (),
    name: str = "routing.yml",
) -> Diagnostic:
    source = Source(name, text)
    start = text.index(marked)
    return Diagnostic(
        code, severity, message, Span(source, start, start + len(marked)), help, related
    )


def excerpt(text: str, marked: str) -> list[str]:
    """The source line and the caret line of a finding, without the gutter."""
    lines = render_text([finding(text, marked)]).splitlines()[1:3]
    return [line.partition("| ")[2] for line in lines]


def test_a_finding_shows_place_code_line_caret_and_fix() -> None:
    text = "routing_policy:\n  - name: a\n    condition: tokns < 100\n"
    assert render_text([finding(text, "tokns")]) == (
        "routing.yml:3:16: error[RP101 unknown-attribute] unknown attribute `tokns`\n"
        " 3 |     condition: tokns < 100\n"
        "   |                ^^^^^\n"
        "   = help: did you mean `tokens`?\n"
    )


@pytest.mark.parametrize(
    ("text", "marked", "shown"),
    [
        ("a: b < c", "b", ["a: b < c", "   ^"]),
        ("\ta: b", "b", ["    a: b", "       ^"]),
        ("ab\tc", "c", ["ab  c", "    ^"]),
        ("a\tb", "\t", ["a   b", " ^^^"]),
        ("日本 == x", "x", ["日本 == x", "        ^"]),
        ("x == 日本", "日本", ["x == 日本", "     ^^^^"]),
        ("e\u0301 == x", "x", ["e\u0301 == x", "     ^"]),
        ("name: 🚂 x", "x", ["name: 🚂 x", "         ^"]),
        ("a\x1b[31mb", "b", ["a␛[31mb", "      ^"]),
        ("a\u202eb c", "c", ["a\ufffdb c", "    ^"]),
        ("a b\r\nc", "b", ["a b", "  ^"]),
        ("a b\nc d", "b\nc", ["a b", "  ^"]),
        ("a b\nc d", "b\n", ["a b", "  ^"]),
    ],
)
def test_the_caret_stands_under_the_span(text: str, marked: str, shown: list[str]) -> None:
    assert excerpt(text, marked) == shown


def test_an_empty_span_at_the_end_of_a_file_has_one_caret() -> None:
    source = Source("routing.yml", "a: b\n")
    end = Diagnostic("RP001", "error", "the file ends here", Span(source, 5, 5))
    assert render_text([end]).splitlines() == [
        "routing.yml:2:1: error[RP001 syntax-error] the file ends here",
        " 2 |",
        "   | ^",
    ]


@pytest.mark.parametrize("place", [0, 30, 300, 990])
def test_a_long_line_is_cut_around_the_caret(place: int) -> None:
    text = "x" * place + "BAD" + "y" * (997 - place)
    line, carets = excerpt(text, "BAD")
    assert len(line) <= 120
    start = carets.index("^")
    assert line[start : start + 3] == "BAD" and carets.count("^") == 3


def test_a_long_line_of_wide_characters_is_cut_around_the_caret() -> None:
    line, carets = excerpt("日" * 400 + "BAD" + "本" * 400, "BAD")
    assert width_of(line) <= 120
    assert width_of(line[: line.index("BAD")]) == carets.index("^")


@given(st.text(max_size=200), st.text(min_size=1, max_size=30), st.text(max_size=200))
def test_whatever_the_text_the_caret_line_is_as_wide_as_what_it_marks(
    before: str, marked: str, after: str
) -> None:
    before, marked, after = (
        "".join(c for c in part if c not in "\r\n") for part in (before, marked, after)
    )
    source = Source("routing.yml", before + marked + after)
    span = Span(source, len(before), len(before) + len(marked))
    shown = render_text([Diagnostic("RP001", "error", "no", span)])
    lines = shown.split("\n")
    assert len(lines) == 4 and lines[3] == ""
    assert all(c.isprintable() or c in " \n\u3000" for c in shown if ord(c) < 0x80)
    assert "^" in lines[2]


def test_related_places_show_their_own_line() -> None:
    text = "- name: a\n- name: b\n- name: a\n"
    source = Source("routing.yml", text)
    first = Related("first used here", Span(source, 8, 9))
    twice = Diagnostic(
        "RP004", "error", "two rules are named `a`", Span(source, 28, 29), "rename one", (first,)
    )
    assert render_text([twice]) == (
        "routing.yml:3:9: error[RP004 duplicate-name] two rules are named `a`\n"
        " 3 | - name: a\n"
        "   |         ^\n"
        "   = help: rename one\n"
        "   = note: routing.yml:1:9: first used here\n"
        " 1 | - name: a\n"
        "   |         ^\n"
    )


def test_json_has_exactly_the_keys_that_scripts_rely_on() -> None:
    rows = json.loads(render_json([finding("a: tokns", "tokns")]))
    assert rows == [
        {
            "code": "RP101",
            "name": "unknown-attribute",
            "severity": "error",
            "message": "unknown attribute `tokns`",
            "help": "did you mean `tokens`?",
            "file": "routing.yml",
            "line": 1,
            "column": 4,
            "end_line": 1,
            "end_column": 9,
            "witness": None,
        }
    ]
    assert json.loads(render_json([])) == []


def test_findings_are_printed_in_the_order_of_their_places() -> None:
    text = "one two"
    source = Source("routing.yml", text)
    late, early = (
        Diagnostic("RP001", "error", word, Span(source, text.index(word), text.index(word) + 3))
        for word in ("two", "one")
    )
    assert [row["message"] for row in json.loads(render_json([late, early]))] == ["one", "two"]


@pytest.mark.parametrize(
    ("severities", "names", "line"),
    [
        ([], ["a.yml"], "no findings in a.yml"),
        (["error", "warning", "error"], ["a.yml"], "2 errors, 1 warning in a.yml"),
        (["info"], ["a.yml", "b.yml"], "1 note in 2 files"),
    ],
)
def test_the_summary_counts_by_severity(
    severities: list[Severity], names: list[str], line: str
) -> None:
    assert summary([finding("x", "x", severity=s) for s in severities], names) == line


def test_a_github_annotation_cannot_be_broken_out_of() -> None:
    hostile = finding(
        "x: tokns",
        "tokns",
        message="unknown `a\n::error::b` at 100%",
        help=None,
        name="a,b:c.yml",
    )
    assert render_github([hostile]) == (
        "::error file=a%2Cb%3Ac.yml,line=1,endLine=1,col=4,endColumn=9,"
        "title=RP101 unknown-attribute::unknown `a%0A::error::b` at 100%25\n"
    )


def test_junit_fails_what_counts_and_passes_a_clean_file() -> None:
    found = [
        finding("tokns", "tokns", name="a.yml"),
        finding("x", "x", severity="warning", code="RP003", message="cut \x00", name="a.yml"),
    ]
    cases = findings_as_cases(found, ["a.yml", "b.yml"], frozenset({"error"}))
    root = ElementTree.fromstring(render_junit(cases))
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in root] == [
        ("a.yml", "2", "1"),
        ("b.yml", "1", "0"),
    ]
    assert [case.get("name") for case in root[0]] == [
        "RP003 comment-cuts-condition at 1:1",
        "RP101 unknown-attribute at 1:1",
    ]


def test_colour_is_only_added_never_changes_the_text() -> None:
    one = [finding("a: tokns", "tokns")]
    coloured = render_text(one, COLOURED)
    plain = coloured
    for style in (COLOURED.error, COLOURED.info, COLOURED.strong, COLOURED.faint, COLOURED.end):
        plain = plain.replace(style, "")
    assert coloured != plain == render_text(one, PLAIN)


class Terminal:
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert palette_of(Terminal()) is COLOURED  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert palette_of(Terminal()) is PLAIN  # type: ignore[arg-type]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert palette_of(Terminal()) is PLAIN  # type: ignore[arg-type]


def test_printable_keeps_ordinary_text_of_any_script() -> None:
    assert printable("größer als 日本 🚂") == "größer als 日本 🚂"
