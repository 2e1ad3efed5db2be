"""Models as each provider lists them: whole, bounded, free, and refused where it is no list."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from turnout.adapters import PROVIDERS, build
from turnout.adapters.kind import Kind
from turnout.adapters.listing import MOST_BYTES, MOST_PAGES
from turnout.engine.provider import Fault, ProviderError
from turnout.simulator.bedrock_signature import ACCESS_KEY_ID
from turnout.simulator.process import SimulatorProcess

PATIENCE_US = 2_000_000
KEY = "simulated-key-1234"
MANY = [f"m{number:04}" for number in range(1_030)]
KNOWN = {
    "anthropic": "claude-sonnet-4-20250514",
    "azure": "gpt-4o",
    "cohere": "command-r-08-2024",
    "deepseek": "deepseek-chat",
    "fireworks": "accounts/fireworks/models/kimi-k2",
    "gemini": "gemini-2.5-flash",
    "groq": "llama-3.3-70b-versatile",
    "mistral": "mistral-large-latest",
    "ollama": "qwen3:8b",
    "openai": "gpt-4o",
    "openrouter": "openai/gpt-4o",
    "together": "Qwen/Qwen3-235B-A22B-Thinking",
    "vllm": "qwen3-8b",
    "xai": "grok-4",
}


@pytest.fixture(scope="module")
def playing() -> Iterator[SimulatorProcess]:
    with SimulatorProcess([], "--latency", "*=0", "--key", KEY) as process:
        yield process


@pytest.fixture
def simulator(playing: SimulatorProcess) -> Iterator[SimulatorProcess]:
    playing.clear_stats()
    yield playing
    playing.clear_faults()


def told(kind: str, body: bytes | str, **more: Any) -> Kind:
    """A provider whose upstream gives this one answer to everything."""
    return asking(kind, lambda _: httpx.Response(200, content=body, **more))


def asking(kind: str, answer: Callable[[httpx.Request], httpx.Response]) -> Kind:
    base_url = "https://gw.example/v1" if PROVIDERS[kind].default_base_url is None else None
    made = build(kind, kind, base_url, {}, KEY, httpx.MockTransport(answer))
    assert isinstance(made, Kind)
    return made


async def fault_of(provider: Kind, patience_us: int = PATIENCE_US) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.models(patience_us)
    assert KEY not in str(caught.value)
    return caught.value


def test_every_kind_but_bedrock_is_tried_below() -> None:
    assert {*KNOWN, "bedrock"} == {*PROVIDERS}


@pytest.mark.parametrize("kind", KNOWN)
async def test_a_kind_lists_its_models_and_calls_none(
    kind: str, simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> None:
    provider = build(kind, kind, simulator.base_url(kind), {}, KEY, transport)
    listed = await provider.models(PATIENCE_US)
    assert listed is not None
    assert KNOWN[kind] in listed
    assert await provider.probe(PATIENCE_US)
    stats = simulator.stats()
    assert stats["total"]["requests"] == 0
    assert stats["lookups"] == {kind: 3 if kind == "openrouter" else 2}


@pytest.mark.parametrize("kind", KNOWN)
async def test_a_wrong_key_is_found_out(
    kind: str, simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> None:
    provider = build(kind, kind, simulator.base_url(kind), {}, "wrong", transport)
    for ask in (provider.models, provider.probe):
        with pytest.raises(ProviderError) as caught:
            await ask(PATIENCE_US)
        assert caught.value.fault is Fault.AUTH, caught.value


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/openai/v1/models"),
        ("/openai/v1", "/openai/v1/models"),
        ("/openai", "/openai/models?api-version=2025-04-01-preview"),
        ("/openai/deployments", "/openai/models?api-version=2025-04-01-preview"),
        ("/openai/deployments/mine", "/openai/models?api-version=2025-04-01-preview"),
    ],
)
async def test_azure_lists_at_the_address_of_its_api(path: str, asked: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(200, json={"data": [{"id": "gpt-4o"}]})

    provider = build(
        "azure", None, f"https://me.openai.azure.com{path}", {}, KEY, httpx.MockTransport(answer)
    )
    assert await provider.models(PATIENCE_US) == ["gpt-4o"]
    assert seen == [asked]


@pytest.fixture
async def to_bedrock(
    simulator: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> AsyncIterator[tuple[httpx.AsyncBaseTransport, list[httpx.URL]]]:
    """A transport that takes every address of Amazon's to the simulator, and notes it."""
    port = simulator.port("bedrock")
    asked: list[httpx.URL] = []

    class Detour(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url)
            request.url = httpx.URL(f"http://127.0.0.1:{port}{request.url.raw_path.decode()}")
            return await transport.handle_async_request(request)

    yield Detour(), asked


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "bedrock.eu-central-1.amazonaws.com"),
        ("cn-north-1", "bedrock.cn-north-1.amazonaws.com.cn"),
    ],
)
@pytest.mark.parametrize("signs", [True, False])
async def test_bedrock_lists_at_the_service_beside_with_either_credential(
    signs: bool,
    region: str,
    host: str,
    to_bedrock: tuple[httpx.AsyncBaseTransport, list[httpx.URL]],
) -> None:
    detour, asked = to_bedrock
    variables = {"AWS_REGION": region}
    if signs:
        variables |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY}
    provider = build("bedrock", None, None, {}, None if signs else KEY, detour, variables)
    assert provider.usable
    assert "amazon.nova-lite-v1:0" in (await provider.models(PATIENCE_US) or ())
    assert str(asked[0]) == f"https://{host}/foundation-models"


