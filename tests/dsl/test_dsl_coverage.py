"""What tests have seen of a policy: rules that fired, conditions seen both ways."""

import time

import pytest

from turnout import Policy
from turnout.dsl.atoms import atoms, deciding
from turnout.dsl.coverage import cover
from turnout.dsl.expect import run
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.parse import parse
from turnout.dsl.snapshot import read_given
from turnout.dsl.source import Source

POLICY = Policy.parse(
    """\
let:
  busy: weekday in Mon..Fri and time in 09:00..18:00
routing_policy:
  - name: small
    condition: tokens < 100 and not has_tools
    route: groq/llama-3-8b
  - name: at_work
    condition: busy or tier in ["pro", "enterprise"]
    route: openai/gpt-4
  - name: rest
    route: groq/llama-3-70b
"""
)
PROGRAM = POLICY.program
SMALL = {"tokens": 50, "at": "Tue 10:00"}
LARGE_AT_NIGHT = {"tokens": 500, "at": "Tue 23:00"}


def covered(*given_: dict[str, object]) -> dict[str, dict[str, tuple[str, ...]]]:
    found = cover(PROGRAM, [read_given(data, PROGRAM) for data in given_])
    return {rule.rule: {atom.text: atom.missing for atom in rule.atoms} for rule in found.rules}


def test_an_atom_is_the_smallest_written_condition() -> None:
    test = PROGRAM.clauses[1].test
    assert test is not None
    assert [evaluate(atom, {}).text for atom in atoms(test)] == [
        "weekday in Mon..Fri",
        "time in 09:00..18:00",
        'tier in ["pro", "enterprise"]',
    ]


def test_each_atom_counts_seen_true_and_seen_false() -> None:
    assert covered(SMALL)["small"] == {"tokens < 100": ("false",), "has_tools": ("true",)}
    assert covered(SMALL, LARGE_AT_NIGHT)["small"] == {
        "tokens < 100": (),
        "has_tools": ("true",),
    }


def test_a_rule_behind_the_one_that_fired_has_seen_nothing() -> None:
    assert set(covered(SMALL)["at_work"].values()) == {("true", "false")}


def test_the_percentage_is_that_of_rules_and_truths_and_is_rounded_down() -> None:
    found = cover(PROGRAM, [read_given(LARGE_AT_NIGHT, PROGRAM)])
    assert [rule.fired for rule in found.rules] == [0, 0, 1]
    # 3 rules and 5 atoms of two truths; 1 rule fired, 5 truths seen
    assert (found.covered, found.total, found.percent) == (6, 13, 46)


def test_an_unknown_condition_is_seen_neither_true_nor_false() -> None:
    policy = Policy.parse(
        "routing_policy:\n"
        '  - {name: a, condition: \'header["x-a"] == "1"\', route: openai/gpt-4}\n'
        "  - {name: rest, route: openai/gpt-4}\n"
    )
    found = cover(policy.program, [read_given({}, policy.program)])
    assert found.rules[0].atoms[0].missing == ("true", "false")


def test_places_are_those_of_the_file() -> None:
    found = cover(PROGRAM, [])
    assert [(rule.rule, rule.span.line) for rule in found.rules] == [
        ("small", 4),
        ("at_work", 7),
        ("rest", 10),
    ]
    assert [atom.span.line for atom in found.rules[1].atoms] == [2, 2, 8]


def test_what_decides_a_conjunction_is_what_is_false_in_it() -> None:
    snapshot = read_given({"tokens": 500, "at": "Sat 10:00"}, PROGRAM)
    told = []
    for clause in PROGRAM.clauses[:2]:
        assert clause.test is not None
        parts = deciding(clause.test, lambda term: evaluate(term, snapshot).value)
        told.append([evaluate(part, snapshot).text for part in parts])
    assert told == [["tokens < 100"], ["weekday in Mon..Fri", 'tier in ["pro", "enterprise"]']]


@pytest.mark.uncounted
def test_hundreds_of_rules_with_as_many_tests_are_covered_in_seconds() -> None:
    count = 400
    rules = "".join(
        f"  - {{name: r{i}, condition: tokens == {i} and stream, route: groq/llama-3-8b}}\n"
        for i in range(count)
    )
    tests = "".join(
        f"  - {{given: {{tokens: {i}, stream: true}}, expect: r{i}}}\n" for i in range(count)
    )
    text = f"routing_policy:\n{rules}tests:\n{tests}"
    program = Policy.parse(text).program
    began = time.process_time()
    outcomes = run(program, parse(Source("routing.yml", text)).tests)
    found = cover(program, [o.snapshot for o in outcomes if o.snapshot is not None])
    assert time.process_time() - began < 10  # under two here; a minute where each was traced
    assert all(outcome.passed for outcome in outcomes)
    assert [rule.fired for rule in found.rules] == [1] * count
    verdict = outcomes[-1].verdict
    assert verdict is not None and verdict.clause == count - 1
