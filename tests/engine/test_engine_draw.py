"""What requests take of rates: before anything is sent, and put right when they are over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine import tokens
from turnout.engine.accounts import Accounts
from turnout.engine.audit import Event
from turnout.engine.catalog import language_schema
from turnout.engine.draw import Draw
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.rates import LIMITS, Rate, Taken, Uncertain, UsedUp
from turnout.engine.request import (
    Caller,
    StreamReply,
    Usage,
)
from turnout.engine.state.rates import SharedRates
from turnout.engine.state.sqlite import open_store

from .benches import benches, refused, request_of

POLICY = """
tenants: {{acme: {limits}}}
routing_policy:
  - {{name: all, route: openai/gpt-4o, retries: 0}}
"""
ACME = Caller("acme")
MINUTE_US = 60_000_000


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


class Bench:
    """A gateway with rates whose clock is turned by hand."""

    def __init__(self, home: Path, limits: str, *script: Any) -> None:
        self.now_us = 1_000 * MINUTE_US
        self.heard = Heard()
        self.provider = Scripted("openai", list(script))
        program = compile_policy(Source("test", POLICY.format(limits=limits)), language_schema())
        self.rates = SharedRates(home / "run", lambda: self.now_us)
        self.gateway = Gateway(
            make_live(program, {"openai": self.provider}),
            Journal(open_store(home)),
            Pulse(),
            lambda record: None,
            lambda vitals: None,
            audit=self.heard,
            accounts=Accounts(),
            rates=self.rates,
        )

    async def asked(self, caller: Caller = ACME, words: int = 5, **body: Any) -> Any:
        """An answer, as the server gets it: what was drawn ends with the request."""
        draw = await self.gateway.draw(caller)
        body = {"messages": [{"role": "user", "content": "word " * words}]} | body
        request = request_of(body, caller)
        request.draw = draw
        try:
            reply = await self.gateway.generate(request)
            if isinstance(reply, StreamReply):
                async for _ in reply.chunks:
                    pass
            return reply
        finally:
            if draw is not None:
                draw.close()

    async def left(self, unit: Any, limit: int, name: str = "tenant:acme") -> int:
        """What a rate has left; looking takes nothing."""
        try:
            return (await self.rates.take(Rate(name, unit, limit), 0)).left
        except UsedUp as full:
            return -1 if full.wait_us else 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with benches(partial(Bench, tmp_path)) as opened:
        yield opened


async def test_the_request_after_the_last_is_told_when_to_come_back(bench: Any) -> None:
    one = await bench("{rpm: 2}", said("a"), said("b"), said("c"))
    await one.asked()
    one.now_us += 10_000_000
    reply = await one.asked()
    assert {name: value for name, value in reply.headers.items() if name in LIMITS} == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0.25s",
    }
    error = await refused(one.asked())
    assert (error.status, error.type, error.code) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert error.message == (
        "This tenant may make 2 requests a minute and has made as many; try again in 50.25s."
    )
    assert error.retry_after_us == 50_250_000
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert [event.detail["code"] for event in one.heard.events if event.outcome == "refused"] == [
        "rate_limit_exceeded"
    ]
    one.now_us += 50_249_999
    await refused(one.asked())
    one.now_us += 1
    await one.asked()


async def test_nobody_else_is_limited(bench: Any) -> None:
    one = await bench("{rpm: 1}", said("a"), said("b"), said("c"))
    await one.asked(Caller("acme"))
    assert await one.gateway.draw(Caller("initech")) is None
    await one.asked(Caller("initech"))
    await one.asked(Caller("initech"))


async def test_a_key_has_rates_of_its_own_and_they_are_told_as_its(bench: Any) -> None:
    one = await bench("{rpm: 9}", said("a"), said("b"))
    key = Caller("acme", key_id="key_1", rpm=1)
    reply = await one.asked(key)
    assert reply.headers["x-ratelimit-limit-requests"] == "1"  # the one with least left
    error = await refused(one.asked(key))
    assert error.message.startswith("This key may make 1 request a minute")
    # What the tenant's rate had given by then came back.
    assert await one.left("requests", 9) == 8
    await one.asked(Caller("acme", key_id="key_2", rpm=1))


async def test_tokens_are_taken_before_and_put_right_after(bench: Any) -> None:
    usage = Usage(30, 12)
    one = await bench("{tpm: 5000}", said("a", usage=usage))
    reply = await one.asked(max_tokens=1_000)
    # What was left while it was under way: neither its answer's bound nor its prompt's.
    assert 3_900 < int(reply.headers["x-ratelimit-remaining-tokens"]) < 4_000 - 5
    assert await one.left("tokens", 5_000) == 5_000 - 42


async def test_more_than_was_taken_counts_too(bench: Any) -> None:
    one = await bench("{tpm: 5000}", said("a", usage=Usage(30, 4_990)))
    await one.asked()  # which does not bound its answer
    assert await one.left("tokens", 5_000) < 0


@pytest.mark.parametrize(
    "script", [ProviderError(Fault.BAD_REQUEST, "no"), ProviderError(Fault.SERVER, "broken")]
)
async def test_a_failure_has_used_a_request_and_no_tokens(bench: Any, script: Any) -> None:
    one = await bench("{rpm: 5, tpm: 5000}", script)
    await refused(one.asked(max_tokens=100))
    assert await one.left("tokens", 5_000) == 5_000
    assert await one.left("requests", 5) == 4


async def test_a_stream_is_put_right_at_its_end(bench: Any) -> None:
    one = await bench("{tpm: 5000}", spoken("a", "b", usage=Usage(30, 2)))
    await one.asked(stream=True, max_tokens=1_000)
    assert await one.left("tokens", 5_000) == 5_000 - 32


async def test_what_is_refused_uses_up_nothing(bench: Any) -> None:
    one = await bench("{rpm: 5, tpm: 1000}", said("a", usage=Usage(10, 940)), said("b"))
    await one.asked(max_tokens=900)
    assert (await one.left("requests", 5), await one.left("tokens", 1_000)) == (4, 50)
    error = await refused(one.asked(max_tokens=400))
    assert "may use 1000 tokens a minute and has 50 left" in error.message
    assert error.retry_after_us == 60_250_000
    assert error.headers["x-ratelimit-remaining-requests"] == "3"
    assert (await one.left("requests", 5), await one.left("tokens", 1_000)) == (4, 50)
    # An unknown model is refused before anything is sent.
    assert (await refused(one.asked(model="nobody/knows", words=1))).status in (400, 404)
    draw = await one.gateway.draw(ACME)
    draw.close()  # such as a body that cannot be read
    assert (await one.left("requests", 5), await one.left("tokens", 1_000)) == (4, 50)


async def test_what_is_larger_than_the_whole_rate_is_told_so(bench: Any) -> None:
    one = await bench("{rpm: 5, tpm: 1000}")
    error = await refused(one.asked(max_tokens=2_000))
    assert (error.status, error.retry_after_us, error.should_retry) == (429, None, False)
    assert "and this request alone may use up to 20" in error.message
    assert await one.left("requests", 5) == 5


async def test_a_prompt_is_counted_where_its_bound_does_not_fit(bench: Any) -> None:
    """Bytes bound a prompt; a text of 4 000 bytes and 800 words is no 4 000 tokens."""
    one = await bench("{tpm: 2000}", said("a", usage=Usage(810, 5)), said("b"))
    request = request_of({"messages": [{"role": "user", "content": "word " * 800}]}, ACME)
    low, high = tokens.bounds(request)
    assert low < 2_000 < high
    await one.asked(words=800)
    assert await one.left("tokens", 2_000) == 2_000 - 815


async def test_a_prompt_that_fits_later_is_told_to_wait_though_its_bound_never_fits(
    bench: Any,
) -> None:
    one = await bench("{tpm: 2000}", said("a", usage=Usage(1_500, 0)), said("b"))
    await one.asked()
    error = await refused(one.asked(words=800))
    assert error.should_retry
    assert error.retry_after_us == MINUTE_US + 250_000
    assert "try again in" in error.message
    one.now_us += error.retry_after_us
    await one.asked(words=800)


async def test_who_leaves_while_a_lock_is_waited_for_has_taken_nothing() -> None:
    corrected: list[tuple[Taken, int]] = []

    class Rates:
        async def take(self, rate: Rate, units: int) -> Taken:
            if rate.name == "key:k":
                raise asyncio.CancelledError
            return Taken(rate, units, 0, 0, 0)

        def correct(self, taken: Taken, units: int) -> None:
            corrected.append((taken, units))

    draw = Draw(Rates(), [Rate("tenant:acme", "requests", 1), Rate("key:k", "requests", 1)])
    with pytest.raises(asyncio.CancelledError):
        await draw.request()
    assert [(taken.rate.name, units) for taken, units in corrected] == [("tenant:acme", 0)]


async def test_who_leaves_gives_back_what_was_taken(bench: Any) -> None:
    one = await bench("{rpm: 5, tpm: 5000}", Pause())
    asking = asyncio.create_task(one.asked(max_tokens=100))
    while await one.left("tokens", 5_000) == 5_000:
        await asyncio.sleep(0.001)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await one.left("tokens", 5_000) == 5_000
    assert await one.left("requests", 5) == 4  # it was sent


async def test_rates_that_nobody_can_tell_are_a_503() -> None:
    class Stuck:
        async def take(self, rate: Rate, units: int) -> Taken:
            if rate.unit == "tokens":
                raise Uncertain
            taken.append(Taken(rate, units, 0, 1, 0))
            return taken[-1]

        def correct(self, one: Taken, units: int) -> None:
            taken.remove(one)

    taken: list[Taken] = []
    draw = Draw(Stuck(), (Rate("a", "requests", 5), Rate("a", "tokens", 5)))
    await draw.request()
    error = await refused(draw.tokens(request_of({"messages": []}, ACME)))
    assert (error.status, error.code) == (503, "rates_unavailable")
    assert not taken


async def test_used_up_says_of_what() -> None:
    assert str(UsedUp(Rate("tenant:acme", "tokens", 5), 1, 0, 0)) == "tokens of tenant:acme"
