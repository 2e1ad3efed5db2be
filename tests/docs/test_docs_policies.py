"""What policies/README.md says of the two examples that are kept as they were given."""

from collections import Counter
from pathlib import Path

from turnout.engine.policy import Policy

FOLDER = Path(__file__).parents[2] / "policies"


def warned(name: str) -> Counter[str]:
    found = Policy.load(FOLDER / name).diagnostics
    return Counter(one.code for one in found if one.severity == "warning")


def test_the_complete_example_is_warned_of_what_the_page_says() -> None:
    policy = Policy.load(FOLDER / "complete" / "routing.yml")
    assert warned("complete/routing.yml") == {"RP501": 7, "RP305": 2}
    fired = {outcome.rule for outcome in policy.test()}
    assert (len(fired), len(policy.program.clauses)) == (3, 10)


def test_the_first_example_has_no_tests_and_no_warning() -> None:
    assert Policy.load(FOLDER / "first.yml").test() == ()
    assert not warned("first.yml")
