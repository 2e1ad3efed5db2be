"""How many requests are under way at a time: of a worker, of a tenant, and what the others get."""

import asyncio
import json
import logging
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.engine.request import Reply, Request, RequestError, StreamReply
from turnout.engine.seats import Leave, all_taken
from turnout.engine.state.seats import LockedSeats
from turnout.server import refusals
from turnout.server.admission import Admission, capacity
from turnout.server.app import ROUTES
from turnout.server.refusals import Refusals
from turnout.settings import Limits

HI = {"role": "user", "content": "hi"}
CHAT = {"model": "gpt-4", "messages": [HI]}
JSON = {"content-type": "application/json"}

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "gpt-4", "prompt": "hi"},
    "/v1/responses": {"model": "gpt-4", "input": "hi"},
    "/v1/messages": CHAT | {"max_tokens": 10},
    "/v1/messages/count_tokens": CHAT,
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/v1/explain": CHAT,
}
FULL = Limits(concurrency=1, queue=0)


class Held:
    """What a gateway answers once it is let go; `whole` or the end of a stream."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, request: Request) -> Reply | StreamReply:
        if request.stream:
            return StreamReply(200, {}, self.events())
        await self.release.wait()
        return Reply(200, b"{}")

    async def events(self) -> Any:
        yield b"data: {}\n\n"
        await self.release.wait()


async def under_way(served: Any, number: int) -> None:
    while served.app.ctx.admission.under_way != number:
        await asyncio.sleep(0.005)


def counted(served: Any, reason: str) -> float:
    text = served.app.ctx.metrics.render().decode()
    found = re.search(rf'turnout_refused_total{{reason="{reason}"}} (\S+)', text)
    return float(found.group(1)) if found else 0


def test_every_route_that_takes_a_body_is_in_the_table_of_admission() -> None:
    taken = {route.path for route in ROUTES if route.method == "POST"}
    # Where operators set something right, there is always room.
    asked = {path for path in taken if not path.startswith(("/v1/admin/", "/v1/cache/"))}
    assert asked == set(BODIES)


@pytest.mark.parametrize("path", BODIES)
async def test_beyond_the_limit_a_request_is_told_when_to_come_back(
    serve: Any, stub_gateway: Any, path: str
) -> None:
    held = Held()
    async with (
        serve(stub_gateway(held), limits=FULL) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await under_way(served, 1)
        refused = await client.post(path, json=BODIES[path])
        assert len(served.gateway.requests) == 1
        held.release.set()
        assert (await first).status_code == 200
        assert (await client.post(path, json=BODIES[path])).status_code == 200
        assert counted(served, "worker_full") == 1
    assert refused.status_code == 503
    error = refused.json()["error"]
    if path.startswith("/v1/messages"):
        assert error["type"] == "overloaded_error"
    else:
        assert (error["code"], error["type"]) == ("overloaded", "service_unavailable_error")
    assert refused.headers["x-should-retry"] == "true"
    assert 500 <= int(refused.headers["retry-after-ms"]) <= 1_500
    assert refused.headers["retry-after"] in ("1", "2")
    assert refused.headers["connection"] == "keep-alive"
    assert refused.headers["x-request-id"].startswith("req_")


async def test_what_operators_ask_is_never_turned_away(serve: Any, stub_gateway: Any) -> None:
    held = Held()
    async with (
        serve(stub_gateway(held), limits=FULL) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await under_way(served, 1)
        for path in ("/health", "/ready", "/metrics", "/v1/models", "/v1/traces/req_known"):
            assert (await client.get(path)).status_code == 200, path
        health = (await client.get("/health")).json()
        held.release.set()
        await first
    assert health["requests"] == {"under_way": 1, "waiting": 0, "most": 1}
    assert health["connections"]["open"] == 2
    assert health["connections"]["most"] == capacity(FULL).connections


async def test_a_stream_holds_its_place_until_it_ends(serve: Any, stub_gateway: Any) -> None:
    held = Held()
    async with (
        serve(stub_gateway(held), limits=FULL) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        async with client.stream(
            "POST", "/v1/chat/completions", json=CHAT | {"stream": True}
        ) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
            held.release.set()
            async for _ in lines:
                pass
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_a_client_that_leaves_its_stream_leaves_its_place(
    serve: Any, stub_gateway: Any
) -> None:
    held = Held()
    async with serve(stub_gateway(held), limits=FULL) as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            streaming = client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True})
            async with streaming:
                await under_way(served, 1)
        await under_way(served, 0)


async def test_the_queue_is_short_and_in_order(serve: Any, stub_gateway: Any) -> None:
    held = Held()
    limits = Limits(concurrency=1, queue=2, queue_us=20_000_000)
    async with (
        serve(stub_gateway(held), limits=limits) as served,
        httpx.AsyncClient(base_url=served.url, timeout=20) as client,
    ):
        asked = []
        for number in range(3):
            body = CHAT | {"user": str(number)}
            asked.append(asyncio.create_task(client.post("/v1/chat/completions", json=body)))
            while served.app.ctx.admission.waiting != number:
                await asyncio.sleep(0.005)
            await under_way(served, 1)
        refused = await client.post("/v1/chat/completions", json=CHAT)
        held.release.set()
        answers = await asyncio.gather(*asked)
        users = [request.body["user"] for request in served.gateway.requests]
    assert refused.status_code == 503
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert users == ["0", "1", "2"]


async def test_who_waits_too_long_is_turned_away(serve: Any, stub_gateway: Any) -> None:
    held = Held()
    limits = Limits(concurrency=1, queue=5, queue_us=50_000)
    async with (
        serve(stub_gateway(held), limits=limits) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await under_way(served, 1)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
        assert served.app.ctx.admission.waiting == 0
        held.release.set()
        assert (await first).status_code == 200


async def test_a_refused_request_costs_no_reading_of_its_body(
    serve: Any, stub_gateway: Any
) -> None:
    held = Held()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
    )
    async with serve(stub_gateway(held), limits=FULL) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        raw = json.dumps(CHAT).encode()
        writer.write(head % (len(raw), b"") + raw)
        await under_way(served, 1)
        # Nothing of a large body ever comes; nobody waits for it.
        answer = await asyncio.wait_for(served.raw(head % (30_000_000, b"")), 3)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"connection: close" in answer
        # Nor is one asked for.
        answer = await served.raw(head % (1_000_000, b"expect: 100-continue\r\n"))
        assert answer.startswith(b"HTTP/1.1 503 ") or b"\r\n\r\nHTTP/1.1 503 " in answer
        # A small one that comes in pieces leaves the connection as it was.
        answer = await served.raw(
            head % (len(raw), b"") + raw + b"GET /ready HTTP/1.1\r\nhost: localhost\r\n"
            b"connection: close\r\n\r\n"
        )
        statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"503", b"200"]
        held.release.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_tenant_has_seats_of_its_own_and_its_own_refusal(
    serve: Any, stub_gateway: Any, tmp_path: Path
) -> None:
    held = Held()
    gateway = stub_gateway(held, seats=LockedSeats(tmp_path), most=1)
    limits = Limits(concurrency=5, queue_us=50_000)
    async with (
        serve(gateway, limits=limits) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await under_way(served, 1)
        waiting = asyncio.create_task(client.post("/v1/messages", json=BODIES["/v1/messages"]))
        refused = await client.post("/v1/chat/completions", json=CHAT)
        # Those who wait for their tenant take no place of the worker's.
        assert served.app.ctx.admission.under_way == 1
        assert (await waiting).status_code == 429
        held.release.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert counted(served, "tenant_full") == 2
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["code"], error["type"]) == ("concurrency_exceeded", "rate_limit_error")
    assert "its 1 request at a time is under way" in error["message"]
    assert refused.headers["x-should-retry"] == "true"
    assert "retry-after" in refused.headers


def test_a_full_tenant_is_told_its_number() -> None:
    assert "its 2 requests at a time are under way" in all_taken(2)
    assert "as it may have at a time" in all_taken(None)


class Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "turned away" in record.getMessage():
            self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def told() -> Iterator[list[str]]:
    log = logging.getLogger("turnout.server")
    handler = Told()
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)


async def test_who_is_turned_away_is_told_in_one_line_soon_and_then_seldom(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_SOON_S", 0.02)
    monkeypatch.setattr(refusals, "_EVERY_S", 0.3)
    counted: list[str] = []
    turned_away = Refusals(counted.append)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def lines(number: int) -> float:
        while len(told) < number:
            await asyncio.sleep(0.002)
        return loop.time() - began

    for reason in ["tenant_full"] * 24 + ["worker_full"]:
        turned_away(reason)
    assert told == []
    first = await lines(1)
    turned_away("draining")
    turned_away("connections_full")
    turned_away("connections_full")
    second = await lines(2)
    turned_away("worker_full")
    turned_away.say()
    turned_away.say()
    who = f"WARNING worker {os.getpid()} turned away"
    assert told == [
        f"{who} 25 requests in the last 1 s: concurrency_exceeded 24, overloaded 1",
        f"{who} 3 requests in the last 1 s: overloaded (connections) 2, draining 1",
        f"{who} 1 request in the last 1 s: overloaded 1",
    ]
    assert second - first >= 0.25
    assert len(counted) == 29


async def test_at_the_end_nothing_is_left_unsaid(
    serve: Any, stub_gateway: Any, told: list[str], tmp_path: Path
) -> None:
    taken = stub_gateway(seats=LockedSeats(tmp_path), most=0)
    async with (
        serve(taken, limits=Limits(queue_us=0)) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 429
    assert [line.partition(": ")[2] for line in told] == ["concurrency_exceeded 1"]


async def test_no_storm_of_leaving_clients_loses_a_place() -> None:
    chance = random.Random(5)
    admission = Admission(Limits(queue=20, queue_us=5_000), 3, lambda _: None)
    seated = 0

    async def seat_of(tenant: str, patience_s: float) -> Leave | None:
        nonlocal seated
        await asyncio.sleep(chance.choice([0, 0.0005]))
        if chance.random() < 0.1:
            return None
        seated += 1

        def leave() -> None:
            nonlocal seated
            seated -= 1

        return leave

    async def ask() -> None:
        leave = await admission.enter("acme", seat_of, lambda _: None)
        try:
            assert 0 < admission.under_way <= 3
            await asyncio.sleep(chance.choice([0, 0.0005]))
        finally:
            leave()

    tasks = []
    for _ in range(1_500):
        tasks.append(asyncio.create_task(ask()))
        if chance.random() < 0.5:
            chance.choice(tasks[-10:]).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, (asyncio.CancelledError, RequestError))
    assert (admission.under_way, admission.waiting, seated) == (0, 0, 0)


async def test_at_a_stop_those_who_wait_are_told_at_once(serve: Any, stub_gateway: Any) -> None:
    held = Held()
    limits = Limits(concurrency=1, queue=5, queue_us=60_000_000)
    async with serve(stub_gateway(held), limits=limits) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=20) as client:
            first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
            await under_way(served, 1)
            waiting = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
            while served.app.ctx.admission.waiting != 1:
                await asyncio.sleep(0.005)
            draining = asyncio.create_task(served.drain(10))
            refused = await waiting
            assert not first.done()
            held.release.set()
            assert (await first).status_code == 200
            await draining
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "draining"
    assert refused.headers["connection"] == "close"
    assert refused.headers["x-should-retry"] == "true"


def test_the_limits_fit_into_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for files in (256, 1024, 20_000, 1_000_000):
        monkeypatch.setattr("resource.getrlimit", lambda _, n=files: (n, n))
        room = capacity(Limits())
        assert 0 < room.concurrency <= 2_000
        # Every client, a provider each, and what a worker has open besides.
        assert room.connections + 2 * room.concurrency < files
    assert capacity(Limits(concurrency=7, connections=9)) == (7, 9)
