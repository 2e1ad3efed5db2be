"""What must hold for every program and every snapshot: the interpretations mean the same."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout.dsl import kleene
from turnout.dsl.check import restore, token_cuts
from turnout.dsl.core import (
    LIMIT,
    And,
    Arithmetic,
    CeilDiv,
    Clause,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Program,
    Read,
    Switch,
    Term,
    TextTest,
)
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.interpret.traced import Node, evaluate, trace
from turnout.dsl.interval import bounds
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import LARGEST, Snapshot
from turnout.dsl.walk import reads

EXAMPLES = int(os.environ.get("TURNOUT_EXAMPLES", "200"))
thorough = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TRUTHS = (True, False, None)

# --- strategies ----------------------------------------------------------------------------------

NUMBERS = ("n1", "n2", "n3")
WORDS = ("w1", "w2")
FLAGS = ("b1", "b2")
TEXTS = ("", "a", "ab", "free", "pro", "é\n'\"")

whole = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([100, 10_000, 2**31, 2**62, LARGEST, -LARGEST]),
    st.integers(-LARGEST, LARGEST),
)
constants = st.one_of(whole, st.sampled_from([LIMIT, -LIMIT, LIMIT + 1, 2**126, 2**64]))
snapshots = st.fixed_dictionaries(
    {name: st.none() | whole for name in NUMBERS}
    | {name: st.none() | st.sampled_from(TEXTS) for name in WORDS}
    | {name: st.none() | st.booleans() for name in FLAGS}
)

leaf_numbers: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(NUMBERS).map(lambda key: Read(key, Type.NUMBER)),
    constants.map(lambda value: Const(value, Type.NUMBER)),
    st.just(Const(None, Type.NUMBER)),
)
words: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(WORDS).map(lambda key: Read(key, Type.TEXT)),
    st.sampled_from(TEXTS).map(lambda value: Const(value, Type.TEXT)),
    st.builds(
        lambda a, b: Coalesce(Read(a, Type.TEXT), Read(b, Type.TEXT), Type.TEXT),
        st.sampled_from(WORDS),
        st.sampled_from(WORDS),
    ),
)
leaf_truths: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(FLAGS).map(lambda key: Read(key, Type.BOOL)),
    st.sampled_from(TRUTHS).map(lambda value: Const(value, Type.BOOL)),
)


def numbers_of(numbers: Any, truths: Any) -> st.SearchStrategy[Term]:
    two = st.tuples(numbers, numbers)
    return st.one_of(
        st.builds(
            lambda operator, pair: Arithmetic(operator, pair[0], pair[1], Type.NUMBER),
            st.sampled_from(["+", "-", "*", "*", "min", "max"]),
            two,
        ),
        two.map(lambda pair: Coalesce(pair[0], pair[1], Type.NUMBER)),
        st.builds(
            lambda part, divisor: CeilDiv(part, divisor, Type.NUMBER),
            numbers,
            st.sampled_from([1, 2, 1_000_000]),
        ),
        st.builds(lambda test, pair: If(test, pair[0], pair[1], Type.NUMBER), truths, two),
        st.builds(
            lambda word, cases: Switch(word, tuple(cases), Type.NUMBER),
            words,
            st.lists(st.tuples(st.sampled_from(TEXTS), numbers), max_size=4),
        ),
        numbers.map(lambda part: Named("x", part, Type.NUMBER)),
    )


def truths_of(numbers: Any, truths: Any) -> st.SearchStrategy[Term]:
    several = st.lists(truths, max_size=4).map(tuple)
    return st.one_of(
        truths.map(Not),
        several.map(And),
        several.map(Or),
        st.builds(Compare, st.sampled_from(sorted(kleene.COMPARISONS)), numbers, numbers),
        st.builds(Compare, st.sampled_from(["==", "!="]), words, words),
        st.builds(Compare, st.sampled_from(["==", "!="]), truths, truths),
        st.builds(Member, numbers, st.frozensets(whole, max_size=4)),
        st.builds(Member, words, st.frozensets(st.sampled_from(TEXTS), max_size=4)),
        st.builds(
            TextTest, st.sampled_from(sorted(kleene.TEXT_TESTS)), words, st.sampled_from(TEXTS)
        ),
        (numbers | truths | words).map(Known),
        st.builds(lambda a, b: Coalesce(a, b, Type.BOOL), truths, truths),
        st.builds(lambda a, b, c: If(a, b, c, Type.BOOL), truths, truths, truths),
        st.builds(
            lambda word, cases: Switch(word, tuple(cases), Type.BOOL),
            words,
            st.lists(st.tuples(st.sampled_from(TEXTS), truths), max_size=3),
        ),
        truths.map(lambda part: Named("y", part, Type.BOOL)),
    )


def layers(depth: int) -> tuple[st.SearchStrategy[Term], st.SearchStrategy[Term]]:
    numbers, truths = leaf_numbers, leaf_truths
    for _ in range(depth):
        numbers, truths = (
            st.one_of(leaf_numbers, numbers_of(numbers, truths)),
            st.one_of(leaf_truths, truths_of(numbers, truths)),
        )
    return numbers, truths


number_terms, truth_terms = layers(4)
ONE, TWO = Const(1, Type.NUMBER), Const(2, Type.NUMBER)
OPERATORS: tuple[Any, ...] = ("==", "!=", "<", "<=", ">", ">=")
CALCULATIONS: tuple[Any, ...] = ("+", "-", "*", "min", "max")
KINDS: tuple[Any, ...] = ("starts_with", "ends_with", "has")


def program_of(terms: list[Term], like: Program) -> Program:
    clauses = tuple(
        Clause(i, f"r{i}", t, t, like.clauses[0].plan, reads([t]), like.clauses[0].span)
        for i, t in enumerate(terms)
    )
    return replace(like, clauses=clauses)


@pytest.fixture(scope="session")
def some_program(language: Any) -> Program:
    program: Program = language.compile(language.one_rule("tokens < 100"))
    return program


# --- the tables ----------------------------------------------------------------------------------


def test_negation_keeps_the_unknown() -> None:
    assert [kleene.negate(truth) for truth in TRUTHS] == [False, True, None]


@pytest.mark.parametrize(
    ("junction", "wins", "neutral"), [(kleene.conjoin, False, True), (kleene.disjoin, True, False)]
)
def test_one_truth_wins_and_else_the_unknown_shows(
    junction: Callable[[list[bool | None]], bool | None], wins: bool, neutral: bool
) -> None:
    for size in range(4):
        for truths in product(TRUTHS, repeat=size):
            expected = wins if wins in truths else None if None in truths else neutral
            assert junction(list(truths)) is expected


@given(st.lists(st.sampled_from(TRUTHS)))
def test_de_morgan_holds_with_the_unknown(truths: list[bool | None]) -> None:
    negated = [kleene.negate(truth) for truth in truths]
    assert kleene.negate(kleene.conjoin(truths)) is kleene.disjoin(negated)


# --- compiled is traced --------------------------------------------------------------------------


def forms(name: str, value: Value | None, type_: Type) -> list[Term]:
    """One value in every shape the emitter tells apart: constant, slot, and something computed."""
    read = Read(name, type_)
    nothing = Const(None, type_)
    return [Const(value, type_), read, Named("x", read, type_), Coalesce(nothing, read, type_)]


SMALL = (None, -1, 0, 1, 7)


def binary_terms() -> list[tuple[Term, dict[str, Value | None]]]:
    """Every operator on every pair of shapes and of small values."""
    cases: list[tuple[Term, dict[str, Value | None]]] = []
    for a, b in product(SMALL, SMALL):
        snapshot: dict[str, Value | None] = {"a": a, "b": b}
        pairs = product(forms("a", a, Type.NUMBER), forms("b", b, Type.NUMBER))
        for left, right in pairs:
            cases += [(Compare(o, left, right), snapshot) for o in OPERATORS]
            cases += [(Arithmetic(o, left, right, Type.NUMBER), snapshot) for o in CALCULATIONS]
            cases.append((Coalesce(left, right, Type.NUMBER), snapshot))
    for p, q in product(TRUTHS, TRUTHS):
        snapshot = {"a": p, "b": q}
        for left, right in product(forms("a", p, Type.BOOL), forms("b", q, Type.BOOL)):
            cases += [(Compare(o, left, right), snapshot) for o in OPERATORS[:2]]
            cases += [(joined((left, right)), snapshot) for joined in (And, Or)]
            cases.append((Coalesce(left, right, Type.BOOL), snapshot))
            cases.append((If(left, right, Not(right), Type.BOOL), snapshot))
            cases.append((If(left, ONE, TWO, Type.NUMBER), snapshot))
    return cases


def unary_terms() -> list[tuple[Term, dict[str, Value | None]]]:
    cases: list[tuple[Term, dict[str, Value | None]]] = []
    for value in (*SMALL, 8):
        for form in forms("a", value, Type.NUMBER):
            some = frozenset({0, 7})
            terms: list[Term] = [Known(form), Member(form, some), Member(form, frozenset())]
            terms += [CeilDiv(form, 2, Type.NUMBER), CeilDiv(form, 3, Type.NUMBER)]
            cases += [(term, {"a": value}) for term in terms]
    for text in (None, "", "ab", "ba", "b"):
        for form in forms("a", text, Type.TEXT):
            twice = (("ab", ONE), ("b", TWO), ("ab", TWO), ("c", ONE))
            terms = [Switch(form, twice, Type.NUMBER), Switch(form, (), Type.NUMBER)]
            terms.append(Switch(form, (("b", Known(form)), ("ab", Not(Known(form)))), Type.BOOL))
            terms += [TextTest(kind, form, "b") for kind in KINDS]
            terms.append(Member(form, frozenset({"b", ""})))
            cases += [(term, {"a": text}) for term in terms]
    return cases


def test_every_operator_on_every_shape_of_operand_is_compiled_as_it_is_traced() -> None:
    for term, snapshot in binary_terms() + unary_terms():
        expected = evaluate(term, snapshot).value
        assert compile_term(term)(snapshot) == expected, term
        if term.type is Type.BOOL:
            # As a condition, negated and not: these are other forms than the value.
            assert compile_term(If(term, ONE, TWO, Type.NUMBER))(snapshot) == {
                True: 1, False: 2, None: None,
            }[bool(expected) if expected is not None else None], term  # fmt: skip
            assert compile_term(Not(term))(snapshot) == (
                None if expected is None else not expected
            ), term


@thorough
@given(
    terms=st.lists(truth_terms, min_size=4, max_size=16),
    seen=st.lists(snapshots, min_size=3, max_size=6),
)
def test_many_terms_have_the_values_that_the_trace_shows(
    terms: list[Term], seen: list[dict[str, Value | None]]
) -> None:
    for term in terms:
        code = compile_term(term)
        for snapshot in seen:
            assert code(snapshot) == evaluate(term, snapshot).value


@thorough
@given(terms=st.lists(truth_terms, min_size=1, max_size=5), snapshot=snapshots)
def test_the_compiled_program_fires_the_rule_that_the_trace_fires(
    some_program: Program, terms: list[Term], snapshot: dict[str, Value | None]
) -> None:
    program = program_of(terms, some_program)
    verdict = trace(program, snapshot)
    assert compile_program(program)(snapshot) == (-1 if verdict.clause is None else verdict.clause)


@thorough
@given(term=st.one_of(number_terms, truth_terms, words), snapshot=snapshots)
def test_a_compiled_term_has_the_value_that_the_trace_shows(
    term: Term, snapshot: dict[str, Value | None]
) -> None:
    assert compile_term(term)(snapshot) == evaluate(term, snapshot).value
    assert type(compile_term(term)(snapshot)) is type(evaluate(term, snapshot).value)


@thorough
@given(term=number_terms, snapshot=snapshots)
def test_static_bounds_hold_the_value(term: Term, snapshot: dict[str, Value | None]) -> None:
    value = evaluate(term, snapshot).value
    low, high = bounds(term, {})
    assert value is None or low <= int(value) <= high


@thorough
@given(term=truth_terms, snapshot=snapshots)
def test_a_negated_unknown_never_fires(
    some_program: Program, term: Term, snapshot: dict[str, Value | None]
) -> None:
    value = evaluate(term, snapshot).value
    fired = compile_program(program_of([Not(term)], some_program))(snapshot)
    assert (fired == 0) is (value is False)


@thorough
@given(term=st.one_of(number_terms, truth_terms), snapshot=snapshots)
def test_every_node_has_a_value_or_a_reason(term: Term, snapshot: dict[str, Value | None]) -> None:
    nodes = [evaluate(term, snapshot)]
    while nodes:
        node = nodes.pop()
        assert (node.value is None) is (node.reason is not None)
        assert node.text
        nodes.extend(node.children)


@pytest.mark.parametrize("depth", [20, 2_000])
@pytest.mark.parametrize(
    "deeper",
    [
        Not,
        Known,
        lambda t: And((t, Read("b1", Type.BOOL))),
        lambda t: Coalesce(t, Read("b2", Type.BOOL), Type.BOOL),
        lambda t: If(t, Read("b1", Type.BOOL), t, Type.BOOL),
        lambda t: Compare("==", t, t),
        lambda t: Compare("<", If(t, ONE, TWO, Type.NUMBER), Read("n1", Type.NUMBER)),
    ],
)
def test_nothing_is_too_deep_to_compile_or_to_trace(
    deeper: Callable[[Term], Term], depth: int
) -> None:
    term: Term = Read("b1", Type.BOOL)
    for _ in range(depth):
        term = deeper(term)
    snapshot = {"b1": None, "b2": True, "n1": 2}
    assert compile_term(term)(snapshot) == evaluate(term, snapshot).value


def test_arithmetic_past_128_bits_is_unknown_and_says_so() -> None:
    large = Const(LIMIT, Type.NUMBER)
    one = Read("n1", Type.NUMBER)
    term = Arithmetic("+", large, one, Type.NUMBER)
    for snapshot, expected in (({"n1": 0}, LIMIT), ({"n1": 1}, None), ({"n1": -1}, LIMIT - 1)):
        assert compile_term(term)(snapshot) == expected
        assert evaluate(term, snapshot).value == expected
    assert evaluate(term, {"n1": 1}).reason == "the number is too large"
    below = Arithmetic("-", Const(-LIMIT, Type.NUMBER), one, Type.NUMBER)
    assert [compile_term(below)({"n1": n}) for n in (1, 0, -1)] == [None, -LIMIT, 1 - LIMIT]


def test_slots_are_asked_for_just_before_the_first_rule_that_may_read_them(
    some_program: Program,
) -> None:
    asked: list[str] = []

    class Watched(dict[str, Value | None]):
        def __missing__(self, key: str) -> Value | None:
            asked.append(key)
            return None if key != "b2" else True

    program = program_of(
        [
            Compare("<", Read("n1", Type.NUMBER), Read("n1", Type.NUMBER)),
            And((Read("b1", Type.BOOL), Compare("<", Read("n1", Type.NUMBER), ONE))),
            Read("b2", Type.BOOL),
            Read("n2", Type.BOOL),
        ],
        some_program,
    )
    assert compile_program(program)(Watched()) == 2
    assert asked == ["n1", "b1", "b2"]


# --- text and archive ----------------------------------------------------------------------------

conditions = st.recursive(
    st.sampled_from(
        [
            "tokens < 100",
            "100 <= tokens",
            "tokens in 200..4k",
            "max_tokens > 1k",
            "(max_tokens ?? 1k) > tokens",
            "max_tokens / tokens > 0.5",
            "tokens / messages <= 30",
            "temperature == 0",
            "temperature in [0, 0.7]",
            'tier == "free"',
            'tier in ["pro", "default"]',
            "has_tools",
            "stream == false",
            "known(max_tokens)",
            "time in 22:00..06:00",
            "weekday in Fri..Mon",
            "date >= 2026-10-01",
            'p95("openai/gpt-4") > 8s',
            "latency > 800ms",
            'error_rate("groq/llama-3-8b") > 5%',
            "cost < $0.01",
            "worst_case(cost) < $0.2",
            'cost("groq/llama-3-8b") < cost',
            'header["X-Team"] starts_with "a"',
            "tiny",
            "min(tokens, max_tokens) * 2 > 300",
            'request_type == "chat"',
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda c: f"not ({c})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
        inner.map(lambda c: f"known({c})"),
    ),
    max_leaves=6,
)
routes = st.sampled_from(
    ["openai/gpt-4", "groq/llama-3-8b", "anthropic/claude-sonnet", "requested", "own/any"]
)
HEAD = """
attributes: {tier: [free, pro]}
let: {tiny: tokens < 100 and not has_tools}
providers: {own: {kind: openai, base_url: "https://own.example/v1"}}
targets:
  own/any: {price: {input: $1/Mtok, output: $2/Mtok, request: $0.001}, max_output: 4k}
