"""What must hold for every program and every snapshot: the interpretations mean the same."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dsl.chance import (
    FETCHED,
    KINDS,
    PATTERNS,
    near,
    number_terms,
    of_files,
    policies,
    program_of,
    routes_like,
    rule_terms,
    several_values,
    snapshots,
    thorough,
    truth_terms,
    words,
)
from turnout.dsl import kleene
from turnout.dsl.check import restore, token_cuts
from turnout.dsl.choose import choose
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
from turnout.dsl.facts import facts
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.interpret.traced import Node, evaluate, trace
from turnout.dsl.interval import bounds
from turnout.dsl.residual import simplify
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads

TRUTHS = (True, False, None)
ONE, TWO = Const(1, Type.NUMBER), Const(2, Type.NUMBER)
OPERATORS: tuple[Any, ...] = ("==", "!=", "<", "<=", ">", ">=")
CALCULATIONS: tuple[Any, ...] = ("+", "-", "*", "min", "max")


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
            terms += [TextTest("matches", form, pattern) for pattern in PATTERNS]
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
@given(data=st.data(), snapshot=st.one_of(near, snapshots))
def test_a_route_comes_to_the_same_hop_by_compiled_and_by_traced_terms(
    some_program: Program, data: st.DataObject, snapshot: dict[str, Value | None]
) -> None:
    hop = some_program.requested
    route = data.draw(routes_like(hop))
    kept_out = data.draw(st.sets(st.sampled_from("abc")))

    def exclude(target: str) -> str | None:
        return "a limit" if target in kept_out else None

    compiled = choose(route, lambda term: compile_term(term)(snapshot), exclude)
    lazily = choose(route, lambda term: compile_term(term, frozenset(FETCHED))(snapshot), exclude)
    traced = choose(route, lambda term: evaluate(term, snapshot).value, exclude)
    assert compiled == traced
    assert lazily == traced


@thorough
@given(limits=st.lists(st.tuples(st.none() | rule_terms, rule_terms), max_size=3), snapshot=near)
def test_a_limit_keeps_out_the_same_targets_compiled_and_traced(
    limits: list[tuple[Term | None, Term]], snapshot: dict[str, Value | None]
) -> None:
    def passes(value: Callable[[Term], Value | None]) -> list[bool]:
        return [
            (when is not None and value(when) is False) or value(target) is True
            for when, target in limits
        ]

    compiled = passes(lambda term: compile_term(term)(snapshot))
    assert compiled == passes(lambda term: evaluate(term, snapshot).value)


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


@pytest.mark.uncounted
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


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^gpt-4", "gpt-4o", True),
        ("^gpt-4", "my gpt-4o", False),
        ("4o$", "gpt-4o", True),
        ("(?i)GPT", "gpt-4o", True),
        ("GPT", "gpt-4o", False),
        ("\\?", "half \ud800", True),
        ("^half .$", "half \ud800", True),
        ("ü", "für", True),
        ("", "", True),
        ("a", None, None),
    ],
)
def test_matches_finds_an_re2_pattern_anywhere(
    pattern: str, text: str | None, found: bool | None
) -> None:
    term = TextTest("matches", Read("w1", Type.TEXT), pattern)
    assert evaluate(term, {"w1": text}).value is found
    assert compile_term(term)({"w1": text}) is found


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


@of_files
@given(text=policies, data=st.data())
def test_written_policies_decide_alike_compiled_traced_and_restored(
    language: Any, text: str, data: st.DataObject
) -> None:
    program = language.compile(text)
    again = restore(program.canonical, language.schema)
    assert again.digest == program.digest
    assert set(again.slots) == set(program.slots)
    assert again.token_cuts == program.token_cuts
    assert dict(again.targets) == dict(program.targets)
    decide, decide_again = compile_program(program), compile_program(again)
    compiled = cache(compile_term)

    def is_decided_alike(snapshot: Snapshot) -> None:
        verdict = trace(program, snapshot)
        assert decide(snapshot) == (-1 if verdict.clause is None else verdict.clause)
        assert decide_again(snapshot) == decide(snapshot)
        for clause in program.clauses:
            assert _chosen(program, clause, lambda term: compiled(term)(snapshot)) == _chosen(
                program, clause, lambda term: evaluate(term, snapshot).value
            )
        assert [_values(step.expression) for step in trace(again, snapshot).steps] == [
            _values(step.expression) for step in verdict.steps
        ]

    for values in data.draw(several_values(program)):
        is_decided_alike(Snapshot(values))


def _chosen(program: Program, clause: Clause, value: Callable[[Term], Value | None]) -> object:
    """Where a clause's plan goes, the limits left out by terms over the facts of each target."""

    def exclude(target: str) -> str | None:
        for limit in program.limits:
            known = facts(program.targets[target], reads([limit.target]))
            if limit.when is not None and value(limit.when) is False:
                continue
            if value(simplify(limit.target, known)) is not True:
                return limit.name
        return None

    chosen = choose(clause.plan.route, value, exclude)
    mirror = clause.plan.mirror
    return chosen, mirror and value(mirror.sampled)


def _values(node: Node | None) -> object:
    return node and (node.value, node.reason, [_values(child) for child in node.children])


@of_files
@given(text=policies, data=st.data(), low=st.integers(0, 5_000), width=st.integers(0, 500))
def test_the_low_end_stands_for_an_interval_between_two_cuts(
    language: Any, text: str, data: st.DataObject, low: int, width: int
) -> None:
    program = language.compile(text)
    cuts = program.token_cuts
    if "tokens" not in program.slots or cuts is None or any(low <= c <= low + width for c in cuts):
        return
    decide = compile_program(program)
    counts = (low, low + width // 2, low + width)
    for values in data.draw(several_values(program)):
        assert len({decide(Snapshot({**values, "tokens": count})) for count in counts}) == 1


def test_token_cuts_look_through_names_and_give_up_at_arithmetic() -> None:
    tokens = Read("tokens", Type.NUMBER)
    named = Named("t", tokens, Type.NUMBER)
    five = Const(5, Type.NUMBER)
    assert token_cuts([Compare("<", named, five), Member(tokens, frozenset({9, 7}))]) == (5, 7, 9)
    assert token_cuts([Compare("<", five, tokens), Known(named)]) == (5,)
    assert token_cuts([Compare("<", tokens, Read("n", Type.NUMBER))]) is None
    assert token_cuts([Compare("<", Arithmetic("*", named, five, Type.NUMBER), five)]) is None
