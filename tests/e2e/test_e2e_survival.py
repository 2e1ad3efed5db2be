"""What happens when something breaks or somebody leaves, over real processes and sockets."""

import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from turnout.simulator.process import SimulatorProcess

LONG = {"model": "auto", "messages": [{"role": "user", "content": "word " * 60}]}


def until(
    true: Callable[[], object], seconds: float = 20.0, say: Callable[[], object] = str
) -> None:
    """Wait for a condition that another process brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not come about: {say()}"
        time.sleep(0.02)


def ledger(served: Any) -> list[dict[str, Any]]:
    with sqlite3.connect(served.home / "turnout.db") as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("select * from ledger order by time_us")]


def leave(url: str, body: dict[str, Any], after: bytes | None) -> str:
    """Send a request, read up to some bytes (or nothing at all), and hang up. Returns the head."""
    address = urlsplit(url)
    payload = json.dumps(body).encode()
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload
        )
        got = b""
        while after is not None and after not in got:
            got += connection.recv(65536)
        if after is None:
            time.sleep(0.3)
    return got.decode()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_the_upstream_and_is_in_the_ledger_once(
    serve: Callable[..., Any],
    first_policy: str,
    simulators: dict[str, SimulatorProcess],
    stream: bool,
) -> None:
    groq = simulators["groq"]
    served = serve(first_policy)
    groq.clear_stats()
    where = {"at": "chunk", "after": 3} if stream else {"at": "headers"}
    groq.fault({"kind": "delay", **where})
    try:
        leave(served.url, LONG | {"stream": stream}, b'"content":"sim' if stream else None)
        until(lambda: groq.stats()["total"]["cut_by_client"] == 1, say=groq.stats)
        until(lambda: len(ledger(served)) == 1)
    finally:
        groq.clear_faults()
    row = ledger(served)[0]
    assert row["outcome"] == "failed"
    assert row["usage_source"] == ("estimated" if stream else "unconfirmed")
    assert served.stop() == 0


def test_a_stream_that_is_cut_after_content_ends_in_one_error_event(
    serve: Callable[..., Any], first_policy: str, simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(first_policy)
    simulators["groq"].fault({"kind": "cut", "after": 4}, times=1)
    with httpx.stream(
        "POST", f"{served.url}/v1/chat/completions", json=LONG | {"stream": True}, timeout=30
    ) as response:
        assert response.status_code == 200
        events = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert "[DONE]" not in events[-1]
    error = json.loads(events[-1].removeprefix("data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert sum('"error"' in event for event in events) == 1
    trace = httpx.get(f"{served.url}/v1/traces/{response.headers['x-request-id']}").json()
    assert trace["outcome"] == "cut"
    assert trace["tokens"]["estimated"] is True


def test_a_stream_that_is_cut_before_content_is_answered_by_the_next_hop(
    serve: Callable[..., Any], first_policy: str, simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(first_policy)
    simulators["groq"].fault({"kind": "cut", "after": 1})
    try:
        with httpx.stream(
            "POST", f"{served.url}/v1/chat/completions", json=LONG | {"stream": True}, timeout=30
        ) as response:
            text = "".join(response.iter_text())
    finally:
        simulators["groq"].clear_faults()
    assert response.headers["x-turnout-model"] == "anthropic/claude-sonnet"
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"role":"assistant"') == 1


def test_an_upstream_that_hangs_is_left_within_its_hops_timeout(
    serve: Callable[..., Any], first_policy: str, simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(first_policy.replace("groq/llama-3-8b\n", "groq/llama-3-8b\n    timeout: 1s\n"))
    simulators["groq"].fault({"kind": "delay", "at": "headers"})
    try:
        began = time.monotonic()
        answer = httpx.post(f"{served.url}/v1/chat/completions", json=LONG, timeout=30)
        took = time.monotonic() - began
    finally:
        simulators["groq"].clear_faults()
    assert answer.headers["x-turnout-model"] == "anthropic/claude-sonnet"
    # One second for the rule's own target, two for the chain's first.
    assert 3.0 <= took < 5.0
    trace = httpx.get(f"{served.url}/v1/traces/{answer.headers['x-request-id']}").json()
    assert [hop["fault"] for hop in trace["hops"]] == ["timeout", "timeout", None]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_lets_open_streams_finish_and_writes_everything_down(
    serve: Callable[..., Any],
    first_policy: str,
    simulators: dict[str, SimulatorProcess],
    how: signal.Signals,
    workers: str,
) -> None:
    served = serve(first_policy, "--workers", workers)
    groq = simulators["groq"]
    groq.fault({"kind": "delay", "at": "chunk", "after": 3, "for": "1500ms"})
    ends: list[str] = []

    def read() -> None:
        with httpx.stream(
            "POST", f"{served.url}/v1/chat/completions", json=LONG | {"stream": True}, timeout=30
        ) as response:
            ends.append("".join(response.iter_text())[-14:])

    readers = [threading.Thread(target=read) for _ in range(8)]
    before = groq.stats()["total"]["requests"]
    try:
        for reader in readers:
            reader.start()
        until(lambda: groq.stats()["total"]["requests"] == before + 8)
        assert served.stop(how) == 0
    finally:
        for reader in readers:
            reader.join()
        groq.clear_faults()
    assert ends == ["data: [DONE]\n\n"] * 8
    assert len(ledger(served)) == 8
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/health")


def test_a_signal_right_after_the_start_ends_the_process(
    serve: Callable[..., Any], first_policy: str
) -> None:
    for workers in ("1", "2"):
        served = serve(first_policy, "--workers", workers)
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 15
