"""What only some of a provider's models know is left out for the others, and named."""

from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters.limits import limits
from turnout.engine.provider import ProviderError
from turnout.engine.request import Operation

ANSWER = b'{"choices":[{"message":{"content":"x"}}]}'
BOTH = ["reasoning_effort", "verbosity"]


@pytest.mark.parametrize(
    ("kind", "model", "dropped"),
    [
        ("openai", "gpt-4o", BOTH),
        ("openai", "gpt-4.1-mini", BOTH),
        ("openai", "gpt-3.5-turbo", BOTH),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", BOTH),
        ("openai", "o3-mini", []),
        ("openai", "gpt-5", []),
        ("openai", "a-model-of-tomorrow", []),
        ("azure", "gpt-4o", BOTH),
        ("azure", "our-deployment", []),
        ("openrouter", "openai/gpt-4o", []),
    ],
)
async def test_effort_goes_only_to_models_that_reason(
    bench: Any, kind: str, model: str, dropped: list[str]
) -> None:
    seen: list[httpx.Request] = []
    at = "https://house.example/openai/v1" if kind == "azure" else None
    provider = bench.answering(kind, ANSWER, seen=seen, base_url=at)
    call = bench.chat(reasoning_effort="low", verbosity="low")
    call.upstream_model = model
    await provider.answer(call)
    sent = orjson.loads(seen[0].content)
    assert sorted(call.dropped) == dropped
    assert sorted(sent.keys() & set(BOTH)) == [name for name in BOTH if name not in dropped]


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("120", True),
        ("1m2.5s", True),
        ("6ms", True),
        ("2026-01-01T00:00:00Z", True),
        ("allowed_warning", True),
        ("0.75", True),
        ("sk-canary-0123456789abcdef", False),
        ("AKIA0123456789ABCDEF", False),
        ("house.example:8443", False),
        ("120, 60", False),
    ],
)
def test_the_headers_of_a_rate_limit_hold_nothing_else(value: str, passes: bool) -> None:
    name = "anthropic-ratelimit-unified-status"
    told = limits([(name.encode(), value.encode())], Operation.MESSAGES, 0.0)
    assert (told.get(name) == value) is passes


@pytest.mark.parametrize("kind", ["groq", "mistral"])
async def test_an_earlier_refusal_is_text_to_those_that_know_no_other(
    bench: Any, kind: str
) -> None:
    seen: list[httpx.Request] = []
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": "why?"},
    ]
    call = bench.chat(messages=turns)
    await bench.answering(kind, ANSWER, seen=seen).answer(call)
    sent = orjson.loads(seen[0].content)["messages"]
    assert sent[1] == {"role": "assistant", "content": "no"}


@pytest.mark.parametrize("empty", ["", None, []])
async def test_cohere_gets_no_turn_that_says_nothing(bench: Any, empty: Any) -> None:
    seen: list[httpx.Request] = []
    called = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": empty},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "a", "content": empty},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = bench.chat(messages=turns, tools=tools)
    await bench.answering("cohere", b'{"message":{}}', seen=seen).answer(call)
    sent = orjson.loads(seen[0].content)["messages"]
    assert [turn["role"] for turn in sent] == ["user", "user", "assistant", "tool"]
    assert sent[-1]["content"] == '""'


@pytest.mark.parametrize("kind", ["anthropic", "bedrock", "cohere", "gemini"])
async def test_what_no_other_wire_has_in_messages_is_named(bench: Any, kind: str) -> None:
    turns = [
        {"role": "user", "content": "hi", "name": "bob"},
        {"role": "assistant", "content": "hello", "audio": {"id": "audio_1"}},
        {"role": "user", "content": "go on"},
    ]
    call = bench.chat(messages=turns)
    with pytest.raises(ProviderError):
        await bench.answering(kind, b"{}", base_url="https://house.example").answer(call)
    assert call.sent
    assert call.dropped == ["messages.name", "messages.audio"]
