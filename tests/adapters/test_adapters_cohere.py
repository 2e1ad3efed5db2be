"""Cohere against the simulated wire, over sockets, and against answers that nobody wants."""

import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS, build, key_variable
from turnout.adapters.dialect_cohere import Translation
from turnout.adapters.sse import Event
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.vectors import embedding

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["cohere"], "--latency", "*=0") as process:
        yield process


@pytest.fixture
def co(simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport) -> Any:
    simulator.clear_faults()
    return build("cohere", None, simulator.base_url("cohere"), {}, "co-key", transport)


def asking(bench: Any, prompt: str = "hello brave new world", **members: Any) -> Any:
    call = bench.chat(messages=[{"role": "user", "content": prompt}], **members)
    call.upstream_model = members.pop("upstream", "command-a-03-2025")
    return call


def said(chunks: list[Any], name: str) -> str:
    """What a stream says in this member of its deltas."""
    choices = [c for chunk in chunks if chunk.data for c in loaded(chunk)["choices"]]
    return "".join(choice["delta"].get(name) or "" for choice in choices)


def loaded(chunk: Any) -> Any:
    return orjson.loads(chunk.data.removeprefix(b"data: "))


async def test_a_stream_adds_up_to_the_whole_answer(bench: Any, co: Any) -> None:
    whole = await co.answer(asking(bench, max_completion_tokens=50))
    chunks = await bench.read(co.stream(asking(bench, max_completion_tokens=50, stream=True)))
    message = orjson.loads(whole.body)["choices"][0]["message"]
    assert message["content"] == said(chunks, "content") == whole.text
    assert message["content"].endswith("you said: hello brave new world")
    assert whole.usage == chunks[-1].usage and whole.usage.output > 5
    assert (whole.finish_reason, chunks[-1].finish_reason) == ("stop", "stop")


async def test_thinking_is_shown_as_reasoning(bench: Any, co: Any) -> None:
    call = asking(bench, stream=True)
    call.upstream_model = "command-a-reasoning-08-2025"
    chunks = await bench.read(co.stream(call))
    assert said(chunks, "reasoning_content") == "the user said: hello brave new world"
    off = asking(bench, reasoning_effort="none")
    off.upstream_model = call.upstream_model
    message = orjson.loads((await co.answer(off)).body)["choices"][0]["message"]
    assert "reasoning_content" not in message and off.dropped == []


async def test_two_tools_are_called_and_answered(bench: Any, co: Any) -> None:
    prompt = {"role": "user", "content": "call get_weather and get_time in Oslo"}
    call = bench.chat(messages=[prompt], tools=[WEATHER, CLOCK], tool_choice="required")
    call.upstream_model = "command-a-03-2025"
    answer = await co.answer(call)
    message = orjson.loads(answer.body)["choices"][0]["message"]
    names = [tool["function"]["name"] for tool in message["tool_calls"]]
    assert (names, answer.finish_reason) == (["get_weather", "get_time"], "tool_calls")
    assert message["reasoning_content"] == "I will use get_weather and get_time."
    results = [
        {"role": "tool", "tool_call_id": tool["id"], "content": f"result {number}"}
        for number, tool in enumerate(message["tool_calls"])
    ]
    again = bench.chat(messages=[prompt, message, *results], tools=[WEATHER, CLOCK])
    again.upstream_model = call.upstream_model
    assert "you said: result 1" in (await co.answer(again)).text


async def test_a_tool_that_is_named_is_the_one_that_is_called(bench: Any, co: Any) -> None:
    chosen = {"type": "function", "function": {"name": "get_time"}}
    call = asking(bench, "in Oslo", tools=[WEATHER, CLOCK], tool_choice=chosen)
    message = orjson.loads((await co.answer(call)).body)["choices"][0]["message"]
    assert [tool["function"]["name"] for tool in message["tool_calls"]] == ["get_time"]


async def test_streamed_tools_are_numbered_from_zero(bench: Any, co: Any) -> None:
    call = asking(
        bench, "call get_weather and get_time in Oslo", tools=[WEATHER, CLOCK], stream=True
    )
    chunks = await bench.read(co.stream(call))
    written: dict[int, str] = {}
    for chunk in chunks:
        for choice in loaded(chunk)["choices"]:
            for tool in choice["delta"].get("tool_calls") or ():
                so_far = written.get(tool["index"], "")
                written[tool["index"]] = so_far + tool["function"]["arguments"]
    assert written == {0: '{"city":"Oslo"}', 1: "{}"}
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["tool_calls"]


async def test_log_probabilities_and_a_schema_come_through(bench: Any, co: Any) -> None:
    answer = await co.answer(asking(bench, logprobs=True))
    told = orjson.loads(answer.body)["choices"][0]["logprobs"]["content"]
    assert "".join(one["token"] for one in told) == answer.text
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert (await co.answer(asking(bench, response_format=wanted))).text == '{"n":1}'


