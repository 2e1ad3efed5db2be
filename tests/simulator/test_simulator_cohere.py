"""The simulated Cohere passes with Cohere's own client, and every answer with its own types.

The client takes what it gets without looking; `strictly` looks.
"""

import logging
import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError
from cohere.v2.client import V2Client
from cohere.v2.types.v2chat_stream_response import V2ChatStreamResponse
from pydantic import BaseModel, TypeAdapter

from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

MODEL = "command-a-03-2025"
REASONING = "command-a-reasoning-08-2025"
HELLO: Any = [{"role": "user", "content": "hello brave new world"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "What it is like there.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name in ("get_weather", "get_time")
]


@pytest.fixture
def co(simulator: SimulatorProcess) -> Iterator[cohere.ClientV2]:
    with httpx.Client(timeout=10) as client:
        yield cohere.ClientV2(
            api_key="co-anything", base_url=simulator.base_url("cohere"), httpx_client=client
        )


# What Cohere really sends beyond its types.
RECORDED = {
    "ChatMessageStartEventDeltaMessage": {"content", "tool_plan", "tool_calls", "citations"},
}


def strictly(answer: BaseModel) -> Any:
    """The answer, if its types allow every member of it."""
    open_values: list[Any] = [answer]
    while open_values:
        value = open_values.pop()
        if isinstance(value, BaseModel):
            unknown = set(value.model_extra or ()) - RECORDED.get(type(value).__name__, set())
            assert not unknown, (type(value).__name__, unknown)
            assert type(value).model_validate(value.model_dump(by_alias=True))
            open_values += [getattr(value, name) for name in type(value).model_fields]
        elif isinstance(value, list):
            open_values += value
    return answer


def events(co: cohere.ClientV2, caplog: Any, **members: Any) -> list[Any]:
    """All events of a stream; the client skips what it cannot read and logs that."""
    with caplog.at_level(logging.WARNING):
        streamed = [strictly(event) for event in co.chat_stream(model=MODEL, **members)]
    assert caplog.messages == []
    adapter: TypeAdapter[Any] = TypeAdapter(V2ChatStreamResponse)
    for event in streamed:
        assert adapter.validate_python(event.model_dump(by_alias=True)).type == event.type
    return streamed


def test_an_answer_has_the_words_of_the_prompt(co: cohere.ClientV2) -> None:
    answer = strictly(co.chat(model=MODEL, messages=HELLO))
    text = f"simulated answer by {MODEL}: you said: hello brave new world"
    assert [(part.type, part.text) for part in answer.message.content] == [("text", text)]
    assert answer.finish_reason == "COMPLETE"
    assert answer.usage.billed_units.output_tokens == count(text)
    assert answer.usage.tokens.input_tokens > answer.usage.billed_units.input_tokens


def test_a_stream_has_all_events_in_order(co: cohere.ClientV2, caplog: Any) -> None:
    kinds = [event.type for event in events(co, caplog, messages=HELLO)]
    pieces = kinds.count("content-delta")
    assert pieces > 5
    assert kinds == [
        "message-start",
        "content-start",
        *["content-delta"] * pieces,
        "content-end",
        "message-end",
    ]


def test_a_stream_adds_up_to_the_whole_answer(co: cohere.ClientV2, caplog: Any) -> None:
    whole = strictly(co.chat(model=MODEL, messages=HELLO, logprobs=True))
    streamed = events(co, caplog, messages=HELLO, logprobs=True)
    deltas = [event for event in streamed if event.type == "content-delta"]
    assert "".join(d.delta.message.content.text for d in deltas) == whole.message.content[0].text
    assert [d.logprobs for d in deltas] == whole.logprobs
    assert streamed[-1].delta.usage == whole.usage


@pytest.mark.parametrize("choice", [None, "REQUIRED"])
def test_tools_are_called_with_a_plan(co: cohere.ClientV2, caplog: Any, choice: Any) -> None:
    prompt = "call get_weather and get_time in Oslo"
    body: Any = {"messages": [{"role": "user", "content": prompt}], "tools": TOOLS}
    if choice is not None:
        body["tool_choice"] = choice
    answer = strictly(co.chat(model=MODEL, **body))
    assert answer.finish_reason == "TOOL_CALL"
    assert answer.message.tool_plan == "I will use get_weather and get_time."
    called = [(call.function.name, call.function.arguments) for call in answer.message.tool_calls]
    assert called == [("get_weather", '{"city":"Oslo"}'), ("get_time", '{"city":"Oslo"}')]
    assert answer.message.content is None
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for event in events(co, caplog, **body):
        if event.type == "tool-call-start":
            names[event.index] = event.delta.message.tool_calls.function.name
        elif event.type == "tool-call-delta":
            written = event.delta.message.tool_calls.function.arguments
            arguments[event.index] = arguments.get(event.index, "") + written
    assert [(names[index], arguments[index]) for index in names] == called


def test_no_tool_is_called_where_none_may_be_and_results_are_answered(co: cohere.ClientV2) -> None:
    messages: Any = [{"role": "user", "content": "call get_weather in Oslo"}]
    none = co.chat(model=MODEL, messages=messages, tools=TOOLS, tool_choice="NONE")
    assert none.finish_reason == "COMPLETE"
    asked = co.chat(model=MODEL, messages=messages, tools=TOOLS).message
    assert asked.tool_calls is not None
    result = {"type": "document", "document": {"data": {"result": "sunny there"}}}
    messages += [
        asked,
        {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": [result]},
    ]
    answer = strictly(co.chat(model=MODEL, messages=messages, tools=TOOLS))
    assert answer.message.content[0].text.endswith("you said: sunny there")


def test_a_reasoning_model_thinks_first_unless_told_otherwise(co: cohere.ClientV2) -> None:
    answer = strictly(co.chat(model=REASONING, messages=HELLO))
    assert [part.type for part in answer.message.content] == ["thinking", "text"]
    off = co.chat(model=REASONING, messages=HELLO, thinking=cohere.Thinking(type="disabled"))
    assert off.message.content is not None
    assert [part.type for part in off.message.content] == ["text"]
    kinds = [event.type for event in co.chat_stream(model=REASONING, messages=HELLO)]
    assert kinds.count("content-start") == 2


def test_limits_and_stops_end_the_answer(co: cohere.ClientV2) -> None:
    cut = co.chat(model=MODEL, messages=HELLO, max_tokens=4)
    assert cut.usage is not None and cut.usage.billed_units is not None
    assert (cut.finish_reason, cut.usage.billed_units.output_tokens) == ("MAX_TOKENS", 4)
    stopped = co.chat(model=MODEL, messages=HELLO, stop_sequences=[" new"])
    assert stopped.finish_reason == "STOP_SEQUENCE"


def test_a_schema_is_followed_and_documents_are_cited(co: cohere.ClientV2, caplog: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted: Any = {"type": "json_object", "json_schema": schema}
    answer = strictly(co.chat(model=MODEL, messages=HELLO, response_format=wanted))
    assert answer.message.content[0].text == '{"n":1}'
    cited = strictly(co.chat(model=MODEL, messages=HELLO, documents=["a text"]))
    assert cited.message.citations[0].text == "simulated"
    kinds = [e.type for e in events(co, caplog, messages=HELLO, documents=["a text"])]
    assert kinds[-4:] == ["citation-start", "citation-end", "content-end", "message-end"]


def test_embeddings_come_in_every_type_asked_for(co: cohere.ClientV2) -> None:
    answer = strictly(
        co.embed(
            model="embed-v4.0",
            texts=["a", "b"],
            input_type="search_query",
            embedding_types=["float", "base64"],
            output_dimension=256,
        )
    )
    floats, packed = answer.embeddings.float_, answer.embeddings.base64
    assert [len(vector) for vector in floats] == [256, 256]
    assert list(struct.unpack("<256f", b64decode(packed[1]))) == floats[1]
    assert answer.meta.billed_units.input_tokens == 2


def test_models_are_listed(co: cohere.ClientV2) -> None:
    assert MODEL in {model.name for model in strictly(co.models.list()).models}
    assert strictly(co.models.get("embed-v4.0")).endpoints == ["embed"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": ""}, "model parameter is required"),
    "no messages": ({"messages": []}, "must not be empty"),
    "an empty turn": ({"messages": [{"role": "user", "content": ""}]}, "must not be empty"),
    "another role": ({"messages": [{"role": "developer", "content": "x"}]}, "role"),
    "a late system turn": (
        {"messages": [*HELLO, {"role": "system", "content": "x"}]},
        "must be the first",
    ),
    "too hot": ({"temperature": 1.5}, "between 0 and 1"),
    "p of all": ({"p": 1}, "between 0.01 and 0.99"),
    "six stops": ({"stop_sequences": list("abcdef")}, "stop sequences"),
    "a choice of its own": ({"tools": TOOLS, "tool_choice": "auto"}, "REQUIRED or NONE"),
    "a choice without tools": ({"tool_choice": "REQUIRED"}, "tools be provided"),
    "JSON beside tools": (
        {"tools": TOOLS, "response_format": {"type": "json_object"}},
        "not supported",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_body_is_refused(co: cohere.ClientV2, name: str) -> None:
    body, words = REFUSED[name]
    with pytest.raises(cohere.BadRequestError, match=words) as caught:
        co.chat(**{"model": MODEL, "messages": HELLO, **body})
    assert set(caught.value.body) == {"id", "message"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input_type": "anything"}, "input_type"),
        ({"texts": []}, "at least one text"),
        ({"texts": ["x"] * 97}, "at most 96"),
        ({"output_dimension": 7}, "output_dimension"),
    ],
)
def test_bad_embeddings_are_refused(co: cohere.ClientV2, body: dict[str, Any], words: str) -> None:
    sent: Any = {"model": "embed-v4.0", "texts": ["x"], "input_type": "clustering", **body}
    with pytest.raises(cohere.BadRequestError, match=words):
        V2Client.embed(co, **sent)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (401, cohere.UnauthorizedError),
        (404, cohere.NotFoundError),
        (429, cohere.TooManyRequestsError),
        (498, ApiError),
        (500, cohere.InternalServerError),
        (503, cohere.ServiceUnavailableError),
    ],
)
def test_every_error_raises_the_clients_own(
    simulator: SimulatorProcess, co: cohere.ClientV2, status: int, raised: type[ApiError]
) -> None:
    simulator.fault({"kind": "status", "status": status}, model="cohere/*")
    with pytest.raises(raised) as caught:
        co.chat(model=MODEL, messages=HELLO, request_options={"max_retries": 0})
    assert caught.value.status_code == status
    assert caught.value.body["message"] == "simulated fault"


def test_a_failure_amid_a_stream_ends_it(
    simulator: SimulatorProcess, co: cohere.ClientV2, caplog: Any
) -> None:
    simulator.fault({"kind": "error_event", "after": 3}, model="cohere/*")
    last = events(co, caplog, messages=HELLO)[-1]
    assert (last.type, last.delta.finish_reason) == ("message-end", "ERROR")
    assert last.delta.error == "simulated fault"
