"""A provider that means ill: whatever it sends, clients get an answer or a fault, and no secret.

One raw server plays every kind of provider; a test says how it answers. Each request goes to a
target of its own, so that no breaker stands between it and the server.
"""

import asyncio
import gzip
import itertools
import re
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.conftest import Served, start
from turnout.adapters import PROVIDERS
from turnout.simulator.bedrock_frames import event_frame, exception_frame

KINDS = sorted(PROVIDERS)
TARGETS = 40
CANARY = "CaNaRy9"
AMAZON = b"application/vnd.amazon.eventstream"
EVENTS = b"text/event-stream"
CLOSING = b"connection: close"  # as the server does, so that no request meets it half closed

Manner = Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[None]]


class Hostile:
    """A raw server in a thread of its own; `manner` answers (head, path, writer)."""

    def __init__(self) -> None:
        self.manner: Manner
        self._loop = asyncio.new_event_loop()
        self._open = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._open.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._open.set()
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            await self.manner(head, head.split(b" ")[1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class House:
    """The gateway before the hostile server."""

    def __init__(self, folder: Path) -> None:
        self.hostile = Hostile()
        self._numbers = {kind: itertools.cycle(range(TARGETS)) for kind in KINDS}
        keys = {PROVIDERS[kind].key_variable: f"{CANARY}-{kind}-key" for kind in KINDS}
        del keys["AWS_BEARER_TOKEN_BEDROCK"]
        keys |= {
            "AWS_ACCESS_KEY_ID": f"{CANARY}AKID",
            "AWS_SECRET_ACCESS_KEY": f"{CANARY}secret",
            "AWS_SESSION_TOKEN": f"{CANARY}/session+token==",
            "AWS_REGION": "eu-west-1",
            "TURNOUT_VAR_EXTRA": f"{CANARY} of the house",
            "TURNOUT_PROBE_SECONDS": "0",
        }
        targets = "".join(
            f"  '{kind}/m{number}': {{price: 0, context_window: 128k}}\n"
            for kind in KINDS
            for number in range(TARGETS)
        )
        address = f"http://127.0.0.1:{self.hostile.port}/{CANARY}-path"
        providers = "".join(
            f"  {kind}: {{base_url: '{address}/{kind}/v1', "
            "headers: {x-extra: 'Token ${TURNOUT_VAR_EXTRA}'}}\n"
            for kind in KINDS
        )
        policy = (
            "defaults: {retries: 0, idle: 2s, connect: 1s}\nrouting_policy:\n"
            "  - {name: asked, condition: true, route: requested}\n"
        )
        whole = f"{policy}targets:\n{targets}providers:\n{providers}"
        self.served: Served = start(folder, whole, **keys)
        self.client = httpx.Client(base_url=self.served.url, timeout=20)

    def ask(self, kind: str, *, stream: bool, path: str = "/v1/chat/completions") -> httpx.Response:
        body: dict[str, Any] = {"model": f"{kind}/m{next(self._numbers[kind])}", "stream": stream}
        turns = [{"role": "user", "content": "hi"}]
        body |= {"input": "hi"} if path.endswith("responses") else {"messages": turns}
        if path.endswith("messages"):
            body["max_tokens"] = 10
        return self.client.post(path, json=body)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("hostile"))
    yield made
    made.client.close()
    assert made.served.stop() == 0
    log = made.served.log.read_text()
    assert "ERROR" not in log
    assert CANARY not in log


def event(data: Any, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: %b\n\n" % orjson.dumps(data)


def begins(path: bytes) -> bytes:
    """The start of an answer on the wire that this path belongs to, with its first word."""
    if b"converse-stream" in path:
        delta = {"delta": {"text": "word"}, "contentBlockIndex": 0}
        return event_frame("messageStart", {"role": "assistant"}) + event_frame(
            "contentBlockDelta", delta
        )
    if b"messages" in path:
        block = {"type": "content_block_delta", "index": 0, "delta": {"text": "word"}}
        return event({"type": "message_start", "message": {"id": "a"}}) + event(block)
    if b"v2/chat" in path:
        block = {"type": "content-delta", "delta": {"message": {"content": {"text": "word"}}}}
        return event({"type": "message-start"}) + event(block)
    if b"enerateContent" in path:
        return event({"candidates": [{"content": {"parts": [{"text": "word"}]}}]})
    if b"responses" in path:
        return event({"type": "response.output_text.delta", "delta": "word"})
    return event({"choices": [{"index": 0, "delta": {"content": "word"}}]})


def ends(path: bytes) -> bytes:
    """The end of an answer on that wire."""
    if b"converse-stream" in path:
        used: Any = {"usage": {"inputTokens": 1, "outputTokens": 1}}
        return event_frame("messageStop", {"stopReason": "end_turn"}) + event_frame(
            "metadata", used
        )
    if b"messages" in path:
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        return event(end) + event({"type": "message_stop"})
    if b"v2/chat" in path:
        return event({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})
    if b"enerateContent" in path:
        used = {"promptTokenCount": 1, "candidatesTokenCount": 1}
        return event({"candidates": [{"finishReason": "STOP"}], "usageMetadata": used})
    ended = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return ended + b"data: [DONE]\n\n"


def head(path: bytes, *lines: bytes) -> bytes:
    kind = AMAZON if b"converse-stream" in path else EVENTS
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"content-type: " + kind, *lines, CLOSING, b"", b""))


