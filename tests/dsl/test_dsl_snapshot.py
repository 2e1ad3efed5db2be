"""Snapshots by hand and the tests of a policy."""

from typing import Any

import pytest

from turnout.dsl.core import Program
from turnout.dsl.expect import Outcome, run
from turnout.dsl.parse import parse
from turnout.dsl.snapshot import LARGEST, Snapshot, SnapshotError, read_snapshot
from turnout.dsl.source import Source

EVERYTHING = (
    'tokens < 5 and max_tokens < 5 and temperature < 1 and tier == "free" and time > 09:00 '
    'and weekday == Mon and date > 2026-01-01 and header["x-team"] == "a" and stream '
    'and p95("openai/gpt-4") > 1s and error_rate("openai/gpt-4") > 5% and user == "u"'
)


@pytest.fixture(scope="module")
def program(language: Any) -> Program:
    found: Program = language.compile(
        language.one_rule(EVERYTHING, "attributes: {tier: [free, pro]}")
    )
    return found


BASE = {"tokens": 80, "at": "2026-03-30 10:30"}


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"tokens": 80}, "tokens", 80),
        ({"tokens": "8k"}, "tokens", 8_000),
        ({"tokens": 80.0}, "tokens", 80),
        ({"prompt_tokens": 7}, "tokens", 7),
        ({"max_tokens": None}, "max_tokens", None),
        ({"temperature": 0.7}, "temperature", 7_000),
        ({"temperature": "0.7"}, "temperature", 7_000),
        ({"temperature": 1}, "temperature", 10_000),
        ({"temperature": 1e-4}, "temperature", 1),
        ({"p95(openai/gpt-4)": "800ms"}, "p95(openai/gpt-4)", 800_000),
        ({'p95("openai/gpt-4")': "9s"}, "p95(openai/gpt-4)", 9_000_000),
        ({"p95('openai/gpt-4')": "9s"}, "p95(openai/gpt-4)", 9_000_000),
        ({"latency(openai/gpt-4)": "9s"}, "p95(openai/gpt-4)", 9_000_000),
        ({"error_rate(openai/gpt-4)": "5%"}, "error_rate(openai/gpt-4)", 500),
        ({"header.x-team": "a"}, "header.x-team", "a"),
        ({'header["X-Team"]': "a"}, "header.x-team", "a"),
        ({"stream": True}, "stream", True),
        ({"stream": "true"}, "stream", True),
        ({"tier": "pro"}, "tier", "pro"),
        ({"time": "23:59"}, "time", 1_439),
        ({"weekday": "Sun"}, "weekday", 6),
        ({"date": "1970-01-02"}, "date", 1),
        ({}, "has_tools", False),
        ({}, "stream", False),
        ({}, "n", 1),
        ({}, "messages", 1),
        ({}, "request_type", "chat"),
        ({}, "tier", "default"),
        ({}, "tenant", "default"),
        ({}, "model", "auto"),
        ({}, "user", None),
        ({}, "time", 630),
        ({}, "weekday", 0),
        ({}, "date", 20_542),
    ],
)
def test_a_value_is_read_in_the_unit_of_its_attribute(
    program: Program, given: dict[str, object], key: str, value: object
) -> None:
    snapshot = read_snapshot(BASE | given, program)
    assert snapshot[key] == value
    assert type(snapshot[key]) is type(value)


