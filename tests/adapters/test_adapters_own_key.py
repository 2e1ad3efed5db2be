"""A caller's own key goes to its own provider's exact origin, with nothing of the gateway's."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.adapters.test_adapters_origin import KINDS, listening, told
from turnout.adapters import PROVIDERS, build
from turnout.adapters.kind import Kind
from turnout.adapters.openai import OpenAI
from turnout.engine.provider import Fault, Provider, ProviderError
from turnout.engine.request import OwnKey

SECRET = "sk-canary-of-the-caller-0123456789"
GATEWAYS = "sk-canary-of-the-gateway-9876543210"
# Of the gateway's account, or told to somebody in front of the provider.
HEADERS = {
    "authorization": f"Bearer {GATEWAYS}",
    "x-api-key": GATEWAYS,
    "openai-organization": "org-canary-of-the-gateway",
    "openai-project": "proj_canary_of_the_gateway",
    "cf-aig-authorization": "Bearer canary-of-the-gateway",
    "x-anything": "canary-of-the-gateway",
    "anthropic-beta": "context-1m",
}
HOMES = [kind for kind in KINDS if PROVIDERS[kind].home() is not None]


def made(kind: str, base_url: str | None, transport: httpx.AsyncBaseTransport) -> Provider:
    return build("house" if base_url else kind, kind, base_url, HEADERS, GATEWAYS, transport, {})


def nobody(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"asked {request.url}")


NOWHERE = httpx.MockTransport(nobody)


def test_kinds_of_one_place_have_a_home_and_others_none() -> None:
    assert set(KINDS) - set(HOMES) == {"azure", "bedrock", "ollama", "vllm"}
    assert all(str(PROVIDERS[kind].home()).startswith("https://") for kind in HOMES)


ELSEWHERE = [
    "https://api.openai.com.evil/v1",
    "https://evil-api.openai.com/v1",
    "https://api.openai.com./v1",
    "https://API.OPENAI.COM./v1",
    "https://api.openai.com:8443/v1",
    "http://api.openai.com/v1",
    "http://api.openai.com:443/v1",
    "https://openai.com/v1",
    "https://eu.api.openai.com/v1",
    "https://\u0430pi.openai.com/v1",
    "https://xn--pi-6kc.openai.com/v1",
    "https://127.0.0.1/v1",
    "https://[::1]/v1",
    "https://evil.example/api.openai.com/v1",
    "https://gateway.ai.cloudflare.com/v1/acc/gw/openai",
]


@pytest.mark.parametrize("base_url", ELSEWHERE, ids=ascii)
def test_a_key_is_not_for_an_address_that_only_looks_like_its_providers(base_url: str) -> None:
    assert made("openai", base_url, NOWHERE).owned(OwnKey("openai", SECRET)) is None


@pytest.mark.parametrize(
    "base_url",
    [None, "https://api.openai.com/v1", "https://API.OPENAI.COM/v1", "https://api.openai.com:443"],
    ids=str,
)
def test_a_key_is_for_its_providers_own_origin_however_that_is_written(
    base_url: str | None,
) -> None:
    assert made("openai", base_url, NOWHERE).owned(OwnKey("openai", SECRET)) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_for_no_other_provider(kind: str) -> None:
    base_url = None if kind in HOMES else "https://gw.example/v1"
    provider = made(kind, base_url, NOWHERE)
    takers = {other for other in [*KINDS, "nobody", ""] if provider.owned(OwnKey(other, SECRET))}
    assert takers == ({kind} if kind in HOMES else set())


@pytest.mark.parametrize("secret", ["a\r\nx: y", "a\nb", "ü", "a\0b"], ids=ascii)
def test_a_key_that_no_header_can_hold_is_for_nothing(secret: str) -> None:
    assert made("openai", None, NOWHERE).owned(OwnKey("openai", secret)) is None


@pytest.mark.parametrize("with_credential", [True, False], ids=str)
@pytest.mark.parametrize("kind", HOMES)
async def test_nothing_of_the_gateways_goes_along_with_a_callers_key(
    bench: Any, kind: str, with_credential: bool
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418)

    # The names that some kinds read their keys from beside their own.
    variables = {name: GATEWAYS for name in PROVIDERS[kind].variables}
    credential = GATEWAYS if with_credential else None
    headers = HEADERS if with_credential else {}
    shared = httpx.MockTransport(answer)
    provider = build(kind, kind, None, headers, credential, shared, variables)
    theirs = provider.owned(OwnKey(kind, SECRET))
    assert theirs is not None and theirs.usable and theirs.name == kind
    for stream in (False, True):
        call = bench.chat(stream=stream)
        with pytest.raises(ProviderError):
            await (bench.read(theirs.stream(call)) if stream else theirs.answer(call))
    assert len(seen) == 2
    for request in seen:
        said = [value for _, value in request.headers.multi_items()]
        assert sum(SECRET in value for value in said) == 1
        assert "canary-of-the-gateway" not in str(request.headers.raw)
        assert "canary_of_the_gateway" not in str(request.headers.raw)
        assert f"{request.url.scheme}://{request.url.netloc.decode()}" == PROVIDERS[kind].home()
        if with_credential:
            assert request.headers["anthropic-beta"] == "context-1m"
        if kind == "anthropic":
            assert request.headers["anthropic-version"] == "2023-06-01"
    # And the gateway's own is as it was.
    with pytest.raises(ProviderError):
        await provider.answer(bench.chat())
    assert SECRET not in str(seen[-1].headers.raw)


@pytest.mark.parametrize("kind", HOMES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
async def test_an_echoed_key_is_told_to_nobody(bench: Any, kind: str, status: int) -> None:
    # It looks like no key: nothing but knowing it could find it.
    plain = "plainwordsofacaller"
    body = {"error": {"message": f"Incorrect: {plain}.", "code": plain, "param": plain}}
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body))
    theirs = build(kind, kind, None, {}, None, transport, {}).owned(OwnKey(kind, plain))
    assert theirs is not None
    with pytest.raises(ProviderError) as caught:
        await theirs.answer(bench.chat())
    error = caught.value
    assert plain not in f"{error.message} {error.code} {error.param} {error!r} {error}"
    if status == 401:
        assert error.fault is Fault.AUTH


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_no_callers_key_along(
    bench: Any,
    transport: httpx.AsyncBaseTransport,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    async with listening() as first, listening(told(200, b"{}")) as second:
        home = f"http://127.0.0.1:{first.port}/v1"
        monkeypatch.setattr(OpenAI, "default_base_url", home)
        location = f"location: http://127.0.0.1:{second.port}/v1/chat/completions"
        first.answer = told(status, b"", "text/plain", location)
        theirs = made("openai", home, transport).owned(OwnKey("openai", SECRET))
        assert isinstance(theirs, Kind)
        with pytest.raises(ProviderError) as caught:
            await theirs.answer(bench.chat())
        assert caught.value.fault is Fault.BAD_OUTPUT
        assert f"authorization: Bearer {SECRET}" in first.heads[0]
        assert second.connections == 0


async def test_the_keys_of_two_callers_never_mix(
    bench: Any, transport: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
    async with listening(told(200, answer)) as openai, listening(told(200, answer)) as groq:
        for kind, port in (("openai", openai.port), ("groq", groq.port)):
            monkeypatch.setattr(PROVIDERS[kind], "default_base_url", f"http://127.0.0.1:{port}/v1")
        providers = {kind: build(kind, kind, None, {}, GATEWAYS, transport) for kind in
                     ("openai", "groq")}  # fmt: skip

        async def ask(number: int) -> tuple[str, str]:
            kind = ("openai", "groq")[number % 2]
            mark, secret = f"says {number}", f"sk-canary-{number % 4}"
            theirs = providers[kind].owned(OwnKey(kind, secret))
            assert theirs is not None
            content = [{"role": "user", "content": mark}]
            await theirs.answer(bench.chat(messages=content))
            return mark, secret

        sent = dict(await asyncio.gather(*(ask(number) for number in range(200))))
        seen = [*openai.requests, *groq.requests]
        assert len(seen) == 200
        for listener, parity in ((openai, 0), (groq, 1)):
            for head, body in listener.requests:
                mark = body.decode().split('"content":"')[1].split('"')[0]
                assert f"authorization: Bearer {sent[mark]}\r\n" in head.decode()
                assert int(mark.split()[1]) % 2 == parity
