"""How terms are shown: the words of a trail for what was written and for what lowering made up."""

from typing import Any

import pytest

from turnout.dsl.core import (
    And,
    Arithmetic,
    CeilDiv,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Read,
    Switch,
    Term,
    TextTest,
)
from turnout.dsl.interpret.traced import MAX_TEXT, NOT_GIVEN, evaluate, trace
from turnout.dsl.keys import written_key
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot

N1, N2 = Read("n1", Type.NUMBER), Read("n2", Type.NUMBER)
FLAG = Read("stream", Type.BOOL)
MODEL = Read("model", Type.TEXT)
ONE, TWO = Const(1, Type.NUMBER), Const(2, Type.NUMBER)
SMALL = Compare("<", N1, TWO)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (Const(800_000, Type.DURATION), "800ms"),
        (Const(None, Type.NUMBER), "unknown"),
        (Read("p95(openai/gpt-4)", Type.DURATION), 'p95("openai/gpt-4")'),
        (Read("header.x-team", Type.TEXT), 'header["x-team"]'),
        (Not(FLAG), "not (stream)"),
        (And((FLAG, SMALL)), "stream and n1 < 2"),
        (And((FLAG, Or((FLAG, SMALL)))), "stream and (stream or n1 < 2)"),
        (And(()), "true"),
        (Or(()), "false"),
        (Member(MODEL, frozenset({"b", "a"})), 'model in ["a", "b"]'),
        (TextTest("starts_with", MODEL, 'g"'), 'model starts_with "g\\""'),
        (TextTest("matches", MODEL, "^gpt-[0-9]"), 'model matches "^gpt-[0-9]"'),
        (Known(MODEL), "known(model)"),
        (Coalesce(N1, ONE, Type.NUMBER), "n1 ?? 1"),
        (Arithmetic("+", N1, Arithmetic("*", N2, TWO, Type.NUMBER), Type.NUMBER), "n1 + (n2 * 2)"),
        (Arithmetic("min", N1, N2, Type.NUMBER), "min(n1, n2)"),
        (CeilDiv(N1, 7, Type.NUMBER), "n1"),
        (Named("small", SMALL, Type.BOOL), "small"),
        (If(FLAG, N1, N2, Type.NUMBER), "n1 if stream"),
        (If(FLAG, SMALL, FLAG, Type.BOOL), "n1 < 2"),
        (Switch(MODEL, (("a", N1),), Type.NUMBER), "by model"),
    ],
)
def test_a_term_without_a_place_is_put_into_words(term: Term, text: str) -> None:
    assert evaluate(term, Snapshot()).text == text


@pytest.mark.parametrize(
    ("term", "given", "reason"),
    [
        (N1, {}, NOT_GIVEN),
        (Const(None, Type.NUMBER), {}, "division by zero"),
        (Arithmetic("+", ONE, N1, Type.NUMBER), {}, NOT_GIVEN),
        (If(FLAG, N1, ONE, Type.NUMBER), {}, NOT_GIVEN),
        (If(FLAG, N1, ONE, Type.NUMBER), {"stream": True}, NOT_GIVEN),
        (Switch(MODEL, (("a", ONE),), Type.NUMBER), {"model": "b"}, 'nothing is known of "b"'),
        (Switch(MODEL, (("a", N1),), Type.NUMBER), {"model": "a"}, NOT_GIVEN),
    ],
)
def test_an_unknown_value_says_why(term: Term, given: dict[str, Value], reason: str) -> None:
    node = evaluate(term, given)
    assert (node.value, node.reason) == (None, reason)
    assert node.to_json()["reason"] == reason


def test_a_plain_mapping_and_a_snapshot_explain_alike(language: Any) -> None:
    program = language.compile(language.one_rule('tokens < 100 and user == "ann"'))
    values: dict[str, Value | None] = {"request_type": "chat", "tokens": 80}
    assert trace(program, values) == trace(program, Snapshot(values))
    assert trace(program, values).steps[0].outcome == "unknown"


def test_a_reason_of_the_snapshot_reaches_the_whole_condition(language: Any) -> None:
    program = language.compile(language.one_rule('p95("openai/gpt-4") < 1s'))
    seen = Snapshot({"request_type": "chat"})
    seen.reasons["p95(openai/gpt-4)"] = "3 of 20 samples"
    expression = trace(program, seen).to_json()[0]["expression"]
    assert isinstance(expression, dict)
    assert expression["reason"] == "3 of 20 samples"
    assert expression["children"][0]["reason"] == "3 of 20 samples"


def test_a_count_that_was_only_bounded_shows_both_ends(language: Any) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    seen = Snapshot({"request_type": "chat", "tokens": 20})
    seen.intervals["tokens"] = (20, 45)
    step = trace(program, seen).steps[0]
    assert step.expression is not None
    assert [child.written for child in step.expression.children] == ["20..45"]


def test_only_the_named_rule_is_looked_at(language: Any) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    verdict = trace(program, {"request_type": "chat", "tokens": 5}, only="default")
    assert [step.outcome for step in verdict.steps] == ["not_tried", "true"]
    assert verdict.clause == 1


def test_a_rule_kept_out_by_the_kind_of_request_shows_that_and_not_its_condition(
    language: Any,
) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    verdict = trace(program, {"request_type": "embeddings", "tokens": 5})
    shown = verdict.steps[0].expression
    assert verdict.steps[0].outcome == "false"
    assert shown is not None
    assert "request_type" in shown.text


def test_the_text_of_a_large_term_is_cut() -> None:
    wide = Or(tuple(TextTest("has", MODEL, "x" * 50) for _ in range(50)))
    text = evaluate(wide, Snapshot({"model": "m"})).text
    assert len(text) == MAX_TEXT
    assert text.endswith("…")


def test_a_child_that_is_written_twice_is_shown_once() -> None:
    node = evaluate(And((SMALL, SMALL)), Snapshot({"n1": 1}))
    assert [child.text for child in node.children] == ["n1 < 2"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("tokens", "tokens"),
        ("p95(a/b)", 'p95("a/b")'),
        ("p95(a/b, 5m)", 'p95("a/b", 5m)'),
        ("budget(team).resets_in", 'budget("team").resets_in'),
        ("matches(^fix(a|b), 5)", 'matches("^fix(a|b), 5")'),
        ('header.x-"', 'header["x-\\""]'),
        ("meta.project", 'meta["project"]'),
        ("target.region", "region"),
        ("target.tag.fast", '"fast" in tags'),
    ],
)
def test_a_key_is_shown_as_a_condition_would_write_it(key: str, text: str) -> None:
    assert written_key(key) == text
