"""The archive of a program keeps the order of a split's arms, and no other order of keys."""

from typing import Any

from turnout.dsl.check import restore
from turnout.dsl.core import Split

NEW, OLD = "openai/gpt-4o", "groq/llama-3-8b"


def policy(split: str) -> str:
    return f"routing_policy:\n  - {{name: canary, route: {{split: {split}, sticky: session}}}}\n"


def test_arms_the_other_way_round_are_another_policy(language: Any) -> None:
    one = language.compile(policy(f"{{{NEW}: 50%, {OLD}: 50%}}"))
    other = language.compile(policy(f"{{{OLD}: 50%, {NEW}: 50%}}"))
    assert one.digest != other.digest


def test_a_restored_split_has_its_arms_in_the_order_they_had(language: Any) -> None:
    program = language.compile(policy(f"{{{NEW}: 50%, {OLD}: 50%}}"))
    again = restore(program.canonical, language.schema)
    for route in (program.clauses[0].plan.route, again.clauses[0].plan.route):
        assert isinstance(route, Split)
        assert [arm.hop.target for arm in route.arms] == [NEW, OLD]
    assert again.digest == program.digest


def test_the_order_of_other_keys_makes_no_other_policy(language: Any) -> None:
    one = language.compile("routing_policy: [{name: a, condition: tokens < 5, route: requested}]")
    other = language.compile("routing_policy: [{route: requested, condition: tokens < 5, name: a}]")
    assert one.digest == other.digest
