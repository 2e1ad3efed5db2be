"""Ollama as an upstream: what it ignores is not lost in silence, and its quirks are put right."""

import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import build
from turnout.engine.provider import Fault, ProviderError
from turnout.simulator.process import SimulatorProcess

MODEL = "llama3.1:8b"
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
CLOCK = {"type": "function", "function": {"name": "get_time", "strict": True}}
CHAT = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["ollama"], "--latency", "*=0") as process:
        yield process


@pytest.fixture
def local(simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport) -> Any:
    simulator.clear_faults()
    address = simulator.base_url("ollama").removesuffix("/v1")
    return build("ollama", None, address, {}, None, transport)


def asking(bench: Any, prompt: str = "hello brave new world", **members: Any) -> Any:
    call = bench.chat(**{"messages": [{"role": "user", "content": prompt}], **members})
    call.upstream_model = MODEL
    return call


def loaded(chunk: Any) -> Any:
    return orjson.loads(chunk.data.removeprefix(b"data: "))


async def sent(bench: Any, call: Any) -> Any:
    """What leaves for a call."""
    seen: list[httpx.Request] = []
    await bench.answering("ollama", CHAT, seen=seen).answer(call)
    return orjson.loads(seen[0].content)


# --- requests ------------------------------------------------------------------------------------

SHAPING: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "functions": {"functions": [{"name": "f"}]},
    "function_call": {"function_call": {"name": "f"}},
    "modalities": {"modalities": ["text", "audio"]},
    "audio": {"audio": {"voice": "alloy"}},
    "web_search_options": {"web_search_options": {}},
    "tool_choice": {"tools": [WEATHER], "tool_choice": "required"},
}


@pytest.mark.parametrize("param", SHAPING)
async def test_what_shapes_the_answer_and_would_be_ignored_is_refused_unsent(
    bench: Any, param: str
) -> None:
    call = asking(bench, **SHAPING[param])
    with pytest.raises(ProviderError) as caught:
        await bench.answering("ollama", CHAT).answer(call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, param)
    assert not call.sent


NAMED: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    # what the client says, what leaves of it, what is named as left out
    ({"user": "u", "logit_bias": {"1": 2}}, {}, ["user", "logit_bias"]),
    ({"top_k": 4, "metadata": {"a": "b"}}, {}, ["top_k", "metadata"]),
    ({"store": False, "n": 1, "logit_bias": {}}, {}, []),
    ({"seed": 7, "temperature": 0.5, "stop": ["x"]}, {"seed": 7, "temperature": 0.5, "stop": ["x"]},
     []),
    ({"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, ["reasoning_effort"]),
    ({"reasoning_effort": "none"}, {"reasoning_effort": "none"}, []),
    ({"max_completion_tokens": 9}, {"max_tokens": 9}, []),
    ({"keep_alive": "5m", "options": {"num_ctx": 9}},
     {"keep_alive": "5m", "options": {"num_ctx": 9}}, []),
    ({"tools": [WEATHER], "tool_choice": "none"}, {}, []),
    ({"tools": [CLOCK], "tool_choice": "auto", "parallel_tool_calls": False},
     {"tools": [CLOCK], "tool_choice": "auto"}, ["tools.strict", "parallel_tool_calls"]),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "told", "dropped"), NAMED)
async def test_what_steers_and_would_be_ignored_is_named(
    bench: Any, asked: dict[str, Any], told: dict[str, Any], dropped: list[str]
) -> None:
    call = asking(bench, **asked)
    body = await sent(bench, call)
    del body["model"], body["messages"]
    assert (body, call.dropped) == (told, dropped)


MESSAGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # as the client writes it, as Ollama reads it
    ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
    ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    ({"role": "assistant", "content": None, "refusal": "no"},
     {"role": "assistant", "content": "no", "refusal": "no"}),
    ({"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal",
      "refusal": "b"}]}, {"role": "assistant", "content": "a\nb"}),
    ({"role": "assistant", "content": "a", "reasoning_content": "t"},
     {"role": "assistant", "content": "a", "reasoning": "t"}),
    ({"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "a"}]},
     {"role": "tool", "tool_call_id": "c", "content": "a"}),
    ({"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
     {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
    ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url",
      "image_url": {"url": "data:image/png;base64,AA=="}}]},
     {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url",
      "image_url": {"url": "data:image/png;base64,AA=="}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "read"), MESSAGES)
async def test_a_message_is_written_as_it_can_be_read(
    bench: Any, written: dict[str, Any], read: dict[str, Any]
) -> None:
    body = await sent(bench, asking(bench, messages=[written]))
    assert body["messages"] == [read]


async def test_messages_that_can_be_read_stay_byte_for_byte(bench: Any) -> None:
    raw = b'{"model":"gpt-4","messages":[{"role":"user", "content":"caf\\u00e9"}],"seed":1e0}'
    seen: list[httpx.Request] = []
    await bench.answering("ollama", CHAT, seen=seen).answer(bench.call(raw))
    assert seen[0].content == raw.replace(b"gpt-4", b"upstream-model")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://img.example/cat.jpg"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}},
    ],
    ids=lambda part: part["type"],
)
async def test_parts_that_it_cannot_take_are_for_the_next_hop(bench: Any, part: Any) -> None:
    call = asking(bench, messages=[{"role": "user", "content": [part]}])
    with pytest.raises(ProviderError) as caught:
        await bench.answering("ollama", CHAT).answer(call)
    assert caught.value.fault is Fault.UNSUPPORTED and not call.sent


# --- answers -------------------------------------------------------------------------------------


async def test_a_stream_adds_up_to_the_whole_answer(bench: Any, local: Any) -> None:
    whole = await local.answer(asking(bench))
    chunks = await bench.read(local.stream(asking(bench, stream=True)))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert whole.text == f"simulated answer by {MODEL}: you said: hello brave new world"
    assert whole.usage == [c.usage for c in chunks if c.usage][-1]
    assert (whole.finish_reason, [c.finish_reason for c in chunks if c.finish_reason]) == (
        "stop",
        ["stop"],
    )


async def test_buffered_tools_of_index_0_that_end_with_stop_are_put_right(
    bench: Any, local: Any
) -> None:
    asked: Any = {"prompt": "call get_weather and get_time in Oslo", "tools": [WEATHER, CLOCK]}
    chunks = await bench.read(local.stream(asking(bench, stream=True, **asked)))
    calls = [
        (tool["index"], tool["function"]["name"], tool["function"]["arguments"])
        for chunk in chunks
        if chunk.data
        for choice in loaded(chunk)["choices"]
        for tool in choice["delta"].get("tool_calls") or ()
    ]
    assert calls == [(0, "get_weather", '{"city":"Oslo"}'), (1, "get_time", "{}")]
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["tool_calls"]
    whole = await local.answer(asking(bench, **asked))
    assert whole.finish_reason == "tool_calls"
    # The same tools, but none may be called.
    none = await local.answer(asking(bench, tool_choice="none", **asked))
    assert none.finish_reason == "stop"


async def test_a_result_goes_back_with_what_was_thought(bench: Any, local: Any) -> None:
    prompt = {"role": "user", "content": "call get_weather in Oslo"}
    call = asking(bench, messages=[prompt], tools=[WEATHER])
    call.upstream_model = "qwen3:8b"
    message = orjson.loads((await local.answer(call)).body)["choices"][0]["message"]
    assert message["reasoning_content"] == "the user said: call get_weather in Oslo"
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    again = asking(bench, messages=[prompt, message, result], tools=[WEATHER])
    assert (await local.answer(again)).text.endswith("you said: sunny")


