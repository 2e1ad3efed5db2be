"""Limits, splits and moments are told alike by every command that answers about a policy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ran

Command = Callable[[str], Ran]

POLICY = """\
timezone: Europe/Berlin
attributes: {tier: [free, pro], tenant.region: [eu, us]}
targets:
  openai/gpt-4o: {region: us, expected: {p95: 4s, output: 100}}
  groq/llama-3-8b: {region: eu, expected: {p95: 1s, output: 100}}
require:
  - {name: eu_stays, when: tenant.region == "eu", target: region == "eu"}
routing_policy:
  - {name: night, condition: time in 22:00..06:00, route: groq/llama-3-8b}
  - {name: slow, condition: 'tier == "pro" and p95("openai/gpt-4o") > 3s', route: groq/llama-3-8b}
  - {name: asked, condition: 'model != "auto"', route: requested, fallback: [groq/llama-3-8b]}
  - name: half
    condition: tier == "free"
    route: {split: {openai/gpt-4o: 50%, groq/llama-3-8b: 50%}, sticky: session}
  - {name: rest, route: openai/gpt-4o, mirror: {to: groq/llama-3-8b, sample: 100%}}
fallback_chain: [groq/llama-3-8b]
"""
EU = "--given tokens=5 --given tenant.region=eu --at 'Tue 10:00'"
US = "--given tokens=5 --given tenant.region=us --at 'Tue 10:00'"
KEPT_OUT = "the limit `eu_stays` keeps out `openai/gpt-4o`"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def outcome_of(command: Command, file: Path, test: str) -> Ran:
    file.write_text(f"{POLICY}tests:\n  - {test}\n", encoding="utf-8")
    return command(f"policy test {file}")


def test_a_failed_test_names_the_limit_that_led_elsewhere(command: Command, file: Path) -> None:
    given = "{tokens: 5, tenant.region: eu}"
    expect = "{rule: rest, route: openai/gpt-4o}"
    ran = outcome_of(command, file, f'{{given: {given}, at: "Tue 10:00", expect: {expect}}}')
    assert ran.status == 1
    told = "expected route `openai/gpt-4o`, got `groq/llama-3-8b`"
    assert f"{told}: {KEPT_OUT}\n" in ran.out


def test_why_not_names_the_limit_of_a_rule_that_fires(command: Command, file: Path) -> None:
    ran = command(f"policy why-not rest {file} {EU}")
    assert ran.out.endswith(f"\nit goes to groq/llama-3-8b: {KEPT_OUT}\n")
    assert "limit" not in command(f"policy why-not rest {file} {US}").out
    data = json.loads(command(f"policy why-not rest {file} {EU} --format json").out)
    assert data["limits"] == [{"limit": "eu_stays", "target": "openai/gpt-4o"}]


def test_show_names_a_limit_that_is_sure_below_the_route(command: Command, file: Path) -> None:
    shown = command(f"policy show {file} {EU}").out
    assert f"→ openai/gpt-4o\n             {KEPT_OUT}\n".replace(" " * 13, " " * 12) in shown
    assert "limit" not in command(f"policy show {file} {US}").out
    assert "limit" not in command(f"policy show {file}").out


def test_a_split_says_what_it_lacks_and_how_to_give_it(command: Command, file: Path) -> None:
    ran = command(f"policy explain {file} {US} --given tier=free")
    assert ran.status == 0
    assert "no target, for the split reads `bucket(half)`, which is not given" in ran.out
    assert ran.out.endswith(
        "help: add `--given 'bucket(half)=0'`, a number of 0 to 9999, or `--given session=…`\n"
    )
    document = json.loads(
        command(f"policy explain {file} {US} --given tier=free --format json").out
    )
    assert (document["target"], document["bucket"]) == (None, None)
    assert document["why_no_target"] == "the split reads `bucket(half)`, which is not given"
    for bucket, target in ((4_999, "openai/gpt-4o"), (5_000, "groq/llama-3-8b")):
        line = f"{file} {US} --given tier=free --given 'bucket(half)={bucket}' --format json"
        assert json.loads(command(f"policy explain {line}").out)["target"] == target


def test_a_bucket_that_no_split_has_is_refused(command: Command, file: Path) -> None:
    ran = command(f"policy explain {file} {US} --given tier=free --given 'bucket(half)=10000'")
    assert ran.status == 2
    assert "`bucket(half)` is a number of 0 to 9999" in ran.err
    row = ROW | {"tier": "free", "bucket(half)": 10_000}
    assert "`bucket(half)` is a number of 0 to 9999" in simulated(command, file, [row]).err


def test_a_model_that_nobody_knows_is_said_to_be_unknown(command: Command, file: Path) -> None:
    ran = command(f"policy explain {file} {US} --given model=nobody")
    assert ran.out.startswith("→ requested: no target, for nobody knows the model `nobody`")


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        ("Tue 23:00", "night"),
        ("2026-07-01 22:30", "night"),
        ("2026-07-01T20:30:00Z", "night"),  # 22:30 in Berlin
        ("2026-07-01T22:30:00Z", "night"),
        ("2026-07-01T22:30:00-10:00", "rest"),
        ("2026-07-01 20:30", "rest"),
    ],
)
def test_a_moment_is_read_alike_by_every_command(
    at: str, rule: str, command: Command, file: Path
) -> None:
    assert (
        outcome_of(command, file, f'{{given: {{tokens: 5}}, at: "{at}", expect: {rule}}}').status
        == 0
    )
    for given in (f"--at '{at}'", f"--given 'at={at}'"):
        ran = command(f"policy explain {file} --given tokens=5 {given} --format json")
        assert json.loads(ran.out)["rule"] == rule
        shown = command(f"policy show {file} {given} --format json")
        assert ("night" in [one["rule"] for one in json.loads(shown.out)["rules"]]) == (
            rule == "night"
        )
    log = file.with_name("log.jsonl")
    log.write_text(json.dumps({"tokens": 5, "at": at}))
    ran = command(f"policy simulate {log} --policy {file} --format json")
    assert json.loads(ran.out)["rules"][rule]["requests"] == 1


@pytest.mark.parametrize("at", ["10:00Z", "Sat 10:00+02:00", "2026-07-01T10:00:00+99:00", "noon"])
def test_a_moment_that_is_none_is_refused_by_every_command(
    at: str, command: Command, file: Path
) -> None:
    assert (
        outcome_of(command, file, f'{{given: {{tokens: 5}}, at: "{at}", expect: rest}}').status == 1
    )
    for name in ("explain", "show", "why-not rest"):
        ran = command(f"policy {name} {file} --at '{at}'")
        assert (ran.status, ran.out) == (2, "")
        assert "help:" in ran.err
    log = file.with_name("log.jsonl")
    log.write_text(json.dumps({"tokens": 5, "at": at}))
    assert command(f"policy simulate {log} --policy {file}").status == 2


def simulated(command: Command, file: Path, rows: list[Any], more: str = "") -> Ran:
    log = file.with_name("log.jsonl")
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return command(f"policy simulate {log} --policy {file} {more}")


ROW: dict[str, Any] = {"tokens": 1_000, "output_tokens": 100, "at": "Tue 10:00"}


def test_a_copy_is_counted_on_a_line_of_its_own(command: Command, file: Path) -> None:
    rows = [ROW | {"id": "a", "tenant.region": "us"}, ROW | {"tenant.region": "us"}]
    ran = simulated(command, file, rows)
    assert "\nmirrored: 1 copy to groq/llama-3-8b, $" in ran.out
    assert "undecided: 1 request without `id`, so no telling whether it is mirrored" in ran.out
    data = json.loads(simulated(command, file, rows, "--format json").out)
    assert data["mirrors"]["groq/llama-3-8b"]["requests"] == 1
    assert data["targets"]["openai/gpt-4o"]["requests"] == 2  # the copies are in no other sum
    assert "groq/llama-3-8b" not in data["targets"]


def test_simulation_names_the_limit_that_led_elsewhere(command: Command, file: Path) -> None:
    rows = [ROW | {"tenant.region": region} for region in ("eu", "eu", "us")]
    ran = simulated(command, file, rows)
    assert "\nlimit eu_stays: keeps 2 requests from openai/gpt-4o\n" in ran.out


def test_simulation_says_what_stands_in_for_a_value(command: Command, file: Path) -> None:
    ran = simulated(command, file, [ROW | {"tier": "pro", "tenant.region": "us"}])
    assert (
        'assumed: `p95("openai/gpt-4o")` is not given in 100.0 % of the requests: its target\'s '
        "prior stands in, `expected:` under `targets:`"
    ) in ran.out
    data = json.loads(simulated(command, file, [ROW], "--format json").out)
    assert data["assumed"]["model"]["from"] == "empty chat"


def test_rows_that_only_the_other_policy_refuses_are_told(
    command: Command, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "old.yml"
    other.write_text(
        "attributes: {tier: [pro]}\n"
        "routing_policy:\n"
        '  - {name: pro, condition: tier == "pro" and max_tokens < 5, route: openai/gpt-4o}\n'
        "  - {name: late, condition: date > 2026-01-01, route: openai/gpt-4o}\n"
        "  - {name: rest, route: openai/gpt-4o}\n"
    )
    rows = [ROW | {"tier": "free", "session": "ab"}, ROW]
    ran = simulated(command, file, rows, f"--against {other}")
    assert ran.status == 0
    assert ran.out.startswith("2 requests, 2 decided\n")
    assert "not compared: 1 request without `date`, which the other policy reads" in ran.out
    assert "not compared: 1 request whose values the other policy does not know" in ran.out
    assert '`tier` is never `"free"`' in ran.out


def test_one_row_that_cannot_be_read_makes_the_exit_code_2(command: Command, file: Path) -> None:
    ran = simulated(command, file, [ROW, {"tokens": "many"}])
    assert (ran.status, ran.err) == (2, "policy: 1 row cannot be read\n")
    assert ran.out.startswith("1 request, 1 decided\n")
    assert "unreadable: 1 row\n" in ran.out
