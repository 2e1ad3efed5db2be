from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS, build, key_variable
from turnout.engine.provider import Fault, ProviderError

CHAT = b'{"choices":[{"message":{"content":"x"}}]}'
MESSAGE = b'{"content":[]}'
MAX = {"max_completion_tokens": 5}
NOWHERE = httpx.MockTransport(lambda request: httpx.Response(500))


@pytest.mark.parametrize(
    ("kind", "base_url", "expected"),
    [
        ("openai", None, "https://api.openai.com/v1/chat/completions"),
        ("groq", None, "https://api.groq.com/openai/v1/chat/completions"),
        ("ollama", None, "http://localhost:11434/v1/chat/completions"),
        ("anthropic", None, "https://api.anthropic.com/v1/messages"),
        ("ollama", "http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("ollama", "http://gpu:1/x/", "http://gpu:1/x/chat/completions"),
        ("openai", "https://gw.example/a/openai/", "https://gw.example/a/openai/chat/completions"),
        ("openai", "http://127.0.0.1:9", "http://127.0.0.1:9/chat/completions"),
        ("anthropic", "https://gw.example/a%2Fb/v1", "https://gw.example/a%2Fb/v1/messages"),
    ],
)
async def test_a_base_url_is_a_prefix_and_nothing_but_the_path_is_added(
    bench: Any, kind: str, base_url: str | None, expected: str
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=MESSAGE if kind == "anthropic" else CHAT)

    provider = build(kind, kind, base_url, {}, "k" * 8, httpx.MockTransport(answer))
    await provider.answer(bench.chat())
    assert str(seen[0].url) == expected
    assert seen[0].method == "POST"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("openai", "openai", "OPENAI_API_KEY"),
        ("openai", None, "OPENAI_API_KEY"),
        ("anthropic", "anthropic", "ANTHROPIC_API_KEY"),
        ("groq", "groq", "GROQ_API_KEY"),
        ("house", "openai", "HOUSE_API_KEY"),
        ("my-gpu.2", None, "MY_GPU_2_API_KEY"),
        ("openai", "ollama", "OPENAI_API_KEY"),
    ],
)
def test_a_credential_has_a_variable(name: str, kind: str | None, expected: str) -> None:
    assert key_variable(name, kind) == expected


@pytest.mark.parametrize(
    ("kind", "base_url", "headers", "credential", "usable"),
    [
        ("openai", None, {}, None, False),
        ("openai", None, {}, " \n", False),
        ("openai", None, {}, "k", True),
        ("openai", None, {"Authorization": "Bearer x"}, None, True),
        ("openai", "https://api.openai.com/v1", {}, None, False),
        ("openai", "https://API.OpenAI.com./v1", {}, None, False),
        ("openai", "http://vllm:8000/v1", {}, None, False),
        ("openai", "http://vllm:8000/v1", {}, "any", True),
        ("anthropic", None, {}, None, False),
        ("anthropic", None, {}, "k", True),
        ("anthropic", "https://gw.example/v1", {}, None, False),
        ("anthropic", "https://gw.example/v1", {"cf-aig-authorization": "Bearer x"}, None, True),
        ("groq", None, {}, None, False),
        ("ollama", None, {}, None, True),
    ],
)
def test_a_provider_is_usable_with_a_credential_or_where_none_is_needed(
    kind: str, base_url: str | None, headers: dict[str, str], credential: str | None, usable: bool
) -> None:
    assert build(kind, kind, base_url, headers, credential, NOWHERE).usable is usable


@pytest.mark.parametrize(
    ("name", "kind", "base_url", "headers", "words"),
    [
        ("x", None, None, {}, "needs a `base_url`"),
        ("x", "mistrall", None, {}, "not a kind of provider"),
        ("x", None, "ftp://h/v1", {}, "http://"),
        ("x", None, "h/v1", {}, "http://"),
        ("x", None, "http://", {}, "http://"),
        ("x", None, "http://[::", {}, "not a URL"),
        ("x", None, "http://me:pw@h/v1", {}, "prefix"),
        ("x", None, "http://h/v1?key=k", {}, "prefix"),
        ("x", None, "http://h/v1#f", {}, "prefix"),
        ("x", None, "http://h/v1", {"Host": "evil"}, "`host`"),
        ("x", None, "http://h/v1", {"Content-Length": "3"}, "`content-length`"),
        ("x", None, "http://h/v1", {"a b": "c"}, "name of a header"),
        ("x", None, "http://h/v1", {"a": "canary\r\nb: c"}, "`a`"),
        ("x", None, "http://h/v1", {"a": "canary\u00fc"}, "`a`"),
    ],
)
def test_what_cannot_be_used_is_refused_without_repeating_secrets(
    name: str, kind: str | None, base_url: str | None, headers: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build(name, kind, base_url, headers, "secret", NOWHERE)
    assert "canary" not in str(caught.value) and "pw" not in str(caught.value)


def test_a_credential_that_cannot_be_sent_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="authorization") as caught:
        build("openai", "openai", None, {}, "canary\nx", NOWHERE)
    assert "canary" not in str(caught.value)


async def test_headers_belong_to_the_provider_and_clients_add_none(bench: Any) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=MESSAGE)

    made = build("anthropic", None, None, {"CF-AIG": "t"}, "key", httpx.MockTransport(answer))
    call = bench.chat(extra_headers={"x-evil": "1"}, api_base="http://evil", base_url="http://evil")
    call.request.headers = {"x-evil": "1", "anthropic-beta": "y"}
    await made.answer(call)
    sent = dict(seen[0].headers)
    assert sent == {
        "host": "api.anthropic.com",
        "user-agent": "turnout",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(seen[0].content)),
        "anthropic-version": "2023-06-01",
        "x-api-key": "key",
        "cf-aig": "t",
    }
    assert seen[0].url.host == "api.anthropic.com"
    assert {"extra_headers", "api_base", "base_url"} <= set(call.dropped)


