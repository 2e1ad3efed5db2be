"""What a report gives `for example:` goes into `policy explain --given` as it stands."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

Command = Callable[[str], Ran]
HEAD = """timezone: Europe/Berlin
attributes: {tier: [free, pro]}
targets:
  openai/gpt-4o: {expected: {p95: 4s, output: 400}}
  groq/llama-3-8b: {expected: {p95: 1s, output: 400}}
lists: {words: ["a, b", 'say "hi"']}
budgets: [{name: my team, scope: team, limit: $20/day}]
"""
CONDITIONS = (
    'tokens < 100 and tier == "free" and time in 09:00..18:00 and weekday == Sat',
    """header["x-team"] == 'say "hi", at Sat = 10:00'""",
    r'header["x-team"] == "a\\b\n\u001b" and meta["My Tag"] == "= 1, b = 2"',
    r'matches("(?i)^fix\\s(a, \"b\") = [)(]$")',
    'matches("\\"a\\"") and contains_any("words")',
    'p95("openai/gpt-4o", 5m) > 1m and ttft.p95("openai/gpt-4o") > 1.5s',
    'budget("my team").left < $0.5 and budget("my team").resets_in < 90m',
    'error_rate("openai/gpt-4o") > 12.5% and complexity.score >= 0.75',
    'not known(team) and user == "unknown" and key == "5m"',
    "known(team) and temperature > 1.25 and date >= 2026-10-01",
    'bucket("my, salt") < 7 and bucket("canary") > 5',
    'similar_to("words") > 0.5 and model == "true"',
    'team == "" and tenant == " a "',
)


def shown(out: str) -> list[str]:
    return [line.split("for example: ")[1] for line in out.splitlines() if "for example: " in line]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_printed_example_is_given_back_as_it_stands(
    condition: str, command: Command, tmp_path: Path
) -> None:
    embed = "embed: {target: openai/text-embedding-3-small}\n" if "similar_to" in condition else ""
    quoted = condition.replace("'", "''")
    file = tmp_path / "routing.yml"
    file.write_text(
        f"{HEAD}{embed}routing_policy:\n"
        f"  - {{name: caught, condition: '{quoted}', route: groq/llama-3-8b}}\n"
        f"  - {{name: rest, route: openai/gpt-4o}}\n"
        f"invariants:\n"
        f"  - {{name: none, never: '({quoted}) and route == \"groq/llama-3-8b\"'}}\n"
    )
    ran = command(f"policy lint {file}")
    assert "error[RP320" in ran.out, ran.out
    examples = shown(ran.out)
    assert examples
    asked = json.loads(command(f"policy lint {file} --format json").out)
    witnesses = [one["witness"] for one in asked if one["witness"]]
    assert len(witnesses) == len(examples)
    for example in examples:
        line = f"policy explain {file} --format json --given {shlex.quote(example)}"
        explained = command(line)
        assert explained.status == 0, explained.err
        assert json.loads(explained.out)["rule"] == "caught"
        why = command(f"policy why-not rest {file} --given {shlex.quote(example)}")
        assert why.status in (0, 1), why.err
        assert command(f"policy show {file} --given {shlex.quote(example)}").status == 0


def test_several_values_in_one_word_are_told_apart(command: Command) -> None:
    policy = "policy explain ../../policies/tiers.yml --format json"
    one = command(f"""{policy} --given 'tokens = 900, tier = "pro", at Tue 10:00'""")
    each = command(f"{policy} --given tokens=900 --given tier=pro --at 'Tue 10:00'")
    assert (one.status, one.out) == (each.status, each.out) == (0, each.out)


def test_what_is_given_twice_is_refused_however_it_is_given(command: Command) -> None:
    policy = "policy explain ../../policies/tiers.yml"
    ran = command(f"""{policy} --given 'tokens = 900, at Mon 09:00' --at 'Tue 10:00'""")
    assert (ran.status, ran.err.splitlines()[0]) == (2, "policy: `at` is given twice")


@pytest.mark.parametrize(
    ("given", "read"), [("team=unknown", None), ('team="unknown"', '"unknown"')]
)
def test_unknown_is_no_text_unless_it_is_quoted(
    command: Command, given: str, read: str | None
) -> None:
    policy = "../../policies/tiers.yml"
    out = command(f"policy show {policy} --format json --given {shlex.quote(given)}").out
    assert json.loads(out)["given"]["team"] == read
