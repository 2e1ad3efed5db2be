"""Requests in Anthropic's own protocol to Anthropic: nothing changes but what has to."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import build
from turnout.adapters.anthropic_native import Relay
from turnout.adapters.sse import Parser
from turnout.engine.provider import Call, Chunk, Fault, Provider, ProviderError
from turnout.engine.request import Caller, Native, Operation, Request, Usage

STREAMS = sorted(
    (Path(__file__).parent / "golden" / "streams" / "anthropic").glob("*.upstream.sse")
)
SECRET = "sk-ant-canary-0123456789"
# Members that nobody knows, numbers that no parser keeps, escapes, doubled spaces.
RAW = (
    b'{ "max_tokens" : 100,"model":"auto" , "messages":[ {"role":"user","content":'
    b'"h\\u00e9 \\ud83d\\ude86"} ],\n\t"new_thing":{"big":12345678901234567890123,"f":1.0e2,'
    b'"model":"inner"},"metadata":{"user_id":"u"} }'
)
MESSAGE = (
    b'{"id":"msg_1", "type":"message","role":"assistant","model" : "claude-x-20260101","content":'
    b'[{"type":"text","text":"h\\u00e9","citations":null}],"stop_reason":"end_turn","usage":{'
    b'"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5},"future":1.50}'
)


def call(
    raw: bytes = RAW,
    *,
    model: str = "claude-haiku-4-5",
    max_output: int | None = 8192,
    sets: dict[str, Any] | None = None,
    refused: frozenset[str] = frozenset(),
    **headers: str,
) -> Call:
    body = orjson.loads(raw)
    chat = {"model": body["model"], "messages": [{"role": "user", "content": "hi"}]}
    request = Request(
        id="req_1",
        operation=Operation.MESSAGES,
        body=chat,
        raw=orjson.dumps(chat),
        model="auto",
        stream=bool(body.get("stream")),
        caller=Caller(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        received_us=1_755_000_000_000_000,
        started_ns=0,
        native=Native(raw, body, only=("tools[0]",), lost=("speed",)),
    )
    return Call(
        request, model, "auto", max_output, 1_000_000, 1_000_000, refused=refused, sets=sets or {}
    )


def provider(
    body: bytes,
    seen: list[httpx.Request],
    headers: dict[str, str] | None = None,
) -> Provider:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=body)

    transport = httpx.MockTransport(answer)
    return build("anthropic", None, None, headers or {}, SECRET, transport)


async def sent(made: Call) -> bytes:
    seen: list[httpx.Request] = []
    await provider(MESSAGE, seen).answer(made)
    assert made.native and made.sent
    return seen[0].content


async def test_a_body_leaves_byte_for_byte_but_for_its_model() -> None:
    made = call()
    expected = RAW.replace(b'"model":"auto"', b'"model":"claude-haiku-4-5"')
    assert await sent(made) == expected
    assert made.dropped == []


async def test_an_answer_comes_back_byte_for_byte_but_for_its_model() -> None:
    answer = await provider(MESSAGE, []).answer(call())
    assert answer.body == MESSAGE.replace(b'"claude-x-20260101"', b'"auto"')
    assert answer.usage == Usage(7, 5, cached=4)
    assert (answer.text, answer.finish_reason) == ("hé", "stop")
    assert answer.upstream_model == "claude-x-20260101"


SETS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"max_tokens": 7}, {"max_tokens": 7}, []),
    ({"max_tokens": 99_999}, {"max_tokens": 8192}, []),
    ({"temperature": 1.5}, {"temperature": 1}, []),
    ({"top_p": 0.5, "stop": "END"}, {"top_p": 0.5, "stop_sequences": ["END"]}, []),
    ({"user": "v"}, {"metadata": {"user_id": "v"}}, []),
    ({"seed": 1, "service_tier": "flex"}, {}, ["seed", "service_tier"]),
    ({"parallel_tool_calls": False}, {}, ["parallel_tool_calls"]),
    ({"reasoning_effort": "low"}, {}, ["reasoning_effort"]),
]


@pytest.mark.parametrize(("sets", "changed", "dropped"), SETS, ids=lambda value: str(value)[:40])
async def test_a_policy_sets_what_anthropic_has_a_name_for(
    sets: dict[str, Any], changed: dict[str, Any], dropped: list[str]
) -> None:
    made = call(sets=sets)
    body = orjson.loads(await sent(made))
    assert body == {**orjson.loads(RAW), "model": "claude-haiku-4-5", **changed}
    assert made.dropped == dropped


async def test_a_policy_sets_effort_and_single_tools_where_the_model_has_them() -> None:
    raw = (
        b'{"model":"auto","max_tokens":5,"messages":[],"tools":[{"name":"a"}],'
        b'"tool_choice":{"type":"any"},"output_config":{"format":null}}'
    )
    sets = {"reasoning_effort": "minimal", "parallel_tool_calls": False, "temperature": 0.5}
    made = call(raw, model="claude-opus-5-5", sets=sets)
    body = orjson.loads(await sent(made))
    assert body["output_config"] == {"format": None, "effort": "low"}
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert made.dropped == ["temperature"]


def thinking_body(**members: Any) -> bytes:
    turns = [{"role": "user", "content": "hi"}]
    return orjson.dumps({"model": "auto", "max_tokens": 40_000, "messages": turns, **members})


LONG = {"type": "enabled", "budget_tokens": 32_000, "display": "omitted"}


async def test_effort_that_a_policy_sets_is_a_budget_where_the_model_has_no_levels() -> None:
    made = call(thinking_body(thinking=LONG), sets={"reasoning_effort": "low"}, max_output=None)
    body = orjson.loads(await sent(made))
    assert body["thinking"] == {**LONG, "budget_tokens": 2048}
    made = call(thinking_body(temperature=0.5), sets={"reasoning_effort": "low"}, max_output=None)
    body = orjson.loads(await sent(made))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "temperature" not in body and made.dropped == ["temperature"]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8"])
async def test_a_policy_turns_thinking_off(model: str) -> None:
    raw = thinking_body(thinking={"type": "adaptive"} if "8" in model else LONG)
    made = call(raw, model=model, sets={"reasoning_effort": "none"}, max_output=None)
    assert orjson.loads(await sent(made))["thinking"] == {"type": "disabled"}
    assert made.dropped == []


async def test_a_policys_effort_and_temperature_give_way_to_what_the_request_needs() -> None:
    forced = {"tools": [{"name": "a", "input_schema": {}}], "tool_choice": {"type": "any"}}
    made = call(thinking_body(**forced), sets={"reasoning_effort": "high"}, max_output=None)
    body = orjson.loads(await sent(made))
    assert "thinking" not in body and made.dropped == ["reasoning_effort"]
    sets = {"reasoning_effort": "high", "temperature": 0.5}
    made = call(thinking_body(), sets=sets, max_output=None)
    body = orjson.loads(await sent(made))
    assert body["thinking"]["budget_tokens"] == 16_384
    assert "temperature" not in body and made.dropped == ["temperature"]
    odd = thinking_body(tool_choice={"odd": 1}, output_config={"effort": "max"})
    made = call(odd, model="claude-opus-4-8", sets={"reasoning_effort": "low"}, max_output=None)
    assert orjson.loads(await sent(made))["output_config"] == {"effort": "low"}


async def test_a_limit_above_the_models_own_is_lowered_and_a_lower_one_kept() -> None:
    made = call(max_output=64)
    assert orjson.loads(await sent(made))["max_tokens"] == 64
    assert b'"max_tokens" : 100' in await sent(call(max_output=None))


async def test_what_the_target_is_known_to_refuse_is_taken_out_and_named() -> None:
    raw = RAW.replace(b'"new_thing"', b'"top_p":1,"temperature": 0.3,"new_thing"')
    made = call(raw, refused=frozenset({"temperature", "top_p"}))
    left = await sent(made)
    assert b"temperature" not in left and b'"top_p":1' in left
    assert b"12345678901234567890123" in left
    assert made.dropped == ["temperature"]


async def test_thinking_that_nobody_signed_is_taken_out() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": ""}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "y", "signature": ""},
                {"type": "thinking", "thinking": "z", "signature": "sig"},
                {"type": "text", "text": "b"},
            ],
        },
    ]
    raw = orjson.dumps({"model": "auto", "max_tokens": 5, "messages": turns})
    messages = orjson.loads(await sent(call(raw)))["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant"]
    assert [block["type"] for block in messages[1]["content"]] == ["thinking", "text"]


async def test_the_clients_features_go_along_and_nothing_else_of_its_headers() -> None:
    seen: list[httpx.Request] = []
    made = call(
        anthropic_beta="one",
        anthropic_version="2099-01-01",
        anthropic_other="x",
        host="evil.example",
        x_more="y",
    )
    await provider(MESSAGE, seen).answer(made)
    await provider(MESSAGE, seen, {"Anthropic-Beta": "ours"}).answer(made)
    await provider(MESSAGE, seen).answer(call(anthropic_beta="bad\nvalue"))
    first, second, third = (request.headers for request in seen)
    assert first.get_list("anthropic-beta") == ["one"]
    assert first.get_list("anthropic-version") == ["2099-01-01"]
    assert second.get_list("anthropic-beta") == ["ours,one"]
    assert "anthropic-beta" not in third
    assert third.get_list("anthropic-version") == ["2023-06-01"]
    for headers in (first, second, third):
        assert headers["x-api-key"] == SECRET
        assert headers["host"] == "api.anthropic.com"
        assert "anthropic-other" not in headers and "x-more" not in headers


# --- streams -------------------------------------------------------------------------------------


def relayed(pieces: list[bytes]) -> list[Chunk]:
    relay = Relay(call(), ())
    parser = Parser()
    chunks = [relay.take(event) for piece in pieces for event in parser.feed(piece)]
    chunks += [relay.take(event) for event in parser.finish()]
    chunks.append(relay.finish())
    return [chunk for chunk in chunks if chunk is not None]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.split(".")[0])
def test_a_stream_comes_back_byte_for_byte_but_for_its_model(path: Path) -> None:
    whole = path.read_bytes()
    chunks = relayed([whole])
    written = orjson.loads(whole.split(b"\n")[1].removeprefix(b"data: "))["message"]["model"]
    told = b"".join(chunk.data for chunk in chunks)
    assert told.rstrip() == whole.replace(b'"%b"' % written.encode(), b'"auto"', 1).rstrip()
    assert {chunk.upstream_model for chunk in chunks} == {written}
    assert [chunk.content for chunk in chunks] == sorted(chunk.content for chunk in chunks)
    assert not chunks[0].content and chunks[-1].content
    assert sum(chunk.finish_reason is not None for chunk in chunks) == 1
    used = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert used and used[-1].output > 1


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.split(".")[0])
def test_a_stream_is_the_same_wherever_its_bytes_are_split(path: Path) -> None:
    whole = path.read_bytes()
    expected = relayed([whole])
    for at in range(1, len(whole)):
        assert relayed([whole[:at], whole[at:]]) == expected, at


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.split(".")[0])
def test_a_stream_that_is_cut_is_never_an_answer_before_its_reason_came(path: Path) -> None:
    whole = path.read_bytes()
    reason = whole.rfind(b'"stop_reason": "')
    complete = relayed([whole])
    for at in range(0, reason, 3):
        with pytest.raises(ProviderError) as caught:
            relayed([whole[:at]])
        assert caught.value.fault is Fault.BAD_OUTPUT, at
    # From there on only the closing mark can be missing, and it says nothing new.
    after = whole.index(b"\n\n", reason) + 2
    for at in range(after, whole.index(b"event: message_stop")):
        told = relayed([whole[:at]])
        assert orjson.loads(told[-1].data.split(b"data: ")[1]) == {"type": "message_stop"}
        assert len(told) == len(complete)


BAD: list[tuple[bytes, Fault]] = [
    (b"", Fault.BAD_OUTPUT),
    (b"data: [1]\n\n", Fault.BAD_OUTPUT),
    (b"data: {\n\n", Fault.BAD_OUTPUT),
    (b'data: {"type":"content_block_start","index":0}\n\n', Fault.BAD_OUTPUT),
    (b'data: {"type":"message_start"}\n\n', Fault.BAD_OUTPUT),
    (
        b'data: {"type":"message_start","message":{}}\n\ndata: {"type":"message_stop"}\n\n',
        Fault.BAD_OUTPUT,
    ),
    (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
        Fault.OVERLOADED,
    ),
]


@pytest.mark.parametrize(("body", "fault"), BAD, ids=lambda value: str(value)[:30])
def test_garbage_is_a_failure_with_a_name(body: bytes, fault: Fault) -> None:
    with pytest.raises(ProviderError) as caught:
        relayed([body])
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"content":"x"}', b'{"type":"error","error":{}}']
)
async def test_a_whole_answer_that_is_none_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderError):
        await provider(body, []).answer(call())


# --- counts --------------------------------------------------------------------------------------


async def test_a_count_sends_the_clients_own_bytes() -> None:
    raw = b'{"model":"auto",  "messages":[{"role":"user","content":"x"}]}'
    seen: list[httpx.Request] = []
    made = call(raw, max_output=9, sets={"temperature": 0.5, "max_tokens": 3})
    assert await provider(b'{"input_tokens":12}', seen).count(made) == 12
    assert seen[0].url.path == "/v1/messages/count_tokens"
    assert seen[0].content == raw.replace(b'"auto"', b'"claude-haiku-4-5"')


async def test_a_count_of_a_chat_sends_what_counts() -> None:
    made = call()
    made.request.native = None
    made.request.body |= {"temperature": 0.5, "max_tokens": 3, "user": "u"}
    seen: list[httpx.Request] = []
    assert await provider(b'{"input_tokens":12}', seen).count(made) == 12
    assert orjson.loads(seen[0].content).keys() == {"model", "messages"}


@pytest.mark.parametrize("body", [b"{}", b"x", b'{"input_tokens":-1}', b'{"input_tokens":"1"}'])
async def test_a_count_that_is_none_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderError):
        await provider(body, []).count(call())


def loop(*before_the_call: dict[str, Any], **members: Any) -> bytes:
    used = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "sunny"}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [*before_the_call, used]},
        {"role": "user", "content": [result]},
    ]
    asked = {"model": "auto", "max_tokens": 4000, "thinking": LONG | {"budget_tokens": 2000}}
    return orjson.dumps({**asked, "messages": turns, **members})


UNSIGNED = {"type": "thinking", "thinking": "x", "signature": ""}


@pytest.mark.parametrize(
    ("blocks", "goes"),
    [
        ([], False),
        ([UNSIGNED], False),
        ([UNSIGNED, {"type": "text", "text": "so"}], False),
        ([UNSIGNED | {"signature": "sig"}], True),
        ([{"type": "redacted_thinking", "data": "d"}], True),
    ],
)
async def test_thinking_stays_on_in_a_tool_loop_that_began_with_it_only(
    blocks: list[dict[str, Any]], goes: bool
) -> None:
    made = call(loop(*blocks))
    body = orjson.loads(await sent(made))
    assert ("thinking" in body) is goes
    assert made.dropped == ([] if goes else ["thinking"])
    seen: list[httpx.Request] = []
    await provider(b'{"input_tokens":3}', seen).count(call(loop(*blocks)))
    assert ("thinking" in orjson.loads(seen[0].content)) is goes


async def test_thinking_that_adapts_stays_on_in_any_tool_loop() -> None:
    made = call(loop(thinking={"type": "adaptive"}), model="claude-opus-4-6")
    assert orjson.loads(await sent(made))["thinking"] == {"type": "adaptive"}
    assert made.dropped == []


async def test_a_new_question_after_a_foreign_tool_loop_may_be_thought_about() -> None:
    turns = orjson.loads(loop(UNSIGNED))["messages"]
    more = [{"role": "assistant", "content": "sunny"}, {"role": "user", "content": "b"}]
    made = call(loop(messages=[*turns, *more]))
    assert orjson.loads(await sent(made))["thinking"]["budget_tokens"] == 2000
    assert made.dropped == []
