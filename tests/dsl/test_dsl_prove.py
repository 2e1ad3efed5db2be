"""Questions are answered by a proof that no snapshot breaks, or by a request that confirms."""

from collections.abc import Callable
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
    thorough,
)
from tests.dsl.conftest import Language
from turnout.dsl.core import Compare, Const, Or, Program, Read, Term
from turnout.dsl.given import as_given
from turnout.dsl.interpret import smt
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.logic import TRUE
from turnout.dsl.paths import Paths, fires, worlds
from turnout.dsl.prove import (
    NotDecided,
    Proved,
    Prover,
    ProverError,
    Witness,
    is_not_true,
    is_true,
)
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot, read_snapshot


def applies(program: Program, rule: str = "first") -> Term:
    return next(clause.applies for clause in program.clauses if clause.name == rule)


def said(language: Language, condition: str, head: str = "") -> dict[str, Any] | str:
    """The witness of a condition as a test would write it, or why there is none."""
    program = language.compile(language.one_rule(condition, head))
    answer = Prover(program).find(applies(program))
    if isinstance(answer, Witness):
        return as_given(answer.snapshot, program)
    return "never" if isinstance(answer, Proved) else answer.reason


ENUM = "attributes: {tier: [free, pro], team: [search, ads]}"


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("tokens < 100", {"tokens": 0}),
        ("tokens > 100", {"tokens": 101}),
        ("tokens >= 8k", {"tokens": 8_000}),
        ("tokens > 8k and tokens < 8001", "never"),
        ("tokens * 3 > 1000", {"tokens": 1_000}),
        ("max_tokens > tokens", {"max_tokens": 1_000}),
        ('tier == "free"', {"tier": "free"}),
        ('tier != "free"', {}),
        ('tier not in ["free", "pro", "default"]', "never"),
        ('team != "search"', {"team": "ads"}),
        ("not known(team)", {}),
        ("known(team)", {"team": "search"}),
        ('user starts_with "ab" and user ends_with "yz"', {"user": "ab…yz"}),
        ('user has "b" and user == "abc"', {"user": "abc"}),
        ('user starts_with "ab" and user starts_with "b"', "never"),
        ("has_tools and not has_images", {"has_tools": True}),
        ("temperature > 0.7", {"temperature": "0.8"}),
        ('p95("openai/gpt-4") > 8s', {"p95(openai/gpt-4)": "9s"}),
        ('error_rate("openai/gpt-4") > 5%', {"error_rate(openai/gpt-4)": "6%"}),
        ('budget("team").left < $5', {"budget(team).left": "$0"}),
        ('cost("openai/gpt-4") > $1', {"expected_output(openai/gpt-4)": 0}),
        ("time in 22:00..06:00", {"at": "22:00"}),
        ("weekday in Sat..Sun", {"at": "Sat"}),
        ("weekday == Sat and time in 09:00..17:00", {"at": "Sat 12:00"}),
        ("date >= 2026-10-01 and weekday == Sun", {"at": "2026-10-04"}),
        ("date == 2026-10-01 and weekday == Sun", "never"),
        ('similar_to("words") > 0.8', {}),
        ('matches("(?i)^fix")', {"matches((?i)^fix)": True}),
        ('not matches("^fix") and not known(matches("^fix"))', "never"),
        ('bucket("canary") < 500', {}),
        ("tokens < 0", "never"),
        ("known(tokens)", {}),
        ("not known(tier)", "never"),
        ('p50("openai/gpt-4") > p99("openai/gpt-4")', "never"),
        ('budget("team").left > budget("team").limit', "never"),
    ],
)
def test_the_answer_reads_as_people_would_write_it(
    language: Language, condition: str, wanted: dict[str, Any] | str
) -> None:
    head = (
        f"{ENUM}\nlists: {{words: [fix]}}\nembed: {{target: openai/gpt-4o, timeout: 300ms}}\n"
        "budgets: [{name: team, scope: team, limit: $20/day}]"
    )
    answer = said(language, condition, head)
    if isinstance(wanted, str):
        assert answer == wanted
    else:
        assert isinstance(answer, dict)
        assert wanted.items() <= answer.items()


