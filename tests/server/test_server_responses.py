"""Responses as clients speak it: requests said as chat, answers and streams told as a response.

The stand-in for the engine answers in chat, or natively, behind the real server on a real socket;
OpenAI's own client reads it with strict types. `WRITE_GOLDEN=1` writes `responses/`: read the diff.
Over 300 lines because requests, answers, streams and failures of one protocol stand side by side.
"""

import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from turnout.engine.request import (
    SEALED,
    Caller,
    Native,
    Operation,
    Reply,
    Request,
    RequestError,
    StreamReply,
)
from turnout.protocols.chat_shape import check_chat
from turnout.protocols.responses import RESPONSES
from turnout.protocols.responses_seal import unsealed

GOLDEN = Path(__file__).parent / "responses"
REQUESTS = orjson.loads((GOLDEN / "requests.json").read_bytes())
STREAMS = orjson.loads((GOLDEN / "streams.json").read_bytes())
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
FAILED = RequestError(502, "upstream_error", "bad_gateway", "the provider failed")
BLOCK = {"type": "thinking", "thinking": "hmm", "signature": "c2ln"}


def request_of(asked: Any = None) -> Request:
    body = {"model": "gpt-4", "input": "hi", **(asked or {})}
    RESPONSES.check(body)
    assert RESPONSES.as_chat is not None
    said = RESPONSES.as_chat(body)
    return Request(
        id="req_01jexample",
        operation=Operation.RESPONSES,
        body=said.body,
        raw=orjson.dumps(said.body),
        model="gpt-4",
        stream=body.get("stream") is True,
        caller=Caller(),
        headers={},
        received_us=1_755_000_000_000_000,
        started_ns=0,
        native=Native(orjson.dumps(body), body, said.only, said.lost),
    )