async def test_a_header_of_the_file_wins_over_the_credential(bench: Any) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=CHAT)

    made = build(
        "x", None, "http://h", {"Authorization": "Token t"}, "k", httpx.MockTransport(answer)
    )
    await made.answer(bench.chat())
    assert seen[0].headers.get_list("authorization") == ["Token t"]


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
async def test_a_provider_that_echoes_its_credentials_does_not_leak_them(
    bench: Any, kind: str, status: int, streamed: bool
) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        said = f"you sent {dict(request.headers)} to {request.url}"
        error = {"message": said, "code": said, "param": said, "type": "invalid_request_error"}
        return httpx.Response(status, json={"error": error}, headers={"location": "http://evil/"})

    secrets = {"x-plain": "canary-plain-words", "x-scheme": "Token canary-after-scheme"}
    made = build(
        kind, kind, "http://up.example/v1", secrets, bench.secret, httpx.MockTransport(echo)
    )
    call = bench.chat(stream=streamed)
    with pytest.raises(ProviderError) as caught:
        await (bench.read(made.stream(call)) if streamed else made.answer(call))
    error = caught.value
    shown = f"{error!r} {error.message} {error.code} {error.param} {error.__cause__!r}"
    assert "canary" not in shown and "up.example" not in shown


@pytest.mark.parametrize(
    ("kind", "model", "given", "expected"),
    [
        ("openai", "gpt-4o", {"max_tokens": 5}, {"max_tokens": 5}),
        ("openai", "o3-mini", {"max_tokens": 5}, {"max_tokens": None, "max_completion_tokens": 5}),
        ("openai", "gpt-5.2", {"max_tokens": 5}, {"max_tokens": None, "max_completion_tokens": 5}),
        ("openai", "o3", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", "o3", {"max_tokens": None}, {"max_tokens": None}),
        ("ollama", "q", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("ollama", "q", {"max_tokens": 4}, {"max_tokens": 4}),
        ("groq", "q", {"max_tokens": 4}, {"max_tokens": 4}),
    ],
)
async def test_the_output_limit_has_the_name_that_the_target_accepts(
    bench: Any, kind: str, model: str, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    seen: list[httpx.Request] = []
    call = bench.chat(**given)
    call.upstream_model = model
    await bench.answering(kind, CHAT, seen=seen).answer(call)
    sent = orjson.loads(seen[0].content)
    assert {k: v for k, v in sent.items() if k.startswith("max_")} == expected


@pytest.mark.parametrize(
    ("members", "max_output", "expected"),
    [
        ({}, 8192, 8192),
        ({}, None, 4096),
        ({"max_tokens": 10}, 8192, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 8192, 20),
        ({"max_completion_tokens": None, "max_tokens": 10}, 8192, 10),
        ({"max_tokens": 9000}, 8192, 8192),
        ({"max_tokens": 9000}, None, 9000),
    ],
)
async def test_anthropic_always_gets_an_output_limit(
    bench: Any, members: dict[str, Any], max_output: int | None, expected: int
) -> None:
    seen: list[httpx.Request] = []
    call = bench.chat(**members)
    call.max_output = max_output
    await bench.answering("anthropic", MESSAGE, seen=seen).answer(call)
    assert orjson.loads(seen[0].content)["max_tokens"] == expected


NOTHING = {
    "n": 1, "logprobs": False, "top_logprobs": 0, "seed": None, "presence_penalty": 0,
    "frequency_penalty": 0.0, "logit_bias": {}, "store": False, "metadata": {}, "stop": None,
    "response_format": {"type": "text"}, "modalities": ["text"], "tools": None, "user": None,
    "tool_choice": None, "parallel_tool_calls": None, "functions": [], "service_tier": "auto",
    "stream_options": None, "temperature": None, "audio": None, "max_tokens": None,
}  # fmt: skip


async def test_nulls_and_defaults_ask_for_nothing(bench: Any) -> None:
    seen: list[httpx.Request] = []
    provider = bench.answering("anthropic", MESSAGE, seen=seen)
    call = bench.chat(**NOTHING)
    await provider.answer(call)
    await provider.answer(bench.chat())
    assert seen[0].content == seen[1].content
    assert call.dropped == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("functions", [{"name": "f"}]),
        ("web_search_options", {}),
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("stop", " "),
    ],
)
async def test_what_shapes_the_answer_and_cannot_be_had_is_refused_by_name(
    bench: Any, name: str, value: Any
) -> None:
    call = bench.chat(**{name: value})
    for streamed in (False, True):
        provider = bench.answering("anthropic", MESSAGE)
        with pytest.raises(ProviderError) as caught:
            await (bench.read(provider.stream(call)) if streamed else provider.answer(call))
        error = caught.value
        assert (error.fault, error.param) == (Fault.UNSUPPORTED, name)
        assert not call.sent


@pytest.mark.parametrize(
    "name",
    [
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "store",
        "metadata",
        "prompt_cache_key",
        "reasoning_effort",
        "service_tier",
        "verbosity",
        "unheard_of",
    ],
)
async def test_what_only_steers_is_dropped_and_named(bench: Any, name: str) -> None:
    seen: list[httpx.Request] = []
    call = bench.chat(**{name: {"a": "b"}})
    await bench.answering("anthropic", MESSAGE, seen=seen).answer(call)
    assert call.dropped == [name]
    assert name not in orjson.loads(seen[0].content)
