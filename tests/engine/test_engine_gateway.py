"""One request from start to end, over scripted providers and a real journal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.dsl.units import format_usd
from turnout.engine import tokens
from turnout.engine.catalog import language_schema
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.ledger import charge, entries, usage_source
from turnout.engine.live import make_live
from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord, Vitals
from turnout.engine.request import (
    Caller,
    Operation,
    Reply,
    Request,
    StreamReply,
    Usage,
)
from turnout.engine.state.sqlite import open_store

from .benches import benches, refused, request_of

POLICY = """
attributes: {tier: [free, pro]}
routing_policy:
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b, retries: 0}
  - {name: asked, condition: model != "auto", route: requested, retries: 0}
  - {name: free, condition: tier == "free", route: openai/gpt-4, retries: 0}
fallback_chain:
  - {to: openai/gpt-4o-mini, retries: 0}
"""
SCHEMA = language_schema()


class Bench:
    """A gateway with what it recorded."""

    def __init__(self, home: Path, policy: str, *providers: Scripted) -> None:
        self.records: list[DecisionRecord] = []
        self.ticks: list[Vitals] = []
        self.program = compile_policy(Source("test", policy), SCHEMA)
        self.journal = Journal(open_store(home))
        self.pulse = Pulse()
        self.gateway = Gateway(
            make_live(self.program, {provider.name: provider for provider in providers}),
            self.journal,
            self.pulse,
            self.records.append,
            self.ticks.append,
        )
        self._next = 0

    def request(
        self,
        words: int = 5,
        *,
        model: str = "auto",
        operation: Operation = Operation.CHAT,
        tier: str = "default",
        **body: Any,
    ) -> Request:
        self._next += 1
        if operation is Operation.CHAT:
            body = {"messages": [{"role": "user", "content": "word " * words}]} | body
        body = {"model": model} | body
        return request_of(body, Caller(tier=tier), id=f"req_{self._next}", operation=operation)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    def make(*providers: Scripted, policy: str = POLICY) -> Bench:
        return Bench(tmp_path, policy, *providers)

    async with benches(make) as opened:
        yield opened


async def test_a_whole_answer_carries_the_decision_and_its_exact_cost(bench: Any) -> None:
    usage = Usage(1000, 200, cached=300)
    one = await bench(Scripted("groq", [said("hello", usage=usage)]))
    reply = await one.gateway.generate(one.request())
    assert isinstance(reply, Reply)
    record = one.records[0]
    cost = charge(one.program.targets["groq/llama-3-8b"].tariff, usage)
    assert cost > 0
    assert record.cost_nano_usd == cost
    assert float(reply.headers["x-turnout-cost"]) == pytest.approx(cost / 1e9)
    assert reply.headers["x-turnout-rule"] == "short"
    assert reply.headers["x-turnout-model"] == "groq/llama-3-8b"
    assert reply.headers["x-turnout-policy"] == one.program.digest
    assert reply.headers["x-turnout-attempts"] == "1"
    assert (record.rule, record.target, record.outcome, record.status) == (
        "short",
        "groq/llama-3-8b",
        "ok",
        200,
    )


async def test_a_provider_that_reports_no_usage_is_estimated_and_marked(bench: Any) -> None:
    silent = Answer(b"{}", None, "four little words here", "stop", None)
    one = await bench(Scripted("groq", [silent]))
    await one.gateway.generate(one.request(5))
    usage = one.records[0].attempts[0].usage
    assert usage is not None and usage.estimated
    assert (usage.input, usage.output) == (15, 5)


async def test_every_request_is_recorded_with_the_base_set_and_no_prompt(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    await one.gateway.generate(one.request(temperature=0.5, max_tokens=7))
    values = one.records[0].values
    assert values["request_type"] == "chat"
    assert (values["messages"], values["n"], values["max_tokens"]) == (1, 1, 7)
    assert (values["tenant"], values["tier"], values["team"]) == ("default", "default", None)
    assert {"has_tools", "has_images", "has_audio", "has_schema", "stream"} <= set(values)
    assert "word word" not in repr(one.records[0])


async def test_a_stream_is_recorded_once_it_has_been_read(bench: Any) -> None:
    one = await bench(Scripted("groq", [spoken("hel", "lo", usage=Usage(12, 2))]))
    reply = await one.gateway.generate(one.request(stream=True))
    assert isinstance(reply, StreamReply)
    assert "x-turnout-cost-estimate" in reply.headers and "x-turnout-cost" not in reply.headers
    assert one.records == []
    events = [event async for event in reply.chunks]
    assert b"".join(events).count(b"data: ") == 4
    assert reply.failure is None and not reply.native
    record = one.records[0]
    assert (record.outcome, record.attempts[0].usage) == ("ok", Usage(12, 2))
    assert record.attempts[0].ttft_us is not None


async def test_a_stream_that_is_never_read_is_a_disconnect(bench: Any) -> None:
    groq = Scripted("groq", [spoken("hel", "lo")])
    one = await bench(groq)
    reply = await one.gateway.generate(one.request(stream=True))
    await reply.chunks.aclose()
    await reply.chunks.aclose()
    assert [r.outcome for r in one.records] == ["disconnect"]
    assert groq.closed == 1
    assert one.records[0].attempts[0].usage.estimated


async def test_a_client_that_leaves_in_the_middle_pays_for_what_it_saw(bench: Any) -> None:
    groq = Scripted("groq", [[*spoken("one", " two")[:3], Pause()]])
    one = await bench(groq)
    reply = await one.gateway.generate(one.request(stream=True))
    for _ in range(3):
        await anext(reply.chunks)
    await reply.chunks.aclose()
    record = one.records[0]
    assert (record.outcome, record.error) == ("disconnect", "client_left")
    assert record.attempts[0].usage == Usage(15, 3, estimated=True)
    assert record.cost_nano_usd > 0
    assert groq.closed == 1


async def test_a_stream_that_breaks_says_why(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    broken: list[Any] = [*spoken("one")[:2], ProviderError(Fault.CONNECT, "the connection broke")]
    one = await bench(Scripted("groq", [broken]))
    reply = await one.gateway.generate(one.request(stream=True))
    assert b"error" not in b"".join([event async for event in reply.chunks])
    failure = reply.failure
    assert failure is not None
    assert (failure.message, failure.code) == ("the connection broke", "bad_gateway")
    record = one.records[0]
    assert (record.outcome, record.attempts[0].fault) == ("cut", "connect")
    (told,) = [line.getMessage() for line in caplog.records if line.name == "turnout.attempts"]
    assert told.startswith(record.id) and told.endswith("failed: connect, the connection broke")
    assert record.attempts[0].usage.estimated


async def test_a_request_that_was_sent_and_not_answered_may_have_cost_the_worst(bench: Any) -> None:
    one = await bench(Scripted("groq", [Pause()]))
    task = asyncio.create_task(one.gateway.generate(one.request(max_tokens=100)))
    while not one.gateway._live.providers["groq"].calls:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    attempt = one.records[0].attempts[0]
    assert (one.records[0].outcome, attempt.usage) == ("disconnect", None)
    assert attempt.unconfirmed_nano_usd > 0
    assert one.records[0].cost_nano_usd == 0


async def test_a_refusal_by_the_provider_costs_nothing(bench: Any) -> None:
    no = ProviderError(Fault.BAD_REQUEST, "`stop` is too long", status=400, param="stop")
    one = await bench(Scripted("groq", [no]), Scripted("openai", []))
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.param, error.message) == (400, "stop", "`stop` is too long")
    assert error.headers["x-turnout-rule"] == "short"
    assert one.records[0].attempts[0].unconfirmed_nano_usd == 0


NAMES = [
    # model, status, code
    ("no-such-model", 404, "model_not_found"),
    ("nobody/gpt-4", 404, "model_not_found"),
    ("", 404, "model_not_found"),
]


@pytest.mark.parametrize(("model", "status", "code"), NAMES)
async def test_an_unknown_model_is_refused_and_nobody_is_asked(
    bench: Any, model: str, status: int, code: str
) -> None:
    one = await bench(Scripted("groq", []))
    error = await refused(one.gateway.generate(one.request(model=model)))
    assert (error.status, error.code) == (status, code)


async def test_requested_goes_where_the_client_asked(bench: Any) -> None:
    openai = Scripted("openai", [said("hello")])
    one = await bench(Scripted("groq", []), openai)
    reply = await one.gateway.generate(one.request(500, model="gpt-4o"))
    assert (reply.headers["x-turnout-rule"], reply.headers["x-turnout-model"]) == (
        "asked",
        "openai/gpt-4o",
    )
    assert openai.calls[0].upstream_model == "gpt-4o"


async def test_where_no_rule_matches_the_chain_is_the_plan(bench: Any) -> None:
    one = await bench(Scripted("groq", []), Scripted("openai", [said("hello")]))
    reply = await one.gateway.generate(one.request(500, tier="pro"))
    assert reply.headers["x-turnout-model"] == "openai/gpt-4o-mini"
    assert "x-turnout-rule" not in reply.headers
    assert (one.records[0].clause, one.records[0].rule) == (None, None)


async def test_where_no_rule_matches_and_no_chain_is_left_it_is_404(bench: Any) -> None:
    policy = "routing_policy:\n  - {name: a, condition: tokens < 1, route: groq/llama-3-8b}\n"
    one = await bench(Scripted("groq", []), policy=policy)
    request = one.request()
    error = await refused(one.gateway.generate(request))
    assert (error.status, error.code) == (404, "no_rule_matched")
    trace = await one.gateway.trace(request.id, "default")
    assert (trace["rule"], trace["route"], trace["error"]) == (None, None, "no_rule_matched")
    assert [step["outcome"] for step in trace["trail"]] == ["false"]


async def test_embeddings_go_to_the_requested_model_and_nowhere_else(bench: Any) -> None:
    down = ProviderError(Fault.SERVER, "down", status=500)
    openai = Scripted("openai", [said("x"), *[down] * 4])
    one = await bench(Scripted("groq", []), openai)
    ask = {"model": "text-embedding-3-small", "operation": Operation.EMBEDDINGS, "input": "x"}
    reply = await one.gateway.embeddings(one.request(**ask))
    assert reply.headers["x-turnout-model"] == "openai/text-embedding-3-small"
    trace = await one.gateway.trace(one.records[-1].id, "default")
    assert (trace["rule"], trace["route"], trace["chosen"]) == (None, "requested", "requested")
    error = await refused(one.gateway.embeddings(one.request(**ask)))
    assert error.status == 502
    assert {call.upstream_model for call in openai.calls} == {"text-embedding-3-small"}


async def test_a_journal_that_cannot_take_more_stops_paid_work(bench: Any) -> None:
    one = await bench(Scripted("groq", []))
    one.journal.close()
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (503, "journal_full")
    assert one.gateway.health()["status"] == "degraded"


async def test_explain_and_trace_agree_on_the_rule(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    request = one.request()
    explained = await one.gateway.explain(request)
    await one.gateway.generate(request)
    trace = await one.gateway.trace(request.id, "default")
    assert explained["rule"] == trace["rule"] == "short"
    assert explained["trail"] == trace["trail"]
    assert (await refused(one.gateway.trace(request.id, "other"))).status == 404


async def test_a_long_prompt_is_counted_away_from_the_event_loop(bench: Any) -> None:
    policy = """
