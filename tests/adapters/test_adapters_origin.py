"""What belongs to one origin goes there and nowhere else, whatever anyone writes or answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.conftest import Bench
from tests.e2e.conftest import Served, start
from turnout.adapters import PROVIDERS, build
from turnout.adapters.upstream import Upstream
from turnout.engine.provider import Fault, Provider, ProviderError

OWN = {"cf-aig-authorization": "Bearer canary-of-the-gateway"}
KINDS = sorted(PROVIDERS)
# Where a kind writes models into its addresses, an address at which it does.
ADDRESSES = {"azure": "https://gw.example/a/openai"}
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARY0000000000",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "AWS_SESSION_TOKEN": "canary-session-token",
    "AWS_REGION": "eu-west-1",
}


def asked(bench: Any, kind: str, transport: httpx.AsyncBaseTransport, base_url: str) -> Provider:
    """A provider of a kind with headers of its own; Bedrock's requests are signed."""
    credential, given = (None, AWS) if kind == "bedrock" else (bench.secret, {})
    return build("house", kind, base_url, OWN, credential, transport, given)


async def tried(bench: Any, provider: Provider, *, stream: bool, model: str | None = None) -> Fault:
    """The fault that a request ends in."""
    call = bench.chat(stream=stream)
    if model is not None:
        call.upstream_model = model
    with pytest.raises(ProviderError) as caught:
        await (bench.read(provider.stream(call)) if stream else provider.answer(call))
    assert "canary" not in f"{caught.value.message} {caught.value.code} {caught.value.param}"
    return caught.value.fault


# --- addresses as they are written ---------------------------------------------------------------

HOSTS: dict[str, tuple[str, str]] = {
    "https://api.x.com/v1": ("https", "api.x.com"),
    "HTTPS://API.X.COM/v1": ("https", "api.x.com"),
    "https://API.X.COM./v1": ("https", "api.x.com."),
    "https://api.x.com:443/v1": ("https", "api.x.com"),
    "https://api.x.com:8443/v1": ("https", "api.x.com:8443"),
    "http://api.x.com/v1": ("http", "api.x.com"),
    "http://api.x.com:80/v1": ("http", "api.x.com"),
    "http://api.x.com:443/v1": ("http", "api.x.com:443"),
    "https://api.x.com.evil/v1": ("https", "api.x.com.evil"),
    "https://evil-api.x.com/v1": ("https", "evil-api.x.com"),
    "https://xn--bcher-kva.example/v1": ("https", "xn--bcher-kva.example"),
    "https://bücher.example/v1": ("https", "xn--bcher-kva.example"),
    "https://faß.example/v1": ("https", "xn--fa-hia.example"),
    "https://\u0430pi.x.com/v1": ("https", "xn--pi-6kc.x.com"),
    "https://my_host/v1": ("https", "my_host"),
    "http://[::1]:9/v1": ("http", "[::1]:9"),
    "https://api.x.com//evil.example/v1": ("https", "api.x.com"),
}

NOT_ADDRESSES = [
    "",
    "api.x.com/v1",
    "//api.x.com/v1",
    "/v1",
    "https://",
    "https:///v1",
    "ftp://api.x.com/v1",
    "file:///etc/passwd",
    "https://user@api.x.com/v1",
    "https://user:password@api.x.com/v1",
    "https://@api.x.com/v1",
    "https://api.x.com@evil.example/v1",
    "https://api.x.com\\@evil.example/v1",
    "https://user%40api.x.com/v1",
    "https://api.x.com/v1?to=evil.example",
    "https://api.x.com/v1#evil.example",
    "https://api.x.com:0/v1",
    "https://api.x.com:-1/v1",
    "https://api.x.com:65536/v1",
    "https://api .x.com/v1",
    "https://api.x.com\n.evil/v1",
    "https://api.x.com%00.evil/v1",
    "https://api.x.com%2eevil/v1",
    "https://api.x.com,evil.example/v1",
    "https://*.x.com/v1",
]


@pytest.mark.parametrize("base_url", HOSTS, ids=ascii)
async def test_a_request_leaves_for_the_origin_that_was_written(bench: Any, base_url: str) -> None:
    scheme, netloc = HOSTS[base_url]
    for kind in KINDS:
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request, seen: list[httpx.Request] = seen) -> httpx.Response:
            seen.append(request)
            return httpx.Response(418)

        provider = asked(bench, kind, httpx.MockTransport(answer), base_url)
        await tried(bench, provider, stream=False)
        assert seen, kind
        for request in seen:
            assert (request.url.scheme, request.url.netloc.decode()) == (scheme, netloc), kind
            assert request.headers.get_list("host") == [netloc], kind
            assert request.headers["cf-aig-authorization"] == OWN["cf-aig-authorization"], kind


