"""Metrics: counted from records, with labels that no client can make up."""

import json
import os
import re
import subprocess
import sys
import time
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
from turnout.engine.record import Attempt, DecisionRecord, Vitals
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


def test_a_hit_is_counted_apart_from_what_providers_were_paid_for() -> None:
    metrics = Metrics()
    cached = replace(
        ATTEMPT, outcome="cached", sent=False, usage=None, cost_nano_usd=0, ttft_us=None
    )
    hit = record(cache="HIT", attempts=[cached], served=ATTEMPT.usage, saved_nano_usd=1_500_000)
    metrics.observe(hit)
    metrics.observe(hit)
    metrics.observe(record(cache="MISS"))
    metrics.observe(record(cache="BYPASS"))
    skipped = replace(cached, outcome="skipped")
    metrics.observe(record(cache="MISS", attempts=[skipped], status=402, outcome="error"))
    seen = lines(metrics)
    of = 'target="openai/gpt-4",tenant="default"}'
    asked = 'turnout_cache_requests_total{result="%s",'
    assert [seen[asked % result + of] for result in ("hit", "miss", "none")] == [2, 1, 1]
    tokens = 'turnout_cache_tokens_total{kind="%s",'
    assert [seen[tokens % kind + of] for kind in ("input", "output")] == [20, 40]
    assert seen['turnout_cache_saved_nano_usd_total{rule="default",' + of] == 3_000_000
    # Those of the two that a provider answered, and no more.
    assert seen['turnout_tokens_total{kind="output",' + of] == 40
    assert seen['turnout_cost_nano_usd_total{rule="default",' + of] == 3_000_000
    assert not [name for name in seen if "attempt_seconds" in name and "cached" in name]


def test_what_becomes_of_answers_is_counted_on_from_what_was_said_before() -> None:
    metrics = Metrics()
    metrics.tick(Vitals(cached={"hits": 3, "slow": 0}, cached_answers=2, cached_bytes=2_000))
    metrics.tick(Vitals(cached={"hits": 5, "slow": 1}, cached_answers=1, cached_bytes=1_000))
    seen = lines(metrics)
    event = 'turnout_cache_events_total{event="%s"}'
    assert [seen[event % name] for name in ("hits", "slow")] == [5, 1]
    assert (seen["turnout_cache_answers"], seen["turnout_cache_bytes"]) == (1, 1_000)


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
    metrics.tick(Vitals(waiting=7, reserved_nano_usd=5, unused_nano_usd=3, bookings=2))
    metrics.policy("sha256:old")
    metrics.policy("sha256:new")
    seen = lines(metrics)
    assert seen["turnout_open_streams"] == 1
    assert seen["turnout_journal_queue"] == 7
    assert seen['turnout_purse_nano_usd{part="reserved"}'] == 5
    assert seen['turnout_purse_nano_usd{part="free"}'] == 3
    assert seen["turnout_bookings_waiting"] == 2
    assert 'turnout_policy_info{hash="sha256:old"}' not in seen
    assert seen['turnout_policy_info{hash="sha256:new"}'] == 1


def test_what_a_tick_no_longer_has_goes_back_to_zero() -> None:
    metrics = Metrics()
    metrics.tick(
        Vitals(
            requests=3,
            inflight={"openai/gpt-4": 2, "groq/llama-3-8b": 1},
            breakers={"openai/gpt-4": "open"},
        )
    )
    seen = lines(metrics)
    assert seen["turnout_inflight_requests"] == 3
    assert seen['turnout_target_inflight{target="openai/gpt-4"}'] == 2
    assert seen['turnout_target_inflight{target="groq/llama-3-8b"}'] == 1
    assert seen['turnout_breaker_state{state="open",target="openai/gpt-4"}'] == 1
    metrics.tick(Vitals(inflight={"groq/llama-3-8b": 1}, breakers={"openai/gpt-4": "half_open"}))
    seen = lines(metrics)
    assert seen["turnout_inflight_requests"] == 0
    assert seen['turnout_target_inflight{target="openai/gpt-4"}'] == 0
    assert seen['turnout_target_inflight{target="groq/llama-3-8b"}'] == 1
    assert seen['turnout_breaker_state{state="open",target="openai/gpt-4"}'] == 0
    assert seen['turnout_breaker_state{state="half_open",target="openai/gpt-4"}'] == 1
    metrics.tick(Vitals())
    assert lines(metrics)['turnout_breaker_state{state="half_open",target="openai/gpt-4"}'] == 0


