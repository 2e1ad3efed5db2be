import json
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock, ThinkingBlock, ToolParam, ToolUseBlock

from turnout.simulator.anthropic_answer import REFUSE, SEAL
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


# --- thinking ------------------------------------------------------------------------------------

BUDGETED = "claude-haiku-4-5"
ENABLED: dict[str, Any] = {"type": "enabled", "budget_tokens": 1024}
SEALING = f"{SEAL}46C9 hello"


def asked(**members: Any) -> dict[str, Any]:
    return {"model": BUDGETED, "max_tokens": 2000, "messages": HELLO, **members}


def test_a_thought_is_signed_and_taken_back(claude: anthropic.Anthropic) -> None:
    call = "call get_weather in Oslo"
    body = asked(messages=[{"role": "user", "content": call}], tools=[WEATHER], thinking=ENABLED)
    whole = claude.messages.create(**body)
    with claude.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["thinking", "tool_use"]
        thought, used = message.content
        assert isinstance(thought, ThinkingBlock) and thought.signature
        assert isinstance(used, ToolUseBlock)
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens == count(thought.thinking)
        result = {"type": "tool_result", "tool_use_id": used.id, "content": "rain"}
        turns = [
            *body["messages"],
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
        after = claude.messages.create(**{**body, "messages": turns})
        assert after.stop_reason == "end_turn"


@pytest.mark.parametrize("prompt", ["hello", SEALING])
def test_a_thought_that_was_changed_is_refused(claude: anthropic.Anthropic, prompt: str) -> None:
    body = asked(messages=[{"role": "user", "content": prompt}], thinking=ENABLED)
    block = claude.messages.create(**body).content[0].to_dict()
    name = "thinking" if "thinking" in block else "data"
    changed = {**block, name: "QUFB" + str(block[name])[4:]}
    turns = [
        *body["messages"],
        {"role": "assistant", "content": [changed, {"type": "text", "text": "so"}]},
        {"role": "user", "content": "and?"},
    ]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0: Invalid"):
        claude.messages.create(**{**body, "messages": turns})


def test_a_thought_can_be_sealed_or_left_out(claude: anthropic.Anthropic) -> None:
    body = asked(messages=[{"role": "user", "content": SEALING}], thinking=ENABLED)
    with claude.messages.stream(**body) as stream:
        assert stream.get_final_message().content[0].type == "redacted_thinking"
    omitted = asked(thinking={**ENABLED, "display": "omitted"})
    with claude.messages.stream(**omitted) as stream:
        thought = stream.get_final_message().content[0]
    assert isinstance(thought, ThinkingBlock)
    assert thought.thinking == "" and thought.signature
    turns = [
        *HELLO,
        {"role": "assistant", "content": [thought.to_dict(), {"type": "text", "text": "so"}]},
        *HELLO,
    ]
    claude.messages.create(**{**omitted, "messages": turns})


def test_a_loop_of_tools_without_its_thought_is_refused(claude: anthropic.Anthropic) -> None:
    used = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]
    with pytest.raises(anthropic.BadRequestError, match="but found `tool_use`"):
        claude.messages.create(**asked(messages=turns, tools=[WEATHER], thinking=ENABLED))


# --- what a model refuses ------------------------------------------------------------------------

