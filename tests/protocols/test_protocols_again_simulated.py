"""A simulated provider's streams, whole: what it answers at once; and the reverse."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.protocols.again import Json, asked, data_of
from turnout.engine.request import Operation
from turnout.protocols.forms import FORMS
from turnout.simulator.anthropic import AnthropicWire
from turnout.simulator.openai import OpenAIWire
from turnout.simulator.reply import Stream, Whole

# Made anew for every answer.
_FRESH = frozenset(("id", "call_id", "created", "created_at", "completed_at", "encrypted_content"))
USAGE = {"stream_options": {"include_usage": True}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "now")
]
FLAT = [{"type": "function", **tool["function"]} for tool in TOOLS]  # type: ignore[dict-item]
GIVEN = [
    {"name": "weather", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
]


def openai(path: str) -> Callable[[], Any]:
    return lambda: OpenAIWire("openai").endpoint(path)


def anthropic() -> Any:
    return AnthropicWire().endpoint("/v1/messages")


def said(text: str, **members: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], **members}


CHAT, COMPLETIONS = openai("/v1/chat/completions"), openai("/v1/completions")
RESPONSES = openai("/v1/responses")
CASES: dict[str, tuple[Operation, Callable[[], Any], Json]] = {
    "chat": (Operation.CHAT, CHAT, said("hi", model="gpt-4o", **USAGE)),
    "chat_of_three": (Operation.CHAT, CHAT, said("hi", model="gpt-4o", n=3, **USAGE)),
    "chat_that_calls": (
        Operation.CHAT,
        CHAT,
        said("call weather", model="gpt-4o", tools=TOOLS, **USAGE),
    ),
    "chat_with_logprobs": (
        Operation.CHAT,
        CHAT,
        said("hi", model="gpt-4o", logprobs=True, top_logprobs=2, **USAGE),
    ),
    "completions": (
        Operation.COMPLETIONS,
        COMPLETIONS,
        {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "max_tokens": 99, **USAGE},
    ),
    "responses": (Operation.RESPONSES, RESPONSES, {"model": "gpt-4o", "input": "hi"}),
    "responses_that_refuse": (
        Operation.RESPONSES,
        RESPONSES,
        {"model": "gpt-4o", "input": "refuse"},
    ),
    "responses_that_think_and_call": (
        Operation.RESPONSES,
        RESPONSES,
        {
            "model": "o3",
            "input": "call weather and call now",
            "tools": FLAT,
            "reasoning": {"summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        },
    ),
    "messages": (
        Operation.MESSAGES,
        anthropic,
        said("hi", model="claude-sonnet-4-5", max_tokens=999),
    ),
    "messages_that_think": (
        Operation.MESSAGES,
        anthropic,
        said(
            "hi",
            model="claude-sonnet-4-5",
            max_tokens=2048,
            thinking={"type": "enabled", "budget_tokens": 1024},
        ),
    ),
    "messages_that_call": (
        Operation.MESSAGES,
        anthropic,
        said("call weather", model="claude-sonnet-4-5", max_tokens=999, tools=GIVEN),
    ),
}


def settled(value: Any) -> Any:
    """Without what is made anew each time."""
    if isinstance(value, list):
        return [settled(one) for one in value]
    if isinstance(value, dict):
        return {name: settled(one) for name, one in value.items() if name not in _FRESH}
    return value


def both(case: str) -> tuple[Operation, bytes, list[bytes]]:
    operation, endpoint, body = CASES[case]
    plain = {name: value for name, value in body.items() if name != "stream_options"}
    whole, stream = endpoint().answer(plain), endpoint().answer({**body, "stream": True})
    assert isinstance(whole, Whole)
    assert isinstance(stream, Stream)
    return operation, whole.body, [one for one in stream.events if one != b"data: [DONE]\n\n"]


@pytest.mark.parametrize("case", CASES)
def test_what_was_streamed_is_what_would_have_been_answered(case: str) -> None:
    operation, body, events = both(case)
    whole = FORMS[operation].whole(events, None)
    assert whole is not None
    told, answered = settled(orjson.loads(whole)), settled(orjson.loads(body))
    for answer in (told, answered):
        for choice in answer.get("choices", ()):
            for name in ("annotations", "refusal"):
                # Not every stream says that there is none.
                if not choice.get("message", {}).get(name, True):
                    del choice["message"][name]
    assert told == answered
    assert FORMS[operation].is_complete(whole)
    assert FORMS[operation].is_complete(body)


@pytest.mark.parametrize("case", CASES)
def test_what_was_answered_is_streamed_as_the_provider_would_have(case: str) -> None:
    operation, body, events = both(case)
    request = asked(operation, **CASES[case][2])
    again = FORMS[operation].events(body, request)
    assert kinds(again) == kinds(events)


def kinds(events: list[bytes]) -> list[Any]:
    """What happens in a stream, whatever the number of its pieces and the order of its choices."""
    found: dict[Any, None] = {}
    for one in data_of(events):
        if "type" in one:
            found[one["type"]] = None
        for choice in one.get("choices", ()):
            names = choice.get("delta", {"text": ""}).keys() - {"annotations", "refusal"}
            found |= {(choice["index"], name, choice["finish_reason"]): None for name in names}
    found.pop("ping", None)
    return [*found] if "type" in one else sorted(found, key=str)
