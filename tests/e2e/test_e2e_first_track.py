"""The first file in the world that must work, over real processes and the official SDK."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from turnout.simulator.process import SimulatorProcess

SIZES = [
    # words of the prompt (80, 700 and 300 tokens with their message), the rule, the target
    (72, "cheap_for_simple", "groq/llama-3-8b"),
    (692, "smart_for_complex", "anthropic/claude-sonnet"),
    (292, "default", "openai/gpt-4"),
]


def ask(url: str, words: int = 60, **more: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "word " * words}]} | more
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)


def trace_of(served: Any, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{served.url}/v1/traces/{request_id}").json()
    return found


@pytest.mark.parametrize(("words", "rule", "target"), SIZES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_length_of_the_prompt_decides(
    gateway: Any, words: int, rule: str, target: str, stream: bool
) -> None:
    served = gateway
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)
    messages: Any = [{"role": "user", "content": "word " * words}]
    if stream:
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=messages, stream=True
        )
        chunks = list(raw.parse())
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert chunks[-1].model == "auto"
    else:
        whole = client.chat.completions.with_raw_response.create(model="auto", messages=messages)
        raw = whole  # type: ignore[assignment]
        answer = whole.parse()
        text = answer.choices[0].message.content or ""
        assert answer.model == "auto"
    assert "word" in text
    assert raw.headers["x-turnout-rule"] == rule
    assert raw.headers["x-turnout-model"] == target

    trace = trace_of(served, raw.headers["x-request-id"])
    assert (trace["rule"], trace["target"]) == (rule, target)
    assert [hop["outcome"] for hop in trace["hops"]] == ["ok"]
    assert trace["tokens"]["input"] == words + 8
    assert trace["tokens"]["output"] > 0
    assert float(trace["cost"]) > 0
    tried = [step["rule"] for step in trace["trail"] if step["outcome"] != "not_tried"]
    assert tried == [r for _, r, _ in SIZES if r in ("cheap_for_simple", rule)] or rule == "default"


def test_with_a_provider_gone_the_next_hop_answers_and_the_trace_says_why(
    serve: Callable[..., Any], first_policy: str
) -> None:
    with SimulatorProcess(["groq"]) as gone:
        address = gone.base_url("groq")
        policy = "\n".join(
            f"  groq: {{base_url: '{address}'}}" if line.startswith("  groq: {base") else line
            for line in first_policy.splitlines()
        )
        served = serve(policy)
        before = ask(served.url)
        assert before.headers["x-turnout-model"] == "groq/llama-3-8b"
        gone.stop()

        answer = ask(served.url)
    assert answer.status_code == 200
    assert answer.headers["x-turnout-model"] == "anthropic/claude-sonnet"
    assert answer.elapsed.total_seconds() < 5
    trace = trace_of(served, answer.headers["x-request-id"])
    assert [(h["target"], h["outcome"], h["fault"]) for h in trace["hops"]] == [
        ("groq/llama-3-8b", "failed", "connect"),
        ("groq/llama-3-8b", "failed", "connect"),
        ("groq/llama-3-70b", "failed", "connect"),
        ("groq/llama-3-70b", "failed", "connect"),
        ("anthropic/claude-sonnet", "ok", None),
    ]


def test_the_command_line_explains_the_same_request(gateway: Any) -> None:
    served = gateway
    answer = ask(served.url, 680)
    command = [sys.executable, "-m", "turnout", "trace", answer.headers["x-request-id"]]
    environment = {"TURNOUT_HOME": str(served.home), "PATH": "/usr/bin:/bin"}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    data = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert text.returncode == 0, text.stderr
    for wanted in ("smart_for_complex", "cheap_for_simple", "tokens < 100", "anthropic/claude-son"):
        assert wanted in text.stdout
    assert json.loads(data.stdout) == trace_of(served, answer.headers["x-request-id"])


def test_the_ledger_has_one_row_per_upstream_call_and_the_price_is_exact(
    serve: Callable[..., Any], first_policy: str
) -> None:
    served = serve(first_policy)
    answer = ask(served.url, 680)
    usage = answer.json()["usage"]
    trace = trace_of(served, answer.headers["x-request-id"])
    served.stop()
    with sqlite3.connect(served.home / "turnout.db") as database:
        rows = database.execute(
            "select target, tokens_in, tokens_out, cost_nano_usd, usage_source, rule from ledger"
        ).fetchall()
    assert len(rows) == 1
    target, tokens_in, tokens_out, cost, source, rule = rows[0]
    assert (target, source, rule) == ("anthropic/claude-sonnet", "upstream", "smart_for_complex")
    assert (tokens_in, tokens_out) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert cost == round(float(trace["cost"]) * 1e9)
    assert answer.headers["x-turnout-cost"] == trace["cost"]


ERRORS: list[tuple[str, str, Any, int, str | None]] = [
    ("GET", "/v1/nothing", None, 404, None),
    ("POST", "/v1/chat/completions", b"{", 400, None),
    ("POST", "/v1/chat/completions", {"model": "auto"}, 400, None),
    ("POST", "/v1/chat/completions", {"model": "gpt-9x", "messages": []}, 400, None),
    (
        "POST",
        "/v1/chat/completions",
        {"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]},
        404,
        "model_not_found",
    ),
    ("GET", "/v1/models/no-such-model", None, 404, "model_not_found"),
    ("GET", "/v1/traces/req_nothing", None, 404, "trace_not_found"),
]


def test_every_error_is_openais_envelope(gateway: Any) -> None:
    served = gateway
    for method, path, body, status, code in ERRORS:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        response = httpx.request(
            method,
            served.url + path,
            content=content,
            headers={"content-type": "application/json"},
            timeout=30,
        )
        assert response.status_code == status, (path, response.text)
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, path
        assert response.headers["x-request-id"].startswith("req_")
        if code is not None:
            assert error["code"] == code


def test_embeddings_go_to_the_requested_model(gateway: Any) -> None:
    served = gateway
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.model == "text-embedding-3-small"
    assert len(answer.data[0].embedding) == 1536


def test_models_are_listed_and_found_by_name(gateway: Any) -> None:
    served = gateway
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)
    names = {model.id for model in client.models.list()}
    assert {"auto", "groq/llama-3-8b", "gpt-4o"} <= names
    assert client.models.retrieve("groq/llama-3-8b").id == "groq/llama-3-8b"


def test_explain_says_where_a_request_would_go_and_calls_nobody(
    gateway: Any, simulators: dict[str, SimulatorProcess]
) -> None:
    served = gateway
    calls = {name: s.stats()["total"] for name, s in simulators.items()}
    body = {"model": "auto", "messages": [{"role": "user", "content": "word " * 680}]}
    explained = httpx.post(f"{served.url}/v1/explain", json=body).json()
    assert explained["rule"] == "smart_for_complex"
    assert explained["target"] == "anthropic/claude-sonnet"
    assert [step["outcome"] for step in explained["trail"]] == ["false", "true", "not_tried"]
    assert calls == {name: s.stats()["total"] for name, s in simulators.items()}


def test_health_ready_and_metrics_answer(gateway: Any) -> None:
    served = gateway
    ask(served.url)
    health = httpx.get(f"{served.url}/health").json()
    assert health["status"] == "ok"
    assert set(health["gateway"]) == {"uptime", "models", "latency_ms"}
    assert httpx.get(f"{served.url}/ready").status_code == 200
    assert 'rule="cheap_for_simple"' in httpx.get(f"{served.url}/metrics").text


def test_an_old_trace_is_explained_by_the_policy_of_its_day(
    serve: Callable[..., Any], first_policy: str
) -> None:
    served = serve(first_policy)
    answer = ask(served.url, 60)
    before = trace_of(served, answer.headers["x-request-id"])
    served.stop()
    changed = serve(first_policy.replace("tokens < 100", "tokens < 10"))
    assert ask(changed.url, 60).headers["x-turnout-rule"] == "default"
    assert trace_of(changed, answer.headers["x-request-id"]) == before
