import re
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout import Policy

from .conftest import Ran

FOLDER = Path(__file__).parents[2] / "policies"
POLICIES = sorted([*FOLDER.glob("*.yml"), FOLDER / "complete" / "routing.yml"])

# Kept word for word from where they were given, so not all rules have tests here.
LEAST = {"first": "error", "routing": "error"}

FIRST = """\
routing_policy:
  - name: "cheap_for_simple"
    condition: tokens < 100
    route: groq/llama-3-8b
  - name: "smart_for_complex"
    condition: tokens > 500
    route: anthropic/claude-sonnet
  - name: "default"
    route: openai/gpt-4
fallback_chain:
  - groq/llama-3-70b (timeout: 2s)
  - anthropic/claude-sonnet (timeout: 5s)
  - openai/gpt-4 (timeout: 10s)
"""


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_an_example_lints_clean_is_in_form_and_passes_its_tests(
    path: Path, command: Callable[[str], Ran]
) -> None:
    linted = command(f"policy lint {path} --fail-on {LEAST.get(path.stem, 'warning')}")
    assert linted.status == 0, linted.out
    form = command(f"policy fmt --check {path}")
    assert form.status == (path.stem == "first"), form.err
    tested = command(f"policy test {path}")
    assert tested.status == 0, tested.out


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_the_tests_of_an_example_reach_every_rule(path: Path) -> None:
    policy = Policy.load(path)
    outcomes = policy.test()
    if path.stem in LEAST:
        return
    reached = {outcome.rule for outcome in outcomes}
    assert reached == {clause.name for clause in policy.program.clauses}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_an_example_says_what_it_shows_and_how_to_try_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.stem in LEAST:
        return
    assert text.startswith("# ")
    assert f"policy lint policies/{path.name}" in text
    assert re.search(rf"policy explain policies/{path.name} --given", text)
    assert path.name in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_complete_example_uses_every_route_form() -> None:
    policy = Policy.load(FOLDER / "complete" / "routing.yml")
    kinds = {type(clause.plan.route).__name__ for clause in policy.program.clauses}
    assert kinds == {"Hop", "Choice", "Split", "Reject"}
    assert len(policy.test()) == 3


def test_the_first_file_is_kept_word_for_word() -> None:
    (first,) = (path for path in POLICIES if path.stem == "first")
    assert first.read_text(encoding="utf-8") == FIRST


def test_the_first_file_and_the_minimal_one_decide_alike() -> None:
    first, minimal = (Policy.load(path) for path in POLICIES if path.stem in ("first", "minimal"))
    for tokens in range(700):
        given = {"tokens": tokens}
        assert first.decide(given) == minimal.decide(given)
    assert [hop.target for hop in first.program.chain] == [
        hop.target for hop in minimal.program.chain
    ]
    assert [hop.clocks for hop in first.program.chain] == [
        hop.clocks for hop in minimal.program.chain
    ]
