from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS, build, key_variable
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.request import OwnKey

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


def place_of(
    headers: Mapping[str, str],
    credential: str = "sk-gateways",
    address: str = "https://api.openai.com/v1",
) -> str:
    return build("openai", "openai", address, headers, credential, NOWHERE).place


def test_another_address_or_another_value_of_a_header_is_another_place() -> None:
    here = place_of({"openai-project": "one"})
    assert here == place_of({"OpenAI-Project": "one"})
    others = [
        place_of({"openai-project": "two"}),
        place_of({"openai-project": "one", "x-pool": "eu"}),
        place_of({"openai-projec": "tone"}),
        place_of({}),
        place_of({"openai-project": "one"}, address="https://api.openai.com/v2"),
    ]
    assert len({here, *others}) == len(others) + 1
    assert not any(value in here for value in ("one", "sk-gateways"))


def test_a_renewed_credential_is_no_other_place() -> None:
    assert place_of({}) == place_of({}, "sk-renewed")
    assert place_of({"Authorization": "Bearer a"}) == place_of({"authorization": "Bearer b"})


def test_a_callers_key_takes_along_no_header_of_the_gateways() -> None:
    key = OwnKey("openai", "sk-callers")
    theirs = [
        build("openai", "openai", None, headers, "sk-gateways", NOWHERE).owned(key)
        for headers in ({}, {"openai-project": "one"}, {"openai-project": "two"})
    ]
    assert len({one.place for one in theirs if one is not None}) == 1 and None not in theirs


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


SIGNING = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret"}


@pytest.mark.parametrize(
    ("kind", "credential", "variables", "missing"),
    [
        ("openai", None, {}, "no credential"),
        ("openai", "a-key", {}, None),
        ("azure", None, {}, "no credential"),
        ("azure", "a-key", {}, "no `AZURE_OPENAI_ENDPOINT`"),
        ("vllm", None, {}, "no `base_url`"),
        ("bedrock", None, {"AWS_REGION": "us-east-1"}, "no credential"),
        ("bedrock", None, SIGNING, "no `AWS_REGION`"),
        ("bedrock", "a-key", {}, "no `AWS_REGION`"),
        ("bedrock", "a-key", {"AWS_REGION": "us east"}, "no region in `AWS_REGION`"),
        (
            "bedrock",
            None,
            {**SIGNING, "AWS_DEFAULT_REGION": "us east"},
            "no region in `AWS_DEFAULT_REGION`",
        ),
        (
            "bedrock",
            None,
            {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_REGION": "us-east-1"},
            "no `AWS_SECRET_ACCESS_KEY`",
        ),
        (
            "bedrock",
            None,
            {"AWS_SECRET_ACCESS_KEY": "a secret", "AWS_REGION": "us-east-1"},
            "no `AWS_ACCESS_KEY_ID`",
        ),
        ("bedrock", None, {**SIGNING, "AWS_REGION": "us-east-1"}, None),
    ],
)
def test_a_provider_that_cannot_be_called_names_what_is_missing(
    kind: str, credential: str | None, variables: dict[str, str], missing: str | None
) -> None:
    made = build(kind, None, None, {}, credential, NOWHERE, variables)
    assert made.missing == missing
    assert made.usable is (missing is None)


# What each says to a path that it does not have, or to a model (`True`).
NOT_FOUND: list[tuple[bytes, bool]] = [
    (b"<html>404 models/x was not found</html>", False),
    (b'{"type":"error","error":{"type":"not_found_error","message":"Not Found"}}', False),
    (b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}', True),
    (b'{"error":{"message":"Invalid URL (POST /models/x)","type":"invalid_request_error"}}', False),
    (b'{"error":{"message":"x","code":"model_not_found"}}', True),
    (b'{"error":{"message":"x","code":"DeploymentNotFound"}}', True),
    (b'{"detail":"Not Found"}', False),
    (b"", False),
]


@pytest.mark.parametrize(("body", "is_model"), NOT_FOUND)
async def test_what_is_not_found_is_the_model_only_where_the_provider_says_so(
    body: bytes, is_model: bool, bench: Any
) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(404, content=body))
    made = build("anthropic", None, "https://host.example", {}, "a-key", transport)
    with pytest.raises(ProviderError) as caught:
        await made.answer(bench.chat())
    thing = "model" if is_model else "address"
    assert caught.value.message.startswith(f"the provider does not know the {thing} that")
    assert ("wants `…/v1`" in caught.value.message) is not is_model
    assert "host.example" not in caught.value.message


@pytest.mark.parametrize(
    ("kind", "base_url", "advice"),
    [
        ("anthropic", "https://host.example", "`anthropic` wants `…/v1`"),
        ("gemini", "https://host.example/", "`gemini` wants `…/v1beta`"),
        ("openai", "https://host.example/api", "`openai` wants `…/v1`"),
        ("groq", "https://host.example/v1", "`groq` wants `…/openai/v1`"),
        ("vllm", "https://host.example", "`vllm` wants `…/v1`"),
        ("azure", "https://host.example/openai/v2", "`azure` wants `…/openai/v1`"),
        ("anthropic", "https://host.example/a/v1/", None),
        ("ollama", "https://host.example", None),
        ("cohere", "https://host.example", None),
    ],
)
async def test_an_address_without_the_kinds_own_path_is_advised_of_it(
    kind: str, base_url: str, advice: str | None, bench: Any
) -> None:
    asked: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404)

    made = build(kind, kind, base_url, {}, "a-key", httpx.MockTransport(answered))
    with pytest.raises(ProviderError) as caught:
        await made.answer(bench.chat())
    told = caught.value.message
    assert "does not know the address" in told and "host.example" not in told
    assert told.endswith(f"is the path of `base_url` right? {advice} (status 404)") or not advice
    assert ("base_url" in told) is (advice is not None)
