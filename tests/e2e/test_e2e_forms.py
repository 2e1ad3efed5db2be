"""Every form of route and every option of a rule, served from a file over real sockets.

The header `x-form` picks the rule; what each request came to is read from its trace.
Over 300 lines because the policy and what is asked of it stand side by side.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from turnout.simulator.process import SimulatorProcess

GROQ, GPT, CLAUDE = "groq/llama-3-8b", "openai/gpt-4o-mini", "anthropic/claude-sonnet"

POLICY = """
version: 1
timezone: UTC
defaults: {retries: 0, backoff: 10ms}
breakers: {failures: 5, cool_down: 1s}
targets:
  groq/llama-3-8b:         {expected: {p95: 400ms, ttft: 90ms, output: 50}, region: us}
  openai/gpt-4o-mini:      {expected: {p95: 2s, ttft: 30ms, output: 50}, region: eu}
  anthropic/claude-sonnet: {expected: {p95: 1s, ttft: 60ms, output: 50}, region: eu}
let:
  form: 'header["x-form"]'
require:
  - name: eu_stays_in_eu
    when: (header["x-region"] ?? "us") == "eu"
    target: region == "eu"
routing_policy:
  - {name: single, condition: form == "single", route: groq/llama-3-8b}
  - {name: asked, condition: form == "requested", route: requested}
  - name: cheapest
    condition: form == "cheapest"
    route: {cheapest_of: [anthropic/claude-sonnet, openai/gpt-4o-mini, groq/llama-3-8b]}
  - name: fastest
    condition: form == "fastest"
    route: {fastest_of: [groq/llama-3-8b, openai/gpt-4o-mini], by: ttft.p95, where: p95 < 3s}
  - name: first
    condition: form == "first"
    route:
      first_of: [anthropic/claude-sonnet, groq/llama-3-8b]
      where: p95 < 500ms
  - name: emptied
    condition: form == "emptied"
    route: {first_of: [anthropic/claude-sonnet, openai/gpt-4o-mini], where: p95 < 1ms}
    fallback: [groq/llama-3-8b]
  - name: canary
    condition: form == "split"
    route: {split: {groq/llama-3-8b: 50%, openai/gpt-4o-mini: 50%}, sticky: session}
  - name: ramped
    condition: form == "ramp"
    route: {split: {groq/llama-3-8b: 100%, openai/gpt-4o-mini: 0%},
            ramp: {openai/gpt-4o-mini: 100%, from: 2026-01-01, to: 2026-01-08}}
  - name: refused
    condition: form == "reject"
    route: {reject: 413, message: "long documents need a paid plan", retry_after: 1h}
  - name: copied
    condition: form == "mirror"
    route: groq/llama-3-8b
    mirror: {to: openai/gpt-4o-mini, sample: 100%}
  - name: written
    condition: form == "set"
    route: openai/gpt-4o-mini
    set: {max_tokens: 7, temperature: 0.2, user: policy}
    tags: [short, cheap]
  - name: old
    condition: form == "expired"
    route: groq/llama-3-8b
    expires: 2024-10-04
  - name: guarded
    condition: form == "fallback"
    route: groq/llama-3-8b
    fallback:
      - {to: openai/gpt-4o, when: has_tools}
      - {to: openai/gpt-4o-mini, catch: [rate_limit]}
      - {to: anthropic/claude-sonnet, catch: [5xx]}
  - name: caught
    condition: form == "catch"
    route: groq/llama-3-8b
    catch: [rate_limit]
    fallback: [openai/gpt-4o-mini]
  - name: held
    condition: form == "hold" and not healthy("groq/llama-3-8b")
    route: openai/gpt-4o-mini
    hold: 10m
  - {name: otherwise, condition: form == "hold", route: groq/llama-3-8b}
fallback_chain:
  - anthropic/claude-sonnet
