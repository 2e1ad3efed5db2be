"""Stopping: in-flight requests finish within their bound, and nothing is taken on meanwhile."""

import asyncio
import json
import re
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
        workers: int = 1,
        drain_s: float = 10,
        factory: str = "build",
        until: str = "ready",
        delay_s: float = 0,
    ) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            str(tmp_path),
            str(workers),
            str(drain_s),
            factory,
            str(delay_s),
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


async def test_a_worker_that_dies_while_it_starts_is_tried_again(start: Start) -> None:
    async with start(2, factory="build_dying") as server:
        assert server.notes("started") == 2
        server.signal(signal.SIGTERM)
        assert await server.end() == 0
        assert (await server.errors()).count("ended with -9; another one starts") == 2
    assert server.notes("closed") == 2


async def test_a_start_that_settings_stand_in_the_way_of_is_not_tried_again(start: Start) -> None:
    async with start(2, factory="build_missing", until="bound") as server:
        assert await server.end() == 1
        errors = await server.errors()
    assert "the key is gone" in errors and "another one starts" not in errors
    assert server.notes("built") <= 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stop_is_said_with_what_is_under_way_and_at_its_end(
    start: Start, workers: int
) -> None:
    async with start(workers) as server, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        asked = asyncio.create_task(client.post(f"{server.url}/v1/chat/completions", json=chat(5)))
        await server.noted("entered")
        server.signal(signal.SIGTERM)
        assert (await asked).status_code == 200
        assert await server.end() == 0
        lines = [
            line.rpartition("turnout.server: ")[2] for line in (await server.errors()).split("\n")
        ]
    draining = sorted(line for line in lines if "draining" in line)
    if workers == 1:
        assert draining == ["draining: 1 request under way, at most 10 s"]
    else:
        said = [re.sub(r"\d+", "N", line, count=1) for line in draining]
        assert sorted(said) == [
            f"worker N is draining: {number} under way, at most 10 s"
            for number in ("0 requests", "1 request")
        ]
    assert [line for line in lines if line][-1] == "stopped"
    assert lines.count("stopped") == 1


async def test_why_a_successor_cannot_start_is_said(start: Start) -> None:
    async with start(2, factory="build_two") as server:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(
                    f"{server.url}/v1/embeddings", json={"model": "m", "input": "die"}
                )
        assert server.process.stderr is not None
        while b"ended with 1" not in (line := await server.process.stderr.readline()):
            assert line
        assert b"ended with 1 (the key is gone); another one starts" in line
        server.signal(signal.SIGTERM)
        assert await server.end() == 0


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


async def stream_of(client: httpx.AsyncClient, url: str, tenths: int) -> str:
    """What became of a streamed request: `whole`, `refused`, `not taken`, or what went wrong."""
    try:
        answer = await client.post(f"{url}/v1/chat/completions", json=chat(tenths, stream=True))
    except httpx.ConnectError:
        return "not taken"
    except httpx.HTTPError as error:
        return repr(error)
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "draining"
        assert answer.headers["x-should-retry"] == "true"
        return "refused"
    assert answer.status_code == 200
    if answer.text.endswith("[DONE]\n\n") and answer.text.count("data: ") == 11:
        return "whole"
    return "an error event" if answer.text.count('"error"') == 1 else answer.text


def unlimited() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=PATIENCE_S, limits=httpx.Limits(max_connections=None))


@pytest.mark.uncounted
@pytest.mark.parametrize(
    ("workers", "number"),
    [(1, signal.SIGTERM), (2, signal.SIGINT), (4, signal.SIGTERM)],
    ids=["1-SIGTERM", "2-SIGINT", "4-SIGTERM"],
)
async def test_a_hundred_open_streams_finish(
    start: Start, workers: int, number: signal.Signals
) -> None:
    async with start(workers) as server, unlimited() as client:
        asked = [asyncio.create_task(stream_of(client, server.url, 15)) for _ in range(100)]
        await server.noted("entered", 100)
        server.signal(number)
        assert set(await asyncio.gather(*asked)) == {"whole"}
        assert await server.end() == 0
        assert (server.notes("answered"), server.notes("cancelled")) == (100, 0)
        assert server.notes("closed") == workers