@pytest.mark.parametrize("base_url", NOT_ADDRESSES, ids=ascii)
def test_what_is_no_plain_address_is_refused(base_url: str) -> None:
    nowhere = httpx.MockTransport(lambda request: httpx.Response(500))
    with pytest.raises(ValueError, match="base_url"):
        Upstream(base_url, OWN, nowhere)


@pytest.mark.parametrize("base_url", HOSTS, ids=ascii)
async def test_a_connection_goes_to_the_host_that_the_request_names(
    bench: Any, transport: httpx.AsyncBaseTransport, base_url: str
) -> None:
    """Python's own reading of `faß.example` is `fass.example`, which is someone else's."""
    scheme, netloc = HOSTS[base_url]
    expected = httpx.URL(f"{scheme}://{netloc}")
    loop = asyncio.get_running_loop()
    refused = mock.AsyncMock(side_effect=ConnectionRefusedError)
    with mock.patch.object(loop, "create_connection", refused):
        await tried(bench, asked(bench, "openai", transport, base_url), stream=False)
    (_, host, port), named = refused.call_args.args, refused.call_args.kwargs
    assert host == expected.raw_host.decode()
    assert port == (expected.port or (443 if scheme == "https" else 80))
    assert named["server_hostname"] == (host if scheme == "https" else None)


async def test_headers_of_one_provider_never_go_with_another(bench: Any) -> None:
    for kind in KINDS:
        for base_url in HOSTS:
            seen: list[httpx.Request] = []

            def answer(request: httpx.Request, seen: list[httpx.Request] = seen) -> httpx.Response:
                seen.append(request)
                return httpx.Response(418)

            shared = httpx.MockTransport(answer)
            await tried(bench, asked(bench, "openai", shared, "https://api.x.com/v1"), stream=False)
            other = build("other", kind, base_url, {}, "another-key", shared, {})
            await tried(bench, other, stream=False)
            for request in seen[1:]:
                said = str(request.headers.raw)
                assert "cf-aig" not in said and "canary" not in said and bench.secret not in said


# --- names of models -----------------------------------------------------------------------------

NAMES = [
    "",
    ".",
    "..",
    "../../x",
    "a/../../../x",
    "//evil.example/x",
    "/x",
    "@evil.example",
    ".evil.example",
    ":9/x",
    "\\\\evil.example\\x",
    "https://evil.example/x",
    "a?b=c",
    "a#b",
    "a&key=b",
    "a\r\nhost: evil.example",
    "%2e%2e",
    "%2e%2e%2fx",
    "..%2fx",
    "a b",
    "ü",
    "a:b",
    "models/a",
]


def leaves_where_it_should(kind: str, model: str) -> None:
    base_url = ADDRESSES.get(kind, "https://gw.example/a/v1")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418)

    async def both() -> None:
        provider = asked(Bench, kind, httpx.MockTransport(answer), base_url)
        for stream in (False, True):
            await tried(Bench, provider, stream=stream, model=model)
        await provider.count(Bench.chat())

    async def quietly() -> None:
        try:
            await both()
        except ProviderError:
            pass

    asyncio.run(quietly())
    for request in seen:
        assert request.url.raw_host == b"gw.example" and request.url.scheme == "https"
        assert request.url.port is None and request.headers.get_list("host") == ["gw.example"]
        path, _, query = request.url.raw_path.decode().partition("?")
        assert path.startswith("/a/"), path
        assert not {".", ".."} & set(re.split(r"/|%2f", path.lower().replace("%2e", "."))), path
        assert query in ("", "alt=sse") or re.fullmatch(r"api-version=[\w-]+", query), query
        assert path.isprintable() and " " not in path


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_of_a_model_changes_where_a_request_goes(kind: str) -> None:
    for model in NAMES:
        leaves_where_it_should(kind, model)


@given(st.sampled_from(KINDS), st.text("./\\:@?#%&=ab2eEfF \r\n\u00fc", max_size=12))
def test_not_even_one_that_nobody_thought_of(kind: str, model: str) -> None:
    leaves_where_it_should(kind, model)