REFUSED: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "functions": {"functions": [{"name": "f"}]},
    "modalities": {"modalities": ["text", "audio"]},
    "web_search_options": {"web_search_options": {}},
    "stop": {"stop": list("abcdef")},
    "tool_choice": {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    },
    "response_format": {"tools": [WEATHER], "response_format": {"type": "json_object"}},
    "tools": {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
}


@pytest.mark.parametrize("param", REFUSED)
async def test_what_shapes_the_answer_and_cannot_be_said_is_refused_unsent(
    bench: Any, param: str
) -> None:
    call = asking(bench, **REFUSED[param])
    with pytest.raises(ProviderError) as caught:
        await bench.answering("cohere", b"{}").answer(call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, param)
    assert not call.sent


STEERING: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    # what the client says, what Cohere is told, what is named as left out
    ({"temperature": 0.3, "top_p": 0.5}, {"temperature": 0.3, "p": 0.5}, []),
    ({"top_k": 900}, {"k": 500}, []),
    ({"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
    ({"top_p": 0}, {"p": 0.01}, []),
    ({"presence_penalty": 2, "frequency_penalty": -1}, {"presence_penalty": 1},
     ["presence_penalty", "frequency_penalty"]),
    ({"seed": 7}, {"seed": 7}, []),
    ({"seed": -7}, {}, ["seed"]),
    ({"logit_bias": {"1": 2}, "user": "u", "store": True}, {}, ["logit_bias", "user", "store"]),
    ({"logit_bias": {}, "store": False, "metadata": {}, "n": 1}, {}, []),
    ({"thinking": {"type": "enabled", "budget_tokens": 99}},
     {"thinking": {"type": "enabled", "token_budget": 99}}, []),
    ({"thinking": {"type": "adaptive"}}, {}, ["thinking"]),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, []),
    ({"reasoning_effort": "high"}, {}, ["reasoning_effort"]),
    ({"safety_mode": "STRICT", "priority": 3, "keep_alive": 5},
     {"safety_mode": "STRICT", "priority": 3}, ["keep_alive"]),
    ({"tools": [CLOCK], "tool_choice": "none"},
     {"tools": [{"type": "function", "function": {
         "name": "get_time", "parameters": {"type": "object", "properties": {}}}}],
      "tool_choice": "NONE"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "told", "dropped"), STEERING)
async def test_what_steers_is_translated_or_named(
    bench: Any, sent: dict[str, Any], told: dict[str, Any], dropped: list[str]
) -> None:
    seen: list[httpx.Request] = []
    call = asking(bench, **sent)
    await bench.answering("cohere", b'{"message":{}}', seen=seen).answer(call)
    body = orjson.loads(seen[0].content)
    for member in ("model", "messages", "stream"):
        del body[member]
    assert (body, call.dropped) == (told, dropped)


# --- embeddings ----------------------------------------------------------------------------------


def embedding_of(bench: Any, given: Any, **members: Any) -> Any:
    call = bench.call({"model": "e", "input": given, **members}, embeddings=True)
    call.upstream_model = "embed-v4.0"
    return call


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_many_texts_come_back_in_order_whatever_the_batches(
    bench: Any, co: Any, simulator: SimulatorProcess, encoding: str | None
) -> None:
    texts = [f"text {number}" for number in range(200)]
    simulator.clear_stats()
    members = {} if encoding is None else {"encoding_format": encoding}
    answer = await co.answer(embedding_of(bench, texts, dimensions=256, **members))
    rows = orjson.loads(answer.body)["data"]
    assert [row["index"] for row in rows] == list(range(200))
    for text, row in zip(texts, rows, strict=True):
        vector = row["embedding"]
        if encoding == "base64":
            vector = list(struct.unpack("<256f", b64decode(vector)))
        assert vector == embedding(text, 256).tolist()
    # `text`, a space and a number each
    assert (answer.usage.input, answer.usage.output) == (600, 0)
    assert simulator.stats()["total"]["requests"] == 3


async def test_token_ids_are_read_back_and_the_purpose_can_be_told(bench: Any) -> None:
    seen: list[httpx.Request] = []
    reply = orjson.dumps({"id": "x", "embeddings": {"float": [[1.0], [2.0]]}})
    call = embedding_of(bench, [[9906, 1917], [64]], input_type="search_query", user="u")
    answer = await bench.answering("cohere", reply, seen=seen).answer(call)
    assert seen[0].url.path == "/v2/embed"
    assert orjson.loads(seen[0].content) == {
        "model": "embed-v4.0",
        "texts": ["Hello world", "a"],
        "input_type": "search_query",
        "embedding_types": ["float"],
    }
    assert call.dropped == ["user"]
    assert answer.usage is None


async def test_what_other_batches_used_is_told_where_one_fails(bench: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        texts = orjson.loads(request.content)["texts"]
        if "bad" in texts:
            return httpx.Response(400, json={"message": "too many tokens: size limit exceeded"})
        billed = {"billed_units": {"input_tokens": len(texts)}}
        body = {"id": "x", "embeddings": {"float": [[0.5]] * len(texts)}, "meta": billed}
        return httpx.Response(200, json=body)

    provider = bench.provider("cohere", httpx.MockTransport(answer))
    with pytest.raises(ProviderError) as caught:
        await provider.answer(embedding_of(bench, ["ok"] * 96 + ["bad"]))
    assert caught.value.fault is Fault.CONTEXT_EXCEEDED
    assert caught.value.usage is None or caught.value.usage.input == 96


BROKEN_VECTORS = {
    "nothing": b"",
    "another shape": b'{"embeddings":[[1.0]]}',
    "too few": b'{"embeddings":{"float":[]}}',
    "no vector": b'{"embeddings":{"float":[1]}}',
    "no numbers": b'{"embeddings":{"float":[["x"]]}}',
    "not base64": b'{"embeddings":{"base64":["!"]}}',
}


@pytest.mark.parametrize("name", BROKEN_VECTORS)
async def test_an_answer_that_is_no_vectors_is_bad_output(bench: Any, name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("cohere", BROKEN_VECTORS[name]).answer(embedding_of(bench, "x"))
    assert caught.value.fault is Fault.BAD_OUTPUT


async def test_another_size_than_asked_for_is_refused(bench: Any) -> None:
    provider = bench.answering("cohere", b'{"embeddings":{"float":[[1.0,2.0]]}}')
    with pytest.raises(ProviderError) as caught:
        await provider.answer(embedding_of(bench, "x", dimensions=3))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "dimensions")


# --- errors --------------------------------------------------------------------------------------

ERRORS = [
    (400, "invalid request: message must be at least 1 token long.", Fault.BAD_REQUEST, True),
    (
        400,
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
        Fault.CONTEXT_EXCEEDED,
        True,
    ),
    (401, "invalid api token", Fault.AUTH, False),
    (402, "Please add or update your payment method.", Fault.QUOTA, False),
    (404, "model 'x' not found, make sure the correct model ID was used", Fault.BAD_OUTPUT, False),
    (422, "invalid request: p", Fault.BAD_REQUEST, True),
    (429, "You are using a Trial key", Fault.RATE_LIMIT, False),
    (498, "deny-listed", Fault.CONTENT_FILTER, False),
    (499, "client closed request", Fault.CONNECT, False),
    (500, "internal server error, this has been reported", Fault.SERVER, False),
    (503, "unavailable", Fault.OVERLOADED, False),
    (504, "timeout", Fault.SERVER, False),
]


@pytest.mark.parametrize(("status", "words", "fault", "shown"), ERRORS)
@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
async def test_a_refusal_is_this_fault(
    bench: Any, streamed: bool, status: int, words: str, fault: Fault, shown: bool
) -> None:
    body = orjson.dumps({"id": "x", "message": words})
    provider = bench.answering("cohere", body, status=status)
    with pytest.raises(ProviderError) as caught:
        if streamed:
            await bench.read(provider.stream(asking(bench, stream=True)))
        else:
            await provider.answer(asking(bench))
    assert (caught.value.fault, caught.value.status) == (fault, status)
    assert (words in caught.value.message) is shown


FAILED = {
    "an error": (
        b'{"id":"x","message":{"role":"assistant"},"finish_reason":"ERROR"}',
        Fault.SERVER,
    ),
    "a timeout": (b'{"message":{"content":[]},"finish_reason":"TIMEOUT"}', Fault.TIMEOUT),
    "words alone": (b'{"id":"x","message":"something broke"}', Fault.SERVER),
    "no object": (b"[]", Fault.BAD_OUTPUT),
    "a page": (b"<html>", Fault.BAD_OUTPUT),
    "no message": (b'{"id":"x"}', Fault.BAD_OUTPUT),
    "a tool that is none": (b'{"message":{"tool_calls":[1]}}', Fault.BAD_OUTPUT),
}


@pytest.mark.parametrize("name", FAILED)
async def test_a_200_that_is_no_answer_is_this_fault(bench: Any, name: str) -> None:
    body, fault = FAILED[name]
    with pytest.raises(ProviderError) as caught:
        await bench.answering("cohere", body).answer(asking(bench))
    assert caught.value.fault is fault


def ended(**delta: str) -> list[Any]:
    return [{"type": "message-end", "delta": delta}]


BREAKS: dict[str, tuple[list[Any], Fault]] = {
    "an end of error": (ended(finish_reason="ERROR"), Fault.SERVER),
    "an end in time": (ended(finish_reason="TIMEOUT"), Fault.TIMEOUT),
    "an end with words": (ended(error="broke"), Fault.SERVER),
    "an end that says nothing": ([{"type": "message-end"}], Fault.BAD_OUTPUT),
    "an error event": ([{"type": "error", "message": "broke"}], Fault.SERVER),
    "words alone": ([{"id": "x", "message": "broke"}], Fault.SERVER),
    "no end": ([], Fault.BAD_OUTPUT),
    "no object": ([1], Fault.BAD_OUTPUT),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_is_this_fault(bench: Any, name: str) -> None:
    events, fault = BREAKS[name]
    translation = Translation(asking(bench, stream=True), ())
    with pytest.raises(ProviderError) as caught:
        for event in [{"type": "message-start"}, *events]:
            translation.take(Event(b"", orjson.dumps(event)))
        translation.finish()
    assert caught.value.fault is fault


def test_a_stream_without_a_start_or_with_garbage_is_bad_output(bench: Any) -> None:
    for data in (b"{oops", orjson.dumps(END)):
        translation = Translation(asking(bench, stream=True), ())
        with pytest.raises(ProviderError) as caught:
            translation.take(Event(b"", data))
        assert caught.value.fault is Fault.BAD_OUTPUT


FAULTS: dict[str, tuple[dict[str, Any], Fault]] = {
    "cut": ({"kind": "cut", "after": 4}, Fault.CONNECT),
    "unfinished": ({"kind": "unfinished", "after": 4}, Fault.BAD_OUTPUT),
    "malformed": ({"kind": "malformed", "form": "chunk", "after": 4}, Fault.BAD_OUTPUT),
    "a page": ({"kind": "malformed", "form": "html"}, Fault.BAD_OUTPUT),
    "an error": ({"kind": "error_event", "after": 4, "status": 500}, Fault.SERVER),
    "too late": ({"kind": "error_event", "after": 4, "status": 504}, Fault.TIMEOUT),
    "overloaded": ({"kind": "status", "status": 503}, Fault.OVERLOADED),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_over_sockets_a_broken_stream_is_this_fault(
    bench: Any, co: Any, simulator: SimulatorProcess, name: str
) -> None:
    fault, expected = FAULTS[name]
    simulator.fault(fault)
    with pytest.raises(ProviderError) as caught:
        await bench.read(co.stream(asking(bench, stream=True)))
    assert caught.value.fault is expected
    assert "127.0.0.1" not in caught.value.message


# --- the provider --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "https://co.example",
        "https://co.example/",
        "https://co.example/v2",
        "https://co.example/v2/",
    ],
)
async def test_the_version_is_in_the_path_however_the_address_is_written(written: str) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'{"message":{}}')

    provider = build("cohere", None, written, {}, "co-key", httpx.MockTransport(answer))
    await provider.answer(_call())
    assert str(seen[0].url) == "https://co.example/v2/chat"
    assert seen[0].headers["authorization"] == "Bearer co-key"


def _call() -> Call:
    from turnout.engine.request import Caller, Operation, Request

    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    request = Request("r", Operation.CHAT, body, orjson.dumps(body), "m", False, Caller(), {}, 0, 0)
    return Call(request, "command-a", "m", None, 1_000_000, 1_000_000)


async def test_the_key_may_have_the_name_that_cohere_gives_it() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(400, json={"message": "the key co-own-key is no good"})

    transport = httpx.MockTransport(answer)
    assert (key_variable("cohere"), PROVIDERS["cohere"].variables) == (
        "COHERE_API_KEY",
        ("CO_API_KEY",),
    )
    provider = build("cohere", None, None, {}, None, transport, {"CO_API_KEY": " co-own-key\n"})
    assert provider.usable
    with pytest.raises(ProviderError) as caught:
        await provider.answer(_call())
    assert seen[0].headers["authorization"] == "Bearer co-own-key"
    assert "co-own-key" not in caught.value.message
    elsewhere = build(
        "house", "cohere", "http://localhost/v1", {}, None, transport, {"CO_API_KEY": "co-own-key"}
    )
    with pytest.raises(ProviderError):
        await elsewhere.answer(_call())
    assert seen[1].url.host == "localhost" and "authorization" not in seen[1].headers
    assert not build("cohere", None, None, {}, None, transport, {}).usable
    with pytest.raises(ValueError, match="CO_API_KEY"):
        build("cohere", None, None, {}, None, transport, {"CO_API_KEY": "ключ"})