@pytest.mark.parametrize(
    "address",
    [
        "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "https://gw.example/bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com.gw.example",
    ],
)
async def test_bedrock_behind_an_address_of_ones_own_has_no_list(address: str) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    provider = build("bedrock", None, address, {}, KEY, httpx.MockTransport(refuse))
    assert await provider.models(PATIENCE_US) is None
    assert await provider.probe(PATIENCE_US) is False


async def test_the_key_goes_to_the_exact_origin_only(bench: Any) -> None:
    seen: list[httpx.Request] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"location": "https://evil.example/v1/models"})

    for kind in KNOWN:
        error = await fault_of(asking(kind, elsewhere))
        assert error.fault is Fault.BAD_OUTPUT
        assert "redirect" in error.message
    homes = {"gw.example", *(httpx.URL(k.default_base_url or "").host for k in PROVIDERS.values())}
    assert {request.url.host for request in seen} <= homes
    assert {request.method for request in seen} == {"GET"}
    assert not any("content-type" in request.headers for request in seen)


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Welcome to the hotel</body></html>",
        b"{}",
        b"null",
        b'"models"',
        b'{"data": "none", "models": 3}',
        b'{"data": [{}], "models": [1]}',
        b'{"object": "list", "data": [{"id": 1}], "models": [{"name": null}]}',
        b"[{}]",
        b'{"data": [',
    ],
)
async def test_what_is_no_list_is_a_fault(kind: str, body: bytes) -> None:
    assert (await fault_of(told(kind, body))).fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (400, Fault.BAD_OUTPUT),
        (401, Fault.AUTH),
        (403, Fault.AUTH),
        (404, Fault.BAD_OUTPUT),
        (405, Fault.BAD_OUTPUT),
        (413, Fault.BAD_OUTPUT),
        (422, Fault.BAD_OUTPUT),
        (429, Fault.RATE_LIMIT),
        (500, Fault.SERVER),
        (503, Fault.OVERLOADED),
    ],
)
async def test_a_refusal_has_its_fault_and_no_words_about_a_request(
    status: int, fault: Fault
) -> None:
    provider = asking(
        "openai", lambda _: httpx.Response(status, json={"error": {"message": f"no, {KEY}"}})
    )
    error = await fault_of(provider)
    assert (error.fault, error.status) == (fault, status)
    assert "no, " not in error.message


async def test_an_error_inside_a_success_is_an_error() -> None:
    body = '{"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}'
    assert (await fault_of(told("openai", body))).fault is Fault.AUTH


@pytest.mark.parametrize("body", ['{"data": []}', '{"object": "list", "data": null}'])
async def test_an_ollama_without_models_is_well(body: str) -> None:
    assert await told("ollama", body).models(PATIENCE_US) == []


async def test_an_empty_list_is_a_list() -> None:
    assert await told("openai", '{"object": "list", "data": []}').models(PATIENCE_US) == []


@pytest.fixture(scope="module")
def crowded() -> Iterator[SimulatorProcess]:
    """Providers with more models than stand on one page."""
    paged = ("anthropic", "cohere", "gemini")
    models = [f"--model={provider}/{name}" for provider in paged for name in MANY]
    with SimulatorProcess(paged, *models) as process:
        yield process


@pytest.mark.parametrize("kind", ["anthropic", "cohere", "gemini"])
async def test_every_page_is_read_and_a_probe_reads_one(
    kind: str, crowded: SimulatorProcess, transport: httpx.AsyncBaseTransport
) -> None:
    crowded.clear_stats()
    provider = build(kind, kind, crowded.base_url(kind), {}, KEY, transport)
    assert await provider.models(PATIENCE_US) == MANY
    assert crowded.stats()["lookups"] == {kind: 2}
    assert await provider.probe(PATIENCE_US)
    assert crowded.stats()["lookups"] == {kind: 3}


