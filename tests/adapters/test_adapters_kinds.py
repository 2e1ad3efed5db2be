"""The providers of the OpenAI wire: where they are, and what each wants otherwise."""

from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters import PROVIDERS, build, key_variable, variables
from turnout.adapters.azure import API_VERSION
from turnout.adapters.dialect_openai import OpenAIDialect
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.engine.request import Native, Operation

OPENAI_KINDS = [name for name, kind in PROVIDERS.items() if issubclass(kind, OpenAIDialect)]
ANSWER = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'
VECTORS = b'{"data":[{"index":0,"embedding":[0.5,0.25]}]}'
ADDRESS = "https://upstream.test/v1"
USER = {"role": "user", "content": "hi"}

HOMES = {
    "openai": ("https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1/chat/completions", "GROQ_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1/chat/completions", "MISTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1/chat/completions", "DEEPSEEK_API_KEY"),
    "together": ("https://api.together.xyz/v1/chat/completions", "TOGETHER_API_KEY"),
    "fireworks": ("https://api.fireworks.ai/inference/v1/chat/completions", "FIREWORKS_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1/chat/completions", "OPENROUTER_API_KEY"),
    "xai": ("https://api.x.ai/v1/chat/completions", "XAI_API_KEY"),
}


async def asked(
    bench: Any, kind: str, call: Call, base_url: str | None = None, answer: bytes = ANSWER
) -> httpx.Request:
    """What leaves for a call."""
    seen: list[httpx.Request] = []
    needs_address = PROVIDERS[kind].default_base_url is None
    provider = bench.answering(
        kind, answer, seen=seen, base_url=base_url or (ADDRESS if needs_address else None)
    )
    await provider.answer(call)
    return seen[0]


async def body_of(bench: Any, kind: str, call: Call) -> dict[str, Any]:
    sent: dict[str, Any] = orjson.loads((await asked(bench, kind, call)).content)
    return sent


def translated(call: Call, lost: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Call:
    """The same request as if it had come in Anthropic's protocol."""
    native = Native(b"{}", {}, only, lost)
    request = replace(call.request, operation=Operation.MESSAGES, native=native)
    return replace(call, request=request, dropped=[])


@pytest.mark.parametrize("kind", HOMES)
async def test_a_provider_is_at_its_own_address_with_its_own_key(bench: Any, kind: str) -> None:
    request = await asked(bench, kind, bench.chat())
    assert (str(request.url), key_variable(kind)) == HOMES[kind]
    assert request.headers["authorization"] == f"Bearer {bench.secret}"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://x.openai.azure.com", "/openai/v1/chat/completions"),
        ("https://x.openai.azure.com/", "/openai/v1/chat/completions"),
        ("https://x.openai.azure.com/openai/v1", "/openai/v1/chat/completions"),
        ("https://x.services.ai.azure.com/openai/v1/", "/openai/v1/chat/completions"),
        ("https://gateway.test/azure", "/azure/chat/completions"),
        (
            "https://x.openai.azure.com/openai",
            f"/openai/deployments/my%20gpt/chat/completions?api-version={API_VERSION}",
        ),
        (
            "https://x.openai.azure.com/openai/",
            f"/openai/deployments/my%20gpt/chat/completions?api-version={API_VERSION}",
        ),
        (
            "https://x.openai.azure.com/openai/deployments",
            f"/openai/deployments/my%20gpt/chat/completions?api-version={API_VERSION}",
        ),
        (
            "https://x.openai.azure.com/openai/deployments/other",
            f"/openai/deployments/other/chat/completions?api-version={API_VERSION}",
        ),
    ],
)
@pytest.mark.parametrize("embeddings", [False, True])
async def test_azures_address_says_which_of_its_apis_is_meant(
    bench: Any, base_url: str, expected: str, embeddings: bool
) -> None:
    body = {"model": "gpt-4", "input": "x"} if embeddings else {"model": "gpt-4", "messages": []}
    call = replace(bench.call(body, embeddings=embeddings), upstream_model="my gpt")
    answer = VECTORS if embeddings else ANSWER
    request = await asked(bench, "azure", call, base_url, answer)
    path = expected.replace("chat/completions", "embeddings") if embeddings else expected
    assert request.url.raw_path.decode() == path
    assert request.headers["api-key"] == bench.secret
    assert "authorization" not in request.headers


