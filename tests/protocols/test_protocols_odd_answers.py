"""Odd but legal chat answers in other protocols: strict clients read them, nothing is lost."""

import asyncio
from typing import Any, cast

import httpx
import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import Completion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from turnout.adapters import build
from turnout.engine.provider import Call
from turnout.engine.request import Caller, Request
from turnout.protocols.client import ClientProtocol
from turnout.protocols.completions import COMPLETIONS
from turnout.protocols.messages import MESSAGES
from turnout.protocols.responses import RESPONSES
from turnout.server.body import read

Json = dict[str, Any]

BODIES: dict[str, tuple[ClientProtocol, Json]] = {
    "messages": (MESSAGES, {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "responses": (RESPONSES, {"input": "hi"}),
    "completions": (COMPLETIONS, {"prompt": "hi"}),
}
MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def told(name: str, upstream: bytes, *, stream: bool) -> bytes:
    """What a client of a protocol gets where a provider of chat answers this."""
    protocol, body = BODIES[name]
    said, raw, native = read(orjson.dumps({"model": "auto", "stream": stream, **body}), protocol)
    request = Request(
        "req_1", protocol.operation, said, raw, "auto", stream, Caller(), {}, 10**15, 0, native
    )
    kind = "text/event-stream" if stream else "application/json"
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, content=upstream, headers={"content-type": kind})
    )
    provider = build("groq", "groq", None, {}, "sk-secret-0123456789", transport)
    call = Call(request, "m", "auto", None, 1_000_000, 1_000_000)
    voice = protocol.translating(request)

    async def answered() -> bytes:
        if not stream:
            return voice.whole((await provider.answer(call)).body)
        events = [chunk.data async for chunk in provider.stream(call)]
        return b"".join(voice.event(event) for event in events if event) + voice.end()

    return asyncio.run(answered())


