"""The webhook over real sockets: what it sends, and what a hostile one can make it do."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from turnout.adapters import Webhook, webhook

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Serve) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server's address, and the whole requests that reached it."""
    seen: list[bytes] = []
    open_ones: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            seen.append(head + await reader.readexactly(length))
            await answer(seen[-1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            open_ones.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/hook/s3cret-token", seen
    finally:
        for task in open_ones:
            task.cancel()
        server.close()


def saying(status: str, *headers: str) -> Serve:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", "content-length: 0", "connection: close", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()

    return answer


async def test_a_message_is_posted_as_json_and_signed() -> None:
    async with listening(saying("204 No Content")) as (url, seen):
        hook = Webhook(url, "hush")
        assert await hook.send(b'{"text":"x"}') is None
        await hook.close()
    (request,) = seen
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook/s3cret-token HTTP/1.1")
    assert body == b'{"text":"x"}'
    signed = hmac.new(b"hush", body, hashlib.sha256).hexdigest().encode()
    assert b"x-turnout-signature: sha256=" + signed in head.lower()
    assert b"application/json" in head and b"hush" not in head


async def test_without_a_secret_nothing_is_signed() -> None:
    async with listening(saying("200 OK")) as (url, seen):
        hook = Webhook(url)
        assert await hook.send(b"{}") is None
        await hook.close()
    assert b"signature" not in seen[0].lower()


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 X", "503 X"])
async def test_a_refusal_is_told_by_its_status(status: str) -> None:
    async with listening(saying(status)) as (url, _):
        hook = Webhook(url)
        assert await hook.send(b"{}") == f"it answers with status {status[:3]}"
        await hook.close()


@pytest.mark.parametrize("status", ["301 X", "302 X", "307 X", "308 X"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with listening(saying("200 OK")) as (elsewhere, reached):
        async with listening(saying(status, f"location: {elsewhere}")) as (url, _):
            hook = Webhook(url)
            told = await hook.send(b"{}")
            await hook.close()
        assert told is not None and "redirects are not followed" in told
        assert reached == []


async def test_one_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PATIENCE_S", 0.2)

    async def silent(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(silent) as (url, _):
        hook = Webhook(url)
        told = await hook.send(b"{}")
        await hook.close()
    assert told is not None and ("no answer" in told or "failed" in told)


async def test_one_that_trickles_its_headers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PATIENCE_S", 0.3)

    async def trickling(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(trickling) as (url, _):
        hook = Webhook(url)
        assert await hook.send(b"{}") is not None
        await hook.close()


async def test_of_a_huge_answer_no_more_is_read_than_its_status() -> None:
    sent = 0

    async def huge(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with listening(huge) as (url, _):
        hook = Webhook(url)
        async with asyncio.timeout(5):
            assert await hook.send(b"{}") is None
        await hook.close()
    assert sent < 100_000_000


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"\0" * 100_000]
)
async def test_one_that_speaks_no_http_is_told_without_its_address(answer: bytes) -> None:
    async def speaking(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with listening(speaking) as (url, _):
        hook = Webhook(url)
        told = await hook.send(b"{}")
        await hook.close()
    assert told is not None
    assert "s3cret" not in told and "127.0.0.1" not in told


async def test_one_that_is_not_there_is_told_without_its_address() -> None:
    async with listening(saying("200 OK")) as (url, _):
        pass
    hook = Webhook(url)
    told = await hook.send(b"{}")
    await hook.close()
    assert told is not None and "s3cret" not in told and "127.0.0.1" not in told


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/s3cret",
        "http://127.0.0.1.example.com/s3cret",
        "ftp://127.0.0.1/s3cret",
        "https:///s3cret",
        "https://user:s3cret@hooks.example.com/",
        "file:///etc/passwd",
        "s3cret",
        "http://[::1/s3cret",
        "",
    ],
)
def test_an_address_that_may_not_be_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        Webhook(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/x", "http://localhost:9/x", "http://[::1]:9/x"]
)
def test_https_anywhere_and_http_on_this_machine_may_be(url: str) -> None:
    assert "hooks" not in repr(Webhook(url, "hush")) and "hush" not in repr(Webhook(url, "hush"))
