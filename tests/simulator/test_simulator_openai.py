import base64
import struct
from typing import Any

import httpx
import openai
import orjson
import pytest
import tiktoken
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count, encoding

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello brave new world"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit", "days"],
        },
    },
}


def test_an_answer_has_the_words_of_the_prompt(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.choices[0].message.content == (
        "simulated answer by gpt-4: you said: hello brave new world"
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "gpt-4-0613"


def test_the_same_prompt_gets_the_same_answer(client: openai.OpenAI) -> None:
    first, second = (
        client.chat.completions.create(model="gpt-4", messages=HELLO) for _ in range(2)
    )
    assert first.choices == second.choices
    assert first.id != second.id


def test_usage_is_the_true_count_with_the_overheads_of_the_chat_format(
    client: openai.OpenAI,
) -> None:
    answer = client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.usage is not None
    content = answer.choices[0].message.content or ""
    # 3 a message, the role, the text, and 3 that prime the answer
    assert answer.usage.prompt_tokens == 3 + count("user") + count("hello brave new world") + 3
    assert answer.usage.completion_tokens == count(content)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("hello world", 2), ("<|endoftext|>", 7), ("antidisestablishmentarianism", 6)],
)
def test_counts_are_those_of_o200k_base(text: str, tokens: int) -> None:
    assert count(text) == tokens
    assert isinstance(encoding(), tiktoken.Encoding)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_limit_cuts_the_answer_at_exactly_that_many_tokens(
    client: openai.OpenAI, name: str, stream: bool
) -> None:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO, name: 5}
    if stream:
        chunks = list(client.chat.completions.create(**body, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        finish = chunks[-1].choices[0].finish_reason
    else:
        answer = client.chat.completions.create(**body)
        text = answer.choices[0].message.content
        finish = answer.choices[0].finish_reason
        assert answer.usage is not None and answer.usage.completion_tokens == 5
    assert (count(text), finish) == (5, "length")


def test_a_stop_sequence_ends_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4", messages=HELLO, stop=[" new", "zzz"])
    assert (answer.choices[0].message.content or "").endswith("hello brave")


def test_a_stream_goes_role_first_then_content_then_finish(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="gpt-4", messages=HELLO, stream=True))
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert all(choice.delta.content and choice.finish_reason is None for choice in middle)
    assert (last.delta.content, last.finish_reason) == (None, "stop")
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_usage_is_in_a_stream_only_if_asked_for(simulator: SimulatorProcess) -> None:
    plain = raw_events(simulator, {"stream": True})
    assert all("usage" not in event for event in plain)
    asked = raw_events(simulator, {"stream": True, "stream_options": {"include_usage": True}})
    assert all(event["usage"] is None for event in asked[:-1])
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == len(asked) - 3


def test_streamed_pieces_together_are_the_whole_answer_in_any_script(
    client: openai.OpenAI,
) -> None:
    content = "Grüße 你好世界 👩‍👩‍👧 مرحبا"
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": content}]
    whole = client.chat.completions.create(model="gpt-4", messages=messages)
    chunks = client.chat.completions.create(model="gpt-4", messages=messages, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed == whole.choices[0].message.content
    assert content in streamed


def test_several_choices_are_indexed_and_billed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3 * count(answer.choices[0].message.content or "")
    chunks = list(client.chat.completions.create(model="gpt-4", messages=HELLO, n=2, stream=True))
    ends = [c.choices[0].index for c in chunks if c.choices[0].finish_reason]
    assert ends == [0, 1]


def test_a_prompt_that_asks_for_a_tool_gets_its_call(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "please call get_weather for Paris"}
    ]
    answer = client.chat.completions.create(model="gpt-4", messages=messages, tools=[WEATHER])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    call = (choice.message.tool_calls or [])[0]
    assert call.type == "function" and call.function.name == "get_weather"
    expected = {"city": "Paris", "unit": "celsius", "days": 1}
    assert orjson.loads(call.function.arguments) == expected

    chunks = list(
        client.chat.completions.create(
            model="gpt-4", messages=messages, tools=[WEATHER], stream=True
        )
    )
    deltas = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert deltas[0].id and deltas[0].function
    assert deltas[0].function.name == "get_weather"
    fragments = [delta.function.arguments or "" for delta in deltas if delta.function]
    assert orjson.loads("".join(fragments)) == expected
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_result_of_a_tool_is_answered_in_words(client: openai.OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "call get_weather"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    answer = client.chat.completions.create(model="gpt-4", messages=messages, tools=[WEATHER])
    assert (answer.choices[0].message.content or "").endswith("you said: sunny")


def test_json_is_answered_where_json_is_asked_for(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "ok": {"type": "boolean"}},
        "required": ["name", "ok"],
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, response_format=form)
    assert orjson.loads(answer.choices[0].message.content or "") == {"name": "world", "ok": True}


@pytest.mark.parametrize("size", [None, 64])
def test_embeddings_are_the_same_packed_and_plain(client: openai.OpenAI, size: int | None) -> None:
    extra: dict[str, Any] = {} if size is None else {"dimensions": size}
    common = {"model": "text-embedding-3-small", "input": ["a cat", "a dog"], **extra}
    plain = client.embeddings.create(**common, encoding_format="float")
    packed = client.embeddings.with_raw_response.create(**common, encoding_format="base64")
    rows = orjson.loads(packed.content)["data"]
    for one, row in zip(plain.data, rows, strict=True):
        raw = base64.b64decode(row["embedding"])
        assert list(struct.unpack(f"<{size or 1536}f", raw)) == one.embedding
    assert [one.index for one in plain.data] == [0, 1]
    assert plain.usage.prompt_tokens == count("a cat") + count("a dog")
    assert plain.data[0].embedding != plain.data[1].embedding


def test_embeddings_take_token_ids(client: openai.OpenAI) -> None:
    ids = encoding().encode("a cat")
    inputs: list[Any] = ["a cat", ids, [ids]]
    vectors = [
        client.embeddings.create(model="text-embedding-3-small", input=one, dimensions=16)
        .data[0]
        .embedding
        for one in inputs
    ]
    assert vectors[0] == vectors[1] == vectors[2]


def test_texts_that_share_words_have_vectors_that_are_near(client: openai.OpenAI) -> None:
    texts = ["refund my order please", "please refund this order", "write a haiku on autumn"]
    data = client.embeddings.create(model="text-embedding-3-small", input=texts).data
    one, near, far = (item.embedding for item in data)
    assert dot(one, near) > 0.5 > dot(one, far)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert "gpt-4o" in {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt-4o").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-none")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"messages": []}, "empty_array", "messages"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"messages": "hi"}, "invalid_type", "messages"),
        ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({"model": "o3-mini", "max_tokens": 9}, "unsupported_parameter", "max_tokens"),
        ({"model": None}, None, None),
        ({"tools": [1]}, None, None),
    ],
)
def test_a_bad_body_is_refused_in_words_of_the_provider(
    client: openai.OpenAI, body: dict[str, Any], code: str | None, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(
            "/chat/completions",
            body={"model": "gpt-4", "messages": HELLO, **body},
            cast_to=object,
        )
    assert caught.value.code == code
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_nulls_count_as_absent(client: openai.OpenAI) -> None:
    names = ["max_tokens", "stop", "n", "tools", "tool_choice", "response_format", "stream"]
    body = {"model": "gpt-4", "messages": HELLO, **dict.fromkeys(names)}
    answer = client.post("/chat/completions", body=body, cast_to=object)
    assert isinstance(answer, dict)
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_a_key_is_needed_but_any_will_do(simulator: SimulatorProcess) -> None:
    url = simulator.base_url("groq") + "/chat/completions"
    answer = httpx.post(url, json={"model": "llama-3.1-8b-instant", "messages": HELLO})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("provider", ["openai", "groq", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_provider_of_the_wire_is_understood(
    simulator: SimulatorProcess, provider: str, stream: bool
) -> None:
    url = simulator.base_url(provider)
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        answer: Any = client.chat.completions.create(model="m:8b", messages=HELLO, stream=stream)
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
    assert text.endswith("hello brave new world")


def test_success_carries_the_headers_that_were_recorded(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4", messages=HELLO)
    for name in ("openai-processing-ms", "openai-version", "x-ratelimit-reset-tokens"):
        assert name in raw.headers
    assert raw.headers["x-request-id"].startswith("req_")


def raw_events(simulator: SimulatorProcess, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events as JSON, `[DONE]` checked and left out."""
    url = simulator.base_url("openai") + "/chat/completions"
    sent = {"model": "gpt-4", "messages": HELLO, **body}
    answer = httpx.post(url, json=sent, headers={"authorization": "Bearer k"})
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [orjson.loads(event.removeprefix("data: ")) for event in events[:-2]]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
