"""Test, explanation, simulation and gateway take the same target for a request."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.destination import reached
from turnout.dsl.interpret.traced import trace
from turnout.dsl.snapshot import Snapshot
from turnout.engine.decide import Decider, recorded
from turnout.engine.names import Names
from turnout.engine.policy import Policy
from turnout.engine.record import PulseTable
from turnout.engine.replay import Replay, Row
from turnout.engine.request import Caller, Operation, Request

POLICY = Policy.parse("""
targets:
  groq/llama-3-8b:         {expected: {p95: 400ms, output: 50}, region: us}
  openai/gpt-4o-mini:      {expected: {p95: 2s, output: 50}, region: eu}
  anthropic/claude-sonnet: {expected: {p95: 1s, output: 50}, region: eu}
let:
  form: '(header["x-form"] ?? "")'
require:
  - {name: eu, when: '(header["x-region"] ?? "us") == "eu"', target: region == "eu"}
routing_policy:
  - {name: single, condition: form == "single", route: groq/llama-3-8b}
  - {name: asked, condition: form == "asked", route: requested}
  - name: cheapest
    condition: form == "cheapest"
    route: {cheapest_of: [openai/gpt-4o-mini, groq/llama-3-8b]}
  - name: emptied
    condition: form == "emptied"
    route: {first_of: [openai/gpt-4o-mini, anthropic/claude-sonnet], where: p95 < 1ms}
    fallback: [{to: groq/llama-3-8b, when: has_tools}, openai/gpt-4o-mini]
  - name: halves
    condition: form == "halves"
    route: {split: {groq/llama-3-8b: 50%, openai/gpt-4o-mini: 50%}, sticky: session}
  - {name: refused, condition: form == "refused", route: {reject: 403, message: "no"}}
fallback_chain:
  - {to: groq/llama-3-8b, when: stream}
  - anthropic/claude-sonnet
""")

SNAPSHOTS = st.fixed_dictionaries(
    {
        "tokens": st.integers(0, 2_000),
        "header.x-form": st.sampled_from(
            ("single", "asked", "cheapest", "emptied", "halves", "refused", "other")
        ),
        "header.x-region": st.sampled_from(("eu", "us")),
        "model": st.sampled_from(
            ("auto", "gpt-4o", "openai/gpt-4o-mini", "groq/llama-3-8b", "mistral/nobody-knows")
        ),
        "request_type": st.sampled_from(("chat", "embeddings")),
        "session": st.text("0123456789abcdef", min_size=8, max_size=8),
        "has_tools": st.booleans(),
        "stream": st.booleans(),
    }
)


@given(SNAPSHOTS)
def test_a_tests_target_is_the_engines(values: dict[str, object]) -> None:
    seen = POLICY.snapshot(values)
    fired = trace(POLICY.program, seen).clause
    assert POLICY.decide(seen).target == reached(POLICY.program, fired, seen).target
    assert POLICY.explain(seen).target == POLICY.decide(seen).target


REQUESTED = Policy.parse("""
targets: {groq/llama-3-8b: {region: us}, openai/gpt-4o-mini: {region: eu}}
let: {form: '(header["x-form"] ?? "")'}
require:
  - {name: eu, when: '(header["x-region"] ?? "us") == "eu"', target: region == "eu"}
routing_policy:
  - {name: asked, condition: form == "asked", route: requested}
  - {name: own, condition: form == "own", route: requested, fallback: [groq/llama-3-8b]}
  - {name: on, condition: form == "on", route: groq/llama-3-8b}
fallback_chain: [{to: groq/llama-3-8b, when: stream}, openai/gpt-4o-mini, requested]
""")
FREE = Policy.parse("""
let: {form: '(header["x-form"] ?? "")'}
routing_policy:
  - {name: asked, condition: form == "asked", route: requested}
  - {name: own, condition: form == "own", route: requested, fallback: [groq/llama-3-8b]}
  - {name: on, condition: form == "on" and request_type == "embeddings", route: groq/llama-3-8b}
