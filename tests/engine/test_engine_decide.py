"""What the gateway reads of a live request, and that what it recorded decides the same again."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.check import compile_policy
from turnout.dsl.interpret.traced import trace
from turnout.dsl.schema import Parameter, Value
from turnout.dsl.source import Source
from turnout.engine.attributes import ATTRIBUTES
from turnout.engine.catalog import language_schema
from turnout.engine.decide import Decider, recorded
from turnout.engine.observed import Observed
from turnout.engine.readers import READERS
from turnout.engine.record import PulseTable
from turnout.engine.request import Caller, Operation, Request

POLICY = """
timezone: Europe/Berlin
attributes: {tier: [free, pro]}
targets:
  openai/gpt-4o: {expected: {p95: 4s, output: 400}}
routing_policy:
  - {name: tiny, condition: tokens < 20 and not has_tools, route: groq/llama-3-8b}
  - {name: night, condition: "time in 22:00..06:00 and weekday in Mon..Fri", route: openai/gpt-4}
  - {name: cold, condition: (temperature ?? 1) <= 0.2 and max_tokens <= 100, route: openai/gpt-4o}
  - {name: seen, condition: 'has_images or header["x-team"] == "search"', route: openai/gpt-4o}
  - {name: dear, condition: cost("openai/gpt-4o") > $0.01, route: openai/gpt-4o-mini}
  - {name: slow, condition: p95("openai/gpt-4o") > 5s, route: anthropic/claude-sonnet}
  - name: mine
    condition: latency < 10s and error_rate("openai/gpt-4") < 5%
    route: requested
  - {name: default, route: openai/gpt-4}
