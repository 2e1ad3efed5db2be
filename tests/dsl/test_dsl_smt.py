"""The solver by hand: scopes, cores, texts, what holds of every snapshot, greatest values."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from turnout.dsl.core import (
    LIMIT,
    And,
    Arithmetic,
    CeilDiv,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Not,
    Or,
    Program,
    Read,
    Slot,
    Switch,
    Term,
    TextTest,
)
from turnout.dsl.interpret.smt import Impossible, Model, Solver, TimedOut
from turnout.dsl.interpret.smt_samples import plain_test, samples
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.pattern import finder
from turnout.dsl.schema import Attribute, Type
from turnout.dsl.walk import reads

N1, N2 = Read("n1", Type.NUMBER), Read("n2", Type.NUMBER)
W1, W2, W3 = (Read(key, Type.TEXT) for key in ("w1", "w2", "w3"))
B1 = Read("b1", Type.BOOL)


def number(value: int) -> Const:
    return Const(value, Type.NUMBER)


def text(value: str) -> Const:
    return Const(value, Type.TEXT)


def is_(left: Term, right: Term) -> Term:
    return Compare("==", left, right)


@pytest.fixture(scope="session")
def program(language: Any) -> Program:
    made: Program = language.compile(language.one_rule("tokens < 100"))
    return made


@pytest.fixture
def solver(program: Program) -> Solver:
    return Solver([program])


def with_slots(program: Program, *attributes: Attribute) -> Program:
    return replace(program, slots={a.name: Slot(a.name, a, None) for a in attributes})


def found(answer: object, *terms: Term) -> Model:
    """The model, which makes the terms true."""
    assert isinstance(answer, Model), answer
    for term in terms:
        assert evaluate(term, answer.values).value is True, (term, answer.values)
    return answer


# --- scopes and cores ----------------------------------------------------------------------------


def test_what_a_scope_holds_is_gone_when_it_is_left(solver: Solver) -> None:
    solver.add(Compare("<", N1, number(10)))
    solver.push()
    solver.add(Compare(">", N1, number(5)))
    assert solver.check(is_(N1, number(3))) == Impossible((0,))
    solver.push()
    solver.add(Compare("<", N1, number(6)))
    assert solver.check() == Impossible(())
    solver.pop()
    found(solver.check(is_(N1, number(7))))
    solver.pop()
    found(solver.check(is_(N1, number(3))))
    assert solver.check(is_(N1, number(10))) == Impossible((0,))


def test_texts_first_met_in_a_scope_stay_told_apart_when_it_is_left(solver: Solver) -> None:
    starts, ends = TextTest("starts_with", W1, "ab"), TextTest("starts_with", W1, "b")
    solver.push()
    solver.add(starts)
    solver.add(is_(W1, text("abc")))
    found(solver.check())
    solver.pop()
    assert isinstance(solver.check(starts, ends), Impossible)
    assert isinstance(solver.check(is_(W1, text("abc")), Not(starts)), Impossible)


def test_the_core_holds_only_terms_that_matter(solver: Solver) -> None:
    terms: list[Term] = [
        B1,
        Compare("<", N1, number(5)),
        is_(W1, text("pro")),
        Compare(">", N1, number(7)),
        Known(N2),
    ]
    answer = solver.check(*terms)
    assert answer == Impossible((1, 3))
    assert solver.check(B1, Const(False, Type.BOOL)) == Impossible((1,))


def test_a_solver_without_time_gives_up(program: Program) -> None:
    assert Solver([program], timeout_ms=0).check(B1) == TimedOut()
    assert Solver([program], timeout_ms=0).greatest(N1) == TimedOut()


def test_a_hard_question_ends_in_time(program: Program) -> None:
    some = [Read(f"x{i}", Type.NUMBER) for i in range(4)]
    cubes = [Arithmetic("*", Arithmetic("*", x, x, Type.NUMBER), x, Type.NUMBER) for x in some]
    left = Arithmetic("+", cubes[0], cubes[1], Type.NUMBER)
    hard = And(
        (
            is_(left, Arithmetic("+", cubes[2], number(33), Type.NUMBER)),
            *(Compare(">", x, number(10**6)) for x in some),
        )
    )
    started = time.monotonic()
    answer = Solver([program], timeout_ms=200).check(hard)
    assert time.monotonic() - started < 5
    assert not isinstance(answer, Impossible)


@pytest.mark.uncounted
@pytest.mark.parametrize("depth", [20, 2_000])
@pytest.mark.parametrize(
    "deeper",
    [
        Not,
        lambda t: And((t, Read("b2", Type.BOOL))),
        lambda t: Or((t, Compare("<", N1, number(3)))),
        lambda t: Coalesce(t, Read("b2", Type.BOOL), Type.BOOL),
        lambda t: If(t, B1, t, Type.BOOL),
        lambda t: Compare("==", t, t),
        lambda t: Compare("<", If(t, number(1), number(2), Type.NUMBER), N1),
    ],
)
def test_nothing_is_too_deep_to_be_asked_about(
    solver: Solver, deeper: Callable[[Term], Term], depth: int
) -> None:
    term: Term = B1
    for _ in range(depth):
        term = deeper(term)
    answer = solver.check(term)
    if depth < 100 or not isinstance(answer, TimedOut):
        found(answer, term)


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "is_possible"),
    [
        ([TextTest("starts_with", W1, "ab"), TextTest("starts_with", W1, "a")], True),
        ([TextTest("starts_with", W1, "ab"), Not(TextTest("starts_with", W1, "a"))], False),
        ([TextTest("starts_with", W1, "ab"), TextTest("starts_with", W1, "ac")], False),
        ([TextTest("ends_with", W1, "ab"), Not(TextTest("ends_with", W1, "b"))], False),
        ([TextTest("ends_with", W1, "ab"), TextTest("ends_with", W1, "b")], True),
        ([TextTest("ends_with", W1, "ab"), TextTest("ends_with", W1, "bb")], False),
        ([TextTest("starts_with", W1, "ab"), Not(TextTest("has", W1, "b"))], False),
        ([TextTest("ends_with", W1, "ab"), Not(TextTest("has", W1, "a"))], False),
        ([TextTest("has", W1, "abc"), Not(TextTest("has", W1, "bc"))], False),
        ([TextTest("has", W1, "abc"), Not(TextTest("has", W1, "cb"))], True),
        ([TextTest("has", W1, "ab"), TextTest("has", W1, "ba"), Not(is_(W1, text("aba")))], True),
        ([TextTest("starts_with", W1, "a"), TextTest("ends_with", W1, "a")], True),
        ([Not(TextTest("starts_with", W1, ""))], False),
        ([Not(TextTest("has", W1, ""))], False),
        ([Not(TextTest("ends_with", W1, ""))], False),
        ([is_(W1, text("pro")), Not(TextTest("has", W1, "r"))], False),
        ([is_(W1, text("pro")), is_(W1, text("free"))], False),
        ([is_(W1, W2), is_(W1, text("pro")), Not(is_(W2, text("pro")))], False),
        ([is_(W1, W2), is_(W2, W3), Not(is_(W1, W3))], False),
        ([is_(W1, W2), Not(is_(W2, W3)), Not(is_(W1, W3))], True),
        ([Not(is_(W1, W2)), Not(is_(W2, W3)), Not(is_(W1, W3))], True),
        ([Not(is_(W1, W2)), Not(is_(W2, W3))], True),
        ([Not(is_(W2, W3)), Not(is_(W1, W3)), TextTest("has", W1, "a"), is_(W1, W2)], True),
        ([is_(W1, W2), TextTest("has", W1, "a"), Not(TextTest("has", W2, "a"))], False),
        ([Not(is_(W1, W2)), TextTest("has", W1, "a"), TextTest("has", W2, "a")], True),
        ([Not(is_(W1, W2)), is_(W1, text("a")), is_(W2, text("a"))], False),
        ([is_(W1, W2), is_(W2, W3), TextTest("has", W1, "a"), is_(W3, text("b"))], False),
        ([is_(W1, text("…")), Not(is_(W2, W1)), Not(is_(W2, text("·")))], True),
        ([TextTest("has", W1, "…"), Not(TextTest("has", W1, "·"))], True),
        ([is_(W1, text("half \ud800"))], True),
        ([TextTest("has", W1, "\ud800"), Not(is_(W1, text("half \ud800")))], True),
    ],
)  # fmt: skip
def test_texts_are_what_their_tests_leave_possible(
    program: Program, terms: list[Term], is_possible: bool
) -> None:
    for order in (terms, terms[::-1]):
        answer = Solver([program]).check(*order)
        if is_possible:
            assert found(answer, *terms).is_exact
        else:
            assert isinstance(answer, Impossible)


@pytest.mark.parametrize(
    "terms",
    [
        [TextTest("matches", W1, "^a[d-s]*$")],
        [Not(TextTest("matches", W1, "^a[d-s]*$"))],
        [TextTest("matches", W1, "[0-9]+$"), TextTest("starts_with", W1, "team-")],
        [TextTest("matches", W1, "(?i)^fix"), Not(TextTest("starts_with", W1, "fix"))],
        [TextTest("matches", W1, "^a.b"), TextTest("ends_with", W1, "zz")],
        [TextTest("matches", W1, "a|b"), TextTest("has", W1, "c"), Not(is_(W1, text("ac")))],
        [TextTest("matches", W1, "[a-c]{3}"), Not(TextTest("matches", W1, "^[a-c]+$"))],
        [TextTest("matches", W1, "[a-c]{3}"), is_(W1, W2), Not(TextTest("has", W2, "aaa"))],
        [TextTest("matches", W1, "x+y"), TextTest("matches", W2, "x+y"), Not(is_(W1, W2))],
        [Not(TextTest("matches", W1, "^…*$"))],
    ],
)
def test_a_text_for_patterns_is_found_that_really_has_them(
    solver: Solver, terms: list[Term]
) -> None:
    assert found(solver.check(*terms), *terms).is_exact


def test_of_constants_the_outcome_of_a_pattern_is_known(solver: Solver) -> None:
    pattern = TextTest("matches", W1, "(?i)^pro|x{2}$")
    assert solver.check(is_(W1, text("Prof")), Not(pattern)) == Impossible((0, 1))
    assert isinstance(solver.check(Member(W1, frozenset({"a", "b"})), pattern), Impossible)
    found(solver.check(is_(W1, text("axx")), pattern), pattern)


def test_patterns_without_any_operator_are_ordinary_tests(solver: Solver) -> None:
    assert isinstance(
        solver.check(TextTest("matches", W1, "^gpt-4"), TextTest("matches", W1, "^gpt-3")),
        Impossible,
    )
    assert isinstance(
        solver.check(TextTest("matches", W1, r"4\.1$"), Not(TextTest("has", W1, ".1"))), Impossible
    )


def test_a_choice_of_patterns_no_text_is_known_for_is_not_exact_and_can_be_excluded(
    solver: Solver,
) -> None:
    # No text has both, which only a reader of patterns can tell.
    terms = [TextTest("matches", W1, "^[a-m]+$"), TextTest("matches", W1, "^[n-z]+$")]
    answer = solver.check(*terms)
    assert isinstance(answer, Model)
    assert not answer.is_exact
    solver.push()
    solver.exclude(answer)
    assert isinstance(solver.check(*terms), Impossible)
    solver.pop()
    assert isinstance(solver.check(*terms), Model)


@pytest.mark.parametrize(
    "pattern",
    [
        "^a[d-s]*$",
        "(?i)FREE|pro$",
        r"\bab?\b",
        "[^a-z]",
        "^gpt-[0-9]+(\\.[0-9])?$",
        "(?P<x>a|b){2,3}c+?",
        r"^\d{4}-\d\d-\d\d$",
        r"^[[:alpha:]]+@(acme|initech)\.com$",
        r"\Qa.b\E+",
        "[]a]",
        "(?:(a)|(?:b|c))*d",
        "(a*)*|b",
        ".+",
        r"\pL",
        "a{1000}",
        "(a{30}){30}",
        "((((((a?)*)+){2})))",
    ],
)
def test_samples_are_texts_that_the_pattern_finds(pattern: str) -> None:
    assert all(finder(pattern)(sample) for sample in samples(pattern))
    assert samples(pattern) or "{" in pattern


@pytest.mark.parametrize("pattern", ["^gpt-4", "a-b$", "^a$", "", "^", "$", "^$", r"4\.1", "a b"])
@pytest.mark.parametrize("given", ["gpt-4", "a-b", "a", "", "4.1", "401", "a b", "a\n", "ga-bg"])
def test_a_plain_pattern_means_the_same_as_the_test_it_is_taken_for(
    pattern: str, given: str
) -> None:
    plain = plain_test(pattern)
    assert plain is not None
    kind, wanted = plain
    term = is_(W1, text(wanted)) if kind == "==" else TextTest(kind, W1, wanted)  # type: ignore[arg-type]
    assert evaluate(term, {"w1": given}).value is finder(pattern)(given)


# --- what holds of every snapshot ----------------------------------------------------------------


def test_values_stay_in_their_ranges_and_what_is_always_known_is(program: Program) -> None:
    solver = Solver(
        [
            with_slots(
                program,
                Attribute("n1", Type.NUMBER, "", True, minimum=3, maximum=5),
                Attribute("b1", Type.BOOL, "", True),
                Attribute("w1", Type.ENUM, "", True, domain=("low", "high")),
                Attribute("w2", Type.ENUM, "", domain=("low", "high")),
            )
        ]
    )
    for term in (N1, B1, W1):
        assert isinstance(solver.check(Not(Known(term))), Impossible)
    found(solver.check(Not(Known(W2))))
    found(solver.check(Not(Known(N2))))
    assert isinstance(solver.check(Compare("<", N1, number(3))), Impossible)
    assert isinstance(solver.check(Compare(">", N1, number(5))), Impossible)
    assert isinstance(solver.check(Compare(">", N2, number(2**63 - 1))), Impossible)
    found(solver.check(is_(N2, number(2**63 - 1))))
    assert isinstance(
        solver.check(Not(is_(W1, text("low"))), Not(is_(W1, text("high")))), Impossible
    )
    assert isinstance(solver.check(is_(W1, text("other"))), Impossible)
    assert isinstance(solver.check(TextTest("has", W1, "x")), Impossible)
    values = found(solver.check(is_(W1, W2))).values
    assert values["w1"] == values["w2"] in ("low", "high")


def test_of_two_programs_a_key_may_be_whatever_either_allows(program: Program) -> None:
    solver = Solver(
        [
            with_slots(
                program,
                Attribute("w1", Type.ENUM, "", True, domain=("free", "pro")),
                Attribute("n1", Type.NUMBER, "", True, minimum=0, maximum=5),
            ),
            with_slots(
                program,
                Attribute("w1", Type.ENUM, "", True, domain=("free", "team")),
                Attribute("n1", Type.NUMBER, "", minimum=0),
            ),
        ]
    )
    for name in ("free", "pro", "team"):
        found(solver.check(is_(W1, text(name))))
    assert isinstance(solver.check(is_(W1, text("other"))), Impossible)
    found(solver.check(Not(Known(N1))))
    found(solver.check(is_(N1, number(6))))
    assert isinstance(solver.check(Compare("<", N1, number(0))), Impossible)


def test_a_date_has_its_weekday(solver: Solver) -> None:
    date, weekday = Read("date", Type.DATE), Read("weekday", Type.WEEKDAY)
    for day, name in ((0, 3), (20_778, 5)):  # a Thursday, a Saturday
        asked = is_(date, Const(day, Type.DATE))
        assert found(solver.check(asked, Known(weekday))).values["weekday"] == name
        assert isinstance(
            solver.check(asked, Compare("!=", weekday, Const(name, Type.WEEKDAY))), Impossible
        )
    assert isinstance(solver.check(Compare(">", weekday, Const(6, Type.WEEKDAY))), Impossible)


def test_quantiles_of_one_target_and_window_rise(solver: Solver) -> None:
    def read(key: str) -> Read:
        return Read(key, Type.DURATION)

    p50, p95 = read("p50(a/b)"), read("p95(a/b)")
    ttft50, ttft95 = read("ttft.p50(a/b, 5m)"), read("ttft.p95(a/b, 5m)")
    for low, high in ((p50, p95), (p50, read("p99(a/b)")), (ttft50, ttft95)):
        assert isinstance(solver.check(Compare("<", high, low)), Impossible)
        found(solver.check(Not(Known(high)), Known(low)))
    for other in ("p95(a/c)", "p95(a/b, 5m)", "ttft.p95(a/b)"):
        found(solver.check(Compare("<", read(other), p50)))


def test_what_is_left_of_a_budget_is_what_was_not_used(solver: Solver) -> None:
    limit, used, left = (
        Read(f"budget(team).{part}", Type.MONEY) for part in ("limit", "used", "left")
    )
    ten = Const(10, Type.MONEY)
    answer = solver.check(is_(limit, ten), is_(used, Const(12, Type.MONEY)), Known(left))
    assert found(answer).values["budget(team).left"] == -2
    other = Read("budget(user).left", Type.MONEY)
    found(solver.check(is_(limit, ten), is_(used, ten), is_(other, ten)))


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_past_128_bits_are_unknown(solver: Solver) -> None:
    term = Arithmetic("+", Const(LIMIT, Type.NUMBER), N1, Type.NUMBER)
    assert isinstance(solver.check(Compare(">", N1, number(0)), Known(term)), Impossible)
    assert isinstance(solver.check(is_(N1, number(0)), Not(Known(term))), Impossible)
    twice = Arithmetic("*", N1, Const(2**70, Type.NUMBER), Type.NUMBER)
    value = found(solver.check(Not(Known(twice)), Known(N1))).values["n1"]
    assert isinstance(value, int)
    assert abs(value) >= 2**57


def test_division_rounds_up(solver: Solver) -> None:
    third = CeilDiv(N1, 3, Type.NUMBER)
    for value, expected in ((7, 3), (6, 2), (0, 0), (-1, 0), (-3, -1), (-4, -1)):
        asked = is_(N1, number(value))
        found(solver.check(asked, is_(third, number(expected))))
        assert isinstance(solver.check(asked, Compare("!=", third, number(expected))), Impossible)


def test_a_switch_without_its_case_is_unknown(solver: Solver) -> None:
    term = Switch(W1, (("a", number(1)), ("b", number(2)), ("a", number(3))), Type.NUMBER)
    assert found(solver.check(is_(term, number(1)))).values["w1"] == "a"
    assert isinstance(solver.check(is_(term, number(3))), Impossible)
    assert found(solver.check(Not(Known(term)), Known(W1))).values["w1"] not in ("a", "b")
    assert isinstance(solver.check(Known(Switch(W1, (), Type.NUMBER))), Impossible)
    assert isinstance(solver.check(Known(Switch(W1, (), Type.TEXT))), Impossible)


# --- greatest values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "terms", "expected"),
    [
        (N1, [Compare("<", N1, number(77))], 76),
        (N1, [Compare("<", N1, number(-5))], -6),
        (N1, [], 2**63 - 1),
        (N1, [is_(N1, number(5))], 5),
        (CeilDiv(N1, 10, Type.NUMBER), [Compare("<=", N1, number(101))], 11),
        (Arithmetic("*", N1, number(3), Type.NUMBER), [Compare("<", N1, number(101))], 300),
        (If(B1, N1, N2, Type.NUMBER), [Compare("<", N1, number(9)), Not(B1)], 2**63 - 1),
        (If(B1, number(4), number(9), Type.NUMBER), [Not(Not(B1))], 4),
        (Arithmetic("min", N1, N2, Type.NUMBER), [Compare("<", N2, number(1000))], 999),
        (Switch(W1, (("a", number(10)), ("b", number(20))), Type.NUMBER), [is_(W1, text("a"))], 10),
        (number(8), [B1], 8),
    ],
)  # fmt: skip
def test_the_greatest_value_is_found_with_a_snapshot_that_has_it(
    solver: Solver, term: Term, terms: list[Term], expected: int
) -> None:
    solver.push()
    answer = solver.greatest(term, *terms)
    assert isinstance(answer, tuple)
    value, model = answer
    assert value == expected
    found(model, *terms)
    assert evaluate(term, model.values).value == expected
    solver.pop()
    assert isinstance(solver.check(), Model)


def test_the_greatest_value_where_there_is_none_says_why(solver: Solver) -> None:
    never = Compare("<", N1, N1)
    assert solver.greatest(N1, B1, never) == Impossible((1,))
    assert solver.greatest(Const(None, Type.NUMBER), B1) == Impossible(())


# --- the bound of the whole ----------------------------------------------------------------------


def test_every_key_of_a_model_is_one_that_was_read(solver: Solver) -> None:
    term = And((Compare("<", N1, N2), Known(W1)))
    assert set(found(solver.check(term)).values) == set(reads([term]))
