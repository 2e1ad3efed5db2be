"""What a chat becomes for one of Anthropic's models: some take what others refuse."""

from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters.anthropic_models import effort, model
from turnout.adapters.dialect_anthropic import Translation
from turnout.adapters.sse import Event
from turnout.engine.provider import Fault, ProviderError

SCHEMA = {
    "type": "object",
    "properties": {"at": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CLOSED = {
    "type": "object",
    "properties": {
        "at": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "look"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "seen"},
]
OLD, FIRST, BUDGETED, BOTH = (
    "claude-3-5-haiku-20241022",
    "claude-sonnet-4-20250514",
    "claude-haiku-4-5",
    "claude-sonnet-4-6",
)
UNSAMPLED, ALWAYS, PAUSING = "claude-opus-4-7", "claude-opus-5-5", "claude-sonnet-5-5"


async def sent(bench: Any, name: str, **members: Any) -> tuple[dict[str, Any], list[str]]:
    """The body that leaves for a model, and what is named as left out."""
    call = bench.chat(**members)
    call.upstream_model = name
    seen: list[httpx.Request] = []
    await bench.answering("anthropic", b'{"content":[]}', seen=seen).answer(call)
    return orjson.loads(seen[0].content), call.dropped


async def refused(bench: Any, name: str, **members: Any) -> str | None:
    """The parameter that a model is refused for."""
    with pytest.raises(ProviderError) as caught:
        await sent(bench, name, **members)
    assert caught.value.fault is Fault.UNSUPPORTED
    return caught.value.param


# --- thinking ------------------------------------------------------------------------------------

ADAPTIVE = {"type": "adaptive"}


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


# model, what is asked, thinking, effort, dropped
EFFORTS: list[tuple[str, dict[str, Any], Any, str | None, list[str]]] = [
    (OLD, {"reasoning_effort": "high"}, None, None, ["reasoning_effort"]),
    (OLD, {"reasoning_effort": "none"}, None, None, []),
    (FIRST, {"reasoning_effort": "low"}, budget(2048), None, []),
    (BUDGETED, {"reasoning_effort": "minimal"}, budget(1024), None, []),
    (BUDGETED, {"reasoning_effort": "medium"}, budget(4096), None, []),
    (BUDGETED, {"reasoning_effort": "medium", "max_tokens": 4000}, budget(2000), None, []),
    (BUDGETED, {"reasoning_effort": "medium", "max_tokens": 1500}, budget(1024), None, []),
    (
        BUDGETED,
        {"reasoning_effort": "medium", "max_tokens": 1024},
        None,
        None,
        ["reasoning_effort"],
    ),
    (BUDGETED, {"reasoning_effort": "none"}, {"type": "disabled"}, None, []),
    (BUDGETED, {"reasoning_effort": "odd"}, None, None, ["reasoning_effort"]),
    (BUDGETED, {"thinking": budget(1030)}, budget(1030), None, []),
    (BUDGETED, {"thinking": budget(9000)}, None, None, ["thinking"]),
    (BUDGETED, {"thinking": ADAPTIVE}, budget(4096), None, []),
    (BOTH, {"reasoning_effort": "xhigh"}, ADAPTIVE, "high", []),
    (BOTH, {"reasoning_effort": "minimal"}, ADAPTIVE, "low", []),
    (BOTH, {"thinking": budget(1030)}, budget(1030), None, []),
    (UNSAMPLED, {"reasoning_effort": "xhigh"}, ADAPTIVE, "xhigh", []),
    (UNSAMPLED, {"thinking": budget(1030)}, ADAPTIVE, None, []),
    (UNSAMPLED, {"thinking": {"type": "disabled"}}, {"type": "disabled"}, None, []),
    (ALWAYS, {"reasoning_effort": "none"}, None, None, ["reasoning_effort"]),
    (ALWAYS, {"thinking": {"type": "disabled"}}, None, None, ["thinking"]),
    (PAUSING, {"reasoning_effort": "none"}, {"type": "between_tools"}, None, []),
    (
        ALWAYS,
        {"thinking": {**ADAPTIVE, "display": "summarized"}, "reasoning_effort": "low"},
        {**ADAPTIVE, "display": "summarized"},
        "low",
        [],
    ),
]


@pytest.mark.parametrize(
    ("name", "asked", "thinking", "level", "dropped"),
    EFFORTS,
    ids=[f"{case[0]}-{case[1]}" for case in EFFORTS],
)
async def test_effort_becomes_what_the_model_has_for_it(
    bench: Any, name: str, asked: Any, thinking: Any, level: str | None, dropped: list[str]
) -> None:
    body, named = await sent(bench, name, **asked)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == level
    assert named == dropped
    if thinking and "budget_tokens" in thinking:
        assert body["max_tokens"] > thinking["budget_tokens"] >= 1024


@pytest.mark.parametrize("name", [BUDGETED, BOTH])
async def test_thinking_gives_way_to_a_forced_tool(bench: Any, name: str) -> None:
    body, dropped = await sent(
        bench, name, tools=[TOOL], tool_choice="required", thinking=budget(1024)
    )
    assert "thinking" not in body
    assert dropped == ["thinking"]


async def test_thinking_gives_way_where_the_thoughts_of_a_loop_are_missing(bench: Any) -> None:
    asked: dict[str, Any] = {"tools": [TOOL], "reasoning_effort": "low"}
    body, dropped = await sent(bench, BUDGETED, messages=LOOP, **asked)
    assert "thinking" not in body and dropped == ["reasoning_effort"]
    answer = {**LOOP[1], "thinking_blocks": [THOUGHT]}
    body, dropped = await sent(bench, BUDGETED, messages=[LOOP[0], answer, LOOP[2]], **asked)
    assert body["thinking"] == budget(2048) and dropped == []
    assert body["messages"][1]["content"][0] == THOUGHT
    # The turn after that begins anew; a model that thinks when it likes asks for no thoughts back.
    body, _ = await sent(
        bench, BUDGETED, messages=[*LOOP, {"role": "assistant", "content": "so"}, LOOP[0]], **asked
    )
    assert body["thinking"] == budget(2048)
    body, dropped = await sent(bench, BOTH, messages=LOOP, **asked)
    assert body["thinking"] == ADAPTIVE and dropped == []


async def test_only_signed_or_sealed_thoughts_go_back(bench: Any) -> None:
    sealed = {"type": "redacted_thinking", "data": "x"}
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    answer = {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "hm",
        "thinking_blocks": [unsigned, {"type": "odd"}, 3, THOUGHT, sealed],
    }
    turns = [LOOP[0], answer, LOOP[0]]
    body, dropped = await sent(bench, BUDGETED, messages=turns)
    assert body["messages"][1]["content"] == [THOUGHT, sealed, {"type": "text", "text": "b"}]
    assert dropped == []


# --- sampling ------------------------------------------------------------------------------------

SAMPLED: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (BUDGETED, {"temperature": 0.3, "top_k": 5}, {"temperature": 0.3, "top_k": 5}, []),
    (BUDGETED, {"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
    (UNSAMPLED, {"temperature": 0.3, "top_p": 0.9}, {}, ["temperature", "top_p"]),
    (UNSAMPLED, {"temperature": 1, "top_p": 1, "top_k": 5}, {}, ["top_k"]),
    (
        BUDGETED,
        {"temperature": 0.3, "top_p": 0.97, "top_k": 5, "reasoning_effort": "low"},
        {"top_p": 0.97},
        ["temperature", "top_k"],
    ),
    (BUDGETED, {"top_p": 0.5, "reasoning_effort": "low"}, {}, ["top_p"]),
]


@pytest.mark.parametrize(("name", "asked", "left", "dropped"), SAMPLED)
async def test_sampling_goes_where_it_is_taken(
    bench: Any, name: str, asked: Any, left: Any, dropped: list[str]
) -> None:
    body, named = await sent(bench, name, **asked)
    shown = {n: v for n, v in body.items() if n in ("temperature", "top_p", "top_k")}
    assert (shown, named) == (left, dropped)


# --- forms and tools -----------------------------------------------------------------------------


async def test_a_schema_is_a_form_of_the_answer_with_its_objects_closed(bench: Any) -> None:
    body, dropped = await sent(bench, PAUSING, response_format=FORM, reasoning_effort="low")
    expected = {"type": "json_schema", "schema": CLOSED}
    assert body["output_config"] == {"format": expected, "effort": "low"}
    assert "tools" not in body and dropped == []


@pytest.mark.parametrize("form", [FORM, {"type": "json_object"}], ids=["schema", "object"])
async def test_elsewhere_a_tool_stands_for_the_form(bench: Any, form: Any) -> None:
    call = bench.chat(response_format=form)
    call.upstream_model = FIRST
    seen: list[httpx.Request] = []
    content = [{"type": "tool_use", "id": "t", "name": "answer", "input": {"at": {"city": "Oslo"}}}]
    message = {
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    answer = await bench.answering("anthropic", orjson.dumps(message), seen=seen).answer(call)
    body = orjson.loads(seen[0].content)
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert [tool["name"] for tool in body["tools"]] == ["answer"]
    choice = orjson.loads(answer.body)["choices"][0]
    assert orjson.loads(choice["message"]["content"]) == {"at": {"city": "Oslo"}}
    assert choice["finish_reason"] == answer.finish_reason == "stop"
    assert "tool_calls" not in choice["message"]


async def test_a_stream_of_the_tool_for_a_form_is_text(bench: Any) -> None:
    call = bench.chat(stream=True, response_format={"type": "json_object"})
    events = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "answer", "input": {}},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": piece},
            }
            for piece in ('{"a":', "1}")
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    body = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    headers = {"content-type": "text/event-stream"}
    provider = bench.answering("anthropic", body, headers=headers)
    chunks = await bench.read(provider.stream(call))
    deltas = [orjson.loads(chunk.data[6:])["choices"][0] for chunk in chunks]
    assert "".join(one["delta"].get("content") or "" for one in deltas) == '{"a":1}'
    assert deltas[-1]["finish_reason"] == "stop"
    assert not any("tool_calls" in one["delta"] for one in deltas)


async def test_a_form_that_a_model_cannot_keep_to_is_refused(bench: Any) -> None:
    plain = {"type": "json_object"}
    assert await refused(bench, FIRST, response_format=FORM, tools=[TOOL]) == "response_format"
    assert await refused(bench, ALWAYS, response_format=plain) == "response_format"
    assert await refused(bench, ALWAYS, response_format={"type": "odd"}) == "response_format"
    array = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}
    assert await refused(bench, FIRST, response_format=array) == "response_format"


async def test_a_forced_tool_is_refused_where_none_can_be_forced(bench: Any) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "look"}}):
        asked = {"tools": [TOOL], "tool_choice": choice}
        assert await refused(bench, ALWAYS, **asked) == "tool_choice"
        assert (await sent(bench, "claude-haiku-5-5", **asked))[0]["tool_choice"]
    body, _ = await sent(bench, ALWAYS, tools=[TOOL], tool_choice="auto")
    assert body["tool_choice"] == {"type": "auto"}


