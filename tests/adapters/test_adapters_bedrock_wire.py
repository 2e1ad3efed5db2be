"""Bedrock over sockets, against a wire that AWS's own client speaks, signed and by key."""

import base64
from array import array
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import build
from turnout.engine.provider import Call, Fault, Provider, ProviderError
from turnout.simulator.bedrock_signature import ACCESS_KEY_ID, SECRET
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1:0"
SIGNED = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": "a/session+token==",
    "AWS_REGION": "eu-central-1",
}
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


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["bedrock"], "--latency", "*=0") as process:
        yield process


@pytest.fixture
def simulator(running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    running.clear_faults()
    yield running
    running.clear_faults()


@pytest.fixture(params=["signed", "by key"])
def provider(
    request: pytest.FixtureRequest,
    simulator: SimulatorProcess,
    transport: httpx.AsyncBaseTransport,
) -> Provider:
    key, given = (None, SIGNED) if request.param == "signed" else ("a-bedrock-key", {})
    return build("bedrock", None, simulator.base_url("bedrock"), {}, key, transport, given)


def of(bench: Any, prompt: str = "hello brave new world", **members: Any) -> Call:
    model = members.pop("model", CLAUDE)
    messages = members.pop("messages", [{"role": "user", "content": prompt}])
    call: Call = bench.chat(messages=messages, **members)
    call.upstream_model = model
    return call


def embedding(bench: Any, model: str, **members: Any) -> Call:
    call: Call = bench.call({"model": "e", **members}, embeddings=True)
    call.upstream_model = model
    return call


async def told(provider: Provider, call: Call) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads((await provider.answer(call)).body)
    return parsed


async def streamed(bench: Any, provider: Provider, call: Call) -> list[dict[str, Any]]:
    chunks = await bench.read(provider.stream(call))
    return [orjson.loads(c.data.removeprefix(b"data: ")) for c in chunks if c.data]


@pytest.mark.parametrize("model", [CLAUDE, ARN, "amazon.nova-lite-v1:0"])
async def test_an_answer_comes_whole(bench: Any, provider: Provider, model: str) -> None:
    answer = await provider.answer(of(bench, model=model))
    message = orjson.loads(answer.body)["choices"][0]["message"]
    assert message["content"] == f"simulated answer by {model}: you said: hello brave new world"
    assert answer.usage is not None and answer.usage.output == count(message["content"])


async def test_a_stream_adds_up_to_the_whole_answer(bench: Any, provider: Provider) -> None:
    whole = await told(provider, of(bench))
    call = of(bench, stream=True, stream_options={"include_usage": True})
    events = await streamed(bench, provider, call)
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert events[-1]["choices"] == [] and events[-1]["usage"] == whole["usage"]


@pytest.mark.parametrize("effort", [None, "low"], ids=["plain", "thinking"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_a_loop_of_tools_keeps_its_thinking(
    bench: Any, provider: Provider, effort: str | None, streams: bool
) -> None:
    members: dict[str, Any] = {"tools": [WEATHER], "reasoning_effort": effort}
    if streams:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        call = of(bench, "call get_weather in Oslo", stream=True, **members)
        for event in await streamed(bench, provider, call):
            delta = event["choices"][0]["delta"]
            message.setdefault("thinking_blocks", []).extend(delta.get("thinking_blocks", ()))
            for tool in delta.get("tool_calls", ()):
                if "id" in tool:
                    message["tool_calls"] = [{**tool, "function": {**tool["function"]}}]
                else:
                    made = message["tool_calls"][tool["index"]]["function"]
                    made["arguments"] += tool["function"]["arguments"]
    else:
        answer = await told(provider, of(bench, "call get_weather in Oslo", **members))
        assert answer["choices"][0]["finish_reason"] == "tool_calls"
        message = answer["choices"][0]["message"]
    assert bool(message.get("thinking_blocks")) is bool(effort)
    assert orjson.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    messages = [
        {"role": "user", "content": "call get_weather in Oslo"},
        message,
        {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"},
    ]
    call = of(bench, messages=messages, **members)
    answer = await told(provider, call)
    assert "sunny" in answer["choices"][0]["message"]["content"]
    # The simulated Claude checks the signature; what was dropped would be named.
    assert call.dropped == []


async def test_thinking_without_its_signature_is_left_out_and_named(
    bench: Any, provider: Provider
) -> None:
    tool = {"id": "call_1", "type": "function", "function": {"name": "get_weather"}}
    messages = [
        {"role": "user", "content": "call get_weather"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [tool]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    call = of(bench, messages=messages, tools=[WEATHER], reasoning_effort="high")
    assert "sunny" in (await told(provider, call))["choices"][0]["message"]["content"]
    assert call.dropped == ["reasoning_effort"]


async def test_a_schema_is_kept(bench: Any, provider: Provider) -> None:
    schema = WEATHER["function"]["parameters"]  # type: ignore[index]
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await told(provider, of(bench, response_format=response_format))
    assert orjson.loads(answer["choices"][0]["message"]["content"]) == {"city": "world"}


async def test_limits_and_stops_are_kept(bench: Any, provider: Provider) -> None:
    cut = await told(provider, of(bench, max_completion_tokens=3))
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3
    stopped = await told(provider, of(bench, stop=[" new"]))
    assert stopped["choices"][0]["message"]["content"].endswith("brave")


async def test_what_is_marked_is_cached(bench: Any, provider: Provider) -> None:
    text = f"once upon a time {id(provider)} " * 40
    part = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "system", "content": [part]}, {"role": "user", "content": "hi"}]
    first = (await provider.answer(of(bench, messages=messages))).usage
    second = (await provider.answer(of(bench, messages=messages))).usage
    assert first is not None and second is not None
    assert first.cache_write == second.cached > 0
    assert first.cached == second.cache_write == 0
    assert first.input == second.input > first.cache_write


async def test_images_and_files_arrive(bench: Any, provider: Provider) -> None:
    data = base64.b64encode(b"bytes").decode()
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}"}},
    ]
    answer = await told(provider, of(bench, messages=[{"role": "user", "content": parts}]))
    assert "look" in answer["choices"][0]["message"]["content"]


async def test_a_prompt_is_counted_as_it_is_billed(bench: Any, provider: Provider) -> None:
    answer = await provider.answer(of(bench))
    assert answer.usage is not None
    assert await provider.count(of(bench)) == answer.usage.input
    assert await provider.count(of(bench, model="amazon.nova-lite-v1:0")) is None


@pytest.mark.parametrize(
    ("model", "dimensions", "size"),
    [
        ("amazon.titan-embed-text-v1", None, 1536),
        ("amazon.titan-embed-text-v2:0", None, 1024),
        ("amazon.titan-embed-text-v2:0", 256, 256),
        ("cohere.embed-english-v3", None, 1024),
        ("us.cohere.embed-v4:0", 512, 512),
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_are_in_order_and_as_asked_for(
    bench: Any, provider: Provider, model: str, dimensions: int | None, size: int, encoding: str
) -> None:
    # More than there is room for at once: 8 requests for Titan, 96 texts for Cohere.
    texts = [f"text {number}" for number in range(100 if "cohere" in model else 12)]
    members = {"encoding_format": encoding, "dimensions": dimensions}
    answer = await provider.answer(embedding(bench, model, input=texts, **members))
    rows = orjson.loads(answer.body)["data"]
    assert [row["index"] for row in rows] == list(range(len(texts)))
    alone = await provider.answer(embedding(bench, model, input=texts[-2], **members))
    assert rows[-2]["embedding"] == orjson.loads(alone.body)["data"][0]["embedding"]
    vector = rows[0]["embedding"]
    if encoding == "base64":
        floats = array("f")
        floats.frombytes(base64.b64decode(vector))
        vector = floats.tolist()
    assert len(vector) == size
    if "titan" in model:
        assert answer.usage is not None and answer.usage.input == sum(map(count, texts))


@pytest.mark.parametrize(
    ("model", "param"),
    [
        ("amazon.titan-embed-text-v1", "dimensions"),
        ("cohere.embed-english-v3", "dimensions"),
        ("amazon.nova-lite-v1:0", "model"),
    ],
)
async def test_embeddings_that_cannot_be_had_are_refused_before_they_cost(
    bench: Any, provider: Provider, model: str, param: str
) -> None:
    call = embedding(bench, model, input="x", dimensions=256)
    with pytest.raises(ProviderError) as caught:
        await provider.answer(call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, param)
    assert not call.sent


async def test_of_many_embeddings_the_first_that_fails_is_told(
    bench: Any, provider: Provider, simulator: SimulatorProcess
) -> None:
    simulator.fault({"kind": "status", "status": 429}, rate=0.2, seed=3)
    texts = [f"text {number}" for number in range(60)]
    with pytest.raises(ProviderError) as caught:
        await provider.answer(embedding(bench, "amazon.titan-embed-text-v2:0", input=texts))
    assert caught.value.fault is Fault.RATE_LIMIT


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"kind": "status", "status": 429, "retry_after": 7}, Fault.RATE_LIMIT),
        ({"kind": "status", "status": 424}, Fault.SERVER),
        ({"kind": "status", "status": 408}, Fault.TIMEOUT),
        ({"kind": "status", "status": 403, "type": "ExpiredTokenException"}, Fault.AUTH),
        ({"kind": "error_event", "status": 429}, Fault.RATE_LIMIT),
        ({"kind": "error_event", "status": 424}, Fault.SERVER),
        ({"kind": "error_event", "status": 503}, Fault.OVERLOADED),
        ({"kind": "malformed", "form": "chunk"}, Fault.BAD_OUTPUT),
        ({"kind": "malformed", "form": "empty"}, Fault.BAD_OUTPUT),
        ({"kind": "malformed", "form": "html"}, Fault.BAD_OUTPUT),
        ({"kind": "unfinished"}, Fault.BAD_OUTPUT),
        ({"kind": "cut"}, Fault.CONNECT),
    ],
)
async def test_whatever_breaks_a_stream_is_one_fault(
    bench: Any,
    provider: Provider,
    simulator: SimulatorProcess,
    order: dict[str, Any],
    expected: Fault,
) -> None:
    simulator.fault(order)
    with pytest.raises(ProviderError) as caught:
        await bench.read(provider.stream(of(bench, stream=True)))
    assert caught.value.fault is expected
    if "retry_after" in order:
        assert caught.value.retry_after_us == 7_000_000


async def test_a_secret_that_is_wrong_is_told_without_what_was_signed(
    bench: Any, simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> None:
    given = {**SIGNED, "AWS_SECRET_ACCESS_KEY": "another"}
    address = simulator.base_url("bedrock")
    made = build("bedrock", None, address, {}, None, transport, given)
    with pytest.raises(ProviderError) as caught:
        await made.answer(of(bench))
    assert caught.value.fault is Fault.AUTH
    assert caught.value.message == "the provider refused the gateway's credential (status 403)"
