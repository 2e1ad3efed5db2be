"""openai-python as it is today, sync and async, and Anthropic's SDK, against the gateway.

`gpt-4o` is answered by OpenAI, `gpt-4.1` by Groq, `gpt-4o-mini` by Anthropic (see `conftest`).
"""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.e2e.conftest import Served
from tests.sdk.conftest import break_off
from turnout.simulator.process import SimulatorProcess

TARGETS = {
    "gpt-4o": "openai/gpt-4o",
    "gpt-4.1": "groq/llama-3-70b",
    "gpt-4o-mini": "anthropic/claude-sonnet-4-5",
}
FAULTY = "gpt-4-turbo"
EMBEDDING = "text-embedding-3-small"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
WEATHER: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Please call get_weather in Paris"}
]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
each_target = pytest.mark.parametrize("model", TARGETS)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="any key", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def claude(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="any key", max_retries=0) as made:
        yield made


@each_target
def test_an_answer_says_where_it_came_from(client: OpenAI, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    assert raw.headers["x-turnout-model"] == TARGETS[model]
    assert raw.headers["x-request-id"].startswith("req_")
    answer = raw.parse()
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].finish_reason == "stop"
    assert "hello" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    used = answer.usage
    assert used.prompt_tokens + used.completion_tokens == used.total_tokens > 0


@each_target
def test_the_request_id_is_where_the_sdk_looks_for_it(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO)
    assert str(answer._request_id).startswith("req_")


@each_target
@pytest.mark.parametrize("usage", [False, True], ids=["without_usage", "with_usage"])
def test_a_stream_says_what_the_whole_answer_says(client: OpenAI, model: str, usage: bool) -> None:
    whole = client.chat.completions.create(model=model, messages=HELLO)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": usage}
        )
    )
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(one.delta.content or "" for one in told) == whole.choices[0].message.content
    assert told[-1].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    counted = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(counted) == usage
    if usage:
        assert whole.usage is not None
        assert not chunks[-1].choices
        assert counted[0].total_tokens == whole.usage.total_tokens


@each_target
async def test_the_asynchronous_client_gets_the_same(gateway: Served, model: str) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any key") as client:
        whole = await client.chat.completions.create(model=model, messages=HELLO)
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(parts) == whole.choices[0].message.content


@each_target
def test_a_tool_is_called_and_its_result_is_read(client: OpenAI, model: str) -> None:
    first = client.chat.completions.create(model=model, messages=WEATHER, tools=[TOOL])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    second = client.chat.completions.create(
        model=model,
        messages=[
            *WEATHER,
            {"role": "assistant", "tool_calls": [call.model_dump()]},  # type: ignore[list-item]
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
        tools=[TOOL],
    )
    assert "sunny" in (second.choices[0].message.content or "")


@each_target
def test_a_streamed_tool_call_is_put_together(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=WEATHER, tools=[TOOL]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [json.loads(one.function.arguments) for one in message.tool_calls] == [{"city": "Paris"}]


@each_target
def test_an_answer_is_parsed_into_a_type(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Describe the city named 'Paris'"}],
        response_format=City,
    )
    assert answer.choices[0].message.parsed == City(name="Paris", people=1)


@each_target
def test_responses_are_answered_whole_and_in_events(client: OpenAI, model: str) -> None:
    whole = client.responses.create(model=model, input="Say hello.")
    assert "hello" in whole.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens > 0
    with client.responses.stream(model=model, input="Say hello.") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == whole.output_text


@each_target
def test_completions_are_answered_whole_and_streamed(client: OpenAI, model: str) -> None:
    asked: Any = {"model": model, "prompt": "Say hello.", "max_tokens": 50}
    whole = client.completions.create(**asked)
    assert "hello" in whole.choices[0].text
    streamed = client.completions.create(**asked, stream=True)
    assert "".join(one.choices[0].text for one in streamed if one.choices) == whole.choices[0].text


def test_embeddings_are_the_same_in_every_encoding(client: OpenAI) -> None:
    texts = ["hello", "a b c"]
    plain = client.embeddings.create(model=EMBEDDING, input=texts)
    floats = client.embeddings.create(model=EMBEDDING, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=EMBEDDING, input=texts, encoding_format="base64")
    assert [one.index for one in plain.data] == [0, 1]
    for left, middle, right in zip(plain.data, floats.data, packed.data, strict=True):
        size = len(left.embedding)
        assert size == 1536
        raw = base64.b64decode(str(right.embedding))
        assert list(struct.unpack(f"<{size}f", raw)) == left.embedding
        as_floats = struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *middle.embedding))
        assert list(as_floats) == left.embedding
    assert plain.usage.total_tokens == floats.usage.total_tokens > 0


def test_models_are_listed_and_found_by_names_with_a_slash(client: OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    for name in TARGETS.values():
        assert client.models.retrieve(name).id == name
        assert name in listed


def test_an_unknown_model_is_the_exception_that_the_sdk_has_for_it(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.type == "invalid_request_error"
    assert str(caught.value.request_id).startswith("req_")


@pytest.fixture
def faulty(simulator: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield simulator
    simulator.clear_faults()
    break_off(simulator)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_a_failing_provider_is_the_exception_that_the_sdk_has_for_it(
    client: OpenAI, faulty: SimulatorProcess, status: int, kind: type[openai.APIStatusError]
) -> None:
    faulty.fault({"kind": "status", "status": status, "message": "not now"}, model=f"*/{FAULTY}")
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=FAULTY, messages=HELLO)
    assert str(caught.value.request_id).startswith("req_")


def test_the_sdk_comes_back_when_it_is_told_to(gateway: Served, faulty: SimulatorProcess) -> None:
    tries = 3  # more than the gateway itself makes of one request
    later = {"kind": "status", "status": 503, "retry_after": 1}
    faulty.fault(later, model=f"*/{FAULTY}", times=tries)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=tries) as patient:
        raw = patient.chat.completions.with_raw_response.create(model=FAULTY, messages=HELLO)
    assert raw.retries_taken > 0
    assert faulty.stats()["models"][f"openai/{FAULTY}"]["faulted"] >= tries


def test_a_stream_that_breaks_off_is_an_exception(client: OpenAI, faulty: SimulatorProcess) -> None:
    faulty.fault({"kind": "cut", "after": 4, "by": "fin"}, model=f"*/{FAULTY}", times=1)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=FAULTY, messages=HELLO, stream=True))


@each_target
def test_the_sdk_of_anthropic_is_answered_in_its_own_protocol(
    claude: anthropic.Anthropic, model: str
) -> None:
    asked: Any = {
        "model": model,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    whole = claude.messages.create(**asked)
    assert whole.content[0].type == "text"
    assert "hello" in whole.content[0].text
    assert whole.usage.output_tokens > 0
    with claude.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text


def test_the_sdk_of_anthropic_raises_its_own_exception(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(
            model="no-such-model", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        )