def test_policies_that_come_while_serving_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.policy("sha256:first")
    metrics.policy_rejected("invalid")
    seen = lines(metrics)
    assert seen["turnout_policy_rejected"] == 1
    assert seen['turnout_policy_info{hash="sha256:first"}'] == 1
    metrics.policy_loaded("sha256:second")
    seen = lines(metrics)
    assert seen["turnout_policy_rejected"] == 0
    assert seen['turnout_policy_reloads_total{result="invalid"}'] == 1
    assert seen['turnout_policy_reloads_total{result="loaded"}'] == 1
    assert 'turnout_policy_info{hash="sha256:first"}' not in seen
    assert seen['turnout_policy_info{hash="sha256:second"}'] == 1
    assert abs(seen["turnout_policy_loaded_seconds"] - time.time()) < 60


def test_a_request_that_ends_after_a_switch_does_not_bring_the_old_policy_back() -> None:
    metrics = Metrics()
    metrics.policy("sha256:old")
    metrics.policy_loaded("sha256:new")
    metrics.observe(record(digest="sha256:old"))
    seen = lines(metrics)
    assert 'turnout_policy_info{hash="sha256:old"}' not in seen
    assert seen['turnout_policy_info{hash="sha256:new"}'] == 1


def test_decisions_of_two_policies_are_counted_by_their_rules() -> None:
    metrics = Metrics()
    metrics.shadow("cheap", "cheap", agrees=True)
    metrics.shadow("cheap", "smart", agrees=False)
    metrics.shadow("cheap", None, agrees=False)
    metrics.shadow("cheap", "renamed", agrees=True)
    metrics.shadow("cheap", None, agrees=None)
    seen = lines(metrics)
    pair = 'turnout_shadow_decisions_total{agrees="%s",rule="cheap",shadow_rule="%s"}'
    assert seen[pair % ("true", "cheap")] == 1
    assert seen[pair % ("false", "smart")] == 1
    assert seen[pair % ("false", "none")] == 1
    assert seen[pair % ("true", "renamed")] == 1
    assert seen[pair % ("unknown", "none")] == 1


def test_labels_stay_few_however_many_policies_and_reasons_there_are() -> None:
    metrics = Metrics()
    for number in range(1_000):
        metrics.shadow(f"rule {number}", f"rule {number + 1}", agrees=False)
        metrics.turned_away(f"reason {number}")
        metrics.policy_rejected(f"class {number}")
        metrics.tick(
            Vitals(inflight={f"openai/{number}": 1}, breakers={f"openai/{number}": "open"})
        )
    seen = lines(metrics)
    for family, most in (
        ("turnout_shadow_decisions_total", 501),
        ("turnout_refused_total", 31),
        ("turnout_policy_reloads_total", 31),
        ("turnout_target_inflight", MOST_TARGETS + 1),
        ("turnout_breaker_state", MOST_TARGETS + 1),
    ):
        assert 1 < sum(name.startswith(family + "{") for name in seen) <= most
    assert seen['turnout_refused_total{reason="other"}'] == 970
    other = 'turnout_shadow_decisions_total{agrees="false",rule="other",shadow_rule="other"}'
    assert seen[other] == 500


TOGETHER = """
import sys
from turnout.engine.metrics import Metrics
from turnout.engine.record import Vitals
metrics = Metrics()
metrics.policy("sha256:one")
metrics.tick(Vitals(
    waiting=2, requests=3, inflight={"openai/gpt-4": 4}, breakers={"openai/gpt-4": "open"}
))
metrics.turned_away("worker_full")
metrics.shadow("a", "b", agrees=False)
metrics.policy_rejected("invalid")
print(metrics.render().decode())
"""


def test_processes_add_up_what_each_has_and_agree_on_what_all_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", TOGETHER], check=True, capture_output=True, text=True
        ).stdout
    seen = dict(row.rsplit(" ", 1) for row in told.splitlines() if row and row[0] != "#")
    assert seen["turnout_journal_queue"] == "4.0"
    assert seen["turnout_inflight_requests"] == "6.0"
    assert seen['turnout_target_inflight{target="openai/gpt-4"}'] == "8.0"
    assert seen['turnout_refused_total{reason="worker_full"}'] == "2.0"
    assert seen['turnout_shadow_decisions_total{agrees="false",rule="a",shadow_rule="b"}'] == "2.0"
    assert seen['turnout_breaker_state{state="open",target="openai/gpt-4"}'] == "1.0"
    assert seen["turnout_policy_rejected"] == "1.0"
    assert seen['turnout_policy_info{hash="sha256:one"}'] == "1.0"