routing_policy:
  - {name: fits, condition: tokens < 60k, route: openai/gpt-4o}
  - {name: long, route: groq/llama-3-8b}
"""
    one = await bench(Scripted("groq", []), Scripted("openai", [said("hello")]), policy=policy)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await one.gateway.generate(one.request(50_000))
    watching.cancel()
    assert one.records[0].rule == "fits"
    # Only an exact count can tell 50 000 from 60 000 words; the loop went on meanwhile.
    assert one.records[0].values["tokens"] == 50_008
    assert turns > 10


async def test_a_model_of_a_known_provider_without_a_price_is_refused_by_name(bench: Any) -> None:
    one = await bench(Scripted("groq", []), Scripted("openai", []))
    error = await refused(one.gateway.generate(one.request(model="openai/gpt-imaginary")))
    assert (error.status, error.code, error.param) == (400, "model_unpriced", "model")
    assert "targets:" in error.message


async def test_any_model_of_a_free_provider_can_be_asked_for(bench: Any) -> None:
    ollama = Scripted("ollama", [said("hello")])
    one = await bench(Scripted("groq", []), ollama)
    reply = await one.gateway.generate(one.request(500, model="ollama/my-own:7b"))
    assert reply.headers["x-turnout-model"] == "ollama/my-own:7b"
    assert ollama.calls[0].upstream_model == "my-own:7b"
    assert one.records[0].cost_nano_usd == 0


async def test_a_malformed_answer_may_have_cost_its_worst_case(bench: Any) -> None:
    page = ProviderError(Fault.BAD_OUTPUT, "not a chat completion", status=200)
    one = await bench(Scripted("groq", [page]), Scripted("openai", [said("hi")]))
    await one.gateway.generate(one.request())
    attempt = one.records[0].attempts[0]
    assert usage_source(attempt) == "unconfirmed"
    assert attempt.unconfirmed_nano_usd > 0


async def test_the_cost_header_has_what_a_failed_hop_reported(bench: Any) -> None:
    usage = Usage(1_000, 100)
    broken = ProviderError(Fault.SERVER, "down", usage=usage)
    one = await bench(Scripted("groq", [broken]), Scripted("openai", [said("hi")]))
    reply = await one.gateway.generate(one.request())
    record = one.records[0]
    assert record.attempts[0].cost_nano_usd > 0
    assert reply.headers["x-turnout-cost"] == format_usd(record.cost_nano_usd)


async def test_a_defect_after_the_request_was_sent_is_in_the_ledger(bench: Any) -> None:
    def breaks(call: Call) -> Any:
        call.sent = True
        raise KeyError("a defect")

    one = await bench(Scripted("groq", [breaks]))
    with pytest.raises(KeyError):
        await one.gateway.generate(one.request())
    [row] = entries(one.records[0])
    assert (row.usage_source, row.unconfirmed_nano_usd > 0) == ("unconfirmed", True)


async def test_a_long_prompt_is_estimated_without_holding_the_loop(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Answer(b"{}", None, "four little words here", "stop", None)
    one = await bench(Scripted("openai", [silent]), policy=POLICY.replace("tokens < 100", "n > 9"))
    counted: list[Request] = []
    monkeypatch.setattr(tokens, "count", counted.append)
    await one.gateway.generate(one.request(100_000))
    usage = one.records[0].attempts[0].usage
    assert usage is not None and usage.estimated
    assert 100_000 <= usage.input <= 250_000
    assert counted == []


@pytest.mark.parametrize("stream", [True, False])
async def test_half_a_character_in_the_session_costs_nobody_the_record(
    bench: Any, stream: bool
) -> None:
    one = await bench(Scripted("groq", [spoken("hi") if stream else said("hi")]))
    request = replace(one.request(stream=stream), headers={"x-turnout-session": "\udcff"})
    reply = await one.gateway.generate(request)
    if isinstance(reply, StreamReply):
        assert len([event async for event in reply.chunks]) == 3
    assert len(one.records[0].session_hash) == 64


async def test_embeddings_need_a_model_by_name(bench: Any) -> None:
    one = await bench(Scripted("groq", []))
    request = one.request(operation=Operation.EMBEDDINGS, input="x")
    error = await refused(one.gateway.embeddings(request))
    assert (error.status, error.code, error.param) == (400, "model_required", "model")


async def test_embeddings_keep_the_clocks_of_the_file(bench: Any) -> None:
    policy = "defaults: {retries: 0, connect: 3s}\n" + POLICY
    down = ProviderError(Fault.SERVER, "down", status=500)
    openai = Scripted("openai", [down])
    one = await bench(Scripted("groq", []), openai, policy=policy)
    ask = {"model": "text-embedding-3-small", "operation": Operation.EMBEDDINGS, "input": "x"}
    await refused(one.gateway.embeddings(one.request(**ask)))
    assert [call.connect_us for call in openai.calls] == [3_000_000]
