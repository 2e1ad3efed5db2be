"""Lists of models: which entries let a caller be answered by which target."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.granted import flaw, is_granted
from turnout.engine.names import Names

POLICY = """
routing_policy:
  - {name: all, route: openai/gpt-4o}
models:
  house-big: openai/gpt-4o
  house/big: openai/gpt-4o
  house-auto: policy
fallback_chain: [groq/llama-3-8b]
"""
PROGRAM = compile_policy(Source("test", POLICY), language_schema())
NAMES = Names(PROGRAM, PROGRAM.schema.catalog)
BIG, SMALL, LLAMA = "openai/gpt-4o", "openai/gpt-4o-mini", "groq/llama-3-8b"

CASES = [
    # the list, what is asked for, the target that would answer, and whether it may
    (None, "auto", BIG, True),
    ((), "auto", BIG, False),
    ((), BIG, BIG, False),
    # a target granted is granted by whatever name, and wherever the policy sends
    ((BIG,), BIG, BIG, True),
    ((BIG,), "gpt-4o", BIG, True),
    ((BIG,), "house-big", BIG, True),
    ((BIG,), "auto", BIG, True),
    ((BIG,), BIG, SMALL, False),
    ((BIG,), "house-big", LLAMA, False),
    (("openai/*",), "auto", SMALL, True),
    (("openai/*",), "auto", LLAMA, False),
    (("*/llama-3-8b",), "auto", LLAMA, True),
    (("*",), "auto", LLAMA, True),
    (("OpenAI/*",), BIG, BIG, False),
    (("openai/gpt-4",), BIG, BIG, False),
    (("openai/gpt-4o-*",), BIG, BIG, False),
    # a name granted is the target that it stands for, for who asks by it
    (("house-big",), "house-big", BIG, True),
    (("house-big",), BIG, BIG, False),
    (("house-big",), "gpt-4o", BIG, False),
    (("house-big",), "auto", BIG, False),
    (("house-big",), "house-big", LLAMA, False),
    (("gpt-4o",), "gpt-4o", BIG, True),
    (("gpt-4o",), "house-big", BIG, False),
    (("gpt-4o", LLAMA), "gpt-4o", LLAMA, True),
    # what the policy declares is a name, slash or not
    (("house/big",), "house/big", BIG, True),
    (("house/big",), BIG, BIG, False),
    (("house/big",), "house-big", BIG, False),
    (("house/*",), "house/big", BIG, False),
    # what leaves the choice to the policy stands for nothing
    (("auto",), "auto", BIG, False),
    (("house-auto",), "house-auto", BIG, False),
    (("gpt-*",), "gpt-4o", BIG, False),
]


@pytest.mark.parametrize(("models", "asked", "target", "may"), CASES)
def test_a_list_grants_what_it_says_and_nothing_else(
    models: tuple[str, ...] | None, asked: str, target: str, may: bool
) -> None:
    requested = NAMES.resolve(asked).target
    assert is_granted(models, asked, requested, PROGRAM, target) is may


def test_a_granted_name_follows_what_it_stands_for_and_a_granted_target_does_not() -> None:
    moved = replace(PROGRAM, models={**PROGRAM.models, "house-big": LLAMA})
    requested = Names(moved, moved.schema.catalog).resolve("house-big").target
    assert requested is not None and requested.id == LLAMA
    assert is_granted(("house-big",), "house-big", requested, moved, LLAMA)
    assert not is_granted(("house-big",), "house-big", requested, moved, BIG)
    assert not is_granted((BIG,), "house-big", requested, moved, LLAMA)


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=10))
def test_a_star_stands_for_any_text(pattern: str, target: str) -> None:
    meant = ".*".join(map(re.escape, pattern.split("*")))
    fits = re.fullmatch(meant, target, re.DOTALL) is not None and ("/" in pattern or pattern == "*")
    assert is_granted((pattern,), "auto", None, PROGRAM, target) is fits


@pytest.mark.parametrize("entry", ["", " a/b", "gpt-*", "a/b ", "**"])
def test_an_entry_that_could_grant_nothing_is_told(entry: str) -> None:
    assert flaw(entry) is not None


@pytest.mark.parametrize("entry", ["*", "openai/*", "gpt-4", "house/big", "*/gpt-4o"])
def test_an_entry_that_may_grant_something_has_no_flaw(entry: str) -> None:
    assert flaw(entry) is None
