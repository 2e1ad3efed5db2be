"""Responses and legacy completions by OpenAI's own client, over sockets, with strict types.

OpenAI answers in the protocol itself, Anthropic and Groq in translation: the client cannot tell.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import orjson
import pytest
from openai.types.responses import Response, ResponseInputParam
from pydantic import BaseModel

from tests.e2e.conftest import Served
from turnout.simulator.process import SimulatorProcess

NATIVE, CLAUDE, GROQ = "openai/gpt-4o", "anthropic/claude-sonnet-4-5", "groq/llama-3.1-8b-instant"
TARGETS = (NATIVE, CLAUDE, GROQ)
LEGACY = "openai/gpt-3.5-turbo-instruct"
POLICY = """
version: 1
timezone: UTC
defaults: {retries: 0, backoff: 10ms}
breakers: {failures: 1000}
routing_policy:
  - name: chained
    condition: header["x-form"] == "chain"
    route: openai/gpt-4o
    fallback: [groq/llama-3.1-8b-instant]
  - name: set
    condition: header["x-form"] == "set"
    route: openai/o3-mini
    set: {max_tokens: 20, reasoning_effort: low, seed: 3}
  - name: searched
    condition: request_type == "responses" and has_tools and has_images
    route: openai/gpt-4o
  - {name: default, route: requested}