@pytest.mark.parametrize("kind", ["anthropic", "cohere", "gemini"])
async def test_a_list_without_an_end_is_given_up(kind: str) -> None:
    asked = 0

    def again(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        one = {"id": f"m{asked}", "name": f"m{asked}"}
        more = {
            "has_more": True,
            "last_id": "x y&z",
            "nextPageToken": "a/b",
            "next_page_token": "#",
        }
        return httpx.Response(200, json={"data": [one], "models": [one], **more})

    error = await fault_of(asking(kind, again))
    assert error.fault is Fault.BAD_OUTPUT
    assert asked == MOST_PAGES


async def test_a_list_that_is_too_long_is_given_up(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n")
        while written < 8 * MOST_BYTES:
            writer.write(b" " * 65_536)
            written += 65_536
            await writer.drain()

    async with bench.server(flood) as address:
        provider = build("x", "openai", address, {}, KEY, transport)
        assert isinstance(provider, Kind)
        assert (await fault_of(provider)).fault is Fault.BAD_OUTPUT
    assert written < 3 * MOST_BYTES


async def test_a_list_that_drips_ends_with_its_patience(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with bench.server(drip) as address:
        provider = build("x", "openai", address, {}, KEY, transport)
        assert isinstance(provider, Kind)
        assert (await fault_of(provider, 100_000)).fault is Fault.TIMEOUT
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_connection_that_brought_a_list_is_used_again(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    connections: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(b"")
        while True:
            connections[-1] += await reader.readuntil(b"\r\n\r\n")
            body = b'{"data": [{"id": "m"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async with bench.server(serve) as address:
        provider = build("x", "openai", address, {}, KEY, transport)
        for _ in range(3):
            assert await provider.models(PATIENCE_US) == ["m"]
    assert len(connections) == 1
    assert connections[0].count(b"GET /v1/models HTTP/1.1\r\n") == 3


@pytest.mark.parametrize(
    ("kind", "model", "listed", "offers"),
    [
        ("openai", "gpt-4o", ["gpt-4o"], True),
        ("openai", "gpt-4o", ["gpt-4o-2024-08-06"], True),
        ("openai", "gpt-4o", ["gpt-4o-mini"], False),
        ("openai", "gpt-5", ["gpt-5-nano", "gpt-4"], False),
        ("anthropic", "claude-sonnet-4-0", ["claude-sonnet-4-20250514"], True),
        ("anthropic", "claude-3-5-haiku-latest", ["claude-3-5-haiku-20241022"], True),
        ("anthropic", "claude-opus-4-1", ["claude-sonnet-4-20250514"], False),
        ("anthropic", "claude-opus-4", ["claude-opus-4-1-20250805"], False),
        ("openai", "gpt-4o-2024-05-13", ["gpt-4o-2024-08-06"], False),
        ("cohere", "command-r", ["command-r-08-2024"], True),
        ("xai", "grok-4", ["grok-4-0709"], True),
        ("gemini", "models/gemini-2.5-pro", ["gemini-2.5-pro"], True),
        ("gemini", "tunedModels/mine", ["gemini-2.5-pro"], True),
        ("ollama", "llama3.2", ["llama3.2:latest"], True),
        ("ollama", "llama3.2", ["llama3.2:1b"], False),
        ("fireworks", "kimi-k2", ["accounts/fireworks/models/kimi-k2"], True),
        ("fireworks", "kimi-k3", ["accounts/fireworks/models/kimi-k2"], False),
        ("fireworks", "accounts/me/deployments/x", [], True),
        ("openrouter", "openai/gpt-4o:nitro", ["openai/gpt-4o"], True),
        ("openrouter", "x/y:free", ["x/y:free"], True),
        ("openrouter", "openai/gpt-9", ["openai/gpt-4o"], False),
        ("bedrock", "us.amazon.nova-lite-v1:0", ["amazon.nova-lite-v1:0"], True),
        ("bedrock", "amazon.nova-pro-v1:0", ["amazon.nova-lite-v1:0"], False),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/x", [], True),
        ("azure", "our-deployment", ["gpt-4o"], True),
    ],
)
def test_a_model_is_known_by_the_names_that_it_goes_by(
    kind: str, model: str, listed: list[str], offers: bool
) -> None:
    assert PROVIDERS[kind].offers(model, listed) is offers