def chunked(path: bytes, size: bytes, body: bytes) -> bytes:
    return head(path, b"transfer-encoding: chunked") + size + b"\r\n" + body


def framed(total: int, headers: int) -> bytes:
    prelude = struct.pack(">II", total, headers)
    return prelude + struct.pack(">I", zlib.crc32(prelude)) + b"x" * 1000


# What is sent in answer to a stream, and whether it is an answer.
WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "in early hints": lambda p: b"HTTP/1.1 103 Early\r\n\r\n" * 3 + head(p) + begins(p) + ends(p),
    "compressed": lambda p: head(p, b"content-encoding: gzip") + gzip.compress(begins(p) + ends(p)),
    "in one chunk": lambda p: chunked(
        p, b"%x;a=b" % len(begins(p) + ends(p)), begins(p) + ends(p) + b"\r\n0\r\nx: y\r\n\r\n"
    ),
    "shorter than it says": lambda p: head(p, b"content-length: 99999") + begins(p) + ends(p),
}
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda p: b"",
    "an empty body": lambda p: head(p, b"content-length: 0"),
    "a web page": lambda p: b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>",
    "no HTTP": lambda p: bytes(range(256)) * 20,
    "hints without end": lambda p: b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    "another protocol": lambda p: b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
    "a part": lambda p: b"HTTP/1.1 206 Part\r\n\r\n" + begins(p) + ends(p),
    "a redirect": lambda p: b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
    "a chunk of no size": lambda p: chunked(p, b"zz", begins(p)),
    "a chunk of any size": lambda p: chunked(p, b"f" * 24, begins(p)),
    "an end too early": lambda p: head(p) + begins(p),
    "the last chunk too early": lambda p: chunked(
        p, b"%x" % len(begins(p)), begins(p) + b"\r\n0\r\n\r\n"
    ),
    "two lengths": lambda p: (
        head(p, b"content-length: 5", b"content-length: 50") + begins(p) + ends(p)
    ),
    "a long header": lambda p: b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1_000_000,
    "a frame of four gigabytes": lambda p: head(p) + framed(0xFFFFFFFF, 0xFFFFFFF0),
    "a frame of nothing": lambda p: head(p) + framed(0, 0),
    "depths of JSON": lambda p: head(p) + b"data: " + b"[" * 100_000 + b"\n\n",
    "half a character": lambda p: head(p) + b'data: {"type":"x","a":"\\ud800"}\n\n' + ends(p),
    "what bursts": lambda p: (
        head(p, b"content-encoding: gzip") + gzip.compress(begins(p) + b"\n" * 80_000_000, 1)
    ),
}


@pytest.mark.parametrize("sent", WHOLE)
def test_an_answer_is_one_however_it_is_framed(house: House, sent: str) -> None:
    async def manner(_: bytes, path: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE[sent](path))

    house.hostile.manner = manner
    for kind in KINDS:
        text = house.ask(kind, stream=True).text
        assert text.endswith("data: [DONE]\n\n"), (kind, text)
        assert text.count("word") == 1
        assert '"error"' not in text