async def test_a_deployments_name_cannot_leave_its_place_in_the_address(bench: Any) -> None:
    call = replace(bench.chat(), upstream_model="a/b?y#z")
    request = await asked(bench, "azure", call, "https://x.openai.azure.com/openai")
    assert request.url.host == "x.openai.azure.com"
    assert request.url.raw_path.startswith(b"/openai/deployments/a%2Fb%3Fy%23z/chat/")
    upwards = replace(bench.chat(), upstream_model="../../x")
    with pytest.raises(ProviderError):
        await asked(bench, "azure", upwards, "https://x.openai.azure.com/openai")
    assert not upwards.sent


def test_azures_own_variable_names_its_address() -> None:
    assert variables("azure") == ("AZURE_OPENAI_ENDPOINT",)
    assert key_variable("azure") == "AZURE_OPENAI_API_KEY"
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    nowhere = build("azure", None, None, {}, "key-0123", transport)
    assert not nowhere.usable
    given = {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    assert build("azure", None, None, {}, "key-0123", transport, given).usable


def test_a_server_of_ones_own_needs_an_address_and_no_key() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    assert not build("vllm", None, None, {}, None, transport).usable
    assert build("vllm", None, "http://127.0.0.1:8000/v1", {}, None, transport).usable


def messages(*given: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(given)}


TOOL_TURN: list[dict[str, Any]] = [
    {"role": "user", "content": "a"},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "earlier",
        "tool_calls": [
            {
                "id": "call_abcdefghijkl",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_abcdefghijkl", "content": "1"},
]
SHORT = "f553c190c"

# kind, model, what the client wrote, what of it leaves (None: nothing of that name), what is named
WANTS: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = [
    # the output limit under the name that is known
    *[
        (kind, "m", {"max_completion_tokens": 5}, {"max_tokens": 5}, [])
        for kind in ("mistral", "deepseek", "together")
    ],
    ("mistral", "m", {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}, []),
    ("mistral", "m", {"max_tokens": None, "max_completion_tokens": 6}, {"max_tokens": 6}, []),
    ("groq", "m", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}, []),
    (
        "azure",
        "o3-mini",
        {"max_tokens": 5},
        {"max_tokens": None, "max_completion_tokens": 5},
        [],
    ),
    ("azure", "gpt-4o", {"max_tokens": 5}, {"max_tokens": 5}, []),
    # the role of instructions
    *[
        (
            kind,
            "m",
            messages({"role": "developer", "content": "be brief"}, USER),
            messages({"role": "system", "content": "be brief"}, USER),
            [],
        )
        for kind in ("mistral", "deepseek", "together", "fireworks", "vllm")
    ],
    *[
        (
            kind,
            "m",
            messages({"role": "developer", "content": "be brief"}, USER),
            messages({"role": "developer", "content": "be brief"}, USER),
            [],
        )
        for kind in ("openai", "azure", "groq", "xai", "openrouter")
    ],
    # Mistral
    ("mistral", "m", {"seed": 7}, {"seed": None, "random_seed": 7}, []),
    ("mistral", "m", {"seed": 7, "random_seed": 8}, {"seed": None, "random_seed": 8}, []),
    ("mistral", "m", {"seed": None}, {"seed": None, "random_seed": None}, []),
    ("mistral", "m", {"safe_prompt": True}, {"safe_prompt": True}, []),
    ("mistral", "m", {"tool_choice": "required"}, {"tool_choice": "any"}, []),
    ("mistral", "m", {"tool_choice": "auto"}, {"tool_choice": "auto"}, []),
    ("mistral", "m", {"service_tier": "priority"}, {"service_tier": None}, ["service_tier"]),
    ("mistral", "m", {"service_tier": "default"}, {"service_tier": None}, []),
    ("mistral", "m", {"stream_options": {"include_usage": True}}, {"stream_options": None}, []),
    ("mistral", "m", messages({**USER, "name": "bob"}), messages(USER), ["name"]),
    (
        "mistral",
        "m",
        messages(*TOOL_TURN),
        messages(
            TOOL_TURN[0],
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**TOOL_TURN[1]["tool_calls"][0], "id": SHORT}],
            },
            {**TOOL_TURN[2], "tool_call_id": SHORT},
        ),
        [],
    ),
    (
        "mistral",
        "m",
        messages(
            {
                "role": "assistant",
                "content": "x",
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": None,
            }
        ),
        messages({"role": "assistant", "content": "x", "tool_calls": None}),
        [],
    ),
    (
        "mistral",
        "m",
        messages(
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x;base64,"}},
                    {"type": "file", "file": {"file_id": "f1"}},
                ],
            }
        ),
        messages(
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": "UklG"},
                    {
                        "type": "document_url",
                        "document_url": "data:x;base64,",
                        "document_name": "a.pdf",
                    },
                    {"type": "file", "file_id": "f1"},
                ],
            }
        ),
        [],
    ),
    # DeepSeek: reasoning only of the turn at hand
    ("deepseek", "m", messages(*TOOL_TURN), messages(*TOOL_TURN), []),
    (
        "deepseek",
        "m",
        messages(*TOOL_TURN, USER),
        messages(
            TOOL_TURN[0],
            {name: value for name, value in TOOL_TURN[1].items() if name != "reasoning_content"},
            TOOL_TURN[2],
            USER,
        ),
        [],
    ),
    ("deepseek", "m", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}, []),
    # Groq
    ("groq", "m", {"service_tier": "default"}, {"service_tier": None}, []),
    ("groq", "m", {"service_tier": "on_demand"}, {"service_tier": "on_demand"}, []),
    ("groq", "m", {"reasoning_format": "parsed"}, {"reasoning_format": "parsed"}, []),
    (
        "groq",
        "m",
        messages({"role": "assistant", "content": "x", "reasoning_content": "r"}),
        messages({"role": "assistant", "content": "x", "reasoning": "r"}),
        [],
    ),
    (
        "groq",
        "m",
        messages({"role": "assistant", "content": "x", "thinking_blocks": [1], "annotations": []}),
        messages({"role": "assistant", "content": "x"}),
        [],
    ),
    # OpenRouter
    (
        "openrouter",
        "m",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "reasoning_effort": "low"},
        {"thinking": None, "reasoning": {"max_tokens": 2000}, "reasoning_effort": None},
        [],
    ),
    ("openrouter", "m", {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}, []),
    ("openrouter", "m", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}, []),
    ("openrouter", "m", {"provider": {"sort": "price"}}, {"provider": {"sort": "price"}}, []),
    (
        "openrouter",
        "m",
        messages(
            {
                "role": "assistant",
                "content": "x",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
            }
        ),
        messages(
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "t",
                        "signature": "s",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {
                        "type": "reasoning.encrypted",
                        "data": "d",
                        "format": "anthropic-claude-v1",
                        "index": 1,
                    },
                ],
            }
        ),
        [],
    ),
    # xAI
    ("xai", "grok-3", {"presence_penalty": 1}, {"presence_penalty": 1}, []),
    ("xai", "grok-4", {"presence_penalty": 1}, {"presence_penalty": None}, ["presence_penalty"]),
    ("xai", "grok-4-fast-non-reasoning", {"stop": ["a"]}, {"stop": ["a"]}, []),
    ("xai", "m", {"search_parameters": {}}, {"search_parameters": {}}, []),
    # Fireworks
    ("fireworks", "kimi-k2", {}, {"model": "accounts/fireworks/models/kimi-k2"}, []),
    ("fireworks", "accounts/me/models/x", {}, {"model": "accounts/me/models/x"}, []),
    ("fireworks", "m", {"top_k": 5, "min_p": 0.1}, {"top_k": 5, "min_p": 0.1}, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "model", "written", "expected", "dropped"),
    WANTS,
    ids=[f"{row[0]}-{'-'.join(row[2])}-{n}" for n, row in enumerate(WANTS)],
)
async def test_a_provider_gets_what_it_wants(
    bench: Any,
    kind: str,
    model: str,
    written: dict[str, Any],
    expected: dict[str, Any],
    dropped: list[str],
) -> None:
    call = replace(bench.chat(**written), upstream_model=model)
    sent = await body_of(bench, kind, call)
    assert {name: sent.get(name) for name in expected} == expected
    assert call.dropped == dropped


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("deepseek", "m", {"response_format": {"type": "json_schema"}}, "response_format"),
    ("xai", "m", {"deferred": True}, "deferred"),
    ("xai", "grok-4-0709", {"stop": "a"}, "stop"),
    ("together", "m", {"logprobs": True}, "logprobs"),
    ("groq", "m", {"n": 2}, "n"),
]


