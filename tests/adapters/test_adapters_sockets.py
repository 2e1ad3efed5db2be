"""Providers over real sockets: whatever an upstream does, one fault comes out and nothing stays."""

import asyncio
import gc
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters.upstream import MAX_ANSWER_BYTES
from turnout.engine.provider import Fault, ProviderError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"w"},"finish_reason":null}]}\n\n'
END = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
FAILED = b'data: {"error":{"message":"Overloaded","type":"overloaded_error"}}\n\n'
NAMED = b'event: error\ndata: {"error":{"message":"x","type":"server_error"}}\n\n'

START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":7,"output_tokens":1}}}\n\n'  # noqa: E501
TEXT = (
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"w"}}\n\n'
)
STOP = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n'  # noqa: E501
STOPPED = b'data: {"type":"message_stop"}\n\n'
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'  # noqa: E501


def framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def sized(
    status: str, body: bytes, kind: str = "application/json", claimed: int | None = None
) -> bytes:
    length = len(body) if claimed is None else claimed
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n".encode()
        + body
    )


def squeezed(body: bytes, encoding: str = "gzip", cut: int = 0) -> bytes:
    """An answer whose body was compressed, less its last bytes."""
    data = gzip.compress(body)
    data = data[: len(data) - cut]
    head = f"HTTP/1.1 200 X\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def writes(bench: Any, *parts: bytes, then: str = "close") -> Handler:
    """Read one request, write these bytes, then close, reset or hang."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bench.request_of(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then == "hang":
            await reader.read()
        elif then == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    return handler


async def settle() -> None:
    """Let httpcore's own generators end; then only this test's task and the server's are left."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)


STREAMS = {
    "an empty 200": ("openai", [STREAM, b"0\r\n\r\n"], "close", Fault.BAD_OUTPUT),
    "the role alone": ("openai", [STREAM, framed(ROLE), b"0\r\n\r\n"], "close", Fault.BAD_OUTPUT),
    "a clean end after a word": (
        "openai",
        [STREAM, framed(ROLE + WORD), b"0\r\n\r\n"],
        "close",
        Fault.BAD_OUTPUT,
    ),
    "done without a finish": (
        "openai",
        [STREAM, framed(WORD + DONE), b"0\r\n\r\n"],
        "close",
        Fault.BAD_OUTPUT,
    ),
    "a cut between events": ("openai", [STREAM, framed(ROLE + WORD)], "close", Fault.CONNECT),
    "a cut within an event": ("openai", [STREAM, framed(WORD + WORD[:20])], "close", Fault.CONNECT),
    "a reset": ("openai", [STREAM, framed(WORD)], "reset", Fault.CONNECT),
    "silence": ("openai", [STREAM, framed(WORD)], "hang", Fault.TIMEOUT),
    "silence from the start": ("openai", [], "hang", Fault.TIMEOUT),
    "silence within the head": ("openai", [STREAM[:20]], "hang", Fault.TIMEOUT),
    "no answer at all": ("openai", [], "close", Fault.CONNECT),
    "malformed JSON": ("openai", [STREAM, framed(b"data: {oops\n\n")], "hang", Fault.BAD_OUTPUT),
    "JSON that is no chunk": (
        "openai",
        [STREAM, framed(b"data: [1]\n\n")],
        "hang",
        Fault.BAD_OUTPUT,
    ),
    "an error in the stream": ("openai", [STREAM, framed(WORD + FAILED)], "hang", Fault.OVERLOADED),
    "a named error": ("groq", [STREAM, framed(WORD + NAMED)], "hang", Fault.SERVER),
    "a page": (
        "openai",
        [sized("200 OK", b"<html></html>", "text/html")],
        "close",
        Fault.BAD_OUTPUT,
    ),
    "an answer that is no stream": (
        "openai",
        [sized("200 OK", b'{"choices":[]}')],
        "close",
        Fault.BAD_OUTPUT,
    ),
    "an error that is no stream": (
        "openai",
        [sized("200 OK", b'{"error":{"message":"x","code":429}}')],
        "close",
        Fault.RATE_LIMIT,
    ),
    "a refusal": ("openai", [sized("503 X", b"{}")], "close", Fault.OVERLOADED),
    "a refusal that is cut": (
        "openai",
        [sized("429 X", b'{"err', claimed=99)],
        "close",
        Fault.RATE_LIMIT,
    ),
    "not HTTP": ("openai", [b"SSH-2.0-OpenSSH_9\r\n\r\n"], "close", Fault.CONNECT),
    "broken framing": ("openai", [STREAM, framed(WORD), b"zz\r\n"], "close", Fault.CONNECT),
    "anthropic: a clean end": (
        "anthropic",
        [STREAM, framed(START + TEXT), b"0\r\n\r\n"],
        "close",
        Fault.BAD_OUTPUT,
    ),
    "anthropic: a cut": ("anthropic", [STREAM, framed(START + TEXT)], "close", Fault.CONNECT),
    "anthropic: an error": (
        "anthropic",
        [STREAM, framed(START + TEXT + OVERLOADED)],
        "hang",
        Fault.OVERLOADED,
    ),
    "anthropic: silence": ("anthropic", [STREAM, framed(START)], "hang", Fault.TIMEOUT),
    "anthropic: malformed JSON": (
        "anthropic",
        [STREAM, framed(START + b"data: {oops\n\n")],
        "hang",
        Fault.BAD_OUTPUT,
    ),
    "anthropic: no start": ("anthropic", [STREAM, framed(TEXT)], "hang", Fault.BAD_OUTPUT),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_that_breaks_is_this_fault_and_leaves_nothing_behind(
    bench: Any, transport: httpx.AsyncBaseTransport, name: str
) -> None:
    kind, parts, then, expected = STREAMS[name]
    async with bench.server(writes(bench, *parts, then=then)) as address:
        before = len(asyncio.all_tasks())
        call = bench.chat(stream=True)
        call.idle_us = 100_000 if expected is Fault.TIMEOUT else call.idle_us
        chunks = bench.provider(kind, transport, address).stream(call)
        seen = []
        with pytest.raises(ProviderError) as caught:
            async for chunk in chunks:
                seen.append(chunk)
        assert caught.value.fault is expected
        assert bench.secret not in str(caught.value) and "127.0.0.1" not in str(caught.value)
        assert call.sent
        assert not any(chunk.finish_reason for chunk in seen)
        await settle()
        assert len(asyncio.all_tasks()) <= before + 1  # the server's own connection


COMPLETE = {
    "without done": ("openai", [framed(ROLE + WORD + END), b"0\r\n\r\n"], "close"),
    "cut after the finish": ("openai", [framed(ROLE + WORD + END)], "close"),
    "reset after done": ("openai", [framed(ROLE + WORD + END + DONE)], "reset"),
    "hanging after done": ("openai", [framed(ROLE + WORD + END + DONE)], "hang"),
    "anthropic without stop": ("anthropic", [framed(START + TEXT + STOP), b"0\r\n\r\n"], "close"),
    "anthropic hanging after stop": ("anthropic", [framed(START + TEXT + STOP + STOPPED)], "hang"),
}


@pytest.mark.parametrize("name", COMPLETE)
async def test_after_the_finish_reason_nothing_that_happens_is_an_error(
    bench: Any, transport: httpx.AsyncBaseTransport, name: str
) -> None:
    kind, parts, then = COMPLETE[name]
    async with bench.server(writes(bench, STREAM, *parts, then=then)) as address:
        stream = bench.provider(kind, transport, address).stream(bench.chat(stream=True))
        chunks = await asyncio.wait_for(bench.read(stream), 2)
        assert "".join(c.text for c in chunks) == "w"
        assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]


