"""An upstream connection is let go of even if closing it is cancelled half way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from turnout.adapters import build

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'


class SlowToClose(httpx.AsyncByteStream):
    """A body that goes on, and takes several turns of the loop to close."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield EVENT
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        self.closed.set()


class OneAnswer(httpx.AsyncBaseTransport):
    def __init__(self, body: SlowToClose) -> None:
        self._body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            pass
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self._body)


@pytest.mark.parametrize("turns", range(8))
async def test_a_close_that_is_cancelled_goes_on(bench: Any, turns: int) -> None:
    body = SlowToClose()
    provider = build("openai", None, None, {}, "key", OneAnswer(body))
    chunks = provider.stream(bench.chat(stream=True))
    await anext(chunks)
    closing = asyncio.create_task(chunks.aclose())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    if turns == 0:
        # Cancelled before it began: nothing was closed, and the generator is still there to be.
        await chunks.aclose()
    async with asyncio.timeout(1):
        await body.closed.wait()
    assert body.closed.is_set()
