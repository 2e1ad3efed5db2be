"""What came of a run, for machines: counts by area, JSON, JUnit XML.

Nothing here is about how a terminal shows it. `page` makes the HTML.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from .api import Target
from .run import Outcome, Result
from .suite import AREAS


@dataclass(frozen=True, slots=True)
class Report:
    """A run against a target. `seconds` is how long it took."""

    target: Target
    results: Sequence[Result]
    seconds: float

    @property
    def counts(self) -> Counter[Outcome]:
        """How many cases came out how."""
        return Counter(result.outcome for result in self.results)

    @property
    def by_area(self) -> dict[str, Counter[Outcome]]:
        """The same for each area that was asked, in the suite's order."""
        found: dict[str, Counter[Outcome]] = {}
        for area in AREAS:
            counted = Counter(r.outcome for r in self.results if r.case.area == area.name)
            if counted:
                found[area.name] = counted
        return found

    @property
    def answered_by(self) -> Counter[str]:
        """How many cases each target had a part in, where a gateway says which it asked."""
        return Counter(name for result in self.results for name in result.answered_by)

    def of(self, outcome: Outcome) -> list[Result]:
        """The cases that came out so."""
        return [result for result in self.results if result.outcome is outcome]


def as_json(report: Report) -> str:
    """One object: `base_url`, `model`, `counts`, `areas`, `cases`; see docs/conformance.md."""
    data = {
        "base_url": report.target.base_url,
        "model": report.target.model,
        "embedding_model": report.target.embedding_model,
        "seconds": round(report.seconds, 3),
        "counts": _counts(report.counts),
        "answered_by": dict(sorted(report.answered_by.items())),
        "areas": {name: _counts(counted) for name, counted in report.by_area.items()},
        "cases": [_case(result) for result in report.results],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_junit(report: Report) -> str:
    """JUnit XML, a suite for each area; what is not offered counts as skipped there."""
    root = ElementTree.Element("testsuites", name="conformance")
    _tally(root, report.counts)
    for name, counted in report.by_area.items():
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        _tally(suite, counted)
        for result in report.results:
            if result.case.area == name:
                _row(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _counts(counted: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: counted[outcome] for outcome in Outcome}


def _case(result: Result) -> dict[str, Any]:
    return {
        "id": result.case.id,
        "area": result.case.area,
        "expects": result.case.expects,
        "sources": [{"title": s.title, "url": s.url} for s in result.case.sources],
        "outcome": result.outcome.value,
        "seen": result.seen,
        "exchange": result.exchange,
        "ms": round(result.ms, 1),
    }


def _tally(element: ElementTree.Element, counted: Counter[Outcome]) -> None:
    element.set("tests", str(counted.total()))
    element.set("failures", str(counted[Outcome.FAILED]))
    element.set("errors", "0")
    element.set("skipped", str(counted[Outcome.SKIPPED] + counted[Outcome.NOT_OFFERED]))


def _row(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"conformance.{result.case.area}",
        name=result.case.id,
        time=f"{result.ms / 1e3:.3f}",
    )
    seen = _allowed(result.seen or result.outcome.value)
    match result.outcome:
        case Outcome.FAILED:
            failure = ElementTree.SubElement(case, "failure", message=seen)
            cited = "; ".join(source.title for source in result.case.sources)
            lines = (f"expected: {result.case.expects}", f"source: {cited}", result.exchange or "")
            failure.text = _allowed("\n".join(lines))
        case Outcome.SKIPPED | Outcome.NOT_OFFERED:
            ElementTree.SubElement(case, "skipped", message=seen)


def _allowed(text: str) -> str:
    """The text without the characters that XML 1.0 cannot hold at all."""
    return "".join(
        c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xDFFF < ord(c) < 0xFFFE else "\ufffd"
        for c in text
    )
