"""Responses at a provider that speaks them: bytes in, bytes out, and what is read on the way."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from turnout.adapters import build
from turnout.adapters.openai_responses import ResponseRelay, read_response
from turnout.adapters.splice import splice_inside
from turnout.adapters.sse import Event, Parser
from turnout.engine.provider import Call, Chunk, Fault, ProviderError
from turnout.engine.request import SEALED, Caller, Native, Operation, Request
from turnout.protocols.responses import RESPONSES

GOLDEN = Path(__file__).parent / "golden" / "responses"
STREAMS = sorted(GOLDEN.glob("*.upstream.sse"))
ANSWERS = sorted(GOLDEN.glob("*.upstream.json"))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MODEL = b'"model":"gpt-5-2025-08-07"'
DONE = b'{"id":"r","object":"response","output":[],"model":"m","status":"completed"}'


def call_of(raw: bytes = b'{"model":"gpt-4","input":"hi"}', **sets: Any) -> Call:
    body = orjson.loads(raw)
    RESPONSES.check(body)
    assert RESPONSES.as_chat is not None
    said = RESPONSES.as_chat(body)
    request = Request(
        id="req_1",
        operation=Operation.RESPONSES,
        body=said.body,
        raw=orjson.dumps(said.body),
        model="gpt-4",
        stream=body.get("stream") is True,
        caller=Caller(),
        headers={},
        received_us=1_755_000_000_000_000,
        started_ns=0,
        native=Native(raw, body, said.only, said.lost),
    )
    return Call(request, "upstream-model", "gpt-4", 8192, 2_000_000, 5_000_000, sets=sets)


def parsed(pieces: list[bytes]) -> list[Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


def relayed(pieces: list[bytes]) -> list[Chunk]:
    relay = ResponseRelay(call_of(), ())
    chunks = [relay.take(event) for event in parsed(pieces)]
    relay.finish()
    return [chunk for chunk in chunks if chunk is not None]


async def sent_for(bench: Any, call: Call) -> httpx.Request:
    seen: list[httpx.Request] = []
    await bench.answering("openai", DONE, seen=seen).answer(call)
    assert call.native
    (request,) = seen
    return request


# --- requests ------------------------------------------------------------------------------------


async def test_a_request_leaves_as_it_came_but_for_the_model(bench: Any) -> None:
    raw = (
        b'{ "input" : [{"type":"item_reference","id":"msg_1"}, {"type":"x","model":"not this"}],\n'
        b'  "unknown": {"serial": 123456789012345678901234567890, "float": 1.50e0},\n'
        b'  "model" : "gpt-4", "previous_response_id":"resp_1", "tools":[{"type":"web_search"}] }'
    )
    request = await sent_for(bench, call_of(raw))
    assert request.url.path == "/v1/responses"
    assert request.content == raw.replace(b'"gpt-4"', b'"upstream-model"')


async def test_what_the_policy_sets_has_the_names_of_this_protocol(bench: Any) -> None:
    call = call_of(
        b'{"model":"gpt-4","input":"hi","reasoning":{"summary":"auto"},"max_output_tokens":9}',
        max_tokens=100,
        reasoning_effort="low",
        seed=1,
        presence_penalty=0,
        user="me",
    )
    sent = orjson.loads((await sent_for(bench, call)).content)
    assert sent == {
        "model": "upstream-model",
        "input": "hi",
        "reasoning": {"summary": "auto", "effort": "low"},
        "max_output_tokens": 100,
        "user": "me",
    }
    assert call.dropped == ["seed"]


async def test_what_this_protocol_cannot_say_is_said_as_chat(bench: Any) -> None:
    seen: list[httpx.Request] = []
    provider = bench.answering("openai", b'{"choices":[{"message":{"content":"x"}}]}', seen=seen)
    call = call_of(stop="END")
    await provider.answer(call)
    assert not call.native
    assert seen[0].url.path == "/v1/chat/completions"
    assert orjson.loads(seen[0].content)["stop"] == "END"


async def test_what_a_target_refuses_is_left_out_and_named(bench: Any) -> None:
    call = call_of(b'{"model":"gpt-4","input":"hi","temperature":0.5,"top_p":1}')
    call.refused = frozenset({"temperature", "top_p"})
    sent = orjson.loads((await sent_for(bench, call)).content)
    assert sent == {"model": "upstream-model", "input": "hi"}
    assert call.dropped == ["temperature"]


async def test_thoughts_that_others_signed_do_not_reach_the_provider(bench: Any) -> None:
    items = [
        {"type": "reasoning", "summary": [], "encrypted_content": SEALED + "W10="},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"role": "user", "content": "hi"},
    ]
    call = call_of(orjson.dumps({"model": "gpt-4", "input": items}))
    assert orjson.loads((await sent_for(bench, call)).content)["input"] == items[1:]


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ANSWERS, ids=lambda p: p.name.split(".")[0])
async def test_an_answer_comes_back_as_it_is_but_for_the_model(bench: Any, path: Path) -> None:
    raw = path.read_bytes()
    call = call_of()
    answer = await bench.answering("openai", raw).answer(call)
    assert call.native
    assert answer.body == raw.replace(b'"model": "gpt-5-2025-08-07"', b'"model": "gpt-4"')
    stem = path.name.split(".")[0]
    notes = {
        "usage": answer.usage,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "upstream_model": answer.upstream_model,
    }
    bench.check(GOLDEN / f"{stem}.notes.json", orjson.dumps(notes, option=orjson.OPT_INDENT_2))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", Fault.BAD_OUTPUT),
        (b"<html>", Fault.BAD_OUTPUT),
        (b"[]", Fault.BAD_OUTPUT),
        (b'{"output": 7}', Fault.BAD_OUTPUT),
        (b'{"choices": []}', Fault.BAD_OUTPUT),
        (b'{"error": {"code": "rate_limit_exceeded"}}', Fault.RATE_LIMIT),
        (b'{"output": [], "status": "failed", "error": {"code": "server_error"}}', Fault.SERVER),
        (b'{"output": [], "status": "failed", "error": null}', Fault.SERVER),
        (
            b'{"output": [], "error": {"code": "invalid_prompt", "message": "no"}}',
            Fault.BAD_REQUEST,
        ),
    ],
)
async def test_what_is_no_answer_is_a_fault(bench: Any, body: bytes, fault: Fault) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("openai", body).answer(call_of())
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "odd",
    [
        {"output": [7, None, {"type": 7, "content": 7, "summary": [7]}]},
        {"usage": 7},
        {"usage": {"input_tokens": "1", "output_tokens": -1}},
        {"usage": {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": []}},
        {"status": 7, "model": 7},
        {"status": "incomplete", "incomplete_details": 7},
    ],
)
async def test_odd_members_of_an_answer_break_nothing(bench: Any, odd: Any) -> None:
    body = orjson.dumps({"output": [], **odd})
    answer = await bench.answering("openai", body).answer(call_of())
    assert orjson.loads(answer.body)["model"] == "gpt-4"


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_comes_back_as_it_is_but_for_the_model(bench: Any, path: Path) -> None:
    raw = path.read_bytes()
    chunks = relayed([raw])
    assert b"".join(chunk.data for chunk in chunks) == raw.replace(MODEL, b'"model":"gpt-4"')
    whole = orjson.loads((GOLDEN / path.name.replace(".sse", ".json")).read_bytes())
    assert chunks[-1].usage is not None and chunks[-1].finish_reason is not None
    assert {chunk.upstream_model for chunk in chunks} == {whole["model"]}
    notes = {
        "usage": chunks[-1].usage,
        "text": "".join(chunk.text for chunk in chunks),
        "finish_reason": chunks[-1].finish_reason,
        "upstream_model": whole["model"],
    }
    stem = path.name.split(".")[0]
    # A stream is noted as the same answer in one piece.
    assert (
        orjson.dumps(notes, option=orjson.OPT_INDENT_2)
        == (GOLDEN / f"{stem}.notes.json").read_bytes()
    )
    for chunk in chunks[:-1]:
        data = chunk.data.split(b"\ndata: ", 1)[1]
        EVENT.validate_json(data)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_content_begins_with_the_first_thing_that_is_shown(path: Path) -> None:
    chunks = relayed([path.read_bytes()])
    kinds = [re.match(rb"event: (\S+)", chunk.data).group(1).decode() for chunk in chunks]  # type: ignore[union-attr]
    first = next(kind for kind, chunk in zip(kinds, chunks, strict=True) if chunk.content)
    assert (
        first
        == {
            "reasoning": "response.reasoning_summary_text.delta",
            "tools": "response.output_item.added",
            "incomplete": "response.output_text.delta",
            "refusal_after_search": "response.output_item.added",
        }[path.name.split(".")[0]]
    )
    assert [chunk.content for chunk in chunks] == sorted(chunk.content for chunk in chunks)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_is_the_same_wherever_its_bytes_are_split(path: Path) -> None:
    whole = path.read_bytes()
    expected = relayed([whole])
    events = parsed([whole])
    for at in range(1, len(whole)):
        # The relay sees nothing but these.
        assert parsed([whole[:at], whole[at:]]) == events, at
    assert relayed([whole[i : i + 1] for i in range(len(whole))]) == expected
    returns = whole.replace(b"\n", b"\r\n")
    assert relayed([returns]) == expected


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_cut_before_its_last_event_is_never_an_answer(path: Path) -> None:
    whole = path.read_bytes()
    last = whole.rindex(b"event: ")
    for at in (*range(0, last, 13), *range(last, len(whole) - 3)):
        with pytest.raises(ProviderError) as caught:
            relayed([whole[:at]])
        assert caught.value.fault is Fault.BAD_OUTPUT, at


@pytest.mark.parametrize(
    ("event", "fault", "usage"),
    [
        (b'event: error\ndata: {"type":"error","code":"server_error","message":"x"}', "5xx", None),
        (b'data: {"type":"error","error":{"code":"rate_limit_exceeded"}}', "rate_limit", None),
        (b'data: {"error":{"code":"insufficient_quota"}}', "quota", None),
        (
            b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":'
            b'"server_error","message":"at sk-canary"},"usage":{"input_tokens":3,"output_tokens":4'
            b"}}}",
            "5xx",
            (3, 4),
        ),
        (b'data: {"type":"response.failed"}', "5xx", None),
        (b"data: [1]", "bad_output", None),
        (b'data: {"type":', "bad_output", None),
    ],
)
async def test_a_failure_in_a_stream_is_a_fault_with_what_was_used(
    bench: Any, event: bytes, fault: str, usage: Any
) -> None:
    begun = STREAMS[0].read_bytes().split(b"\n\n")[:5]
    body = b"\n\n".join([*begun, event]) + b"\n\n"
    provider = bench.answering("openai", body, headers={"content-type": "text/event-stream"})
    call = call_of(b'{"model":"gpt-4","input":"hi","stream":true}')
    chunks: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        async for chunk in provider.stream(call):
            chunks.append(chunk)
    assert call.native and len(chunks) == 5
    assert caught.value.fault.value == fault
    assert "canary" not in caught.value.message
    used = caught.value.usage
    assert (None if used is None else (used.input, used.output)) == usage


async def test_what_follows_the_last_event_is_not_waited_for(bench: Any) -> None:
    body = STREAMS[0].read_bytes() + b"data: [DONE]\n\ndata: garbage\n\n"
    headers = {"content-type": "text/event-stream"}
    chunks = await bench.read(bench.answering("openai", body, headers=headers).stream(call_of()))
    assert b'"response.incomplete"' in chunks[-1].data


@pytest.mark.parametrize("kind", ["groq", "ollama", "anthropic"])
async def test_other_kinds_refuse_what_only_openai_has(bench: Any, kind: str) -> None:
    raw = b'{"model":"gpt-4","input":"hi","previous_response_id":"resp_1"}'
    with pytest.raises(ProviderError) as caught:
        await bench.answering(kind, b"{}").answer(call_of(raw))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "previous_response_id")


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("openai", None, "/v1/responses"),
        ("mine", "openai", "/v1/responses"),
        ("mine", None, "/v1/chat/completions"),
    ],
)
async def test_only_a_provider_that_is_known_to_is_asked_in_this_protocol(
    name: str, kind: str | None, path: str
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        chat = b'{"choices":[{"message":{"content":"x"}}]}'
        return httpx.Response(200, content=chat if path.endswith("completions") else DONE)

    transport = httpx.MockTransport(answer)
    provider = build(name, kind, "https://models.test/v1", {}, "key", transport)
    await provider.answer(call_of())
    assert seen[0].url.path == path


# --- answers of others ---------------------------------------------------------------------------


OTHERS = sorted(
    path
    for kind in ("openai", "anthropic", "groq", "ollama")
    for path in GOLDEN.parent.glob(f"streams/{kind}/*.upstream.sse")
)


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
async def test_what_others_stream_is_told_as_a_response_however_it_is_cut(
    bench: Any, path: Path
) -> None:
    """The upstream's bytes through adapter and voice: every event is one that the client knows."""
    raw = path.read_bytes()
    call = call_of(b'{"model":"gpt-4","input":"hi","stream":true}')

    async def told(pieces: list[bytes]) -> bytes:
        async def content() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        def answer(request: httpx.Request) -> httpx.Response:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, content=content())

        provider = bench.provider(path.parent.name, httpx.MockTransport(answer))
        voice = RESPONSES.translating(call.request)
        if path.parent.name == "openai":
            provider = build(
                "mine", None, "https://m.test/v1", {}, "k", httpx.MockTransport(answer)
            )
        written = [voice.event(c.data) async for c in provider.stream(call) if c.data]
        return b"".join(written) + voice.end()

    expected = await told([raw])
    blocks = expected.split(b"\n\n")[:-1]
    events = [EVENT.validate_json(block.split(b"\ndata: ", 1)[1]) for block in blocks]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert await told([raw[at : at + 1] for at in range(len(raw))]) == expected
    for at in range(1, len(raw), 1 + len(raw) // 40):
        assert await told([raw[:at], raw[at:]]) == expected, at


# --- garbage -------------------------------------------------------------------------------------


KEYS = st.sampled_from(
    "type response item delta error output usage model status incomplete_details reason content "
    "summary text input_tokens output_tokens input_tokens_details code message".split()
)
WORDS = st.sampled_from(
    "response.created response.completed response.incomplete response.failed error message "
    "response.output_item.added response.output_text.delta function_call completed".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | WORDS | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from([b"", b"error", b"response.completed", b"\xff"]))
def test_nothing_in_an_event_breaks_the_relay(data: Any, name: bytes) -> None:
    relay = ResponseRelay(call_of(), ())
    for event in (Event(name, orjson.dumps(data)), Event(name, b"{}")):
        with suppress(ProviderError):
            relay.take(event)
    with suppress(ProviderError):
        relay.finish()


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_nothing_in_an_answer_breaks_the_reading(data: Any) -> None:
    with suppress(ProviderError):
        answer = read_response(orjson.dumps(data), call_of(), ())
        assert orjson.loads(answer.body)["model"] == "gpt-4"


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.dictionaries(KEYS, VALUES, max_size=5))
def test_a_member_within_a_member_is_set_and_nothing_else(outer: Any, inner: Any) -> None:
    whole = {**outer, "response": inner}
    told = splice_inside(orjson.dumps(whole), whole, "response", {"model": b'"m"'})
    assert orjson.loads(told) == {**whole, "response": {**inner, "model": "m"}}


class Endless(httpx.AsyncByteStream):
    """A body that goes on until it is closed."""

    closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b'data: {"type":"response.output_text.delta","delta":"x"}\n\n'
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        self.closed = True


async def test_a_client_that_leaves_closes_the_connection_to_the_provider(bench: Any) -> None:
    body = Endless()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    chunks = bench.provider("openai", httpx.MockTransport(answer)).stream(call_of())
    assert (await anext(chunks)).content and not body.closed
    await chunks.aclose()
    assert body.closed
