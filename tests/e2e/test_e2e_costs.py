"""Spend as operators and programs see it, over real processes: costs, budgets, alerts, rules."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

BODY = {"model": "auto", "max_tokens": 40, "messages": [{"role": "user", "content": "word " * 20}]}


class Hook:
    """A webhook on this machine; refuses as long as it is told to."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        self.refuses = False
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if hook.refuses:
                    hook.refused += 1
                else:
                    hook.taken.append(json.loads(body))
                self.send_response(500 if hook.refuses else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/s3cret-token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def told(self) -> list[str]:
        return [f"{one['budget']} {one['share'] or one['what']}" for one in self.taken]


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def ask(url: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=BODY | more, timeout=60)


def turnout(served: Any, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "turnout", *words],
        env=os.environ | {"TURNOUT_HOME": str(served.home)},
        cwd=served.home.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(true: Callable[[], object], patience_s: float = 20) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_was_spent_is_told_alike_by_the_command_and_over_http_while_serving(
    serve: Callable[..., Any], addresses: str
) -> None:
    policy = f"""
timezone: Europe/Berlin
routing_policy:
  - {{name: short, condition: max_tokens < 30, route: groq/llama-3-8b}}
  - {{name: rest, route: openai/gpt-4o-mini}}
budgets:
  - {{name: monthly, scope: tenant, limit: $100/month}}
{addresses}"""
    served = serve(policy, "--workers", "2")
    answers = [ask(served.url, max_tokens=n) for n in (20, 40, 40, 20, 40)]
    assert [one.status_code for one in answers] == [200] * 5
    cost = sum(Decimal(one.headers["x-turnout-cost"]) for one in answers)

    def live(query: str = "") -> dict[str, Any]:
        response = httpx.get(f"{served.url}/v1/costs{query}")
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()
        return told

    began = time.monotonic()
    until(lambda: live()["total"]["calls"] == 5)
    assert time.monotonic() - began < 3
    document = live("?by=rule")
    said = json.loads(turnout(served, "costs", "--by", "rule", "--format", "json"))
    assert {**said, "as_of": 0} | {"filters": {}} == {**document, "as_of": 0} | {"filters": {}}
    assert document["timezone"] == "Europe/Berlin" and document["filters"] == {"tenant": "default"}
    assert {row["name"]: row["calls"] for row in document["rows"]} == {"short": 2, "rest": 3}
    assert sum(Decimal(row["cost"]) for row in document["rows"]) == cost
    assert Decimal(document["total"]["cost"]) == cost
    assert document["total"]["budget"]["name"] == "monthly"

    (budget,) = httpx.get(f"{served.url}/v1/budgets").json()["budgets"]
    assert (budget["name"], budget["who"], Decimal(budget["settled"])) == (
        "monthly",
        "default",
        cost,
    )
    listed = json.loads(turnout(served, "budget", "--format", "json"))["budgets"]
    assert [(one["name"], Decimal(one["settled"])) for one in listed] == [("monthly", cost)]
    assert "all counters are as the ledger says" in turnout(served, "budget", "reconcile")

    trace = httpx.get(f"{served.url}/v1/traces/{answers[0].headers['x-request-id']}").json()
    assert trace["hops"][0]["payer"] == "gateway"
    assert Decimal(trace["hops"][0]["reserved"]) >= Decimal(trace["hops"][0]["cost"])


@pytest.mark.parametrize(
    ("query", "status", "param", "told"),
    [
        ("by=hour", 400, "by", "`day`, `model`"),
        ("since=yesterday", 400, "since", "2026-11-01"),
        ("timezone=Nowhere", 400, "timezone", "Europe/Berlin"),
        ("limit=0", 400, "limit", "10000"),
        ("by=day&by=model", 400, "by", "twice"),
        ("sort=cost", 400, "sort", "`by`"),
        ("tenant=other", 403, "tenant", "`admin`"),
        ("tenant=*", 403, "tenant", "`admin`"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    gateway: Any, query: str, status: int, param: str, told: str
) -> None:
    response = httpx.get(f"{gateway.url}/v1/costs?{query}")
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert told in error["message"]


def test_a_rule_on_what_a_budget_has_left_reroutes_once_it_is_spent(
    serve: Callable[..., Any], addresses: str
) -> None:
    policy = f"""
routing_policy:
  - {{name: sparing, condition: 'budget("month").left < $4.9999', route: groq/llama-3-8b}}
  - {{name: rest, route: openai/gpt-4o}}
budgets:
  - {{name: month, scope: tenant, limit: $5/month}}
{addresses}"""
    served = serve(policy, "--workers", "2")
    assert ask(served.url).headers["x-turnout-rule"] == "rest"
    until(lambda: ask(served.url).headers["x-turnout-rule"] == "sparing", 5)
    # From then on in every worker.
    time_to_tell = time.monotonic() + 1.5
    until(lambda: time.monotonic() > time_to_tell)
    assert {ask(served.url).headers["x-turnout-rule"] for _ in range(12)} == {"sparing"}


def test_four_workers_alert_once_also_after_failures_and_a_restart(
    serve: Callable[..., Any], addresses: str, hook: Hook, tmp_path: Path
) -> None:
    policy = f"""
routing_policy:
  - {{name: all, route: openai/gpt-4o-mini}}
budgets:
  - {{name: month, scope: tenant, limit: $0.0001/month, at: {{50%: alert, 100%: alert}}}}
{addresses}"""
    secret = tmp_path / "hook"
    secret.write_text(hook.url)
    settings = {"TURNOUT_ALERT_WEBHOOK_FILE": str(secret), "TURNOUT_ALERT_SECRET": "hush-hush-hush"}
    hook.refuses = True
    served = serve(policy, "--workers", "4", **settings)
    for _ in range(8):
        assert ask(served.url).status_code == 200
    until(lambda: hook.refused >= 3)
    metrics = httpx.get(f"{served.url}/metrics").text
    assert 'turnout_alerts_total{result="said"}' in metrics
    assert served.stop() == 0
    log = served.log.read_text()
    assert log.count("has reached 50%") == log.count("has reached 100%") == 1
    assert "s3cret" not in log and "hush" not in log
    hook.refuses = False
    again = serve(policy, **settings)
    until(lambda: len(hook.taken) >= 2)
    for _ in range(8):
        assert ask(again.url).status_code == 200
    time_to_tell = time.monotonic() + 3
    until(lambda: time.monotonic() > time_to_tell)
    assert again.stop() == 0
    assert sorted(set(hook.told) - {"month projected"}) == ["month 100%", "month 50%"]
    assert len(hook.told) == len(set(hook.told))
