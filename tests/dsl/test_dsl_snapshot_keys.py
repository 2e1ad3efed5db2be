"""Keys of snapshots by hand: what they may name, and what follows from them."""

from typing import Any

import pytest

from turnout.dsl.core import Program
from turnout.dsl.snapshot import SnapshotError, read_snapshot

TARGETS = """
models: {house: openai/gpt-4, auto: policy}
targets:
  openai/gpt-4: {price: 0, context_window: 8k, expected: {output: 300}}
"""


@pytest.fixture(scope="module")
def program(language: Any) -> Program:
    """Reads what the client asked for, its latency and its cost."""
    found: Program = language.compile(
        language.one_rule(
            "cost < $0.02 and p95(requested) < 2s and tokens < 100", TARGETS, route="requested"
        )
    )
    return found


def refusal(given: dict[str, object], program: Program) -> SnapshotError:
    with pytest.raises(SnapshotError) as raised:
        read_snapshot({"tokens": 5} | given, program)
    return raised.value


@pytest.mark.parametrize(
    ("key", "message", "help"),
    [
        ("tokns", "unknown attribute `tokns`", "did you mean `tokens`?"),
        ("atx", "unknown attribute `atx`", "did you mean `at`?"),
        ("tie", "unknown attribute `tie`", "did you mean `tier` or `time`?"),
        ("buckett(canary)", "unknown attribute `buckett`", "did you mean `bucket(canary)`?"),
        (
            "p59(openai/gpt-4, 5m)",
            "unknown attribute `p59`",
            "did you mean `p95(openai/gpt-4, 5m)`?",
        ),
        (
            "eror_rate(openai/gpt-4)",
            "unknown attribute `eror_rate`",
            "did you mean `error_rate(openai/gpt-4)`?",
        ),
        (
            "budget(team).lefft",
            "unknown attribute `budget.lefft`",
            "did you mean `budget(team).left`?",
        ),
        (
            "bugdet(team).left",
            "unknown attribute `bugdet.left`",
            "did you mean `budget(team).left`?",
        ),
        (
            "hedaer.user-agent",
            "unknown attribute `hedaer.user-agent`",
            "did you mean `header.user-agent`?",
        ),
        ("tokens(openai/gpt-4)", "`tokens` takes no argument", "write `tokens`"),
        ("p95", "`p95` of what?", "write `p95(openai/gpt-4)`"),
        ("header", "`header` of what?", "write `header.x-team`"),
        (
            "p95(openai/gpt-5)",
            "the policy names no target `openai/gpt-5`",
            "did you mean `p95(openai/gpt-4)`?",
        ),
    ],
)
def test_a_key_that_names_nothing_is_refused_with_the_nearest(
    program: Program, key: str, message: str, help: str | None
) -> None:
    error = refusal({key: 1}, program)
    assert (error.key, error.message, error.help) == (key, message, help)


def test_a_live_value_of_a_target_that_the_policy_does_not_name_is_kept(program: Program) -> None:
    # Logs of another policy name other targets; what is not read does no harm.
    seen = read_snapshot({"tokens": 5, "p95(mistral/large)": "1s"}, program)
    assert seen["p95(mistral/large)"] == 1_000_000


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ({"model": "house"}, "openai/gpt-4"),
        ({"model": "openai/gpt-4"}, "openai/gpt-4"),
        ({"model": "auto"}, None),
        ({"model": "unheard-of"}, None),
        ({}, None),
        ({"model": "auto", "requested": "openai/gpt-4"}, "openai/gpt-4"),
    ],
    ids=str,
)
def test_the_target_asked_for_follows_from_the_model(
    program: Program, given: dict[str, object], requested: str | None
) -> None:
    seen = read_snapshot({"tokens": 5} | given, program)
    assert seen["requested"] == requested
    assert ("requested" in seen.reasons) == (requested is None)


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ({"model": "house"}, 300),
        ({"model": "house", "max_tokens": 40}, 40),
        ({"model": "house", "max_tokens": 4_000}, 300),
        ({"model": "auto", "max_tokens": 40}, 40),
        ({"model": "house", "expected_output(requested)": 7}, 7),
    ],
    ids=str,
)
def test_expected_output_is_the_least_of_limit_and_prior(
    program: Program, given: dict[str, object], output: int
) -> None:
    key = "expected_output(requested)"
    assert key in program.slots
    assert read_snapshot({"tokens": 5} | given, program)[key] == output


def test_expected_output_without_any_bound_says_what_to_declare(program: Program) -> None:
    seen = read_snapshot({"tokens": 5, "model": "auto"}, program)
    assert seen["expected_output(requested)"] is None
    assert "`max_tokens`" in seen.reasons["expected_output(requested)"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_none_is_refused(program: Program, value: float) -> None:
    assert "is not a number" in refusal({"max_tokens": value}, program).message


def test_a_day_that_is_given_wins_over_the_moment(program: Program) -> None:
    seen = read_snapshot({"tokens": 5, "at": "2026-03-29 10:00", "weekday": "Mon"}, program)
    assert (seen["weekday"], seen["time"]) == (0, 600)
