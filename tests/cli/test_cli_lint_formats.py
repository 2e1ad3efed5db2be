"""Findings about what the file says of itself, in each format and taken back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from .conftest import Ran

SARIF = json.loads((Path(__file__).parent / "files" / "sarif-2.1.0.schema.json").read_text())
POLICY = """\
let: {small: tokens < 9}
targets: {openai/gpt-4: {region: eu}}
require: [{name: near, target: region == "ue" or vision}]
routing_policy:
  - {name: never, condition: 1 == 2, route: ollama/any}
  - name: default
    route: openai/gpt-4o
    mirror: {to: openai/gpt-4o, sample: 5%}
tests:
  - {given: {tokns: 5}, expect: never}
  - {given: {tokens: 5}, expect: default}
"""
LINES = {"RP118": 5, "RP308": 8, "RP334": 5, "RP335": 2, "RP336": 3, "RP337": 1, "RP504": 10}


@pytest.fixture
def printed(command: Callable[[str], Ran], tmp_path: Path) -> Callable[[str, str], str]:
    """What lint prints of a policy in a format."""

    def lint(text: str, form: str) -> str:
        file = tmp_path / "routing.yml"
        file.write_text(text, encoding="utf-8")
        ran = command(f"policy lint {file} --format {form}")
        assert ran.status == 0, ran.out
        return ran.out

    return lint


def test_each_is_a_row_of_json_at_its_line(printed: Callable[[str, str], str]) -> None:
    rows = json.loads(printed(POLICY, "json"))
    assert {row["code"]: row["line"] for row in rows} == LINES
    assert all(row["help"] and row["message"] and row["name"] for row in rows)


def test_each_is_a_result_of_a_sound_sarif_log(printed: Callable[[str, str], str]) -> None:
    log = json.loads(printed(POLICY, "sarif"))
    Draft4Validator(SARIF).validate(log)
    (run,) = log["runs"]
    assert {result["ruleId"] for result in run["results"]} == set(LINES)
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(LINES)


def test_each_is_suppressed_with_its_reason(printed: Callable[[str, str], str]) -> None:
    codes: dict[int, list[str]] = {}
    for code, line in LINES.items():
        codes.setdefault(line, []).append(code)
    lines = POLICY.splitlines()
    for line, some in codes.items():
        lines[line - 1] += f"   # turnout: ignore {', '.join(some)} because it is an example"
    text = "\n".join(lines) + "\n"
    assert json.loads(printed(text, "json")) == []
    log = json.loads(printed(text, "sarif"))
    Draft4Validator(SARIF).validate(log)
    reasons = {
        result["ruleId"]: result["suppressions"][0]["justification"]
        for result in log["runs"][0]["results"]
    }
    assert reasons == dict.fromkeys(LINES, "it is an example")


@pytest.mark.parametrize("form", ["github", "junit", "text"])
def test_the_other_formats_name_each_code(printed: Callable[[str, str], str], form: str) -> None:
    out = printed(POLICY, form)
    assert [code for code in LINES if code not in out] == []
