"""What a user sees of a solver that is wrong, and of one that is too slow: never a finding."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout.dsl.interpret import smt

from .conftest import Ran

POLICY = """routing_policy:
  - {name: a, condition: tokens < 9, route: openai/gpt-4o}
  - {name: b, condition: tokens < 99 and has_tools, route: openai/gpt-4o-mini}
  - {name: c, condition: tokens > 100, route: openai/gpt-4.1}
invariants: [{name: i, never: tokens < 5 and route == "openai/gpt-4o"}]
"""
COMMANDS = (
    "policy lint",
    "policy lint --format json",
    "policy diff old.yml routing.yml",
    "policy diff old.yml routing.yml --format markdown",
    """policy prove 'never tokens < 7 and route == "openai/gpt-4o"'""",
    "policy bounds",
)
Command = Callable[[str], Ran]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "routing.yml").write_text(POLICY)
    (tmp_path / "old.yml").write_text(POLICY.replace("99", "98"))


def spoil(monkeypatch: pytest.MonkeyPatch, *, is_exact: bool) -> None:
    """Let every model have a prompt that nobody asked for."""
    check: Callable[..., Any] = smt.Solver.check
    greatest: Callable[..., Any] = smt.Solver.greatest

    def spoilt(answer: Any) -> Any:
        if isinstance(answer, smt.Model):
            values = {**answer.values, "tokens": 10**6}
            return replace(answer, values=values, is_exact=is_exact)
        return (answer[0], spoilt(answer[1])) if isinstance(answer, tuple) else answer

    monkeypatch.setattr(smt.Solver, "check", lambda *asked: spoilt(check(*asked)))
    monkeypatch.setattr(smt.Solver, "greatest", lambda *asked: spoilt(greatest(*asked)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_wrong_witness_is_an_internal_error_that_says_what_to_send(
    line: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, is_exact=True)
    ran = command(line)
    assert (ran.status, ran.out) == (3, "")
    told, help_ = ran.err.splitlines()
    assert told.startswith("policy: internal error: ProverError: ")
    assert "was not confirmed" in told
    assert help_.startswith("  help: ") and "issue" in help_ and "policy" in help_
    found = re.search(r"in (\S+\.traceback)", told)
    assert found is not None
    report = Path(found[1]).read_text()
    assert "with: tokens = 1000000" in report
    assert "policy: sha256:" in report


def test_with_debug_the_report_is_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, is_exact=True)
    ran = command("policy lint --debug")
    assert ran.status == 3
    assert "with: tokens = 1000000" in ran.err


def test_a_wrong_witness_of_opaque_tests_is_not_decided(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, is_exact=False)
    found = json.loads(command("policy lint --format json").out)
    assert {one["code"] for one in found} & {"RP203", "RP209", "RP320"} == {"RP209"}
    ran = command("policy diff old.yml routing.yml")
    assert ran.status == 0
    assert ran.out.startswith("old.yml → routing.yml: not decided; no request was found")
    assert command("policy diff old.yml routing.yml --gate no-new:openai/*").status == 1
    ran = command(COMMANDS[4])
    assert (ran.status, ran.out[:12]) == (1, "not decided:")
    ran = command("policy bounds --max-attempts 9")
    assert ran.status == 1
    assert "not decided" in ran.out


SLOW = (
    # command, exit code, what is said
    ("policy lint --prove-timeout 1ms", 0, "info[RP209 not-decided]"),
    ("policy diff old.yml routing.yml --timeout 1ms", 0, "not decided; no request was found"),
    (f"{COMMANDS[4]} --timeout 1ms", 1, "not decided: the time was over"),
    ("policy bounds --timeout 1ms", 0, "not decided"),
    ("policy bounds --timeout 1ms --max-attempts 9", 1, "not decided"),
)


@pytest.mark.parametrize(("line", "status", "said"), SLOW)
def test_what_takes_too_long_is_not_decided(
    line: str, status: int, said: str, command: Command
) -> None:
    ran = command(line)
    assert (ran.status, ran.err) == (status, "")
    assert said in ran.out
    assert "error[" not in ran.out and "treated otherwise, no others" not in ran.out


@pytest.mark.parametrize("line", COMMANDS[2:])
def test_a_solver_that_gives_up_is_not_decided(
    line: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("check", "greatest"):
        monkeypatch.setattr(smt.Solver, name, lambda *asked: smt.TimedOut())
    ran = command(line)
    assert ran.status in (0, 1)
    assert ran.err == ""
    assert "not decided" in ran.out