@pytest.mark.parametrize("workers", [1, 2])
async def test_streams_over_the_bound_end_in_one_error_event(start: Start, workers: int) -> None:
    async with start(workers, drain_s=0.3) as server, unlimited() as client:
        asked = [asyncio.create_task(stream_of(client, server.url, 600)) for _ in range(50)]
        await server.noted("entered", 50)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert set(await asyncio.gather(*asked)) == {"an error event"}
        assert await server.end() == 0
        assert time.monotonic() - began < 5
        assert server.notes("cancelled") == 50


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_among_the_first_requests_breaks_none_of_them(
    start: Start, workers: int
) -> None:
    """Whoever was accepted is served, or told in words that it was not."""
    async with start(workers) as server, unlimited() as client:
        asked = [asyncio.create_task(stream_of(client, server.url, 3)) for _ in range(60)]
        await server.noted("entered")
        await asyncio.sleep(0.05)
        server.signal(signal.SIGTERM)
        outcomes = await asyncio.gather(*asked)
        assert await server.end() == 0
    assert set(outcomes) <= {"whole", "refused", "not taken"}
    assert outcomes.count("whole") == server.notes("answered") > 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_before_the_drain_load_balancers_get_time_to_notice(
    start: Start, workers: int
) -> None:
    async with start(workers, delay_s=1) as server, unlimited() as client:
        # A stream longer than the delay: that does not count for the drain's bound.
        asked = asyncio.create_task(stream_of(client, server.url, 18))
        await server.noted("entered")
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        while (told := await client.get(f"{server.url}/ready")).status_code != 503:
            await asyncio.sleep(0.01)
        assert told.json()["error"]["code"] == "draining"
        assert told.headers["connection"] == "close"
        while time.monotonic() - began < 0.6:
            answer = await client.post(f"{server.url}/v1/chat/completions", json=chat(1))
            assert answer.status_code == 200
            assert answer.headers["connection"] == "close"
        assert await asked == "whole"
        # By a connection of its own: that of the stream is still being closed.
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{server.url}/ready")
        assert await server.end() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_hurry_ends_the_time_to_notice_as_well(start: Start, workers: int) -> None:
    async with start(workers, delay_s=60) as server:
        server.signal(signal.SIGTERM)
        await asyncio.sleep(1.2)
        server.signal(signal.SIGTERM)
        assert await server.end() == 0


async def test_a_worker_that_hangs_is_killed_within_the_bound(start: Start) -> None:
    async with start(2, drain_s=0.5, factory="build_hanging") as server, unlimited() as client:
        asked = asyncio.create_task(client.post(f"{server.url}/v1/chat/completions", json=chat(1)))
        await server.noted("entered")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await server.end() == 0
        assert 3 < time.monotonic() - began < 15
        assert server.notes("closed") == 1
        with pytest.raises(httpx.RemoteProtocolError):
            await asked


async def test_a_request_whose_headers_end_during_the_drain_is_told_so(
    serve: Any, stub_gateway: Any
) -> None:
    async with serve(stub_gateway()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        while not served.app.ctx.connections.open:
            await asyncio.sleep(0.005)
        draining = asyncio.create_task(served.drain(5))
        await asyncio.sleep(0.1)
        raw = json.dumps(chat(1)).encode()
        writer.write(
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)
        )
        answer = await reader.read()
        await draining
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"draining"' in answer and b"connection: close" in answer
    assert served.gateway.requests == []


async def test_a_request_whose_headers_do_not_end_does_not_hold_the_process_up(
    serve: Any, stub_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.server.connection._SPEAKS_WITHIN_S", 0.05)
    async with serve(stub_gateway()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        while not served.app.ctx.connections.open:
            await asyncio.sleep(0.005)
        began = time.monotonic()
        await served.drain(10)
        assert time.monotonic() - began < 5
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"shutting_down"' in answer
