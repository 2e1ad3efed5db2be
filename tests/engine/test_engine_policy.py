from pathlib import Path

import pytest

from turnout import Policy, PolicyError
from turnout.dsl.snapshot import Snapshot

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "policies" / "first.yml"

TWO_RULES = """\
routing_policy:
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: asked, condition: model != "auto", route: requested}
"""


@pytest.mark.parametrize(
    ("tokens", "rule", "route", "index"),
    [
        (80, "cheap_for_simple", "groq/llama-3-8b", 0),
        (300, "default", "openai/gpt-4", 2),
        ("8k", "smart_for_complex", "anthropic/claude-sonnet", 1),
    ],
)
def test_a_policy_decides_on_plain_values(
    tokens: int | str, rule: str, route: str, index: int
) -> None:
    decision = Policy.load(FIRST).decide({"tokens": tokens})
    assert (decision.rule, decision.route, decision.index) == (rule, route, index)


def test_a_policy_decides_on_a_snapshot() -> None:
    policy = Policy.load(str(FIRST))
    snapshot = Snapshot({"request_type": "chat", "tokens": 80})
    assert policy.decide(snapshot).rule == "cheap_for_simple"


@pytest.mark.parametrize("tokens", [0, 99, 100, 500, 501])
def test_an_explanation_agrees_with_the_decision(tokens: int) -> None:
    policy = Policy.load(FIRST)
    decision, explanation = policy.decide({"tokens": tokens}), policy.explain({"tokens": tokens})
    assert (explanation.rule, explanation.route) == (decision.rule, decision.route)
    assert explanation.policy == policy.digest
    assert len(explanation.trail) == len(policy.program.clauses)


def test_an_explanation_reads_as_text() -> None:
    text = str(Policy.load(FIRST).explain({"tokens": 300}))
    assert text.startswith("→ openai/gpt-4   rule default (3 of 3)\n  policy sha256:")
    assert "tokens < 100" in text and "300" in text


def test_no_rule_and_no_chain_is_no_route() -> None:
    policy = Policy.parse(TWO_RULES + "fallback_chain: [openai/gpt-4]\n")
    explanation = policy.explain({"tokens": 200})
    assert (explanation.rule, explanation.route) == (None, "openai/gpt-4")
    assert "no rule matched" in str(explanation)


@pytest.mark.parametrize(
    ("model", "target"), [("gpt-4o", "openai/gpt-4o"), ("no-such-model", None)]
)
def test_requested_is_resolved_as_the_gateway_would(model: str, target: str | None) -> None:
    policy = Policy.parse(
        TWO_RULES + "providers: {openai: {}, groq: {}}\nfallback_chain: [openai/gpt-4]\n"
    )
    explanation = policy.explain({"tokens": 200, "model": model})
    assert (explanation.rule, explanation.route, explanation.target) == (
        "asked",
        "requested",
        target,
    )


def test_a_broken_policy_raises_with_every_finding() -> None:
    with pytest.raises(PolicyError) as refused:
        Policy.parse(
            "routing_policy:\n"
            "  - {name: a, condition: tokns < 1, route: groq/llama-3-8b}\n"
            "  - {name: b, route: grok/llama-3-8b}\n",
            "routing.yml",
        )
    assert [finding.code for finding in refused.value.diagnostics] == ["RP101", "RP301"]
    assert str(refused.value).startswith("routing.yml:2:26: error[RP101]")


def test_warnings_do_not_stop_a_policy_and_are_kept() -> None:
    policy = Policy.parse(
        'routing_policy:\n  - {name: a, condition: tier == "free", route: groq/llama-3-8b}\n'
        "  - {name: b, route: openai/gpt-4}\n"
    )
    assert [finding.code for finding in policy.diagnostics] == ["RP117"]


def test_the_digest_follows_the_meaning_not_the_layout() -> None:
    text = FIRST.read_text()
    spaced = text.replace("tokens < 100", "tokens   <  100") + "\n# a remark\n"
    other = text.replace("tokens < 100", "tokens < 101")
    digest = Policy.parse(text).digest
    assert digest.startswith("sha256:") and len(digest) == 71
    assert Policy.parse(text, "another name").digest == digest
    assert Policy.parse(other).digest != digest
    assert Policy.parse(spaced).decide({"tokens": 5}).rule == "cheap_for_simple"
