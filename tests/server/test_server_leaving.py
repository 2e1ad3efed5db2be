"""Clients that leave, at every phase: the gateway is told, and the server is none the worse."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from turnout.engine.request import Reply, Request, StreamReply
from turnout.settings import Limits

CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}
EVENT = b'data: {"choices":[]}\n\n'


def post(body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)
    )


async def wait_for(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pad", [0, 70_000, 500_000])
async def test_leaving_before_the_headers_cancels_the_request(
    serve: Any, stub_gateway: Any, stream: bool, pad: int
) -> None:
    """Also after a body so large that the server had stopped reading for a while."""

    async def never(request: Request) -> Any:
        await asyncio.Event().wait()

    async with serve(stub_gateway(never)) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(post(CHAT | {"stream": stream, "pad": "x" * pad}))
        await wait_for(served.gateway.entered)
        writer.close()
        await wait_for(served.gateway.left)
        await assert_well(served)


class Watched:
    """A stream that says where it was when it ended."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.sent = 0
        self.ended = asyncio.Event()

    async def __call__(self, request: Request) -> StreamReply:
        return StreamReply(200, {}, self.chunks())

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(self.events):
                yield EVENT
                self.sent += 1
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.mark.parametrize("events", [1, 3])
async def test_leaving_a_stream_ends_its_generator(
    serve: Any, stub_gateway: Any, events: int
) -> None:
    watched = Watched(events)
    async with serve(stub_gateway(watched)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(post(CHAT | {"stream": True}))
        for _ in range(events):
            await asyncio.wait_for(reader.readuntil(EVENT), 5)
        assert b"turnout_open_streams 1.0" in served.app.ctx.metrics.render()
        writer.close()
        await wait_for(watched.ended)
        assert watched.sent == events
        await assert_well(served)
        assert b"turnout_open_streams 0.0" in served.app.ctx.metrics.render()


async def test_leaving_while_the_server_writes_ends_the_generator(
    serve: Any, stub_gateway: Any
) -> None:
    """The client stops reading, the server's buffers fill, and then the client is gone."""
    watched = Watched(10_000_000)
    async with serve(stub_gateway(watched)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(post(CHAT | {"stream": True}))
        await asyncio.wait_for(reader.readuntil(EVENT), 5)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            before = watched.sent
            await asyncio.sleep(0.05)
            if watched.sent == before:
                break
        assert watched.sent < 1_000_000
        writer.transport.abort()
        await wait_for(watched.ended)
        await assert_well(served)


async def test_a_client_that_stops_reading_is_given_up(serve: Any, stub_gateway: Any) -> None:
    watched = Watched(10_000_000)
    async with serve(stub_gateway(watched), limits=Limits(stall_us=200_000)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(post(CHAT | {"stream": True}))
        await asyncio.wait_for(reader.readuntil(EVENT), 5)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wait_for(watched.ended)
        await assert_well(served)
        writer.transport.abort()


async def test_a_stream_that_is_read_to_its_end_is_closed_too(
    serve: Any, stub_gateway: Any
) -> None:
    closed: list[str] = []

    class Closing:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> "Closing":
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return EVENT

        async def aclose(self) -> None:
            closed.append("closed")

    async def answer(request: Request) -> Any:
        return StreamReply(200, {}, Closing())  # type: ignore[arg-type]

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        response = await client.post(
            f"{served.url}/v1/chat/completions", json=CHAT | {"stream": True}
        )
    assert response.content == EVENT * 2 + b"data: [DONE]\n\n"
    assert closed == ["closed"]


async def test_leaving_before_the_body_is_complete_reaches_nobody(served: Any) -> None:
    for sent in (post(CHAT)[:-10], post(CHAT)[:30], b"P", b""):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(sent)
        await writer.drain()
        writer.close()
    await assert_well(served)
    assert served.gateway.requests == []


async def test_leaving_is_not_an_error_of_ours(
    serve: Any, stub_gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(request: Request) -> Any:
        await asyncio.Event().wait()

    async def answered(request: Request) -> Any:
        return Reply(200, b"{}")

    async with serve(stub_gateway(never)) as served:
        for cut in (10, 100, None):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(post(CHAT)[:cut])
            await writer.drain()
            if cut is None:
                await wait_for(served.gateway.entered)
            writer.transport.abort()
        await wait_for(served.gateway.left)
        served.gateway.answer = answered
        await assert_well(served)
    assert [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


async def assert_well(served: Any) -> None:
    """The server still answers, and holds no connection but the one that asks."""
    async with httpx.AsyncClient(base_url=served.url) as client:
        for _ in range(250):
            assert (await client.get("/health")).status_code == 200
            if len(served.server.connections) <= 1:
                return
            await asyncio.sleep(0.02)
    raise AssertionError(f"{len(served.server.connections)} connections are held")