def test_policies_that_come_and_go_leave_a_bounded_number_of_rules_behind() -> None:
    metrics = Metrics()
    for number in range(700):
        metrics.policy_loaded(f"sha256:{number}")
        metrics.observe(record(rule=f"rule-{number}", attempts=[ATTEMPT]))
    seen = lines(metrics)
    for family in ("turnout_requests_total", "turnout_cost_nano_usd_total"):
        rules = [name for name in seen if name.startswith(family + "{")]
        assert len(rules) == 501 and any('rule="other"' in name for name in rules)
    policies = {name: seen[name] for name in seen if name.startswith("turnout_policy_info{")}
    assert policies == {'turnout_policy_info{hash="sha256:699"}': 1}


CROWDED = """
import json, os, pathlib, resource, sys
room = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
from turnout.engine.metrics import Metrics
metrics = Metrics()
for number in range(400):
    metrics.turned_away("worker_full")
    metrics.shadow(f"rule-{number}", f"other-{number}", True)
files = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db")
sizes = [file.stat().st_size for file in files]
print(json.dumps({"sizes": sizes, "told": metrics.render().decode()}))
"""


@pytest.mark.parametrize("room", [1_000, 20_000])
def test_a_process_counts_on_where_the_disk_has_no_room_for_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", CROWDED, str(room)], check=True, capture_output=True, text=True
    )
    assert done.stderr.count("no room") == 1, done.stderr
    seen = json.loads(done.stdout)
    assert all(0 < size <= room for size in seen["sizes"])
    # What was counted while there was room, the others see.
    assert ("turnout_refused_total" in seen["told"]) is (room > 16_384)


def test_the_files_that_processes_count_in_have_no_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever writes into a hole for which the disk has no room any more is ended by SIGBUS.
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    subprocess.run(
        [sys.executable, "-c", CROWDED, "1000000"], check=True, capture_output=True, text=True
    )
    files = list(tmp_path.glob("*.db"))
    assert max(file.stat().st_size for file in files) > 100_000
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        assert os.lseek(handle, 0, os.SEEK_HOLE) == file.stat().st_size, file
        os.close(handle)


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


def test_the_page_names_every_metric_with_its_labels_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(turnout_\w+)` \| (\w+) \| (?:`([a-z_ ]+)` )?\|", page, re.MULTILINE)
    families = [metric for metric in Metrics()._registry.collect() if metric.type != "unknown"]
    there = {
        (metric.name + ("_total" if metric.type == "counter" else ""), metric.type)
        for metric in families
    }
    assert {row[:2] for row in rows} == there
    labels = {
        family._name: set(family._labelnames)  # type: ignore[attr-defined]
        for family in Metrics()._registry._collector_to_names
    }
    assert {name.removesuffix("_total"): set(said.split()) for name, _, said in rows} == labels


def test_spend_and_refusals_are_counted_for_declared_tenants_only() -> None:
    metrics = Metrics()
    metrics.know({"acme"})
    cut = replace(FAILED, unconfirmed_nano_usd=7_000, reserved_nano_usd=9_000)
    dearer = replace(ATTEMPT, reserved_nano_usd=1_000_000)
    for tenant in ("acme", "stranger"):
        metrics.observe(record(tenant=tenant, attempts=[cut, dearer], error="budget_exceeded"))
    counted = lines(metrics)
    for tenant in ("acme", "other"):
        assert counted[f'turnout_budget_refused_total{{tenant="{tenant}"}}'] == 1
        row = f'{{rule="default",target="groq/llama-3-70b",tenant="{tenant}"}}'
        assert counted[f"turnout_unconfirmed_nano_usd_total{row}"] == 7_000
    assert counted['turnout_overruns_total{target="openai/gpt-4"}'] == 2
    assert 'turnout_overruns_total{target="groq/llama-3-70b"}' not in counted
    assert "stranger" not in metrics.render().decode()


def test_budgets_are_shown_of_declared_tenants_only() -> None:
    metrics = Metrics()
    metrics.know({"acme"})
    for tenant in ("acme", "stranger"):
        metrics.budget("monthly", tenant, {"limit": 10, "left": -3})
    counted = lines(metrics)
    assert counted['turnout_budget_nano_usd{budget="monthly",part="left",tenant="acme"}'] == -3
    assert "stranger" not in metrics.render().decode()


def test_no_more_than_so_many_tenants_have_a_label() -> None:
    metrics = Metrics()
    for number in range(2_000):
        metrics.know({f"tenant{number}"})
        metrics.observe(record(tenant=f"tenant{number}"))
    labels = set(re.findall(r'tenant="(\w+)"', metrics.render().decode()))
    assert len(labels) <= 501 and "other" in labels
