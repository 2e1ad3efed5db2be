"""What the solver says of terms is what `traced` says, unknown values included."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.dsl.chance import (
    FLAGS,
    KINDS,
    NUMBERS,
    TYPES,
    WORDS,
    near,
    number_terms,
    of_files,
    policies,
    program_of,
    random_values,
    rule_terms,
    snapshots,
    thorough,
    truth_terms,
)
from turnout.dsl.core import (
    REQUESTED,
    Compare,
    Const,
    Known,
    Not,
    Program,
    Read,
    Slot,
    Term,
    TextTest,
)
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.interpret.smt import Impossible, Model, Solver, TimedOut
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.schema import Attribute, Type, Value
from turnout.dsl.walk import reads


@pytest.fixture(scope="session")
def some_program(language: Any) -> Program:
    program: Program = language.compile(language.one_rule("tokens < 100"))
    return program_of([], program)


def fixed(snapshot: dict[str, Value | None], types: Mapping[str, Type] = TYPES) -> list[Term]:
    """Terms that are true on this snapshot and on no other."""
    terms: list[Term] = []
    for key, value in snapshot.items():
        read = Read(key, types[key])
        if value is None:
            terms.append(Not(Known(read)))
        else:
            terms.append(Compare("==", read, Const(value, types[key])))
    return terms


@thorough
@given(term=truth_terms, snapshot=snapshots)
def test_of_one_snapshot_a_truth_is_what_it_is_traced(
    some_program: Program, term: Term, snapshot: dict[str, Value | None]
) -> None:
    solver = Solver([some_program])
    solver.add(*fixed(snapshot))
    value = evaluate(term, snapshot).value
    for asked, expected in ((term, True), (Not(term), False), (Not(Known(term)), None)):
        answer = solver.check(asked)
        if value is expected:
            assert isinstance(answer, Model), asked
            assert answer.is_exact
            assert {key: answer.values[key] for key in reads([asked])} == {
                key: snapshot[key] for key in reads([asked])
            }
        else:
            assert answer == Impossible((0,)) or answer == Impossible(()), asked


@thorough
@given(term=number_terms, snapshot=snapshots)
def test_of_one_snapshot_a_number_is_what_it_is_traced(
    some_program: Program, term: Term, snapshot: dict[str, Value | None]
) -> None:
    solver = Solver([some_program])
    solver.add(*fixed(snapshot))
    value = evaluate(term, snapshot).value
    if value is None:
        assert isinstance(solver.check(Not(Known(term))), Model)
        assert isinstance(solver.check(Known(term)), Impossible)
    else:
        assert isinstance(solver.check(Compare("==", term, Const(value, Type.NUMBER))), Model)
        assert isinstance(solver.check(Compare("!=", term, Const(value, Type.NUMBER))), Impossible)
        assert isinstance(solver.check(Not(Known(term))), Impossible)


@pytest.mark.uncounted
@thorough
@given(terms=st.lists(rule_terms, min_size=1, max_size=4), seen=st.lists(near, max_size=30))
def test_a_model_makes_the_terms_true_and_where_there_is_none_no_snapshot_does(
    some_program: Program, terms: list[Term], seen: list[dict[str, Value | None]]
) -> None:
    answer = Solver([some_program]).check(*terms)
    if isinstance(answer, Model):
        assert answer.is_exact
        assert all(evaluate(term, answer.values).value is True for term in terms)
    else:
        assert isinstance(answer, Impossible)
        needed = [terms[index] for index in answer.core]
        for snapshot in seen:
            assert any(evaluate(term, snapshot).value is not True for term in needed)


@thorough
@given(terms=st.lists(truth_terms, min_size=1, max_size=3), seen=st.lists(snapshots, max_size=30))
def test_a_model_that_is_exact_makes_terms_of_any_shape_true(
    some_program: Program, terms: list[Term], seen: list[dict[str, Value | None]]
) -> None:
    answer = Solver([some_program], timeout_ms=300).check(*terms)
    if isinstance(answer, Model):
        if answer.is_exact:
            assert all(evaluate(term, answer.values).value is True for term in terms)
    elif isinstance(answer, Impossible):
        needed = [terms[index] for index in answer.core]
        for snapshot in seen:
            assert any(evaluate(term, snapshot).value is not True for term in needed)
    else:
        assert isinstance(answer, TimedOut)


# --- written policies ----------------------------------------------------------------------------


@of_files
@given(text=policies, data=st.data())
def test_of_written_policies_each_condition_is_what_it_is_traced(
    language: Any, text: str, data: st.DataObject
) -> None:
    program = language.compile(text)
    values = given_all(program, data.draw(random_values(program)))
    types = {key: slot.attribute.type for key, slot in program.slots.items()}
    solver = Solver([program])
    solver.add(*fixed(values, types))
    if isinstance(solver.check(), Impossible):
        assert contradicts_itself(values)
        return
    for clause in program.clauses:
        value = evaluate(clause.applies, values).value
        term = clause.applies
        for asked, expected in ((term, True), (Not(term), False), (Not(Known(term)), None)):
            assert isinstance(solver.check(asked), Model) is (value is expected)


@of_files
@given(text=policies)
def test_of_written_policies_a_model_of_each_outcome_is_traced_to_have_it(
    language: Any, text: str
) -> None:
    program = language.compile(text)
    solver = Solver([program])
    for clause in program.clauses:
        term = clause.applies
        for asked in (term, Not(term), Not(Known(term))):
            answer = solver.check(asked)
            assert not isinstance(answer, TimedOut)
            if isinstance(answer, Model) and answer.is_exact:
                assert evaluate(asked, answer.values).value is True
                assert all(
                    answer.values[key] is not None
                    for key in reads([asked])
                    if program.slots[key].attribute.always_known
                    and program.slots[key].argument != REQUESTED
                )


def given_all(program: Program, values: dict[str, Value | None]) -> dict[str, Value | None]:
    """The values with those that are always known, and the weekday of the date."""
    filled = dict(values)
    for key, slot in program.slots.items():
        if filled[key] is None and slot.attribute.always_known and slot.argument != REQUESTED:
            kind = slot.attribute.type
            domain = slot.attribute.domain or ("b",)
            is_text = kind in (Type.TEXT, Type.ENUM)
            filled[key] = domain[0] if is_text else kind is not Type.BOOL and 0
    if "date" in filled and "weekday" in filled:
        filled["weekday"] = (int(filled["date"] or 0) + 3) % 7
    return filled


def contradicts_itself(values: dict[str, Value | None]) -> bool:
    """Whether live values of one target fall where they must rise, or a budget does not add up."""
    orders = (("p50", "p90", "p95", "p99"), ("ttft.p50", "ttft.p95"))
    for order in orders:
        for index, low in enumerate(order):
            for key, value in values.items():
                name, _, rest = key.partition("(")
                highs = [values.get(f"{high}({rest}") for high in order[index + 1 :]]
                if name == low and value is not None:
                    if any(high is not None and int(high) < int(value) for high in highs):
                        return True
    limit, used, left = (values.get(f"budget(team).{part}") for part in ("limit", "used", "left"))
    if limit is not None and left is not None and int(left) > int(limit):
        return True
    whole = None if limit is None or used is None or left is None else int(used) + int(left)
    return whole is not None and whole != limit


# --- small worlds, tried out whole ---------------------------------------------------------------

SOME = ("ab", "free", "pro")
WORLD: dict[str, tuple[Value | None, ...]] = {
    **dict.fromkeys(NUMBERS, (None, 0, 1, 2)),
    **dict.fromkeys(WORDS, (None, *SOME)),
    **dict.fromkeys(FLAGS, (None, True, False)),
}


def of_world(program: Program) -> Program:
    """The program over snapshots of the small world, and no others."""
    attributes = [
        *(Attribute(name, Type.NUMBER, "", minimum=0, maximum=2) for name in NUMBERS),
        *(Attribute(name, Type.TEXT, "", domain=SOME) for name in WORDS),
        *(Attribute(name, Type.BOOL, "") for name in FLAGS),
    ]
    return replace(program, slots={a.name: Slot(a.name, a, None) for a in attributes})


def worlds(terms: list[Term]) -> list[dict[str, Value | None]]:
    """Every snapshot of the keys that the terms read."""
    keys = reads(terms)
    return [dict(zip(keys, row, strict=True)) for row in product(*(WORLD[key] for key in keys))]


def satisfied(terms: list[Term]) -> list[dict[str, Value | None]]:
    """The snapshots of the small world on which all terms are true."""
    tests = [compile_term(term) for term in terms]
    return [row for row in worlds(terms) if all(test(row) is True for test in tests)]


@thorough
@given(terms=st.lists(rule_terms, min_size=1, max_size=3))
def test_there_is_a_model_exactly_where_a_snapshot_of_all_makes_the_terms_true(
    some_program: Program, terms: list[Term]
) -> None:
    answer = Solver([of_world(some_program)]).check(*terms)
    assert isinstance(answer, Model) is bool(satisfied(terms))
    if isinstance(answer, Model):
        assert all(answer.values[key] in WORLD[key] for key in reads(terms))
        assert all(evaluate(term, answer.values).value is True for term in terms)
    else:
        assert isinstance(answer, Impossible)
        assert not satisfied([terms[index] for index in answer.core])


@thorough
@given(
    number=number_terms,
    terms=st.lists(rule_terms, max_size=1),
)
def test_the_greatest_value_is_that_of_all_snapshots(
    some_program: Program, number: Term, terms: list[Term]
) -> None:
    assume(len(reads([number, *terms])) < 6)  # else there are more snapshots than can be tried
    answer = Solver([of_world(some_program)]).greatest(number, *terms)
    value = compile_term(number)
    rows = satisfied([*terms, Known(number)])
    if not rows:
        assert isinstance(answer, Impossible)
    elif not isinstance(answer, TimedOut):
        assert isinstance(answer, tuple)
        greatest, model = answer
        assert evaluate(number, model.values).value == greatest
        assert all(evaluate(term, model.values).value is True for term in terms)
        assert greatest == max(int(value(row) or 0) for row in rows)


# --- texts ---------------------------------------------------------------------------------------

LETTERS = tuple("".join(row) for size in range(6) for row in product("ab", repeat=size))
short = st.sampled_from(LETTERS[:15])
tests_of_text = st.one_of(
    st.builds(TextTest, st.sampled_from(KINDS), st.just(Read("w1", Type.TEXT)), short),
    short.map(lambda text: Compare("==", Read("w1", Type.TEXT), Const(text, Type.TEXT))),
)


@pytest.mark.uncounted
@thorough
@given(
    tests=st.lists(st.tuples(tests_of_text, st.booleans()), min_size=1, max_size=6),
    order=st.randoms(),
)
def test_of_one_text_all_tests_are_possible_that_a_text_has_and_a_model_has_them(
    some_program: Program, tests: list[tuple[Term, bool]], order: Any
) -> None:
    terms: list[Term] = [term if is_true else Not(term) for term, is_true in tests]
    answer = Solver([some_program]).check(*terms)
    if isinstance(answer, Model):
        assert answer.is_exact
        assert all(evaluate(term, answer.values).value is True for term in terms)
    else:
        for text in LETTERS:
            assert any(evaluate(term, {"w1": text}).value is not True for term in terms)
    order.shuffle(terms)
    assert type(Solver([some_program]).check(*terms)) is type(answer)


three_words = st.sampled_from([Read(f"w{i}", Type.TEXT) for i in (1, 2, 3)])
tests_of_texts: st.SearchStrategy[Term] = st.one_of(
    st.builds(TextTest, st.sampled_from(KINDS), three_words, short),
    st.builds(TextTest, st.just("matches"), three_words, st.sampled_from(["^a+$", "b.", "aa|bb"])),
    st.builds(Compare, st.sampled_from(["==", "!="]), three_words, three_words),
    st.builds(lambda word, text: Compare("==", word, Const(text, Type.TEXT)), three_words, short),
)


@of_files
@given(
    tests=st.lists(st.tuples(tests_of_texts, st.booleans()), min_size=1, max_size=8),
)
def test_of_texts_that_are_compared_all_is_possible_that_texts_have(
    some_program: Program, tests: list[tuple[Term, bool]]
) -> None:
    terms: list[Term] = [term if is_true else Not(term) for term, is_true in tests]
    answer = Solver([some_program]).check(*terms)
    if isinstance(answer, Model):
        if answer.is_exact:
            assert all(evaluate(term, answer.values).value is True for term in terms)
    else:
        assert isinstance(answer, Impossible)
        needed = [compile_term(terms[index]) for index in answer.core]
        keys = reads([terms[index] for index in answer.core])
        for row in product(LETTERS[:15], repeat=len(keys)):
            values = dict(zip(keys, row, strict=True))
            assert not all(test(values) is True for test in needed)


# --- scopes --------------------------------------------------------------------------------------


@pytest.mark.uncounted
@thorough
@given(
    steps=st.lists(
        st.one_of(rule_terms.map(lambda term: ("add", term)), st.sampled_from(["push", "pop"])),
        max_size=10,
    ),
    asked=rule_terms,
)
def test_scopes_hold_what_was_added_in_them_and_in_those_around(
    some_program: Program, steps: list[Any], asked: Term
) -> None:
    solver = Solver([of_world(some_program)])
    held: list[list[Term]] = [[]]
    act: dict[str, Callable[[], None]] = {"push": solver.push, "pop": solver.pop}
    for step in steps:
        if step == "pop" and len(held) == 1:
            continue
        if isinstance(step, tuple):
            solver.add(step[1])
            held[-1].append(step[1])
        else:
            act[step]()
            held = [*held, []] if step == "push" else held[:-1]
        terms = [term for scope in held for term in scope]
        assert isinstance(solver.check(asked), Model) is bool(satisfied([*terms, asked]))
