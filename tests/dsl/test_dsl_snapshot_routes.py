"""A policy's own tests about where a request goes, and what a snapshot by hand may name."""

from typing import Any

import pytest

from turnout.dsl.check import check
from turnout.dsl.expect import Outcome, run
from turnout.dsl.parse import parse
from turnout.dsl.snapshot import SnapshotError, read_snapshot
from turnout.dsl.source import Source

HEAD = """
lists: {words: [secret, token]}
budgets: [{name: team, scope: team, limit: $20/day}]
targets:
  groq/llama-3-8b: {region: eu, expected: {p95: 1s, ttft: 300ms}}
  openai/gpt-4: {region: us}
require:
  - {name: in_eu, when: 'team == "berlin"', target: 'region == "eu"'}
routing_policy:
  - name: night
    condition: stream and time in 22:00..06:00
    route: {reject: 503, message: later}
  - name: canary
    condition: n > 1
    route: {split: {groq/llama-3-8b: 5%, openai/gpt-4: 95%}, sticky: session}
  - name: quick
    condition: has_tools and not contains_any("words") and budget("team").left > $1
    route: {fastest_of: [openai/gpt-4, groq/llama-3-8b], by: ttft.p95, where: 'p95 < 2s'}
  - {name: default, route: openai/gpt-4}
fallback_chain: [groq/llama-3-8b]
"""
BASE = "tokens: 80, team: ads"


def outcome(language: Any, test: str) -> Outcome:
    policy = parse(Source("routing.yml", f"{HEAD}tests:\n  - {test}\n"))
    program, findings = check(policy, language.schema)
    assert program is not None, findings
    (result,) = run(program, policy.tests)
    return result


PASSES = [
    f'{{given: {{{BASE}, stream: true}}, at: "Sat 23:00", expect: {{route: reject 503}}}}',
    f'{{given: {{{BASE}, stream: true}}, at: "Sat 23:00", expect: {{route: reject}}}}',
    f'{{given: {{{BASE}, n: 2, "bucket(canary)": 499}}, expect: {{route: groq/llama-3-8b}}}}',
    f'{{given: {{{BASE}, n: 2, "bucket(canary)": 500}}, expect: {{route: openai/gpt-4}}}}',
    f"{{given: {{{BASE}}}, expect: {{rule: default, route: openai/gpt-4}}}}",
    "{given: {tokens: 80, team: berlin}, expect: {rule: default, route: groq/llama-3-8b}}",
    f"{{given: {{{BASE}, has_tools: true, contains_any(words): false, budget(team).left: $5, "
    f'"ttft.p95(openai/gpt-4)": 1s}}, expect: {{rule: quick, route: groq/llama-3-8b}}}}',
]


@pytest.mark.parametrize("test", PASSES)
def test_a_test_that_says_where_a_request_goes_passes(language: Any, test: str) -> None:
    result = outcome(language, test)
    assert result.passed, result.problem


FAILS = [
    (
        f"{{given: {{{BASE}}}, expect: {{route: openai/gpt4}}}}",
        "got `openai/gpt-4`",
        "openai/gpt-4",
    ),
    (f"{{given: {{{BASE}}}, expect: {{rule: defualt}}}}", "no rule `defualt`", "`default`"),
    (f"{{given: {{{BASE}, n: 2}}, expect: {{route: openai/gpt-4}}}}", "bucket(canary)", "0"),
    (f"{{given: {{{BASE}, stream: true}}, expect: default}}", "reads `time`", "at"),
    (
        f"{{given: {{{BASE}, 'budget(tem).left': $5}}, expect: default}}",
        "`tem`",
        "budget(team).left",
    ),
    (f"{{given: {{{BASE}, 'bucket(canry)': 5}}, expect: default}}", "`canry`", "bucket(canary)"),
    (f"{{given: {{{BASE}, 'contains_any(word)': true}}, expect: default}}", "`word`", "words"),
    (
        f"{{given: {{{BASE}, 'budget(team).lft': $5}}, expect: default}}",
        "budget.lft",
        "budget(team).left",
    ),
]


@pytest.mark.parametrize(("test", "problem", "help"), FAILS)
def test_a_test_that_fails_says_why(language: Any, test: str, problem: str, help: str) -> None:
    result = outcome(language, test)
    assert not result.passed
    assert problem in (result.problem or "")
    assert help in (result.help or "")


@pytest.mark.parametrize(
    ("written", "value", "key", "read"),
    [
        ('p95("openai/gpt-4", 300s)', "2s", "p95(openai/gpt-4, 5m)", 2_000_000),
        ("latency.p99(openai/gpt-4)", "2s", "p99(openai/gpt-4)", 2_000_000),
        ("meta.Project", "x", "meta.project", "x"),
        ('meta["Project"]', "x", "meta.project", "x"),
        ("tenant.id", "acme", "tenant", "acme"),
        ('budget("team").left', "$5", "budget(team).left", 5_000_000_000),
        ("matches(^fix(es)? )", True, "matches(^fix(es)? )", True),
        ("usable(openai/gpt-4)", False, "usable(openai/gpt-4)", False),
        ("session", "ab", "session", "ab"),
    ],
)
def test_a_key_by_hand_is_the_key_of_the_slot(
    language: Any, written: str, value: object, key: str, read: object
) -> None:
    program = language.compile(HEAD)
    seen = read_snapshot({"tokens": 5, "time": "10:00", written: value}, program)
    assert seen[key] == read


def test_a_session_by_hand_has_its_bucket(language: Any) -> None:
    seen = read_snapshot({"tokens": 5, "time": "10:00", "session": "ab"}, language.compile(HEAD))
    assert isinstance(seen["bucket(canary)"], int)


def test_a_window_by_hand_is_a_duration(language: Any) -> None:
    with pytest.raises(SnapshotError) as raised:
        read_snapshot({"p95(openai/gpt-4, 5)": "1s"}, language.compile(HEAD))
    assert "duration" in raised.value.message