@pytest.mark.parametrize(("kind", "model", "written", "param"), REFUSED)
async def test_what_a_provider_would_answer_otherwise_is_refused_before_anything_leaves(
    bench: Any, kind: str, model: str, written: dict[str, Any], param: str
) -> None:
    call = replace(bench.chat(**written), upstream_model=model)
    with pytest.raises(ProviderError) as caught:
        await asked(bench, kind, call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, param)
    assert not call.sent


@pytest.mark.parametrize("kind", ["groq", "deepseek", "xai"])
async def test_a_provider_without_embeddings_says_so_itself(bench: Any, kind: str) -> None:
    call = bench.call({"model": "e", "input": "x"}, embeddings=True)
    with pytest.raises(ProviderError) as caught:
        await asked(bench, kind, call, answer=VECTORS)
    assert caught.value.fault is Fault.UNSUPPORTED and not call.sent


async def test_mistral_has_its_own_names_for_embeddings(bench: Any) -> None:
    body = {"model": "e", "input": "x", "dimensions": 2, "user": "u", "encoding_format": "float"}
    call = bench.call(body, embeddings=True)
    sent = orjson.loads((await asked(bench, "mistral", call, answer=VECTORS)).content)
    assert sent == {
        "model": "upstream-model",
        "input": "x",
        "output_dimension": 2,
        "encoding_format": "float",
    }
    assert call.dropped == ["user"]


