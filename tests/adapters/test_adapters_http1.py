"""The lean transport against a server that writes whatever bytes a test wants."""

import asyncio
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.adapters.http1 import Http1Transport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bytes(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class Bench:
    """A server on a free port and a transport to it."""

    def __init__(self) -> None:
        self.transport = Http1Transport(ssl.create_default_context())
        self.requests: list[bytes] = []
        self.accepted = 0
        self.gone = 0
        self._servers: list[asyncio.Server] = []

    async def serve(self, handle: Handler, **tls: Any) -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            try:
                await handle(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                self.gone += 1
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, **tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request

    async def ask(self, port: int, body: bytes = b"{}", **timeout: float) -> httpx.Response:
        request = httpx.Request(
            "POST",
            f"http://127.0.0.1:{port}/v1/x",
            headers=[(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())],
            stream=Bytes(body),
            extensions={"timeout": {"connect": 5.0, "read": 5.0} | timeout},
        )
        return await self.transport.handle_async_request(request)

    async def whole(self, port: int, **timeout: float) -> tuple[int, bytes]:
        response = await self.ask(port, b"{}", **timeout)
        try:
            return response.status_code, await response.aread()
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self.transport.aclose()
        for server in self._servers:
            server.close()


@pytest.fixture
async def http() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


def always(bench: Bench, *answers: bytes, pause_s: float = 0.0) -> Handler:
    """Answer every request of a connection with these pieces, one write each."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await bench.read(reader)
            for answer in answers:
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(pause_s)

    return handle


def once(bench: Bench, *answers: bytes) -> Handler:
    """Answer one request and close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bench.read(reader)
        writer.write(b"".join(answers))
        await writer.drain()

    return handle


PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\ntrailer: 1\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + PLAIN
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED, INTERIM], ids=["length", "chunks", "interim"])
async def test_an_answer_is_read_wherever_its_bytes_are_split(http: Bench, answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(1, len(answer)):
            await http.read(reader)
            writer.write(answer[:at])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(answer[at:])

    port = await http.serve(handle)
    for _ in range(1, len(answer)):
        assert await http.whole(port) == (200, b"hello")
    assert http.accepted == 1


async def test_the_request_leaves_as_it_was_built(http: Bench) -> None:
    port = await http.serve(always(http, PLAIN))
    response = await http.ask(port, b'{"a":1}')
    await response.aclose()
    assert http.requests == [
        b'POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ]


async def test_a_body_may_end_with_the_connection(http: Bench) -> None:
    port = await http.serve(once(http, UNTIL_CLOSE))
    assert await http.whole(port) == (200, b"hello")
    assert await http.whole(port) == (200, b"hello")
    assert http.accepted == 2


async def test_connections_are_used_again_the_youngest_first(http: Bench) -> None:
    port = await http.serve(always(http, PLAIN))
    both = [await http.ask(port), await http.ask(port)]
    for response in both:
        await response.aread()
        await response.aclose()
    for _ in range(5):
        await http.whole(port)
    assert http.accepted == 2


async def test_a_connection_that_says_close_is_not_used_again(http: Bench) -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
    port = await http.serve(always(http, answer))
    await http.whole(port)
    await http.whole(port)
    assert http.accepted == 2


async def test_an_idle_connection_that_the_provider_closed_is_not_used_again(http: Bench) -> None:
    port = await http.serve(once(http, PLAIN))
    for number in range(3):
        assert await http.whole(port) == (200, b"hello")
        while http.gone <= number:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
    assert http.accepted == 3


async def test_more_bytes_than_announced_spoil_the_connection_not_the_answer(http: Bench) -> None:
    port = await http.serve(always(http, PLAIN + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    assert await http.whole(port) == (200, b"hello")
    assert await http.whole(port) == (200, b"hello")
    assert http.accepted == 2


BROKEN = [
    (b"", httpx.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\ncontent-le", httpx.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", httpx.RemoteProtocolError),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
        httpx.RemoteProtocolError,
    ),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
    (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError),
    (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        httpx.RemoteProtocolError,
    ),
    (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        httpx.TransportError,
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + PLAIN, httpx.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n", httpx.RemoteProtocolError),
]


@pytest.mark.parametrize(("answer", "error"), BROKEN)
async def test_what_is_no_answer_is_an_error_of_the_transport(
    http: Bench, answer: bytes, error: type[Exception]
) -> None:
    port = await http.serve(once(http, answer))
    with pytest.raises(error):
        await http.whole(port)


async def test_a_reset_is_an_error_even_where_the_end_would_end_the_body(http: Bench) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await http.read(reader)
        writer.write(UNTIL_CLOSE)
        await writer.drain()
        await asyncio.sleep(0.02)
        lingering = writer.get_extra_info("socket")
        lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    port = await http.serve(handle)
    with pytest.raises(httpx.ReadError):
        await http.whole(port)


async def test_a_refused_connection_is_a_connect_error(http: Bench) -> None:
    port = await http.serve(once(http, PLAIN))
    await http.close()
    http.transport = Http1Transport(ssl.create_default_context())
    with pytest.raises(httpx.ConnectError) as caught:
        await http.whole(port)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_silent_provider_is_a_read_timeout_and_the_connection_is_gone(http: Bench) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await http.read(reader)
        writer.write(PLAIN[:-2])
        await reader.read()

    port = await http.serve(handle)
    with pytest.raises(httpx.ReadTimeout):
        await http.whole(port, read=0.05)
    while http.gone == 0:
        await asyncio.sleep(0.001)


async def test_pieces_that_keep_coming_are_no_timeout(http: Bench) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
    port = await http.serve(always(http, head, *[b"x"] * 10, pause_s=0.03))
    assert await http.whole(port, read=0.1) == (200, b"x" * 10)


async def test_a_slow_reader_is_no_timeout_and_holds_the_provider_back(http: Bench) -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await http.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(1024):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    port = await http.serve(handle)
    response = await http.ask(port, read=0.2)
    await asyncio.sleep(0.5)
    # What the sockets and both buffers hold, and no more.
    assert sent < 32 << 20
    got = 0
    async for piece in response.stream:  # type: ignore[union-attr]
        got += len(piece)
    await response.aclose()
    assert got == 64 << 20


async def test_leaving_an_answer_unread_closes_its_connection(http: Bench) -> None:
    port = await http.serve(always(http, PLAIN[:-1], pause_s=0.01))
    response = await http.ask(port)
    await response.aclose()
    while http.gone == 0:
        await asyncio.sleep(0.001)
    assert http.transport._open == set()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_request_leaves_no_connection_behind(http: Bench, turns: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    port = await http.serve(handle)
    task = asyncio.create_task(http.whole(port))
    for _ in range(turns):
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while http.gone < http.accepted or http.transport._open:
        await asyncio.sleep(0.001)


async def test_many_at_once_each_get_their_own_answer(http: Bench) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = (await http.read(reader)).partition(b"\r\n\r\n")[2]
            await asyncio.sleep(0.001)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    port = await http.serve(handle)

    async def one(number: int) -> bool:
        body = b"%d" % number
        response = await http.ask(port, body)
        try:
            return await response.aread() == body
        finally:
            await response.aclose()

    assert all(await asyncio.gather(*(one(number) for number in range(300))))
    assert len(http.transport._idle[(False, "127.0.0.1", port)]) <= 100


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    http: Bench, tmp_path: Path
) -> None:
    files = [str(tmp_path / name) for name in ("key.pem", "certificate.pem")]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", files[0], "-out", files[1]),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files[1], files[0])
    port = await http.serve(always(http, PLAIN), ssl=context)

    async def ask(transport: Http1Transport, host: str = "localhost") -> int:
        request = httpx.Request(
            "POST",
            f"https://{host}:{port}/",
            headers=[(b"host", host.encode()), (b"content-length", b"2")],
            stream=Bytes(b"{}"),
            extensions={"timeout": {"connect": 5.0, "read": 5.0}},
        )
        response = await transport.handle_async_request(request)
        await response.aread()
        await response.aclose()
        return response.status_code

    with pytest.raises(httpx.ConnectError) as caught:
        await ask(http.transport)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    trusting = Http1Transport(ssl.create_default_context(cafile=files[1]))
    assert await ask(trusting) == 200
    assert await ask(trusting) == 200
    # The refused handshake was none; the other two requests shared a connection.
    assert http.accepted == 1
    # Another name than the certificate's.
    with pytest.raises(httpx.ConnectError):
        await ask(trusting, "127.0.0.1")
    await trusting.aclose()
