"""Stopping: in-flight requests finish within their bound, and nothing is taken on meanwhile."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.engine.request import Reply, Request, StreamReply

PROGRAM = Path(__file__).with_name("drained.py")
PATIENCE_S = 30


def chat(tenths: int, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": "m", "messages": messages, "max_tokens": tenths, "stream": stream}


class Process:
    """The server in a process of its own, with what its gateway noted."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path) -> None:
        self.process = process
        self.home = home
        self.url = ""

    async def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line.startswith(word.encode()), (line, await self.errors())
        self.url = f"http://127.0.0.1:{line.split()[1].decode()}"

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    def notes(self, word: str) -> int:
        log = self.home / "log"
        return log.read_text().split().count(word) if log.exists() else 0

    async def noted(self, word: str, times: int = 1) -> None:
        for _ in range(PATIENCE_S * 50):
            if self.notes(word) >= times:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"`{word}` was not noted {times} times")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(
        workers: int = 1, drain_s: float = 10, factory: str = "build", until: str = "ready"
    ) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            str(tmp_path),
            str(workers),
            str(drain_s),
            factory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        running = Process(process, tmp_path)
        try:
            await running.expect("bound")
            if until == "ready":
                await running.expect("ready")
            yield running
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return started


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
async def test_requests_in_flight_finish_and_then_the_process_ends(
    start: Start, workers: int, number: signal.Signals
) -> None:
    async with start(workers) as server, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        asked = [
            asyncio.create_task(client.post(f"{server.url}/v1/chat/completions", json=body))
            for body in (chat(8), chat(8, stream=True), chat(8))
        ]
        await server.noted("entered", 3)
        server.signal(number)
        answers = await asyncio.gather(*asked)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{server.url}/health")
        assert await server.end() == 0
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[1].text.count("data: ") == 11 and answers[1].text.endswith("[DONE]\n\n")
        assert server.notes("answered") == 3
        assert server.notes("closed") == workers
        assert "ERROR" not in await server.errors()


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_idle_connection_does_not_hold_the_process_up(start: Start, workers: int) -> None:
    async with start(workers) as server, httpx.AsyncClient() as client:
        await client.get(f"{server.url}/health")  # its connection stays open
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await server.end() == 0
        assert time.monotonic() - began < 5
        assert server.notes("closed") == workers


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_does_not_finish_in_time_is_told_so(start: Start, workers: int) -> None:
    async with (
        start(workers, drain_s=0.3) as server,
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
    ):
        plain = asyncio.create_task(
            client.post(f"{server.url}/v1/chat/completions", json=chat(300))
        )
        stream = asyncio.create_task(
            client.post(f"{server.url}/v1/chat/completions", json=chat(300, stream=True))
        )
        await server.noted("entered", 2)
        server.signal(signal.SIGTERM)
        refused, cut = await asyncio.gather(plain, stream)
        assert await server.end() == 0
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "shutting_down"
    assert cut.status_code == 200
    last = json.loads(cut.text.rstrip().rpartition("data: ")[2])
    assert last["error"]["code"] == "shutting_down"
    assert "[DONE]" not in cut.text
    assert server.notes("cancelled") == 2
    assert server.notes("closed") == workers


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_signal_a_while_later_ends_the_drain(start: Start, workers: int) -> None:
    async with start(workers, drain_s=60) as server, httpx.AsyncClient(timeout=60) as client:
        asked = asyncio.create_task(
            client.post(f"{server.url}/v1/chat/completions", json=chat(600))
        )
        await server.noted("entered")
        server.signal(signal.SIGINT)
        server.signal(signal.SIGTERM)  # one keystroke, sent on by whatever started the process
        await asyncio.sleep(1.2)
        assert not asked.done()
        server.signal(signal.SIGTERM)
        assert (await asked).status_code == 503
        assert await server.end() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("number", "delay_s"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGTERM, 0.3), (signal.SIGINT, 0.6)],
)
async def test_a_signal_right_after_the_start_is_obeyed(
    start: Start, workers: int, number: signal.Signals, delay_s: float
) -> None:
    """Also before any worker has come up: Sanic's own manager hangs there."""
    async with start(workers, until="bound") as server:
        await asyncio.sleep(delay_s)
        server.signal(number)
        assert await server.end() == 0


async def test_an_interrupt_while_the_workers_are_being_started_is_not_lost(start: Start) -> None:
    """Each in another millisecond of the start: once, a signal in the wrong one was ignored."""
    for milliseconds in range(0, 12, 2):
        async with start(2, until="bound") as server:
            await asyncio.sleep(milliseconds / 1_000)
            server.signal(signal.SIGINT)
            assert await server.end() == 0
        assert server.notes("started") == server.notes("closed")


async def test_a_worker_that_dies_is_replaced_and_its_fellows_go_on(start: Start) -> None:
    async with start(2) as server:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(
                    f"{server.url}/v1/embeddings", json={"model": "m", "input": "die"}
                )
        await server.noted("started", 3)
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            assert (await client.get(f"{server.url}/v1/models")).status_code == 200
        server.signal(signal.SIGTERM)
        assert await server.end() == 0
        assert server.notes("closed") == 2


async def test_workers_do_not_outlive_their_parent(start: Start) -> None:
    async with start(2) as server:
        server.signal(signal.SIGKILL)
        assert await server.end() == -signal.SIGKILL
        await server.noted("closed", 2)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{server.url}/health")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_that_cannot_be_built_ends_the_process(start: Start, workers: int) -> None:
    async with start(workers, factory="build_nothing", until="bound") as server:
        assert await server.end() == 1
        assert "no gateway today" in await server.errors()


async def test_workers_count_together(start: Start) -> None:
    """Every worker renders the same gauges, whoever is asked."""
    async with start(2) as server:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            asked = [
                asyncio.create_task(
                    client.post(f"{server.url}/v1/chat/completions", json=chat(20, stream=True))
                )
                for _ in range(6)
            ]
            await server.noted("entered", 6)
            for _ in range(5):
                text = (await client.get(f"{server.url}/metrics")).text
                assert "turnout_open_streams 6.0" in text
            await asyncio.gather(*asked)
        server.signal(signal.SIGTERM)
        assert await server.end() == 0


async def test_requests_that_arrive_while_draining_end_their_connection(
    serve: Any, stub_gateway: Any
) -> None:
    release = asyncio.Event()

    async def answer(request: Request) -> Any:
        await release.wait()
        if not request.stream:
            return Reply(200, b"{}")

        async def chunks() -> Any:
            yield b"data: {}\n\n"

        return StreamReply(200, {}, chunks())

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        asked = [
            asyncio.create_task(
                client.post(f"{served.url}/v1/chat/completions", json=chat(1, stream))
            )
            for stream in (False, True)
        ]
        await asyncio.wait_for(served.gateway.entered.wait(), 5)
        draining = asyncio.create_task(served.drain(5))
        await asyncio.sleep(0.05)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{served.url}/health")
        release.set()
        answers = await asyncio.gather(*asked)
        await asyncio.wait_for(draining, 5)
        assert not served.server.connections
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["connection"] for answer in answers] == ["close", "close"]