@pytest.mark.parametrize(
    "path", ["@evil.example/x", ".evil.example/x", ":9/x", "\\evil", "/../x", "/b/../../../x", "#x"]
)
async def test_a_path_that_leaves_the_address_is_not_sent(bench: Any, path: str) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    for base_url in ("https://gw.example", "https://gw.example/a/v1"):
        upstream = Upstream(base_url, OWN, httpx.MockTransport(answer))
        call = bench.chat()
        with pytest.raises(ProviderError) as caught:
            await upstream.fetch(path, b"{}", call)
        assert caught.value.fault is Fault.BAD_OUTPUT
        assert not sent and not call.sent


# --- redirects -----------------------------------------------------------------------------------


@dataclass
class Listener:
    """A raw server: what it answers to each request, and the heads and bodies that came."""

    answer: bytes = b""
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def heads(self) -> list[str]:
        return [head.decode() for head, _ in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.requests.append(await Bench.request_of(reader))
            writer.write(self.answer)
            await writer.drain()


@asynccontextmanager
async def listening(answer: bytes = b"") -> AsyncIterator[Listener]:
    listener = Listener(answer)
    async with Bench.server(listener.serve) as address:
        listener.port = httpx.URL(address).port or 0
        yield listener


def told(status: int, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_redirect_is_never_followed(
    bench: Any, transport: httpx.AsyncBaseTransport, kind: str, status: int
) -> None:
    async with listening() as first, listening(told(200, b"{}")) as second:
        for location in (
            f"http://127.0.0.1:{second.port}/v1/elsewhere",
            f"//127.0.0.1:{second.port}/",
            f"http://127.0.0.1:{first.port}/v1/moved",
            "/v1/moved",
        ):
            for stream in (False, True):
                first.requests.clear()
                first.answer = told(status, b"", "text/plain", f"location: {location}")
                provider = asked(bench, kind, transport, f"http://127.0.0.1:{first.port}/v1")
                assert await tried(bench, provider, stream=stream) is Fault.BAD_OUTPUT
                assert len(first.requests) == 1
                assert "cf-aig-authorization: Bearer canary-of-the-gateway" in first.heads[0]
                assert "/moved" not in first.heads[0]
        assert second.connections == 0


# --- fallbacks, and what clients send ------------------------------------------------------------

COMPLETION = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello", "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
)
# Neither retried nor counted against the target: every request tries both.
EMPTY = orjson.dumps({"type": "error", "error": {"type": "billing_error", "message": "no credit"}})
POLICY = """
routing_policy:
  - {{name: all, route: anthropic/claude-sonnet}}
fallback_chain:
  - openai/gpt-4
providers:
  anthropic:
    base_url: "http://127.0.0.1:{first}/anthropic/v1"
    headers: {{cf-aig-authorization: "${{TURNOUT_VAR_GATEWAY}}"}}
  openai: {{base_url: "http://127.0.0.1:{second}/v1"}}
"""
Post = Callable[..., Awaitable[httpx.Response]]


@dataclass
class Track:
    """A gateway between two providers, and a third party that must hear nothing."""

    gateway: Served
    first: Listener
    second: Listener
    evil: Listener

    async def post(
        self, client: httpx.AsyncClient, path: str = "/v1/chat/completions", **more: Any
    ) -> list[str]:
        """The two heads that left for one request."""
        self.first.requests.clear()
        self.second.requests.clear()
        extra: dict[str, Any] = more.pop("body", {})
        messages = [{"role": "user", "content": "hi"}]
        body = {"model": "gpt-4", "max_tokens": 9, "messages": messages, **extra}
        answer = await client.post(f"{self.gateway.url}{path}", json=body, **more)
        assert answer.status_code == 200, answer.text
        assert len(self.first.requests) == len(self.second.requests) == 1
        return [settled(*self.first.heads), settled(*self.second.heads)]


def settled(head: str) -> str:
    """A head without the length of its body."""
    return re.sub(r"content-length: \d+", "content-length: …", head)


@asynccontextmanager
async def tracks(folder: Path) -> AsyncIterator[Track]:
    async with (
        listening(told(402, EMPTY)) as first,
        listening(told(200, COMPLETION)) as second,
        listening(told(200, COMPLETION)) as evil,
    ):
        policy = POLICY.format(first=first.port, second=second.port)
        canary = {"TURNOUT_VAR_GATEWAY": OWN["cf-aig-authorization"]}
        served = await asyncio.to_thread(partial(start, folder, policy, **canary))
        try:
            yield Track(served, first, second, evil)
        finally:
            assert await asyncio.to_thread(served.stop) == 0


def mischief(evil: str) -> dict[str, dict[str, Any]]:
    """What clients send in the hope that it changes where a request goes, or with what."""
    names = ("api_base", "base_url", "api_key", "host", "proxy", "endpoint", "azure_endpoint")
    return {
        "a header of the gateway": {"headers": {"cf-aig-authorization": "Bearer evil"}},
        "a credential": {"headers": {"authorization": "Bearer sk-evil", "api-key": "evil"}},
        "headers with addresses": {
            "headers": {
                "x-api-base": evil,
                "x-base-url": evil,
                "x-prefiller-url": evil,
                "x-forwarded-host": "evil.example",
                "x-original-url": evil,
                "x-rewrite-url": evil,
                "x-http-method-override": "GET",
                "forwarded": "host=evil.example",
                "x-amz-security-token": "evil",
                "openai-organization": "evil",
                "openai-project": "evil",
                "helicone-target-url": evil,
                "x-portkey-custom-host": evil,
            }
        },
        "what is for this gateway alone": {
            "headers": {
                "x-turnout-key": "tk_evil",
                "x-turnout-session": evil,
                "x-turnout-tags": f"to={evil}",
                "cookie": "session=evil",
                "proxy-authorization": "Basic evil",
                "x-goog-api-key": "evil",
                "x-amz-security-token": "evil",
                "x-forwarded-authorization": "Bearer evil",
            }
        },
        "a query": {"params": dict.fromkeys((*names, "model", "key", "provider"), evil)},
        "members": {"body": dict.fromkeys(names, evil)},
        "members with headers": {
            "body": {
                "extra_headers": {"cf-aig-authorization": "evil", "x-evil": "1"},
                "headers": {"authorization": "Bearer evil"},
                "extra_query": {"a": evil},
                "extra_body": {"api_base": evil},
                "litellm_params": {"api_base": evil},
                "provider": {"base_url": evil},
            }
        },
    }


async def test_headers_stay_at_their_origin_whatever_clients_send_and_whoever_answers(
    tmp_path: Path,
) -> None:
    async with tracks(tmp_path) as track, httpx.AsyncClient(timeout=30) as client:
        clean = await track.post(client)
        first, second = clean
        assert first.startswith("POST /anthropic/v1/messages HTTP/1.1\r\n")
        assert f"host: 127.0.0.1:{track.first.port}\r\n" in first
        assert "cf-aig-authorization: Bearer canary-of-the-gateway\r\n" in first
        assert second.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
        assert f"host: 127.0.0.1:{track.second.port}\r\n" in second
        assert "cf-aig" not in second and "canary" not in second
        native = await track.post(client, path="/v1/messages")
        assert "canary" in native[0] and "canary" not in native[1]
        for name, sent in mischief(f"http://127.0.0.1:{track.evil.port}").items():
            assert await track.post(client, **sent) == clean, name
            if "body" not in sent:  # some of these members are nobody's in that protocol
                assert await track.post(client, path="/v1/messages", **sent) == native, name
        # A stream too: it falls back before its first byte.
        body = {"stream": True}
        events = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        track.second.answer = told(200, events, "text/event-stream")
        streamed = await track.post(client, body=body)
        assert "canary" in streamed[0] and "canary" not in streamed[1]
        assert track.evil.connections == 0


async def test_a_host_or_a_target_of_the_clients_choice_reaches_nobody(tmp_path: Path) -> None:
    async with tracks(tmp_path) as track:
        port = httpx.URL(track.gateway.url).port
        evil = f"127.0.0.1:{track.evil.port}"
        body = b'{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}'
        for line, host in (
            ("POST /v1/chat/completions HTTP/1.1", "evil.example"),
            ("POST /v1/chat/completions HTTP/1.1", "127.0.0.1.evil.example"),
            (f"POST http://{evil}/v1/chat/completions HTTP/1.1", "evil.example"),
            (f"POST http://{evil}/v1/chat/completions HTTP/1.1", evil),
            (f"CONNECT {evil} HTTP/1.1", evil),
            (f"POST //{evil}/v1/chat/completions HTTP/1.1", f"127.0.0.1:{port}"),
            (f"POST /v1/http://{evil}/chat/completions HTTP/1.1", f"127.0.0.1:{port}"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"{line}\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            status = int(answer.split(b" ", 2)[1]) if answer else 0
            # Whatever is made of it, it is refused or answered by the policy's own providers.
            assert status == 200 or 400 <= status < 500 or not answer, (line, host, answer[:200])
        assert track.evil.connections == 0