async def test_under_strict_openrouter_is_told_to_honour_everything(bench: Any) -> None:
    call = replace(bench.chat(seed=7, provider={"sort": "price"}), strict=True)
    sent = await body_of(bench, "openrouter", call)
    assert sent["provider"] == {"require_parameters": True, "sort": "price"}


async def test_a_stream_asks_for_usage_only_where_that_is_known(bench: Any) -> None:
    events = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    for kind in OPENAI_KINDS:
        seen: list[httpx.Request] = []
        base_url = ADDRESS if PROVIDERS[kind].default_base_url is None else None
        provider = bench.answering(kind, events, seen=seen, base_url=base_url)
        await bench.read(provider.stream(bench.chat(stream=True)))
        options = orjson.loads(seen[0].content).get("stream_options")
        assert options == (None if kind == "mistral" else {"include_usage": True}), kind


# --- what only other wires know ------------------------------------------------------------------

FOREIGN = {
    "top_k": 5,
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {}},
            "cache_control": {"type": "ephemeral"},
        }
    ],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        },
        {
            "role": "assistant",
            "content": "b",
            "reasoning_content": "r",
            "thinking_blocks": [{"type": "thinking", "thinking": "r", "signature": "s"}],
            "tool_calls": [
                {
                    "id": "abcdefghi",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "s"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"},
        {"role": "user", "content": "c"},
    ],
}


@pytest.mark.parametrize("kind", OPENAI_KINDS)
async def test_of_a_translated_request_nothing_foreign_reaches_who_does_not_know_it(
    bench: Any, kind: str
) -> None:
    call = translated(bench.chat(**FOREIGN), lost=("betas",))
    if kind == "ollama":
        return  # has a wire of its own
    request = await asked(bench, kind, call)
    text = request.content.decode()
    for word in ("thinking_blocks", "extra_content"):
        assert word not in text
    assert ("cache_control" in text) is (kind == "openrouter")
    assert ("cache_control" in call.dropped) is (kind != "openrouter")
    assert call.dropped[0] == "betas"
    sent = orjson.loads(text)
    for name in ("top_k", "thinking"):
        known = name in sent or (name == "thinking" and "reasoning" in sent)
        assert known is (name not in call.dropped)
    if kind in ("openai", "azure", "mistral", "groq"):
        assert "reasoning_content" not in text


ECHO: dict[str, Any] = {
    "role": "assistant",
    "content": "b",
    "refusal": None,
    "annotations": [],
    "x_mine": 1.0,
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "x_mine": [],
        }
    ],
}
ECHOED: dict[str, Any] = ECHO | {
    "reasoning_content": "r",
    "reasoning": "r",
    "prefix": False,
    "reasoning_details": [{"type": "reasoning.text", "text": "r"}],
    "thinking_blocks": [{"type": "thinking", "thinking": "r", "signature": "s"}],
    "tool_calls": [{**ECHO["tool_calls"][0], "extra_content": {"google": {}}}],
}


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_what_the_gateway_put_into_an_answer_goes_to_nobody_who_refuses_it(
    bench: Any, kind: str
) -> None:
    result = {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"}
    call = bench.chat(messages=[ECHOED, result, USER])
    sent = await body_of(bench, kind, call)
    assert sent["messages"] == [ECHO, result, USER]
    assert call.dropped == []


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_a_message_with_nothing_of_the_gateways_passes_byte_for_byte(
    bench: Any, kind: str
) -> None:
    written = b'[{ "role":"assistant","content":"b","x_mine":1e2 , "x":123456789012345678901234}]'
    call = bench.chat()
    raw = call.request.raw
    before = orjson.dumps(call.request.body["messages"])
    assert before in raw
    raw = raw.replace(before, written)
    call = replace(call, request=replace(call.request, raw=raw, body=orjson.loads(raw)))
    assert written in (await asked(bench, kind, call)).content


async def test_groq_gets_an_echo_with_the_one_name_that_it_knows(bench: Any) -> None:
    echoed = {name: ECHOED[name] for name in ECHOED if name != "annotations"}
    sent = await body_of(bench, "groq", bench.chat(messages=[echoed, USER]))
    known = {name: ECHO[name] for name in ECHO if name not in ("refusal", "annotations")}
    assert sent["messages"] == [known | {"reasoning": "r"}, USER]


async def test_who_imitates_openai_gets_an_echo_as_it_came(bench: Any) -> None:
    sent = await body_of(bench, "vllm", bench.chat(messages=[ECHOED, USER]))
    assert sent["messages"] == [ECHOED, USER]
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=ANSWER)

    unknown = build("mine", None, ADDRESS, {}, "key-0123", httpx.MockTransport(answer))
    await unknown.answer(bench.chat(messages=[ECHOED, USER]))
    assert orjson.loads(seen[0].content)["messages"] == [ECHOED, USER]