async def test_a_strict_tool_is_strict_where_the_model_has_that(bench: Any) -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    body, dropped = await sent(bench, BUDGETED, tools=[strict])
    assert body["tools"] == [{"name": "look", "input_schema": CLOSED, "strict": True}]
    assert dropped == []
    body, dropped = await sent(bench, FIRST, tools=[strict])
    assert body["tools"] == [{"name": "look", "input_schema": SCHEMA}]
    assert dropped == ["tools.strict"]


async def test_results_of_tools_keep_their_images_and_their_ids_fit(bench: Any) -> None:
    calls = [
        {"id": one, "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for one in ("a|1", "b.2")
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    turns = [
        LOOP[0],
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a|1", "content": [image]},
        {"role": "tool", "tool_call_id": "b.2", "content": ""},
        {"role": "user", "content": "and?"},
    ]
    body, _ = await sent(bench, BUDGETED, messages=turns, tools=[TOOL])
    used, answered = body["messages"][1]["content"], body["messages"][2]["content"]
    assert [block["id"] for block in used] == ["a_1", "b_2"]
    assert [block.get("tool_use_id") for block in answered] == ["a_1", "b_2", None]
    assert answered[0]["content"][0]["source"]["media_type"] == "image/png"


async def test_files_become_documents(bench: Any) -> None:
    files = [
        {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"file_data": "data:text/plain;base64,aMOp"},
        {"file_data": "data:text/plain,h%C3%A9"},
    ]
    content = [{"type": "file", "file": file} for file in files]
    body, _ = await sent(bench, BUDGETED, messages=[{"role": "user", "content": content}])
    pdf, first, second = body["messages"][0]["content"]
    assert pdf["title"] == "a.pdf"
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert pdf["source"] == source
    assert first["source"] == second["source"]
    assert first["source"] == {"type": "text", "media_type": "text/plain", "data": "h\u00e9"}


# --- what the wire lacks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n", "logprobs", "top_logprobs", "audio", "functions"])
async def test_what_shapes_the_answer_and_cannot_be_is_refused(bench: Any, name: str) -> None:
    values: dict[str, Any] = {"n": 2, "logprobs": True, "top_logprobs": 2}
    value = values.get(name, [{"name": "x"}] if name == "functions" else {"voice": "x"})
    assert await refused(bench, BUDGETED, **{name: value}) == name


async def test_what_only_steers_is_left_out_and_named(bench: Any) -> None:
    asked = {"seed": 1, "logit_bias": {"1": 1}, "store": True, "odd": 1, "service_tier": "auto"}
    body, dropped = await sent(bench, BUDGETED, **asked)
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert sorted(dropped) == ["logit_bias", "odd", "seed", "store"]


# --- models --------------------------------------------------------------------------------------


def test_a_model_is_known_by_its_name_however_it_is_written() -> None:
    assert model("claude-3.7-sonnet") == model("claude-3-7-sonnet-20250219")
    assert model("claude-sonnet-4-20250514") == model("claude-opus-4-1-20250805")
    assert model("anthropic.claude-opus-4-6-v1:0") == model("claude-sonnet-4-6")
    assert model("claude-3-haiku-20240307").thinking == ()
    assert model("claude-sonnet-4-5").formats and not model("claude-sonnet-4-5").efforts
    assert not model("claude-fable-5-1").forced and model("claude-mythos-preview").forced
    assert model("another-houses-model") == model("claude-sonnet-4-5")


def test_an_effort_is_the_nearest_that_is_not_above() -> None:
    assert effort("xhigh", ("low", "high", "max")) == "high"
    assert effort("minimal", ("low", "high")) == "low"
    assert effort("max", ("low", "high")) == "high"
    assert effort("none", ("low",)) is None and effort("low", ()) is None


# --- streams -------------------------------------------------------------------------------------


def test_a_ping_is_no_part_of_the_answer(bench: Any) -> None:
    translation = Translation(bench.chat(stream=True), ())
    ping = Event(b"ping", b'{"type":"ping"}')
    text = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
    assert translation.take(Event(b"", b'{"type":"message_start","message":{}}')) is not None
    assert translation.take(ping) is None
    assert translation.take(Event(b"", text)) is not None
    assert translation.take(ping) is None