def check_golden(name: str, cases: Any) -> None:
    path = GOLDEN / name
    written = json.dumps(cases, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(written)
    assert written == path.read_text()


# --- requests ------------------------------------------------------------------------------------


def test_a_request_is_said_as_exactly_this_chat() -> None:
    told = []
    for case in REQUESTS:
        asked = {"model": "gpt-4", "input": "hi", **case["asked"]}
        RESPONSES.check(asked)
        assert RESPONSES.as_chat is not None
        said = RESPONSES.as_chat(asked)
        check_chat(said.body)
        chat = {name: value for name, value in said.body.items() if name != "model"}
        if chat["messages"] == [{"role": "user", "content": "hi"}]:
            del chat["messages"]
        beyond = {"only": list(said.only), "lost": list(said.lost)}
        told.append(
            {"name": case["name"], "asked": case["asked"], "chat": chat}
            | {name: members for name, members in beyond.items() if members}
        )
    check_golden("requests.json", told)


WORDS = st.sampled_from(
    "message function_call function_call_output reasoning item_reference input_text output_text "
    "input_image input_file input_audio refusal user assistant system function web_search "
    "allowed_tools auto required json_schema text thinking".split()
)
NAMES = st.sampled_from(
    "type role content text id call_id name arguments output summary encrypted_content image_url "
    "file_data file_id detail refusal tools mode format effort strict parameters".split()
)
PLAIN = st.none() | st.booleans() | st.integers(-3, 30) | WORDS | st.text(max_size=3)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)
ITEMS = st.dictionaries(NAMES, VALUES, max_size=6)
BODIES = st.fixed_dictionaries(
    {"model": st.just("gpt-4")},
    optional={
        "input": st.text(max_size=3) | st.lists(ITEMS, max_size=4) | VALUES,
        "instructions": st.text(max_size=3) | VALUES,
        "tools": st.lists(ITEMS, max_size=3) | VALUES,
        "previous_response_id": st.just("resp_1"),
        **{
            name: VALUES
            for name in (
                "tool_choice text reasoning include top_logprobs max_output_tokens temperature "
                "metadata stream truncation store user n"
            ).split()
        },
    },
)


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_whatever_is_not_refused_is_a_chat_of_the_right_shape(body: dict[str, Any]) -> None:
    try:
        RESPONSES.check(body)
    except RequestError as error:
        assert error.status == 400 and error.param and error.message.endswith(".")
        return
    assert RESPONSES.as_chat is not None
    said = RESPONSES.as_chat(body)
    check_chat(said.body)
    assert said.body["messages"]
    RESPONSES.translating(
        Request(
            *("req_1", Operation.RESPONSES, said.body, b"", "gpt-4", False, Caller()),
            *({}, 1, 1, Native(b"", body)),
        )
    ).whole(completion({"content": "x"}))


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": 7}, "invalid_type", "model"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": []}, "empty_array", "input"),
        ({"input": ["hi"]}, "invalid_type", "input[0]"),
        ({"input": [{"content": "hi"}]}, "missing_required_parameter", "input[0].role"),
        ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [{"role": "user", "content": 7}]}, "invalid_type", "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"text": "x"}]}]},
            "missing_required_parameter",
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "missing_required_parameter",
            "input[0].content[0].text",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
            "missing_required_parameter",
            "input[0].arguments",
        ),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            "missing_required_parameter",
            "input[0].call_id",
        ),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"max_output_tokens": -1}, "invalid_type", "max_output_tokens"),
        ({"top_logprobs": 21}, "invalid_type", "top_logprobs"),
        ({"tools": [{}]}, "missing_required_parameter", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"text": {"format": "json"}}, "invalid_type", "text.format"),
        ({"reasoning": {"effort": 3}}, "invalid_type", "reasoning.effort"),
        ({"truncation": 3}, "invalid_type", "truncation"),
        (
            {"metadata": {"a": orjson.Fragment(b"[" * 220 + b"]" * 220)}},
            "invalid_value",
            "metadata",
        ),
    ],
)
async def test_a_body_of_the_wrong_shape_is_refused_in_the_envelope(
    client: httpx.AsyncClient, asked: Any, code: str, param: str
) -> None:
    body = {"model": "gpt-4", "input": "hi", **asked}
    headers = {"content-type": "application/json"}
    response = await client.post("/v1/responses", content=orjson.dumps(body), headers=headers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert response.headers["x-request-id"].startswith("req_")


# --- answers -------------------------------------------------------------------------------------


def completion(message: Any, finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4",
            "choices": [choice | more],
            "usage": USAGE,
        }
    )


def told(message: Any, finish: str = "stop", asked: Any = None, **more: Any) -> Response:
    whole = RESPONSES.translating(request_of(asked)).whole(completion(message, finish, **more))
    return Response.model_validate_json(whole, strict=True)


def test_everything_in_a_chat_answer_is_in_the_response() -> None:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for n in range(2)
    ]
    proof = {"google": {"thought_signature": "x"}}
    message = {
        "content": "a b",
        "reasoning_content": "hmm",
        "thinking_blocks": [BLOCK],
        "tool_calls": [calls[0], calls[1] | {"extra_content": proof}],
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"start_index": 0, "end_index": 1, "title": "t", "url": "u"},
            }
        ],
    }
    row = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    response = told(message, "tool_calls", logprobs={"content": [row]})
    assert [item.type for item in response.output] == [
        *("reasoning", "message", "function_call", "function_call"),
    ]
    thoughts, words, *called = (cast("dict[str, Any]", item.to_dict()) for item in response.output)
    assert unsealed(str(thoughts["encrypted_content"])) == [BLOCK]
    assert thoughts["summary"] == [{"type": "summary_text", "text": "hmm"}]
    (part,) = words["content"]
    assert part["text"] == "a b" and part["logprobs"] == [row]
    assert part["annotations"][0]["url"] == "u"
    assert [call["call_id"] for call in called] == ["call_0", "call_1"]
    assert called[1]["extra_content"] == proof
    assert len({item["id"] for item in (thoughts, words, *called)}) == 4
    assert response.usage is not None
    assert response.usage.to_dict() == {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 3},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    }


