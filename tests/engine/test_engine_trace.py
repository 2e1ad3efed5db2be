"""Traces: recorded requests explained again, as data, as text and on the command line.

Over 300 lines because all of them look at the same record of the same policy.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from turnout.dsl.check import compile_policy
from turnout.dsl.core import Program
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.traced import trace
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.journal import Journal
from turnout.engine.record import Attempt, DecisionRecord, PulseTable
from turnout.engine.request import Usage
from turnout.engine.state.sqlite import open_store
from turnout.engine.trace import Programs, document, render, render_trail
from turnout.engine.trace import snapshot as recorded_snapshot

POLICY = """\
timezone: Europe/Berlin
attributes: {tier: [free, pro]}
routing_policy:
  - name: cheap_for_simple
    condition: tokens < 100 and not has_tools and tier == "free"
    route: groq/llama-3-8b
  - name: slow_primary
    condition: p95("openai/gpt-4") > 800ms
    route: groq/llama-3-70b
  - name: ads_team
    condition: header["x-team"] == "ads" or max_tokens > 2k
    route: openai/gpt-4
  - name: office_hours
    condition: time in 09:00..18:00 and weekday in Mon..Fri
    route: anthropic/claude-sonnet
  - name: default
    route: openai/gpt-4
fallback_chain:
  - groq/llama-3-70b (timeout: 2s)
  - anthropic/claude-sonnet (timeout: 5s)
  - openai/gpt-4 (timeout: 10s)