ANSWERS = {
    "nothing": ([sized("200 OK", b"")], "close", Fault.BAD_OUTPUT, "empty"),
    "a page": ([sized("200 OK", b"<html>", "text/html")], "close", Fault.BAD_OUTPUT, "not a chat"),
    "JSON of another kind": ([sized("200 OK", b'{"a":1}')], "close", Fault.BAD_OUTPUT, "JSON, but"),
    "no choices": ([sized("200 OK", b'{"choices":[]}')], "close", Fault.BAD_OUTPUT, "not a chat"),
    "no message": ([sized("200 OK", b'{"choices":[{}]}')], "close", Fault.BAD_OUTPUT, "not a chat"),
    "half a body": ([sized("200 OK", b'{"ch', claimed=99)], "close", Fault.CONNECT, "broke"),
    "half a body and silence": (
        [sized("200 OK", b'{"ch', claimed=99)],
        "hang",
        Fault.TIMEOUT,
        "silent",
    ),
    "silence": ([], "hang", Fault.TIMEOUT, "silent"),
    "hanging up": ([], "close", Fault.CONNECT, "broke"),
    "an error inside": (
        [sized("200 OK", b'{"error":{"message":"no","code":502}}')],
        "close",
        Fault.SERVER,
        "failed",
    ),
    "a redirect": (
        [b"HTTP/1.1 307 X\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n"],
        "close",
        Fault.BAD_OUTPUT,
        "redirect",
    ),
    "no content": ([b"HTTP/1.1 204 X\r\n\r\n"], "close", Fault.BAD_OUTPUT, "usable"),
    "garbage called gzip": (
        [b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"],
        "close",
        Fault.BAD_OUTPUT,
        "decompressed",
    ),
    "a page that was compressed to nothing": (
        [squeezed(b" " * (MAX_ANSWER_BYTES + 1))],
        "close",
        Fault.BAD_OUTPUT,
        "too long",
    ),
    "compressed twice": (
        [squeezed(gzip.compress(b"{}"), "gzip, gzip")],
        "close",
        Fault.BAD_OUTPUT,
        "decompressed",
    ),
    "gzip that ends early": (
        [squeezed(b"{}", cut=9)],
        "close",
        Fault.BAD_OUTPUT,
        "decompressed",
    ),
    "compressed by nobody knows what": (
        [b"HTTP/1.1 200 X\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}"],
        "close",
        Fault.BAD_OUTPUT,
        "decompressed",
    ),
    "a refusal in a hurry": (
        [sized("413 X", b"<html>", "text/html")],
        "reset",
        Fault.CONTEXT_EXCEEDED,
        "",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_none_is_this_fault(
    bench: Any, transport: httpx.AsyncBaseTransport, name: str
) -> None:
    parts, then, expected, word = ANSWERS[name]
    async with bench.server(writes(bench, *parts, then=then)) as address:
        call = bench.chat()
        call.idle_us = 100_000 if expected is Fault.TIMEOUT else call.idle_us
        with pytest.raises(ProviderError) as caught:
            await bench.provider("openai", transport, address).answer(call)
    assert caught.value.fault is expected and word in caught.value.message
    assert bench.secret not in str(caught.value) and "evil" not in str(caught.value)


async def test_a_refused_connection_is_told_and_nothing_was_sent(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        call = bench.chat()
        with pytest.raises(ProviderError) as caught:
            await bench.provider("openai", transport, address).answer(call)
    assert (caught.value.fault, call.sent) == (Fault.CONNECT, False)
    assert caught.value.message == "the provider refused the connection"


async def test_a_name_that_does_not_resolve_is_told_without_the_name(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    call = bench.chat()
    with pytest.raises(ProviderError) as caught:
        await bench.provider("openai", transport, "http://no.such.host.invalid/v1").answer(call)
    assert (caught.value.fault, call.sent) == (Fault.CONNECT, False)
    assert "invalid" not in caught.value.message


async def test_a_connection_that_nobody_accepts_is_a_timeout(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # until the queue of the kernel is full
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        call = bench.chat()
        call.connect_us = call.idle_us = 100_000
        address = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        with pytest.raises(ProviderError) as caught:
            await bench.provider("openai", transport, address).answer(call)
        for one in waiting:
            one.close()
    assert caught.value.fault is Fault.TIMEOUT
    assert not call.sent


async def test_a_server_that_speaks_no_tls_is_told_before_anything_is_sent(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with bench.server(handler) as address:
        call = bench.chat()
        secure = address.replace("http:", "https:")
        with pytest.raises(ProviderError) as caught:
            await bench.provider("openai", transport, secure).answer(call)
    assert (caught.value.fault, call.sent) == (Fault.CONNECT, False)
    assert "TLS" in caught.value.message


def watched(bench: Any, *parts: bytes) -> tuple[Handler, asyncio.Event, asyncio.Event]:
    """A handler that writes, then waits until the other side hangs up."""
    written, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bench.request_of(reader)
        for part in parts:
            writer.write(part)
        await writer.drain()
        written.set()
        try:
            assert await reader.read() == b""
        finally:
            gone.set()

    return handler, written, gone


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_closing_a_stream_closes_the_upstream_connection(
    bench: Any, transport: httpx.AsyncBaseTransport, kind: str
) -> None:
    first = {"openai": ROLE + WORD, "anthropic": START + TEXT}[kind]
    handler, _, gone = watched(bench, STREAM, framed(first))
    async with bench.server(handler) as address:
        chunks = bench.provider(kind, transport, address).stream(bench.chat(stream=True))
        await anext(chunks)
        await chunks.aclose()
        await asyncio.wait_for(gone.wait(), 2)
        await settle()
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize("parts", [(), (STREAM, framed(ROLE))], ids=["before", "amid"])
async def test_cancelling_closes_the_upstream_connection(
    bench: Any, transport: httpx.AsyncBaseTransport, streamed: bool, parts: tuple[bytes, ...]
) -> None:
    handler, written, gone = watched(bench, *parts)
    async with bench.server(handler) as address:
        provider = bench.provider("openai", transport, address)
        call = bench.chat(stream=streamed)
        work: Awaitable[Any] = (
            bench.read(provider.stream(call)) if streamed else provider.answer(call)
        )
        task = asyncio.ensure_future(work)
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 2)
        assert call.sent
        del task, work
        await settle()
        assert len(asyncio.all_tasks()) == 1


async def test_a_stream_read_to_its_end_leaves_its_connection_for_the_next(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    served: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(0)
        while True:
            await bench.request_of(reader)
            served[-1] += 1
            writer.write(STREAM + framed(ROLE + WORD + END + DONE) + b"0\r\n\r\n")

    async with bench.server(handler) as address:
        provider = bench.provider("openai", transport, address)
        for _ in range(5):
            await bench.read(provider.stream(bench.chat(stream=True)))
    assert served == [5]


async def test_what_leaves_is_one_plain_request(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await bench.request_of(reader))[0])
        writer.write(sized("200 OK", b'{"choices":[{"message":{"content":"x"}}]}'))

    async with bench.server(handler) as address:
        await bench.provider("openai", transport, address).answer(bench.chat())
        host = address.split("/")[2]
    lines = heads[0].decode().lower().split("\r\n")
    assert lines[0] == "post /v1/chat/completions http/1.1"
    assert f"host: {host}" in lines
    assert f"authorization: bearer {bench.secret}" in lines
    assert "accept-encoding: identity" in lines
    names = [line.partition(":")[0] for line in lines[1:] if line]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
async def test_a_refusal_without_end_is_cut_off(
    bench: Any, transport: httpx.AsyncBaseTransport, streamed: bool
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bench.request_of(reader)
        writer.write(b"HTTP/1.1 500 X\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with bench.server(handler) as address:
        provider = bench.provider("openai", transport, address)
        call = bench.chat(stream=streamed)
        with pytest.raises(ProviderError) as caught:
            await (bench.read(provider.stream(call)) if streamed else provider.answer(call))
    assert (caught.value.fault, caught.value.status) == (Fault.SERVER, 500)


async def test_a_refusal_that_never_explains_itself_is_taken_by_its_status(
    bench: Any, transport: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.adapters.upstream._REFUSAL_WAIT_S", 0.05)
    head = b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\n{"
    async with bench.server(writes(bench, head, then="hang")) as address:
        with pytest.raises(ProviderError) as caught:
            await bench.provider("openai", transport, address).answer(bench.chat())
    assert caught.value.fault is Fault.RATE_LIMIT
    assert caught.value.retry_after_us == 7_000_000


@pytest.mark.parametrize("body", [b"data: ", b""], ids=["stream", "answer"])
async def test_an_answer_without_end_is_cut_off(
    bench: Any, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("turnout.adapters.upstream.MAX_ANSWER_BYTES", 1_000_000)
    taken = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 65536
                yield body + b"x" * 65536

    made = httpx.MockTransport(lambda request: httpx.Response(200, stream=Endless()))
    provider = bench.provider("openai", made)
    with pytest.raises(ProviderError) as caught:
        await (
            bench.read(provider.stream(bench.chat(stream=True)))
            if body
            else provider.answer(bench.chat())
        )
    assert caught.value.fault is Fault.BAD_OUTPUT and "too long" in caught.value.message
    assert taken < 20_000_000


async def test_a_broken_stream_still_tells_what_was_used(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    used = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"w"}}],"usage":{"prompt_tokens":4,"completion_tokens":1}}\n\n'  # noqa: E501
    async with bench.server(writes(bench, STREAM, framed(used))) as address:
        with pytest.raises(ProviderError) as caught:
            await bench.read(
                bench.provider("openai", transport, address).stream(bench.chat(stream=True))
            )
    assert caught.value.usage is not None
    assert (caught.value.usage.input, caught.value.usage.output) == (4, 1)


async def test_many_streams_at_once_do_not_mix(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await bench.request_of(reader)
            word = body.partition(b'"user":"')[2].partition(b'"')[0]
            writer.write(STREAM + framed(ROLE))
            for _ in range(5):
                writer.write(framed(WORD.replace(b'"w"', b'"%s"' % word)))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(framed(END + DONE) + b"0\r\n\r\n")

    async with bench.server(handler) as address:
        provider = bench.provider("openai", transport, address)

        async def one(number: int) -> str:
            chunks = await bench.read(provider.stream(bench.chat(stream=True, user=f"u{number}")))
            return "".join(chunk.text for chunk in chunks)

        texts = await asyncio.gather(*(one(number) for number in range(30)))
    assert texts == [f"u{number}" * 5 for number in range(30)]


async def test_a_compressed_answer_is_read_though_nobody_asked_for_it(
    bench: Any, transport: httpx.AsyncBaseTransport
) -> None:
    body = orjson.dumps(
        {"choices": [{"message": {"role": "assistant", "content": "ü" * 3_000_000}}]}
    )
    async with bench.server(writes(bench, squeezed(body))) as address:
        answer = await bench.provider("openai", transport, address).answer(bench.chat())
    assert answer.text == "ü" * 3_000_000
