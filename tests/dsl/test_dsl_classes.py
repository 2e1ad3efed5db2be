"""What is kept of a caller's text decides the same, and is never the text itself."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from turnout.dsl.check import compile_policy
from turnout.dsl.classes import OTHER, TextClasses, text_classes
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

KEY = "header.x-team"
POLICY = """
routing_policy:
  - {name: a, condition: 'header["x-team"] == "search"', route: openai/gpt-4}
  - {name: b, condition: 'header["x-team"] in ["ads", "Ads"]', route: openai/gpt-4}
  - {name: c, condition: 'header["x-team"] starts_with "sea"', route: openai/gpt-4}
  - {name: d, condition: 'not (header["x-team"] ends_with "ops") and header["x-team"] has "de"',
     route: openai/gpt-4}
  - {name: e, condition: '(header["x-team"] ?? "none") != "none"', route: openai/gpt-4}
  - {name: f, condition: 'known(header["x-team"])', route: openai/gpt-4}
"""
PROGRAM = compile_policy(Source("test", POLICY), language_schema())
CLASSES = text_classes(PROGRAM, [KEY])[KEY]
INDEX = compile_program(PROGRAM)

words = st.sampled_from(["search", "sea", "ops", "de", "ads", "none", "dev", "x", "…", "é", ""])
texts = st.lists(words, max_size=4).map("".join) | st.text(max_size=12)


def index(text: str) -> int:
    return INDEX(Snapshot({"request_type": "chat", KEY: text}))


def test_the_tests_of_a_text_are_found_wherever_they_stand() -> None:
    assert CLASSES == TextClasses(
        equal=frozenset({"search", "ads", "Ads", "none"}),
        prefixes=frozenset({"sea"}),
        suffixes=frozenset({"ops"}),
        parts=frozenset({"de"}),
    )


@given(text=texts)
def test_a_representative_decides_the_same(text: str) -> None:
    kept = CLASSES.representative(text)
    assume(kept is not None)
    assert kept is not None
    assert CLASSES.outcomes(kept) == CLASSES.outcomes(text)
    assert index(kept) == index(text)


@given(text=st.text(min_size=3, max_size=30))
def test_a_text_that_no_rule_names_is_not_kept(text: str) -> None:
    assume(CLASSES.outcomes(text) == CLASSES.outcomes(OTHER))
    assert CLASSES.representative(text) == OTHER


def test_a_text_compared_with_another_has_no_class() -> None:
    policy = """
routing_policy:
  - {name: a, condition: 'header["x-tenant"] == tenant', route: openai/gpt-4}
"""
    program = compile_policy(Source("test", policy), language_schema())
    classes = text_classes(program, ["header.x-tenant"])["header.x-tenant"]
    assert classes.is_opaque
    assert classes.representative("acme") is None


def test_a_text_that_matches_a_pattern_is_told_from_one_that_does_not(language: Any) -> None:
    program = language.compile(language.one_rule('header["x-team"] matches "^team-[0-9]+$"'))
    classes = text_classes(program, ["header.x-team"])["header.x-team"]
    assert classes.outcomes("team-7") != classes.outcomes("team-x")
    assert classes.representative("anything else") == "…"
    assert classes.representative("team-7") is None  # nothing of the policy's own matches it
