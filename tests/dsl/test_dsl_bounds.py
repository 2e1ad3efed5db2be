"""The worst of a request, rule by rule: numbers to be worked out by hand, and the witness."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from turnout.dsl.bounds import Bound, Measure, Worst, bounds, worst_of
from turnout.dsl.core import Compare, Const, Program, Read
from turnout.dsl.cost import worst_case_cost
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Target, Type

from .conftest import ROWS, SCHEMA, FewTargets, Language


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


PASSED_OVER = (
    # a last hop that is passed over leaves the whole deadline to the one before: for its window,
    ("route: openai/gpt-4o, fallback: [{to: openai/gpt-4, timeout: 1s}]", "", 600_000_000),
    # for want of a credential,
    ("route: openai/gpt-4, fallback: [{to: groq/llama-3-8b, timeout: 1s}]", "", 600_000_000),
    # and where the prompt fits into both, of one provider, for its breaker may be open
    (
        "condition: tokens < 8k, route: openai/gpt-4o, fallback: [{to: openai/gpt-4, timeout: 1s}]",
        "",
        600_000_000,
    ),
    # a clock that is written holds, whatever is left
    (
        "condition: tokens < 8k, route: openai/gpt-4o, timeout: 3s, "
        "fallback: [{to: openai/gpt-4, timeout: 1s}]",
        "",
        4_000_000,
    ),
    # a hop that its own condition keeps out adds nothing
    (
        "condition: tokens < 8k, route: openai/gpt-4o, timeout: 3s, "
        "fallback: [{to: openai/gpt-4, timeout: 1s, when: tokens > 9k}]",
        "",
        3_000_000,
    ),
    # a stream has its first content sooner or not at all
    ("condition: stream, route: openai/gpt-4, retries: 0, ttft: 2s", "", 2_000_000),
    ("condition: stream, route: openai/gpt-4, retries: 0, ttft: 2s, timeout: 1s", "", 1_000_000),
    # no wait before a retry has an end of its own at the last hop
    ("condition: stream, route: openai/gpt-4, retries: 1, ttft: 2s", "", 600_000_000),
    (
        "condition: stream, route: openai/gpt-4o, retries: 0, ttft: 2s, "
        "fallback: [{to: openai/gpt-4, retries: 0, ttft: 1s, timeout: 9s}]",
        "",
        3_000_000,
    ),
)


@pytest.mark.parametrize(("rule", "rest", "time_us"), PASSED_OVER)
def test_time_is_that_of_the_hops_that_the_chain_has_left(
    rule: str, rest: str, time_us: int, language: Language
) -> None:
    found = bounded(language.compile(policy(rule, rest)))["first"].time
    assert (found.kind, found.value) == ("exact", time_us)


CATCH = (
    # catch of the route, of the fallbacks in their order, attempts
    ("[timeout]", ("[rate_limit]",), 1),
    ("[timeout]", ("[rate_limit, timeout]",), 2),
    ("[timeout]", ("[rate_limit]", ""), 2),
    ("[timeout]", ("", "[rate_limit]"), 3),
    ("", ("[rate_limit]",), 2),
)


@pytest.mark.parametrize(("route", "behind", "attempts"), CATCH)
def test_a_hop_that_no_fault_leads_to_is_not_tried(
    route: str, behind: tuple[str, ...], attempts: int, language: Language
) -> None:
    def caught(faults: str) -> str:
        return f"retries: 0, catch: {faults}" if faults else "retries: 0"

    names = ("openai/gpt-4o", "groq/llama-3-8b")
    hops = [f"{{to: {name}, {caught(one)}}}" for name, one in zip(names, behind, strict=False)]
    rule = f"route: openai/gpt-4, {caught(route)}, fallback: [{', '.join(hops)}]"
    found = bounded(language.compile(policy(rule)))["first"]
    assert found.attempts.value == attempts


@pytest.mark.parametrize(
    ("catch", "behind", "attempts", "time_us"),
    [
        ("[timeout]", "[rate_limit]", 4, 9_000_000),  # only while the first breaker is open
        ("[timeout]", "[context_exceeded]", 2, 5_000_000),  # never
        ("[timeout]", "[timeout]", 6, 14_000_000),
        ("[context_exceeded]", "[rate_limit]", 2, 5_000_000),
        ("[timeout]", "[breaker_open]", 4, 9_000_000),
    ],
)
def test_a_hop_for_a_target_whose_breaker_is_open_is_tried_in_its_place(
    catch: str, behind: str, attempts: int, time_us: int, language: Language
) -> None:
    hop = f"{{to: openai/gpt-4o, retries: 3, timeout: 9s, catch: {behind}}}"
    route = f"route: openai/gpt-4, retries: 1, timeout: 5s, catch: {catch}"
    rule = f"condition: tokens < 8k, {route}, fallback: [{hop}]"
    found = bounded(language.compile(policy(rule)))["first"]
    assert (found.attempts.kind, found.attempts.value) == ("exact", attempts)
    assert (found.time.kind, found.time.value) == ("exact", time_us)


def test_of_embeddings_no_ability_is_asked_but_that_they_are_made(language: Language) -> None:
    head = "targets: {openai/gpt-4: {tools: false}, openai/gpt-4o: {embeddings: false}}\n"
    condition = 'condition: request_type == "embeddings" and has_tools'
    program = language.compile(
        head
        + policy(f"{condition} and n == 1, route: openai/gpt-4, retries: 3")
        + f"  - {{name: second, {condition}, route: openai/gpt-4o}}\n"
    )
    where = Compare("==", Read("request_type", Type.ENUM), Const("embeddings", Type.ENUM))
    rows = {row.rule: row for row in bounds(program, Prover(program), where)}
    assert rows["first"].attempts.value == 4
    assert rows["second"].attempts.value == 0


LISTS = "lists: {l: [x]}\nembed: {target: openai/gpt-4o, timeout: 3s}\n"


def test_an_embedding_for_the_condition_of_a_hop_in_the_chain_counts(language: Language) -> None:
    chain = "fallback_chain: [{to: openai/gpt-4o, when: 'similar_to(\"l\") > 0.5', retries: 0}]"
    rule = "route: openai/gpt-4, retries: 0, timeout: 1s"
    plain = bounded(language.compile(LISTS + policy(f"{rule}, fallback: []", chain)))["first"]
    found = bounded(language.compile(LISTS + policy(rule, chain)))["first"]
    assert (plain.attempts.value, plain.time.value) == (1, 1_000_000)
    assert found.attempts.value == 3  # the embedding, the rule's own, the chain's
    assert found.dollars.value > plain.dollars.value


def test_an_embedding_that_a_limit_keeps_out_is_not_made(language: Language) -> None:
    head = LISTS + "targets: {openai/gpt-4: {region: eu}}\n"
    head += 'require: [{name: eu, target: region == "eu"}]\n'
    rule = 'condition: similar_to("l") > 0.5, route: openai/gpt-4, retries: 0, timeout: 1s'
    found = bounded(language.compile(head + policy(rule)))["first"]
    assert (found.attempts.value, found.time.value) == (1, 1_000_000)


LOCAL = "providers: {local: {kind: openai, base_url: 'https://gw.example/v1'}}\n"
LOCAL += "targets: {local/x: {price: {input: $1/Mtok, output: $2/Mtok}%s}}\n"
ENDLESS = (
    # known of the target, rule, section, condition that bounds it
    (", max_output: 9", "route: openai/gpt-4, mirror: {to: local/x, sample: 100%}", "", "tokens"),
    (
        ", max_output: 9",
        'condition: similar_to("l") > 0.5, route: openai/gpt-4',
        "lists: {l: [x]}\nembed: {target: local/x}",
        "tokens",
    ),
    (", context_window: 9", "route: local/x", "", "n"),
)


@pytest.mark.parametrize(("known", "rule", "section", "key"), ENDLESS)
def test_what_is_paid_for_without_end_is_told_wherever_it_is_sent(
    known: str, rule: str, section: str, key: str, language: Language
) -> None:
    program = language.compile(LOCAL % known + policy(rule, section))
    number = Read(key, Type.NUMBER)
    any_number = Compare(">=", number, Const(1, Type.NUMBER))
    found = bounds(program, Prover(program), any_number)[0].dollars
    assert (found.kind, found.because) == ("unbounded", "local/x")
    few = Compare("==", number, Const(7, Type.NUMBER))
    assert bounds(program, Prover(program), few)[0].dollars.kind == "exact"


class Unbounded(FewTargets):
    """A catalogue of a model that clients may ask for and nothing is known of but its price."""

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        return {"unbounded": ROWS["openai/unbounded"]}


def test_an_answer_that_nothing_bounds_has_no_end(language: Language) -> None:
    rule = 'condition: tokens < 9 and model == "unbounded", route: requested'
    schema = replace(SCHEMA, catalog=Unbounded())
    for more, kind in (("", "unbounded"), (", set: {max_tokens: 5}", "exact")):
        program = replace(language.compile(policy(rule + more)), schema=schema)
        assert bounded(program)["first"].dollars.kind == kind


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


def test_a_hop_whose_window_is_too_small_is_not_tried(
    language: Language,
) -> None:
    rule = (
        "condition: tokens > 100k, route: openai/gpt-4, retries: 0, "
        "fallback: [{to: openai/gpt-4o, retries: 0}]"
    )
    found = bounded(language.compile(policy(rule)))["first"]
    assert found.dollars.value == cost_of("openai/gpt-4o", {"tokens": 128_000, "n": 1})
    assert found.attempts.value == 1  # the gateway passes it over


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
