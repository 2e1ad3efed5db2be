"""What `policy lint` shows of proofs: examples in every format, and what was left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

GAP = (
    "attributes: {tier: [free, pro]}\n"
    "routing_policy:\n"
    "  - {name: short, condition: 'tokens < 100', route: openai/gpt-4o}\n"
    "  - {name: rest, condition: 'tier != \"free\"', route: openai/gpt-4o-mini}\n"
)
NOTES = (
    "routing_policy:\n"
    "  - {name: short, condition: tokens < 100, route: openai/gpt-4o}\n"
    "  - {name: tools, condition: has_tools, route: openai/gpt-4o-mini}\n"
    "  - {name: rest, route: openai/gpt-4.1}\n"
)

Command = Callable[[str], Ran]


@pytest.fixture
def gap(tmp_path: Path) -> Path:
    file = tmp_path / "routing.yml"
    file.write_text(GAP, encoding="utf-8")
    return file


def test_the_example_of_a_finding_is_in_its_text(command: Command, gap: Path) -> None:
    ran = command(f"policy lint {gap}")
    assert ran.status == 1 and ran.err == ""
    assert "error[RP203 uncovered-request]" in ran.out
    assert '   = for example: tokens = 100, tier = "free"\n' in ran.out


def test_the_example_reads_back_as_what_it_shows(command: Command, gap: Path) -> None:
    (found,) = json.loads(command(f"policy lint {gap} --format json").out)
    assert (found["code"], found["witness"]) == ("RP203", {"tokens": 100, "tier": "free"})
    given = " ".join(f"--given {name}={value}" for name, value in found["witness"].items())
    explained = json.loads(command(f"policy explain {gap} {given} --format json").out)
    assert explained["rule"] is None


@pytest.mark.parametrize("format_", ["github", "junit", "sarif"])
def test_every_format_has_the_example(command: Command, gap: Path, format_: str) -> None:
    out = command(f"policy lint {gap} --format {format_}").out
    if format_ == "sarif":
        (result,) = json.loads(out)["runs"][0]["results"]
        assert result["properties"]["witness"] == {"tokens": 100, "tier": "free"}
    else:
        assert "for example: tokens = 100, tier = " in out


def test_without_z3_it_is_said_what_was_not_checked(
    command: Command, gap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.cli.proofs.is_installed", lambda: False)
    ran = command(f"policy lint {gap}")
    assert ran.status == 0 and "error[RP203" not in ran.out
    (line,) = ran.err.splitlines()
    assert line.startswith("z3 is not installed, so it is not checked: RP201, RP202, RP203, ")
    assert line.endswith("; install it with `pip install 'turnout[prove]'`")
    assert "not checked: proofs over all requests" in ran.out
    assert command(f"policy lint {gap} --format json").err == ""


def test_proofs_can_be_left_out(command: Command, gap: Path) -> None:
    ran = command(f"policy lint {gap} --no-prove")
    assert (ran.status, ran.err) == (0, "")
    assert "error[RP203" not in ran.out and "not checked: proofs over all requests" in ran.out


def test_where_the_time_is_over_it_is_said(command: Command, gap: Path) -> None:
    ran = command(f"policy lint {gap} --prove-timeout 1ms")
    assert ran.status == 0
    assert "info[RP209 not-decided]" in ran.out and "RP203 uncovered" not in ran.out


def test_what_was_not_proved_fails_where_proofs_are_required(
    command: Command, gap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = gap.with_name("sound.yml")
    sound.write_text(f"{GAP}  - {{name: others, route: openai/gpt-4o}}\n", encoding="utf-8")
    assert command(f"policy lint {sound} --require-proofs").status == 0
    assert command(f"policy lint {sound} --require-proofs --prove-timeout 1ms").status == 1
    assert command(f"policy lint {sound} --require-proofs --no-prove").status == 2
    monkeypatch.setattr("turnout.cli.proofs.is_installed", lambda: False)
    ran = command(f"policy lint {sound} --require-proofs")
    assert ran.status == 2 and "install it with `pip install 'turnout[prove]'`" in ran.err


def test_an_invariant_that_was_not_decided_is_a_warning(command: Command, gap: Path) -> None:
    claim = "invariants:\n  - {name: bill, never: 'n == 1 and worst_case(cost) > $9'}\n"
    gap.write_text(f"{GAP}{claim}", encoding="utf-8")
    ran = command(f"policy lint {gap} --prove-timeout 1ms --fail-on warning")
    assert ran.status == 1
    assert "warning[RP209 not-decided] not decided: whether the invariant `bill` holds" in ran.out


def test_a_time_is_a_duration(command: Command, gap: Path) -> None:
    ran = command(f"policy lint {gap} --prove-timeout 10")
    assert ran.status == 2 and "`10` is no duration" in ran.err


def test_notes_are_on_request(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(NOTES, encoding="utf-8")
    assert "RP206" not in command(f"policy lint {file}").out
    assert (
        "info[RP206 order-matters] `short` takes requests"
        in command(f"policy lint {file} --notes").out
    )