def test_what_was_said_comes_back_as_it_was() -> None:
    """An answer goes to the client, and its items come back with the next request."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {
        "content": "let me see",
        "reasoning_content": "hmm",
        "thinking_blocks": [BLOCK, {"type": "redacted_thinking", "data": "x"}],
        "tool_calls": [call | {"extra_content": {"google": {"thought_signature": "y"}}}],
    }
    items = [item.to_dict() for item in told(message, "tool_calls").output]
    again = request_of({"input": [*items, {"role": "user", "content": "go on"}]})
    assert again.body["messages"][0] == {"role": "assistant", **message}


@pytest.mark.parametrize("made", ["gAAAA", SEALED + "%", SEALED + "W10", SEALED + "Wzdd"])
def test_what_is_no_seal_of_ours_is_lost_by_name(made: str) -> None:
    """`W10` lacks its padding, `Wzdd` is `[7]`."""
    items = [{"type": "reasoning", "summary": [], "encrypted_content": made}]
    request = request_of({"input": [*items, {"role": "user", "content": "hi"}]})
    assert request.native is not None and "input.encrypted_content" in request.native.lost
    assert request.body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        (None, "completed", None),
    ],
)
def test_a_finish_reason_is_a_status(finish: Any, status: str, reason: Any) -> None:
    response = told({"content": "x"}, finish)
    assert response.status == status and response.output[-1].status == status  # type: ignore[union-attr]
    details = response.incomplete_details
    assert (None if details is None else details.reason) == reason


def test_what_the_client_asked_for_is_in_the_response() -> None:
    asked = {
        "instructions": "be kind",
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "high"},
        "safety_identifier": "u1",
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        "top_p": 0.9,
        "truncation": "auto",
        "user": "me",
    }
    response = told({"content": "x"}, asked=asked).to_dict()
    for name, value in asked.items():
        shown = response[name]
        if isinstance(value, dict):
            assert isinstance(shown, dict) and value.items() <= shown.items()
        elif isinstance(value, list):
            assert value[0].items() <= shown[0].items()  # type: ignore[index]
        else:
            assert shown == value
    assert response["error"] is None and response["model"] == "gpt-4"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices":[]}', b'{"choices":[7]}', b'{"choices":[{"message":7}]}']
)
def test_an_answer_with_nothing_in_it_is_an_empty_text(body: bytes) -> None:
    whole = RESPONSES.translating(request_of()).whole(body)
    response = Response.model_validate_json(whole, strict=True)
    assert response.output_text == "" and response.output[0].type == "message"
    assert response.usage is None


# --- streams -------------------------------------------------------------------------------------


def chunk_of(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4"}
    return b"data: %b\n\n" % orjson.dumps(value | {"choices": [choice]})


def usage_chunk() -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"id": "c", "choices": [], "usage": USAGE})


def events_of(raw: bytes) -> list[Any]:
    """The events, each checked: its name, its type, its number."""
    blocks = raw.split(b"\n\n")
    assert blocks.pop() == b""
    events = []
    for number, block in enumerate(blocks):
        name, data = block.split(b"\n")
        event = EVENT.validate_json(data.removeprefix(b"data: "), strict=True)
        assert name == b"event: " + event.type.encode()
        assert event.sequence_number == number
        assert b'"error":{' not in data.partition(b'"response":')[0]
        events.append(event)
    return events


def streamed(deltas: list[Any], finish: str = "stop") -> bytes:
    voice = RESPONSES.translating(request_of({"stream": True}))
    written = [voice.event(chunk_of({"role": "assistant", "content": ""}))]
    for delta in deltas:
        more = {"logprobs": delta["logprobs"]} if "logprobs" in delta else {}
        written.append(voice.event(chunk_of(delta, **more)))
    written += [voice.event(chunk_of({}, finish)), voice.event(usage_chunk()), voice.end()]
    return b"".join(written)


def added_up(events: list[Any]) -> Response:
    """The response that the client's own library makes of the events."""
    state: Any = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    for event in events:
        state.handle_event(event)
    final: Response = events[-1].response
    kept = state._completed_output
    assert [kept[index].to_dict() for index in sorted(kept)] == [
        item.to_dict() for item in final.output
    ]
    return final


