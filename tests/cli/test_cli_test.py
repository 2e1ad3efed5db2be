"""`policy test`: failures told with their values, coverage with its lines, and exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .conftest import Ran

Command = Callable[[str], Ran]

POLICY = """\
let:
  small: tokens < 100 and not has_tools
routing_policy:
  - name: team
    condition: header["x-team"] == "search"
    route: openai/gpt-4o
  - name: small
    condition: small
    route: groq/llama-3-8b
  - name: rest
    route: openai/gpt-4
tests:
  - {name: little, given: {tokens: 50}, expect: small}
"""
WRONG = POLICY + "  - {name: wrong, given: {tokens: 500, has_tools: true}, expect: small}\n"


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy file and gives its path."""

    def write(text: str) -> Path:
        file = tmp_path / "routing.yml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_a_failure_shows_the_value_below_each_operand(
    command: Command, policy: Callable[[str], Path]
) -> None:
    ran = command(f"policy test {policy(WRONG)}")
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0].endswith(":14:66: failed wrong: expected rule `small`, got `rest`")
    assert lines[1:9] == [
        '  ? team    header["x-team"] == "search"',
        "            unknown",
        "            unknown",
        '            unknown: header["x-team"] (not given)',
        "  ✗ small   small",
        "            false",
        "            small: tokens < 100 and not has_tools",
        "                   500                  true",
    ]
    assert lines[-1].startswith("1 passed, 1 failed in ")


def test_coverage_lists_what_no_test_saw_at_its_line(
    command: Command, policy: Callable[[str], Path]
) -> None:
    file = policy(POLICY)
    ran = command(f"policy test {file} --coverage")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        f"{file}:4:5: not covered rule team: no test fires it",
        f'{file}:5:16: not covered `header["x-team"] == "search"` of rule team: '
        "never seen true nor false",
        f"{file}:2:10: not covered `tokens < 100` of rule small: never seen false",
        f"{file}:2:31: not covered `has_tools` of rule small: never seen true",
        f"{file}:10:5: not covered rule rest: no test fires it",
        f"1 passed in {file}",
        "33 % covered: 1 of 3 rules fired, 2 of 6 truths of conditions seen",
    ]


@pytest.mark.parametrize(("least", "status"), [("33", 0), ("34", 1), ("34%", 1), ("0", 0)])
def test_less_coverage_than_the_least_fails(
    least: str, status: int, command: Command, policy: Callable[[str], Path]
) -> None:
    ran = command(f"policy test {policy(POLICY)} --min {least}")
    assert ran.status == status
    assert ("below" in ran.out) == bool(status)


@pytest.mark.parametrize("least", ["101", "-1", "all", "", "٣"])
def test_a_least_that_is_no_percentage_is_refused(
    least: str, command: Command, policy: Callable[[str], Path]
) -> None:
    assert command(f"policy test {policy(POLICY)} --min '{least}'").status == 2


def test_json_holds_the_tests_and_beside_them_the_coverage(
    command: Command, policy: Callable[[str], Path]
) -> None:
    file = policy(WRONG)
    tests = json.loads(command(f"policy test {file} --format json").out)
    assert [(test["name"], test["passed"]) for test in tests] == [
        ("little", True),
        ("wrong", False),
    ]
    both = json.loads(command(f"policy test {file} --coverage --format json").out)
    assert both["tests"] == tests
    (found,) = both["coverage"]
    assert (found["percent"], found["covered"], found["total"]) == (66, 6, 9)
    assert [(rule["rule"], rule["fired"]) for rule in found["rules"]] == [
        ("team", 0),
        ("small", 1),
        ("rest", 1),
    ]


def test_junit_has_a_case_for_the_coverage(command: Command, policy: Callable[[str], Path]) -> None:
    ran = command(f"policy test {policy(POLICY)} --min 100 --format junit")
    assert ran.status == 1
    cases = ElementTree.fromstring(ran.out).findall(".//testcase")
    assert [(case.get("name"), case.find("failure") is not None) for case in cases] == [
        ("little", False),
        ("coverage", True),
    ]


def test_github_annotates_the_lines_and_no_text_can_start_a_command(
    command: Command, policy: Callable[[str], Path]
) -> None:
    file = policy(WRONG.replace("name: wrong", 'name: "wrong, ::error::x 5%"'))
    ran = command(f"policy test {file} --format github")
    assert ran.status == 1
    (line,) = ran.out.splitlines()
    assert line.startswith(f"::error file={file},line=14,title=wrong%2C %3A%3Aerror%3A%3Ax 5%25::")
    covered = command(f"policy test {policy(POLICY)} --coverage --format github")
    assert covered.status == 0
    assert {line.split()[0] for line in covered.out.splitlines()} == {"::notice"}


def test_a_policy_that_does_not_compile_is_shown_in_every_format(
    command: Command, policy: Callable[[str], Path]
) -> None:
    file = policy(POLICY.replace("tokens <", "tokns <"))
    for form in ("text", "json", "junit", "github"):
        ran = command(f"policy test {file} --format {form}")
        assert ran.status == 1
        assert "tokns" in ran.out + ran.err
