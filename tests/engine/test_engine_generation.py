"""What every protocol shares on its way through the engine: limits, counts, passing as it is."""

from typing import Any

import orjson
import pytest

from tests.engine.benches import refused
from tests.engine.test_engine_gateway import Bench, bench
from turnout.adapters.scripted import Scripted, said, spoken
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.engine.request import Operation, OwnKey, Reply, StreamReply, Usage

__all__ = ["bench"]  # the fixture

LIMITS = {"x-ratelimit-remaining-requests": "3"}
MIRRORED = """
routing_policy:
  - {name: all, route: groq/llama-3-8b, mirror: {to: openai/gpt-4, sample: 100%}}
"""


def limited(step: Any) -> Any:
    def play(call: Call) -> Any:
        call.limits = LIMITS
        return step

    return play


class Counting(Scripted):
    """A provider that counts prompts itself, or fails to."""

    def __init__(self, name: str, counted: int | ProviderError) -> None:
        super().__init__(name, [])
        self._counted = counted

    async def models(self, patience_us: int) -> list[str] | None:
        return None

    def owned(self, key: OwnKey) -> None:
        return None

    @property
    def place(self) -> str:
        return self.name

    async def probe(self, patience_us: int) -> bool:
        return False

    async def count(self, call: Call) -> int | None:
        call.sent = True
        self.calls.append(call)
        if isinstance(self._counted, ProviderError):
            raise self._counted
        return self._counted


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_has_the_limits_of_the_provider_that_gave_it(
    bench: Any, stream: bool
) -> None:
    step = spoken("x") if stream else said("x")
    one = await bench(Scripted("groq", [limited(step)]))
    reply = await one.gateway.generate(one.request(stream=stream))
    assert reply.headers.items() >= LIMITS.items()
    if isinstance(reply, StreamReply):
        await reply.chunks.aclose()


async def test_only_a_refusal_for_a_rate_has_the_limits(bench: Any) -> None:
    for fault, there in ((Fault.RATE_LIMIT, True), (Fault.BAD_REQUEST, False)):
        broken = limited(ProviderError(fault, "no"))
        one = await bench(Scripted("groq", [broken]), Scripted("openai", [broken]))
        error = await refused(one.gateway.generate(one.request()))
        assert (error.headers.items() >= LIMITS.items()) is there, fault


@pytest.mark.parametrize("stream", [False, True])
async def test_what_passed_as_it_is_says_so(bench: Any, stream: bool) -> None:
    def play(call: Call) -> Any:
        call.native = True
        return spoken("x") if stream else said("x")

    one = await bench(Scripted("groq", [play]))
    reply = await one.gateway.generate(one.request(stream=stream))
    assert reply.native
    if isinstance(reply, StreamReply):
        await reply.chunks.aclose()


async def counted(one: Bench) -> Reply:
    return await one.gateway.count(one.request(5))


async def test_a_count_is_the_provider_s_own_and_costs_nothing(bench: Any) -> None:
    one = await bench(Counting("groq", 41))
    reply = await counted(one)
    assert orjson.loads(reply.body) == {"input_tokens": 41}
    assert reply.headers["x-turnout-count"] == "provider"
    assert reply.headers["x-turnout-cost"] == "0"
    record = one.records[0]
    assert (record.outcome, record.cost_nano_usd) == ("ok", 0)
    assert record.attempts[0].usage == Usage(0, 0)


async def test_without_one_the_count_is_ours(bench: Any) -> None:
    one = await bench(Scripted("groq", []))
    reply = await counted(one)
    assert orjson.loads(reply.body) == {"input_tokens": 15}
    assert reply.headers["x-turnout-count"] == "estimated"


async def test_a_count_that_fails_is_asked_of_the_next_hop(bench: Any) -> None:
    broken = Counting("groq", ProviderError(Fault.SERVER, "down"))
    one = await bench(broken, Counting("openai", 12))
    assert orjson.loads((await counted(one)).body) == {"input_tokens": 12}
    assert one.records[0].cost_nano_usd == 0
    assert [attempt.unconfirmed_nano_usd for attempt in one.records[0].attempts] == [0, 0]


async def test_no_copy_is_sent_of_a_count(bench: Any) -> None:
    copied = Scripted("openai", [])
    one = await bench(Counting("groq", 41), copied, policy=MIRRORED)
    await counted(one)
    assert copied.calls == []


@pytest.mark.parametrize(
    "operation", [Operation.COMPLETIONS, Operation.RESPONSES, Operation.MESSAGES]
)
async def test_every_protocol_of_generation_meets_the_rules_about_generation(
    bench: Any, operation: Operation
) -> None:
    one = await bench(Scripted("groq", [said("x")]))
    words = {"messages": [{"role": "user", "content": "hello"}]}
    await one.gateway.generate(one.request(operation=operation, **words))
    assert (one.records[0].rule, one.records[0].operation) == ("short", operation.value)