def test_a_stream_is_told_in_exactly_these_events() -> None:
    told = []
    for case in STREAMS:
        raw = streamed(case["deltas"], case.get("finish", "stop"))
        final = added_up(events_of(raw))
        assert final.usage is not None and final.usage.output_tokens == 9
        kept = {name: case[name] for name in ("name", "deltas", "finish") if name in case}
        events = [orjson.loads(line[6:]) for line in raw.split(b"\n") if line[:6] == b"data: "]
        told.append({**kept, "events": [shortened(event) for event in events]})
    check_golden("streams.json", told)


def shortened(event: Any) -> Any:
    response = event.get("response")
    if response is not None:
        names = ("id", "status", "incomplete_details", "output", "usage")
        event["response"] = {name: response[name] for name in names}
    return event


@st.composite
def talks(draw: st.DrawFn) -> list[Any]:
    """Deltas in any order: thoughts, words, refusals, and calls whose arguments take turns."""
    deltas: list[Any] = []
    begun: set[int] = set()
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from("thought block text refusal call nothing".split()))
        words = draw(st.text(min_size=1, max_size=4))
        if kind == "call":
            index = draw(st.integers(0, 2))
            call: Any = {"index": index, "function": {"arguments": words}}
            if index not in begun:
                begun.add(index)
                call |= {"id": f"call_{index}", "type": "function"}
                call["function"]["name"] = f"f{index}"
            deltas.append({"tool_calls": [call]})
        elif kind == "block":
            deltas.append({"thinking_blocks": [{**BLOCK, "thinking": words}]})
        elif kind == "thought":
            deltas.append({"reasoning_content": words})
        elif kind != "nothing":
            deltas.append({"content" if kind == "text" else "refusal": words})
        else:
            deltas.append({"content": "", "tool_calls": None})
    return deltas


@settings(max_examples=80, deadline=None)
@given(talks(), st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_any_stream_adds_up_to_the_response_at_its_end(deltas: list[Any], finish: str) -> None:
    final = added_up(events_of(streamed(deltas, finish)))
    said = "".join(delta.get("content") or "" for delta in deltas)
    assert final.output_text == said
    for index in range(3):
        wanted = "".join(
            call["function"]["arguments"]
            for delta in deltas
            for call in delta.get("tool_calls") or ()
            if call["index"] == index
        )
        made = [item for item in final.output if getattr(item, "name", None) == f"f{index}"]
        assert [item.arguments for item in made] == ([wanted] if wanted else [])  # type: ignore[union-attr]
    blocks = [
        block
        for item in final.output
        if item.type == "reasoning" and item.encrypted_content
        for block in unsealed(item.encrypted_content) or ()
    ]
    assert blocks == [b for delta in deltas for b in delta.get("thinking_blocks") or ()]


@settings(max_examples=40, deadline=None)
@given(talks())
def test_a_stream_that_breaks_off_anywhere_ends_in_a_failure(deltas: list[Any]) -> None:
    voice = RESPONSES.translating(request_of({"stream": True}))
    written = [voice.event(chunk_of(delta)) for delta in deltas]
    *_, last = events_of(b"".join(written) + voice.failed(FAILED))
    assert last.type == "response.failed" and last.response.status == "failed"
    assert last.response.error.message == "the provider failed"
    assert last.response.output_text == "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (502, "server_error"), (400, "server_error")]
)
def test_the_code_of_a_failure_is_one_that_the_client_knows(status: int, code: str) -> None:
    voice = RESPONSES.translating(request_of({"stream": True}))
    error = RequestError(status, "upstream_error", "bad_gateway", "it failed")
    *_, last = events_of(voice.failed(error))
    assert last.response.error.code == code


