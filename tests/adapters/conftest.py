import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import build, pooled
from turnout.engine.provider import Call, Chunk, Provider
from turnout.engine.request import Caller, Operation, Request

GOLDEN = Path(__file__).parent / "golden"
SECRET = "sk-canary-0123456789abcdef"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    """What every test of the adapters needs: calls, golden files, providers, raw servers."""

    secret = SECRET
    golden = GOLDEN

    @staticmethod
    def call(
        body: Mapping[str, Any] | bytes,
        *,
        embeddings: bool = False,
        max_output: int | None = 8192,
        idle_us: int = 5_000_000,
        connect_us: int = 2_000_000,
    ) -> Call:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        parsed = orjson.loads(raw)
        request = Request(
            id="req_1",
            operation=Operation.EMBEDDINGS if embeddings else Operation.CHAT,
            body=parsed,
            raw=raw,
            model=str(parsed.get("model")),
            stream=bool(parsed.get("stream")),
            caller=Caller(),
            headers={},
            received_us=1_755_000_000_000_000,
            started_ns=0,
        )
        return Call(request, "upstream-model", "gpt-4", max_output, connect_us, idle_us)

    @classmethod
    def chat(cls, *, stream: bool = False, asked: bool = False, **members: Any) -> Call:
        body: dict[str, Any] = {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "hi"}],
            **members,
        }
        if stream:
            body["stream"] = True
        if asked:
            body["stream_options"] = {"include_usage": True}
        return cls.call(body)

    @staticmethod
    def provider(
        kind: str, transport: httpx.AsyncBaseTransport, base_url: str | None = None
    ) -> Provider:
        return build(kind, kind, base_url, {}, SECRET, transport)

    @classmethod
    def answering(
        cls,
        kind: str,
        body: bytes | str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        seen: list[httpx.Request] | None = None,
        base_url: str | None = None,
    ) -> Provider:
        """A provider of this kind whose upstream gives this one answer, without a socket."""

        def answer(request: httpx.Request) -> httpx.Response:
            if seen is not None:
                seen.append(request)
            return httpx.Response(status, headers=headers, content=body)

        return cls.provider(kind, httpx.MockTransport(answer), base_url)

    @staticmethod
    async def read(chunks: AsyncIterator[Chunk]) -> list[Chunk]:
        return [chunk async for chunk in chunks]

    @staticmethod
    def check(path: Path, actual: bytes) -> None:
        """Compare with a golden file; `WRITE_GOLDEN=1` writes it instead (read the diff then)."""
        if os.environ.get("WRITE_GOLDEN"):
            path.write_bytes(actual)
        assert actual == path.read_bytes(), path.name

    @staticmethod
    @asynccontextmanager
    async def server(handler: Handler) -> AsyncIterator[str]:
        """A raw server on loopback; its address as a `base_url`."""
        connections: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    @staticmethod
    async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """Head and body of one HTTP request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return head, await reader.readexactly(length)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def transport() -> AsyncIterator[httpx.AsyncBaseTransport]:
    made = pooled()
    yield made
    await made.aclose()
