"""Whatever stands in a provider's answer: it is told in the client's protocol, or is a fault."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.protocols.test_protocols_hostile import (
    DEEP_TEXT,
    MODELS,
    PROTOCOLS,
    VALUES,
    places,
    put,
    request_of,
)
from turnout.adapters import build
from turnout.engine.provider import Call, ProviderError
from turnout.engine.request import RequestError

GOLDEN = Path(__file__).parents[1] / "adapters" / "golden"
KINDS = (
    "openai",
    "anthropic",
    "azure",
    "bedrock",
    "cohere",
    "gemini",
    "groq",
    "mistral",
    "ollama",
    "openrouter",
)
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "completions": {"prompt": "hi"},
}
ODD = {
    **VALUES,
    "too-deep": json.loads("[" * 300 + "]" * 300),
    "too-deep-object": json.loads(DEEP_TEXT),
    "huge": 10**25,
}
TRIES = 40  # of each golden file; which ones is the same every time


def answers(kind: str) -> Iterator[bytes]:
    """Whole answers of a provider, each with one thing in it that is something else."""
    files = sorted(GOLDEN.glob(f"answers/{kind}/*.upstream.json"))
    if kind == "openai":
        files += sorted(GOLDEN.glob("responses/*.upstream.json"))
        files += sorted(GOLDEN.glob("completions/*.upstream.json"))
    for file in files:
        chance = random.Random(file.name)
        whole = orjson.loads(file.read_bytes())
        for path in chance.choices(list(places(whole)), k=TRIES):
            yield written(put(whole, path, chance.choice(list(ODD.values()))))


def streams(kind: str) -> Iterator[bytes]:
    """Streams of a provider, each with one thing in one event that is something else."""
    files = sorted(GOLDEN.glob(f"streams/{kind}/*.upstream.sse"))
    if kind == "openai":
        files += sorted(GOLDEN.glob("responses/*.upstream.sse"))
        files += sorted(GOLDEN.glob("completions/*.upstream.sse"))
    for file in files:
        chance = random.Random(file.name)
        lines = file.read_bytes().replace(b"\r\n", b"\n").split(b"\n")
        data = [number for number, line in enumerate(lines) if line.startswith(b"data: {")]
        for number in chance.choices(data, k=TRIES) if data else ():
            try:
                event = orjson.loads(lines[number][6:])
            except orjson.JSONDecodeError:
                continue
            path = chance.choice(list(places(event)))
            odd = put(event, path, chance.choice(list(ODD.values())))
            yield b"\n".join([*lines[:number], b"data: " + written(odd), *lines[number + 1 :]])


def written(value: Any) -> bytes:
    """A value as JSON, as deep as it may be."""
    return json.dumps(value, ensure_ascii=False).encode()


async def told(kind: str, name: str, upstream: bytes, stream: bool) -> None:
    """Tell a client what a provider answered, to the end or to where it breaks."""
    protocol = PROTOCOLS[name]
    asked = {"model": "auto", "stream": stream, **ASKED[name]}
    request = request_of(orjson.dumps(asked), protocol)
    form = "text/event-stream" if stream else "application/json"
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, content=upstream, headers={"content-type": form})
    )
    provider = build(kind, kind, "http://localhost/v1", {}, "sk-secret-0123456789", transport)
    call = Call(request, MODELS.get(kind, "gpt-5"), "auto", 8192, 1_000_000, 1_000_000)
    try:
        if not stream:
            answer = await provider.answer(call)
            voice = (protocol.passing if call.native else protocol.translating)(request)
            orjson.loads(voice.whole(answer.body))
            return
        voice = protocol.translating(request)
        begun = False
        try:
            async for chunk in provider.stream(call):
                if not begun:
                    begun = True
                    voice = (protocol.passing if call.native else protocol.translating)(request)
                if chunk.data:
                    voice.event(chunk.data)
            voice.end()
        except ProviderError as error:
            voice.failed(RequestError(502, "upstream_error", "bad_gateway", error.message))
    except (ProviderError, RequestError):
        pass


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_of_a_provider_breaks_the_gateway(kind: str, name: str) -> None:
    async def all_told() -> int:
        number = 0
        for stream, odd in ((False, answers(kind)), (True, streams(kind))):
            for upstream in odd:
                number += 1
                await told(kind, name, upstream, stream)
        return number

    assert asyncio.run(all_told()) > 0
