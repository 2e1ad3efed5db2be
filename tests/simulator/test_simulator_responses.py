"""The simulated Responses and completions, as OpenAI's own client reads them with strict types."""

from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count, encoding

TOOLS: Any = [
    {
        "type": "function",
        "name": name,
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {parameter: {"type": "string"}},
            "required": [parameter],
            "additionalProperties": False,
        },
    }
    for name, parameter in (("weather", "city"), ("clock", "zone"))
]
REASONING: Any = {
    "model": "o3-mini",
    "input": "think",
    "reasoning": {"summary": "auto"},
    "include": ["reasoning.encrypted_content"],
}


@pytest.fixture
def strict(simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=simulator.base_url("openai"),
        api_key="sk-anything",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        yield client


def shape(response: Response) -> Any:
    told: Any = response.to_dict()
    for name in ("id", "created_at", "completed_at"):
        told.pop(name, None)
    for item in told["output"]:
        for name in ("id", "call_id", "encrypted_content", "parsed_arguments"):
            item.pop(name, None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return told


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "hello brave new world"},
        {"input": "call weather and call clock for Rome", "tools": TOOLS},
        {"input": "refuse it"},
        {"input": "hi", "top_logprobs": 1, "include": ["message.output_text.logprobs"]},
        {"input": "hi", "text": {"format": {"type": "json_object"}}, "metadata": {"a": "b"}},
        REASONING,
    ],
    ids=["text", "tools", "refusal", "logprobs", "json", "reasoning"],
)
def test_events_add_up_to_the_same_response(strict: openai.OpenAI, asked: Any) -> None:
    asked = {"model": "gpt-4o", **asked}
    whole = strict.responses.create(**asked)
    numbers = []
    with strict.responses.stream(**asked) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
        assert shape(stream.get_final_response()) == shape(whole)
    assert numbers == list(range(len(numbers)))
    assert whole.status == "completed" and whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


def test_an_answer_has_the_words_of_the_prompt_and_a_dated_model(strict: openai.OpenAI) -> None:
    response = strict.responses.create(model="gpt-4o", input="hello")
    assert response.output_text == "simulated answer by gpt-4o: you said: hello"
    assert response.model == "gpt-4o-2024-08-06" and response.id.startswith("resp_")
    assert response.usage is not None
    assert response.usage.output_tokens == count(response.output_text)


def test_a_response_is_continued_where_it_was_stored(strict: openai.OpenAI) -> None:
    first = strict.responses.create(model="gpt-4o", input="one")
    second = strict.responses.create(model="gpt-4o", input="two", previous_response_id=first.id)
    assert first.usage is not None and second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    unkept = strict.responses.create(model="gpt-4o", input="one", store=False)
    for unknown in ("resp_none", unkept.id):
        with pytest.raises(openai.BadRequestError) as caught:
            strict.responses.create(model="gpt-4o", input="two", previous_response_id=unknown)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"


