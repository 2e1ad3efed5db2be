"""What one worker sees of a target, another one decides on: real processes, real sockets."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from turnout.simulator.process import SimulatorProcess

POLICY = """
routing_policy:
  - {name: slow, condition: 'max_tokens == 11 and p95("groq/llama-3-8b", 30s) > 80ms', route: anthropic/claude-sonnet}
  - {name: quick, condition: max_tokens == 11, route: groq/llama-3-8b}
  - {name: sick, condition: 'max_tokens == 12 and error_rate("openai/gpt-4") > 30%', route: anthropic/claude-sonnet}
  - {name: well, condition: max_tokens == 12, route: openai/gpt-4, retries: 0, fallback: [anthropic/claude-sonnet]}
  - {name: busy now, condition: 'max_tokens == 13 and inflight("groq/llama-3-8b") > 0', route: anthropic/claude-sonnet}
  - {name: calm now, condition: max_tokens == 13, route: openai/gpt-4}
  - {name: busy, condition: 'max_tokens == 14 and inflight("groq/llama-3-8b") > 0', hold: 4s, route: anthropic/claude-sonnet}
  - {name: calm, condition: max_tokens == 14, route: openai/gpt-4}
  - {name: open, condition: 'max_tokens == 15 and breaker("openai/gpt-4o") != "closed"', route: anthropic/claude-sonnet}
  - {name: closed, condition: max_tokens == 15, route: openai/gpt-4o, retries: 0, fallback: [anthropic/claude-sonnet]}
  - {name: default, route: groq/llama-3-8b}
breakers: {failures: 6, cool_down: 5m}
"""  # noqa: E501


class Worker:
    """One worker, by a connection that is kept."""

    def __init__(self, served: Any) -> None:
        self.url = f"{served.url}/v1/chat/completions"
        self.client = httpx.Client(limits=httpx.Limits(max_connections=1), timeout=30)
        answer = self.client.post(self.url, json=body(1))
        self._home, self._first = served.home, answer.headers["x-request-id"]

    def rule(self, max_tokens: int) -> str:
        """The rule that decided a request."""
        answer = self.client.post(self.url, json=body(max_tokens))
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-turnout-rule"])

    def name(self) -> str:
        """The name of the worker behind the connection, as its tables of live values have it."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with sqlite3.connect(self._home / "turnout.db") as database:
                found = database.execute("select pulse from decisions where id = ?", (self._first,))
                for (pulse,) in found:
                    return str(pulse.split("_")[1])
            time.sleep(0.02)
        raise AssertionError("it was not recorded")


def body(max_tokens: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "auto", "messages": messages, "max_tokens": max_tokens, **more}


def until(true: Callable[[], object], seconds: float) -> float:
    """How long it took until that was so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def two_workers(served: Any) -> Iterator[tuple[Worker, Worker]]:
    """A connection to each of two workers."""
    found: dict[str, Worker] = {}
    opened: list[Worker] = []
    try:
        while len(found) < 2:
            assert len(opened) < 200
            new = [Worker(served) for _ in range(8)]
            opened += new
            found |= {worker.name(): worker for worker in new}
        one, two = found.values()
        yield one, two
    finally:
        for worker in opened:
            worker.client.close()


@pytest.fixture(scope="module")
def workers(
    serve_for_all: Callable[..., Any], addresses: str
) -> Iterator[tuple[Worker, Worker, Any]]:
    """Two workers of one gateway."""
    served = serve_for_all(POLICY + addresses, "--workers", "2", TURNOUT_PROBE_SECONDS="0")
    with two_workers(served) as (one, two):
        yield one, two, served


@pytest.fixture
def simulator(simulators: dict[str, SimulatorProcess]) -> Iterator[dict[str, SimulatorProcess]]:
    yield simulators
    for one in simulators.values():
        one.clear_faults()


def processes(served: Any) -> set[int]:
    """The workers that share what they know."""
    return {int(path.name.split("-")[0]) for path in (served.home / "run").glob("*.live")}


def metric(served: Any, name: str) -> float:
    text = httpx.get(f"{served.url}/metrics").text
    rows = (row.rsplit(" ", 1) for row in text.splitlines() if row.startswith(name))
    return sum(float(value) for _, value in rows)


def test_latencies_that_one_worker_sees_are_in_the_percentiles_of_another(
    workers: tuple[Worker, Worker, Any], simulator: dict[str, SimulatorProcess]
) -> None:
    one, two, _ = workers
    assert two.rule(11) == "quick"
    simulator["groq"].fault({"kind": "delay", "for": "100ms"})
    for _ in range(20):
        one.rule(11)
    simulator["groq"].clear_faults()
    until(lambda: two.rule(11) == "slow", 5)
    until(lambda: one.rule(11) == "slow", 5)


def test_failures_that_one_worker_sees_are_in_the_error_rate_of_another(
    workers: tuple[Worker, Worker, Any], simulator: dict[str, SimulatorProcess]
) -> None:
    one, two, _ = workers
    assert two.rule(12) == "well"
    for _ in range(4):  # never so many in a row that the breaker opens
        simulator["openai"].fault({"kind": "status", "status": 500}, times=3)
        for _ in range(5):
            one.rule(12)
        simulator["openai"].clear_faults()
    until(lambda: two.rule(12) == "sick", 5)


def test_what_one_worker_has_under_way_all_see_and_hold_for_its_time(
    workers: tuple[Worker, Worker, Any], simulator: dict[str, SimulatorProcess]
) -> None:
    one, two, served = workers
    until(lambda: two.rule(14) == "calm", 8)  # the tests before may have made it busy
    assert two.rule(13) == "calm now"
    simulator["groq"].fault({"kind": "delay", "for": "2500ms"}, times=1)
    slow = threading.Thread(target=one.rule, args=(1,))
    slow.start()
    until(lambda: two.rule(13) == "busy now", 5)
    assert two.rule(14) == "busy"
    until(lambda: metric(served, 'turnout_target_inflight{target="groq/llama-3-8b"}') == 1, 2)
    slow.join()
    until(lambda: two.rule(13) == "calm now", 5)
    calm_at = time.monotonic()
    assert two.rule(14) == one.rule(14) == "busy"
    until(lambda: two.rule(14) == "calm", 8)
    assert time.monotonic() - calm_at > 2
    until(lambda: one.rule(14) == "calm", 2)


def test_a_breaker_that_one_worker_opens_is_open_for_all_and_for_one_that_comes_later(
    workers: tuple[Worker, Worker, Any], simulator: dict[str, SimulatorProcess]
) -> None:
    one, two, served = workers
    assert two.rule(15) == "closed"
    simulator["openai"].fault({"kind": "status", "status": 500})
    for _ in range(6):
        one.rule(15)
    until(lambda: two.rule(15) == "open", 3)
    open_now = 'turnout_breaker_state{state="open",target="openai/gpt-4o"}'
    until(lambda: metric(served, open_now) == 1, 5)

    before = processes(served)
    assert len(before) == 2
    killed = before.pop()
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in processes(served), 3)
    until(lambda: len(processes(served)) == 2, 30)
    with two_workers(served) as now:
        assert len({worker.name() for worker in (one, two, *now)}) == 3
        assert [worker.rule(15) for worker in now] == ["open", "open"]