@pytest.mark.parametrize("sent", BROKEN)
def test_what_is_no_answer_is_never_taken_for_one(house: House, sent: str) -> None:
    async def manner(_: bytes, path: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(BROKEN[sent](path))

    house.hostile.manner = manner
    for kind in KINDS if sent != "what bursts" else ("openai", "bedrock", "anthropic"):
        answer = house.ask(kind, stream=True)
        assert "[DONE]" not in answer.text, kind
        if answer.status_code == 200:
            # The first word had come already.
            answer_error = orjson.loads(answer.text.rstrip().rpartition("data: ")[2])["error"]
        else:
            assert answer.status_code == 502, (kind, answer.text)
            answer_error = answer.json()["error"]
        codes = {"bad_gateway", "upstream_timeout"} if sent == "what bursts" else {"bad_gateway"}
        assert answer_error["code"] in codes, kind


@pytest.mark.parametrize("then", ["a second answer", "signs of life without end"])
def test_what_follows_an_answer_is_not_part_of_it(house: House, then: str) -> None:
    async def manner(_: bytes, path: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head(path) + begins(path) + ends(path))
        if then == "a second answer" and b"enerateContent" not in path:
            # Gemini says after every piece that it was the last.
            writer.write(begins(path) + ends(path))
        while then == "signs of life without end":
            more = event_frame("ping", {}) if b"converse" in path else b": ping\n\n"
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0.05)

    house.hostile.manner = manner
    for kind in KINDS:
        text = house.ask(kind, stream=True).text
        assert (text.count("word"), text.count('"finish_reason":"stop"')) == (1, 1), (kind, text)
        assert text.endswith("data: [DONE]\n\n"), (kind, text)


# --- secrets --------------------------------------------------------------------------------------

SHAPES: dict[str, Callable[[str], Any]] = {
    "everywhere": lambda t: {"error": {n: t for n in ("message", "type", "code", "param")}},
    "openai": lambda t: {"error": {"message": t, "type": "invalid_request_error", "param": t}},
    "anthropic": lambda t: {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": t},
        "request_id": t,
    },
    "a string": lambda t: {"error": t},
    "a message": lambda t: {"message": t, "id": t},
    "a finding": lambda t: {"detail": [{"loc": ["body", t], "msg": t, "type": t}]},
    "amazon": lambda t: {"__type": "ValidationException", "message": t},
    "google": lambda t: {
        "error": {"code": 400, "status": "INVALID_ARGUMENT", "message": t, "details": [{"a": t}]}
    },
}
SENT_SECRETS = (
    "authorization api-key x-api-key x-goog-api-key x-extra x-amz-security-token host".split()
)
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def echoed(request: bytes) -> str:
    """All that a provider could betray: credentials, house headers, address and path."""
    lines = request.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in lines[1:]]
    values = [value for name, value in pairs if name.lower() in SENT_SECRETS]
    path = lines[0].split(" ")[1]
    host = next(value for name, value in pairs if name.lower() == "host")
    words = [value.partition(" ")[2] for value in values if " " in value]
    return " ".join([*values, *words, path, f"http://{host}{path}"])


def check_silent(house: House, answer: httpx.Response, where: object) -> None:
    for text in (answer.text, str(answer.headers)):
        assert CANARY not in text, (where, text)
        assert f":{house.hostile.port}" not in text, (where, text)
    assert "internal_error" not in answer.text, where


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_that_a_refusal_echoes_reaches_anyone(house: House, shape: str) -> None:
    async def manner(request: bytes, path: bytes, writer: asyncio.StreamWriter) -> None:
        text = echoed(request)
        body = orjson.dumps(SHAPES[shape](text))
        key = next(word for word in text.split() if CANARY in word)[:38].encode()
        headers = (b"x-request-id", b"x-ratelimit-remaining-tokens", b"anthropic-ratelimit-a")
        lines = b"".join(b"%b: %b\r\n" % (name, key) for name in headers)
        status = b"HTTP/1.1 %d No\r\n%b" % (400 if len(path) % 2 else 429, lines)
        writer.write(status + b"content-length: %d\r\n\r\n%b" % (len(body), body))

    house.hostile.manner = manner
    for number, kind in enumerate(KINDS):
        answer = house.ask(kind, stream=bool(number % 2), path=PATHS[number % 3])
        assert answer.status_code in (400, 429, 502), (kind, answer.text)
        check_silent(house, answer, kind)
        traced = house.client.get(f"/v1/traces/{answer.headers['x-request-id']}")
        check_silent(house, traced, (kind, "trace"))
    check_silent(house, house.client.get("/metrics"), "metrics")


@pytest.mark.uncounted
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_that_an_error_in_a_stream_echoes_reaches_anyone(house: House, shape: str) -> None:
    async def manner(request: bytes, path: bytes, writer: asyncio.StreamWriter) -> None:
        text = echoed(request)
        if b"converse-stream" in path:
            broken = exception_frame("validationException", text)
        else:
            broken = event(SHAPES[shape](text))
        writer.write(head(path) + begins(path) + broken)

    house.hostile.manner = manner
    for kind in KINDS:
        for path in PATHS:
            answer = house.ask(kind, stream=True, path=path)
            assert "error" in answer.text, (kind, path)
            check_silent(house, answer, (kind, path))