fallback_chain: [groq/llama-3-8b, openai/gpt-4o-mini]
""")
REQUESTS = st.tuples(
    st.sampled_from((REQUESTED, FREE)),
    st.sampled_from((Operation.CHAT, Operation.EMBEDDINGS)),
    st.sampled_from(("auto", "gpt-4o", "groq/llama-3-8b", "text-embedding-3-small")),
    st.sampled_from(("asked", "own", "on", "none")),
    st.sampled_from(("eu", "us")),
    st.booleans(),
)


@given(REQUESTS)
def test_every_command_finds_the_target_that_the_gateway_takes(asked: Any) -> None:
    policy, operation, model, form, region, stream = asked
    body: dict[str, Any] = {"model": model, "stream": stream}
    if operation is Operation.CHAT:
        body["messages"] = [{"role": "user", "content": "hello"}]
    else:
        body["input"] = "hello"
    request = Request(
        id="req_1",
        operation=operation,
        body=body,
        raw=orjson.dumps(body),
        model=model,
        stream=stream,
        caller=Caller(),
        headers={"x-form": form, "x-region": region},
        received_us=1_795_000_000_000_000,
        started_ns=time.monotonic_ns(),
    )
    program = policy.program
    decider = Decider(program)
    requested = Names(program, program.schema.catalog).resolve(model).target
    live = decider.observe(request, requested, PulseTable("", 0, {}, {}))
    decision = decider.decide(live)
    target = decider.target_of(decision)
    recorded(live)
    seen = Snapshot(dict(live))
    assert policy.decide(seen).target == policy.explain(seen).target == target
    assert Replay(program).decide(Row(Replay(program), dict(live))).target == target
    clause = None if decision.clause is None else decision.clause.index
    assert reached(program, clause, seen).target == target


def test_embeddings_that_no_rule_is_about_go_where_they_ask_to() -> None:
    seen = {"request_type": "embeddings", "model": "text-embedding-3-small", "tokens": 9}
    decision = FREE.decide(seen)
    assert (decision.route, decision.target) == ("requested", "openai/text-embedding-3-small")
    assert "no rule matched: what was asked for" in str(FREE.explain(seen))


NAMED = Policy.parse("""
models: {smart: policy, fast: groq/llama-3-8b}
routing_policy:
  - {name: asked, condition: has_tools, route: requested, fallback: [openai/gpt-4o-mini]}
  - {name: plain, condition: stream, route: openai/gpt-4o, fallback: [requested]}
  - {name: rest, route: groq/llama-3-8b}
""")


@pytest.mark.parametrize(
    ("values", "target", "why"),
    [
        ({"has_tools": True, "model": "smart"}, "openai/gpt-4o-mini", None),
        ({"has_tools": True, "model": "fast"}, "groq/llama-3-8b", None),
        ({"has_tools": True, "model": "nobody"}, None, "nobody knows the model `nobody`"),
        ({"stream": True, "model": "nobody"}, "openai/gpt-4o", None),
        ({"model": "nobody"}, "groq/llama-3-8b", None),
    ],
)
def test_a_name_of_the_policy_is_no_model_and_an_unknown_model_no_target(
    values: dict[str, object], target: str | None, why: str | None
) -> None:
    explanation = NAMED.explain({"tokens": 9} | values)
    assert (explanation.target, explanation.why_no_target) == (target, why)
    assert NAMED.decide({"tokens": 9} | values).target == target
    replay = Replay(NAMED.program)
    decided = replay.decide(Row(replay, dict(NAMED.snapshot({"tokens": 9} | values))))
    assert (decided.target, decided.is_unknown) == (target, why is not None)


def test_where_nothing_was_asked_for_the_fallback_answers() -> None:
    decision = FREE.decide({"model": "auto", "header.x-form": "asked", "tokens": 9})
    assert (decision.route, decision.target) == ("requested", "groq/llama-3-8b")