def streamed(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(c) + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    told = {"index": 0, "delta": {"role": "assistant", **members}, "finish_reason": finish}
    return {"id": f"chatcmpl-{len(members)}", "model": MODEL, "choices": [told]}


QUIRKS: dict[str, tuple[bytes, str, str, int]] = {
    # the stream, the text in it, its finish reason, how many tool calls
    "an id per chunk, no usage": (streamed(delta(content="a"), delta("stop")), "a", "stop", 0),
    "reasoning beside empty content": (
        streamed(delta(content="", reasoning="t"), delta(content="a"), delta("stop", content="")),
        "ta",
        "stop",
        0,
    ),
    "an end that is Ollama's own": (streamed(delta(content="a"), delta("load")), "a", "stop", 0),
    "arguments as an object": (
        streamed(
            delta(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]),
            delta("stop"),
        ),
        'f{"a":1}',
        "tool_calls",
        1,
    ),
    "two chunks of tools, each of index 0": (
        streamed(
            delta(
                tool_calls=[{"id": "c", "index": 0, "function": {"name": "f", "arguments": "{}"}}]
            ),
            delta(
                tool_calls=[{"id": "d", "index": 0, "function": {"name": "g", "arguments": "{}"}}]
            ),
            delta("stop"),
        ),
        "f{}g{}",
        "tool_calls",
        2,
    ),
    "no tools after all": (
        streamed(delta(content="a", tool_calls=[]), delta("stop")),
        "a",
        "stop",
        0,
    ),
}


@pytest.mark.parametrize("name", QUIRKS)
async def test_quirks_of_its_streams_are_put_right(bench: Any, name: str) -> None:
    stream, text, finish, tools = QUIRKS[name]
    provider = bench.answering("ollama", stream, headers={"content-type": "text/event-stream"})
    chunks = await bench.read(provider.stream(asking(bench, stream=True)))
    assert "".join(chunk.text for chunk in chunks) == text
    assert [c.finish_reason for c in chunks if c.finish_reason] == [finish]
    events = [loaded(chunk) for chunk in chunks if chunk.data]
    assert len({event["id"] for event in events}) == 1
    choices = [choice for event in events for choice in event["choices"]]
    numbers = [t["index"] for c in choices for t in c["delta"].get("tool_calls") or ()]
    assert numbers == list(range(tools))
    assert chunks[-1].usage is None


async def test_log_probabilities_come_from_a_version_that_has_them(bench: Any, local: Any) -> None:
    answer = await local.answer(asking(bench, logprobs=True, top_logprobs=2))
    told = orjson.loads(answer.body)["choices"][0]["logprobs"]["content"]
    assert "".join(one["token"] for one in told) == answer.text
    chunks = await bench.read(local.stream(asking(bench, logprobs=True, stream=True)))
    tokens = [
        one["token"]
        for chunk in chunks
        if chunk.data
        for choice in loaded(chunk)["choices"]
        for one in (choice.get("logprobs") or {}).get("content", ())
    ]
    assert "".join(tokens) == answer.text


@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
async def test_log_probabilities_that_a_version_leaves_out_are_for_the_next_hop(
    bench: Any, stream: bool
) -> None:
    body = streamed(delta(content="a"), delta("stop")) if stream else CHAT
    kind = "text/event-stream" if stream else "application/json"
    provider = bench.answering("ollama", body, headers={"content-type": kind})
    call = asking(bench, logprobs=True, stream=stream)
    with pytest.raises(ProviderError) as caught:
        await (bench.read(provider.stream(call)) if stream else provider.answer(call))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "logprobs")


# --- refusals ------------------------------------------------------------------------------------

