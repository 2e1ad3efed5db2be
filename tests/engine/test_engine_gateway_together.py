"""Gateways that share a board, and what one of them says of itself at each tick."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.engine.wall import Wall
from turnout.adapters.scripted import Pause, Scripted, said
from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine import gateway as gateway_module
from turnout.engine.breakers import Breakers
from turnout.engine.catalog import language_schema
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.record import Vitals
from turnout.engine.request import Caller, Operation, Reply, Request
from turnout.engine.state.sqlite import open_store

POLICY = """
routing_policy:
  - {name: sick, condition: error_rate("groq/llama-3-8b") > 50%, hold: 10m, route: openai/gpt-4}
  - {name: well, route: groq/llama-3-8b, retries: 0, fallback: [openai/gpt-4]}
breakers: {failures: 1000}
"""
SOON_S = 0.01

Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a gateway that ticks a hundred times as often; all of them share a board."""
    monkeypatch.setattr(gateway_module, "LOOK_S", SOON_S / 2)
    monkeypatch.setattr(gateway_module, "TICK_S", SOON_S)
    monkeypatch.setattr(gateway_module, "_PAUSE_S", SOON_S)
    program = compile_policy(Source("test", POLICY), language_schema())
    wall = Wall()
    running: list[Gateway] = []

    async def start_here(
        *providers: Scripted, on_tick: Callable[[Vitals], None] = lambda _: None
    ) -> Gateway:
        board = wall.board()
        gateway = Gateway(
            make_live(program, {provider.name: provider for provider in providers}),
            Journal(open_store(tmp_path)),
            Pulse(board=board, min_samples=4),
            lambda _: None,
            on_tick,
            breakers=Breakers(board),
            board=board,
        )
        await gateway.start()
        running.append(gateway)
        return gateway

    yield start_here
    for gateway in running:
        await gateway.close()


def request() -> Request:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    return Request(
        id=f"req_{time.monotonic_ns()}",
        operation=Operation.CHAT,
        body=body,
        raw=orjson.dumps(body),
        model="auto",
        stream=False,
        caller=Caller(),
        headers={},
        received_us=time.time_ns() // 1000,
        started_ns=time.monotonic_ns(),
    )


async def rule(gateway: Gateway) -> str:
    """The rule that decided a request."""
    reply = await gateway.generate(request())
    assert isinstance(reply, Reply)
    return reply.headers["x-turnout-rule"]


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(SOON_S / 2)


def groq(*script: Any) -> Scripted:
    return Scripted("groq", list(script))


def openai() -> Scripted:
    return Scripted("openai", [said("hello")] * 20)


async def test_what_one_gateway_sees_another_decides_on_and_one_that_starts_later_too(
    start: Start,
) -> None:
    failing = ProviderError(Fault.SERVER, "broken", status=500)
    one = await start(groq(*[failing] * 4), openai())
    two = await start(groq(said("fine")), openai())
    for _ in range(4):
        assert await rule(one) == "well"
    await until(lambda: two._table.values.get("held(sick:0)"))
    assert await rule(two) == "sick"
    await one.close()
    await until(lambda: "error_rate(groq/llama-3-8b)" not in two._table.values)
    assert await rule(two) == "sick"  # held, though who saw it is gone
    late = await start(groq(), openai())
    assert await rule(late) == "sick"


async def test_a_tick_says_what_is_under_way(start: Start) -> None:
    ticks: list[Vitals] = []
    one = await start(groq([Pause(), said("late")]), openai(), on_tick=ticks.append)
    await until(lambda: ticks)
    assert (ticks[-1].requests, ticks[-1].inflight) == (0, {})
    asked = asyncio.create_task(one.generate(request()))
    await until(lambda: ticks[-1].inflight == {"groq/llama-3-8b": 1})
    assert ticks[-1].requests == 1
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until(lambda: (ticks[-1].requests, ticks[-1].inflight) == (0, {}))


async def test_a_tick_that_breaks_begins_anew(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    ticks: list[Vitals] = []

    def told(vitals: Vitals) -> None:
        ticks.append(vitals)
        if len(ticks) == 2:
            raise OSError("the disk is full")

    caplog.set_level(logging.ERROR)
    await start(groq(), openai(), on_tick=told)
    await until(lambda: len(ticks) > 4)
    assert [entry.message for entry in caplog.records] == ["pulse broke and begins anew"]
