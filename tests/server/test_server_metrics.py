"""Metrics: counted from records, with labels that no client can make up."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout.engine.metrics import (
    MOST_TARGETS,
    MULTIPROCESS_VARIABLE,
    Metrics,
    share_between_processes,
)
from turnout.engine.record import Attempt, DecisionRecord
from turnout.engine.request import Usage

ATTEMPT = Attempt(
    target="openai/gpt-4",
    upstream_model="gpt-4-0613",
    outcome="ok",
    hop=1,
    number=1,
    started_us=0,
    took_us=250_000,
    sent=True,
    usage=Usage(input=10, output=20, cached=4),
    cost_nano_usd=1_500_000,
    ttft_us=120_000,
)
FAILED = replace(
    ATTEMPT,
    target="groq/llama-3-70b",
    outcome="failed",
    fault="timeout",
    usage=None,
    cost_nano_usd=0,
    ttft_us=None,
)
SKIPPED = replace(FAILED, target="anthropic/claude-sonnet", outcome="skipped", fault=None)


def record(**changes: Any) -> DecisionRecord:
    base = DecisionRecord(
        id="req_1",
        received_us=0,
        took_us=300_000,
        digest="sha256:abc",
        operation="chat",
        tenant="default",
        tier="default",
        team=None,
        user=None,
        key_id=None,
        session_hash="",
        model="gpt-4",
        stream=True,
        clause=0,
        rule="default",
        route="openai/gpt-4",
        target="openai/gpt-4",
        values={},
        reasons={},
        intervals={},
        attempts=[FAILED, SKIPPED, ATTEMPT],
        status=200,
    )
    return replace(base, **changes)


def lines(metrics: Metrics) -> dict[str, float]:
    rows = metrics.render().decode().splitlines()
    pairs = [row.rsplit(" ", 1) for row in rows if row and not row.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_a_record_is_counted_in_every_family() -> None:
    metrics = Metrics()
    metrics.observe(record())
    metrics.observe(record())
    seen = lines(metrics)
    assert (
        seen[
            'turnout_requests_total{operation="chat",outcome="ok",rule="default",status="200",'
            'target="openai/gpt-4",tenant="default"}'
        ]
        == 2
    )
    tried = 'turnout_attempts_total{fault="%s",outcome="%s",target="%s"}'
    assert seen[tried % ("timeout", "failed", "groq/llama-3-70b")] == 2
    assert seen[tried % ("none", "skipped", "anthropic/claude-sonnet")] == 2
    assert seen[tried % ("none", "ok", "openai/gpt-4")] == 2
    tokens = 'turnout_tokens_total{kind="%s",target="openai/gpt-4",tenant="default"}'
    assert [seen[tokens % kind] for kind in ("input", "output", "cached")] == [20, 40, 8]
    cost = 'turnout_cost_nano_usd_total{rule="default",target="openai/gpt-4",tenant="default"}'
    assert seen[cost] == 3_000_000
    latency = 'turnout_request_seconds_sum{operation="chat",stream="true",target="openai/gpt-4"}'
    assert seen[latency] == pytest.approx(0.6)
    assert seen['turnout_first_token_seconds_count{target="openai/gpt-4"}'] == 2
    assert 'turnout_attempt_seconds_count{outcome="skipped"' not in metrics.render().decode()
    assert seen['turnout_policy_info{hash="sha256:abc"}'] == 1


def test_what_clients_make_up_never_becomes_a_label() -> None:
    metrics = Metrics(tenants=("default", "acme"))
    metrics.observe(
        record(model="made-up", target=None, rule=None, attempts=[], status=404, outcome="error")
    )
    metrics.observe(record(tenant="stranger"))
    metrics.observe(record(tenant="acme"))
    for number in range(MOST_TARGETS + 50):
        target = f"openai/ft:gpt-4o:{number}"
        metrics.observe(record(target=target, attempts=[replace(ATTEMPT, target=target)]))
    text = metrics.render().decode()
    assert "made-up" not in text and "stranger" not in text
    assert 'tenant="other"' in text and 'tenant="acme"' in text
    assert 'rule="none",status="404",target="none"' in text
    assert len({line for line in text.split('"') if line.startswith("openai/")}) <= MOST_TARGETS
    other = 'turnout_tokens_total{kind="input",target="other",tenant="default"}'
    assert lines(metrics)[other] >= 50 * 10


def test_gauges_follow_what_they_show() -> None:
    metrics = Metrics()
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    metrics.journal_queue(7)
    metrics.policy("sha256:old")
    metrics.policy("sha256:new")
    seen = lines(metrics)
    assert seen["turnout_open_streams"] == 1
    assert seen["turnout_journal_queue"] == 7
    assert seen['turnout_policy_info{hash="sha256:old"}'] == 0
    assert seen['turnout_policy_info{hash="sha256:new"}'] == 1


def test_processes_that_count_together_leave_nothing_to_their_successors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, "to be put back")
    ended = tmp_path / "999999999"
    running = tmp_path / "1"
    own = tmp_path / str(os.getpid())
    for folder in (ended, running, own):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    assert share_between_processes(tmp_path) == own
    assert os.environ[MULTIPROCESS_VARIABLE] == str(own)
    assert not ended.exists() and list(own.iterdir()) == []
    assert (running / "counter_1.db").exists()