@pytest.mark.parametrize(
    ("given", "message", "help"),
    [
        ({"tokns": 5}, "unknown attribute `tokns`", "did you mean `tokens`?"),
        ({"p95(openai/gpt-4)": 800}, "`800` lacks a unit", "`p95(openai/gpt-4): 800ms`"),
        ({"error_rate(openai/gpt-4)": 0.05}, "`0.05` lacks a unit", "5%"),
        ({"p95(openai/gpt4)": "1s"}, "no target `openai/gpt4`", "p95(openai/gpt-4)"),
        ({"p95": "1s"}, "of what?", "p95(openai/gpt-4)"),
        ({"header": "a"}, "of what?", "header.x-team"),
        ({"tokens(x)": 5}, "takes no argument", "`tokens`"),
        ({"tokens": "many"}, "is not a number", "tokens: 80"),
        ({"tokens": 0.5}, "is not of the right kind", "80"),
        ({"tokens": True}, "is not a number", "80"),
        ({"tokens": [1]}, "is not a number", "80"),
        ({"tokens": "80ms"}, "is not of the right kind", "80"),
        ({"tokens": LARGEST + 1}, "too large", "80"),
        ({"tokens": -1}, "never below 0", "80"),
        ({"p95(openai/gpt-4)": "-1s"}, "never below 0s", "800ms"),
        ({"weekday": "Sunday"}, "is not a weekday", "write `Sun`"),
        ({"at": "Mon 10:00 Tue"}, "says the weekday twice", "Sat 10:00"),
        ({"at": "2026-03-29 Sun"}, "says the weekday twice", "Sat 10:00"),
        ({"temperature": 0.00001}, "is not", "0.7"),
        ({"temperature": float("nan")}, "is not a number", "0.7"),
        ({"stream": "yes"}, "true or false", "true"),
        ({"tier": "fre"}, 'never `"fre"`', "did you mean `free`?"),
        ({"tier": 5}, "is text", '"5"'),
        ({"request_type": "audio"}, "never", "chat"),
        ({"time": "9"}, "is not a time", "09:00"),
        ({"weekday": "Monday"}, "is not a weekday", "Mon"),
        ({"at": "Someday 10:00"}, "is not a weekday", "Sat 10:00"),
        ({"at": ""}, "empty", "Sat 10:00"),
        ({"at": "10:00Z"}, "has an offset and no date", "2026-03-27T13:30:00Z"),
        ({"at": "Sat 10:00+02:00"}, "has an offset and no date", "Sat 10:00"),
        ({"at": "2026-03-27 10:00+25:00"}, "is no instant", "2026-03-27T13:30:00Z"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "is beyond the calendar", "2026-03-27"),
    ],
)
def test_what_cannot_be_read_says_how_to_write_it(
    program: Program, given: dict[str, object], message: str, help: str | None
) -> None:
    with pytest.raises(SnapshotError) as raised:
        read_snapshot(BASE | given, program)
    assert message in raised.value.message
    assert raised.value.key in given
    assert not raised.value.is_missing
    assert (raised.value.help is None) if help is None else (help in (raised.value.help or ""))


@pytest.mark.parametrize(
    ("at", "known"),
    [
        ("Sat 10:00", {"time": 600, "weekday": 5}),
        ("10:00", {"time": 600}),
        ("2026-03-29", {"date": 20_541, "weekday": 6}),
        ("2026-03-29 02:30", {"date": 20_541, "weekday": 6, "time": 150}),
        ("2026-03-29T02:30:00", {"date": 20_541, "weekday": 6, "time": 150}),
        ("2026-03-29T02:30:00Z", {"date": 20_541, "weekday": 6, "time": 150}),
        ("2026-03-28 23:30:00.250-03:00", {"date": 20_541, "weekday": 6, "time": 150}),
    ],
)
def test_a_moment_gives_what_it_says_of_the_clock(
    language: Any, at: str, known: dict[str, int]
) -> None:
    program = language.compile(language.one_rule("stream"))
    snapshot = read_snapshot({}, program, at)
    assert {k: snapshot[k] for k in ("time", "weekday", "date") if k in snapshot} == known
    assert read_snapshot({"at": at}, program) == snapshot


@pytest.mark.parametrize(
    ("given", "key"), [({"at": "2026-03-29 10:00"}, "tokens"), ({"tokens": 5}, "time")]
)
def test_tokens_and_clock_have_to_be_given_where_they_are_read(
    program: Program, given: dict[str, object], key: str
) -> None:
    with pytest.raises(SnapshotError) as raised:
        read_snapshot(given, program)
    assert (raised.value.key, raised.value.is_missing) == (key, True)
    assert raised.value.help


def test_what_is_not_read_may_be_left_out(language: Any) -> None:
    snapshot = read_snapshot({}, language.compile(language.one_rule("stream")))
    assert snapshot["tokens"] is None
    assert isinstance(snapshot, Snapshot)


