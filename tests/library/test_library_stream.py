"""A stream in process is closed by whoever may: while it is read, twice, by letting go of it."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from turnout.engine.request import StreamReply
from turnout.library.completion import Account, CompletionError, CompletionStream

EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}'


class Upstream:
    """Events of which the second one never comes; `ended` says how often that was noticed."""

    def __init__(self) -> None:
        self.ended = 0
        self.left = 0
        self.dropped: list[AsyncGenerator[bytes, None]] = []
        headers = {"x-turnout-policy": "sha256:a", "x-turnout-model": "a/b"}
        reply = StreamReply(200, headers, self._events(), native=False)
        self.stream = CompletionStream(reply, Account("req_1"), self._on_end, self.dropped.append)

    def _on_end(self) -> None:
        self.left += 1

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            yield EVENT
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as where a connection is closed
            self.ended += 1


async def reading(upstream: Upstream) -> "asyncio.Task[list[object]]":
    async def read() -> list[object]:
        return [chunk async for chunk in upstream.stream]

    task = asyncio.create_task(read())
    while upstream.stream.text == "" or upstream.stream._reader is None:
        await asyncio.sleep(0)
    return task


async def test_another_task_may_close_a_stream_that_is_read() -> None:
    upstream = Upstream()
    task = await reading(upstream)
    await asyncio.gather(upstream.stream.aclose(), upstream.stream.aclose())
    with pytest.raises(CompletionError, match="closed while it was read") as caught:
        await task
    assert caught.value.code == "stream_closed"
    assert (upstream.ended, upstream.left) == (1, 1)
    assert [chunk async for chunk in upstream.stream] == []


async def test_who_is_cancelled_while_it_reads_is_cancelled() -> None:
    upstream = Upstream()
    task = await reading(upstream)
    task.cancel()
    await upstream.stream.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (upstream.ended, upstream.left) == (1, 1)


async def test_two_tasks_cannot_read_one_stream() -> None:
    upstream = Upstream()
    task = await reading(upstream)
    with pytest.raises(RuntimeError, match="another task waits"):
        await anext(upstream.stream)
    assert upstream.left == 0  # the first one goes on
    await upstream.stream.aclose()
    await asyncio.wait([task], timeout=timedelta(seconds=5).total_seconds())
    assert task.done() and task.exception() is not None


async def test_what_nobody_holds_is_handed_on_to_be_closed() -> None:
    upstream = Upstream()
    await anext(upstream.stream)
    del upstream.stream
    gc.collect()
    await asyncio.sleep(0)
    assert (upstream.left, len(upstream.dropped)) == (1, 1)
    await upstream.dropped[0].aclose()
