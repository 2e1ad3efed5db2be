"""Parameters are carried, dropped by name or refused, by every kind of provider: never lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS, build
from turnout.adapters.kind import Kind
from turnout.adapters.parameters import PARAMETERS
from turnout.engine.provider import Call, Fault, ProviderError

GOLDEN = Path(__file__).parent / "golden"
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "s",
        "strict": True,
        "schema": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}
# Of each parameter: a value that asks for something, and what has to be there beside it.
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "n": (2, {}),
    "logprobs": (True, {}),
    "top_logprobs": (3, {"logprobs": True}),
    "response_format": (SCHEMA, {}),
    "tools": ([TOOL], {}),
    "functions": ([TOOL["function"]], {}),
    "function_call": ({"name": "f"}, {}),
    "modalities": (["text", "audio"], {}),
    "audio": ({"voice": "alloy", "format": "mp3"}, {}),
    "prediction": ({"type": "content", "content": "x"}, {}),
    "web_search_options": ({"search_context_size": "low"}, {}),
    "stop": (["END"], {}),
    "temperature": (0.5, {}),
    "top_p": (0.5, {}),
    "top_k": (5, {}),
    "seed": (7, {}),
    "presence_penalty": (0.5, {}),
    "frequency_penalty": (0.5, {}),
    "logit_bias": ({"50256": -100}, {}),
    "parallel_tool_calls": (False, {"tools": [TOOL]}),
    "reasoning_effort": ("low", {}),
    "thinking": ({"type": "enabled", "budget_tokens": 2048}, {"max_tokens": 4096}),
    "verbosity": ("low", {}),
    "user": ("u1", {}),
    "safety_identifier": ("s1", {}),
    "prompt_cache_key": ("k1", {}),
    "prompt_cache_retention": ("24h", {}),
    "metadata": ({"a": "b"}, {}),
    "store": (True, {}),
    "service_tier": ("flex", {}),
}
# Beside the parameters: what every wire has in some form, and parts of messages.
PARTS: dict[str, dict[str, Any]] = {
    "image": {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    "image at an address": {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    "audio": {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    "document": {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    },
}
ALSO: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_tokens": (50, {}),
    "max_completion_tokens": (50, {}),
    "tool_choice": ("required", {"tools": [TOOL]}),
    "response_format json_object": ({"type": "json_object"}, {}),
}
# Where it depends on the model or the value, one that has it.
MODELS = {
    "anthropic": "claude-3-7-sonnet-latest",
    "bedrock": "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "cohere": "command-a-reasoning-08-2025",
    "gemini": "gemini-2.5-flash",
}
VALUES = {
    ("cohere", "reasoning_effort"): "none",
    ("mistral", "service_tier"): "standard_only",
}
ADDRESSES = ("azure", "vllm", "bedrock")


async def sent(kind: str, call: Call) -> tuple[httpx.Request | None, ProviderError]:
    """What leaves for a call, if anything does, and the error that ends it."""
    seen: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(500)

    address = "https://upstream.test/v1" if kind in ADDRESSES else None
    variables = dict.fromkeys(PROVIDERS[kind].variables, "eu-central-1")
    transport = httpx.MockTransport(refuse)
    provider = build(kind, kind, address, {}, "sk-canary-0123456789", transport, variables)
    with pytest.raises(ProviderError) as caught:
        await provider.answer(call)
    return (seen[0] if seen else None), caught.value


def members(request: httpx.Request) -> dict[str, Any]:
    """The members of a body, those of known envelopes by their path."""
    flat: dict[str, Any] = {}
    for name, value in orjson.loads(request.content).items():
        if isinstance(value, dict) and name in (
            "generationConfig",
            "inferenceConfig",
            "additionalModelRequestFields",
            "options",
            "output_config",
            "toolConfig",
            "tool_choice",
        ):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def ask(bench: Any, kind: str, **body: Any) -> Call:
    call: Call = bench.chat(**body)
    return replace(call, upstream_model=MODELS.get(kind, "some-model"), dropped=[])


async def outcome(bench: Any, kind: str, name: str, value: Any, beside: dict[str, Any]) -> str:
    """`carried as …`, `dropped` or `refused`; anything else is a loss."""
    value = VALUES.get((kind, name), value)
    before, _ = await sent(kind, ask(bench, kind, **beside))
    call = ask(bench, kind, **beside, **{name: value})
    after, error = await sent(kind, call)
    if after is None:
        assert error.fault is Fault.UNSUPPORTED and error.param, (name, error)
        return "refused"
    if name in call.dropped:
        return "dropped"
    plain = {} if before is None else members(before)
    changed = {n: v for n, v in members(after).items() if plain.get(n) != v}
    assert changed, f"`{name}` is lost in silence"
    return f"carried as {', '.join(sorted(changed))}"


async def part_outcome(bench: Any, kind: str, part: dict[str, Any]) -> str:
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}, part]}
    after, error = await sent(kind, ask(bench, kind, messages=[message]))
    if after is None:
        assert error.fault is Fault.UNSUPPORTED
        return "refused"
    text = orjson.dumps(part).decode()
    data = next(word for word in ("iVBORw0KGgo=", "a.png", "UklGRg==", "JVBERi0=") if word in text)
    assert data in after.content.decode(), f"{part['type']} is lost in silence"
    return "carried"


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_every_parameter_is_carried_dropped_by_name_or_refused(bench: Any, kind: str) -> None:
    assert set(ASKED) == set(PARAMETERS)
    lines = [
        f"{name}: {await outcome(bench, kind, name.split(' ')[0], value, beside)}"
        for name, (value, beside) in {**ASKED, **ALSO}.items()
    ]
    lines += [f"{what}: {await part_outcome(bench, kind, part)}" for what, part in PARTS.items()]
    bench.check(bench.golden / "matrix" / f"{kind}.txt", "\n".join([*lines, ""]).encode())


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_the_table_of_providers_says_of_each_parameter_what_happens(
    bench: Any, kind: str
) -> None:
    wire: type[Kind] = PROVIDERS[kind]
    for name, (value, beside) in ASKED.items():
        expected = "carried"
        if name in wire.lacks:
            expected = "refused" if PARAMETERS[name].shapes else "dropped"
        if beside.keys() & wire.lacks or (value is SCHEMA and not wire.carries.schemas):
            expected = "refused"
        found = (await outcome(bench, kind, name, value, beside)).split(" ")[0]
        assert (name, found) == (name, expected)
    part_rows = (
        ("image", wire.carries.images),
        ("image at an address", wire.carries.image_urls),
        ("audio", wire.carries.audio),
        ("document", wire.carries.documents),
    )
    for what, is_carried in part_rows:
        found = await part_outcome(bench, kind, PARTS[what])
        assert (what, found) == (what, "carried" if is_carried else "refused")


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_under_strict_what_would_be_dropped_is_refused_before_anything_leaves(
    bench: Any, kind: str
) -> None:
    for name, (value, beside) in ASKED.items():
        lenient = ask(bench, kind, **beside, **{name: value})
        await sent(kind, lenient)
        strict = replace(ask(bench, kind, **beside, **{name: value}), strict=True)
        request, error = await sent(kind, strict)
        if lenient.dropped:
            assert (request, error.fault) == (None, Fault.UNSUPPORTED)
            assert error.param in lenient.dropped and not strict.sent


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_what_asks_for_nothing_is_neither_refused_nor_named(bench: Any, kind: str) -> None:
    for name in PARAMETERS:
        for value in (None, *PARAMETERS[name].idle):
            call = replace(ask(bench, kind, **{name: value}), strict=True)
            request, _ = await sent(kind, call)
            assert request is not None and call.dropped == [], (name, value)
            if name in PROVIDERS[kind].lacks:
                assert name not in orjson.loads(request.content)


REQUESTS = sorted((GOLDEN / "requests").glob("*.json"))
CASES = [path for path in REQUESTS if path.name.count(".") == 1]


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_every_recorded_request_leaves_for_every_provider_as_it_did(
    bench: Any, kind: str
) -> None:
    lines: list[str] = []
    for path in CASES:
        call = replace(bench.call(path.read_bytes()), upstream_model=MODELS.get(kind, "some-model"))
        request, error = await sent(kind, call)
        lines.append(f"== {path.stem}")
        if request is None:
            lines.append(f"{error.fault.value} {error.param}: {error.message}")
        else:
            lines.append(request.content.decode())
            if call.dropped:
                lines.append(f"dropped: {', '.join(call.dropped)}")
    bench.check(bench.golden / "matrix" / f"{kind}.requests.txt", "\n".join([*lines, ""]).encode())