models: {auto: policy, house: openai/gpt-4o}
"""
policies = st.builds(
    lambda rules, chain: (
        HEAD
        + "routing_policy:\n"
        + "".join(
            f"  - {{name: r{i}, condition: '{c}', route: {r}}}\n" for i, (c, r) in enumerate(rules)
        )
        + "  - {name: default, route: openai/gpt-4}\n"
        + ("fallback_chain:\n" if chain else "")
        + "".join(f"  - {{to: {r}, timeout: 2s, when: '{c}'}}\n" for c, r in chain)
    ),
    st.lists(st.tuples(conditions, routes), min_size=1, max_size=4),
    st.lists(st.tuples(conditions, routes.filter(lambda r: r != "requested")), max_size=2),
)


def random_values(program: Program) -> st.SearchStrategy[dict[str, Value | None]]:
    def values_of(key: str) -> st.SearchStrategy[Value | None]:
        attribute = program.slots[key].attribute
        match attribute.type:
            case Type.BOOL:
                return st.none() | st.booleans()
            case Type.ENUM:
                return st.none() | st.sampled_from(attribute.domain or ("x",))
            case Type.TEXT:
                return st.none() | st.sampled_from(["ads", "b", *program.targets])
            case _:
                low = attribute.minimum or 0
                high = LARGEST if attribute.maximum is None else attribute.maximum
                return st.none() | st.integers(low, min(high, 20_000)) | st.integers(low, high)

    return st.fixed_dictionaries({key: values_of(key) for key in program.slots})


@thorough
@given(text=policies, data=st.data())
def test_written_policies_decide_alike_compiled_traced_and_restored(
    language: Any, text: str, data: st.DataObject
) -> None:
    program = language.compile(text)
    again = restore(program.canonical, language.schema)
    snapshot = Snapshot(data.draw(random_values(program)))
    index = compile_program(program)(snapshot)
    verdict = trace(program, snapshot)
    assert index == (-1 if verdict.clause is None else verdict.clause)
    assert again.digest == program.digest
    assert set(again.slots) == set(program.slots)
    assert again.token_cuts == program.token_cuts
    assert dict(again.targets) == dict(program.targets)
    assert compile_program(again)(snapshot) == index
    assert [_values(step.expression) for step in trace(again, snapshot).steps] == [
        _values(step.expression) for step in verdict.steps
    ]


def _values(node: Node | None) -> object:
    return node and (node.value, node.reason, [_values(child) for child in node.children])


@thorough
@given(text=policies, data=st.data(), low=st.integers(0, 5_000), width=st.integers(0, 500))
def test_the_low_end_stands_for_an_interval_between_two_cuts(
    language: Any, text: str, data: st.DataObject, low: int, width: int
) -> None:
    program = language.compile(text)
    cuts = program.token_cuts
    if "tokens" not in program.slots or cuts is None or any(low <= c <= low + width for c in cuts):
        return
    snapshot = Snapshot(data.draw(random_values(program)))
    decide = compile_program(program)
    counts = (low, low + width // 2, low + width)
    decisions = {decide(Snapshot({**snapshot, "tokens": count})) for count in counts}
    assert len(decisions) == 1


def test_token_cuts_look_through_names_and_give_up_at_arithmetic() -> None:
    tokens = Read("tokens", Type.NUMBER)
    named = Named("t", tokens, Type.NUMBER)
    five = Const(5, Type.NUMBER)
    assert token_cuts([Compare("<", named, five), Member(tokens, frozenset({9, 7}))]) == (5, 7, 9)
    assert token_cuts([Compare("<", five, tokens), Known(named)]) == (5,)
    assert token_cuts([Compare("<", tokens, Read("n", Type.NUMBER))]) is None
    assert token_cuts([Compare("<", Arithmetic("*", named, five, Type.NUMBER), five)]) is None
