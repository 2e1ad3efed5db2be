"""What is left of a policy where some values are known: the same decisions, in fewer words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dsl.chance import (
    near,
    of_files,
    policies,
    program_of,
    rule_terms,
    several_values,
    snapshots,
    thorough,
    truth_terms,
)
from turnout.dsl.core import Program, Term
from turnout.dsl.interpret.compiled import compile_linear, compile_term
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.residual import firing, residual, simplify
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.units import format_value

Values = dict[str, Value | None]


@pytest.fixture(scope="session")
def some_program(language: Any) -> Program:
    program: Program = language.compile(language.one_rule("tokens < 100"))
    return program


# --- laws ----------------------------------------------------------------------------------------


@thorough
@given(
    term=st.one_of(truth_terms, rule_terms),
    snapshot=snapshots | near,
    known=st.sets(st.sampled_from(["n1", "n2", "n3", "w1", "w2", "b1", "b2"])),
)
def test_a_simplified_term_has_the_value_of_the_whole_one(
    term: Term, snapshot: Values, known: set[str]
) -> None:
    left = simplify(term, {key: snapshot[key] for key in known})
    value = evaluate(term, snapshot).value
    assert evaluate(left, snapshot).value == value
    assert compile_term(left)(snapshot) == value
    assert (evaluate(firing(left), snapshot).value is True) is (value is True)


@thorough
@given(
    terms=st.lists(rule_terms, min_size=1, max_size=8),
    snapshot=near,
    known=st.sets(st.sampled_from(["n1", "n2", "w1", "b1", "b2"])),
)
def test_what_is_left_decides_as_the_program_where_the_given_values_are_those(
    some_program: Program, terms: list[Term], snapshot: Values, known: set[str]
) -> None:
    program = program_of(terms, some_program)
    left = residual(program, {key: snapshot[key] for key in known})
    expected = trace(program, snapshot).clause
    assert trace(left.program(program), snapshot).clause == expected
    assert compile_linear(left.program(program))(snapshot) == (-1 if expected is None else expected)
    names = [clause.name for clause in left.rules] + [one.clause.name for one in left.dropped]
    assert sorted(names) == sorted(clause.name for clause in program.clauses)


@of_files
@given(text=policies, data=st.data())
def test_what_is_left_of_a_written_policy_decides_as_the_policy(
    language: Any, text: str, data: st.DataObject
) -> None:
    program = language.compile(text)
    keys = st.sets(st.sampled_from(sorted(program.slots))) if program.slots else st.just(set())
    for values in data.draw(several_values(program)):
        snapshot = Snapshot(values)
        left = residual(program, {key: snapshot[key] for key in data.draw(keys)})
        assert trace(left.program(program), snapshot).clause == trace(program, snapshot).clause
        for clause in left.rules:
            assert clause.test is None or evaluate(clause.test, {}).text


# --- how it reads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "known", "left"),
    [
        ("tokens < 100 and stream", {"tokens": 80}, "stream"),
        ("tokens < 100 and stream", {"tokens": 100}, None),
        ("tokens < 100 and stream", {"tokens": None}, None),
        ("tokens < 100 or stream", {"tokens": None}, "stream"),
        ("tokens < 100 or stream", {"tokens": 500}, "stream"),
        ("tokens < 100 or stream", {"tokens": 80}, "always"),
        ("stream or not stream", {"tokens": 80}, "stream or not stream"),
        ("known(user) or not known(user)", {"n": 1}, "known(user) or not known(user)"),
        ("known(user) and stream", {"user": "ann"}, "stream"),
        ("known(user) and stream", {"user": None}, None),
        ("not known(user) and stream", {"user": None}, "stream"),
        ("(max_tokens ?? 1k) > tokens", {"max_tokens": None}, "1000 > tokens"),
        ("(max_tokens ?? 1k) > tokens", {"max_tokens": 50}, "50 > tokens"),
        ("max_tokens + tokens < 500", {"tokens": 80}, "max_tokens + 80 < 500"),
        ("cost < $0.01 and stream", {"tokens": 80, "stream": True}, "cost < $0.01"),
        ("max_tokens / tokens > 0.5", {"tokens": 80}, "max_tokens / tokens > 0.5"),
        ("tiny and stream", {"stream": True}, "tiny"),
        ("tiny and stream", {"has_tools": False}, "tokens < 100 and stream"),
        ("not (stream and has_tools)", {"stream": True}, "not (has_tools)"),
        ("not (not stream or has_tools)", {"has_tools": False}, "stream"),
        ("stream == false and has_tools == true", {"stream": False}, "has_tools == true"),
        ("tokens < 100 and tokens > 200", {"n": 1}, None),
        ('tier in ["free", "pro"] and stream', {"tier": "pro"}, "stream"),
        ('header["x-a"] starts_with "b" and stream', {"header.x-a": "bc"}, "stream"),
        ("time in 22:00..06:00 and stream", {"time": 1_400}, "stream"),
        ("time in 22:00..06:00 and stream", {"time": 720}, None),
    ],
)
def test_a_condition_is_left_with_what_the_given_values_do_not_decide(
    language: Any, condition: str, known: Values, left: str | None
) -> None:
    head = "attributes: {tier: [free, pro]}\nlet: {tiny: tokens < 100 and not has_tools}"
    program = language.compile(language.one_rule(condition, head))
    rules = residual(program, {"request_type": "chat", **known}).rules
    if left is None:
        assert [clause.name for clause in rules] == ["default"]
    else:
        assert rules[0].name == "first"
        test = rules[0].test
        assert ("always" if test is None else evaluate(test, {}).text) == left


def test_the_last_day_that_a_date_can_be_is_shown(language: Any) -> None:
    program = language.compile(language.one_rule("date >= 2026-10-01 and stream"))
    last = program.slots["date"].attribute.maximum
    (first, *_) = residual(program, {"date": last}).rules
    assert first.test is not None and evaluate(first.test, {}).text == "stream"
    assert format_value(last, Type.DATE) == "9999-12-31"


POLICY = """
attributes: {tier: [free, pro]}
routing_policy:
  - {name: free_short, condition: 'tier == "free" and tokens < 100', route: openai/gpt-4}
  - {name: short_again, condition: 'tokens < 100 and tier == "free" and n == 1', route: requested}
  - {name: pro, condition: 'tier == "pro"', route: openai/gpt-4}
  - {name: free, condition: 'tier == "free"', route: openai/gpt-4}
  - {name: vectors, condition: 'request_type == "embeddings"', route: openai/gpt-4}
  - {name: default, route: openai/gpt-4}