TESTS = """
tests:
  - {name: small, given: {tokens: 80}, expect: first}
  - {given: {tokens: 800}, expect: {route: openai/gpt-4o}}
  - {given: {tokens: 800}, expect: first}
  - {given: {tokens: 80}, expect: {rule: first, route: openai/gpt-4o}}
  - {given: {tokns: 80}, expect: first}
  - {given: {}, expect: first}
  - {given: {tokens: 80}, expect: frist}
  - {given: {tokens: 80}, at: "Noday 10:00", expect: first}
  - {given: {tokens: 80, request_type: embeddings}, expect: first}
"""


def test_the_tests_of_a_policy_are_decided_and_compared(language: Any) -> None:
    text = language.one_rule("tokens < 100 and not has_tools") + TESTS
    program = language.compile(text)
    outcomes = run(program, parse(Source("routing.yml", text)).tests)
    assert [outcome.passed for outcome in outcomes] == [True, True] + [False] * 7
    assert [outcome.name for outcome in outcomes[:2]] == ["small", "test 2"]

    def shown(outcome: Outcome) -> tuple[str | None, str]:
        return outcome.problem, outcome.span.excerpt

    assert [shown(outcome) for outcome in outcomes[2:]] == [
        ("expected rule `first`, got `default`", "first"),
        ("expected route `openai/gpt-4o`, got `openai/gpt-4`", "openai/gpt-4o"),
        ("unknown attribute `tokns`", "80"),
        ("the policy reads `tokens`, which is not given", "{given: {}, expect: first}"),
        ("there is no rule `frist`", "frist"),
        (
            "`Noday` is not a weekday: they are Mon Tue Wed Thu Fri Sat Sun",
            '"Noday 10:00"',
        ),
        ("expected rule `first`, none matched", "first"),
    ]
    wrong = outcomes[2]
    assert (wrong.rule, wrong.route, wrong.expected_rule) == ("default", "openai/gpt-4o", "first")
    assert wrong.verdict is not None
    assert wrong.verdict.steps[0].outcome == "false"
    assert outcomes[6].help == "did you mean `first`?"


PRIORS = "targets: {openai/gpt-4: {expected: {p95: 4s}}}"


@pytest.mark.parametrize(
    ("condition", "given", "value"),
    [
        ('p95("openai/gpt-4") > 3s', {}, 4_000_000),
        ('p95("openai/gpt-4") > 3s', {"p95(openai/gpt-4)": "1s"}, 1_000_000),
        ('p95("openai/gpt-4") > 3s', {"p95(openai/gpt-4)": None}, None),
        ('p95("groq/llama-3-8b") > 3s', {}, None),
        ('p50("openai/gpt-4") > 3s', {}, None),
        ("p95(requested) > 3s", {"model": "openai/gpt-4"}, 4_000_000),
        ("p95(requested) > 3s", {}, None),
    ],
)
def test_a_live_value_that_is_not_given_is_the_declared_prior(
    language: Any, condition: str, given: dict[str, object], value: int | None
) -> None:
    program = language.compile(language.one_rule(condition, PRIORS))
    seen = read_snapshot(given, program)
    (key,) = [key for key, slot in program.slots.items() if slot.attribute.live]
    assert seen[key] == value


ORDERED = """
routing_policy:
  - {name: free, condition: tier == "free", route: groq/llama-3-8b}
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: weekend, condition: weekday in Sat..Sun, route: groq/llama-3-8b}
  - {name: default, route: openai/gpt-4}
tests:
  - {given: {tier: free}, expect: free}
  - {given: {tokens: 80}, expect: short}
  - {given: {tokens: 800}, expect: default}
  - {at: Mon 10:00, expect: default}
  - {given: {tokens: 800}, at: Mon 10:00, expect: {route: openai/gtp-4}}
"""


def test_a_test_gives_only_what_the_rules_read_that_are_tried(language: Any) -> None:
    program = language.compile(ORDERED)
    outcomes = run(program, parse(Source("routing.yml", ORDERED)).tests)
    assert [outcome.problem for outcome in outcomes] == [
        None,
        None,
        "the policy reads `weekday`, which is not given",
        "the policy reads `tokens`, which is not given",
        "expected route `openai/gtp-4`, got `openai/gpt-4`",
    ]
    assert outcomes[-1].help == "did you mean `openai/gpt-4`?"