# --- laws ----------------------------------------------------------------------------------------


def is_of_a_gateway(program: Program, seen: Snapshot, left_out: tuple[str, ...] = ()) -> bool:
    """Whether a snapshot has what every request has, in range, and holds together."""
    for key, slot in program.slots.items():
        attribute, value = slot.attribute, seen[key]
        if value is None:
            may_lack = slot.argument == "requested" or key.startswith(left_out)
            if attribute.always_known and not may_lack:
                return False
        elif attribute.domain is not None:
            if value not in attribute.domain:
                return False
        elif isinstance(value, int):
            low, high = attribute.minimum, attribute.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                return False
    return all(evaluate(term, seen).value is True for term in worlds(program))


@pytest.mark.uncounted
@of_files
@given(st.data(), policies)
def test_what_is_proved_no_snapshot_breaks_and_every_witness_decides_so(
    language: Language, data: st.DataObject, text: str
) -> None:
    program = language.compile(text)
    prover = Prover(program)
    samples = [Snapshot(dict(values)) for values in data.draw(several_values(program))]
    gateways = [seen for seen in samples if is_of_a_gateway(program, seen)]
    of_program = Paths(program)
    for clause in program.clauses:
        answer = prover.find(fires(program, clause.index))
        if isinstance(answer, Witness):
            seen = answer.snapshot
            assert trace(program, seen).clause == clause.index
            # By hand a bucket is left out where nobody cares what it is.
            assert is_of_a_gateway(program, seen, ("bucket", "session"))
            again = read_snapshot(as_given(seen, program), program)
            assert {key: again[key] for key in program.slots} == {
                key: seen[key] for key in program.slots
            }
        elif isinstance(answer, Proved):
            assert all(trace(program, seen).clause != clause.index for seen in gateways)
        for path in of_program.of(clause):
            with prover.assuming(fires(program, clause.index)):
                reached = prover.find(path.when)
            if isinstance(reached, Witness):
                assert evaluate(path.when, reached.snapshot).value is True
            elif isinstance(reached, Proved):
                assert not any(
                    trace(program, seen).clause == clause.index
                    and evaluate(path.when, seen).value is True
                    for seen in gateways
                )


@pytest.mark.uncounted
@thorough
@given(st.lists(rule_terms, min_size=1, max_size=4), st.lists(near, min_size=20, max_size=20))
def test_random_conditions_are_answered_as_snapshots_say(
    some_program: Program, terms: list[Term], seen: list[dict[str, Value | None]]
) -> None:
    program = program_of(terms, some_program)
    wanted = [is_true(terms[0]), *(is_not_true(term) for term in terms[1:])]
    answer = Prover(program).find(*wanted)
    if isinstance(answer, Witness):
        assert all(evaluate(term, answer.snapshot).value is True for term in wanted)
    elif isinstance(answer, Proved):
        for values in seen:
            assert not all(evaluate(term, values).value is True for term in wanted)


@thorough
@given(rule_terms, st.lists(rule_terms, min_size=1, max_size=5))
def test_blockers_are_enough_and_none_of_them_is_spare(
    some_program: Program, wanted: Term, others: list[Term]
) -> None:
    program = program_of([wanted, *others], some_program)
    prover = Prover(program)
    left = [is_not_true(term) for term in others]
    found = prover.blockers(is_true(wanted), left)
    whole = prover.find(is_true(wanted), *left)
    if found is None:
        assert not isinstance(whole, Proved)
        return
    chosen = [left[index] for index in found]
    assert isinstance(prover.find(is_true(wanted), *chosen), Proved)
    for index in range(len(chosen)):
        fewer = chosen[:index] + chosen[index + 1 :]
        assert not isinstance(prover.find(is_true(wanted), *fewer), Proved)


