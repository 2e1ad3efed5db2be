"""Every kind of the OpenAI wire against its simulated provider, as strict as the real one.

What a client of OpenAI's may send reaches each of them mended, and what comes back is in form for
OpenAI's own client types.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai.types.chat as openai_types
import orjson
import pytest

from turnout.adapters import build, pooled
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.simulator.process import SimulatorProcess

# Each kind with a plain model and one that thinks aloud, where there is one.
MODELS = {
    "openai": ("gpt-4o", None),
    "azure": ("gpt-4o", None),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "fireworks": ("accounts/fireworks/models/deepseek-v3", None),
    "groq": ("llama-3.3-70b-versatile", "openai/gpt-oss-20b"),
    "mistral": ("mistral-large-latest", "magistral-medium-latest"),
    "openrouter": ("openai/gpt-4o", "deepseek/deepseek-r1"),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", None),
    "vllm": ("llama-3.1-8b", "qwen3-8b"),
    "xai": ("grok-3", "grok-4"),
}
THINKERS = [kind for kind, (_, thinker) in MODELS.items() if thinker]
TOOL = {
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
# What the clients of OpenAI send, and some that another provider's answer left in the history.
EVERYTHING: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "call get_weather", "name": "bob"},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": [],
            "tool_calls": [
                {
                    "id": "call_a_long_one",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_a_long_one", "content": "rain"},
        {"role": "user", "content": "hello brave new world"},
    ],
    "tools": [TOOL],
    "seed": 7,
    "user": "u1",
    "store": True,
    "metadata": {"a": "b"},
    "logit_bias": {"50256": -100},
    "service_tier": "auto",
    "max_completion_tokens": 500,
    "temperature": 0.5,
    "stream_options": {"include_usage": True},
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(list(MODELS), "--latency", "*=0") as process:
        yield process


@pytest.fixture
async def connection() -> AsyncIterator[httpx.AsyncBaseTransport]:
    made = pooled()
    yield made
    await made.aclose()


class Wire:
    def __init__(self, simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport) -> None:
        self._simulator = simulator
        self._transport = transport

    async def answer(self, kind: str, call: Call) -> dict[str, Any]:
        provider = self.provider(kind)
        parsed: dict[str, Any] = orjson.loads((await provider.answer(call)).body)
        return parsed

    async def stream(self, kind: str, call: Call) -> list[dict[str, Any]]:
        chunks = [chunk async for chunk in self.provider(kind).stream(call)]
        return [orjson.loads(c.data.removeprefix(b"data: ")) for c in chunks if c.data]

    def provider(self, kind: str, suffix: str = "") -> Any:
        base_url = self._simulator.base_url(kind) + suffix
        return build(kind, kind, base_url, {}, "sk-any-0123456789", self._transport)


@pytest.fixture
def wire(simulator: SimulatorProcess, connection: httpx.AsyncBaseTransport) -> Wire:
    return Wire(simulator, connection)


def asking(bench: Any, kind: str, thinks: bool = False, **body: Any) -> Call:
    model = MODELS[kind][thinks]
    call: Call = bench.chat(**body)
    return replace(call, upstream_model=str(model), dropped=[])


@pytest.mark.parametrize("kind", MODELS)
async def test_everything_that_clients_send_is_answered_in_form(
    bench: Any, wire: Wire, kind: str
) -> None:
    answer = await wire.answer(kind, asking(bench, kind, **EVERYTHING))
    checked = openai_types.ChatCompletion.model_validate(answer, strict=False)
    assert (checked.choices[0].message.content or "").endswith("hello brave new world")
    assert checked.choices[0].finish_reason == "stop"
    assert checked.usage is not None and checked.usage.completion_tokens > 0
    assert answer["model"] == "gpt-4"


@pytest.mark.parametrize("kind", MODELS)
async def test_everything_that_clients_send_is_streamed_in_form(
    bench: Any, wire: Wire, kind: str
) -> None:
    events = await wire.stream(kind, asking(bench, kind, stream=True, **EVERYTHING))
    checked = [openai_types.ChatCompletionChunk.model_validate(event) for event in events]
    text = "".join(c.choices[0].delta.content or "" for c in checked if c.choices)
    assert text.endswith("hello brave new world")
    reasons = [c.choices[0].finish_reason for c in checked if c.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert (
        len({event["id"] for event in events}) == len({event["created"] for event in events}) == 1
    )
    assert all(event["choices"] for event in events[:-1]) and events[-1]["choices"] == []
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", MODELS)
async def test_tools_are_called_in_form(bench: Any, wire: Wire, kind: str, stream: bool) -> None:
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "call get_weather in Oslo"}],
        "tools": [TOOL],
        "tool_choice": "required",
    }
    if not stream:
        answer = await wire.answer(kind, asking(bench, kind, **body))
        (choice,) = openai_types.ChatCompletion.model_validate(answer).choices
        (call,) = choice.message.tool_calls or []
        assert isinstance(call, openai_types.ChatCompletionMessageFunctionToolCall)
        found = (call.function.name, call.function.arguments)
        reason: str | None = choice.finish_reason
        assert "content" in answer["choices"][0]["message"]
    else:
        events = await wire.stream(kind, asking(bench, kind, stream=True, **body))
        deltas = [
            tool
            for event in events
            for choice in openai_types.ChatCompletionChunk.model_validate(event).choices
            for tool in choice.delta.tool_calls or ()
        ]
        assert {delta.index for delta in deltas} == {0}
        assert deltas[0].id and deltas[0].type == "function"
        functions = [delta.function for delta in deltas if delta.function is not None]
        found = (functions[0].name or "", "".join(f.arguments or "" for f in functions))
        reason = next(r for e in events if (r := e["choices"][0]["finish_reason"]))
    assert (found[0], orjson.loads(found[1]), reason) == (
        "get_weather",
        {"city": "Oslo"},
        "tool_calls",
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", THINKERS)
async def test_thinking_comes_under_one_name_whatever_the_provider_calls_it(
    bench: Any, wire: Wire, kind: str, stream: bool
) -> None:
    call = asking(bench, kind, True, stream=stream)
    if stream:
        events = await wire.stream(kind, call)
        told = [event["choices"][0]["delta"] for event in events]
    else:
        told = [(await wire.answer(kind, call))["choices"][0]["message"]]
    thoughts = "".join(one.get("reasoning_content") or "" for one in told)
    text = "".join(one.get("content") or "" for one in told)
    assert thoughts == "The question is plain."
    assert text.startswith("simulated answer") and thoughts not in text


# What the gateway puts beside the answers of providers with wires of their own.
SIGNED: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "hm",
    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}],
    "tool_calls": [
        {
            "id": "call_a_long_one",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        }
    ],
}


@pytest.mark.parametrize("kind", MODELS)
async def test_a_conversation_goes_on_at_each_provider_whoever_answered_before(
    bench: Any, wire: Wire, kind: str
) -> None:
    echoed = [
        (await wire.answer(one, asking(bench, one, True)))["choices"][0]["message"]
        for one in THINKERS
    ]
    result = {"role": "tool", "tool_call_id": "call_a_long_one", "content": "rain"}
    question = {"role": "user", "content": "hello brave new world"}
    messages = [question, *echoed, SIGNED, result, question]
    answer = await wire.answer(kind, asking(bench, kind, messages=messages, tools=[TOOL]))
    assert answer["choices"][0]["message"]["content"].endswith("hello brave new world")


@pytest.mark.parametrize("kind", MODELS)
async def test_an_unknown_model_is_the_gateways_matter(
    bench: Any, simulator: SimulatorProcess, wire: Wire, kind: str
) -> None:
    order = {"model": f"{kind}/*", "fault": {"kind": "status", "status": 404}, "times": 1}
    httpx.post(f"{simulator.control_url}/_sim/faults", json=order).raise_for_status()
    with pytest.raises(ProviderError) as caught:
        await wire.answer(kind, asking(bench, kind))
    assert caught.value.fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize("kind", MODELS)
async def test_a_stream_that_a_provider_breaks_off_is_an_error(
    bench: Any, simulator: SimulatorProcess, wire: Wire, kind: str
) -> None:
    fault = {"kind": "error_event", "after": 4, "status": 503}
    order = {"model": f"{kind}/*", "fault": fault, "times": 1}
    httpx.post(f"{simulator.control_url}/_sim/faults", json=order).raise_for_status()
    with pytest.raises(ProviderError) as caught:
        await wire.stream(kind, asking(bench, kind, stream=True))
    assert caught.value.fault in (Fault.SERVER, Fault.OVERLOADED)


@pytest.mark.parametrize("suffix", ["", "/openai/v1", "/openai", "/openai/deployments/gpt-4o"])
async def test_azure_answers_at_all_its_addresses(bench: Any, wire: Wire, suffix: str) -> None:
    answer = await wire.provider("azure", suffix).answer(asking(bench, "azure"))
    assert orjson.loads(answer.body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "kind", ["azure", "fireworks", "mistral", "openrouter", "together", "vllm"]
)
async def test_vectors_come_in_the_encoding_that_was_asked_for(
    bench: Any, wire: Wire, kind: str
) -> None:
    for encoding in ("float", "base64"):
        body = {"model": "e", "input": ["a", "b"], "encoding_format": encoding}
        call = bench.call(body, embeddings=True)
        rows = (await wire.answer(kind, call))["data"]
        assert [type(row["embedding"]) is list for row in rows] == [encoding == "float"] * 2
