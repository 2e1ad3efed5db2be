"""Simulation: recorded values decide as they did; what was not recorded is said, not guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import Policy
from turnout.dsl.core import Program
from turnout.dsl.interpret.traced import trace
from turnout.dsl.snapshot import SnapshotError, read_given
from turnout.engine.ledger import charge
from turnout.engine.record import Attempt, DecisionRecord, PulseTable
from turnout.engine.recorded_rows import (
    JournalRows,
    JsonRows,
    RowError,
    past_of,
    past_of_record,
)
from turnout.engine.replay import Replay, UndecidableError
from turnout.engine.request import Usage
from turnout.engine.session import bucket
from turnout.engine.simulate import Simulated, Simulation
from turnout.engine.state.sqlite import open_store
from turnout.engine.state.store import Group

TEXT = """\
timezone: Europe/Berlin
attributes: {tier: [free, pro, enterprise]}
targets:
  openai/gpt-4o: {expected: {p95: 4s, output: 400}}
routing_policy:
  - {name: tools, condition: has_tools and not stream, route: openai/gpt-4o}
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: night, condition: 'tier == "free" and time in 22:00..06:00', route: groq/llama-3-70b}
  - {name: slow, condition: 'p95("openai/gpt-4o") > 8s', route: anthropic/claude-sonnet}
  - {name: dear, condition: 'cost("openai/gpt-4o") > $0.01', route: openai/gpt-4o-mini}
  - {name: team, condition: 'header["x-team"] == "search"', route: openai/gpt-4o}
  - {name: asked, condition: model != "auto", route: requested}
  - {name: rest, route: openai/gpt-4o}