FORM = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": FORM}}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("claude-opus-5-5", {"thinking": ENABLED}, "thinking.type.enabled"),
    ("claude-opus-5-5", {"thinking": {"type": "disabled"}}, "thinking.type.disabled"),
    ("claude-haiku-4-5", {"thinking": {"type": "adaptive"}}, "thinking.type.adaptive"),
    ("claude-3-5-haiku", {"thinking": ENABLED}, "thinking.type.enabled"),
    ("claude-opus-5-5", {"extra_body": {"temperature": 0.5}}, "temperature"),
    ("claude-haiku-4-5", {"extra_body": {"temperature": 0.5}, "thinking": ENABLED}, "temperature"),
    ("claude-haiku-4-5", {"thinking": {**ENABLED, "budget_tokens": 1000}}, "1024"),
    ("claude-haiku-4-5", {"thinking": {**ENABLED, "budget_tokens": 2000}}, "max_tokens"),
    ("claude-haiku-4-5", {"output_config": {"effort": "low"}}, "effort"),
    ("claude-3-5-haiku", {"output_config": FORMAT}, "structured outputs"),
    ("claude-sonnet-5-5", {"tools": [WEATHER], "tool_choice": {"type": "any"}}, "tool_choice"),
    ("claude-haiku-4-5", {"tool_choice": {"type": "any"}}, "providing tools"),
    ("claude-haiku-4-5", {"extra_body": {"seed": 1}}, "seed: Extra inputs"),
    ("claude-haiku-4-5", {"stop_sequences": [" "]}, "non-whitespace"),
    ("claude-haiku-4-5", {"extra_body": {"thread": {"type": "create"}}}, "thread_unsupported"),
]


@pytest.mark.parametrize(("model", "members", "words"), REFUSED)
def test_what_a_model_does_not_take_is_refused(
    claude: anthropic.Anthropic, model: str, members: dict[str, Any], words: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=words):
        claude.messages.create(**{**asked(), "model": model, **members})


def test_a_call_without_its_result_is_refused(claude: anthropic.Anthropic) -> None:
    used = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    turns: list[Any] = [*HELLO, {"role": "assistant", "content": [used]}, *HELLO]
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
        claude.messages.create(**asked(messages=turns, tools=[WEATHER]))


# --- the rest ------------------------------------------------------------------------------------


def test_several_tools_are_called_unless_that_is_forbidden(claude: anthropic.Anthropic) -> None:
    now: ToolParam = {"name": "now", "input_schema": {"type": "object"}}
    body = asked(
        messages=[{"role": "user", "content": "call get_weather and now in Oslo"}],
        tools=[WEATHER, now],
    )
    with claude.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    one = claude.messages.create(
        **body, tool_choice={"type": "auto", "disable_parallel_tool_use": True}
    )
    none = claude.messages.create(**body, tool_choice={"type": "none"})
    names = [block.name for block in streamed.content if isinstance(block, ToolUseBlock)]
    assert names == ["get_weather", "now"]
    assert [block.type for block in one.content] == ["tool_use"]
    assert [block.type for block in none.content] == ["text"]


def test_an_answer_has_the_form_that_was_asked_for(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(**asked(output_config=FORMAT))
    block = message.content[0]
    assert isinstance(block, TextBlock)
    assert json.loads(block.text) == {"city": "world"}


def test_a_refusal_says_that_it_is_one(claude: anthropic.Anthropic) -> None:
    turns: list[MessageParam] = [{"role": "user", "content": f"{REFUSE}1FAE please"}]
    whole = claude.messages.create(**asked(messages=turns))
    with claude.messages.stream(**asked(messages=turns)) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert (message.stop_reason, message.content) == ("refusal", [])
        assert message.stop_details is not None


def test_a_marked_prompt_is_written_to_the_cache_and_read_from_it(
    claude: anthropic.Anthropic,
) -> None:
    long = " ".join(f"word{number}" for number in range(900))
    system = [{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}]
    first = claude.messages.create(**asked(system=system)).usage
    second = claude.messages.create(**asked(system=system)).usage
    unmarked = claude.messages.create(**asked(system=long)).usage
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens
    assert (second.cache_creation_input_tokens, first.cache_read_input_tokens) == (0, 0)
    assert (second.cache_read_input_tokens or 0) + second.input_tokens == unmarked.input_tokens


def test_tokens_are_counted_without_an_answer(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model=MODEL, messages=HELLO, tools=[WEATHER])
    message = claude.messages.create(model=MODEL, max_tokens=9, messages=HELLO, tools=[WEATHER])
    assert counted.input_tokens == message.usage.input_tokens
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Extra inputs"):
        claude.messages.count_tokens(model=MODEL, messages=HELLO, extra_body={"max_tokens": 9})
