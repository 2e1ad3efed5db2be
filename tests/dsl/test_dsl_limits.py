"""`require`: which targets it keeps a request from, and where the request goes then."""

from typing import Any

import pytest

from turnout.dsl.core import Program
from turnout.dsl.destination import Reached, reached
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.limits import Gate
from turnout.dsl.snapshot import Snapshot, read_snapshot

TEXT = """
attributes: {tier: [free, pro], tenant.region: [eu, us]}
targets:
  openai/gpt-4: {region: us, vision: true, tags: [slow, good]}
  groq/llama-3-8b: {region: eu, vision: false, tags: [fast]}
  anthropic/claude-sonnet: {vision: true}
require:
  - {name: eu_stays_in_eu, when: 'tenant.region == "eu"', target: 'region == "eu"'}
  - {name: images_need_eyes, when: has_images, target: vision}
  - {name: free_stays_cheap, when: 'tier == "free"', target: price_out <= $20/Mtok}
  - {name: long_wants_fast, when: tokens > 1k, target: '"fast" in tags or "good" in tags'}
routing_policy:
  - {name: any, condition: n > 1, route: {first_of: [openai/gpt-4, groq/llama-3-8b]}}
  - {name: asked, condition: stream, route: requested}
  - {name: default, route: openai/gpt-4}
fallback_chain: [anthropic/claude-sonnet, groq/llama-3-8b]
"""


@pytest.fixture(scope="module")
def program(language: Any) -> Program:
    found: Program = language.compile(TEXT)
    return found


def seen(program: Program, **given: object) -> Snapshot:
    region = given.pop("region", "us")
    base = {"tokens": 80, "tier": "pro"} | ({"tenant.region": region} if region else {})
    return read_snapshot(base | given, program)


def going(program: Program, snapshot: Snapshot) -> Reached:
    fired = trace(program, snapshot).clause
    return reached(program, fired, snapshot)


@pytest.mark.parametrize(
    ("given", "target", "limit"),
    [
        ({}, "openai/gpt-4", None),
        ({"region": "eu"}, "openai/gpt-4", "eu_stays_in_eu"),
        ({"region": "eu"}, "groq/llama-3-8b", None),
        ({"region": "eu"}, "anthropic/claude-sonnet", "eu_stays_in_eu"),  # its region is unknown
        ({"region": None}, "openai/gpt-4", "eu_stays_in_eu"),  # the caller's is: it could be eu
        ({"has_images": True}, "groq/llama-3-8b", "images_need_eyes"),
        ({"has_images": True}, "anthropic/claude-sonnet", None),
        ({"tier": "free"}, "openai/gpt-4", "free_stays_cheap"),
        ({"tier": "free"}, "groq/llama-3-8b", None),
        ({"tokens": 2000}, "anthropic/claude-sonnet", "long_wants_fast"),
        ({"tokens": 2000}, "openai/gpt-4", None),
    ],
)
def test_a_limit_applies_unless_false_and_passes_only_what_is_true(
    program: Program, given: dict[str, Any], target: str, limit: str | None
) -> None:
    snapshot = seen(program, **given)
    walked = Gate(program).excluding(target, lambda term: evaluate(term, snapshot).value)
    ran = Gate(program).excluding(target, lambda term: compile_term(term)(snapshot))
    assert walked == ran == limit


def test_a_choice_falls_on_what_no_limit_excludes(program: Program) -> None:
    assert going(program, seen(program, n=2)).target == "openai/gpt-4"
    kept = going(program, seen(program, n=2, region="eu"))
    assert kept.target == "groq/llama-3-8b"
    assert [option.excluded for option in kept.found.options] == ["eu_stays_in_eu", None]


def test_a_hop_that_a_limit_excludes_is_passed_over_with_the_limits_name(program: Program) -> None:
    passed = going(program, seen(program, tier="free"))
    assert passed.excluded == (("openai/gpt-4", "free_stays_cheap"),)
    assert passed.target == "anthropic/claude-sonnet"


def test_nothing_is_left_where_every_hop_is_excluded(program: Program) -> None:
    nowhere = going(program, seen(program, region="eu", has_images=True))
    assert (nowhere.first, nowhere.target) == (None, None)
    assert [limit for _, limit in nowhere.excluded] == [
        "eu_stays_in_eu",
        "eu_stays_in_eu",
        "images_need_eyes",
    ]


def test_a_gate_makes_the_terms_of_a_target_once(program: Program) -> None:
    gate = Gate(program)
    assert gate.limits_of("openai/gpt-4") is gate.limits_of("openai/gpt-4")
    assert gate.limits_of("openai/gpt-4") != gate.limits_of("groq/llama-3-8b")


def test_limits_read_the_request_and_their_slots_are_the_programs(program: Program) -> None:
    assert {"tenant.region", "has_images", "tier", "tokens"} <= {*program.slots}
    assert not any(key.startswith("target.") for key in program.slots)
    assert program.token_cuts == (1_000, 8_192, 131_072)  # the windows of the candidates, too


WRONG = [
    ('regin == "eu"', "RP101", "regin", "did you mean `region`?"),
    ("vision == 1", "RP111", "1", "vision == true"),
    ("price_out <= $5", "RP111", "price_out <= $5", ""),
    ("price_out <= 5", "RP110", "5", "$5/Mtok"),
    ("p95 < 5s", "RP116", "p95", "name the target"),
    ("region", "RP103", "region", "region =="),
    ('"fast" in tag', "RP101", "tag", ""),
]


@pytest.mark.parametrize(("target", "code", "excerpt", "help"), WRONG)
def test_a_limit_that_means_nothing_is_refused_at_its_place(
    language: Any, target: str, code: str, excerpt: str, help: str
) -> None:
    text = TEXT.replace("'region == \"eu\"'}", f"'{target}'}}", 1)
    program, findings = language.examine(text)
    assert program is None
    (finding,) = [f for f in findings if f.severity == "error"]
    assert (finding.code, finding.span.excerpt) == (code, excerpt)
    assert help in (finding.help or "")


def test_a_fact_of_a_target_is_nothing_that_a_rule_can_test(language: Any) -> None:
    program, findings = language.examine(language.one_rule('region == "eu"'))
    assert program is None
    (finding,) = findings
    assert (finding.code, finding.span.excerpt) == ("RP114", "region")
    assert "require" in finding.message
