"""A witness is as simple as its question lets it be, and decides as the one it was made of."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dsl.chance import of_files, policies, several_values
from tests.dsl.conftest import Language
from turnout.dsl.core import Program
from turnout.dsl.given import as_given
from turnout.dsl.interpret.traced import trace
from turnout.dsl.logic import is_true
from turnout.dsl.moment import weekday_of
from turnout.dsl.prove import Prover, Witness
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.witness import Simplifier, simplest

HEAD = """
attributes: {tier: [free, pro, enterprise]}
budgets: [{name: team, scope: team, limit: $20/day}]
"""


def simple(language: Language, condition: str, values: dict[str, Value | None]) -> dict[str, Any]:
    """What is left of a snapshot on which the condition is true."""
    program = language.compile(language.one_rule(condition, HEAD))
    snapshot = Simplifier(program).completed(values)
    assert trace(program, snapshot).clause == 0, "the example does not fire"
    found = simplest(snapshot, lambda seen: trace(program, seen).clause == 0, program)
    assert trace(program, found).clause == 0
    return as_given(found, program)


@pytest.mark.parametrize(
    ("condition", "values", "wanted"),
    [
        ("tokens < 500", {"tokens": 387}, {"tokens": 100}),
        ("tokens < 50", {"tokens": 38}, {"tokens": 0}),
        ("tokens > 500", {"tokens": 77_123}, {"tokens": 501}),
        ("tokens >= 500", {"tokens": 77_123}, {"tokens": 500}),
        ("tokens in 3k..4k", {"tokens": 3_777}, {"tokens": 3_000}),
        ("tokens * tokens > 3000000", {"tokens": 77_123}, {"tokens": 3_000_000}),
        ("tokens * 7 > max_tokens * 9", {"tokens": 77_123, "max_tokens": 5}, {"tokens": 100}),
        (
            "known(max_tokens) and has_tools",
            {"max_tokens": 9, "has_tools": True},
            {"max_tokens": 1_000},
        ),
        ('not healthy("openai/gpt-4") or has_tools', {"has_tools": True}, {"has_tools": True}),
        ('bucket("canary") < 500 and has_tools', {"has_tools": True}, {"bucket(canary)": 0}),
        ('bucket("canary") > 500 or has_tools', {"has_tools": True}, {"has_tools": True}),
        ('tier != "free"', {"tier": "enterprise"}, {}),
        ('tier not in ["free", "default"]', {"tier": "enterprise"}, {"tier": "pro"}),
        ('user != "acme"', {"user": "…"}, {"user": "other"}),
        ('user has "cm"', {"user": "…cm…"}, {"user": "cm"}),
        ('user starts_with "ac" and user != "ac"', {"user": "ac…"}, {"user": "ac…"}),
        (
            'p95("openai/gpt-4") > 8s',
            {"p95(openai/gpt-4)": 98_765_432},
            {"p95(openai/gpt-4)": "9s"},
        ),
        (
            'p95("openai/gpt-4") > 800ms',
            {"p95(openai/gpt-4)": 98_765_432},
            {"p95(openai/gpt-4)": "1s"},
        ),
        (
            'error_rate("openai/gpt-4") > 5%',
            {"error_rate(openai/gpt-4)": 9_876},
            {"error_rate(openai/gpt-4)": "6%"},
        ),
        ("temperature > 0.7", {"temperature": 19_876}, {"temperature": "0.8"}),
        ('budget("team").left < $5', {"budget(team).left": -12_345}, {"budget(team).left": "$0"}),
        ('budget("team").left < $0', {"budget(team).left": -12_345}, {"budget(team).left": "-$1"}),
        ("time >= 08:15", {"time": 1_234}, {"at": "12:00"}),
        ("time in 08:15..08:45", {"time": 501}, {"at": "08:30"}),
        ("time in 08:15..08:20", {"time": 498}, {"at": "08:15"}),
        ("weekday in Wed..Sun", {"weekday": 3}, {"at": "Sat"}),
        ("weekday == Wed and time > 13:00", {"weekday": 2, "time": 1_111}, {"at": "Wed 14:00"}),
        ("date > 2026-10-01", {"date": 30_000}, {"at": "2026-10-02"}),
        (
            "date > 2026-10-01 and weekday == Wed",
            {"date": 30_008, "weekday": 2},
            {"at": "2026-10-07"},
        ),
        ('model == "house"', {"model": "house"}, {"model": "house"}),
        ("not known(user) and not has_tools", {"team": "a", "has_tools": False}, {}),
        (
            'request_type == "embeddings"',
            {"request_type": "embeddings"},
            {"request_type": "embeddings"},
        ),
    ],
)
def test_what_is_left_is_what_people_would_write(
    language: Language, condition: str, values: dict[str, Value | None], wanted: dict[str, Any]
) -> None:
    found = simple(language, condition, values)
    assert wanted.items() <= found.items()
    assert not found.keys() & {"team", "healthy(openai/gpt-4)"}


@of_files
@given(st.data(), policies)
def test_a_simpler_snapshot_decides_the_same_and_is_no_simpler_twice(
    language: Language, data: st.DataObject, text: str
) -> None:
    program = language.compile(text)
    simplifier = Simplifier(program)
    for values in data.draw(several_values(program))[:2]:
        snapshot = simplifier.completed(values)
        fired = trace(program, snapshot).clause

        def fires(seen: Snapshot, fired: int | None = fired) -> bool:
            return trace(program, seen).clause == fired

        found = simplifier.simplest(snapshot, fires)
        assert fires(found)
        assert simplifier.simplest(found, fires) == found
        assert always_there(program, found)
        assert simplifier.simplest(snapshot, fires) == found


def always_there(program: Program, seen: Snapshot) -> bool:
    return all(
        seen[key] is not None or slot.argument == "requested"
        for key, slot in program.slots.items()
        if slot.attribute.always_known and not key.startswith(("bucket", "session"))
    )


@pytest.mark.parametrize("given", [{"date": 20_000}, {"weekday": 4}, {}])
def test_a_completed_snapshot_has_the_weekday_of_its_date(
    language: Language, given: dict[str, Value | None]
) -> None:
    condition = "date > 2026-10-01 and weekday == Wed"
    program = language.compile(language.one_rule(condition))
    seen = Simplifier(program).completed(given)
    assert given.items() <= seen.items()
    assert isinstance(seen["date"], int)
    assert seen["weekday"] == weekday_of(seen["date"])


PLAIN = (
    # condition, what the simplest request that meets it has
    ('model != "auto"', lambda seen: seen["model"] in ("openai/gpt-4", "openai/gpt-4o")),
    ("max_tokens < 5000", lambda seen: seen["max_tokens"] == 1_000),
    ("max_tokens < 500", lambda seen: seen["max_tokens"] == 100),
    ("max_tokens < 1", lambda seen: seen["max_tokens"] == 0),
)


@pytest.mark.parametrize(("condition", "is_plain"), PLAIN)
def test_a_witness_has_what_requests_mostly_have(
    condition: str, is_plain: Callable[[Snapshot], bool], language: Language
) -> None:
    program = language.compile(language.one_rule(condition))
    found = Prover(program).find(is_true(program.clauses[0].applies))
    assert isinstance(found, Witness)
    assert is_plain(found.snapshot), found.snapshot


def test_a_plain_value_stands_before_one_that_is_held(language: Language) -> None:
    text = (
        "routing_policy:\n"
        "  - {name: slow, condition: 'p95(\"openai/gpt-4\") > 8s', hold: 2m, "
        "route: openai/gpt-4o}\n"
        "  - {name: default, route: openai/gpt-4}\n"
    )
    program = language.compile(text)
    found = Prover(program).find(is_true(program.clauses[0].applies))
    assert isinstance(found, Witness)
    assert found.snapshot["held(slow:0)"] is None
    assert found.snapshot["p95(openai/gpt-4)"] == 9_000_000
