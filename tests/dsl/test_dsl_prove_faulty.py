"""A solver that is wrong: what it says is run before it is believed, and is never shown."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from turnout.dsl.compare import compare
from turnout.dsl.core import Program, Read, Term
from turnout.dsl.interpret import smt
from turnout.dsl.interpret.traced import trace
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.logic import is_true
from turnout.dsl.prove import MOST_ROUNDS, NotDecided, Proved, Prover, ProverError, Witness
from turnout.dsl.schema import Type
from turnout.dsl.source import Source

from .conftest import SCHEMA, TODAY, Language

WRONG = 10**6  # tokens that nobody asked for
TEXT = """routing_policy:
  - {name: a, condition: tokens < 9, route: openai/gpt-4}
  - {name: b, condition: tokens < 99 and has_tools, route: openai/gpt-4o}
  - {name: c, condition: tokens > 100, route: openai/gpt-4}
invariants: [{name: i, never: tokens < 5 and route == "openai/gpt-4"}]
"""


class Faulty:
    """Spoils the models of all solvers: those that `is_wrong` says, by their number."""

    def __init__(self) -> None:
        self.models = 0
        self.is_wrong: Callable[[int], bool] = lambda number: True
        self.is_exact = True

    def spoilt(self, model: smt.Model) -> smt.Model:
        self.models += 1
        if not self.is_wrong(self.models):
            return model
        values = {**model.values, "tokens": WRONG}
        return replace(model, values=values, is_exact=self.is_exact)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """From here on every model has a prompt that is far too long."""
    faults = Faulty()
    check: Callable[..., Any] = smt.Solver.check
    greatest: Callable[..., Any] = smt.Solver.greatest

    def wrong_check(solver: smt.Solver, *terms: Term) -> Any:
        answer = check(solver, *terms)
        return faults.spoilt(answer) if isinstance(answer, smt.Model) else answer

    def wrong_greatest(solver: smt.Solver, term: Term, *terms: Term) -> Any:
        answer = greatest(solver, term, *terms)
        return (answer[0], faults.spoilt(answer[1])) if isinstance(answer, tuple) else answer

    monkeypatch.setattr(smt.Solver, "check", wrong_check)
    monkeypatch.setattr(smt.Solver, "greatest", wrong_greatest)
    return faults


@pytest.fixture
def program(language: Language) -> Program:
    return language.compile(TEXT)


def short(program: Program) -> Term:
    return is_true(program.clauses[0].applies)


TOKENS = Read("tokens", Type.NUMBER)


def test_a_wrong_model_is_a_report_of_what_was_asked(faulty: Faulty, program: Program) -> None:
    for ask in (Prover(program).find, Prover(program).sample):
        with pytest.raises(ProverError) as caught:
            ask(short(program))
        first, *rest = str(caught.value).splitlines()
        assert "was not confirmed" in first
        assert f"policy: {program.digest}" in rest
        assert "with: tokens = 1000000" in rest
        assert any(line.startswith("asked: ") and "tokens < 9" in line for line in rest)


def test_a_wrong_greatest_value_is_a_report(faulty: Faulty, program: Program) -> None:
    with pytest.raises(ProverError):
        Prover(program).greatest(TOKENS, short(program))


def test_a_wrong_model_of_opaque_tests_is_ruled_out_and_the_search_goes_on(
    faulty: Faulty, program: Program
) -> None:
    faulty.is_exact = False
    faulty.is_wrong = lambda number: number < 3
    answer = Prover(program).find(short(program))
    assert isinstance(answer, Witness)
    assert faulty.models == 3
    assert trace(program, answer.snapshot).clause == 0


def test_where_all_models_of_opaque_tests_are_wrong_it_is_not_decided(
    faulty: Faulty, program: Program
) -> None:
    faulty.is_exact = False
    assert Prover(program).find(short(program)) == NotDecided("opaque")
    assert 1 < faulty.models <= MOST_ROUNDS + 1
    assert Prover(program).greatest(TOKENS, short(program)) == NotDecided("opaque")


def test_what_has_no_model_is_proved_all_the_same(faulty: Faulty, language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 9 and tokens > 99"))
    assert Prover(program).find(short(program)) == Proved()
    assert faulty.models == 0


def linted() -> Linted:
    return lint(Source("routing.yml", TEXT), SCHEMA, TODAY, prover=Prover)


def test_lint_says_nothing_that_was_not_confirmed(faulty: Faulty) -> None:
    with pytest.raises(ProverError):
        linted()
    faulty.is_exact = False
    found = {finding.code for finding in linted().findings}
    assert "RP209" in found
    assert not {"RP203", "RP320"} & found


def test_diff_says_nothing_that_was_not_confirmed(
    faulty: Faulty, program: Program, language: Language
) -> None:
    other = language.compile(TEXT.replace("99", "98"))
    with pytest.raises(ProverError):
        compare(program, other, Prover)
    faulty.is_exact = False
    found = compare(program, other, Prover)
    assert (found.verdict, found.changes) == ("not_decided", ())
    assert {one.reason for one in found.open} == {"opaque"}