async def test_thinking_that_is_also_said_in_chats_own_words_is_not_lost(bench: Any) -> None:
    for kind in ("openai", "groq", "vllm"):
        call = translated(bench.chat(thinking={"type": "enabled"}, reasoning_effort="low"))
        sent = await body_of(bench, kind, call)
        assert (sent.get("thinking"), sent["reasoning_effort"]) == (None, "low")
        assert call.dropped == []


async def test_what_only_the_clients_own_protocol_has_is_refused(bench: Any) -> None:
    call = translated(bench.chat(), only=("container",))
    with pytest.raises(ProviderError) as caught:
        await asked(bench, "openai", call)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "container")


SIGNED = [{"type": "thinking", "thinking": "Two and two.", "signature": "c2ln"}]


@pytest.mark.parametrize("foreign", [False, True])
async def test_signed_thoughts_come_back_for_protocols_that_know_them(
    bench: Any, foreign: bool
) -> None:
    name = "anthropic-claude-v1"
    details = [
        {"type": "reasoning.text", "text": "Two ", "format": name, "index": 0},
        {"type": "reasoning.text", "text": "and two.", "format": name, "index": 0},
        {"type": "reasoning.text", "signature": "c2ln", "format": name, "index": 0},
    ]
    whole = {"content": "4", "reasoning_details": details}
    call = bench.chat()
    answer = orjson.dumps({"choices": [{"message": whole, "finish_reason": "stop"}]})
    provider = bench.answering("openrouter", answer)
    told = await provider.answer(translated(call) if foreign else call)
    message = orjson.loads(told.body)["choices"][0]["message"]
    assert message.get("thinking_blocks") == (SIGNED if foreign else None)
    deltas = [{"reasoning_details": [detail]} for detail in details]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}]})
    events = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks)
    headers = {"content-type": "text/event-stream"}
    provider = bench.answering("openrouter", events, headers=headers)
    call = bench.chat(stream=True)
    streamed = await bench.read(provider.stream(translated(call) if foreign else call))
    parsed = [orjson.loads(c.data[6:])["choices"][0]["delta"] for c in streamed if c.data]
    blocks = [block for delta in parsed for block in delta.get("thinking_blocks", ())]
    assert blocks == (SIGNED if foreign else [])


# --- the client's own bytes ----------------------------------------------------------------------

STRANGE = (
    b'{"model": "gpt-4", "zeta":1.50, "big": 123456789012345678901234567890, "zeta" :1E2,\n'
    b'  "messages": [ {"role":"user","content":"\\u00fc", "x":[1.0 , {"y":null}]} ], "last":[] }'
)


@pytest.mark.parametrize("kind", [kind for kind in OPENAI_KINDS if kind != "ollama"])
async def test_what_nobody_knows_passes_byte_for_byte(bench: Any, kind: str) -> None:
    call = replace(bench.call(STRANGE), upstream_model="acme/model")
    request = await asked(bench, kind, call)
    assert request.content == STRANGE.replace(b'"gpt-4"', b'"acme/model"')


