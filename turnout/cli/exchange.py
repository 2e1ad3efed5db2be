"""Findings for other tools: SARIF 2.1.0 for code scanning, JUnit XML for test reports."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from turnout import __version__
from turnout.dsl.diagnostic import Diagnostic, Severity, sort
from turnout.dsl.given import said
from turnout.dsl.ignore import Ignored
from turnout.dsl.lint.page import Page
from turnout.dsl.lint.registry import pages
from turnout.dsl.source import Span

if TYPE_CHECKING:
    from xml.etree import ElementTree

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_FINGERPRINT = "turnoutFinding/v1"  # a new way to compute it is a new version


def render_sarif(diagnostics: Iterable[Diagnostic], ignored: Iterable[Ignored] = ()) -> str:
    """Findings as one SARIF run; ignored ones are in it as suppressed, with their reasons.

    Columns count code points. Source: SARIF 2.1.0 (OASIS), 3.14, 3.19, 3.27, 3.30 and 3.35.
    """
    reasons = {row.finding: row.reason for row in ignored}
    rows = sort((*diagnostics, *reasons))
    used = sorted({row.code for row in rows})
    seen: Counter[str] = Counter()
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "turnout",
                        "version": __version__,
                        "rules": [_rule(pages()[code]) for code in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(row, used.index(row.code), reasons.get(row), seen) for row in rows
                ],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(page: Page) -> dict[str, object]:
    """A code with its page. A page has no address of its own, so it is named from the root."""
    return {
        "id": page.code,
        "name": page.name,
        "shortDescription": {"text": page.title},
        "fullDescription": {"text": " ".join(page.text.split())},
        "help": {
            "text": f"{page.text}\n\nAvoid:\n\n{page.avoid}\nPrefer:\n\n{page.prefer}",
            "markdown": page.markdown,
        },
        "defaultConfiguration": {"level": _LEVELS[page.level]},
        "properties": {"page": page.address},
    }


def _result(
    diagnostic: Diagnostic, rule: int, reason: str | None, seen: Counter[str]
) -> dict[str, object]:
    text = diagnostic.message + (f"; {diagnostic.help}" if diagnostic.help else "")
    result: dict[str, object] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": text},
        "locations": [_location(diagnostic.span)],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(diagnostic, seen)},
        "suppressions": []
        if reason is None
        else [{"kind": "inSource", "status": "accepted", "justification": reason}],
    }
    if diagnostic.related:
        result["relatedLocations"] = [
            _location(related.span) | {"id": number, "message": {"text": related.message}}
            for number, related in enumerate(diagnostic.related)
        ]
    if diagnostic.witness is not None:
        result["properties"] = {"witness": dict(diagnostic.witness)}
    return result


def _fingerprint(diagnostic: Diagnostic, seen: Counter[str]) -> str:
    """What stays the same while lines above are added: code, file, line text, and its number."""
    span = diagnostic.span
    line = " ".join(span.source.line_text(span.line).split())
    print_ = hashlib.sha256(
        "\0".join((diagnostic.code, _uri(span.source.name), line)).encode("utf-8", "replace")
    ).hexdigest()[:32]
    seen[print_] += 1
    return f"{print_}:{seen[print_]}"


def _location(span: Span) -> dict[str, object]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(span.source.name)},
            "region": {
                "startLine": span.line,
                "startColumn": span.column,
                "endLine": span.end_line,
                "endColumn": span.end_column,
            },
        }
    }


def _uri(name: str) -> str:
    """A file's name as the reference that SARIF wants."""
    return quote(name.replace("\\", "/"), safe="/", errors="replace")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a JUnit report; `failure` None means passed, `kind` says what failed."""

    suite: str
    name: str
    failure: str | None = None
    detail: str = ""
    kind: str = "failure"


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
                detail=_detail(row),
                kind=row.severity,
            )
            for row in here
        ]
        if not here:
            cases.append(Case(suite=name, name="lint"))
    return cases


def _detail(finding: Diagnostic) -> str:
    example = f"for example: {said(finding.witness)}" if finding.witness else ""
    return "\n".join(part for part in (finding.help, example) if part)


def render_junit(cases: Iterable[Case]) -> str:
    """Cases as JUnit XML, a suite per file.

    Source: the form that Jenkins, GitLab and GitHub actions read; nothing here takes time.
    """
    from xml.etree import ElementTree

    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ElementTree.Element("testsuites", name="turnout")
    total = failing = 0
    for name, listed in suites.items():
        failed = sum(case.failure is not None for case in listed)
        total, failing = total + len(listed), failing + failed
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(name), skipped="0", time="0")
        _count(suite, len(listed), failed)
        for case in listed:
            row = ElementTree.SubElement(
                suite, "testcase", classname=_xml(name), name=_xml(case.name), time="0"
            )
            if case.failure is not None:
                failure = ElementTree.SubElement(
                    row, "failure", message=_xml(case.failure), type=_xml(case.kind)
                )
                failure.text = _xml(case.detail)
    _count(root, total, failing)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _count(element: "ElementTree.Element", tests: int, failures: int) -> None:
    for key, count in (("tests", tests), ("failures", failures), ("errors", 0)):
        element.set(key, str(count))


def _xml(text: str) -> str:
    """The text without the characters that XML 1.0 cannot hold at all."""
    return "".join(
        c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xDFFF < ord(c) < 0xFFFE else "\ufffd"
        for c in text
    )