@pytest.mark.parametrize("stored", [True, False])
def test_a_tool_loop_goes_through(strict: openai.OpenAI, stored: bool) -> None:
    asked: Any = {"model": "gpt-4o", "tools": TOOLS, "store": stored}
    first = strict.responses.create(input="call weather for Paris", **asked)
    call = first.output[0]
    assert call.type == "function_call" and orjson.loads(call.arguments) == {"city": "Paris"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    if stored:
        more: Any = {"input": [output], "previous_response_id": first.id}
    else:
        said = {"role": "user", "content": "call weather for Paris"}
        more = {"input": [said, call.to_dict(), output]}
    assert strict.responses.create(**asked, **more).output_text.endswith("sunny")


def test_a_call_and_its_output_belong_together(strict: openai.OpenAI) -> None:
    call: Any = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output: Any = {"type": "function_call_output", "call_id": "c", "output": "x"}
    for alone in (call, output):
        with pytest.raises(openai.BadRequestError) as caught:
            strict.responses.create(model="gpt-4o", input=[alone])
        assert caught.value.param == "input"


def test_a_schema_is_filled_in(strict: openai.OpenAI) -> None:
    class Place(BaseModel):
        city: str

    parsed = strict.responses.parse(model="gpt-4o", input="in Paris", text_format=Place)
    assert parsed.output_parsed == Place(city="Paris")


def test_thoughts_come_first_and_are_counted(strict: openai.OpenAI) -> None:
    response = strict.responses.create(**REASONING)
    thoughts, words = response.output
    assert thoughts.type == "reasoning" and thoughts.summary[0].text.endswith("think")
    assert words.type == "message" and response.usage is not None
    used = response.usage
    assert 0 < used.output_tokens_details.reasoning_tokens < used.output_tokens
    hidden = strict.responses.create(model="o3-mini", input="think").output[0]
    assert hidden.type == "reasoning"
    assert hidden.summary == [] and hidden.encrypted_content is None
    back: Any = [thoughts.to_dict(), words.to_dict(), {"role": "user", "content": "and now"}]
    assert strict.responses.create(model="o3-mini", input=back).output_text.endswith("and now")
    back[0]["encrypted_content"] = "made elsewhere"
    with pytest.raises(openai.BadRequestError) as caught:
        strict.responses.create(model="o3-mini", input=back)
    assert caught.value.code == "invalid_encrypted_content"


def test_the_limit_makes_an_answer_incomplete(strict: openai.OpenAI) -> None:
    asked: Any = {"model": "gpt-4o", "input": "one two three " * 9, "max_output_tokens": 16}
    response = strict.responses.create(**asked)
    assert response.status == "incomplete" and response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    *_, last = strict.responses.create(**asked, stream=True)
    assert last.type == "response.incomplete"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "input"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"messages": []}, "unsupported_parameter", "messages"),
        ({"max_tokens": 9}, "unsupported_parameter", "max_tokens"),
        ({"n": 2}, "unknown_parameter", "n"),
        ({"max_output_tokens": 3}, "integer_below_min_value", "max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [7]}, None, None),
    ],
)
def test_a_bad_body_is_refused_in_words_of_the_provider(
    strict: openai.OpenAI, body: Any, code: Any, param: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        strict.post("/responses", body={"model": "gpt-4o", "input": "hi", **body}, cast_to=object)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id


def test_a_stream_breaks_off_in_a_response_that_failed(
    simulator: SimulatorProcess, strict: openai.OpenAI
) -> None:
    simulator.fault({"kind": "error_event", "after": 6, "status": 429})
    events = list(strict.responses.create(model="gpt-4o", input="one two three", stream=True))
    last = events[-1]
    assert len(events) == 7 and last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "rate_limit_exceeded"


def test_only_openai_has_responses(simulator: SimulatorProcess) -> None:
    url = simulator.base_url("groq")
    with (
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.responses.create(model="llama-3.1-8b-instant", input="hi")


def test_a_prompt_is_continued(strict: openai.OpenAI, client: openai.OpenAI) -> None:
    asked: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": "once upon", "max_tokens": 40}
    whole = strict.completions.create(**asked)
    assert whole.choices[0].text.endswith("you said: once upon")
    assert whole.usage is not None and whole.usage.prompt_tokens == count("once upon")
    # The client's types want a finish reason in every chunk, which OpenAI itself does not give.
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.completions.create(**asked, **options)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "stop" and last.usage == whole.usage


def test_prompts_may_be_several_or_numbers(strict: openai.OpenAI) -> None:
    numbers = encoding().encode("once upon")
    forms: list[Any] = ["once upon", numbers, [numbers], ["once upon"]]
    texts = {
        strict.completions.create(model="davinci-002", prompt=form).choices[0].text
        for form in forms
    }
    assert len(texts) == 1
    several = strict.completions.create(
        model="davinci-002", prompt=["a", "b"], n=2, best_of=2, echo=True, logprobs=1
    )
    assert [choice.text[0] for choice in several.choices] == ["a", "a", "b", "b"]
    assert several.choices[0].logprobs is not None


def test_a_chat_model_has_no_completions(strict: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        strict.completions.create(model="gpt-4o", prompt="hi")
    assert caught.value.param == "model"
