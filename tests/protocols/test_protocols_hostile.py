"""Bodies that no client should send: refused in words, whatever they hold and wherever they go."""

import asyncio
import base64
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import build
from turnout.engine import tokens
from turnout.engine.provider import Call, Provider, ProviderError
from turnout.engine.request import SEALED, Caller, Request, RequestError
from turnout.protocols.client import ClientProtocol
from turnout.protocols.completions import COMPLETIONS
from turnout.protocols.messages import MESSAGES
from turnout.protocols.responses import RESPONSES
from turnout.server.body import read
from turnout.server.chat import CHAT
from turnout.server.embeddings import EMBEDDINGS

PROTOCOLS: dict[str, ClientProtocol] = {
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
    "chat": CHAT,
    "embeddings": EMBEDDINGS,
}
MAXIMAL: dict[str, Any] = json.loads((Path(__file__).parent / "maximal.json").read_text())
# One for each wire: what the others do differently is in tables that these read too.
KINDS = ("openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "ollama", "deepseek")
MODELS = {"anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}

DEEP = b"[" * 230 + b"]" * 230
DEEP_TEXT = (b'{"a":' * 300 + b"1" + b"}" * 300).decode()
DEEP_SEAL = SEALED + base64.urlsafe_b64encode(b"[%b]" % DEEP_TEXT.encode()).decode()
ODD_SEAL = SEALED + base64.urlsafe_b64encode(b'[{"type":[1],"thinking":{}}]').decode()
GONE = object()
VALUES: dict[str, Any] = {
    "null": None,
    "number": 7,
    "negative": -3,
    "fraction": 1.5,
    "text": "x",
    "nothing": "",
    "control": "\x00\u2028",
    "deep-text": DEEP_TEXT,
    "deep-seal": DEEP_SEAL,
    "odd-seal": ODD_SEAL,
    "list": [],
    "numbers": [1],
    "nulls": [None],
    "objects": [{}],
    "parts": [{"type": "text"}],
    "object": {},
    "other-object": {"type": "zzz", "a": [1]},
    "unhashable": {"type": [1], "role": {}, "name": [], "id": {}, "function": [], "source": []},
    "true": True,
    "false": False,
    "big": 1e300,
    "deep": orjson.loads(DEEP),
    "gone": GONE,
}


def provider_of(kind: str) -> Provider:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=b"{}"))
    address = "http://localhost/v1"
    return build(kind, kind, address, {}, "sk-secret-0123456789", transport)


PROVIDERS = {kind: provider_of(kind) for kind in KINDS}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a value."""
    if path:
        yield path
    named = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else named:
        yield from places(inner, (*path, key))


def put(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a body with another value in one place."""
    changed = copy.deepcopy(body)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return changed


def request_of(raw: bytes, protocol: ClientProtocol) -> Request:
    body, raw, native = read(raw, protocol)
    stream = body.get("stream") is True and protocol is not EMBEDDINGS
    return Request(
        "req_1", protocol.operation, body, raw, body["model"], stream, Caller(), {}, 0, 0, native
    )


async def sent(request: Request, kind: str) -> None:
    """Send it, however it is answered."""
    model = MODELS.get(kind, "upstream-model")
    call = Call(request, model, request.model, 8192, 1_000_000, 1_000_000)
    provider = PROVIDERS[kind]
    try:
        if request.stream:
            async for _ in provider.stream(call):
                pass
        else:
            await provider.answer(call)
    except ProviderError:
        pass


def withstand(raw: bytes, protocol: ClientProtocol, kinds: tuple[str, ...] = KINDS) -> bool:
    """Whether a body is taken. Whatever is refused is refused by an error that says so."""
    try:
        request = request_of(raw, protocol)
    except RequestError as error:
        assert error.status in (400, 413, 415)
        assert protocol.error(error, "req_1").body
        return False
    low, high = tokens.bounds(request)
    assert 0 <= low <= high
    assert len(request.session_hash) == 64

    async def everywhere() -> None:
        for kind in kinds:
            await sent(request, kind)

    asyncio.run(everywhere())
    return True


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_whole_body_is_taken(name: str) -> None:
    assert withstand(orjson.dumps(MAXIMAL[name]), PROTOCOLS[name])


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_member_breaks_the_gateway_whatever_it_is(name: str, value: str) -> None:
    whole = MAXIMAL[name]
    broken = []
    for path in places(whole):
        try:
            withstand(orjson.dumps(put(whole, path, VALUES[value])), PROTOCOLS[name])
        except Exception as error:
            broken.append((path, repr(error)[:200]))
    assert not broken


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_member_may_be_nested_two_hundred_levels(name: str) -> None:
    whole = orjson.dumps(MAXIMAL[name])[:-1]
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deepest = opening * 200 + b"1" + closing * 200
        assert withstand(b'%b,"extra":%b}' % (whole, deepest), PROTOCOLS[name])
        deeper = opening + deepest + closing
        with pytest.raises(RequestError, match="`extra` is nested deeper than 200 levels"):
            request_of(b'%b,"extra":%b}' % (whole, deeper), PROTOCOLS[name])