"""


def function(name: str, parameter: str) -> Any:
    return {
        "type": "function",
        "name": name,
        "description": f"Tells the {name}.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {parameter: {"type": "string"}},
            "required": [parameter],
            "additionalProperties": False,
        },
    }


TOOLS: Any = [function("weather", "city"), function("clock", "zone")]


@pytest.fixture(scope="module")
def url(addresses: str, serve_for_all: Callable[..., Served]) -> str:
    return serve_for_all(POLICY + addresses).url + "/v1"


@pytest.fixture(autouse=True)
def no_faults(simulators: dict[str, SimulatorProcess]) -> Iterator[None]:
    yield
    for simulator in simulators.values():
        simulator.clear_faults()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=url, api_key="k", max_retries=0, timeout=20, _strict_response_validation=True
    ) as made:
        yield made


def whole_and_streamed(client: openai.OpenAI, **asked: Any) -> tuple[Response, Response]:
    """The answer in one piece, and as the client adds it up from its events."""
    whole = client.responses.create(**asked)
    numbers = []
    with client.responses.stream(**asked) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    return whole, final


def shape(response: Response) -> Any:
    """What two answers to one request have in common: all but ids and instants."""
    told = response.to_dict()
    for name in ("id", "created_at", "completed_at"):
        told.pop(name, None)
    for item in told["output"]:  # type: ignore[attr-defined]
        for name in ("id", "call_id", "encrypted_content"):
            item.pop(name, None)
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return told


@pytest.mark.parametrize("model", TARGETS)
def test_an_answer_is_the_same_in_one_piece_and_in_events(
    client: openai.OpenAI, model: str
) -> None:
    whole, streamed = whole_and_streamed(
        client, model=model, input="hello brave new world", metadata={"a": "b"}, temperature=0.5
    )
    assert shape(whole) == shape(streamed)
    assert whole.output_text.endswith("you said: hello brave new world")
    assert (whole.model, whole.status, whole.error) == (model, "completed", None)
    assert (whole.metadata, whole.temperature) == ({"a": "b"}, 0.5)
    assert whole.id.startswith("resp_") and whole.output[0].id.startswith("msg_")  # type: ignore[union-attr]
    assert whole.usage is not None and whole.usage.input_tokens > 4
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


@pytest.mark.parametrize("model", TARGETS)
def test_every_event_has_the_type_that_its_name_says(client: openai.OpenAI, model: str) -> None:
    kinds = []
    for event in client.responses.create(model=model, input="hello", stream=True):
        kinds.append(event.type)
    opened = ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[:4] == [*opened, "response.content_part.added"]
    done = ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert kinds[-4:] == [f"response.{kind}" for kind in done]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}


@pytest.mark.parametrize("model", TARGETS)
def test_a_tool_is_called_and_its_output_is_answered(client: openai.OpenAI, model: str) -> None:
    asked: ResponseInputParam = [{"role": "user", "content": "call weather for Paris"}]
    first, streamed = whole_and_streamed(client, model=model, input=asked, tools=TOOLS)
    assert shape(first) == shape(streamed)
    call = first.output[0]
    assert call.type == "function_call" and call.name == "weather"
    assert orjson.loads(call.arguments) == {"city": "Paris"}
    asked += [item.to_dict() for item in first.output]  # type: ignore[misc]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second, streamed = whole_and_streamed(client, model=model, input=asked, tools=TOOLS)
    assert second.output_text.endswith("sunny") and shape(second) == shape(streamed)


def test_tools_that_are_called_side_by_side_are_items_of_their_own(client: openai.OpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "call weather and call clock for Rome"}]
    asked: Any = {"model": NATIVE, "input": said, "tools": TOOLS}
    whole, streamed = whole_and_streamed(client, **asked)
    assert [item.name for item in whole.output] == ["weather", "clock"]  # type: ignore[union-attr]
    assert shape(whole) == shape(streamed)
    one = client.responses.create(**asked, parallel_tool_calls=False)
    assert len(one.output) == 1
    items = [item.to_dict() for item in whole.output]
    items += [
        {"type": "function_call_output", "call_id": item["call_id"], "output": f"it is {number}"}
        for number, item in enumerate(items)
    ]
    for model in TARGETS:
        after = client.responses.create(**asked | {"model": model, "input": [*said, *items]})
        assert "it is" in after.output_text


@pytest.mark.parametrize("model", TARGETS)
def test_an_answer_in_a_form_is_parsed(client: openai.OpenAI, model: str) -> None:
    class Place(BaseModel):
        city: str

    parsed = client.responses.parse(model=model, input="where is Paris", text_format=Place)
    assert parsed.output_parsed == Place(city="Paris")
    with client.responses.stream(model=model, input="where is Oslo", text_format=Place) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == Place(city="Oslo")


@pytest.mark.parametrize("model", (NATIVE, CLAUDE))
def test_an_image_is_seen(client: openai.OpenAI, model: str) -> None:
    content: Any = [
        {"type": "input_text", "text": "what is this"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
    ]
    plain = client.responses.create(model=model, input="what is this")
    seen = client.responses.create(model=model, input=[{"role": "user", "content": content}])
    assert seen.usage is not None and plain.usage is not None
    assert seen.usage.input_tokens > plain.usage.input_tokens + 50


def test_a_model_that_reasons_gives_its_thoughts_and_takes_them_back(
    client: openai.OpenAI,
) -> None:
    asked: dict[str, Any] = {
        "model": "openai/o3-mini",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    first, streamed = whole_and_streamed(client, **asked, input="think")
    assert shape(first) == shape(streamed)
    thoughts = first.output[0]
    assert thoughts.type == "reasoning" and thoughts.summary and thoughts.encrypted_content
    assert first.usage is not None and first.usage.output_tokens_details.reasoning_tokens > 0
    items: list[Any] = [item.to_dict() for item in first.output]
    again = client.responses.create(
        **asked, input=[*items, {"role": "user", "content": "and again"}]
    )
    assert again.output_text.endswith("and again")


def test_thoughts_that_anthropic_signed_survive_a_round_trip(
    client: openai.OpenAI, simulators: dict[str, SimulatorProcess]
) -> None:
    asked: Any = {"tools": TOOLS, "max_output_tokens": 4000}
    thinks: Any = {"model": CLAUDE, "reasoning": {"effort": "medium"}, **asked}
    said: list[Any] = [{"role": "user", "content": "call weather for Paris"}]
    whole, streamed = whole_and_streamed(client, input=said, **thinks)
    assert shape(whole) == shape(streamed)
    for response in (whole, streamed):
        thoughts, call = response.output
        assert thoughts.type == "reasoning" and thoughts.encrypted_content
        assert call.type == "function_call"
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        items = [*said, thoughts.to_dict(), call.to_dict(), output]
        assert client.responses.create(input=items, **thinks).output_text.endswith("sunny")
        (request,) = simulators["anthropic"].requests(1)
        thinking, called = request["body"]["messages"][1]["content"]
        assert thinking["signature"] and called["type"] == "tool_use"
        # OpenAI refuses what it has not encrypted; nobody else wants it.
        for model in (NATIVE, GROQ):
            elsewhere = client.responses.create(model=model, input=items, **asked)
            assert elsewhere.output_text.endswith("sunny")


@pytest.mark.parametrize("model", TARGETS)
def test_an_answer_at_its_limit_is_incomplete(client: openai.OpenAI, model: str) -> None:
    asked = {"model": model, "input": "one two three " * 20, "max_output_tokens": 16}
    whole = client.responses.create(**asked)  # type: ignore[call-overload]
    *_, last = client.responses.create(**asked, stream=True)  # type: ignore[call-overload]
    assert last.type == "response.incomplete"
    assert shape(whole) == shape(last.response)
    assert whole.status == "incomplete" and whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.output[-1].status == "incomplete"


def test_a_refusal_is_no_text(client: openai.OpenAI) -> None:
    whole, streamed = whole_and_streamed(client, model=NATIVE, input="please refuse this")
    assert shape(whole) == shape(streamed)
    part = whole.output[0].content[0]  # type: ignore[union-attr, index]
    assert part.type == "refusal" and whole.output_text == ""


def test_what_is_kept_at_the_provider_is_continued_there_and_nowhere_else(
    client: openai.OpenAI,
) -> None:
    first = client.responses.create(model=NATIVE, input="my name is Ada")
    second = client.responses.create(model=NATIVE, input="go on", previous_response_id=first.id)
    assert first.usage is not None and second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    for model in (CLAUDE, GROQ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=model, input="go on", previous_response_id=first.id)
        assert (caught.value.code, caught.value.param) == (
            "unsupported_parameter",
            "previous_response_id",
        )
        assert caught.value.request_id


def test_steering_members_are_dropped_by_name(client: openai.OpenAI) -> None:
    for stream in (False, True):
        raw = client.responses.with_raw_response.create(
            model=GROQ,
            input="hi",
            reasoning={"summary": "auto"},
            truncation="auto",
            stream=stream,
        )
        dropped = raw.headers["x-turnout-dropped"].split(",")
        assert {"reasoning.summary", "truncation"} <= set(dropped)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", TARGETS)
def test_an_error_of_the_provider_is_one_of_the_client_s(
    client: openai.OpenAI,
    simulators: dict[str, SimulatorProcess],
    model: str,
    stream: bool,
    status: int,
    error: type[openai.APIStatusError],
) -> None:
    simulators[model.partition("/")[0]].fault({"kind": "status", "status": status})
    with pytest.raises(error) as caught:
        client.responses.create(model=model, input="hi", stream=stream)
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert caught.value.body.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error_event", "after": 7},
        {"kind": "unfinished", "after": 7},
        {"kind": "cut", "after": 7},
        {"kind": "malformed", "form": "chunk", "after": 7},
    ],
    ids=lambda fault: fault["kind"],
)
@pytest.mark.parametrize("model", TARGETS)
def test_a_stream_that_breaks_off_ends_in_a_response_that_failed(
    client: openai.OpenAI, simulators: dict[str, SimulatorProcess], model: str, fault: Any
) -> None:
    simulators[model.partition("/")[0]].fault(fault)
    events = list(client.responses.create(model=model, input="one two three four", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert last.response.id == events[0].response.id  # type: ignore[union-attr]
    assert last.response.status == "failed" and last.response.error is not None
    assert last.response.error.message and "simulat" not in last.response.error.message
    assert "response.completed" not in {event.type for event in events}


@pytest.mark.parametrize("kind", ["status", "error_event"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_next_hop_translates_what_the_first_could_not_answer(
    client: openai.OpenAI, simulators: dict[str, SimulatorProcess], stream: bool, kind: str
) -> None:
    if kind == "error_event" and not stream:
        kind = "status"
    at = {"after": 2} if kind == "error_event" else {"status": 500}
    simulators["openai"].fault({"kind": kind, **at})
    asked: Any = {"model": "gpt-4o", "input": "hi", "extra_headers": {"x-form": "chain"}}
    if stream:
        *_, last = client.responses.create(**asked, stream=True)
        response = last.response
    else:
        response = client.responses.create(**asked)
    assert response.output_text.endswith("you said: hi") and response.model == "gpt-4o"


def test_what_the_policy_sets_is_said_in_this_protocol(
    client: openai.OpenAI, simulators: dict[str, SimulatorProcess]
) -> None:
    raw = client.responses.with_raw_response.create(
        model="auto",
        input="think " * 40,
        reasoning={"summary": "auto"},
        extra_headers={"x-form": "set"},
    )
    response = raw.parse()
    assert response.status == "incomplete" and response.max_output_tokens == 20
    assert response.reasoning is not None and response.reasoning.effort == "low"
    assert response.reasoning.summary == "auto"
    assert raw.headers["x-turnout-dropped"] == "seed"


def test_a_policy_sees_tools_and_images_that_only_the_provider_has(client: openai.OpenAI) -> None:
    held: Any = [{"type": "input_image", "file_id": "file_1", "detail": "low"}]
    raw = client.responses.with_raw_response.create(
        model=CLAUDE,
        input=[{"role": "user", "content": held}],
        tools=[{"type": "web_search"}],
    )
    assert raw.headers["x-turnout-rule"] == "searched"
    assert raw.headers["x-turnout-model"] == NATIVE and raw.parse().model == CLAUDE


@pytest.mark.parametrize("model", [NATIVE, LEGACY, CLAUDE, GROQ])
def test_a_prompt_is_continued(client: openai.OpenAI, url: str, model: str) -> None:
    asked: Any = {"model": model, "prompt": "once upon", "max_tokens": 50}
    whole = client.completions.create(**asked)
    assert whole.choices[0].text.endswith("you said: once upon")
    assert (whole.choices[0].finish_reason, whole.model) == ("stop", model)
    assert whole.id.startswith("cmpl-") and whole.usage is not None
    # The client's types want a finish reason in every chunk, which OpenAI itself does not give.
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as lenient:
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        *chunks, last = lenient.completions.create(**asked, **options)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert last.usage == whole.usage and last.choices == []


@pytest.mark.parametrize("model", [NATIVE, LEGACY, CLAUDE])
def test_a_completion_that_breaks_off_raises(
    url: str, simulators: dict[str, SimulatorProcess], model: str
) -> None:
    simulators[model.partition("/")[0]].fault({"kind": "unfinished", "after": 5})
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as lenient:
        stream = lenient.completions.create(
            model=model, prompt="once upon a time", max_tokens=50, stream=True
        )
        with pytest.raises(openai.APIError):
            list(stream)


def test_only_a_legacy_model_takes_several_prompts(client: openai.OpenAI) -> None:
    several = client.completions.create(model=LEGACY, prompt=["a b", "c"], echo=True, logprobs=1)
    assert [choice.text[:3] for choice in several.choices] == ["a b", "csi"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=NATIVE, prompt=["a b", "c"])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "prompt")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", TARGETS)
def test_the_trace_has_the_tokens_that_the_client_was_told(
    client: openai.OpenAI, url: str, model: str, stream: bool
) -> None:
    if stream:
        events = client.responses.create(model=model, input="hi", stream=True)
        *_, last = events
        assert last.type == "response.completed"
        id, usage = events.response.headers["x-request-id"], last.response.usage
    else:
        raw = client.responses.with_raw_response.create(model=model, input="hi")
        id, usage = raw.headers["x-request-id"], raw.parse().usage
    trace = httpx.get(f"{url}/traces/{id}").json()
    assert trace["target"] == model and usage is not None
    told = (trace["tokens"]["input"], trace["tokens"]["output"])
    assert told == (usage.input_tokens, usage.output_tokens)