def chunk(delta: Any = None, finish: Any = None, index: int = 0, **members: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %b\n\n" % orjson.dumps({**head, "choices": [choice], **members})


def call(index: int, arguments: str, name: str | None = None) -> Json:
    piece: Json = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        piece |= {"id": f"call_{index}", "type": "function"}
        piece["function"]["name"] = name
    return {"tool_calls": [piece]}


def told_events(name: str, chunks: list[bytes]) -> list[Any]:
    events = []
    for block in told(name, b"".join(chunks) + b"data: [DONE]\n\n", stream=True).split(b"\n\n"):
        data = b"".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: "))
        if data and data != b"[DONE]":
            events.append(orjson.loads(data))
    return events


def as_message(chunks: list[bytes]) -> Message:
    snapshot: Any = None
    buffers: Any = {}
    is_open = None
    for event in told_events("messages", chunks):
        parsed = MESSAGE_EVENT.validate_python(event)
        if parsed.type == "content_block_start":
            assert is_open is None
            is_open = parsed.index
        elif parsed.type == "content_block_delta":
            assert parsed.index == is_open
        elif parsed.type == "content_block_stop":
            assert parsed.index == is_open
            is_open = None
        snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    assert is_open is None
    return cast(Message, snapshot)


def as_response(chunks: list[bytes]) -> Response:
    events = told_events("responses", chunks)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        RESPONSE_EVENT.validate_python(event)
    last = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    by_id = {item["id"]: item for item in done}
    assert [by_id[item["id"]] for item in last["output"]] == last["output"]
    return Response.model_validate(last)


def told_by_message(message: Message) -> tuple[str, list[tuple[str, Any]]]:
    texts = "".join(one.text for one in message.content if one.type == "text")
    calls = [(one.name, one.input) for one in message.content if one.type == "tool_use"]
    return texts, calls


def told_by_response(response: Response) -> tuple[str, list[tuple[str, Any]]]:
    calls = [
        (one.name, orjson.loads(one.arguments or "{}"))
        for one in response.output
        if one.type == "function_call"
    ]
    return response.output_text, calls


MANY = [
    chunk(call(index, piece, f"f{index}" if piece == "" else None))
    for piece in ("", '{"a":', "[1,", "2]}")
    for index in range(50)
]
STREAMS: dict[str, tuple[list[bytes], str, list[tuple[str, Any]]]] = {
    "text-amid-a-call": (
        [
            chunk({"role": "assistant", "content": "one "}),
            chunk(call(0, "", "f")),
            chunk(call(0, '{"a":')),
            chunk({"content": "two"}),
            chunk(call(0, '"b"}')),
            chunk({"content": " three"}),
            chunk({}, "tool_calls"),
        ],
        "one two three",
        [("f", {"a": "b"})],
    ),
    "text-and-a-call-at-once": (
        [
            chunk({"content": "a", **call(0, '{"x":1', "f")}),
            chunk({"content": "b", **call(0, "}")}),
            chunk({}, "tool_calls"),
        ],
        "ab",
        [("f", {"x": 1})],
    ),
    "thoughts-amid-a-call": (
        [
            chunk(call(0, '{"x"', "f")),
            chunk({"reasoning_content": "hm"}),
            chunk(call(0, ":1}")),
            chunk({}, "tool_calls"),
        ],
        "",
        [("f", {"x": 1})],
    ),
    "fifty-at-the-same-time": (
        [*MANY, chunk({}, "tool_calls")],
        "",
        [(f"f{index}", {"a": [1, 2]}) for index in range(50)],
    ),
    "a-call-without-arguments-between-words": (
        [
            chunk(call(0, "", "f")),
            chunk({"content": "a"}),
            chunk(call(1, '{"x":1}', "g")),
            chunk({}, "tool_calls"),
        ],
        "a",
        [("f", {}), ("g", {"x": 1})],
    ),
    "text-between-interleaved-calls": (
        [
            chunk(call(0, '{"x":', "f")),
            chunk(call(1, '{"y":', "g")),
            chunk({"content": "t"}),
            chunk(call(1, "2}")),
            chunk(call(0, "1}")),
            chunk({}, "tool_calls"),
        ],
        "t",
        [("f", {"x": 1}), ("g", {"y": 2})],
    ),
    "nothing": ([chunk({"role": "assistant", "content": ""}), chunk({}, "stop")], "", []),
    "only-a-finish": ([chunk({"content": None}, "stop")], "", []),
    "an-unknown-finish": ([chunk({"content": "a"}), chunk({}, "eos_token")], "a", []),
    "one-long-piece": ([chunk({"content": "word " * 200_000}, "length")], "word " * 200_000, []),
    "another-choice": (
        [chunk({"content": "b"}, "stop", 1), chunk({"content": "a"}, "stop")],
        "a",
        [],
    ),
    "odd-members": (
        [
            chunk({"content": "a", "annotations": [None, {"type": "x"}]}, service_tier=["a"]),
            chunk({}, "stop", usage={"prompt_tokens": "x", "completion_tokens": None}),
        ],
        "a",
        [],
    ),
    "several-texts-in-one-event": (
        [
            b'data: {"id":"c","choices":[{"index":0,\ndata: "delta":{"content":"a"}}]}\n\n',
            chunk({}, "stop"),
        ],
        "a",
        [],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_message_holds_all_of_an_odd_stream(name: str) -> None:
    chunks, text, calls = STREAMS[name]
    assert told_by_message(as_message(chunks)) == (text, calls)


@pytest.mark.parametrize("name", STREAMS)
def test_a_response_holds_all_of_an_odd_stream(name: str) -> None:
    chunks, text, calls = STREAMS[name]
    assert told_by_response(as_response(chunks)) == (text, calls)


@pytest.mark.parametrize("name", STREAMS)
def test_a_completion_takes_an_odd_stream(name: str) -> None:
    chunks, text, _ = STREAMS[name]
    events = told_events("completions", chunks)
    shown = [choice for event in events for choice in event["choices"] if choice["index"] == 0]
    assert "".join(choice["text"] for choice in shown) == text


def whole(message: Any, finish: Any = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return orjson.dumps({**head, "choices": [choice], **members})


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
WHOLES: dict[str, tuple[bytes, str, list[tuple[str, Any]]]] = {
    "null": (whole({"role": "assistant", "content": None}), "", []),
    "no-content": (whole({"role": "assistant"}), "", []),
    "no-finish": (whole({"content": "a"}, None), "a", []),
    "odd-finish": (whole({"content": "a"}, ["x"]), "a", []),
    "refusal": (whole({"content": None, "refusal": "no"}, "stop"), "", []),
    "thoughts": (whole({"content": None, "reasoning_content": "hm"}), "", []),
    "cut-thoughts": (whole({"content": "", "reasoning": "hm"}, "length"), "", []),
    "call": (whole({"content": None, "tool_calls": [CALL]}, "tool_calls"), "", [("f", {"a": 1})]),
    "call-said-to-stop": (
        whole({"content": "a", "tool_calls": [CALL]}, "stop"),
        "a",
        [("f", {"a": 1})],
    ),
    "empty-arguments": (
        whole({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": ""}}]}),
        "",
        [("f", {})],
    ),
    "null-usage": (whole({"content": "a"}, usage=None), "a", []),
    "odd-members": (
        whole({"content": "a", "annotations": [1]}, service_tier=[1], usage={"prompt_tokens": 1}),
        "a",
        [],
    ),
    "odd-thoughts": (
        whole({"content": "a", "thinking_blocks": [{"type": "other"}, {"type": "thinking"}, 1]}),
        "a",
        [],
    ),
    "odd-ids": (
        whole({"content": None, "tool_calls": [{**CALL, "id": 7}]}, model=None, id=None),
        "",
        [("f", {"a": 1})],
    ),
}


@pytest.mark.parametrize("name", WHOLES)
def test_a_message_says_all_of_an_odd_answer(name: str) -> None:
    body, text, calls = WHOLES[name]
    message = Message.model_validate_json(told("messages", body, stream=False))
    assert told_by_message(message) == (text, calls)


@pytest.mark.parametrize("name", WHOLES)
def test_a_response_says_all_of_an_odd_answer(name: str) -> None:
    body, text, calls = WHOLES[name]
    response = Response.model_validate_json(told("responses", body, stream=False))
    assert told_by_response(response) == (text, calls)


@pytest.mark.parametrize("name", WHOLES)
def test_a_completion_says_an_odd_answer(name: str) -> None:
    body, text, _ = WHOLES[name]
    completion = Completion.model_validate_json(told("completions", body, stream=False))
    assert completion.choices[0].text == (text or ("no" if name == "refusal" else ""))


def test_arguments_nested_too_deep_are_shown_as_they_were_written() -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    made = {**CALL, "function": {"name": "f", "arguments": deep}}
    message = Message.model_validate_json(
        told("messages", whole({"content": None, "tool_calls": [made]}), stream=False)
    )
    assert told_by_message(message) == ("", [("f", {"arguments": deep})])
