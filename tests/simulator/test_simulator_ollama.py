"""The simulated Ollama passes with Ollama's own client, and its compatible side with OpenAI's.

The client overlooks members that it does not know; `strictly` looks at what came over the wire.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import openai
import orjson
import pytest
from pydantic import BaseModel

from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

MODEL = "llama3.1:8b"
HELLO: Any = [{"role": "user", "content": "hello brave new world"}]
SAID = f"simulated answer by {MODEL}: you said: hello brave new world"
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
CALLING: Any = [{"role": "user", "content": "call get_weather and get_time in Oslo"}]

# What Ollama really sends beyond its client's types.
RECORDED = {"id", "index", "bytes", "name", "model_info", "version"}


@pytest.fixture
def root(simulator: SimulatorProcess) -> str:
    return simulator.base_url("ollama").removesuffix("/v1")


@pytest.fixture
def client(root: str) -> Iterator[ollama.Client]:
    with ollama.Client(host=root, timeout=10) as made:
        yield made


@pytest.fixture
def compatible(root: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{root}/v1",
        api_key="ollama",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as made:
        yield made


def strictly(kind: type[BaseModel], raw: bytes) -> Any:
    """An answer of this type that has no member beside those of the type."""
    answer = kind.model_validate_json(raw)
    _same(orjson.loads(raw), answer)
    return answer


def _same(given: Any, read: Any) -> None:
    if isinstance(read, BaseModel):
        fields = type(read).model_fields
        aliases = {fields[name].alias or name: name for name in fields}
        assert set(given) - RECORDED <= set(aliases), (type(read).__name__, set(given))
        for alias, name in aliases.items():
            if alias in given:
                _same(given[alias], getattr(read, name))
    elif isinstance(read, list | tuple) and read and isinstance(read[0], BaseModel):
        for one, other in zip(given, read, strict=True):
            _same(one, other)


def posted(root: str, path: str, **body: Any) -> httpx.Response:
    return httpx.post(root + path, json={"model": MODEL, **body}, timeout=10)


def test_a_chat_has_the_words_of_the_prompt(root: str, client: ollama.Client) -> None:
    answer = client.chat(model=MODEL, messages=HELLO)
    assert (answer.message.content, answer.done, answer.done_reason) == (SAID, True, "stop")
    assert answer.eval_count == count(SAID)
    raw = posted(root, "/api/chat", messages=HELLO, stream=False, logprobs=True)
    assert strictly(ollama.ChatResponse, raw.content).message.content == SAID


def test_a_stream_is_lines_that_add_up(root: str, client: ollama.Client) -> None:
    lines = list(client.chat(model=MODEL, messages=HELLO, stream=True, logprobs=True))
    assert "".join(line.message.content or "" for line in lines) == SAID
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    told = [one.token for line in lines for one in line.logprobs or ()]
    assert "".join(told) == SAID
    raw = posted(root, "/api/chat", messages=HELLO)
    assert raw.headers["content-type"] == "application/x-ndjson"
    for line in raw.content.splitlines():
        strictly(ollama.ChatResponse, line)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_with_objects(client: ollama.Client, stream: bool) -> None:
    chat: Any = client.chat
    answer = chat(model=MODEL, messages=CALLING, tools=TOOLS, stream=stream)
    parts = list(answer) if stream else [answer]
    calls = [call.function for part in parts for call in part.message.tool_calls or ()]
    assert [(call.name, call.arguments) for call in calls] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_time", {"city": "Oslo"}),
    ]
    assert parts[-1].done_reason == "stop"


def test_a_tools_result_is_answered(client: ollama.Client) -> None:
    asked = client.chat(model=MODEL, messages=CALLING, tools=TOOLS).message
    result = {"role": "tool", "tool_name": "get_weather", "content": "call it sunny"}
    answer = client.chat(model=MODEL, messages=[*CALLING, asked, result], tools=TOOLS)
    assert answer.message.content == f"simulated answer by {MODEL}: you said: call it sunny"


def test_a_thinking_model_thinks_unless_told_otherwise(client: ollama.Client) -> None:
    thought = client.chat(model="qwen3:8b", messages=HELLO).message.thinking
    assert thought == "the user said: hello brave new world"
    assert client.chat(model="qwen3:8b", messages=HELLO, think=False).message.thinking is None
    streamed = client.chat(model="qwen3:8b", messages=HELLO, think="low", stream=True)
    assert "".join(line.message.thinking or "" for line in streamed) == thought


def test_a_prompt_is_generated_from(root: str, client: ollama.Client) -> None:
    whole = client.generate(model=MODEL, prompt="hello brave new world")
    streamed = list(client.generate(model=MODEL, prompt="hello brave new world", stream=True))
    assert whole.response == SAID == "".join(line.response or "" for line in streamed)
    assert whole.context == streamed[-1].context and whole.context
    strictly(
        ollama.GenerateResponse, posted(root, "/api/generate", prompt="x", stream=False).content
    )


def test_a_schema_and_the_options_are_followed(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert client.chat(model=MODEL, messages=HELLO, format=schema).message.content == '{"n": 1}'
    as_json = client.chat(model=MODEL, messages=HELLO, format="json").message.content or ""
    assert orjson.loads(as_json) == {"answer": SAID}
    cut = client.chat(model=MODEL, messages=HELLO, options={"num_predict": 4})
    assert (cut.done_reason, cut.eval_count) == ("length", 4)
    stopped = client.chat(model=MODEL, messages=HELLO, options={"stop": [" new"]})
    assert (stopped.message.content or "").endswith("hello brave")


def test_embeddings_are_made_and_shortened(root: str, client: ollama.Client) -> None:
    answer = client.embed(model="nomic-embed-text", input=["a", "b"], dimensions=8)
    assert [len(vector) for vector in answer.embeddings] == [8, 8]
    assert sum(value * value for value in answer.embeddings[0]) == pytest.approx(1, abs=1e-6)
    strictly(ollama.EmbedResponse, posted(root, "/api/embed", input="a").content)


def test_models_are_listed_and_shown(root: str, client: ollama.Client) -> None:
    assert MODEL in {model.model for model in client.list().models}
    shown = client.show("qwen3:8b")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert list(client.ps().models) == []
    assert "version" in httpx.get(f"{root}/api/version").json()
    strictly(ollama.ListResponse, httpx.get(f"{root}/api/tags").content)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", {"model": ""}, 400, "model is required"),
        ("/api/chat", {"model": "gemma:2b", "messages": HELLO, "tools": TOOLS}, 400,
         "registry.ollama.ai/library/gemma:2b does not support tools"),
        ("/api/chat", {"messages": HELLO, "think": True}, 400, "does not support thinking"),
        ("/api/embed", {"input": [1, 2]}, 400, "invalid input type"),
        ("/api/show", {"model": "none:1b"}, 404, "model 'none:1b' not found"),
    ],
)  # fmt: skip
def test_an_error_of_its_own_api_is_a_text(
    root: str, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = posted(root, path, **body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]


def test_its_client_raises_what_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
        client.chat(model="gemma:2b", messages=HELLO, tools=TOOLS)
    assert caught.value.status_code == 400


# --- the OpenAI-compatible side ------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_understands_it(compatible: openai.OpenAI, stream: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if stream else {}
    answer: Any = compatible.chat.completions.create(
        model=MODEL, messages=HELLO, stream=stream, **options
    )
    if not stream:
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (
            SAID,
            "stop",
        )
        return
    chunks = list(answer)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == count(SAID)


def test_a_stream_with_tools_comes_in_one_piece_of_index_0_and_ends_with_stop(
    compatible: openai.OpenAI,
) -> None:
    chunks = list(
        compatible.chat.completions.create(model=MODEL, messages=CALLING, tools=TOOLS, stream=True)
    )
    assert len(chunks) == 2
    calls = chunks[0].choices[0].delta.tool_calls or []
    assert [call.index for call in calls] == [0, 0] and calls[0].id != calls[1].id
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    whole = compatible.chat.completions.create(model=MODEL, messages=CALLING, tools=TOOLS)
    assert whole.choices[0].finish_reason == "tool_calls"


def test_what_it_does_not_know_is_ignored(compatible: openai.OpenAI) -> None:
    answer = compatible.chat.completions.create(
        model=MODEL, messages=CALLING, tools=TOOLS, tool_choice="none", n=3, user="u"
    )
    assert len(answer.choices) == 1 and answer.choices[0].message.tool_calls


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "is too short"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid message content type"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "invalid message format"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]},
         "invalid image input"),
        ({"reasoning_effort": "minimal"}, "invalid reasoning value"),
        ({"model": "gemma:2b", "tools": TOOLS}, "does not support tools"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_in_openais_envelope(
    compatible: openai.OpenAI, body: dict[str, Any], words: str
) -> None:
    sent = {"model": MODEL, "messages": HELLO, **body}
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        compatible.post("/chat/completions", body=sent, cast_to=object)
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", None)


def test_a_model_that_was_not_pulled_is_not_found() -> None:
    with (
        SimulatorProcess(["ollama"], "--model", f"ollama/{MODEL}") as process,
        openai.OpenAI(base_url=process.base_url("ollama"), api_key="x", max_retries=0) as made,
    ):
        with pytest.raises(openai.NotFoundError, match="not found, try pulling it first"):
            made.chat.completions.create(model="none:1b", messages=HELLO)
        with pytest.raises(ollama.ResponseError, match="model 'none:1b' not found"):
            ollama.Client(host=process.base_url("ollama").removesuffix("/v1")).chat(
                "none:1b", HELLO
            )


# Without a format this client asks for base64 and decodes it; its strict mode refuses its own way.
@pytest.mark.parametrize("asked", [{"encoding_format": "float"}, {}], ids=["float", "base64"])
def test_its_embeddings_come_as_asked_for(root: str, asked: Any) -> None:
    with openai.OpenAI(base_url=f"{root}/v1", api_key="ollama", max_retries=0) as client:
        answer = client.embeddings.create(
            model="nomic-embed-text", input=["a"], dimensions=8, **asked
        )
        assert [len(row.embedding) for row in answer.data] == [8]
        with pytest.raises(openai.BadRequestError, match="invalid input type"):
            client.embeddings.create(model="nomic-embed-text", input=[[1, 2]])