def test_a_native_stream_that_breaks_off_is_closed_with_what_was_whole() -> None:
    item: Any = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    item["content"] = []
    begun: Any = told({"content": "x"}, asked={"instructions": "kind"}).to_dict()
    begun |= {"id": "resp_theirs", "status": "in_progress", "output": []}
    voice = RESPONSES.passing(request_of({"stream": True}))
    raw = b""
    written: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"item": item, "output_index": 0}),
        ("response.output_item.done", {"item": item, "output_index": 0}),
    ]
    for number, (kind, members) in enumerate(written):
        data = orjson.dumps({"type": kind, "sequence_number": number, **members})
        event = b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
        assert voice.event(event) == event
        raw += event
    *_, last = events_of(raw + voice.failed(FAILED))
    assert last.type == "response.failed" and last.response.id == "resp_theirs"
    assert [one.id for one in last.response.output] == ["msg_1"]
    assert last.response.instructions == "kind" and last.response.error.code == "server_error"
    assert voice.end() == b"" and voice.whole(b"{}") == b"{}"


def test_a_native_stream_without_any_event_still_ends_in_a_failure() -> None:
    voice = RESPONSES.passing(request_of({"stream": True}))
    (last,) = events_of(voice.failed(FAILED))
    assert last.response.id == "resp_01jexample"


# --- over sockets --------------------------------------------------------------------------------


def sdk(served: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{served.url}/v1",
        api_key="any",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    )


async def test_the_client_reads_answers_and_streams(served: Any) -> None:
    async with sdk(served) as client:
        answer = await client.responses.create(model="gpt-4", input="hi")
        assert answer.output_text == "hello"
        assert answer._request_id is not None and answer._request_id.startswith("req_")
        assert answer.id == answer._request_id.replace("req_", "resp_")
        async with client.responses.stream(model="gpt-4", input="hi") as stream:
            final = await stream.get_final_response()
        assert final.output_text == "hello"
    (request, _) = served.gateway.requests
    assert request.operation is Operation.RESPONSES
    assert request.body["messages"] == [{"role": "user", "content": "hi"}]
    assert orjson.loads(request.native.raw) == {"model": "gpt-4", "input": "hi"}


async def test_a_native_stream_passes_byte_for_byte_and_has_no_closing_mark(
    serve: Any, stub_gateway: Any
) -> None:
    sent = [b'event: response.created\ndata: {"type":"x"}\n\n', b'data: {"y" : 1.50}\n\n']

    async def answer(request: Request) -> Reply | StreamReply:
        async def chunks() -> AsyncGenerator[bytes, None]:
            for event in sent:
                yield event

        return StreamReply(200, {}, chunks(), native=True)

    body = {"model": "gpt-4", "input": "hi", "stream": True}
    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/responses", json=body)
    assert response.content == b"".join(sent)
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("native", [False, True])
async def test_a_stream_that_fails_ends_in_one_event(
    serve: Any, stub_gateway: Any, native: bool
) -> None:
    async def answer(request: Request) -> Reply | StreamReply:
        async def chunks() -> AsyncGenerator[bytes, None]:
            if not native:
                yield chunk_of({"content": "so far"})
            reply.failure = FAILED

        reply = StreamReply(200, {}, chunks(), native=native)
        return reply

    async with serve(stub_gateway(answer)) as served, sdk(served) as client:
        stream = await client.responses.create(model="gpt-4", input="hi", stream=True)
        events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.failed" and last.response.error is not None
    assert last.response.error.message == "the provider failed"


async def test_errors_of_the_engine_have_the_envelope(serve: Any, stub_gateway: Any) -> None:
    async def answer(request: Request) -> Reply | StreamReply:
        raise RequestError(
            *(400, "invalid_request_error", "unsupported_parameter", "no"), param="conversation"
        )

    async with serve(stub_gateway(answer)) as served, sdk(served) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="gpt-4", input="hi", stream=True)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "conversation")
    assert caught.value.request_id
