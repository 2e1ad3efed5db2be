"""Findings for people and for machines: text with carets, JSON, GitHub annotations.

A policy is untrusted input: control and direction-changing characters are never written to a
terminal as they are. What does not belong here: what is found (the language) and exit codes (the
commands). SARIF and JUnit live in `exchange`.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from turnout.dsl.diagnostic import Diagnostic, Severity, sort
from turnout.dsl.given import said
from turnout.dsl.source import Source, Span

from .colour import PLAIN, Palette

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

_TAB = 4  # a tab reaches to the next multiple of so many columns
_SECRET = frozenset({"RP007"})  # findings whose place holds what must not be repeated
_WIDTH = 120  # of the source line shown; longer ones are cut around the caret
_LEAD = 40  # columns kept before the caret in a line that is cut


def render_text(diagnostics: Iterable[Diagnostic], palette: Palette = PLAIN) -> str:
    """Findings by place: what, the source line, a caret under the span, what to write instead."""
    findings = sort(diagnostics)
    secrets = tuple(finding.span for finding in findings if finding.code in _SECRET)
    return "\n".join(_finding(finding, palette, secrets) for finding in findings)


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Findings as a JSON list of objects with the keys that scripts rely on."""
    rows = [as_data(diagnostic) for diagnostic in sort(diagnostics)]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Findings as GitHub workflow commands, shown beside the lines of a pull request."""
    return "".join(_annotation(diagnostic) for diagnostic in sort(diagnostics))


def as_data(diagnostic: Diagnostic) -> dict[str, object]:
    """One finding as plain data.

    Shape: code, name, severity, message, help, file, line, column, end_line, end_column, witness.
    Lines and columns count from 1 in code points; the end is just after the last character.
    """
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "name": diagnostic.name,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "help": diagnostic.help,
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
        "witness": dict(diagnostic.witness) if diagnostic.witness is not None else None,
    }


def render_place(span: Span) -> str:
    """Where a span starts, as editors understand it: `routing.yml:4:16`."""
    return f"{printable(span.source.name)}:{span.line}:{span.column}"


def summary(diagnostics: Iterable[Diagnostic], names: Sequence[str]) -> str:
    """One line for all findings, such as `2 errors, 1 warning in routing.yml`."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    parts = [plural(counts[s], _NOUNS[s]) for s in SEVERITIES if counts[s]]
    where = printable(names[0]) if len(names) == 1 else plural(len(names), "file")
    return f"{', '.join(parts) or 'no findings'} in {where}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 error`, `2 errors`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text with whatever could steer a terminal or reorder a line made visible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


_NOUNS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


def _finding(diagnostic: Diagnostic, palette: Palette, secrets: Sequence[Span]) -> str:
    span = diagnostic.span
    label = f"{diagnostic.severity}[{diagnostic.code} {diagnostic.name}]"
    gutter = _gutter(diagnostic)
    lines = [
        f"{render_place(span)}: {palette.paint(diagnostic.severity, label)}"
        f" {palette.paint('strong', printable(diagnostic.message))}",
        *_excerpt(span, gutter, diagnostic.severity, palette, secrets),
    ]
    if diagnostic.help:
        lines.append(f"{'':{gutter}} = help: {printable(diagnostic.help)}")
    if diagnostic.witness:
        lines.append(f"{'':{gutter}} = for example: {printable(said(diagnostic.witness))}")
    for related in diagnostic.related:
        lines.append(
            f"{'':{gutter}} = note: {render_place(related.span)}: {printable(related.message)}",
        )
        lines += _excerpt(related.span, gutter, "info", palette, secrets)
    return "\n".join(lines) + "\n"


def _gutter(diagnostic: Diagnostic) -> int:
    """How wide the column of line numbers is, so that all excerpts of a finding line up."""
    last = max(diagnostic.span.line, *(r.span.line for r in diagnostic.related), 0)
    return len(str(last)) + 1


