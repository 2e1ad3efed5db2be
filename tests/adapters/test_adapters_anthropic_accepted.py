"""Whatever leaves for Anthropic is taken there: two readings of its rules, held against each other.

The simulated wire knows by itself what each model refuses; it passes with Anthropic's own client.
"""

from typing import Any

import orjson
from hypothesis import event, given
from hypothesis import strategies as st

from turnout.adapters.anthropic_request import count_body, messages_body
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.engine.request import Caller, Operation, Request
from turnout.simulator.anthropic_body import check_counted, check_messages
from turnout.simulator.anthropic_thinking import sealed, signature

MODELS = st.sampled_from(
    """claude-3-haiku-20240307 claude-3-5-haiku-20241022 claude-3-7-sonnet-20250219
    claude-sonnet-4-20250514 claude-opus-4-1-20250805 claude-haiku-4-5-20251001 claude-opus-4-5
    claude-sonnet-4-5 claude-opus-4-6 claude-sonnet-4-6 claude-opus-4-7 claude-opus-4-8
    claude-sonnet-5 claude-opus-5 claude-haiku-5-5 claude-sonnet-5-5 claude-opus-5-5
    claude-fable-5 claude-fable-5-1 claude-mythos-5-2""".split()
)
SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "object"}}}, {"type": "null"}]},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"type": "array", "items": {"type": "object", "properties": {}}}},
        },
    ]
)
TOOLS = st.lists(
    st.builds(
        lambda name, schema, strict: {
            "type": "function",
            "function": {
                "name": name,
                "parameters": schema if schema.get("type") else None,
                "strict": strict,
            },
        },
        st.sampled_from(["look", "listen"]),
        SCHEMAS,
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda tool: str(names_of([tool])),
)
THINKING = st.sampled_from(
    [
        {"type": "adaptive"},
        {"type": "adaptive", "display": "omitted"},
        {"type": "disabled"},
        {"type": "between_tools"},
        {"type": "enabled", "budget_tokens": 1024},
        {"type": "enabled", "budget_tokens": 5000},
        {"type": "enabled"},
        {"type": "odd"},
    ]
)
FORMS = st.one_of(
    st.just({"type": "text"}),
    st.just({"type": "json_object"}),
    st.builds(
        lambda schema: {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        SCHEMAS,
    ),
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "reasoning_effort": st.sampled_from("none minimal low medium high xhigh max odd".split()),
        "thinking": THINKING,
        "temperature": st.sampled_from([0, 0.4, 1, 1.6]),
        "top_p": st.sampled_from([0.2, 0.97, 1]),
        "top_k": st.sampled_from([1, 40]),
        "max_completion_tokens": st.sampled_from([1, 900, 1024, 1025, 3000, 60_000]),
        "max_tokens": st.sampled_from([1, 2000]),
        "tools": TOOLS,
        "tool_choice": st.sampled_from(
            ["auto", "none", "required", {"type": "function", "function": {"name": "look"}}]
        ),
        "parallel_tool_calls": st.booleans(),
        "response_format": FORMS,
        "stop": st.sampled_from(["END", ["a", "b"], []]),
        "user": st.just("u"),
        "seed": st.just(1),
        "metadata": st.just({"a": "b"}),
        "odd": st.just(1),
        "stream_options": st.just({"include_usage": True}),
    },
)
TEXT = st.sampled_from(["a", "two words", ""])
BLOCKS = st.sampled_from(
    [
        [],
        [{"type": "thinking", "thinking": "hm", "signature": signature("hm")}],
        [{"type": "thinking", "thinking": "", "signature": signature("hm")}],
        [{"type": "redacted_thinking", "data": sealed("hm")}],
        [{"type": "thinking", "thinking": "another's", "signature": ""}],
    ]
)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """What clients send: also empty texts, several of the user's in a row, a loop not yet over."""
    messages: list[Any] = [{"role": "system", "content": draw(TEXT)}] * draw(st.integers(0, 2))
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXT), "name": "ann"})
        messages.append({"role": "user", "content": [{"type": "text", "text": "so"}, IMAGE]})
        if draw(st.booleans()):
            continue
        names = draw(st.lists(st.sampled_from(["look", "listen"]), max_size=2))
        calls = [
            {
                "id": f"call|{number}.{index}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": draw(st.sampled_from(["", "{}", '{"a":1}'])),
                },
            }
            for index, name in enumerate(names)
        ]
        messages.append(
            {
                "role": "assistant",
                "content": draw(st.none() | TEXT),
                "reasoning_content": "hm",
                "thinking_blocks": draw(BLOCKS),
                **({"tool_calls": calls} if calls else {}),
            }
        )
        messages += [
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": draw(st.sampled_from(["", "seen", [IMAGE]])),
            }
            for call in calls
        ]
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": "and?"})
    return messages


def names_of(tools: list[dict[str, Any]]) -> list[str]:
    return [tool["function"]["name"] for tool in tools]


def call_of(model: str, body: dict[str, Any]) -> Call:
    request = Request(
        id="req_1",
        operation=Operation.CHAT,
        body=body,
        raw=orjson.dumps(body),
        model="auto",
        stream=False,
        caller=Caller(),
        headers={},
        received_us=0,
        started_ns=0,
    )
    return Call(request, model, "auto", 64_000, 1, 1)


@given(MODELS, PARAMETERS, conversations())
def test_no_model_refuses_what_was_made_for_it(
    model: str, parameters: dict[str, Any], messages: list[Any]
) -> None:
    body = {"model": "auto", "messages": messages, **parameters}
    tools = names_of(parameters.get("tools", []))
    if isinstance(parameters.get("tool_choice"), dict) and "look" not in tools:
        del body["tool_choice"]  # to ask for a tool that is not there is the client's own mistake
    try:
        asked = messages_body(call_of(model, body))
        counted = count_body(call_of(model, body))
    except ProviderError as error:
        # Another target can do it: nothing was sent, and the client is told what for.
        assert error.fault is Fault.UNSUPPORTED
        assert error.param in ("tool_choice", "response_format")
        event(f"refused: {error.param}")
        return
    event(f"thinking: {(asked.body.get('thinking') or {}).get('type')}")
    assert check_messages(orjson.loads(asked.encoded())) == model
    assert check_counted(orjson.loads(counted)) == model


@given(MODELS, PARAMETERS, conversations())
def test_what_was_asked_for_is_sent_or_named(
    model: str, parameters: dict[str, Any], messages: list[Any]
) -> None:
    """Nothing is lost in silence, and nothing is named that was sent."""
    call = call_of(model, {"model": "auto", "messages": messages, **parameters})
    try:
        sent = messages_body(call).body
    except ProviderError:
        return
    assert len(set(call.dropped)) == len(call.dropped)
    effort = sent.get("output_config", {}).get("effort")
    level = parameters.get("reasoning_effort")
    thought = parameters.get("thinking")
    if level not in (None, "none") and thought is None:
        carried = "thinking" in sent or effort is not None
        assert carried is ("reasoning_effort" not in call.dropped)
    if thought is not None and thought["type"] in ("enabled", "adaptive"):
        assert ("thinking" in sent) is ("thinking" not in call.dropped)
    for name in ("temperature", "top_p", "top_k"):
        value = parameters.get(name)
        if value is not None and not (value == 1 and name != "top_k"):
            assert (sent.get(name) == value) is (name not in call.dropped)
    for name in ("seed", "metadata", "odd"):
        assert (name in parameters) is (name in call.dropped)
