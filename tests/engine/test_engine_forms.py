"""Every form of route carried out: choices, splits, rejections, limits, `set`, mirrors, back-off.

Programs are put together by hand: what is written and how it is lowered is the language's affair.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from turnout.adapters.openai_request import chat_body
from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.check import compile_policy
from turnout.dsl.core import (
    Arm,
    Candidate,
    Choice,
    Compare,
    Const,
    Embedding,
    Hop,
    Limit,
    Member,
    Mirror,
    Plan,
    Program,
    Read,
    Reject,
    Slot,
    Split,
    Tenant,
    Term,
)
from turnout.dsl.hops import first_hops
from turnout.dsl.schema import Type
from turnout.dsl.source import Source, Span
from turnout.engine.attributes import BY_NAME
from turnout.engine.catalog import language_schema
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.ledger import entries, entries_of
from turnout.engine.live import make_live
from turnout.engine.provider import Answer, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord, Late
from turnout.engine.request import (
    Reply,
    Request,
    StreamReply,
    Usage,
)
from turnout.engine.state.sqlite import open_store
from turnout.engine.trace import document, render

from .benches import benches, refused, request_of

POLICY = """
providers:
  a: {kind: openai, base_url: "http://a.example/v1"}
  b: {kind: openai, base_url: "http://b.example/v1"}
  c: {kind: openai, base_url: "http://c.example/v1"}
targets:
  a/m: {price: {input: $1/Mtok, output: $1/Mtok}, region: eu, max_output: 4k}
  b/m: {price: {input: $2/Mtok, output: $2/Mtok}, region: us, max_output: 4k}
  c/m: {price: {input: $3/Mtok, output: $3/Mtok}, max_output: 4k}
routing_policy:
  - {name: only, route: a/m, retries: 0, fallback: [{to: b/m, retries: 0}, {to: c/m, retries: 0}]}
fallback_chain:
  - {to: c/m, retries: 0}