def _excerpt(
    span: Span, gutter: int, style: str, palette: Palette, secrets: Sequence[Span]
) -> list[str]:
    """The source line with carets under the part of the span that lies in it."""
    line, column = span.line, span.column
    text = _without(secrets, span.source, line)
    last = span.end_column - 1 if span.end_line == line else len(text)
    before, marked, after = text[: column - 1], text[column - 1 : last], text[last:]
    shown = _expand(before)
    start = width_of(shown)
    carets = max(1, width_of(_expand(marked, start)))
    shown = _expand(before + marked + after)
    shown, start, carets = _cut(shown, start, carets)
    bar = palette.paint("faint", "|")
    return [
        f"{palette.paint('faint', f'{line:>{gutter}}')} {bar} {shown}".rstrip(),
        f"{'':{gutter}} {bar} {'':{start}}{palette.paint(style, '^' * carets)}",
    ]


def _without(secrets: Sequence[Span], source: Source, line: int) -> str:
    """A line of the source, with dots where it holds a secret."""
    text = source.line_text(line)
    start = source.offset(line, 1)
    for secret in secrets:
        low, high = max(secret.start - start, 0), min(secret.end - start, len(text))
        if secret.source == source and low < high:
            text = text[:low] + "•" * (high - low) + text[high:]
    return text


def width_of(text: str) -> int:
    """How many columns a terminal gives to the text."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Mn":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the picture of the control character
    if code == 0x7F:
        return "\u2421"
    # Other controls, format characters (bidirectional overrides, zero width), separators of lines
    # and paragraphs, halves of surrogate pairs: nothing that a line of a policy needs.
    return "\ufffd" if unicodedata.category(character) in _STEERING else character


_STEERING = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def _expand(text: str, start: int = 0) -> str:
    """The text as a terminal should show it from that column on: tabs as spaces, no controls."""
    if "\t" not in text:
        return printable(text)
    shown, at = [], start
    for character in text:
        piece = " " * (_TAB - at % _TAB) if character == "\t" else printable(character)
        at += width_of(piece)
        shown.append(piece)
    return "".join(shown)


def _cut(shown: str, start: int, carets: int) -> tuple[str, int, int]:
    """A long line cut around the caret, with the caret's new place."""
    if width_of(shown) <= _WIDTH:
        return shown, start, carets
    head = ""
    if start > _LEAD:
        drop, dropped = 0, 0
        while dropped < start - _LEAD:
            dropped += _columns(shown[drop])
            drop += 1
        head, shown, start = "…", shown[drop:], start - dropped + 1
    room = _WIDTH - len(head)
    if width_of(shown) <= room:
        return head + shown, start, carets
    room -= 1
    keep, kept = 0, 0
    while keep < len(shown) and kept + _columns(shown[keep]) <= room:
        kept += _columns(shown[keep])
        keep += 1
    return head + shown[:keep] + "…", start, max(1, min(carets, kept + len(head) - start))


_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def _annotation(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    text = diagnostic.message + (f"\n{diagnostic.help}" if diagnostic.help else "")
    text += f"\nfor example: {said(diagnostic.witness)}" if diagnostic.witness else ""
    properties = {
        "file": span.source.name,
        "line": span.line,
        "endLine": span.end_line,
        "col": span.column,
        "endColumn": span.end_column,
        "title": f"{diagnostic.code} {diagnostic.name}",
    }
    if span.end_line != span.line:  # GitHub refuses columns that span lines
        del properties["col"], properties["endColumn"]
    listed = ",".join(
        f"{key}={escape_annotation(str(value), ':,')}" for key, value in properties.items()
    )
    return f"::{_COMMANDS[diagnostic.severity]} {listed}::{escape_annotation(text)}\n"


def escape_annotation(text: str, also: str = "") -> str:
    """Percent-escaped as workflow commands want it, so that no text can start a command."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for character in also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
