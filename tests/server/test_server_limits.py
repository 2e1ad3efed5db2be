"""Slow, silent and greedy clients: each is cut in its time, and costs the others nothing."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.engine.request import Reply, Request, StreamReply
from turnout.settings import Limits

HI = {"role": "user", "content": "hi"}
CHAT = {"model": "gpt-4", "messages": [HI]}
HEAD = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
)
PROGRAM = Path(__file__).with_name("drained.py")


async def trickled(
    port: int, start: bytes, drop: bytes, seconds: float, patience_s: float = 10
) -> tuple[bytes, float]:
    """What comes back to who sends `drop` every so many seconds, and after how long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(start)

    async def drip() -> None:
        while True:
            await asyncio.sleep(seconds)
            writer.write(drop)

    dripping = asyncio.create_task(drip())
    answer = b""
    try:
        async with asyncio.timeout(patience_s):
            while part := await reader.read(65_536):
                answer += part
    except ConnectionResetError:
        pass  # it was closed while we still sent
    finally:
        dripping.cancel()
        writer.transport.abort()
    return answer, time.monotonic() - began


# --- headers -------------------------------------------------------------------------------------


async def test_headers_that_trickle_are_cut_in_their_time(serve: Any) -> None:
    async with serve(limits=Limits(header_us=300_000)) as served:
        answer, took = await trickled(served.port, HEAD, b"x: y\r\n", 0.02)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer and b"connection: close" in answer
    assert 0.25 < took < 2


async def test_the_time_for_headers_begins_anew_with_each_request(serve: Any) -> None:
    async with serve(limits=Limits(header_us=400_000, idle_us=10_000_000)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for _ in range(4):
            writer.write(HEAD)
            await asyncio.sleep(0.15)
            writer.write(b"\r\n")
            assert b"200 OK" in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}}")
        # Silent for longer than headers may take, but it has spoken before.
        await asyncio.sleep(0.6)
        writer.write(HEAD + b"\r\n")
        assert b"200 OK" in await reader.readline()
        # What follows a request in the same packet has the same time.
        answer, _ = await trickled(served.port, HEAD + b"\r\n" + HEAD, b"", 1)
        assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 408 " in answer
        writer.close()


async def test_who_never_speaks_is_closed(serve: Any) -> None:
    async with serve(limits=Limits(header_us=200_000)) as served:
        answer, took = await trickled(served.port, b"", b"", 1)
    assert answer == b"" and 0.15 < took < 2


async def test_a_connection_that_rests_for_too_long_is_closed(serve: Any) -> None:
    async with serve(limits=Limits(idle_us=300_000)) as served:
        answer, took = await trickled(served.port, HEAD + b"\r\n", b"", 1)
    assert answer.startswith(b"HTTP/1.1 200 ") and 0.25 < took < 2


async def test_headers_are_bounded_in_number(served: Any) -> None:
    ninety = b"".join(b"x-%d: y\r\n" % number for number in range(90))
    answer = await served.raw(HEAD + ninety + b"connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    answer = await served.raw(HEAD + ninety + ninety + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ") and b'"code":"headers_too_large"' in answer


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"content-length: 30000000\r\n\r\n", b"x"),
        (b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["declared", "chunked"],
)
async def test_a_body_that_trickles_is_cut_in_its_time(
    serve: Any, head: bytes, drop: bytes
) -> None:
    limits = Limits(grace_us=300_000, least_bytes=1_000)
    async with serve(limits=limits) as served:
        answer, took = await trickled(served.port, POST + head, drop, 0.02)
        assert served.gateway.requests == []
        assert served.app.ctx.admission.under_way == 0
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
    assert 0.25 < took < 2


