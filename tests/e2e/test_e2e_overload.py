"""Limits on what is under way, and a stop under load, in the product as it is run."""

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
LIMIT = 3


class Upstream(ThreadingHTTPServer):
    """A provider that counts how many it answers at a time; each takes `seconds`."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.counting = threading.Lock()
        self.seconds = 0.05
        self.calls = self.now = self.most = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that is killed hangs up; that is no failure here."""


class Answering(BaseHTTPRequestHandler):
    """Answers any chat, whole or streamed."""

    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        upstream = self.server
        with upstream.counting:
            upstream.calls += 1
            upstream.now += 1
            upstream.most = max(upstream.most, upstream.now)
        try:
            (self._stream if body.get("stream") else self._whole)(upstream.seconds)
        finally:
            with upstream.counting:
                upstream.now -= 1

    def _whole(self, seconds: float) -> None:
        time.sleep(seconds)
        message = {"role": "assistant", "content": "hello"}
        self._send("application/json", _chunk("chat.completion", message=message))

    def _stream(self, seconds: float) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for turn in range(10):
            delta = {"role": "assistant", "content": "word "}
            told = _chunk("chat.completion.chunk", delta=delta, end="stop" if turn == 9 else None)
            self.wfile.write(b"data: %b\n\n" % told)
            time.sleep(seconds / 10)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _send(self, kind: str, raw: bytes) -> None:
        with self.server.counting:
            self.server.now -= 1  # before the gateway can know of it, and send the next one
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
        with self.server.counting:
            self.server.now += 1


def _chunk(kind: str, end: str | None = "stop", **said: Any) -> bytes:
    choice = {"index": 0, "finish_reason": end, **said}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    value = {"id": "c", "object": kind, "created": 1, "model": "gpt-4o", "choices": [choice]}
    return json.dumps(value if "chunk" in kind else value | {"usage": usage}).encode()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def policy(upstream: Upstream, more: str) -> str:
    return (
        "routing_policy:\n  - {name: all, route: openai/gpt-4o}\n"
        f"providers:\n  openai: {{base_url: 'http://127.0.0.1:{upstream.server_port}/v1'}}\n{more}"
    )


async def ask(url: str, number: int, **more: Any) -> list[httpx.Response]:
    """The answers to so many requests that are sent at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        asked = (client.post("/v1/chat/completions", json=CHAT | more) for _ in range(number))
        return list(await asyncio.gather(*asked))


def statuses(answers: list[httpx.Response]) -> set[tuple[int, str | None]]:
    return {
        (answer.status_code, None if answer.is_success else answer.json()["error"]["code"])
        for answer in answers
    }


@pytest.mark.parametrize(
    ("section", "refusal"),
    [
        (f"targets:\n  openai/gpt-4o: {{concurrency: {LIMIT}}}\n", (503, "overloaded")),
        (f"tenants:\n  default: {{concurrency: {LIMIT}}}\n", (429, "concurrency_exceeded")),
    ],
    ids=["target", "tenant"],
)
async def test_a_limit_holds_for_all_workers_together(
    serve: Callable[..., Any], upstream: Upstream, section: str, refusal: tuple[int, str]
) -> None:
    served = serve(policy(upstream, section), "--workers", "2", TURNOUT_QUEUE_SECONDS="0.3")
    answers = await ask(served.url, 60)
    assert upstream.most == LIMIT
    assert (200, None) in statuses(answers) <= {(200, None), refusal}
    assert upstream.calls == sum(answer.is_success for answer in answers)
    # Nothing stays taken: as many as there are places are served again, without a refusal.
    for _ in range(3):
        assert statuses(await ask(served.url, LIMIT)) == {(200, None)}
    assert upstream.most == LIMIT
    assert served.stop() == 0


def children(pid: int) -> list[int]:
    """The ids of the worker processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")")[1].split()[1])
                command = (entry / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == pid and b"spawn_main" in command:
                found.append(int(entry.name))
    return found


async def test_what_a_killed_worker_had_under_way_is_free_again(
    serve: Callable[..., Any], upstream: Upstream
) -> None:
    section = f"tenants:\n  default: {{concurrency: {LIMIT}}}\n"
    served = serve(policy(upstream, section), "--workers", "2", TURNOUT_QUEUE_SECONDS="0.1")
    upstream.seconds = 30
    held = [asyncio.create_task(ask(served.url, 1)) for _ in range(LIMIT)]
    while upstream.now < LIMIT:
        await asyncio.sleep(0.02)
    assert statuses(await ask(served.url, 1)) == {(429, "concurrency_exceeded")}
    for worker in children(served.process.pid):
        os.kill(worker, signal.SIGKILL)
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(one, httpx.HTTPError) for one in ended)
    upstream.seconds = 0.05
    assert statuses(await ask(served.url, LIMIT)) == {(200, None)}
    assert served.stop() == 0


@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
async def test_a_stop_under_a_hundred_streams_loses_neither_them_nor_their_rows(
    serve: Callable[..., Any], upstream: Upstream, workers: int, how: signal.Signals
) -> None:
    served = serve(policy(upstream, ""), "--workers", str(workers))
    upstream.seconds = 1
    asked = asyncio.create_task(ask(served.url, 100, stream=True))
    while upstream.calls < 100:
        await asyncio.sleep(0.02)
    assert await asyncio.to_thread(served.stop, how) == 0
    answers = await asked
    assert all(answer.text.endswith("[DONE]\n\n") for answer in answers)
    with sqlite3.connect(served.home / "turnout.db") as database:
        rows = database.execute("select outcome, count(*) from ledger group by outcome").fetchall()
    assert rows == [("ok", upstream.calls)]