"""
BASE = compile_policy(Source("test", POLICY), language_schema())
SPAN = Span(Source("made by hand", "x"), 0, 1)
A, B, C = first_hops(BASE.clauses[0].plan) + (BASE.clauses[0].plan.fallback or ())
TRUE, FALSE, UNKNOWN = (Const(value, Type.BOOL) for value in (True, False, None))
EU = Limit("eu_only", None, Member(Read("target.region", Type.TEXT), frozenset({"eu"})), SPAN)


def number(value: int | None) -> Const:
    return Const(value, Type.NUMBER)


def candidate(
    hop: Hop, rank: int | None, fits: Term = TRUE, where: Term | None = None
) -> Candidate:
    return Candidate(hop, fits, where, number(rank))


def cheapest(*candidates: Candidate) -> Choice:
    return Choice("cheapest_of", candidates, SPAN)


def program(plan: Plan, *limits: Limit, **changes: Any) -> Program:
    clause = replace(BASE.clauses[0], plan=plan)
    slots = dict(BASE.slots) | {
        key: Slot(key, BY_NAME[name], argument)
        for key, name, argument in (
            ("bucket(only)", "bucket", "only"),
            ("has_tools", "has_tools", None),
        )
    }
    return replace(BASE, clauses=(replace(clause, **changes),), limits=limits, slots=slots)


class Bench:
    """A gateway over scripted providers, with what it recorded."""

    def __init__(self, home: Path, made: Program, *providers: Scripted) -> None:
        self.records: list[DecisionRecord] = []
        self.late: list[Late] = []
        self.providers = {one.name: one for one in providers}
        self.pulse = Pulse(min_samples=1)
        self.gateway = Gateway(
            make_live(made, self.providers),
            Journal(open_store(home)),
            self.pulse,
            self.records.append,
            lambda _: None,
            self.late.append,
        )

    def request(self, session: str = "s", **body: Any) -> Request:
        given = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]} | body
        id = f"req_{time.monotonic_ns()}"
        return request_of(given, id=id, headers={"x-turnout-session": session})

    async def trace(self) -> dict[str, Any]:
        return await self.gateway.trace(self.records[-1].id, "default")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with benches(partial(Bench, tmp_path)) as opened:
        yield opened


def answering(*names: str, times: int = 1) -> list[Scripted]:
    return [Scripted(name, [said(f"from {name}") for _ in range(times)]) for name in names]


# --- choices -------------------------------------------------------------------------------------


async def test_a_choice_falls_on_the_best_candidate_and_the_trace_shows_all(bench: Any) -> None:
    plan = Plan(cheapest(candidate(A, 30), candidate(B, 20), candidate(C, 10, fits=FALSE)), None)
    one = await bench(program(plan), *answering("a", "b", "c"))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == "b/m"
    trace = await one.trace()
    assert trace["route"] == "{cheapest_of: [a/m, b/m, c/m]}"
    assert trace["choice"] == [
        {"target": "a/m", "excluded": None, "rank": "30"},
        {"target": "b/m", "excluded": None, "rank": "20"},
        {"target": "c/m", "excluded": "it cannot serve this request", "rank": None},
    ]
    assert trace["replayed"] is True
    assert [hop["target"] for hop in trace["hops"]] == ["b/m"]


async def test_the_other_candidates_are_no_fallback(bench: Any) -> None:
    down = ProviderError(Fault.SERVER, "down")
    plan = Plan(cheapest(candidate(A, 1), candidate(B, 2)), None)
    one = await bench(program(plan), Scripted("a", [down]), *answering("b", "c"))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == "c/m"
    assert one.providers["b"].calls == []


async def test_a_choice_left_empty_goes_to_the_rules_fallback(bench: Any) -> None:
    plan = Plan(cheapest(candidate(A, 1, where=FALSE), candidate(B, 2, where=FALSE)), (C,))
    one = await bench(program(plan), *answering("a", "b", "c"))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == "c/m"
    trace = await one.trace()
    assert [option["excluded"] for option in trace["choice"]] == ["`where` is false"] * 2


async def test_a_choice_left_empty_without_a_fallback_is_403(bench: Any) -> None:
    plan = Plan(cheapest(candidate(A, 1, where=FALSE), candidate(B, 2, fits=FALSE)), ())
    one = await bench(program(plan), *answering("a", "b"))
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (403, "no_target_allowed")
    assert "a/m: `where` is false" in error.message
    assert one.records[0].error == "no_target_allowed"


async def test_explaining_a_choice_calls_nobody(bench: Any) -> None:
    plan = Plan(cheapest(candidate(A, 2), candidate(B, 1)), None, {"max_tokens": 5})
    one = await bench(program(plan, tags=("cheap",)), *answering("a", "b", "c"))
    explained = await one.gateway.explain(one.request())
    assert (explained["rule"], explained["target"]) == ("only", "b/m")
    assert explained["set"] == {"max_tokens": 5}
    assert explained["tags"] == ["cheap"]
    assert [option["rank"] for option in explained["choice"]] == ["2", "1"]
    assert [one.providers[name].calls for name in "abc"] == [[], [], []]


# --- splits --------------------------------------------------------------------------------------


async def test_a_split_follows_the_sessions_bucket_and_is_traced(bench: Any) -> None:
    split = Split(
        Read("bucket(only)", Type.NUMBER), (Arm(A, number(5_000)), Arm(B, number(10_000))), SPAN
    )
    one = await bench(program(Plan(split, ())), *answering("a", "b", times=60))
    served: dict[str, set[str]] = {}
    for turn in range(60):
        session = f"session {turn % 20}"
        reply = await one.gateway.generate(one.request(session))
        served.setdefault(session, set()).add(reply.headers["x-turnout-model"])
        trace = await one.trace()
        expected = "a/m" if trace["bucket"] < 5_000 else "b/m"
        assert trace["target"] == expected
        assert trace["replayed"] is True
    assert all(len(targets) == 1 for targets in served.values())
    assert set.union(*served.values()) == {"a/m", "b/m"}


# --- rejections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retry_after_us", "type_", "should_retry"),
    [
        (413, None, "invalid_request_error", False),
        (429, 3_600_000_000, "rate_limit_error", None),
        (503, None, "service_unavailable_error", False),
    ],
)
async def test_a_rejection_is_told_and_recorded(
    bench: Any, status: int, retry_after_us: int | None, type_: str, should_retry: bool | None
) -> None:
    plan = Plan(Reject(status, "not today", retry_after_us, SPAN), None)
    one = await bench(program(plan), *answering("a"))
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code, error.type) == (status, "policy_rejected", type_)
    assert error.message == "not today"
    assert (error.retry_after_us, error.should_retry) == (retry_after_us, should_retry)
    assert error.headers["x-turnout-rule"] == "only"
    trace = await one.trace()
    assert (trace["status"], trace["outcome"], trace["hops"]) == (status, "rejected", [])
    assert trace["route"] == f'{{reject: {status}, message: "not today"}}'
    assert one.providers["a"].calls == []
    explained = await one.gateway.explain(one.request())
    assert (explained["rule"], explained["target"]) == ("only", None)


# --- limits --------------------------------------------------------------------------------------


async def test_a_limit_keeps_hops_out_and_is_named(bench: Any) -> None:
    one = await bench(program(Plan(B, (A,)), EU), *answering("a", "b"))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == "a/m"
    trace = await one.trace()
    assert [(hop["target"], hop["outcome"], hop["reason"]) for hop in trace["hops"]] == [
        ("b/m", "skipped", "the limit `eu_only` keeps it out"),
        ("a/m", "ok", None),
    ]
    assert trace["limits"] == [{"limit": "eu_only", "target": "b/m"}]
    assert (await one.gateway.explain(one.request()))["target"] == "a/m"


async def test_what_is_not_known_of_a_target_keeps_it_out(bench: Any) -> None:
    one = await bench(program(Plan(C, ()), EU), *answering("c"))
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (403, "no_target_allowed")
    assert "eu_only" in error.message
    assert one.providers["c"].calls == []


@pytest.mark.parametrize(("when", "served"), [(FALSE, "b/m"), (TRUE, "a/m"), (UNKNOWN, "a/m")])
async def test_a_limit_applies_unless_its_when_is_false(
    bench: Any, when: Term, served: str
) -> None:
    limit = replace(EU, when=Compare("==", Read("has_tools", Type.BOOL), FALSE))
    limit = replace(EU, when=when) if when is UNKNOWN else limit
    one = await bench(program(Plan(B, (A,)), limit), *answering("a", "b"))
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {"tools": tools} if when is FALSE else {}
    reply = await one.gateway.generate(one.request(**body))
    assert reply.headers["x-turnout-model"] == served


async def test_a_choice_falls_on_what_the_limits_leave(bench: Any) -> None:
    plan = Plan(cheapest(candidate(B, 1), candidate(A, 2)), None)
    one = await bench(program(plan, EU), *answering("a", "b"))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == "a/m"
    trace = await one.trace()
    assert trace["choice"][0] == {"target": "b/m", "excluded": "eu_only", "rank": None}
    assert {"limit": "eu_only", "target": "b/m"} in trace["limits"]


# --- set -----------------------------------------------------------------------------------------


async def test_what_is_set_reaches_every_hop_and_the_rest_stays_as_written(bench: Any) -> None:
    down = ProviderError(Fault.SERVER, "down")
    plan = Plan(A, (B,), {"max_tokens": 7, "temperature": 0.2})
    one = await bench(program(plan), Scripted("a", [down]), *answering("b"))
    await one.gateway.generate(one.request(max_completion_tokens=900, seed=12345678901234567890))
    for name in "ab":
        (call,) = one.providers[name].calls
        sent = orjson.loads(chat_body(call, {}))
        assert (sent["max_tokens"], "max_completion_tokens" in sent) == (7, False)
        assert sent["temperature"] == 0.2
        assert b"12345678901234567890" in chat_body(call, {})
    assert one.records[0].values["max_tokens"] == 900
    assert (await one.trace())["set"] == {"max_tokens": 7, "temperature": 0.2}


async def test_what_is_set_bounds_the_worst_case(bench: Any) -> None:
    silence = [ProviderError(Fault.TIMEOUT, "late")]
    costs = []
    for sets in ({}, {"max_tokens": 10}):
        one = await bench(program(Plan(A, (), sets)), Scripted("a", [*silence]))
        await refused(one.gateway.generate(one.request()))
        costs.append(one.records[0].attempts[0].unconfirmed_nano_usd)
    # 4 000 tokens at most, or 10; at $1/Mtok.
    assert costs[0] - costs[1] == (4_000 - 10) * 1_000


# --- mirrors -------------------------------------------------------------------------------------


def mirrored(to: Hop = B, sampled: Term = TRUE) -> Plan:
    return Plan(A, (), mirror=Mirror(to, sampled, SPAN))


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_mirror_gets_a_copy_and_is_kept_as_its_own_attempt(
    bench: Any, stream: bool
) -> None:
    step: Any = (lambda: spoken("x")) if stream else (lambda: said("x", usage=Usage(10, 5)))
    one = await bench(
        program(mirrored()),
        Scripted("a", [step()]),
        Scripted("b", [[Pause(20_000), *_acts(step())]]),
    )
    reply = await one.gateway.generate(one.request(stream=stream))
    if isinstance(reply, StreamReply):
        async for _ in reply.chunks:
            pass
    trace = await one.trace()
    assert [hop["target"] for hop in trace["hops"]] == ["a/m"]
    assert (trace["mirror"]["target"], trace["mirror"]["outcome"]) == ("b/m", "pending")
    await until(lambda: one.late)
    trace = await one.trace()
    assert (trace["mirror"]["outcome"], trace["mirror"]["tokens"]["input"]) == ("ok", 10)
    assert [hop["target"] for hop in trace["hops"]] == ["a/m"]
    (late,) = one.late
    (row,) = entries_of(late)
    assert (row.kind, row.target, row.cost_nano_usd > 0) == ("mirror", "b/m", True)
    assert [row.kind for row in entries(one.records[0])] == ["answer"]
    assert one.pulse.tick(BASE.targets).values["p95(b/m)"] >= 20_000


def _acts(step: Any) -> list[Any]:
    return step if isinstance(step, list) else [step]


async def test_a_mirror_neither_delays_nor_fails_its_request(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.engine.gateway.MIRROR_PATIENCE_S", 0.01)
    one = await bench(program(mirrored()), *answering("a"), Scripted("b", [[Pause()]]))
    reply = await one.gateway.generate(one.request())
    assert isinstance(reply, Reply) and reply.headers["x-turnout-attempts"] == "1"
    assert one.late == []
    await one.gateway.close()
    (late,) = one.late
    assert (late.attempt.outcome, late.attempt.unconfirmed_nano_usd > 0) == ("failed", True)


async def test_a_mirror_that_fails_is_only_seen_in_its_trace(bench: Any) -> None:
    down = ProviderError(Fault.SERVER, "down")
    one = await bench(program(mirrored()), *answering("a"), Scripted("b", [down]))
    assert (await one.gateway.generate(one.request())).status == 200
    await until(lambda: one.late or any(a.kind == "mirror" for a in one.records[0].attempts))
    trace = await one.trace()
    assert (trace["mirror"]["outcome"], trace["mirror"]["fault"]) == ("failed", "5xx")
    assert trace["outcome"] == "ok"


async def test_a_mirror_that_a_limit_excludes_is_dropped_and_traced(bench: Any) -> None:
    one = await bench(program(mirrored(), EU), *answering("a", "b"))
    await one.gateway.generate(one.request())
    await until(lambda: one.late or any(a.kind == "mirror" for a in one.records[0].attempts))
    trace = await one.trace()
    assert trace["mirror"]["outcome"] == "skipped"
    assert trace["mirror"]["reason"] == "the limit `eu_only` keeps it out"
    assert one.providers["b"].calls == []


async def test_a_request_that_is_not_sampled_has_no_mirror(bench: Any) -> None:
    one = await bench(program(mirrored(sampled=FALSE)), *answering("a", "b"))
    await one.gateway.generate(one.request())
    assert (await one.trace())["mirror"] is None
    assert one.providers["b"].calls == []


async def test_a_request_that_is_rejected_is_not_copied(bench: Any) -> None:
    plan = Plan(Reject(403, "no", None, SPAN), None, mirror=Mirror(B, TRUE, SPAN))
    one = await bench(program(plan), *answering("b"))
    await refused(one.gateway.generate(one.request()))
    assert (await one.trace())["mirror"] is None
    assert one.providers["b"].calls == []


async def test_too_many_copies_at_once_are_dropped_and_traced(bench: Any) -> None:
    one = await bench(
        program(mirrored()), *answering("a", times=2), Scripted("b", [[Pause(10_000), said("x")]])
    )
    one.gateway._mirrors._at_once = 1
    await one.gateway.generate(one.request())
    await one.gateway.generate(one.request())
    trace = await one.trace()
    assert (trace["mirror"]["outcome"], trace["mirror"]["reason"]) == (
        "skipped",
        "too many copies are under way",
    )


async def test_copies_of_too_many_bytes_at_once_are_dropped_and_traced(bench: Any) -> None:
    copies: list[Any] = [[Pause(10_000), said("x")], said("y")]
    one = await bench(program(mirrored()), *answering("a", times=3), Scripted("b", copies))
    mirrors = one.gateway._mirrors
    mirrors._bytes_left = 1_000
    for length, outcome in ((900, "pending"), (100, "skipped")):
        await one.gateway.generate(one.request(user="x" * length))
        assert (await one.trace())["mirror"]["outcome"] == outcome
    await until(lambda: mirrors._bytes_left == 1_000)
    await one.gateway.generate(one.request(user="x" * 900))
    await until(lambda: mirrors._bytes_left == 1_000)
    assert len(one.providers["b"].calls) == 2


async def test_a_copy_that_the_gateway_stops_says_so(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.engine.gateway.MIRROR_PATIENCE_S", 0.01)
    one = await bench(program(mirrored()), *answering("a"), Scripted("b", [[Pause()]]))
    await one.gateway.generate(one.request())
    await one.gateway.close()
    (late,) = one.late
    assert late.attempt.reason == "the gateway was stopped"


async def test_a_copy_whose_process_was_ended_is_lost_once_it_cannot_be_under_way(
    bench: Any,
) -> None:
    made = program(mirrored())
    one = await bench(made, *answering("a"), Scripted("b", [[Pause(50_000), said("x")]]))
    await one.gateway.generate(one.request())
    (record,) = one.records
    over_us = record.received_us + record.took_us + made.deadline_us
    shown = [
        document(record, made, now_us=now_us)["mirror"]["outcome"]
        for now_us in (record.received_us, over_us, over_us + 60_000_001)
    ]
    assert shown == ["pending", "pending", "lost"]
    assert "gateway ended" in render(document(record, made, now_us=over_us + 60_000_001))


async def test_copies_under_way_end_before_the_gateway_does(bench: Any, tmp_path: Path) -> None:
    one = await bench(
        program(mirrored()), *answering("a"), Scripted("b", [[Pause(50_000), said("x")]])
    )
    await one.gateway.generate(one.request())
    await one.gateway.close()
    assert [late.attempt.outcome for late in one.late] == ["ok"]
    kept = open_store(tmp_path).record(one.records[0].id)
    assert kept is not None
    assert [attempt.kind for attempt in kept.attempts] == ["mirror", "answer"]


# --- signals that cost a call --------------------------------------------------------------------

CLOSE = Compare(">=", Read("similar_to(examples)", Type.SCORE), Const(8_000, Type.SCORE))


def asking(*limits: Limit) -> Program:
    """A rule for what is similar to a list, over one for everything else."""
    made = program(Plan(A, ()), *limits, applies=CLOSE, test=CLOSE)
    slot = Slot("similar_to(examples)", BY_NAME["similar_to"], "examples")
    return replace(
        made,
        slots=dict(made.slots) | {slot.key: slot},
        lists={"examples": ("hello there",)},
        embedding=Embedding("b/m", 1_000_000),
        chain=(C,),
    )


def embedded(*vectors: list[float]) -> Answer:
    rows = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return Answer(orjson.dumps({"data": rows}), Usage(9, 0), "", None, "m")


@pytest.mark.parametrize(
    ("example", "rule", "target"), [([1.0, 0.1], "only", "a/m"), ([0.0, 1.0], None, "c/m")]
)
async def test_a_signal_is_fetched_when_a_rule_needs_it_and_booked(
    bench: Any, example: list[float], rule: str | None, target: str
) -> None:
    vectors = [embedded([1.0, 0.0]), embedded(example), embedded([1.0, 0.0])]
    one = await bench(asking(), *answering("a", "c", times=2), Scripted("b", vectors))
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-model"] == target
    trace = await one.trace()
    assert (trace["rule"], trace["replayed"]) == (rule, True)
    assert [(call["target"], call["outcome"]) for call in trace["embeddings"]] == [
        ("b/m", "ok")
    ] * 2
    assert [hop["target"] for hop in trace["hops"]] == [target]
    rows = entries(one.records[0])
    assert sorted(row.kind for row in rows) == ["answer", "embedding", "embedding"]
    assert len({(row.hop, row.attempt) for row in rows}) == 3
    await one.gateway.generate(one.request())
    assert [hop["target"] for hop in (await one.trace())["embeddings"]] == ["b/m"]


async def test_a_failed_signal_is_unknown_and_fails_no_request(bench: Any) -> None:
    down = [ProviderError(Fault.SERVER, "down"), ProviderError(Fault.SERVER, "down")]
    one = await bench(asking(), *answering("c"), Scripted("b", down))
    assert (await one.gateway.generate(one.request())).headers["x-turnout-model"] == "c/m"
    trace = await one.trace()
    assert trace["unknown"]["similar_to(examples)"] == "the embedding failed: 5xx"


async def test_a_limit_keeps_the_text_from_the_embedding_target(bench: Any) -> None:
    limit = replace(EU, target=Member(Read("target.provider", Type.TEXT), frozenset({"a", "c"})))
    one = await bench(asking(limit), *answering("c"), Scripted("b", []))
    await one.gateway.generate(one.request())
    reason = (await one.trace())["unknown"]["similar_to(examples)"]
    assert reason == "the limit `eu_only` keeps its target out"


async def test_a_client_that_leaves_before_the_signal_came_leaves_a_record_and_a_row(
    bench: Any,
) -> None:
    one = await bench(asking(), Scripted("b", [[Pause()], [Pause()]]))
    leaving = asyncio.create_task(one.gateway.generate(one.request()))
    await until(lambda: len(one.providers["b"].calls) == 2)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    (record,) = one.records
    assert (record.outcome, record.status, record.rule) == ("disconnect", 499, None)
    (row,) = entries(record)
    assert (row.kind, row.target, row.unconfirmed_nano_usd > 0) == ("embedding", "b/m", True)
    trace = await one.trace()
    assert trace["unknown"]["similar_to(examples)"] == "the client left"
    assert trace["replayed"] is True
    assert trace["hops"] == []


async def test_the_record_names_the_live_values_that_it_was_decided_on(bench: Any) -> None:
    late: Any = [Pause(20_000), ProviderError(Fault.SERVER, "down")]
    one = await bench(asking(), *answering("c"), Scripted("b", [late, late]))
    before = one.gateway._table.id
    asked = asyncio.create_task(one.gateway.generate(one.request()))
    await until(lambda: one.providers["b"].calls)
    one.pulse.record("a/m", 5_000, None, None, failed=False)
    one.gateway._table = one.gateway._tick_now()
    assert one.gateway._table.id != before
    await asked
    assert one.records[0].pulse_id == before


async def test_explaining_fetches_no_signal(bench: Any) -> None:
    one = await bench(asking(), Scripted("b", []))
    explained = await one.gateway.explain(one.request())
    assert (explained["rule"], explained["target"]) == (None, "c/m")
    assert explained["trail"][0]["outcome"] == "unknown"


# --- the rest ------------------------------------------------------------------------------------


async def test_the_record_has_the_tier_that_the_file_gives_the_tenant(bench: Any) -> None:
    made = replace(program(Plan(A, ())), tenants={"default": Tenant("default", "pro")})
    one = await bench(made, *answering("a"))
    await one.gateway.generate(one.request())
    trace = await one.trace()
    assert (trace["tier"], trace["values"]["tier"]) == ("pro", "pro")


async def test_an_expired_rule_still_runs_and_warns_once_a_day(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = await bench(program(Plan(A, ()), expires=20_000), *answering("a", times=2))
    with caplog.at_level(logging.WARNING, "turnout.gateway"):
        for _ in range(2):
            await one.gateway.generate(one.request())
    assert [r.message for r in caplog.records] == [
        "the rule `only` expired on 2024-10-04 and still runs"
    ]
    assert (await one.trace())["expired"] is True