"""
POLICY = Policy.parse(TEXT)
CLOCKED: dict[str, Any] = {"tokens": 500, "tier": "pro", "at": "Tue 10:00"}


def simulated(
    rows: list[dict[str, Any]], policy: Policy = POLICY, against: Policy | None = None
) -> Simulated:
    replay = Replay(policy.program)
    old = None if against is None else Replay(against.program)
    reader = JsonRows(replay)
    old_reader = None if old is None else JsonRows(old)
    simulation = Simulation(replay, old)
    for row in rows:
        old_row = None if old_reader is None else old_reader.read(row)
        simulation.take(reader.read(row), past_of(row), old_row)
    return simulation.result


LOG_ROWS = st.fixed_dictionaries(
    {"tokens": st.one_of(st.integers(0, 20_000), st.sampled_from(["8k", "80", "0.5", "-1", True]))},
    optional={
        "tier": st.sampled_from(["free", "pro", "default", "gold", 5, None]),
        "at": st.sampled_from(
            ["Tue 23:00", "2026-03-02 10:00", "10:00", "never", "2026-03-29T02:30"]
        ),
        "time": st.sampled_from(["23:30", "7:00", 9]),
        "has_tools": st.sampled_from([True, False, "true", "yes", 1]),
        "stream": st.booleans(),
        "max_tokens": st.one_of(st.none(), st.integers(0, 4_000)),
        "p95(openai/gpt-4o)": st.sampled_from(["9s", "800ms", 9, "fast", None]),
        'p95("openai/gpt-4o")': st.sampled_from(["10s", "1s"]),
        "header.X-Team": st.sampled_from(["search", "ads", 7]),
        "model": st.sampled_from(["auto", "gpt-4o", "openai/gpt-4o", "nonsense"]),
        "request_type": st.sampled_from(["chat", "embeddings", "poem"]),
    },
)


@settings(max_examples=300, deadline=None)
@given(LOG_ROWS)
def test_a_row_of_a_log_is_read_and_decided_as_the_given_of_a_test(data: dict[str, Any]) -> None:
    replay = Replay(POLICY.program)
    try:
        row = JsonRows(replay).read(data)
        index: int | None = replay.decide(row).index
    except RowError:
        with pytest.raises(SnapshotError):
            read_given(data, POLICY.program)
        return
    except UndecidableError as error:
        snapshot = read_given(data, POLICY.program)
        assert error.key in ("tokens", "time")
        assert snapshot[error.key] is None
        steps = trace(POLICY.program, snapshot).steps
        assert "unknown" in [step.outcome for step in steps]
        return
    by_hand = POLICY.decide(read_given(data, POLICY.program))
    assert (-1 if by_hand.index is None else by_hand.index) == index


def test_reading_the_same_row_again_gives_the_same_values() -> None:
    rows = JsonRows(Replay(POLICY.program))
    data = {"tokens": "8k", "tier": "free", "has_tools": True, "p95(openai/gpt-4o)": "9s"}
    assert dict(rows.read(data)) == dict(rows.read(data))
    assert rows.read({"tokens": 1, "has_tools": True})["has_tools"] is True


def test_rules_targets_and_costs_add_up() -> None:
    result = simulated(
        [
            {"tokens": 50, "output_tokens": 10},
            {"tokens": 60, "output_tokens": 10},
            CLOCKED | {"p95(openai/gpt-4o)": "9s", "output_tokens": 100},
        ]
    )
    assert {name: one.requests for name, one in result.rules.items() if one.requests} == {
        "small": 2,
        "slow": 1,
    }
    assert {name: one.requests for name, one in result.targets.items()} == {
        "groq/llama-3-8b": 2,
        "anthropic/claude-sonnet": 1,
    }
    tariff = POLICY.program.targets["anthropic/claude-sonnet"].tariff
    assert tariff is not None
    assert result.rules["slow"].cost == charge(tariff, Usage(input=500, output=100))
    assert sum(one.cost for one in result.rules.values()) == result.then_all
    assert sum(one.cost for one in result.targets.values()) == result.then_all


@pytest.mark.parametrize(
    ("row", "lacking"),
    [
        ({"tier": "free"}, "tokens"),
        ({"tokens": 500, "tier": "free"}, "time"),
        ({"tokens": None, "at": "10:00"}, "tokens"),
    ],
)
def test_a_row_without_what_every_request_has_is_undecidable(
    row: dict[str, Any], lacking: str
) -> None:
    result = simulated([row])
    if row.get("tokens", "") is None:
        row.pop("tokens")
        result = simulated([row])
    assert (result.requests, result.decided) == (1, 0)
    assert result.undecidable == {lacking: 1}
    assert not any(one.requests for one in result.rules.values())


def test_what_no_rule_on_the_way_asks_for_is_not_missed() -> None:
    result = simulated([{"tokens": 50}])  # no clock: `small` takes it before `night` asks
    assert result.decided == 1
    assert result.missing == {}


def test_a_clock_that_cannot_matter_is_not_needed() -> None:
    result = simulated([{"tokens": 500, "tier": "pro"}])  # `night` is about free callers only
    assert (result.decided, result.undecidable) == (1, {})


def test_what_was_asked_for_and_is_not_there_is_counted_by_its_name() -> None:
    result = simulated([CLOCKED, CLOCKED])
    assert result.missing == {"header.x-team": 2}
    assert result.complete == 0
    assert "has_tools" in result.assumed


def test_a_utc_instant_is_read_on_the_clock_of_the_policy() -> None:
    late = {"tokens": 500, "tier": "free", "at": "2026-07-01T20:30:00Z"}  # 22:30 in Berlin
    assert simulated([late]).rules["night"].requests == 1
    assert simulated([late | {"at": "2026-07-01T20:30:00"}]).rules["night"].requests == 0
    assert simulated([late | {"at": "2026-07-01T16:30:00-04:00"}]).rules["night"].requests == 1


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+14:00"])
def test_an_instant_beyond_the_calendar_is_refused(at: str) -> None:
    with pytest.raises(RowError, match="beyond the calendar"):
        JsonRows(Replay(POLICY.program)).read({"tokens": 1, "at": at})


def test_the_present_cost_is_what_was_spent_else_the_price_of_the_target_of_the_log() -> None:
    base = CLOCKED | {"tokens": 1_000, "output_tokens": 100, "header.x-team": "search"}
    spent = simulated([base | {"cost": "$0.05", "target": "openai/gpt-4o"}])
    assert (spent.now, spent.now_from) == (50_000_000, {"spent": 1})
    priced = simulated([base | {"target": "openai/gpt-4o"}])
    assert priced.now == priced.then == 1_000 * 2_500 + 100 * 10_000
    unknown = simulated([base])
    assert (unknown.compared, unknown.now) == (0, 0)
    assert unknown.then_all == priced.then


def test_costs_are_compared_over_the_rows_that_have_both() -> None:
    rows: list[dict[str, Any]] = [
        {"tokens": 50, "output_tokens": 10, "cost": "$0.05"},
        {"tokens": 50, "cost": "$0.05"},  # no output to expect of the target: no price then
        {"tokens": 50, "output_tokens": 10},
    ]
    result = simulated(rows)
    assert (result.compared, result.priced, result.decided) == (1, 2, 3)
    assert result.now == 50_000_000
    assert result.then * 2 == result.then_all


def test_rows_move_between_the_rules_of_two_policies() -> None:
    old = Policy.parse(
        "routing_policy:\n"
        "  - {name: small, condition: tokens < 200, route: groq/llama-3-8b}\n"
        "  - {name: rest, route: openai/gpt-4}\n"
    )
    rows = [CLOCKED | {"tokens": n, "rule": "forgotten"} for n in (50, 150, 500)]
    result = simulated(rows, against=old)
    assert result.moves == {("small", "small"): 1, ("small", "rest"): 1, ("rest", "rest"): 1}
    assert simulated(rows).moves == {("forgotten", "small"): 1, ("forgotten", "rest"): 2}


def test_a_target_too_small_for_the_request_is_skipped_as_the_gateway_does() -> None:
    policy = Policy.parse(
        "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"
        "fallback_chain: [anthropic/claude-sonnet]\n"
    )
    result = simulated([{"tokens": 5_000}, {"tokens": 50_000}], policy)
    assert result.targets["anthropic/claude-sonnet"].requests == 1
    assert result.skipped == 1


SPLIT = """\
routing_policy:
  - name: canary
    route: {split: {openai/gpt-4o: 90%, openai/gpt-4o-mini: 10%}, sticky: session}
