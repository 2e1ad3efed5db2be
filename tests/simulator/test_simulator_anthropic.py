from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolUseBlock

from turnout.simulator.tokens import count

MODEL = "claude-sonnet-4"
HELLO: list[MessageParam] = [{"role": "user", "content": "hello brave new world"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def test_a_message_has_the_words_of_the_prompt(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    block = message.content[0]
    assert isinstance(block, TextBlock)
    assert block.text == f"simulated answer by {MODEL}: you said: hello brave new world"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == count(block.text)
    assert message.id.startswith("msg_")


def test_a_system_prompt_and_parts_count(claude: anthropic.Anthropic) -> None:
    plain = claude.messages.create(model=MODEL, max_tokens=9, messages=HELLO)
    parts: list[MessageParam] = [
        {"role": "user", "content": [{"type": "text", "text": "hello brave new world"}]}
    ]
    more = claude.messages.create(model=MODEL, max_tokens=9, messages=parts, system="be kind")
    added = 3 + count("system") + count("be kind")
    assert more.usage.input_tokens == plain.usage.input_tokens + added


def test_max_tokens_cuts_and_says_so(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(model=MODEL, max_tokens=4, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 4)


def test_a_stop_sequence_is_named(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=MODEL, max_tokens=99, messages=HELLO, stop_sequences=[" new"]
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " new")


def test_a_stream_has_all_events_in_order(claude: anthropic.Anthropic) -> None:
    with claude.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True) as stream:
        kinds = [event.type for event in stream]
    deltas = kinds.count("content_block_delta")
    assert deltas > 5
    # the SDK swallows `ping`
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_stream_adds_up_to_the_whole_message(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    with claude.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        streamed = stream.get_final_message()
    assert isinstance(whole.content[0], TextBlock) and isinstance(streamed.content[0], TextBlock)
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("choice", [None, {"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_tool_is_used_if_asked_for_or_forced(
    claude: anthropic.Anthropic, choice: dict[str, Any] | None
) -> None:
    prompt = "call get_weather in Oslo" if choice is None else "in Oslo"
    body: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": prompt}],
        "tools": [WEATHER],
    }
    if choice is not None:
        body["tool_choice"] = choice
    whole = claude.messages.create(**body)
    with claude.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        assert isinstance(message.content[0], ToolUseBlock)
        assert message.content[0].input == {"city": "Oslo"}


def test_models_are_listed(claude: anthropic.Anthropic) -> None:
    assert "claude-sonnet-4-20250514" in {model.id for model in claude.models.list()}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
    ],
)
def test_a_bad_body_is_refused(
    claude: anthropic.Anthropic, body: dict[str, Any], words: str
) -> None:
    sent = {"model": MODEL, "max_tokens": 9, "messages": HELLO, **body}
    with pytest.raises(anthropic.BadRequestError, match=words) as caught:
        claude.post("/v1/messages", body=sent, cast_to=object)
    error = caught.value.body
    assert isinstance(error, dict)
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert error["request_id"] == caught.value.request_id
