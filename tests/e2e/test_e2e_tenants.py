"""Tenants and rates as operators and clients meet them: several workers, one truth."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from turnout.simulator.process import SimulatorProcess

from .conftest import Served, providers_of

RULES = "routing_policy:\n  - {name: all, route: openai/gpt-4o, retries: 0}\n"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
URL = "/v1/chat/completions"


def told(served: Served, body: dict[str, object] = BODY) -> httpx.Response:
    """An answer over a connection of its own, so that any worker may get it."""
    return httpx.post(served.url + URL, json=body, timeout=30)


def until(served: Served, status: int, within_s: float) -> httpx.Response:
    """The first answer with this status; it must come in time."""
    end = time.monotonic() + within_s
    while True:
        answer = told(served)
        if answer.status_code == status:
            return answer
        assert time.monotonic() < end, answer.text


def test_a_rate_holds_over_all_workers(
    serve: Callable[..., Served], simulators: dict[str, SimulatorProcess]
) -> None:
    tenants = "tenants: {default: {rpm: 30, tpm: 1000k}}\n"
    served = serve(tenants + RULES + providers_of(simulators), "--workers", "3")
    statuses: Counter[int] = Counter()
    headers: list[httpx.Headers] = []
    lock = threading.Lock()

    def hammer() -> None:
        for _ in range(12):
            answer = told(served)
            with lock:
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    headers.append(answer.headers)

    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert statuses == {200: 30, 429: 42}
    for had in headers:
        assert had["x-ratelimit-limit-requests"] == "30"
        assert had["x-ratelimit-remaining-requests"] == "0"
        assert 0 < int(had["retry-after"]) <= 61
        assert int(had["retry-after"]) == -(-int(had["retry-after-ms"]) // 1000)
    refused = httpx.get(served.url + "/metrics").text
    assert 'turnout_refused_total{reason="over_rate"} 42.0' in refused
    # What is refused for its size, or cannot be read, does not count, and says so.
    big = told(served, BODY | {"max_tokens": 2_000_000})
    assert big.status_code == 429 and "a minute" in big.json()["error"]["message"]


def test_a_stored_budget_and_rate_are_in_force_within_a_second(
    serve: Callable[..., Served], simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(RULES + providers_of(simulators), "--workers", "2")
    admin = f"{served.url}/v1/admin/tenants/default"
    assert told(served).status_code == 200
    httpx.put(admin, json={"budgets": [{"limit": "$0.000000001/day"}]}).raise_for_status()
    time_s = 1.5  # a second, and what a request takes on a busy machine
    refused = until(served, 402, time_s)
    assert refused.json()["error"]["code"] == "budget_exceeded"
    httpx.put(admin, json={"rpm": 1}).raise_for_status()
    until(served, 200, time_s)
    assert until(served, 429, time_s).json()["error"]["code"] == "rate_limit_exceeded"
    assert httpx.delete(admin).status_code == 200
    until(served, 200, time_s)


def test_who_was_refused_by_a_budget_is_in_the_audit_log_once_a_minute(
    serve: Callable[..., Served], simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(
        "budgets: [{name: tiny, scope: tenant, of: default, limit: $0.000001/day}]\n"
        + RULES
        + providers_of(simulators)
    )
    for body in (BODY, BODY | {"stream": True}, BODY):
        assert told(served, body).status_code == 402
    assert served.stop() == 0
    with sqlite3.connect(f"file:{served.home}/turnout.db?mode=ro", uri=True) as database:
        select = "select actor, object, outcome, detail from audit where action = 'request.refuse'"
        first, others = database.execute(f"{select} order by number").fetchall()
    assert first[:3] == others[:3] == ("anonymous", "default", "refused")
    detail = json.loads(first[3])
    reason = detail.pop("reason")
    assert detail == {"code": "budget_exceeded", "budget": "tiny", "of": "tenant default"}
    assert "the budget `tiny` has $0.000001 left" in reason
    assert json.loads(others[3])["more"] == 2


def test_the_command_and_the_gateway_see_the_same_tenants(
    serve: Callable[..., Served], simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(RULES + providers_of(simulators), TURNOUT_BUDGET_MONTHLY_USD="0.000000001")
    assert told(served).json()["error"]["code"] == "budget_exceeded"  # the environment's

    def tenants(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "turnout", "tenants", *words],
            cwd=served.home.parent,
            env={**os.environ, "TURNOUT_HOME": str(served.home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    tenants("set", "default", "--budget", "$5/month", "--tpm", "200k")
    until(served, 200, 1.5)
    shown = httpx.get(f"{served.url}/v1/admin/tenants/default").json()
    assert shown["settings"] == {"tpm": 200_000, "budgets": [{"limit": "$5/month"}]}
    assert "200000" in tenants("list")
    tenants("remove", "default")
    until(served, 402, 1.5)
    assert Path(served.home / "run" / "rates").exists()