"""


@dataclass
class Asked:
    """An answer with its trace."""

    status: int
    headers: httpx.Headers
    body: str
    trace: dict[str, Any]

    @property
    def hops(self) -> list[tuple[str, str, str | None]]:
        return [(hop["target"], hop["outcome"], hop["fault"]) for hop in self.trace["hops"]]


Ask = Callable[..., Asked]


@pytest.fixture(scope="module")
def served(serve_for_all: Callable[..., Any], addresses: str) -> Any:
    return serve_for_all(POLICY + addresses)


@pytest.fixture
def ask(served: Any) -> Ask:
    def send(form: str, *, stream: bool = False, region: str = "", **more: Any) -> Asked:
        headers = {"x-form": form, "x-turnout-session": more.pop("session", "s")}
        if region:
            headers["x-region"] = region
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": "word " * 60}],
            "stream": stream,
            **more,
        }
        answer = httpx.post(
            f"{served.url}/v1/chat/completions", json=body, headers=headers, timeout=30
        )
        return Asked(
            answer.status_code, answer.headers, answer.text, trace_of(served, answer.headers)
        )

    return send


def trace_of(served: Any, headers: httpx.Headers) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{served.url}/v1/traces/{headers['x-request-id']}").json()
    return found


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


CHOICES: list[tuple[str, str, str, str]] = [
    # form, rule, target, route as the trace has it
    ("single", "single", GROQ, GROQ),
    ("cheapest", "cheapest", GROQ, f"{{cheapest_of: [{CLAUDE}, {GPT}, {GROQ}]}}"),
    (
        "fastest",
        "fastest",
        GPT,
        f"{{fastest_of: [{GROQ}, {GPT}], by: ttft.p95, where: p95 < 3s}}",
    ),
    ("first", "first", GROQ, f"{{first_of: [{CLAUDE}, {GROQ}], where: p95 < 500ms}}"),
    (
        "ramp",
        "ramped",
        GPT,
        f"{{split: {{{GROQ}: 100%, {GPT}: 0%}}, "
        f"ramp: {{{GPT}: 100%, from: 2026-01-01, to: 2026-01-08}}}}",
    ),
]


@pytest.mark.parametrize(("form", "rule", "target", "route"), CHOICES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_form_comes_to_its_target(
    ask: Ask, form: str, rule: str, target: str, route: str, stream: bool
) -> None:
    got = ask(form, stream=stream)
    assert got.status == 200
    assert got.headers["x-turnout-rule"] == rule
    assert got.headers["x-turnout-model"] == target
    assert (got.trace["rule"], got.trace["route"], got.trace["target"]) == (rule, route, target)
    assert got.hops == [(target, "ok", None)]
    assert got.trace["replayed"] is True
    if stream:
        assert got.body.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("form", "rule", "target", "route"), CHOICES)
def test_explain_says_the_same_and_calls_nobody(
    served: Any,
    simulators: dict[str, SimulatorProcess],
    form: str,
    rule: str,
    target: str,
    route: str,
) -> None:
    before = [one.stats()["total"] for one in simulators.values()]
    body = {"model": "auto", "messages": [{"role": "user", "content": "word " * 60}]}
    headers = {"x-form": form, "x-turnout-session": "s"}
    explained = httpx.post(f"{served.url}/v1/explain", json=body, headers=headers).json()
    assert (explained["rule"], explained["target"]) == (rule, target)
    assert explained["route"] == route
    assert [one.stats()["total"] for one in simulators.values()] == before


@pytest.mark.parametrize("stream", [False, True])
def test_requested_gives_what_was_asked_for(ask: Ask, stream: bool) -> None:
    got = ask("requested", stream=stream, model="gpt-4o")
    assert got.headers["x-turnout-model"] == "openai/gpt-4o"
    assert got.trace["route"] == "requested"


def test_the_trace_of_a_choice_shows_every_candidate(ask: Ask) -> None:
    shown = {one["target"]: one for one in ask("cheapest").trace["choice"]}
    assert list(shown) == [CLAUDE, GPT, GROQ]
    ranks = {name: float(one["rank"].removeprefix("$")) for name, one in shown.items()}
    assert ranks[GROQ] < ranks[GPT] < ranks[CLAUDE]
    first = ask("first").trace["choice"]
    assert [one["excluded"] for one in first] == ["`where` is false", None]


def test_a_choice_left_empty_goes_to_the_rules_fallback(ask: Ask) -> None:
    got = ask("emptied")
    assert got.headers["x-turnout-model"] == GROQ
    assert [one["excluded"] for one in got.trace["choice"]] == ["`where` is false"] * 2
    assert got.hops == [(GROQ, "ok", None)]


def test_a_split_keeps_a_session_where_it_is(ask: Ask) -> None:
    served: dict[str, set[str]] = {}
    for turn in range(24):
        session = f"session {turn % 8}"
        got = ask("split", session=session, stream=turn % 2 == 1)
        served.setdefault(session, set()).add(got.trace["target"])
        assert got.trace["target"] == (GROQ if got.trace["bucket"] < 5_000 else GPT)
        assert [one["target"] for one in got.trace["choice"]] == [GROQ, GPT]
    assert all(len(targets) == 1 for targets in served.values())
    assert set.union(*served.values()) == {GROQ, GPT}


@pytest.mark.parametrize("stream", [False, True])
def test_a_rejection_has_its_status_message_and_time(ask: Ask, stream: bool) -> None:
    got = ask("reject", stream=stream)
    assert got.status == 413
    assert json.loads(got.body)["error"] == {
        "message": "long documents need a paid plan",
        "type": "invalid_request_error",
        "param": None,
        "code": "policy_rejected",
    }
    assert got.headers["retry-after"] == "3600"
    assert got.headers["x-turnout-rule"] == "refused"
    assert (got.trace["outcome"], got.trace["error"]) == ("rejected", "policy_rejected")
    assert got.trace["hops"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_mirror_is_in_the_trace_and_the_ledger_apart(
    ask: Ask, served: Any, simulators: dict[str, SimulatorProcess], stream: bool
) -> None:
    before = simulators["openai"].stats()["total"]["requests"]
    got = ask("mirror", stream=stream)
    assert got.headers["x-turnout-model"] == GROQ
    assert got.headers["x-turnout-attempts"] == "1"
    until(lambda: trace_of(served, got.headers)["mirror"]["outcome"] != "pending")
    trace = trace_of(served, got.headers)
    assert (trace["mirror"]["target"], trace["mirror"]["outcome"]) == (GPT, "ok")
    assert trace["mirror"]["tokens"]["output"] > 0
    assert [hop["target"] for hop in trace["hops"]] == [GROQ]
    assert simulators["openai"].stats()["total"]["requests"] == before + 1
    with sqlite3.connect(served.home / "turnout.db") as database:
        kinds = database.execute(
            "select kind, target from ledger where request = ? order by kind",
            [got.headers["x-request-id"]],
        ).fetchall()
    assert kinds == [("answer", GROQ), ("mirror", GPT)]


def test_what_is_set_goes_upstream_and_is_traced(
    ask: Ask, simulators: dict[str, SimulatorProcess]
) -> None:
    for stream in (False, True):
        got = ask("set", stream=stream, max_completion_tokens=900, temperature=1.0)
        assert got.trace["set"] == {"max_tokens": 7, "temperature": 0.2, "user": "policy"}
        assert got.trace["tags"] == ["short", "cheap"]
        assert got.trace["values"]["max_tokens"] == 900
        assert got.trace["tokens"]["output"] <= 7
        (request,) = simulators["openai"].requests(last=1)
        sent = request["body"]
        assert sent["max_tokens"] == 7 and "max_completion_tokens" not in sent
        assert (sent["temperature"], sent["user"]) == (0.2, "policy")


def test_a_limit_filters_choices_hops_and_mirrors(ask: Ask, served: Any) -> None:
    got = ask("cheapest", region="eu")
    assert got.trace["target"] == GPT
    assert {"limit": "eu_stays_in_eu", "target": GROQ} in got.trace["limits"]
    shown = {one["target"]: one["excluded"] for one in got.trace["choice"]}
    assert shown[GROQ] == "eu_stays_in_eu"
    got = ask("single", region="eu", stream=True)
    assert got.hops == [(GROQ, "skipped", None), (CLAUDE, "ok", None)]
    assert got.trace["hops"][0]["reason"] == "the limit `eu_stays_in_eu` keeps it out"


def test_an_expired_rule_runs_and_says_so(ask: Ask, served: Any) -> None:
    assert [ask("expired").trace["expired"] for _ in range(2)] == [True, True]
    said = served.log.read_text().count("the rule `old` expired on 2024-10-04 and still runs")
    assert said == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_is_entered_by_its_when_and_its_catch(
    ask: Ask, simulators: dict[str, SimulatorProcess], stream: bool
) -> None:
    simulators["groq"].fault({"kind": "status", "status": 500})
    try:
        got = ask("fallback", stream=stream)
    finally:
        simulators["groq"].clear_faults()
    assert got.hops == [
        (GROQ, "failed", "5xx"),
        ("openai/gpt-4o", "skipped", None),
        (GPT, "skipped", None),
        (CLAUDE, "ok", None),
    ]
    reasons = [hop["reason"] for hop in got.trace["hops"][1:3]]
    assert reasons == ["its `when` is not true", "its `catch` does not name 5xx"]


def test_a_rules_own_catch_says_which_faults_leave_it(
    ask: Ask, simulators: dict[str, SimulatorProcess]
) -> None:
    for status, expected in ((500, 502), (429, 200)):
        simulators["groq"].fault({"kind": "status", "status": status})
        try:
            assert ask("catch").status == expected
        finally:
            simulators["groq"].clear_faults()


def test_hold_stays_after_the_reason_has_gone(
    ask: Ask, simulators: dict[str, SimulatorProcess]
) -> None:
    assert ask("hold").trace["rule"] == "otherwise"
    simulators["groq"].fault({"kind": "status", "status": 500})
    try:
        for _ in range(5):
            ask("single")
        until(lambda: ask("hold").trace["rule"] == "held")
    finally:
        simulators["groq"].clear_faults()
    until(lambda: ask("single").headers["x-turnout-model"] == GROQ)
    # Healthy again at the next tick, and still held.
    until(lambda: ask("hold").trace["values"].get(f"healthy({GROQ})") is not False)
    got = ask("hold", stream=True)
    assert got.trace["rule"] == "held"
    held = [key for key in got.trace["values"] if key.startswith("held(")]
    assert [got.trace["values"][key] for key in held] == [True]
    assert got.trace["replayed"] is True
