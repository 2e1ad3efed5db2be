"""The worst of a request, rule by rule: numbers to be worked out by hand, and the witness."""

import pytest

from turnout.dsl.bounds import Bound, Measure, Worst, bounds, worst_of
from turnout.dsl.core import Compare, Const, Program, Read
from turnout.dsl.cost import worst_case_cost
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Type

from .conftest import ROWS, Language


def bounded(program: Program) -> dict[str | None, Bound]:
    return {row.rule: row for row in bounds(program, Prover(program))}


def policy(rule: str, rest: str = "") -> str:
    return f"routing_policy:\n  - {{name: first, {rule}}}\n{rest}"


ATTEMPTS = (
    # rule, rest, attempts, microseconds
    ("route: openai/gpt-4, retries: 0, timeout: 5s", "", 1, 5_000_000),
    ("route: openai/gpt-4, retries: 2, timeout: 5s", "", 3, 5_000_000),
    ("route: {reject: 413}", "fallback_chain: [openai/gpt-4]", 0, 0),
    (
        "route: openai/gpt-4, timeout: 5s, fallback: [{to: openai/gpt-4o, timeout: 7s}]",
        "",
        4,
        12_000_000,
    ),
    # the same target is not tried twice
    (
        "route: openai/gpt-4, timeout: 5s, fallback: [{to: openai/gpt-4, timeout: 7s}]",
        "",
        2,
        5_000_000,
    ),
    # the last hop without a clock of its own has what is left of the deadline
    ("route: openai/gpt-4", "deadline: 50s", 2, 50_000_000),
    ("route: openai/gpt-4", "deadline: 50s\nfallback_chain: [groq/llama-3-8b]", 4, 50_000_000),
    (
        "route: openai/gpt-4, timeout: 40s, fallback: [{to: openai/gpt-4o, timeout: 40s}]",
        "deadline: 50s",
        4,
        50_000_000,
    ),
    # one arm of a split is the rule's hop
    ("route: {split: {openai/gpt-4: 5%, openai/gpt-4o: 95%}}, timeout: 5s", "", 2, 5_000_000),
    # a copy is one attempt
    (
        "route: openai/gpt-4, timeout: 5s, mirror: {to: openai/gpt-4o, sample: 5%}",
        "",
        3,
        5_000_000,
    ),
    # a hop that its own condition keeps out is none
    (
        "condition: tokens < 100, route: openai/gpt-4, timeout: 5s, "
        "fallback: [{to: openai/gpt-4o, timeout: 7s, when: tokens > 100}]",
        "",
        2,
        5_000_000,
    ),
)


@pytest.mark.parametrize(("rule", "rest", "attempts", "time_us"), ATTEMPTS)
def test_attempts_and_time_are_those_of_all_hops_that_can_follow_each_other(
    rule: str, rest: str, attempts: int, time_us: int, language: Language
) -> None:
    found = bounded(language.compile(policy(rule, rest)))["first"]
    assert (found.attempts.kind, found.attempts.value) == ("exact", attempts)
    assert (found.time.kind, found.time.value) == ("exact", time_us)


def cost_of(name: str, values: dict[str, int]) -> int:
    row = ROWS[name]
    assert row.tariff is not None
    value = evaluate(worst_case_cost(row, row.tariff), values).value
    assert isinstance(value, int)
    return value


def test_dollars_are_the_whole_window_and_the_longest_answer_of_every_attempt(
    language: Language,
) -> None:
    found = bounded(language.compile(policy("route: openai/gpt-4, retries: 1")))["first"]
    assert found.dollars.value == 2 * cost_of("openai/gpt-4", {"tokens": 8_192, "n": 1})


def test_what_a_condition_bounds_bounds_the_cost(language: Language) -> None:
    rule = "condition: tokens < 100 and max_tokens <= 50, route: openai/gpt-4, retries: 0"
    found = bounded(language.compile(policy(rule)))["first"]
    told = {"tokens": 99, "n": 1, "max_tokens": 50}
    assert found.dollars.value == cost_of("openai/gpt-4", told)
    assert found.dollars.witness is not None
    assert found.dollars.witness["tokens"] == 99


