"""Recorded requests of every form explained again by the archived policy, and by the library."""

import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from syrupy.assertion import SnapshotAssertion

from turnout.adapters.scripted import Scripted, said
from turnout.dsl.check import compile_policy
from turnout.dsl.destination import reached
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.policy import Policy
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord
from turnout.engine.request import Caller, Operation, Request, RequestError
from turnout.engine.state.sqlite import open_store
from turnout.engine.trace import Programs, document, render
from turnout.engine.trace import snapshot as recorded_snapshot

POLICY = """
timezone: Europe/Berlin
targets:
  groq/llama-3-8b: {expected: {p95: 400ms, output: 50}, region: us}
  openai/gpt-4o-mini: {expected: {p95: 2s, output: 50}, region: eu}
  anthropic/claude-sonnet: {expected: {p95: 1s, output: 50}, region: eu}
require:
  - name: eu_stays_in_eu
    when: (header["x-region"] ?? "us") == "eu"
    target: region == "eu"
routing_policy:
  - name: cheapest
    condition: header["x-form"] == "cheapest"
    route: {cheapest_of: [anthropic/claude-sonnet, openai/gpt-4o-mini, groq/llama-3-8b]}
    set: {max_tokens: 40}
    tags: [cheap]
  - name: fastest
    condition: header["x-form"] == "fastest"
    route: {fastest_of: [openai/gpt-4o-mini, groq/llama-3-8b], where: p95 < 1.5s}
  - name: emptied
    condition: header["x-form"] == "emptied"
    route: {first_of: [groq/llama-3-8b, openai/gpt-4o-mini], where: p95 < 1ms}
  - name: shared
    condition: header["x-form"] == "split"
    route: {split: {groq/llama-3-8b: 30%, openai/gpt-4o-mini: 70%}, sticky: session}
  - name: ramped
    condition: header["x-form"] == "ramp"
    route: {split: {groq/llama-3-8b: 100%, openai/gpt-4o-mini: 0%},
            ramp: {openai/gpt-4o-mini: 100%, from: 2026-01-01, to: 2036-01-01}}
  - name: refused
    condition: header["x-form"] == "reject"
    route: {reject: 403, message: "not here"}
  - {name: single, route: groq/llama-3-8b, expires: 2024-10-04}
fallback_chain: [anthropic/claude-sonnet]
"""
SCHEMA = language_schema()
PROGRAM = compile_policy(Source("routing.yml", POLICY), SCHEMA)
FORMS = ("cheapest", "fastest", "emptied", "split", "ramp", "reject", "single")


async def asked(home: Path, form: str, region: str) -> DecisionRecord:
    """What a gateway records of a request."""
    records: list[DecisionRecord] = []
    providers = {name: Scripted(name, [said("x")]) for name in ("groq", "openai", "anthropic")}
    gateway = Gateway(
        make_live(PROGRAM, providers),
        Journal(open_store(home)),
        Pulse(),
        records.append,
        lambda _: None,
    )
    await gateway.start()
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    request = Request(
        id=f"req_{form}_{region}",
        operation=Operation.CHAT,
        body=body,
        raw=orjson.dumps(body),
        model="auto",
        stream=False,
        caller=Caller(),
        headers={"x-form": form, "x-region": region, "x-turnout-session": "s"},
        received_us=time.time_ns() // 1000,
        started_ns=time.monotonic_ns(),
    )
    try:
        await gateway.generate(request)
    except RequestError:
        assert form == "reject"
    await gateway.close()
    return records[0]


@pytest.mark.parametrize("region", ["us", "eu"])
@pytest.mark.parametrize("form", FORMS)
async def test_the_archived_policy_makes_the_same_choice(
    tmp_path: Path, form: str, region: str
) -> None:
    record = await asked(tmp_path, form, region)
    store = open_store(tmp_path)
    restored = Programs(SCHEMA).get(PROGRAM.digest, store.policy)
    assert restored is not None and restored is not PROGRAM
    kept = store.record(record.id)
    assert kept is not None
    then, now = document(record, PROGRAM), document(kept, restored)
    assert now["replayed"] is True
    assert now == then


@pytest.mark.parametrize("region", ["us", "eu"])
@pytest.mark.parametrize("form", FORMS)
async def test_the_library_sends_what_was_recorded_to_the_same_target(
    tmp_path: Path, form: str, region: str
) -> None:
    record = await asked(tmp_path, form, region)
    policy = Policy.parse(POLICY)
    seen = recorded_snapshot(record, policy.program)
    decision, explanation = policy.decide(seen), policy.explain(seen)
    assert decision.target == explanation.target == record.target
    assert (decision.rule, decision.route) == (record.rule, record.route)
    led = reached(policy.program, record.clause, seen)
    assert led.target == record.target


FAR: list[tuple[dict[str, Any], str | None, str]] = [
    ({"header.x-form": "cheapest"}, "groq/llama-3-8b", "✓ groq/llama-3-8b"),
    ({"header.x-form": "fastest", "header.x-region": "eu"}, "anthropic/claude-sonnet", "limit eu_"),
    ({"header.x-form": "emptied"}, "anthropic/claude-sonnet", "✗ groq/llama-3-8b"),
    ({"header.x-form": "split", "bucket(shared)": 2_999}, "groq/llama-3-8b", "bucket 2,999 of"),
    ({"header.x-form": "split", "bucket(shared)": 3_000}, "openai/gpt-4o-mini", "bucket 3,000 of"),
    ({"header.x-form": "reject"}, None, "reject: 403"),
    ({"header.x-region": "eu"}, "anthropic/claude-sonnet", "keeps out groq/llama-3-8b"),
]


@pytest.mark.parametrize(("given", "target", "words"), FAR)
def test_a_policy_gives_the_target_of_every_form(
    given: dict[str, Any], target: str | None, words: str
) -> None:
    policy = Policy.parse(POLICY)
    snapshot = {"tokens": 80, "at": "2026-03-01 10:00", "max_tokens": 50} | given
    assert policy.decide(snapshot).target == target
    explanation = policy.explain(snapshot)
    assert explanation.to_json()["target"] == target
    assert words in str(explanation)


@pytest.mark.parametrize("form", ["cheapest", "split", "emptied"])
async def test_a_trace_of_a_form_is_fit_to_be_read(
    tmp_path: Path, form: str, snapshot: SnapshotAssertion
) -> None:
    record = await asked(tmp_path, form, "eu")
    record.received_us, record.took_us, record.digest = 1_772_445_600_000_000, 1_000, "sha256:…"
    for attempt in record.attempts:
        attempt.took_us = 500
    assert render(document(record, PROGRAM)) == snapshot