"""

SCHEMA = language_schema()
PROGRAM = compile_policy(Source("routing.yml", POLICY), SCHEMA)
MONDAY_NOON_BERLIN_US = 1_767_610_800_000_000  # 2026-01-05 11:00 UTC


def attempt(target: str, outcome: str, **known: Any) -> Attempt:
    given: dict[str, Any] = {
        "upstream_model": "",
        "hop": 0,
        "number": 0,
        "started_us": MONDAY_NOON_BERLIN_US + 900,
        "took_us": 0,
    }
    return Attempt(target=target, outcome=outcome, **(given | known))


# What the gateway keeps of every request, whatever the policy reads.
BASE: dict[str, Value | None] = {
    "request_type": "chat",
    "model": "auto",
    "max_tokens": None,
    "n": 1,
    "messages": 1,
    "stream": True,
    "has_tools": False,
    "has_images": False,
    "tenant": "acme",
    "tier": "free",
    "team": None,
    "user": None,
}


def record(**known: Any) -> DecisionRecord:
    given: dict[str, Any] = {
        "id": "req_0123456789abcdef",
        "received_us": MONDAY_NOON_BERLIN_US,
        "took_us": 2_829_400,
        "digest": PROGRAM.digest,
        "operation": "chat",
        "tenant": "acme",
        "tier": "free",
        "team": None,
        "user": None,
        "key_id": None,
        "session_hash": "00",
        "model": "auto",
        "stream": True,
        "clause": 3,
        "rule": "office_hours",
        "route": "anthropic/claude-sonnet",
        "target": "openai/gpt-4",
        "values": BASE
        | {
            "tokens": 700,
            "header.x-team": None,
            "p95(openai/gpt-4)": None,
            "time": 720,
            "weekday": 0,
        },
        "reasons": {
            "max_tokens": "the request names no output limit",
            "header.x-team": "the request has no such header",
            "p95(openai/gpt-4)": "3 of 20 samples",
        },
        "intervals": {"tokens": (700, 720)},
        "attempts": [
            attempt(
                "anthropic/claude-sonnet",
                "failed",
                upstream_model="claude-sonnet-4-20250514",
                took_us=2_001_300,
                fault="ttft_timeout",
                reason="no content within 2s",
                sent=True,
                unconfirmed_nano_usd=61_335_000,
            ),
            attempt("groq/llama-3-70b", "skipped", hop=1, reason="no credential: GROQ_API_KEY"),
            attempt(
                "openai/gpt-4",
                "ok",
                upstream_model="gpt-4-0613",
                hop=2,
                took_us=820_250,
                status=200,
                sent=True,
                usage=Usage(712, 88, cached=512, reasoning=40),
                cost_nano_usd=26_640_000,
                ttft_us=301_000,
                dropped=("seed", "user"),
            ),
        ],
        "status": 200,
        "pulse_id": "pulse_1",
    }
    return DecisionRecord(**(given | known))


PULSE = PulseTable("pulse_1", MONDAY_NOON_BERLIN_US - 400_000, {}, {})


# --- as data -------------------------------------------------------------------------------------


def test_the_document_has_what_scripts_rely_on() -> None:
    told = document(record(), PROGRAM, PULSE)
    assert {key: told[key] for key in ("id", "policy", "rule", "route", "cost", "cache")} == {
        "id": "req_0123456789abcdef",
        "policy": PROGRAM.digest,
        "rule": "office_hours",
        "route": "anthropic/claude-sonnet",
        "cost": "0.02664",
        "cache": "BYPASS",
    }
    assert [(hop["target"], hop["outcome"], hop["fault"], hop["ms"]) for hop in told["hops"]] == [
        ("anthropic/claude-sonnet", "failed", "ttft_timeout", 2001.3),
        ("groq/llama-3-70b", "skipped", None, 0.0),
        ("openai/gpt-4", "ok", None, 820.25),
    ]
    assert told["tokens"] == {
        "input": 712,
        "output": 88,
        "cached": 512,
        "cache_write": 0,
        "reasoning": 40,
        "estimated": False,
    }
    assert [(step["rule"], step["outcome"]) for step in told["trail"]] == [
        ("cheap_for_simple", "false"),
        ("slow_primary", "unknown"),
        ("ads_team", "unknown"),
        ("office_hours", "true"),
        ("default", "not_tried"),
    ]
    assert json.loads(json.dumps(told)) == told


def test_the_whole_document_is_as_reviewed(snapshot: SnapshotAssertion) -> None:
    told = document(replace(record(), digest="sha256:…"), PROGRAM, PULSE)
    assert json.dumps(told, indent=2, ensure_ascii=False) == snapshot


def test_values_are_written_as_a_snapshot_has_them() -> None:
    values: dict[str, Value | None] = {
        "tokens": 80,
        "stream": True,
        "temperature": 7_000,
        "tier": "free",
        "p95(groq/llama-3-8b)": 800_000,
        "error_rate(groq/llama-3-8b)": 250,
        "expected_output(groq/llama-3-8b)": 400,
        "time": 545,
        "weekday": 5,
        "header.x-team": "ads",
        "max_tokens": None,
    }
    told = document(record(values=values), PROGRAM)
    assert told["values"] == {
        "tokens": 80,
        "stream": True,
        "temperature": 0.7,
        "tier": "free",
        "p95(groq/llama-3-8b)": "800ms",
        "error_rate(groq/llama-3-8b)": "2.5%",
        "expected_output(groq/llama-3-8b)": 400,
        "time": "09:05",
        "weekday": "Sat",
        "header.x-team": "ads",
        "max_tokens": None,
    }
    assert told["unknown"] == {"max_tokens": "the request names no output limit"}


def test_without_its_policy_a_decision_is_told_but_not_explained() -> None:
    told = document(record(), None)
    assert told["trail"] is told["replayed"] is None
    assert told["values"]["p95(openai/gpt-4)"] is None
    assert "the policy of this decision is not kept" in render(told)


def test_no_usage_is_not_zero_usage() -> None:
    told = document(record(attempts=[attempt("groq/a", "failed", fault="connect")]), PROGRAM)
    assert (told["tokens"], told["hops"][0]["tokens"], told["cost"]) == (None, None, "0")


# --- deciding again ------------------------------------------------------------------------------


class Asked(Snapshot):
    """A snapshot that fetches what is asked for, as a live one does."""

    hidden: Mapping[str, Value | None]

    def __missing__(self, key: str) -> Value | None:
        self[key] = self.hidden.get(key)
        return self[key]


maybe = st.none()
hidden = st.fixed_dictionaries(
    {
        "request_type": st.sampled_from(["chat", "embeddings"]),
        "tokens": st.integers(0, 200),
        "has_tools": st.booleans(),
        "tier": st.sampled_from(["free", "pro"]),
        "p95(openai/gpt-4)": maybe | st.integers(0, 2_000_000),
        "header.x-team": maybe | st.sampled_from(["ads", "search"]),
        "max_tokens": maybe | st.integers(0, 4_000),
    }
)
instants = st.integers(1_767_225_600_000_000, 1_798_761_600_000_000)  # of 2026


@given(hidden, instants)
def test_what_was_recorded_decides_again_as_it_did(
    values: dict[str, Value | None], received_us: int
) -> None:
    clock = recorded_snapshot(record(values={}, received_us=received_us), PROGRAM)
    live = Asked()
    live.hidden = values | {key: clock[key] for key in ("time", "weekday", "date")}
    index = compile_program(PROGRAM)(live)
    kept = record(values=dict(live), reasons={}, intervals={}, received_us=received_us)
    again = trace(PROGRAM, recorded_snapshot(kept, PROGRAM))
    assert again.clause == (None if index < 0 else index)


def test_the_clock_is_read_in_the_zone_of_the_program() -> None:
    seen = recorded_snapshot(record(values={}), PROGRAM)
    assert (seen["time"], seen["weekday"], seen["date"]) == (720, 0, 20_458)
    utc = replace(PROGRAM, timezone="UTC")
    assert recorded_snapshot(record(values={}), utc)["time"] == 660


def test_what_nobody_read_says_so() -> None:
    values = {key: value for key, value in record().values.items() if key != "has_tools"}
    told = record(values=values)
    assert recorded_snapshot(told, PROGRAM).reasons["has_tools"] == "not read"
    assert "not read     has_tools" in render(document(told, PROGRAM))
    assert document(told, PROGRAM)["replayed"]


def test_a_record_that_does_not_replay_says_so() -> None:
    told = document(record(clause=0, rule="cheap_for_simple"), PROGRAM)
    assert told["replayed"] is False
    assert "the gateway decided otherwise" in render(told)


def test_programs_of_the_past_are_built_again_from_the_archive_and_kept() -> None:
    asked: list[str] = []

    def archived(digest: str) -> str | None:
        asked.append(digest)
        return PROGRAM.canonical if digest == PROGRAM.digest else None

    programs = Programs(SCHEMA)
    first = programs.get(PROGRAM.digest, archived)
    assert first is not None
    assert first.digest == PROGRAM.digest
    assert programs.get(PROGRAM.digest, archived) is first
    assert programs.get("sha256:unheard-of", archived) is None
    assert asked == [PROGRAM.digest, "sha256:unheard-of"]
    assert document(record(), first) == document(record(), PROGRAM)


# --- as text -------------------------------------------------------------------------------------


def shown(one: DecisionRecord, program: Program | None = PROGRAM) -> str:
    # The digest moves with the catalogue's prices.
    return render(document(one, program, PULSE)).replace(PROGRAM.digest, "sha256:…")


TEXTS = {
    "fallback": record(),
    "answered at once": record(
        rule="cheap_for_simple",
        clause=0,
        route="groq/llama-3-8b",
        target="groq/llama-3-8b",
        stream=False,
        took_us=8_250,
        values=BASE | {"tokens": 80, "stream": False},
        reasons={},
        intervals={},
        attempts=[
            attempt(
                "groq/llama-3-8b",
                "ok",
                upstream_model="llama-3.1-8b-instant",
                took_us=7_100,
                sent=True,
                usage=Usage(80, 12, estimated=True),
                cost_nano_usd=4_960,
            )
        ],
    ),
    "no answer": record(
        target=None,
        status=504,
        error="upstream_timeout",
        outcome="error",
        attempts=[],
    ),
    "an embedding that no rule is about": record(
        operation="embeddings",
        rule=None,
        clause=None,
        route="requested",
        model="text-embedding-3-small",
        stream=False,
        target="openai/text-embedding-3-small",
        values=BASE | {"request_type": "embeddings", "stream": False, "tokens": 5},
        intervals={},
        reasons={},
        attempts=[],
    ),
}


@pytest.mark.parametrize("one", TEXTS.values(), ids=TEXTS)
def test_a_trace_reads_as_reviewed(one: DecisionRecord, snapshot: SnapshotAssertion) -> None:
    assert shown(one) == snapshot


@pytest.mark.parametrize(
    ("waited_us", "line"),
    [(612_000, "   612 ms"), (10_400, "   10 ms"), (9_900, ""), (0, "")],
)
def test_what_was_waited_between_two_attempts_is_shown(waited_us: int, line: str) -> None:
    first = attempt("openai/gpt-4", "failed", fault="rate_limited", took_us=3_000)
    again = replace(
        first, outcome="ok", fault=None, number=1, started_us=first.started_us + 3_000 + waited_us
    )
    text = render(document(record(attempts=[first, again]), PROGRAM))
    hops = text.partition("\nhops\n")[2].partition("\n\n")[0].splitlines()
    assert len(hops) == (3 if line else 2)
    assert not line or ("waited" in hops[1] and hops[1].endswith(line))


def test_rules_that_were_not_tried_take_one_line() -> None:
    trail: list[dict[str, Any]] = [{"rule": "a", "outcome": "true", "expression": None}]
    trail += [{"rule": name, "outcome": "not_tried", "expression": None} for name in "bcdefg"]
    assert render_trail(trail).splitlines() == [
        "  ✓ a   always",
        "  · not tried: b, c, d and 3 more",
    ]
    assert render_trail(trail[:4]).splitlines()[-1] == "  · not tried: b, c, d"


def test_no_text_of_a_client_steers_the_terminal_or_forges_a_line() -> None:
    nasty = "x\x1b[2J\n  ✓ forged\u202e"
    text = shown(
        record(
            model=nasty,
            target=nasty,
            attempts=[attempt(nasty, "failed", fault="5xx", reason=nasty)],
            reasons={"p95(openai/gpt-4)": nasty},
        )
    )
    assert "\x1b" not in text and "\u202e" not in text
    assert not any(line.startswith("  ✓ forged") for line in text.splitlines())


# --- on the command line -------------------------------------------------------------------------


def turnout(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "turnout", "trace", *words],
        env={**os.environ, "TURNOUT_HOME": str(home), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    journal = Journal(open_store(home))
    journal.archive(PROGRAM.digest, PROGRAM.canonical)
    journal.put_pulse(PULSE)
    journal.put(record())
    journal.close()
    return home


def test_the_command_prints_the_trace(home: Path) -> None:
    done = turnout(home, "req_0123456789abcdef")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == render(document(record(), PROGRAM, PULSE)) + "\n"


def test_the_command_prints_the_document(home: Path) -> None:
    done = turnout(home, "req_0123456789abcdef", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == document(record(), PROGRAM, PULSE)


def test_a_request_that_is_not_there_is_exit_1_with_help(home: Path) -> None:
    done = turnout(home, "req_none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no trace of the request `req_none`" in done.stderr
    assert "help: take the id from the answer's `x-request-id` header" in done.stderr


def test_a_home_without_a_journal_is_exit_2_with_help_and_stays_as_it_is(tmp_path: Path) -> None:
    done = turnout(tmp_path, "req_1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no journal in" in done.stderr
    assert "help: set TURNOUT_HOME" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_hit_shows_what_it_served_and_saved_and_that_nobody_was_paid() -> None:
    recalled = attempt("openai/gpt-4", "cached", took_us=90)
    one = record(
        attempts=[recalled], cache="HIT", served=Usage(1_200, 85), saved_nano_usd=41_100_000
    )
    told = document(one, PROGRAM)
    assert (told["cost"], told["tokens"], told["saved"]) == ("0", None, "0.0411")
    assert (told["served"]["input"], told["served"]["output"]) == (1_200, 85)
    (hop,) = told["hops"]
    assert (hop["outcome"], hop["sent"], hop["cost"]) == ("cached", False, "0")
    text = render(told)
    assert "✓ openai/gpt-4   cached   0.1 ms" in text
    assert "cache    HIT, $0.0411 saved: 1200 in, 85 out given again" in text
    assert "tokens   none" in text


def test_a_hit_whose_first_use_nobody_knows_claims_none() -> None:
    recalled = attempt("openai/gpt-4", "cached", took_us=90)
    text = render(document(record(attempts=[recalled], cache="HIT"), PROGRAM))
    assert text.endswith("cache    HIT, $0 saved")