async def test_a_body_that_is_slow_but_comes_is_taken(serve: Any) -> None:
    raw = json.dumps(CHAT | {"pad": "x" * 4_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 200):
            await asyncio.sleep(0.02)
            yield raw[start : start + 200]

    limits = Limits(grace_us=200_000, least_bytes=2_000)
    headers = {"content-type": "application/json"}
    async with serve(limits=limits) as served, httpx.AsyncClient() as client:
        url = f"{served.url}/v1/chat/completions"
        answer = await client.post(url, content=pieces(), headers=headers)
    assert answer.status_code == 200


async def test_a_body_that_nobody_wanted_has_its_time_too(serve: Any) -> None:
    """It was answered with 404; what is left of it must not keep the connection for ever."""
    head = b"POST /nope HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30000000\r\n\r\n"
    async with serve(limits=Limits(header_us=200_000)) as served:
        answer, took = await trickled(served.port, head, b"x", 0.02)
    assert answer.startswith(b"HTTP/1.1 404 ") and took < 2


async def test_a_huge_chunk_is_refused_by_what_it_announces(serve: Any) -> None:
    """A gigabyte is announced and a few bytes of it are sent: nobody waits for the rest."""
    head = b"transfer-encoding: chunked\r\n\r\n40000000\r\n" + b"x" * 1_000
    async with serve(limits=Limits(body_bytes=100_000)) as served:
        answer, took = await trickled(served.port, POST + head, b"", 1)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer
    assert took < 4


def memory_of(pid: int) -> int:
    """The resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def process(home: Path, preexec: Any = None) -> AsyncIterator[tuple[int, int]]:
    """A server in a process of its own: its port and its id."""
    command = [sys.executable, str(PROGRAM), str(home), "1", "1", "build"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=preexec
    )
    try:
        assert started.stdout is not None
        while not (line := await asyncio.to_thread(started.stdout.readline)).startswith(b"ready"):
            assert line
        yield int(line.split()[1]), started.pid
        started.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.wait, 20) == 0
    finally:
        if started.poll() is None:
            started.kill()
            started.wait()
        if started.stdout is not None:
            started.stdout.close()


@pytest.mark.uncounted
@pytest.mark.parametrize("shape", ["declared", "large chunks", "tiny chunks"])
async def test_a_gigabyte_costs_no_memory(tmp_path: Path, shape: str) -> None:
    gigabyte = 1 << 30
    head, piece = {
        "declared": (b"content-length: %d\r\n\r\n" % gigabyte, b"x" * 65_536),
        "large chunks": (
            b"transfer-encoding: chunked\r\n\r\n",
            b"10000\r\n%b\r\n" % (b"x" * 65_536),
        ),
        "tiny chunks": (b"transfer-encoding: chunked\r\n\r\n", b"2\r\nxx\r\n" * 8_000),
    }[shape]
    async with process(tmp_path) as (port, pid):
        before = memory_of(pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + head)
        most = sent = 0
        began = time.monotonic()
        try:
            while sent < gigabyte and time.monotonic() - began < 1.5:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                if sent % (1 << 20) < len(piece):
                    most = max(most, memory_of(pid))
            if shape != "tiny chunks":
                assert (await reader.read(13)).startswith(b"HTTP/1.1 413 ")
        except ConnectionError:
            pass  # it was cut while it still sent
        writer.transport.abort()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
    assert sent < gigabyte // 4
    # At most one whole body of the longest that is taken, while it grows.
    assert most - before < 110 * 1024 * 1024


# --- answers -------------------------------------------------------------------------------------


def whole(size: int) -> Any:
    async def answer(request: Request) -> Reply | StreamReply:
        return Reply(200, b'{"pad":"' + b"x" * size + b'"}')

    return answer


def post(body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    return POST + b"content-length: %d\r\n\r\n%b" % (len(raw), raw)


async def test_a_whole_answer_that_nobody_reads_is_given_up(serve: Any, stub_gateway: Any) -> None:
    gateway = stub_gateway(whole(20_000_000))
    async with serve(gateway, limits=Limits(stall_us=200_000)) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1_000)
        # The second answer has to wait for the first one to be read; it must not wait for ever.
        writer.write(post(CHAT) + post(CHAT))
        while not served.gateway.requests:
            await asyncio.sleep(0.01)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        began = time.monotonic()
        while served.server.connections:
            await asyncio.sleep(0.02)
            assert time.monotonic() - began < 5
        assert served.app.ctx.admission.under_way == 0
        writer.transport.abort()


async def test_a_whole_answer_that_is_read_slowly_arrives(serve: Any, stub_gateway: Any) -> None:
    size = 8_000_000
    limits = Limits(stall_us=100_000, idle_us=100_000)
    async with serve(stub_gateway(whole(size)), limits=limits) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=65_536)
        writer.write(post(CHAT))
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while got < size:
            part = await reader.read(262_144)
            assert part, got
            got += len(part)
            await asyncio.sleep(0.01)
        writer.close()


# --- connections ---------------------------------------------------------------------------------


async def open_silent(port: int, number: int) -> list[asyncio.StreamWriter]:
    return [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(number)]


async def test_silent_connections_make_room_and_busy_ones_do_not(
    serve: Any, stub_gateway: Any
) -> None:
    release = asyncio.Event()

    async def answer(request: Request) -> Reply | StreamReply:
        await release.wait()
        return Reply(200, b"{}")

    async with serve(stub_gateway(answer), limits=Limits(connections=5)) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=20) as client:
            busy = [
                asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
                for _ in range(3)
            ]
            while served.app.ctx.admission.under_way != 3:
                await asyncio.sleep(0.01)
            silent = await open_silent(served.port, 2)
            # They may speak yet: who comes now is told so, with a status.
            refused = await served.raw(HEAD + b"connection: close\r\n\r\n")
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"overloaded"' in refused and b"retry-after: 1" in refused
            assert b"x-request-id: req_" in refused
            await asyncio.sleep(1.1)
            assert (await served.raw(HEAD + b"connection: close\r\n\r\n")).startswith(
                b"HTTP/1.1 200 "
            )
            release.set()
            assert {(await one).status_code for one in busy} == {200}
            # Those that rest now give way to others, the one that rests for longest first.
            for _ in range(20):
                answer_ = await served.raw(HEAD + b"connection: close\r\n\r\n")
                assert answer_.startswith(b"HTTP/1.1 200 ")
            assert len(served.server.connections) <= 5
            assert b'turnout_refused_total{reason="connections_full"} 1.0' in (
                served.app.ctx.metrics.render()
            )
            for writer in silent:
                writer.close()


async def test_thousands_of_silent_sockets_do_not_keep_others_out(tmp_path: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))

    async with process(tmp_path, few_files) as (port, pid):
        silent = await open_silent(port, 400)
        await asyncio.sleep(1.1)
        async with httpx.AsyncClient() as client:
            for _ in range(3):
                answer = await client.get(f"http://127.0.0.1:{port}/ready")
                assert answer.status_code == 200
        used = sum(map(float, Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11:13]))
        await asyncio.sleep(0.5)
        after = sum(map(float, Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11:13]))
        # It waits; it does not go round and round. (In hundredths of a second of processor time.)
        assert after - used < 15
        for writer in silent:
            writer.transport.abort()