def test_what_a_rule_sets_bounds_the_cost_whatever_the_client_wrote(language: Language) -> None:
    rule = "route: openai/gpt-4, retries: 0, set: {max_tokens: 10}"
    found = bounded(language.compile(policy(rule)))["first"]
    told = {"tokens": 8_192, "n": 1, "max_tokens": 10}
    assert found.dollars.value == cost_of("openai/gpt-4", told)


def test_a_hop_whose_window_is_too_small_is_not_billed_for_a_prompt_it_refuses(
    language: Language,
) -> None:
    rule = (
        "condition: tokens > 100k, route: openai/gpt-4, retries: 0, "
        "fallback: [{to: openai/gpt-4o, retries: 0}]"
    )
    found = bounded(language.compile(policy(rule)))["first"]
    assert found.dollars.value == cost_of("openai/gpt-4o", {"tokens": 128_000, "n": 1})
    assert found.attempts.value == 2


def test_a_prompt_without_end_has_no_bound_unless_a_condition_gives_one(
    language: Language,
) -> None:
    head = "targets: {local/x: {price: {input: $1/Mtok, output: $1/Mtok}, max_output: 1k}}\n"
    head += "providers: {local: {kind: openai, base_url: 'https://gw.example/v1'}}\n"
    endless = bounded(language.compile(head + policy("route: local/x")))["first"]
    assert (endless.dollars.kind, endless.dollars.because) == ("unbounded", "local/x")
    bounded_ = bounded(language.compile(head + policy("condition: tokens < 10, route: local/x")))
    assert bounded_["first"].dollars.kind == "exact"


def test_a_rule_that_no_request_reaches_has_no_worst(language: Language) -> None:
    text = policy("route: openai/gpt-4", "  - {name: dead, route: openai/gpt-4o}\n")
    assert bounded(language.compile(text))["dead"].attempts == Worst("never")


def test_every_worst_is_reached_by_its_witness(language: Language) -> None:
    program = language.compile(
        """
routing_policy:
  - {name: short, condition: tokens < 100 and not has_tools, route: groq/llama-3-8b}
  - {name: tools, condition: has_tools, route: {first_of: [openai/gpt-4o, openai/gpt-4]}}
  - {name: rest, route: openai/gpt-4}
fallback_chain:
  - {to: openai/gpt-4o, when: tokens > 1000}
"""
    )
    for rule, row in bounded(program).items():
        for worst in (row.dollars, row.time, row.attempts):
            if worst.witness is None or rule is None:
                continue
            index = trace(program, worst.witness).clause
            assert index is not None and program.clauses[index].name == rule
            assert worst.witness["n"] == 1


def test_more_answers_cost_more_where_they_are_asked_about(language: Language) -> None:
    program = language.compile(policy("route: openai/gpt-4, retries: 0"))
    four = Compare("==", Read("n", Type.NUMBER), Const(4, Type.NUMBER))
    rows = bounds(program, Prover(program), four)
    assert rows[0].dollars.value == cost_of("openai/gpt-4", {"tokens": 8_192, "n": 4})
    assert bounds(program, Prover(program))[0].dollars.value < rows[0].dollars.value


def exact(value: int) -> Worst:
    return Worst("exact", value)


def row(name: str, worst: Worst) -> Bound:
    return Bound(name, worst, worst, worst)


WORST = (
    ((row("a", exact(1)), row("b", exact(2))), ("b", "exact")),
    ((row("a", exact(1)), row("b", Worst("unbounded"))), ("b", "unbounded")),
    ((row("a", exact(1)), row("b", Worst("never"))), ("a", "exact")),
    ((row("a", exact(1)), row("b", Worst("open"))), ("a", "open")),
    ((row("a", Worst("never")),), ("a", "never")),
)


@pytest.mark.parametrize(("rows", "wanted"), WORST)
@pytest.mark.parametrize("measure", ["dollars", "time", "attempts"])
def test_the_worst_of_all_rules_is_open_where_one_of_them_is(
    rows: tuple[Bound, ...], wanted: tuple[str, str], measure: Measure
) -> None:
    name, worst = worst_of(rows, measure)
    assert (name, worst.kind) == wanted
