"""The adapter against the simulated Gemini, over real sockets.

Google's own client passes against the same wire (`test_simulator_gemini`).
"""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from turnout.engine.provider import Call, Fault, Provider, ProviderError
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

MODEL = "gemini-2.5-flash"
NEW = "gemini-3-flash-preview"
USED = {"promptTokenCount": 100}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "get_time"}},
]


@pytest.fixture(scope="module")
def playing() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(
        ["gemini"], "--latency", "*=0", "--key", "sk-canary-0123456789abcdef"
    ) as it:
        yield it


@pytest.fixture
def simulator(playing: SimulatorProcess) -> Iterator[SimulatorProcess]:
    playing.clear_faults()
    playing.clear_stats()
    yield playing
    playing.clear_faults()


@pytest.fixture
def gemini(
    bench: Any, simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> Provider:
    made: Provider = bench.provider("gemini", transport, simulator.base_url("gemini"))
    return made


def chat(bench: Any, words: str, model: str = MODEL, **members: Any) -> Call:
    messages = members.pop("messages", [{"role": "user", "content": words}])
    call: Call = bench.chat(messages=messages, **members)
    call.upstream_model = model
    return call


def embedding(bench: Any, given: Any, **members: Any) -> Call:
    call: Call = bench.call({"model": "m", "input": given, **members}, embeddings=True)
    call.upstream_model = "gemini-embedding-001"
    return call


async def message(gemini: Provider, call: Call) -> Any:
    return orjson.loads((await gemini.answer(call)).body)["choices"][0]["message"]


async def collected(bench: Any, gemini: Provider, call: Call) -> dict[str, Any]:
    """A stream as a client adds it up: a message with its finish reason and usage."""
    told: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in await bench.read(gemini.stream(call)):
        if not chunk.data:
            continue
        event = orjson.loads(chunk.data.removeprefix(b"data: "))
        told["usage"] = event.get("usage") or told.get("usage")
        for choice in event["choices"]:
            for name in ("content", "reasoning_content"):
                told[name] += choice["delta"].get(name) or ""
            told["tool_calls"] += choice["delta"].get("tool_calls", ())
            told["finish_reason"] = choice["finish_reason"]
    return told


async def test_the_whole_answer_and_the_stream_say_the_same(bench: Any, gemini: Provider) -> None:
    answer = await gemini.answer(chat(bench, "hello world", reasoning_effort="low"))
    whole = orjson.loads(answer.body)
    told = await collected(
        bench, gemini, chat(bench, "hello world", reasoning_effort="low", stream=True, asked=True)
    )
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == told["content"]
    assert told["content"] == f"simulated answer by {MODEL}: you said: hello world"
    assert choice["message"]["reasoning_content"] == told["reasoning_content"] != ""
    assert choice["finish_reason"] == told["finish_reason"] == "stop"
    assert whole["usage"] == told["usage"]
    details = told["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == count(told["reasoning_content"])
    assert answer.usage is not None and answer.upstream_model == MODEL


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("keeps", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("model", [MODEL, NEW])
async def test_two_tools_at_once_make_a_round_trip(
    bench: Any, gemini: Provider, model: str, keeps: bool, stream: bool
) -> None:
    asked = {"role": "user", "content": "call get_weather and get_time in Oslo"}
    call = chat(bench, "", model, messages=[asked], tools=TOOLS, stream=stream)
    told = await (collected(bench, gemini, call) if stream else message(gemini, call))
    calls = [{n: v for n, v in one.items() if n != "index"} for one in told["tool_calls"]]
    assert [(one["function"]["name"], one["function"]["arguments"]) for one in calls] == [
        ("get_weather", '{"city":"Oslo"}'),
        ("get_time", "{}"),
    ]
    assert len({one["id"] for one in calls}) == 2
    assert ["extra_content" in one for one in calls] == [True, False]
    if not keeps:
        # A client that drops what it does not know.
        calls = [{n: v for n, v in one.items() if n != "extra_content"} for one in calls]
    history = [
        asked,
        {"role": "assistant", "content": None, "tool_calls": calls},
        *(
            {"role": "tool", "tool_call_id": one["id"], "content": f"{number}°"}
            for number, one in enumerate(calls)
        ),
    ]
    answered = await message(gemini, chat(bench, "", model, messages=history, tools=TOOLS))
    assert answered["content"].endswith("you said: 0° 1°")


async def test_an_answer_fits_its_schema(bench: Any, gemini: Provider) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    told = await message(gemini, chat(bench, "in Oslo", response_format=asked))
    assert orjson.loads(told["content"]) == {"city": "Oslo"}
    told = await message(gemini, chat(bench, "x", response_format={"type": "json_object"}))
    assert "answer" in orjson.loads(told["content"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_several_answers_with_log_probabilities(
    bench: Any, gemini: Provider, stream: bool
) -> None:
    call = chat(bench, "hi", n=2, logprobs=True, top_logprobs=2, stream=stream)
    tokens: dict[int, str] = {0: "", 1: ""}
    if stream:
        events = [orjson.loads(c.data[6:]) for c in await bench.read(gemini.stream(call)) if c.data]
        choices = [choice for one in events for choice in one["choices"]]
    else:
        choices = orjson.loads((await gemini.answer(call)).body)["choices"]
    for choice in choices:
        for one in (choice["logprobs"] or {"content": []})["content"]:
            assert len(one["top_logprobs"]) == 2 and one["logprob"] == -0.125
            tokens[choice["index"]] += one["token"]
    assert set(tokens.values()) == {f"simulated answer by {MODEL}: you said: hi"}


async def test_tokens_are_counted_by_google_as_they_are_charged(
    bench: Any, gemini: Provider
) -> None:
    call = chat(bench, "", messages=[
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"},
    ], tools=TOOLS)  # fmt: skip
    answer = await gemini.answer(call)
    assert answer.usage is not None
    assert await gemini.count(call) == answer.usage.input


async def test_embeddings_of_any_number_come_in_order_and_in_the_encoding_asked_for(
    bench: Any, gemini: Provider, simulator: SimulatorProcess
) -> None:
    texts = [f"text number {number}" for number in range(230)]
    call = embedding(bench, texts, dimensions=64, encoding_format="base64", user="me")
    answer = await gemini.answer(call)
    rows = orjson.loads(answer.body)["data"]
    assert [row["index"] for row in rows] == list(range(230))
    sizes = [len(one["body"]["requests"]) for one in simulator.requests()]
    assert sizes == [100, 100, 30] and call.dropped == ["user"]
    vector = struct.unpack("<64f", base64.b64decode(rows[207]["embedding"]))
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
    single = orjson.loads((await gemini.answer(embedding(bench, texts[207], dimensions=64))).body)
    assert vector == pytest.approx(single["data"][0]["embedding"], abs=1e-6)
    assert answer.usage is not None and answer.usage.input == sum(count(text) for text in texts)


async def test_the_batches_that_came_before_a_failure_are_paid_for(bench: Any) -> None:
    answers = [
        httpx.Response(200, json={"embeddings": [{"values": [1.0]}] * 100, "usageMetadata": USED}),
        httpx.Response(503),
    ]
    provider = bench.provider("gemini", httpx.MockTransport(lambda request: answers.pop(0)))
    with pytest.raises(ProviderError) as caught:
        await provider.answer(embedding(bench, ["a"] * 101))
    assert caught.value.fault is Fault.OVERLOADED
    assert caught.value.usage is not None and caught.value.usage.input == 100


async def test_token_ids_are_embedded_as_the_text_that_they_are(
    bench: Any, gemini: Provider, simulator: SimulatorProcess
) -> None:
    await gemini.answer(embedding(bench, [[9906, 1917], [9906]]))
    asked = simulator.requests()[-1]["body"]["requests"]
    assert [one["content"]["parts"] for one in asked] == [
        [{"text": "Hello world"}],
        [{"text": "Hello"}],
    ]


async def test_the_key_never_stands_in_the_address(
    bench: Any, gemini: Provider, simulator: SimulatorProcess
) -> None:
    await gemini.answer(chat(bench, "hi"))
    await bench.read(gemini.stream(chat(bench, "hi", stream=True)))
    for one in simulator.requests():
        assert bench.secret not in one["path"] and "authorization" not in one["headers"]
        assert one["headers"]["x-goog-api-key"].startswith("[redacted")


STATUSES = [
    ({"status": 429, "type": "RequestsPerMinute", "code": "7s"}, Fault.RATE_LIMIT, 7_000_000),
    ({"status": 429, "type": "RequestsPerDay", "code": "7s"}, Fault.QUOTA, 7_000_000),
    ({"status": 400, "code": "API_KEY_INVALID"}, Fault.AUTH, None),
    ({"status": 403}, Fault.AUTH, None),
    ({"status": 404}, Fault.BAD_OUTPUT, None),
    ({"status": 500}, Fault.SERVER, None),
    ({"status": 503}, Fault.OVERLOADED, None),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("order", "fault", "waits"), STATUSES)
async def test_an_error_status_is_the_right_fault(
    bench: Any,
    gemini: Provider,
    simulator: SimulatorProcess,
    order: dict[str, Any],
    fault: Fault,
    waits: int | None,
    stream: bool,
) -> None:
    simulator.fault({"kind": "status", **order})
    with pytest.raises(ProviderError) as caught:
        if stream:
            await bench.read(gemini.stream(chat(bench, "hi", stream=True)))
        else:
            await gemini.answer(chat(bench, "hi"))
    assert (caught.value.fault, caught.value.retry_after_us) == (fault, waits)
    assert caught.value.status == order["status"]


BREAKS: list[tuple[dict[str, Any], Fault]] = [
    ({"kind": "error_event", "after": 2, "status": 503}, Fault.OVERLOADED),
    ({"kind": "unfinished", "after": 2}, Fault.BAD_OUTPUT),
    ({"kind": "malformed", "form": "chunk", "after": 2}, Fault.BAD_OUTPUT),
    ({"kind": "malformed", "form": "html"}, Fault.BAD_OUTPUT),
    ({"kind": "malformed", "form": "empty"}, Fault.BAD_OUTPUT),
    ({"kind": "cut", "after": 2, "by": "rst"}, Fault.CONNECT),
    ({"kind": "reset"}, Fault.CONNECT),
]
IDS = [" ".join(map(str, order.values())) for order, _ in BREAKS]


@pytest.mark.parametrize(("order", "fault"), BREAKS, ids=IDS)
async def test_a_stream_that_breaks_is_never_an_answer(
    bench: Any, gemini: Provider, simulator: SimulatorProcess, order: dict[str, Any], fault: Fault
) -> None:
    simulator.fault(order)
    with pytest.raises(ProviderError) as caught:
        await bench.read(gemini.stream(chat(bench, "hi there", stream=True)))
    assert caught.value.fault is fault


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_blocked_prompt_is_a_fault_and_a_blocked_answer_a_finish_reason(
    bench: Any, gemini: Provider, stream: bool
) -> None:
    with pytest.raises(ProviderError) as caught:
        call = chat(bench, "block the prompt", stream=stream)
        await (collected(bench, gemini, call) if stream else gemini.answer(call))
    assert caught.value.fault is Fault.CONTENT_FILTER
    call = chat(bench, "block the answer", stream=stream)
    if stream:
        assert (await collected(bench, gemini, call))["finish_reason"] == "content_filter"
    else:
        assert (await gemini.answer(call)).finish_reason == "content_filter"


async def test_an_unknown_method_of_thinking_is_named_and_the_request_goes_through(
    bench: Any, gemini: Provider
) -> None:
    call = chat(bench, "hi", "gemini-2.0-flash", reasoning_effort="high", seed=2**50)
    assert (await gemini.answer(call)).finish_reason == "stop"
    assert sorted(call.dropped) == ["reasoning_effort", "seed"]