"""


def test_a_split_is_laid_out_by_the_session_of_the_row_and_undecided_without_one() -> None:
    policy = Policy.parse(SPLIT)
    sessions = [f"{n:064x}" for n in range(300)]
    result = simulated([{"tokens": 10, "session": one} for one in sessions], policy)
    expected = sum(bucket("canary", one) >= 9_000 for one in sessions)
    assert result.targets["openai/gpt-4o-mini"].requests == expected
    without = simulated([{"tokens": 10}], policy)
    assert without.rules["canary"].requests == 1
    assert without.undecided_splits == {"bucket(canary)": 1}
    assert without.targets == {}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"cost": 0.02}, "`cost` is money"),
        ({"cost": "2 dollars"}, "unknown unit"),
        ({"output_tokens": -1}, "`output_tokens` is a whole number"),
        ({"rule": ["a"]}, "`rule` is text"),
    ],
)
def test_what_a_row_says_of_the_past_is_checked(row: dict[str, Any], told: str) -> None:
    with pytest.raises(RowError, match=told):
        past_of(row)


def test_keys_that_are_no_attributes_are_counted_and_left_out() -> None:
    rows = JsonRows(Replay(POLICY.program))
    rows.read({"tokens": 1, "colour": "red", "p95(openai/gpt-5)": "3s", "temperature": 0.5})
    assert rows.ignored == {"colour": 1}


# --- our own journal -----------------------------------------------------------------------------


def record(
    program: Program, values: Mapping[str, Any] | None = None, number: int = 1
) -> DecisionRecord:
    """A recorded request that the small model answered with 7 tokens for a millionth."""
    seen: dict[str, Any] = {
        "request_type": "chat",
        "tokens": 500,
        "tier": "pro",
        "tenant": "default",
        "model": "auto",
        "stream": False,
        "has_tools": False,
        "max_tokens": None,
    }
    attempt = Attempt(
        target="groq/llama-3-8b",
        upstream_model="llama",
        outcome="ok",
        hop=0,
        number=1,
        started_us=0,
        took_us=1,
        sent=True,
        usage=Usage(input=510, output=7),
        cost_nano_usd=1_000,
    )
    return DecisionRecord(
        id=f"req_{number}",
        received_us=1_772_440_200_000_000 + number,  # 2026-03-02 08:30 UTC
        took_us=1,
        digest=program.digest,
        operation="chat",
        tenant="default",
        tier="pro",
        team=None,
        user=None,
        key_id=None,
        session_hash="ab" * 32,
        model="auto",
        stream=False,
        clause=0,
        rule="small",
        route="groq/llama-3-8b",
        target="groq/llama-3-8b",
        values=seen | dict(values or {}),
        reasons={},
        intervals={},
        attempts=[attempt],
        status=200,
    )


def of_journal(
    records: list[DecisionRecord],
    policy: Policy = POLICY,
    pulse: PulseTable | None = None,
    known: Mapping[str, Program] | None = None,
) -> Simulated:
    replay = Replay(policy.program)
    rows = JournalRows(replay, (known or {}).get)
    simulation = Simulation(replay)
    for one in records:
        past = past_of_record(one)
        simulation.take(rows.read(one, pulse, past), past)
    return simulation.result


def test_the_pulse_table_holds_what_the_old_policy_did_not_read() -> None:
    one = record(POLICY.program, {"header.x-team": None})
    pulse = PulseTable("p", 0, {"p95(openai/gpt-4o)": 9_000_000}, {})
    assert of_journal([one]).rules["rest"].requests == 1
    assert of_journal([one], pulse=pulse).rules["slow"].requests == 1


def test_a_count_that_was_only_bounded_decides_where_the_policy_cannot_tell() -> None:
    other = Policy.parse(TEXT.replace("tokens < 100", "tokens < 1k").replace("cost(", "0 * cost("))
    one = record(POLICY.program)
    one.intervals = {"tokens": (400, 600)}
    assert of_journal([one], other).rules["small"].requests == 1
    told_apart = Policy.parse(TEXT.replace("tokens < 100", "tokens < 505"))
    assert of_journal([one], told_apart).rules["small"].requests == 0  # 510 by the provider
    one.attempts = []
    assert of_journal([one], told_apart).undecidable == {"tokens": 1}


def test_a_header_is_not_used_by_a_policy_that_asks_for_more_than_was_kept() -> None:
    one = record(POLICY.program, {"header.x-team": "…"})
    known = {POLICY.digest: POLICY.program}
    renamed = Policy.parse(TEXT.replace("name: rest", "name: others"))
    assert of_journal([one], renamed, known=known).missing == {}
    asks_more = Policy.parse(TEXT.replace('== "search"', 'in ["search", "ads"]'))
    assert of_journal([one], asks_more, known=known).missing == {"header.x-team": 1}
    assert of_journal([one], asks_more, known={}).missing == {"header.x-team": 1}


def test_a_request_without_an_answer_is_decided_and_not_compared() -> None:
    one = record(POLICY.program, {"header.x-team": None})
    one.outcome = "error"
    result = of_journal([one])
    assert (result.decided, result.compared) == (1, 0)


def test_every_record_of_a_store_is_read_once_and_in_order(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    records = [record(POLICY.program, number=number) for number in range(2_500)]
    for start in range(0, 2_500, 500):
        store.write(Group(records=records[start : start + 500]))
    assert [one.id for one in store.records()] == [one.id for one in records]
    since = records[2_000].received_us
    assert [one.id for one in store.records(since)] == [one.id for one in records[2_000:]]
    assert store.count(since) == 500
    store.close()
