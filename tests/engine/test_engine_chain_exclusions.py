"""Hops that cannot serve a request, whatever happens: skipped with the reason, told if all are."""

import asyncio
import time
from typing import Any

import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.chain import HELD_CHUNKS, Journey
from turnout.engine.decide import Decider
from turnout.engine.provider import Chunk, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.request import Caller, Operation, Request, RequestError

from .test_engine_chain import Over
from .unpaid import unpaid

POLICY = """
providers:
  a: {kind: ollama, base_url: "http://a.example/v1"}
  b: {kind: ollama, base_url: "http://b.example/v1"}
targets:
  a/m: {context_window: 8k, %s}
  b/m: {context_window: 8k}
  b/other: {context_window: 8k}
routing_policy:
  - {name: all, condition: 'request_type == "chat" or request_type == "embeddings"', route: %s}
fallback_chain:
  - {to: b/other, retries: 0}
  - {to: b/m, retries: 0}
"""
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
USER = {"role": "user", "content": "hello"}


def journey(
    ability: str = "tools: true",
    route: str = "a/m",
    operation: Operation = Operation.CHAT,
    **body: Any,
) -> Journey:
    program = compile_policy(Source("test", POLICY % (ability, route)), language_schema())
    body = {"messages": [USER]} | body if operation is Operation.CHAT else {"input": "hello"}
    asked = Request(
        id="req_1",
        operation=operation,
        body=body,
        raw=b"{}",
        model="auto",
        stream=False,
        caller=Caller(),
        headers={},
        received_us=time.time_ns() // 1000,
        started_ns=time.monotonic_ns(),
    )
    decider = Decider(program)
    seen = decider.observe(asked, None, Pulse().tick(program.targets))
    found = decider.decide(seen).destination
    return Journey(
        asked,
        program,
        found.hops,
        found.route,
        None,
        seen,
        1,
        decider.guards,
        unpaid(asked, program),
    )


def chain(*providers: Scripted) -> "Over":
    return Over({p.name: p for p in providers})


CANNOT: list[tuple[str, dict[str, Any], str]] = [
    ("tools: false", {"tools": TOOLS}, "it cannot use tools"),
    ("vision: false", {"messages": [{"role": "user", "content": [IMAGE]}]}, "it cannot see images"),
]


@pytest.mark.parametrize(("ability", "body", "reason"), CANNOT)
async def test_a_hop_without_the_ability_is_skipped_for_the_next(
    ability: str, body: dict[str, Any], reason: str
) -> None:
    trip = journey(ability, **body)
    answered = await chain(Scripted("a", []), Scripted("b", [said("yes")])).answer(trip)
    assert answered.target.id == "b/other"
    assert (trip.attempts[0].outcome, trip.attempts[0].reason) == ("skipped", reason)


@pytest.mark.parametrize(("ability", "body", "reason"), CANNOT)
async def test_where_no_hop_has_the_ability_the_request_is_the_one_at_fault(
    ability: str, body: dict[str, Any], reason: str
) -> None:
    trip = journey(ability, **body)
    with pytest.raises(RequestError) as caught:
        await chain(Scripted("a", []), Scripted("b", [], usable=False)).answer(trip)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")
    assert f"a/m: {reason}" in caught.value.message
    assert "b/other: no credential for `b`" in caught.value.message


async def test_a_request_that_does_not_need_the_ability_goes_there() -> None:
    trip = journey("tools: false", tools=[])
    assert (await chain(Scripted("a", [said("yes")])).answer(trip)).target.id == "a/m"


async def test_requested_is_skipped_where_the_client_named_no_target() -> None:
    trip = journey(route="requested")
    answered = await chain(Scripted("b", [said("yes")])).answer(trip)
    assert answered.target.id == "b/other"
    assert trip.attempts[0].target == "requested"
    assert trip.attempts[0].reason == "the client left the choice to the policy"


async def test_embeddings_fall_back_to_the_same_model_only() -> None:
    trip = journey(operation=Operation.EMBEDDINGS)
    down = Scripted("a", [ProviderError(Fault.CONNECT, "refused")] * 2)
    answered = await chain(down, Scripted("b", [said("vectors")])).answer(trip)
    assert answered.target.id == "b/m"
    skipped = [(a.target, a.reason) for a in trip.attempts if a.outcome == "skipped"]
    assert skipped == [("b/other", "another model's vectors are useless")]


async def test_a_client_that_leaves_before_the_first_content_closes_the_upstream() -> None:
    trip = journey()
    provider = Scripted("a", [[spoken("x")[0], Pause()]])
    task = asyncio.create_task(chain(provider).open(trip))
    while not provider.calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.closed == 1
    (attempt,) = trip.attempts
    assert (attempt.fault, attempt.reason, attempt.sent) == (None, "the client left", True)


async def test_a_stream_of_nothing_but_empty_chunks_is_left_for_the_next_hop() -> None:
    trip = journey()
    endless = Scripted("a", [[Chunk(b"data: {}\n\n", False)] * (HELD_CHUNKS + 5)])
    opened = await chain(endless, Scripted("b", [spoken("hello")])).open(trip)
    assert opened.target.id == "b/other"
    assert trip.attempts[0].fault == Fault.BAD_OUTPUT.value
    assert endless.closed == 1
    await opened.rest.aclose()
