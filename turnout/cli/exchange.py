"""Findings for other tools: SARIF 2.1.0 for code scanning, JUnit XML for test reports."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from turnout import __version__
from turnout.dsl.diagnostic import NAMES, Diagnostic, Severity, sort
from turnout.dsl.source import Span

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


def render_sarif(diagnostics: Iterable[Diagnostic]) -> str:
    """Findings as one SARIF run.

    Source: SARIF 2.1.0 (OASIS), sections 3.14, 3.27 and 3.30; columns count code points.
    """
    rows = sort(diagnostics)
    used = sorted({row.code for row in rows})
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "turnout",
                        "version": __version__,
                        "rules": [{"id": code, "name": NAMES[code]} for code in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(row, used.index(row.code)) for row in rows],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, object]:
    text = diagnostic.message + (f"; {diagnostic.help}" if diagnostic.help else "")
    result: dict[str, object] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": text},
        "locations": [_location(diagnostic.span)],
    }
    if diagnostic.related:
        result["relatedLocations"] = [
            _location(related.span) | {"id": number, "message": {"text": related.message}}
            for number, related in enumerate(diagnostic.related)
        ]
    if diagnostic.witness is not None:
        result["properties"] = {"witness": dict(diagnostic.witness)}
    return result


def _location(span: Span) -> dict[str, object]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": span.source.name.replace("\\", "/")},
            "region": {
                "startLine": span.line,
                "startColumn": span.column,
                "endLine": span.end_line,
                "endColumn": span.end_column,
            },
        }
    }


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a JUnit report; `failure` None means passed."""

    suite: str
    name: str
    failure: str | None = None
    detail: str = ""


def findings_as_cases(
    diagnostics: Iterable[Diagnostic], names: Sequence[str], counted: frozenset[str]
) -> list[Case]:
    """A case per finding, failed where its severity counts, and a passed one per clean file."""
    rows = sort(diagnostics)
    cases = []
    for name in names:
        here = [row for row in rows if row.span.source.name == name]
        cases += [
            Case(
                suite=name,
                name=f"{row.code} {row.name} at {row.span.line}:{row.span.column}",
                failure=row.message if row.severity in counted else None,
                detail=row.help or "",
            )
            for row in here
        ]
        if not here:
            cases.append(Case(suite=name, name="lint"))
    return cases


def render_junit(cases: Iterable[Case]) -> str:
    """Cases as JUnit XML, a suite per file."""
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ElementTree.Element("testsuites")
    for name, listed in suites.items():
        failed = sum(case.failure is not None for case in listed)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(name),
            tests=str(len(listed)),
            failures=str(failed),
            errors="0",
        )
        for case in listed:
            row = ElementTree.SubElement(
                suite, "testcase", classname=_xml(name), name=_xml(case.name)
            )
            if case.failure is not None:
                failure = ElementTree.SubElement(row, "failure", message=_xml(case.failure))
                failure.text = _xml(case.detail)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _xml(text: str) -> str:
    """The text without the characters that XML 1.0 cannot hold at all."""
    return "".join(
        c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xDFFF < ord(c) < 0xFFFE else "\ufffd"
        for c in text
    )