NAMES = st.sampled_from(
    ["seed", "user", "store", "n", "logit_bias", "x", "stop", "max_tokens", "max_completion_tokens"]
)
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, 1, 7, "a", [], {}, True, {"a": 1}])


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(sorted(HOMES)))
def test_for_any_request_what_leaves_holds_nothing_that_is_lacked(
    bench: Any, written: dict[str, Any], kind: str
) -> None:
    wire = PROVIDERS[kind]
    assert issubclass(wire, OpenAIDialect)
    provider = bench.answering(kind, ANSWER)
    call = bench.chat(**written)
    try:
        sent = orjson.loads(provider.chat_body(call))
    except ProviderError as error:
        assert error.fault is Fault.UNSUPPORTED and error.param in written
        return
    assert sent.keys().isdisjoint(wire.lacks)
    assert set(call.dropped) <= wire.lacks & written.keys()
    if "x" in written:
        assert sent["x"] == written["x"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "user", "file", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "id", "function", "cache_control", "file", "index"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
PLACES = st.sampled_from(
    "role content name tool_calls tool_call_id reasoning_content thinking_blocks refusal "
    "cache_control".split()
)
MEMBERS = st.sampled_from(
    "tools tool_choice thinking reasoning provider service_tier seed stop response_format deferred "
    "max_tokens stream_options cache_control".split()
)


@given(
    st.lists(st.dictionaries(PLACES, ANY, max_size=4) | ANY, max_size=3),
    st.dictionaries(MEMBERS, ANY, max_size=3),
    st.sampled_from([kind for kind in OPENAI_KINDS if kind != "ollama"]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_a_client_writes_leaves_as_json_or_is_refused(
    bench: Any, turns: list[Any], members: dict[str, Any], kind: str, foreign: bool, strict: bool
) -> None:
    call = replace(bench.chat(**members, messages=turns), strict=strict)
    call = translated(call) if foreign else call
    base_url = ADDRESS if PROVIDERS[kind].default_base_url is None else None
    provider = bench.answering(kind, ANSWER, base_url=base_url)
    try:
        sent = orjson.loads(provider.chat_body(call))
    except ProviderError as error:
        assert error.fault is Fault.UNSUPPORTED
        return
    assert isinstance(sent, dict) and sent["model"] != "gpt-4"


KNOWN = {"stop", "length", "tool_calls", "content_filter", "function_call"}
REASONS = st.text(max_size=12) | st.sampled_from(
    ["eos", "eos_token", "STOP", "end_turn", "max_tokens", "MAX_TOKENS", "tool_use", "unknown", "5"]
)


@pytest.mark.parametrize("choice", [{}, {"finish_reason": None}, {"finish_reason": 5}])
async def test_an_answer_without_a_finish_reason_is_said_to_have_none(
    bench: Any, choice: dict[str, Any]
) -> None:
    message = {"message": {"role": "assistant", "content": "x"}}
    whole = {"choices": [{**message, "finish_reason": "stop"}, {"index": 1, **message, **choice}]}
    answer = await bench.answering("openai", orjson.dumps(whole)).answer(bench.chat())
    assert orjson.loads(answer.body)["choices"][1]["finish_reason"] == "stop"
    assert answer.finish_reason is None


@given(REASONS.filter(lambda reason: reason not in ("error", "abort", "aborted", "cancelled")))
async def test_no_finish_reason_reaches_the_client_that_it_does_not_know(
    bench: Any, reason: str
) -> None:
    choice = {"index": 0, "finish_reason": reason}
    whole = {"choices": [{**choice, "message": {"role": "assistant", "content": "x"}}]}
    answer = await bench.answering("openai", orjson.dumps(whole)).answer(bench.chat())
    assert orjson.loads(answer.body)["choices"][0]["finish_reason"] in KNOWN
    assert answer.finish_reason in KNOWN
    if not reason:
        return  # in a stream, not the end
    event = b"data: " + orjson.dumps({"choices": [{**choice, "delta": {"content": "x"}}]})
    provider = bench.answering("openai", event + b"\n\ndata: [DONE]\n\n")
    (chunk,) = await bench.read(provider.stream(bench.chat(stream=True)))
    assert orjson.loads(chunk.data[6:])["choices"][0]["finish_reason"] in KNOWN
    assert chunk.finish_reason in KNOWN
