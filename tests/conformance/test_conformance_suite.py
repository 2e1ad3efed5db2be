"""The suite itself, and what it says of the gateway in front of each provider's wire."""

import asyncio
import re
from collections import Counter

import pytest

from tests.e2e.conftest import Served
from turnout.conformance.api import Target
from turnout.conformance.run import Outcome, Result, run
from turnout.conformance.suite import AREAS, cases, chosen

from .conftest import KEY, PROVIDERS, Clean

# A model of each provider that is simulated, one that makes embeddings, and what is said not to be
# supported there: nothing is passed over in silence.
MODELS: dict[str, tuple[str, str | None, set[str]]] = {
    "anthropic": ("anthropic/claude-haiku-4-5", None, {"n", "logprobs", "top_logprobs"}),
    "gemini": ("gemini/gemini-2.5-flash", "gemini/gemini-embedding-001", set()),
    "cohere": ("cohere/command-a", "cohere/embed-v4.0", {"n", "top_logprobs"}),
    "bedrock": (
        "bedrock/amazon.nova-lite-v1:0",
        None,
        {"n", "logprobs", "top_logprobs", "response_format"},
    ),
    "groq": ("groq/llama-3.3-70b-versatile", None, {"n", "logprobs", "top_logprobs"}),
    "ollama": (
        "ollama/qwen2.5:3b",
        "ollama/nomic-embed-text",
        {"n", "tool_choice", "parallel_tool_calls", "strict"},
    ),
}
OPEN = (
    "keys are not looked at here",
    "answers are not for other origins",
    "no rate limits are told",
    "the model takes no images",
)
COUNTED = "the rules are published for gpt-3.5 and gpt-4 models"
UNEMBEDDED = "it needs an embedding model"


def failures(results: list[Result]) -> list[str]:
    return [f"{r.case.id}: {r.seen}" for r in results if r.outcome is Outcome.FAILED]


def test_there_are_cases_enough_in_every_area() -> None:
    assert len(cases()) >= 160
    counted = Counter(case.area for case in cases())
    assert set(counted) == {area.name for area in AREAS}
    assert min(counted.values()) >= 7


def test_each_case_has_an_id_of_its_own() -> None:
    ids = [case.id for case in cases()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+\.[a-z0-9-]+", id) for id in ids)


def test_each_case_says_in_a_sentence_what_is_expected_and_who_says_so() -> None:
    for case in cases():
        assert case.expects.endswith(".") and len(case.expects) < 130, case.id
        assert case.sources, case.id
        assert all(source.url.startswith("https://") for source in case.sources), case.id


def test_areas_and_cases_are_chosen_by_name() -> None:
    assert {case.area for case in chosen(["tools", "models"])} == {"tools", "models"}
    assert "tools" not in {case.area for case in chosen(skip=["tools"])}
    assert [case.id for case in chosen(ids=["tools.auto-is-taken"])] == ["tools.auto-is-taken"]
    for names in ({"only": ["toys"]}, {"skip": ["toys"]}, {"ids": ["tools.no-such-case"]}):
        with pytest.raises(KeyError):
            chosen(**names)


def test_each_wire_that_is_simulated_here_has_a_model() -> None:
    assert {"openai", *MODELS} == set(PROVIDERS)


def test_the_gateway_conforms_in_front_of_openai(clean: Clean) -> None:
    assert failures(clean.results) == []
    assert not [r.case.id for r in clean.results if r.outcome is Outcome.NOT_OFFERED]
    reasons = Counter(r.seen for r in clean.results if r.outcome is Outcome.SKIPPED)
    assert set(reasons) <= set(OPEN)


@pytest.mark.parametrize("provider", MODELS)
def test_the_gateway_conforms_in_front_of_another_wire(provider: str, gateway: Served) -> None:
    model, embedding_model, not_taken = MODELS[provider]
    target = Target(f"{gateway.url}/v1", model, KEY, embedding_model)
    results = asyncio.run(run(target, cases()))
    assert failures(results) == []
    reasons = {r.seen or "" for r in results if r.outcome is Outcome.SKIPPED}
    reasons -= {*OPEN, COUNTED, UNEMBEDDED}
    found = {reason: re.match(r"the model does not take `(\w+)`: ", reason) for reason in reasons}
    assert {match and match.group(1) for match in found.values()} == not_taken, found
