"""What other tools read: SARIF by its schema, JUnit by its common form, GitHub's own lines."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from turnout.cli.exchange import findings_as_cases, render_junit, render_sarif
from turnout.cli.report import render_github
from turnout.dsl.diagnostic import NAMES, Diagnostic, Related, Severity
from turnout.dsl.ignore import Ignored
from turnout.dsl.lint.registry import pages
from turnout.dsl.source import Source, Span

from .conftest import Ran

HERE = Path(__file__).parent
# The schema of SARIF 2.1.0 (OASIS), as SchemaStore publishes it and code scanning checks it.
SCHEMA = json.loads((HERE / "files" / "sarif-2.1.0.schema.json").read_text())
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


def finding(
    text: str = "a: tokns < 1\n",
    marked: str = "tokns",
    *,
    code: str = "RP101",
    severity: Severity = "error",
    message: str = "unknown attribute `tokns`",
    name: str = "routing.yml",
    related: tuple[Related, ...] = (),
) -> Diagnostic:
    source = Source(name, text)
    start = text.index(marked)
    span = Span(source, start, start + len(marked))
    return Diagnostic(code, severity, message, span, "did you mean `tokens`?", related)


def log_of(*findings: Diagnostic, ignored: tuple[Ignored, ...] = ()) -> dict[str, Any]:
    """A log, which the schema of SARIF accepts."""
    log = json.loads(render_sarif(findings, ignored))
    assert [e.message for e in Draft4Validator(SCHEMA).iter_errors(log)] == []
    assert isinstance(log, dict)
    return log


def results(log: dict[str, Any]) -> list[dict[str, Any]]:
    return list(log["runs"][0]["results"])


def test_the_schema_refuses_what_is_no_log() -> None:
    log = log_of(finding())
    del log["runs"][0]["tool"]
    results(log)[0]["level"] = "fatal"
    assert len(list(Draft4Validator(SCHEMA).iter_errors(log))) == 2


def test_no_finding_is_a_log_too() -> None:
    assert results(log_of()) == []


@pytest.mark.parametrize("code", NAMES)
def test_every_code_is_a_rule_with_its_page(code: str) -> None:
    log = log_of(finding(code=code))
    (rule,) = log["runs"][0]["tool"]["driver"]["rules"]
    page = pages()[code]
    assert (rule["id"], rule["name"]) == (code, NAMES[code])
    assert page.avoid in rule["help"]["text"] and page.prefer in rule["help"]["markdown"]
    assert (HERE.parents[1] / rule["properties"]["page"]).is_file()


def test_results_point_at_their_rules_and_places() -> None:
    both = finding(), finding(code="RP117", severity="info")
    log = log_of(*both)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    for result in results(log):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "routing.yml"}
        assert place["region"] == {"startLine": 1, "startColumn": 4, "endLine": 1, "endColumn": 9}
    assert [result["level"] for result in results(log)] == ["error", "note"]


def test_a_related_place_in_another_file_is_a_related_location() -> None:
    source = Source("models.yml", "x: y\n")
    (result,) = results(log_of(finding(related=(Related("first here", Span(source, 0, 1)),))))
    (related,) = result["relatedLocations"]
    assert related["message"] == {"text": "first here"}
    assert related["physicalLocation"]["artifactLocation"] == {"uri": "models.yml"}


def test_an_ignored_finding_is_suppressed_with_its_justification() -> None:
    kept, taken = finding(), finding(code="RP117", severity="info")
    first, second = results(log_of(kept, ignored=(Ignored(taken, "tiers change weekly"),)))
    assert first["suppressions"] == []
    assert second["suppressions"] == [
        {"kind": "inSource", "status": "accepted", "justification": "tiers change weekly"}
    ]


def fingerprints(*findings: Diagnostic) -> list[str]:
    return [
        result["partialFingerprints"]["turnoutFinding/v1"] for result in results(log_of(*findings))
    ]


def test_a_fingerprint_stays_where_lines_move_and_differs_where_findings_do() -> None:
    (here,) = fingerprints(finding())
    assert fingerprints(finding("# a line\n\n  a:   tokns < 1\n")) == [here]
    (other_line,) = fingerprints(finding("a: tokns < 2\n"))
    (other_code,) = fingerprints(finding(code="RP102"))
    (other_file,) = fingerprints(finding(name="other.yml"))
    assert len({here, other_line, other_code, other_file}) == 4


def test_two_findings_in_equal_lines_have_two_fingerprints() -> None:
    source = Source("routing.yml", "a: x\nb: 1\na: x\n")
    twins = [Diagnostic("RP117", "info", "open", Span(source, at, at + 1)) for at in (3, 13)]
    assert len(set(fingerprints(*twins))) == 2


@pytest.mark.parametrize(
    "name", ["a b.yml", "<stdin>", "ordner/größe.yml", "a%b#c?.yml", "a\\b.yml"]
)
def test_any_file_name_is_a_reference_that_leads_back_to_it(name: str) -> None:
    (result,) = results(log_of(finding(name=name)))
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri)
    assert unquote(uri) == name.replace("\\", "/")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(texts, texts, texts, st.sampled_from(SEVERITIES))
def test_whatever_is_written_the_logs_are_sound(
    text: str, message: str, name: str, severity: Severity
) -> None:
    odd = Diagnostic("RP001", severity, message, Span(Source(name, text), 0, len(text)))
    log_of(odd)
    root = ElementTree.fromstring(render_junit(findings_as_cases([odd], [name], frozenset())))
    assert len(root) == 1
    (line,) = render_github([odd]).split("\n")[:-1]
    assert re.match(r"::(error|warning|notice) [^:]*::", line)


def test_junit_has_the_counts_and_attributes_that_readers_expect() -> None:
    rows = [
        finding(name="a.yml"),
        finding(name="a.yml", code="RP003", severity="warning", message="cut"),
    ]
    root = ElementTree.fromstring(
        render_junit(findings_as_cases(rows, ["a.yml", "b.yml"], frozenset({"error"})))
    )
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
        assert int(suite.attrib["tests"]) == len(suite)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        for case in suite:
            assert set(case.attrib) == {"classname", "name", "time"}
    (failure,) = root.findall(".//failure")
    assert failure.attrib == {"message": "unknown attribute `tokns`", "type": "error"}
    assert failure.text == "did you mean `tokens`?"


def test_the_command_writes_all_forms_of_an_ignored_finding(
    command: Callable[[str], Ran],
) -> None:
    line = "policy lint files/ignored.yml --fail-on info"
    log = json.loads(command(f"{line} --format sarif").out)
    Draft4Validator(SCHEMA).validate(log)
    (result,) = results(log)
    assert result["suppressions"][0]["justification"] == "the tiers are another team's"
    assert json.loads(command(f"{line} --format json").out) == []
    assert command(f"{line} --format github").out == ""
    root = ElementTree.fromstring(command(f"{line} --format junit").out)
    assert root.get("failures") == "0"
    text = command(line)
    assert (
        text.status == 0
        and "no findings in files/ignored.yml (2 rules, 1 finding ignored)" in text.out
    )