"""
PROGRAM = compile_policy(Source("test", POLICY), language_schema())
DECIDER = Decider(PROGRAM)
NOTHING_LIVE = PulseTable("", 0, {}, {})


def request(body: dict[str, Any], received_us: int = 1_795_000_000_000_000, **more: Any) -> Request:
    return Request(
        id="req_1",
        operation=Operation.CHAT,
        body=body,
        raw=orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_DATETIME),
        model="auto",
        stream=False,
        caller=more.get("caller", Caller()),
        headers=more.get("headers", {}),
        received_us=received_us,
        started_ns=time.monotonic_ns(),
    )


def seen(body: dict[str, Any], live: PulseTable = NOTHING_LIVE, **more: Any) -> Observed:
    target = PROGRAM.targets.get(more.get("requested", ""))
    return DECIDER.observe(request(body, **more), target, live)


def test_every_attribute_that_is_asked_with_nothing_has_a_reader_from_the_start() -> None:
    bare = {a.name for a in ATTRIBUTES if a.parameter is Parameter.NONE and a.too_late is None}
    assert set(READERS) == bare | {"requested"}


HELLO = {"role": "user", "content": "hello"}
READINGS: list[tuple[str, dict[str, Any], Value | None]] = [
    ("max_tokens", {"max_tokens": 5}, 5),
    ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 7}, 7),
    ("max_tokens", {"max_tokens": None}, None),
    ("max_tokens", {"max_tokens": "5"}, None),
    ("max_tokens", {"max_tokens": True}, None),
    ("max_tokens", {"max_tokens": 2**63}, None),
    ("temperature", {"temperature": 0}, 0),
    ("temperature", {"temperature": 0.7}, 7000),
    ("temperature", {"temperature": None}, None),
    ("temperature", {"temperature": 1e300}, None),
    ("messages", {"messages": [HELLO, HELLO]}, 2),
    ("n", {}, 1),
    ("n", {"n": None}, 1),
    ("n", {"n": 3}, 3),
    ("has_tools", {"tools": [{"type": "function"}]}, True),
    ("has_tools", {"tools": []}, False),
    ("has_tools", {"functions": [{}]}, True),
    ("has_schema", {"response_format": {"type": "json_schema"}}, True),
    ("has_schema", {"response_format": {"type": "text"}}, False),
    ("has_schema", {"response_format": None}, False),
    ("has_images", {"messages": [{"content": [{"type": "image_url"}]}]}, True),
    ("has_images", {"messages": [{"content": None}, "junk", 7]}, False),
    ("has_audio", {"messages": [{"content": [{"type": "input_audio"}]}]}, True),
    ("has_audio", {"messages": "junk"}, False),
    # 2026-11-18 11:06:40 UTC, a Wednesday; Berlin is an hour ahead.
    ("time", {}, 12 * 60 + 6),
    ("weekday", {}, 2),
    ("date", {}, 20775),
    ("tier", {}, "default"),
    ("team", {}, None),
]


@pytest.mark.parametrize(("key", "body", "value"), READINGS)
def test_an_attribute_reads(key: str, body: dict[str, Any], value: Value | None) -> None:
    snapshot = seen(body)
    assert snapshot[key] == value
    if value is None:
        assert snapshot.reasons[key]


def test_summer_time_is_the_zones_own() -> None:
    # 2026-03-29: at 01:00 UTC Berlin goes from 02:00 to 03:00.
    before, after = 1_774_745_940_000_000, 1_774_746_060_000_000
    assert seen({}, received_us=before)["time"] == 1 * 60 + 59
    assert seen({}, received_us=after)["time"] == 3 * 60 + 1


def test_only_what_a_rule_asked_for_is_read() -> None:
    snapshot = seen({"messages": [HELLO]})
    assert DECIDER.decide(snapshot).clause == PROGRAM.clauses[0]
    assert set(snapshot) == {"request_type", "tokens", "has_tools"}


def test_a_bounded_count_keeps_its_interval() -> None:
    snapshot = seen({"messages": [{"role": "user", "content": "x" * 10}]})
    assert snapshot["tokens"] is not None
    low, high = snapshot.intervals.get("tokens", (0, 0))
    assert low <= high


def test_the_expected_output_is_the_least_of_what_is_known() -> None:
    key = "expected_output(openai/gpt-4o)"
    live = PulseTable("p", 0, {key: 400}, {})
    assert seen({}, live)[key] == 400
    assert seen({"max_tokens": 50}, live)[key] == 50
    assert seen({"max_tokens": 50})[key] == 50
    assert seen({})[key] is None


def test_a_live_value_of_the_requested_target_is_that_targets() -> None:
    live = PulseTable("p", 0, {"p95(openai/gpt-4)": 7_000_000}, {})
    assert seen({}, live, requested="openai/gpt-4")["p95(requested)"] == 7_000_000
    assert seen({}, live)["p95(requested)"] is None


bodies = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "system", "x"])},
                optional={
                    "content": st.none()
                    | st.text(max_size=200)
                    | st.lists(
                        st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"])})
                    )
                },
            ),
            max_size=4,
        ),
        "temperature": st.none()
        | st.floats()
        | st.integers()
        | st.booleans()
        | st.text(max_size=3),
        "max_tokens": st.none() | st.integers() | st.booleans() | st.text(max_size=3),
        "n": st.none() | st.integers(),
        "tools": st.none() | st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3))),
    },
)
live_values = st.fixed_dictionaries(
    {},
    optional={
        "p95(openai/gpt-4o)": st.integers(0, 10_000_000),
        "p95(openai/gpt-4)": st.integers(0, 20_000_000),
        "error_rate(openai/gpt-4)": st.integers(0, 10_000),
        "expected_output(openai/gpt-4o)": st.integers(0, 100_000),
    },
)


@given(
    body=bodies,
    live=live_values,
    requested=st.sampled_from([None, "openai/gpt-4", "openai/gpt-4o"]),
    team=st.none() | st.sampled_from(["search", "ads"]),
    minute=st.integers(0, 60 * 24 * 14),
)
def test_what_was_recorded_decides_the_same_again(
    body: dict[str, Any],
    live: dict[str, Value],
    requested: str | None,
    team: str | None,
    minute: int,
) -> None:
    snapshot = DECIDER.observe(
        Request(
            id="req_1",
            operation=Operation.CHAT,
            body=body,
            raw=b"",
            model="auto",
            stream=False,
            caller=Caller(),
            headers={} if team is None else {"x-team": team},
            received_us=1_795_000_000_000_000 + minute * 60_000_000,
            started_ns=0,
        ),
        None if requested is None else PROGRAM.targets[requested],
        PulseTable("p", 0, live, {}),
    )
    decision = DECIDER.decide(snapshot)
    recorded(snapshot)
    kept = {key: value for key, value in snapshot.items()}
    verdict = trace(PROGRAM, type(snapshot).__mro__[1](kept))
    assert verdict.clause == (decision.clause.index if decision.clause is not None else None)


@pytest.mark.parametrize(("team", "kept"), [("search", "search"), ("a secret of mine", "…")])
def test_a_header_is_recorded_as_its_class_and_decides_the_same(team: str, kept: str) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 100}]}
    snapshot = seen(body, headers={"x-team": team})
    clause = DECIDER.decide(snapshot).clause
    recorded(snapshot)
    assert snapshot["header.x-team"] == kept
    assert DECIDER.decide(snapshot).clause == clause
