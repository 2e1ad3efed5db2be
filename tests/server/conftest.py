"""A gateway that only pretends, behind the real server on a real socket."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvloop
from sanic import Sanic

from turnout.engine.audit import Audit, Unheard
from turnout.engine.cache_terms import document
from turnout.engine.cached import Invalidation
from turnout.engine.draw import Draw
from turnout.engine.keyring import Keyring, NoKeys
from turnout.engine.metrics import Metrics
from turnout.engine.offered import Asking
from turnout.engine.request import Caller, Reply, Request, RequestError, StreamReply
from turnout.engine.seats import Boundless, Leave, Seats
from turnout.engine.tenants import Tenants
from turnout.server.app import App, create_app
from turnout.server.stop import Stop
from turnout.server.worker import drain, open_server
from turnout.settings import Limits, Settings

Answer = Callable[[Request], Awaitable[Reply | StreamReply]]

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
HEADERS = {"x-turnout-model": "openai/gpt-4", "x-turnout-rule": "default"}


def chunk_of(text: str, finish: str | None = None) -> bytes:
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
    }
    return b"data: %b\n\n" % orjson.dumps(value)


async def answer_plainly(request: Request) -> Reply | StreamReply:
    if not request.stream:
        return Reply(200, orjson.dumps(COMPLETION), dict(HEADERS))

    async def events() -> AsyncGenerator[bytes, None]:
        yield chunk_of("hel")
        yield chunk_of("lo", "stop")

    return StreamReply(200, dict(HEADERS), events())


@dataclass
class StubGateway:
    """Remembers what reached it; `answer` says what it does with a chat request."""

    answer: Answer = answer_plainly
    requests: list[Request] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    seats: Seats = field(default_factory=Boundless)
    most: int = 1  # seats of a tenant
    started: int = 0
    closed: int = 0
    ready: bool = False
    digest: str = "sha256:" + "0" * 64
    providers: Mapping[str, bool] = field(default_factory=lambda: {"openai": True})
    missing: Mapping[str, str] = field(default_factory=dict)
    keys: Keyring = field(default_factory=lambda: Keyring(NoKeys()))
    audit: Audit = field(default_factory=Unheard)
    refuses: str | None = None
    tenants: Tenants | None = None
    invalidated: list[tuple[Invalidation, str, str]] = field(default_factory=list)

    async def start(self) -> None:
        self.started += 1
        self.ready = True

    def look_again(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1
        self.ready = False

    async def generate(self, request: Request) -> Reply | StreamReply:
        self.requests.append(request)
        self.entered.set()
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def seat(self, tenant: str, patience_s: float) -> Leave | None:
        return await self.seats.take(tenant, self.most, patience_s)

    def seats_of(self, tenant: str) -> int | None:
        return self.most

    async def draw(self, caller: Caller) -> Draw | None:
        return None

    async def count(self, request: Request) -> Reply:
        self.requests.append(request)
        return Reply(200, b'{"input_tokens":7}', dict(HEADERS))

    async def embeddings(self, request: Request) -> Reply:
        self.requests.append(request)
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        value = {"object": "list", "data": data, "model": request.model, "usage": usage}
        return Reply(200, orjson.dumps(value), dict(HEADERS))

    def models(self, asking: Asking) -> list[dict[str, Any]]:
        return [self.model("gpt-4", asking), self.model("groq/llama-3:8b", asking)]

    def model(self, name: str, asking: Asking) -> dict[str, Any]:
        if name not in ("gpt-4", "groq/llama-3:8b", "a b/ü"):
            raise RequestError(
                404, "invalid_request_error", "model_not_found", f"no model `{name}`"
            )
        return {"id": name, "object": "model", "created": 0, "owned_by": "openai"}

    async def explain(self, request: Request) -> dict[str, Any]:
        self.requests.append(request)
        return {"rule": "default", "route": "openai/gpt-4", "trail": []}

    async def trace(
        self,
        request_id: str,
        tenant: str | None,
        team: str | None = None,
        user: str | None = None,
        *,
        of_strangers: bool = False,
    ) -> dict[str, Any]:
        if request_id != "req_known":
            raise RequestError(
                404, "invalid_request_error", "trace_not_found", f"no trace `{request_id}`"
            )
        return {"id": request_id, "tenant": tenant}

    async def budgets(self, caller: Caller) -> dict[str, Any]:
        return {"object": "budgets", "tenant": caller.tenant, "budgets": []}

    async def all_budgets(self, tenant: str | None) -> dict[str, Any]:
        return {"object": "budgets", "tenant": tenant or "*", "budgets": []}

    async def costs(self, asked: Mapping[str, str]) -> dict[str, Any]:
        return {"object": "costs", "asked": dict(asked)}

    async def invalidate(self, which: Invalidation, pattern: str, actor: str) -> int | None:
        self.invalidated.append((which, pattern, actor))
        return 3

    async def shelved(self, tenant: str | None) -> dict[str, Any]:
        return document([], tenant)

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "gateway": {"uptime": 1, "models": 2, "latency_ms": None}}


@dataclass
class Served:
    app: App
    gateway: StubGateway
    server: Any
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, sent: bytes) -> bytes:
        """What comes back until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()

    async def drain(self, bound_s: float) -> None:
        await drain(self.app, self.server, bound_s, Stop())


Serve = Callable[..., AbstractAsyncContextManager[Served]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests of the server run on the loop of production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def several_apps_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sanic, "test_mode", True)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def opened(
        gateway: StubGateway | None = None, limits: Limits | None = None, **settings: Any
    ) -> AsyncIterator[Served]:
        stub = gateway or StubGateway()
        chosen = Settings(home=tmp_path, limits=limits or Limits(), **settings)
        app = create_app(chosen, lambda _: stub, Metrics())
        # Sanic takes port 0 for its own default.
        server = await open_server(app, sock=socket.create_server(("127.0.0.1", 0)))
        port = server.server.sockets[0].getsockname()[1]
        try:
            yield Served(app, stub, server, port)
        finally:
            await drain(app, server, 0, Stop())
            await server.after_stop()

    return opened


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve() as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url) as opened:
        yield opened


@pytest.fixture
def stub_gateway() -> type[StubGateway]:
    return StubGateway