"""


@pytest.mark.parametrize(
    ("known", "left", "reasons"),
    [
        (
            {"tier": "free"},
            ["free_short", "free", "vectors"],
            {
                "short_again": "`free_short` takes these requests before it",
                "pro": '`tier == "pro"` is false',
                "default": "`free` takes these requests before it",
            },
        ),
        (
            {"tier": "pro", "request_type": "chat"},
            ["pro"],
            {
                "free_short": '`tier == "free"` is false',
                "short_again": '`tier == "free"` is false',
                "free": "`pro` takes every request before it",
                "vectors": "`pro` takes every request before it",
                "default": "`pro` takes every request before it",
            },
        ),
        (
            {"tier": None, "request_type": "chat"},
            ["default"],
            {
                "free_short": '`tier == "free"` is unknown',
                "short_again": '`tier == "free"` is unknown',
                "pro": '`tier == "pro"` is unknown',
                "free": '`tier == "free"` is unknown',
                "vectors": '`request_type == "embeddings"` is false',
            },
        ),
    ],
)
def test_a_rule_that_can_match_no_more_is_dropped_and_says_why(
    language: Any, known: Values, left: list[str], reasons: dict[str, str]
) -> None:
    rest = residual(language.compile(POLICY), known)
    assert [clause.name for clause in rest.rules] == left
    assert {one.clause.name: one.reason for one in rest.dropped} == reasons


def test_nothing_given_leaves_the_rules_as_they_were_written(language: Any) -> None:
    program = language.compile(POLICY)
    rest = residual(program, {})
    assert [one.clause.name for one in rest.dropped] == ["short_again"]
    for clause in rest.rules:
        assert clause.applies is program.clauses[clause.index].applies
