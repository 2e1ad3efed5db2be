"""The clients of other makers, unchanged: before them a gateway, behind it the simulated Gemini."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

POLICY = """\
routing_policy:
  - name: hurried
    condition: model == "gemini/gemini-2.5-flash"
    route: gemini/gemini-2.5-flash
  - name: all
    condition: true
    route: gemini/gemini-3-flash-preview
"""
MODEL = "gemini/gemini-3-flash-preview"
HURRIED = "gemini/gemini-2.5-flash"  # asked for a pause, it is left alone for a while
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}
ASKED: Any = {"role": "user", "content": "call get_weather and get_time in Oslo"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["gemini"], "--latency", "*=0") as playing:
        yield playing


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess
) -> Iterator[Served]:
    policy = POLICY + providers_of({"gemini": simulator})
    served = start(tmp_path_factory.mktemp("gemini"), policy, GEMINI_API_KEY="simulated")
    yield served
    assert served.stop() == 0
    assert "ERROR" not in served.log.read_text()


@pytest.fixture
def client(gateway: Served, simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    simulator.clear_faults()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as made:
        yield made
    simulator.clear_faults()


@pytest.fixture
def claude(gateway: Served, simulator: SimulatorProcess) -> Iterator[anthropic.Anthropic]:
    simulator.clear_faults()
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_openais_client_calls_two_tools_and_sends_signatures_back_without_knowing_them(
    client: openai.OpenAI, simulator: SimulatorProcess, stream: bool
) -> None:
    asked: Any = {"model": MODEL, "messages": [ASKED], "tools": [WEATHER, TIME]}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    message = choice.message
    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    results = [{"role": "tool", "tool_call_id": one.id, "content": "7"} for one in calls]
    history: Any = [ASKED, message.model_dump(exclude_none=True), *results]
    answer = client.chat.completions.create(model=MODEL, messages=history, tools=[WEATHER, TIME])
    assert (answer.choices[0].message.content or "").endswith("you said: 7 7")
    (turn,) = [
        one for one in simulator.requests(1)[0]["body"]["contents"] if one["role"] == "model"
    ]
    signature = turn["parts"][0]["thoughtSignature"]
    assert signature != "skip_thought_signature_validator"


def test_a_stream_ends_with_its_usage_and_says_what_it_left_out(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
        logit_bias={"5": 1},
        reasoning_effort="low",
    ) as response:
        assert response.headers["x-turnout-dropped"] == "logit_bias"
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] > 0
    assert {event["model"] for event in events} == {MODEL}
    thoughts = [e["choices"][0]["delta"].get("reasoning_content") for e in events[:-1]]
    assert any(thoughts)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_openais_client_gets_vectors_in_any_encoding(client: openai.OpenAI, encoding: Any) -> None:
    given = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(
        model="gemini/gemini-embedding-001", input=["a", "b"], dimensions=32, **given
    )
    assert [row.index for row in answer.data] == [0, 1]
    if encoding != "base64":
        assert [len(row.embedding) for row in answer.data] == [32, 32]


def test_anthropics_client_uses_a_tool_and_counts_tokens(claude: anthropic.Anthropic) -> None:
    tools: Any = [
        {
            "name": "get_weather",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    ]
    asked: Any = {"role": "user", "content": "call get_weather in Oslo"}
    message = claude.messages.create(model=MODEL, max_tokens=200, messages=[asked], tools=tools)
    assert message.stop_reason == "tool_use"
    block = message.content[-1]
    assert isinstance(block, anthropic.types.ToolUseBlock) and block.input == {"city": "Oslo"}
    result: Any = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    history: Any = [
        asked,
        {"role": "assistant", "content": [block.model_dump()]},
        {"role": "user", "content": [result]},
    ]
    with claude.messages.stream(
        model=MODEL, max_tokens=200, messages=history, tools=tools
    ) as stream:
        final = stream.get_final_message()
    assert isinstance(final.content[0], anthropic.types.TextBlock)
    assert final.content[0].text.endswith("you said: sunny")
    counted = claude.messages.count_tokens(model=MODEL, messages=[asked], tools=tools)
    assert counted.input_tokens == message.usage.input_tokens


def test_the_client_of_responses_reads_gemini(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="hello")
    assert answer.output_text.endswith("you said: hello")
    with client.responses.stream(model=MODEL, input="hello") as stream:
        assert stream.get_final_response().output_text == answer.output_text


BAD_KEY = {"status": 400, "message": "API key expired.", "code": "API_KEY_INVALID"}
RATE = {"status": 429, "type": "PerMinute", "code": "3s"}
FAULTS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None]] = [
    (RATE, openai.RateLimitError, "rate_limit_exceeded"),
    ({"status": 503}, openai.InternalServerError, "overloaded"),
    (BAD_KEY, openai.InternalServerError, "upstream_auth"),
    ({"status": 400, "message": "no such thing"}, openai.BadRequestError, None),
]


@pytest.mark.parametrize(("order", "kind", "code"), FAULTS, ids=[str(f[2]) for f in FAULTS])
def test_googles_errors_are_openais(
    client: openai.OpenAI,
    simulator: SimulatorProcess,
    order: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str | None,
) -> None:
    simulator.fault({"kind": "status", **order})
    model = HURRIED if order["status"] == 429 else MODEL
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == code
    assert not any(word in str(caught.value) for word in ("google", "Google", "127.0.0.1"))
    if order["status"] == 429:
        assert caught.value.response.headers["retry-after"] == "3"


def test_a_blocked_prompt_is_a_400_and_a_broken_stream_an_error(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    blocked: Any = [{"role": "user", "content": "block the prompt"}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=blocked, stream=stream)
        assert caught.value.code == "content_filter"
    simulator.fault({"kind": "error_event", "after": 3, "status": 503})
    hello: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=MODEL, messages=hello, stream=True))
