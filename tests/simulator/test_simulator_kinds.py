"""The providers that imitate OpenAI's wire, read by their own client libraries with types on."""

from collections.abc import Iterator
from typing import Any

import groq
import httpx
import mistralai.client
import openai
import orjson
import pytest

from turnout.simulator.imitations import IMITATIONS
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.vectors import vector_size

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello brave new world"}]
CALL: list[dict[str, Any]] = [{"role": "user", "content": "call get_weather in Oslo"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
THINKING = {
    "azure": "gpt-4o",
    "deepseek": "deepseek-reasoner",
    "fireworks": "accounts/fireworks/models/deepseek-v3",
    "groq": "openai/gpt-oss-20b",
    "mistral": "magistral-medium-latest",
    "openrouter": "deepseek/deepseek-r1",
    "together": "Qwen/Qwen3-235B-A22B-Thinking",
    "vllm": "qwen3-8b",
    "xai": "grok-4",
}


@pytest.fixture
def mistral(simulator: SimulatorProcess) -> Iterator[Any]:
    root = simulator.base_url("mistral").removesuffix("/v1")
    with mistralai.client.Mistral(api_key="any", server_url=root) as client:
        yield client


@pytest.fixture
def groqs(simulator: SimulatorProcess) -> Iterator[Any]:
    root = simulator.base_url("groq").removesuffix("/openai/v1")
    with groq.Groq(
        base_url=root,
        api_key="any",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture(params=[True, False], ids=["strict", "lenient"])
def azure(simulator: SimulatorProcess, request: pytest.FixtureRequest) -> Iterator[Any]:
    with openai.AzureOpenAI(
        azure_endpoint=simulator.base_url("azure"),
        api_key="any",
        api_version="2025-04-01-preview",
        max_retries=0,
        timeout=10,
        _strict_response_validation=request.param,
    ) as client:
        yield client


def test_mistrals_client_reads_answers_tools_and_thinking(mistral: Any) -> None:
    answer = mistral.chat.complete(model="mistral-large-latest", messages=HELLO, random_seed=7)
    assert answer.choices[0].message.content.endswith("hello brave new world")
    assert answer.choices[0].message.tool_calls is None
    called = mistral.chat.complete(
        model="mistral-large-latest", messages=CALL, tools=[TOOL], tool_choice="any"
    ).choices[0]
    assert called.finish_reason == "tool_calls"
    call = called.message.tool_calls[0]
    assert (call.function.name, len(call.id)) == ("get_weather", 9)
    thought = mistral.chat.complete(model="magistral-medium-latest", messages=HELLO)
    kinds = [part.type for part in thought.choices[0].message.content]
    assert kinds == ["thinking", "text"]


def test_mistrals_client_reads_streams(mistral: Any) -> None:
    events = [
        event.data for event in mistral.chat.stream(model="magistral-medium-latest", messages=HELLO)
    ]
    parts = [part for e in events if isinstance(part := e.choices[0].delta.content, list)]
    assert parts[0][0].thinking[0].text == "The question is plain."
    assert events[-1].choices[0].finish_reason == "stop"
    assert events[-1].usage.completion_tokens > 0
    called = [
        event.data
        for event in mistral.chat.stream(
            model="mistral-large-latest", messages=CALL, tools=[TOOL], tool_choice="any"
        )
    ]
    (call,) = called[-1].choices[0].delta.tool_calls
    assert orjson.loads(call.function.arguments) == {"city": "Oslo"}


def test_mistral_refuses_what_it_does_not_know(simulator: SimulatorProcess, mistral: Any) -> None:
    url = simulator.base_url("mistral") + "/chat/completions"
    refused: list[dict[str, Any]] = [
        {"seed": 7},
        {"max_completion_tokens": 5},
        {"stream_options": {"include_usage": True}},
        {"messages": [{"role": "developer", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "call_too_long"}]},
    ]
    for body in refused:
        answer = httpx.post(
            url,
            json={"model": "m", "messages": HELLO, **body},
            headers={"authorization": "Bearer any"},
        )
        assert answer.status_code in (400, 422), body
        assert answer.json()["object"] == "error"
    with pytest.raises(mistralai.client.errors.SDKError) as caught:
        mistral.chat.complete(model="m", messages=[{"role": "assistant"}], max_tokens=-1)
    assert caught.value.status_code == 400


def test_groqs_client_reads_answers_tools_and_streams(groqs: Any) -> None:
    answer = groqs.chat.completions.create(model="openai/gpt-oss-20b", messages=HELLO)
    assert answer.choices[0].message.reasoning == "The question is plain."
    called = groqs.chat.completions.create(
        model="m", messages=CALL, tools=[TOOL], tool_choice="required"
    )
    assert called.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert "content" not in called.choices[0].message.model_fields_set
    chunks = list(groqs.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert chunks[-1].x_groq.usage.completion_tokens > 0
    assert "".join(c.choices[0].delta.content or "" for c in chunks).endswith("new world")


def test_groqs_client_raises_what_comes_by_name(simulator: SimulatorProcess, groqs: Any) -> None:
    with pytest.raises(groq.BadRequestError, match="unsupported"):
        groqs.chat.completions.create(model="m", messages=HELLO, logit_bias={"1": 1})
    fault = {"kind": "error_event", "after": 3, "status": 500}
    order = {"model": "groq/*", "fault": fault}
    httpx.post(f"{simulator.control_url}/_sim/faults", json=order).raise_for_status()
    with pytest.raises(groq.APIError):
        list(groqs.chat.completions.create(model="m", messages=HELLO, stream=True))


def test_azures_client_reads_deployments_and_filters(azure: Any) -> None:
    answer = azure.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.model == "gpt-4o"
    assert answer.prompt_filter_results[0]["content_filter_results"]["hate"]["filtered"] is False
    vectors = azure.embeddings.create(
        model="text-embedding-3-small", input="hi", encoding_format="float"
    )
    assert len(vectors.data[0].embedding) == 1536


@pytest.mark.parametrize("azure", [False], indirect=True)
def test_azures_client_reads_streams_but_for_the_first_event_that_is_not_in_form(
    azure: Any,
) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(azure.chat.completions.create(model="gpt-4o", messages=HELLO, **asked))
    first, *others = chunks
    assert (first.choices, first.id, first.object) == ([], "", "")
    assert {chunk.object for chunk in others} == {"chat.completion.chunk"}
    assert chunks[-1].usage.completion_tokens > 0


def test_azure_wants_a_version_or_the_api_without_versions(simulator: SimulatorProcess) -> None:
    root = simulator.base_url("azure")
    body = {"model": "gpt-4o", "messages": HELLO}
    headers = {"api-key": "any"}
    bare = f"{root}/openai/deployments/gpt-4o/chat/completions"
    assert httpx.post(bare, json=body, headers=headers).status_code == 404
    named = f"{bare}?api-version=2025-04-01-preview"
    assert httpx.post(named, json=body, headers=headers).status_code == 200
    current = f"{root}/openai/v1/chat/completions"
    assert httpx.post(current, json=body, headers=headers).status_code == 200
    assert httpx.post(current, json=body).status_code == 401


def test_azure_has_responses_in_the_api_without_deployments_only(
    simulator: SimulatorProcess,
) -> None:
    root = simulator.base_url("azure")
    with openai.OpenAI(
        base_url=f"{root}/openai/v1",
        api_key="unused",
        default_headers={"api-key": "any"},
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        answer = client.responses.create(model="gpt-4o", input="hello brave new world")
        assert answer.output_text.endswith("new world")
        events = list(client.responses.create(model="gpt-4o", input="hello", stream=True))
        assert events[-1].type == "response.completed"
    deployed = f"{root}/openai/deployments/gpt-4o/responses?api-version=2025-04-01-preview"
    body = {"model": "gpt-4o", "input": "hello"}
    assert httpx.post(deployed, json=body, headers={"api-key": "any"}).status_code == 404


def test_vllm_continues_a_prompt_with_any_of_its_models(simulator: SimulatorProcess) -> None:
    asked: Any = {"model": "qwen3-8b", "prompt": "hello", "max_tokens": 50}
    reached: Any = {"base_url": simulator.base_url("vllm"), "api_key": "any", "max_retries": 0}
    with openai.OpenAI(**reached, _strict_response_validation=True) as client:
        text = client.completions.create(**asked).choices[0].text
    # The strict types know no chunk that is not the last, whoever sends it.
    with openai.OpenAI(**reached) as client:
        chunks = list(client.completions.create(**asked, stream=True))
    assert text and "".join(chunk.choices[0].text for chunk in chunks) == text


def test_mistral_tells_log_probabilities_when_asked(simulator: SimulatorProcess) -> None:
    url = simulator.base_url("mistral") + "/chat/completions"
    asked = {"model": "mistral-large-latest", "messages": HELLO, "logprobs": True}
    headers = {"authorization": "Bearer any"}
    answer = httpx.post(url, json={**asked, "top_logprobs": 2}, headers=headers)
    choice = mistralai.client.models.ChatCompletionResponse.model_validate(answer.json()).choices[0]
    told: Any = choice.logprobs
    said: Any = choice.message
    assert "".join(one.token for one in told.content) == said.content
    assert {len(one.top_logprobs) for one in told.content} == {2}


@pytest.mark.parametrize("kind", ["openai", "azure"])
@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"reasoning_content": "r"}, "reasoning_content"),
        ({"reasoning_details": []}, "reasoning_details"),
        ({"thinking_blocks": []}, "thinking_blocks"),
        (
            {"tool_calls": [{"id": "a", "type": "function", "extra_content": {}}]},
            "tool_calls[0].extra_content",
        ),
        ({"refusal": None, "annotations": [], "audio": None}, None),
    ],
)
def test_openai_refuses_messages_with_extensions_of_others(
    simulator: SimulatorProcess, kind: str, members: dict[str, Any], place: str | None
) -> None:
    path = "/openai/v1/chat/completions" if kind == "azure" else "/chat/completions"
    echo = {"role": "assistant", "content": "hi", **members}
    answer = httpx.post(
        simulator.base_url(kind) + path,
        json={"model": "gpt-4o", "messages": [echo, *HELLO]},
        headers={"authorization": "Bearer any", "api-key": "any"},
    )
    if place is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == f"messages[0].{place}"


@pytest.mark.parametrize("kind", ["deepseek", "groq", "openrouter", "vllm", "xai"])
def test_models_think_before_they_call(simulator: SimulatorProcess, kind: str) -> None:
    with openai.OpenAI(
        base_url=simulator.base_url(kind), api_key="any", max_retries=0, timeout=10
    ) as client:
        ask: Any = CALL
        tools: Any = [TOOL]
        chunks = client.chat.completions.create(
            model=THINKING[kind], messages=ask, tools=tools, stream=True
        )
        said = [
            name
            for chunk in chunks
            for choice in chunk.choices
            for name in choice.delta.model_dump(exclude_unset=True, exclude_none=True)
            if name in ("tool_calls", "reasoning", "reasoning_content")
        ]
    assert said[0].startswith("reasoning") and said[-1] == "tool_calls"
    assert said.index("tool_calls") == len([name for name in said if name != "tool_calls"])


@pytest.mark.parametrize("kind", [k for k in IMITATIONS if k not in ("azure", "mistral", "groq")])
def test_the_others_are_read_by_openais_client(simulator: SimulatorProcess, kind: str) -> None:
    with openai.OpenAI(
        base_url=simulator.base_url(kind), api_key="any", max_retries=0, timeout=10
    ) as client:
        messages: Any = HELLO
        tools: Any = [TOOL]
        answer = client.chat.completions.create(model=THINKING[kind], messages=messages)
        assert (answer.choices[0].message.content or "").endswith("new world")
        chunks = list(
            client.chat.completions.create(model=THINKING[kind], messages=messages, stream=True)
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == answer.choices[0].message.content
        ask: Any = CALL
        called = client.chat.completions.create(model="m", messages=ask, tools=tools)
        call: Any = (called.choices[0].message.tool_calls or [])[0]
        assert orjson.loads(call.function.arguments) == {"city": "Oslo"}


def test_mistral_has_a_name_of_its_own_for_the_length_of_vectors(
    simulator: SimulatorProcess, mistral: Any
) -> None:
    made = mistral.embeddings.create(model="codestral-embed", inputs=["a"], output_dimension=256)
    assert len(made.data[0].embedding) == 256
    answer = httpx.post(
        simulator.base_url("mistral") + "/embeddings",
        json={"model": "codestral-embed", "input": ["a"], "dimensions": 256},
        headers={"authorization": "Bearer any"},
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("model", "asked", "thinks"),
    [
        ("openai/gpt-4o", {}, False),
        ("openai/gpt-4o", {"reasoning_effort": "low"}, True),
        ("openai/gpt-4o", {"reasoning": {"max_tokens": 100}}, True),
        ("openai/gpt-4o", {"reasoning": {"effort": "none"}}, False),
        ("deepseek/deepseek-r1", {}, True),
        ("deepseek/deepseek-r1", {"reasoning_effort": "none"}, False),
    ],
)
def test_openrouter_thinks_as_it_is_asked_in_either_form(
    model: str, asked: dict[str, Any], thinks: bool
) -> None:
    body = {"model": model, **asked}
    answer: dict[str, Any] = {"choices": [{"finish_reason": "stop", "message": {}}]}
    said = IMITATIONS["openrouter"].whole(answer, body)["choices"][0]["message"]
    assert ("reasoning" in said) is thinks


def test_vectors_are_as_long_as_the_models() -> None:
    assert vector_size({}, "mistral-embed") == 1024
    assert vector_size({}, "text-embedding-3-large") == 3072
    assert vector_size({}, "text-embedding-3-small") == 1536
    assert vector_size({"dimensions": 256}, "text-embedding-3-small") == 256