REFUSALS: list[tuple[int, Any, Fault, str]] = [
    (404, {"error": {"message": 'model "llama3.1:8b" not found, try pulling it first',
                     "type": "not_found_error", "param": None, "code": None}},
     Fault.BAD_OUTPUT, "has no model `llama3.1:8b`; there, run `ollama pull llama3.1:8b`"),
    (404, {"error": "model 'llama3.1:8b' not found"}, Fault.BAD_OUTPUT, "ollama pull"),
    (404, "404 page not found", Fault.BAD_OUTPUT, "does not know the address"),
    (400, {"error": {"message": "registry.ollama.ai/library/gemma:2b does not support tools",
                     "type": "api_error"}},
     Fault.UNSUPPORTED, "the model `llama3.1:8b` does not support tools"),
    (400, {"error": '"gemma:2b" does not support thinking'}, Fault.UNSUPPORTED, "thinking"),
    (400, {"error": "invalid tool call arguments"}, Fault.BAD_REQUEST, "tool call arguments"),
    (500, {"error": "llama runner process has terminated: exit status 2"}, Fault.SERVER, "failed"),
    (503, {"error": "server busy, please try again.  maximum pending requests exceeded"},
     Fault.OVERLOADED, "overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "fault", "words"), REFUSALS)
@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
async def test_a_refusal_says_what_to_do(
    bench: Any, stream: bool, status: int, body: Any, fault: Fault, words: str
) -> None:
    raw = body if isinstance(body, str) else orjson.dumps(body)
    provider = bench.answering("ollama", raw, status=status)
    call = asking(bench, stream=stream)
    with pytest.raises(ProviderError) as caught:
        await (bench.read(provider.stream(call)) if stream else provider.answer(call))
    assert (caught.value.fault, caught.value.status) == (fault, status)
    assert words in caught.value.message
    assert "registry" not in caught.value.message


async def test_over_sockets_a_model_that_cannot_is_refused(bench: Any, local: Any) -> None:
    call = asking(bench, tools=[WEATHER])
    call.upstream_model = "gemma:2b"
    with pytest.raises(ProviderError) as caught:
        await local.answer(call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "tools")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "cut", "after": 4}, Fault.CONNECT),
        ({"kind": "unfinished", "after": 4}, Fault.BAD_OUTPUT),
        ({"kind": "malformed", "form": "chunk", "after": 4}, Fault.BAD_OUTPUT),
        ({"kind": "error_event", "after": 4}, Fault.SERVER),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
async def test_over_sockets_a_broken_stream_is_this_fault(
    bench: Any, local: Any, simulator: SimulatorProcess, fault: dict[str, Any], expected: Fault
) -> None:
    simulator.fault(fault)
    with pytest.raises(ProviderError) as caught:
        await bench.read(local.stream(asking(bench, stream=True)))
    assert caught.value.fault is expected


async def test_leaving_a_stream_closes_its_connection(
    bench: Any, local: Any, simulator: SimulatorProcess
) -> None:
    simulator.clear_stats()
    simulator.fault({"kind": "delay", "at": "chunk", "after": 3})
    chunks = local.stream(asking(bench, stream=True))
    await anext(chunks)
    await chunks.aclose()
    for _ in range(200):
        if simulator.stats()["total"]["cut_by_client"]:
            return
    raise AssertionError("the connection stays open")


# --- embeddings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_embeddings_come_as_asked_for_also_of_token_ids(
    bench: Any, local: Any, encoding: str | None
) -> None:
    asked: dict[str, Any] = {"dimensions": 8, "user": "u"}
    if encoding is not None:
        asked["encoding_format"] = encoding
    bodies = []
    for given in (["Hello world", "a"], [[9906, 1917], [64]]):
        call = bench.call({"model": "e", "input": given, **asked}, embeddings=True)
        call.upstream_model = "nomic-embed-text"
        bodies.append(orjson.loads((await local.answer(call)).body)["data"])
        assert call.dropped == ["user"]
    assert bodies[0] == bodies[1]
    first = bodies[0][0]["embedding"]
    floats = struct.unpack("<8f", b64decode(first)) if encoding == "base64" else first
    assert len(floats) == 8 and sum(value * value for value in floats) == pytest.approx(1)