@pytest.fixture(scope="session")
def some_program(language: Language) -> Program:
    return language.compile(language.one_rule("tokens < 100"))


# --- what is asked, and what stands in the way ---------------------------------------------------


def test_blockers_name_the_rules_that_take_all(language: Language) -> None:
    program = language.compile(
        "attributes: {tier: [free, pro]}\nrouting_policy:\n"
        '  - {name: free, condition: tier != "pro", route: openai/gpt-4}\n'
        '  - {name: tools, condition: has_tools and tier == "pro", route: openai/gpt-4}\n'
        '  - {name: long, condition: tokens > 8k and tier == "pro", route: openai/gpt-4}\n'
        '  - {name: short, condition: tokens <= 8k and tier == "pro", route: openai/gpt-4}\n'
        "  - {name: dead, condition: has_images, route: openai/gpt-4}\n"
        "  - {name: default, route: openai/gpt-4}\n"
    )
    prover = Prover(program)
    left = [is_not_true(clause.applies) for clause in program.clauses]
    assert prover.blockers(is_true(applies(program, "dead")), left[:4]) == (0, 2, 3)
    assert prover.blockers(is_true(applies(program, "short")), left[:3]) is None
    assert prover.blockers(is_true(applies(program, "dead")), []) is None


def test_what_is_never_true_is_blocked_by_nothing(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 100 and tokens > 200"))
    assert Prover(program).blockers(is_true(applies(program)), [is_true(applies(program))]) == ()


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("tokens < 100", 99),
        ("tokens < 100 and tokens > 200", None),
        ("tokens * 2 + max_tokens < 100 and max_tokens > 10", 44),
        ("tokens / messages <= 30 and messages < 5", 120),
        ("known(tokens)", 2**63 - 1),
    ],
)
def test_the_greatest_value_comes_with_the_request_that_has_it(
    language: Language, condition: str, wanted: int | None
) -> None:
    program = language.compile(language.one_rule(condition))
    tokens = Read("tokens", Type.NUMBER)
    answer = Prover(program).greatest(tokens, is_true(applies(program)))
    if wanted is None:
        assert isinstance(answer, Proved)
    else:
        assert isinstance(answer, tuple)
        most, witness = answer
        assert most == wanted == witness.snapshot["tokens"]
        assert trace(program, witness.snapshot).clause == 0


