"""Legacy completions at a provider that has them: bytes in, bytes out."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.adapters.openai_completions import CompletionRelay, read_completion
from turnout.adapters.sse import Event, Parser
from turnout.engine.provider import Call, Chunk, Fault, ProviderError
from turnout.engine.request import Caller, Native, Operation, Request, Usage
from turnout.protocols.completions import COMPLETIONS

GOLDEN = Path(__file__).parent / "golden" / "completions"
STREAMS = sorted(GOLDEN.glob("*.upstream.sse"))
MODEL = "gpt-3.5-turbo-instruct"
SHOWN = b"gpt-3.5-turbo-instruct:20230824-v2"
USED = Usage(4, 6)


def call_of(model: str = MODEL, **members: Any) -> Call:
    body = {"model": "gpt-4", "prompt": "hi", **members}
    COMPLETIONS.check(body)
    assert COMPLETIONS.as_chat is not None
    said = COMPLETIONS.as_chat(body)
    request = Request(
        id="req_1",
        operation=Operation.COMPLETIONS,
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
    return Call(request, model, "gpt-4", 8192, 2_000_000, 5_000_000)


def parsed(pieces: list[bytes]) -> list[Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


def relayed(pieces: list[bytes], **members: Any) -> list[Chunk]:
    relay = CompletionRelay(call_of(stream=True, **members), ())
    chunks = [relay.take(event) for event in parsed(pieces)]
    relay.finish()
    return [chunk for chunk in chunks if chunk is not None]


async def sent_for(bench: Any, call: Call) -> Any:
    seen: list[httpx.Request] = []
    answer = b'{"choices":[{"text":"x","index":0,"finish_reason":"stop"}]}'
    await bench.answering("openai", answer, seen=seen).answer(call)
    (request,) = seen
    assert request.url.path == "/v1/completions"
    return orjson.loads(request.content)


@pytest.mark.parametrize("model", [MODEL, "davinci-002", "ft:davinci-002:acme::9x"])
async def test_a_legacy_model_gets_what_the_client_wrote(bench: Any, model: str) -> None:
    call = call_of(model, prompt=[[1, 2], [3]], suffix="end", best_of=3, x={"a": 1})
    assert await sent_for(bench, call) == {
        **{"model": model, "prompt": [[1, 2], [3]], "suffix": "end", "best_of": 3},
        "x": {"a": 1},
    }
    assert call.native and call.dropped == []


async def test_vllm_has_completions_for_every_model(bench: Any) -> None:
    seen: list[httpx.Request] = []
    answer = b'{"choices":[{"text":"x","index":0,"finish_reason":"stop"}]}'

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=answer)

    url = "http://models.test/v1"
    provider = bench.provider("vllm", httpx.MockTransport(reply), url)
    call = call_of("Qwen/Qwen3-8B", guided_regex="[0-9]+")
    await provider.answer(call)
    assert call.native and seen[0].url.path == "/v1/completions"
    assert orjson.loads(seen[0].content)["guided_regex"] == "[0-9]+"


async def test_a_chat_model_gets_a_chat(bench: Any) -> None:
    seen: list[httpx.Request] = []
    provider = bench.answering("openai", b'{"choices":[{"message":{"content":"x"}}]}', seen=seen)
    call = call_of("gpt-4o", x=1)
    await provider.answer(call)
    assert not call.native and call.dropped == ["x"]
    sent = orjson.loads(seen[0].content)
    assert sent["messages"] == [{"role": "user", "content": "hi"}]
    assert sent["max_tokens"] == 16


@pytest.mark.parametrize(
    "member", [{"prompt": ["a", "b"]}, {"prompt": [1]}, {"suffix": "s"}, {"best_of": 2}]
)
async def test_what_chat_cannot_do_is_refused_by_name(bench: Any, member: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("openai", b"{}").answer(call_of("gpt-4o", **member))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, next(iter(member)))


async def test_what_the_policy_sets_is_written_over_the_client_s(bench: Any) -> None:
    call = call_of(max_tokens=9, temperature=1)
    call.sets = {"max_tokens": 5, "reasoning_effort": "low", "seed": 4}
    sent = await sent_for(bench, call)
    assert (sent["max_tokens"], sent["seed"], sent["temperature"]) == (5, 4, 1)
    assert call.dropped == ["reasoning_effort"] and "reasoning_effort" not in sent


async def test_an_answer_comes_back_as_it_is_but_for_the_model(bench: Any) -> None:
    raw = (GOLDEN / "text.upstream.json").read_bytes()
    answer = await bench.answering("openai", raw).answer(call_of())
    assert answer.body == raw.replace(SHOWN, b"gpt-4")
    assert (answer.usage, answer.text, answer.finish_reason) == (USED, "Grüße", "stop")
    assert answer.upstream_model == SHOWN.decode()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", Fault.BAD_OUTPUT),
        (b'{"choices": []}', Fault.BAD_OUTPUT),
        (b'{"choices": [7]}', Fault.BAD_OUTPUT),
        (b'{"error": {"code": "rate_limit_exceeded"}}', Fault.RATE_LIMIT),
    ],
)
async def test_what_is_no_answer_is_a_fault(bench: Any, body: bytes, fault: Fault) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("openai", body).answer(call_of())
    assert caught.value.fault is fault


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_comes_back_as_it_is_but_for_the_model(path: Path) -> None:
    raw = path.read_bytes()
    several = {"n": 2} if path.name.startswith("two") else {}
    asked = relayed([raw], stream_options={"include_usage": True}, **several)
    expected = raw.replace(SHOWN, b"gpt-4").removesuffix(b"data: [DONE]\n\n")
    assert b"".join(chunk.data for chunk in asked) == expected
    assert asked[-1].usage == USED
    plain = relayed([raw], **several)
    # Usage was asked for by the gateway alone.
    assert b"usage" not in b"".join(chunk.data for chunk in plain)
    assert plain[-1].usage == USED and plain[-1].data == b""
    assert b"123456789012345678901234567890" in plain[0].data
    assert [chunk.content for chunk in plain] == [True] * len(plain)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_is_the_same_wherever_its_bytes_are_split(path: Path) -> None:
    whole = path.read_bytes()
    several = {"n": 2} if path.name.startswith("two") else {}
    expected = relayed([whole], **several)
    for at in range(1, len(whole)):
        assert relayed([whole[:at], whole[at:]], **several) == expected, at


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_cut_before_its_finish_is_never_an_answer(path: Path) -> None:
    whole = path.read_bytes()
    several = {"n": 2} if path.name.startswith("two") else {}
    for at in range(whole.rindex(b'"finish_reason":"')):
        with pytest.raises(ProviderError) as caught:
            relayed([whole[:at]], **several)
        assert caught.value.fault is Fault.BAD_OUTPUT, at


async def test_an_error_in_a_stream_is_a_fault(bench: Any) -> None:
    body = STREAMS[0].read_bytes().split(b"\n\n")[0] + (
        b'\n\ndata: {"error":{"code":"server_error","message":"x"}}\n\n'
    )
    provider = bench.answering("openai", body, headers={"content-type": "text/event-stream"})
    with pytest.raises(ProviderError) as caught:
        await bench.read(provider.stream(call_of(stream=True)))
    assert caught.value.fault is Fault.SERVER


async def test_a_stream_asks_for_usage_and_an_answer_does_not(bench: Any) -> None:
    options = {"include_usage": True, "x": 1}
    assert "stream_options" not in await sent_for(bench, call_of(stream_options=options))
    seen: list[httpx.Request] = []
    body = STREAMS[0].read_bytes()
    headers = {"content-type": "text/event-stream"}
    provider = bench.answering("openai", body, headers=headers, seen=seen)
    await bench.read(provider.stream(call_of(stream=True, stream_options={"x": 1})))
    assert orjson.loads(seen[0].content)["stream_options"] == options


KEYS = st.sampled_from("choices text index finish_reason usage model error id logprobs".split())
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_nothing_in_an_answer_or_a_chunk_breaks_the_reading(data: Any, asked: bool) -> None:
    raw = orjson.dumps(data)
    call = call_of(stream=True, stream_options={"include_usage": asked})
    with suppress(ProviderError):
        read_completion(raw, call, ())
    relay = CompletionRelay(call, ())
    with suppress(ProviderError):
        relay.take(Event(b"", raw))
        relay.finish()