def test_what_is_assumed_holds_until_the_block_ends(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    prover = Prover(program)
    short = is_true(applies(program))
    with prover.assuming(short):
        assert isinstance(prover.find(short), Witness)
        prover.assume(is_not_true(applies(program)))
        assert isinstance(prover.find(), Proved)
    assert isinstance(prover.find(), Witness)
    with prover.assuming(is_not_true(applies(program))):
        assert isinstance(prover.find(short), Proved)
        answer = prover.find()
        assert isinstance(answer, Witness)
        assert trace(program, answer.snapshot).clause != 0
    assert isinstance(prover.find(short), Witness)


@pytest.mark.parametrize(
    "condition",
    [
        'user matches "^[ab]+$" and user matches "^[cd]+$"',
        'user matches "^[0-9]{4}$" and user matches "^[0-9]{5}$"',
    ],
)
def test_patterns_that_no_text_was_found_for_are_not_decided(
    language: Language, condition: str
) -> None:
    assert said(language, condition) == "opaque"


def test_no_time_is_left_is_not_decided(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    prover = Prover(program, time_left=lambda: 0.0)
    wanted = is_true(applies(program))
    assert prover.find(wanted) == NotDecided("time")
    assert prover.greatest(Read("tokens", Type.NUMBER), wanted) == NotDecided("time")
    assert prover.blockers(wanted, [is_not_true(applies(program))]) is None


def test_the_solver_gets_no_more_time_than_there_is(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    given: list[int] = []
    check: Callable[..., Any] = smt.Solver.check

    def noting(solver: smt.Solver, *terms: Term) -> Any:
        given.append(solver.timeout_ms)
        return check(solver, *terms)

    monkeypatch.setattr(smt.Solver, "check", noting)
    left = [9.0]
    prover = Prover(program, time_left=lambda: left[0], check_ms=700)
    prover.find(is_true(applies(program)))
    left[0] = 0.5
    prover.find(is_not_true(applies(program)))
    assert given == [700, 500]


def test_a_witness_that_is_not_confirmed_is_a_report(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    with pytest.raises(ProverError) as caught:
        Prover(program).find(is_true(applies(program)), confirm=lambda seen: False)
    report = str(caught.value)
    assert program.digest in report
    assert "tokens < 100" in report
    assert "with: tokens = " in report


def test_a_confirmation_that_opaque_tests_spoil_is_not_decided(language: Language) -> None:
    program = language.compile(language.one_rule('user matches "^a+$" and user != "a"'))
    answer = Prover(program).find(is_true(applies(program)), confirm=lambda seen: False)
    assert answer == NotDecided("opaque")


def test_the_same_question_has_the_same_answer(language: Language) -> None:
    text = language.one_rule('(tokens * 7 > 1234 or user has "x") and not has_tools', ENUM)
    answers = [
        Prover(program).find(is_true(applies(program)))
        for program in (language.compile(text), language.compile(text))
    ]
    assert answers[0] == answers[1]


# --- what was asked for --------------------------------------------------------------------------

REQUESTED = """
targets: {openai/gpt-4: {region: us}, groq/llama-3-8b: {region: eu}}
require: [{name: eu, when: has_tools, target: region == "eu"}]
routing_policy:
  - {name: asked, condition: tokens < 100, route: requested}
  - {name: default, route: groq/llama-3-8b}
"""


def test_a_target_that_was_asked_for_comes_with_its_name(language: Language) -> None:
    program = language.compile(REQUESTED)
    prover = Prover(program)
    found = {}
    for path in Paths(program).of(program.clauses[0]):
        answer = prover.find(fires(program, 0), path.when)
        found[path.target] = (
            as_given(answer.snapshot, program) if isinstance(answer, Witness) else answer
        )
    assert found["groq/llama-3-8b"] == {"tokens": 0, "model": "groq/llama-3-8b"}
    assert found["openai/gpt-4"] == {"tokens": 0, "model": "openai/gpt-4"}
    assert found["requested"] == NotDecided("opaque")


def test_a_limit_keeps_what_was_asked_for_out(language: Language) -> None:
    program = language.compile(REQUESTED)
    prover = Prover(program)
    tools = Read("has_tools", Type.BOOL)
    by_target = {path.target: path.when for path in Paths(program).of(program.clauses[0])}
    assert isinstance(prover.find(by_target["openai/gpt-4"], tools), Proved)
    assert isinstance(prover.find(by_target["groq/llama-3-8b"], tools), Witness)


def test_once_the_time_is_over_no_term_is_made_into_a_formula(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 5"))
    many = Or(
        tuple(
            Compare("==", Read("tokens", Type.NUMBER), Const(one, Type.NUMBER))
            for one in range(5_000)
        )
    )
    looked = iter(range(1_000_000))
    # The time runs out while the formulas are made: the clock is looked at some times only.
    prover = Prover(program, time_left=lambda: 1.0 if next(looked) < 6 else -1.0)
    assert prover.find(many) == NotDecided("time")
    assert next(looked) < 100
    with prover.assuming(many):
        assert prover.find(TRUE) == NotDecided("time")
        assert prover.greatest(Read("tokens", Type.NUMBER)) == NotDecided("time")


def test_a_known_request_spares_the_search_for_the_greatest(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 500"))
    takes = is_true(program.clauses[0].applies)
    tokens = Read("tokens", Type.NUMBER)
    for known in (None, Snapshot({"tokens": 7}), Snapshot({"tokens": 900})):
        found = Prover(program).greatest(tokens, takes, near=known)
        assert isinstance(found, tuple)
        assert (found[0], found[1].snapshot["tokens"]) == (499, 499)
