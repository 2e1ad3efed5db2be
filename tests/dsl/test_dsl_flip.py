"""The nearest change with which another rule fires: what is found holds, and is the nearest."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import Policy
from turnout.dsl.flip import nearest_flip_from, nearest_flip_to
from turnout.dsl.interpret.traced import trace
from turnout.dsl.snapshot import read_given

POLICY = Policy.parse(
    """\
attributes: {tier: [free, pro, enterprise]}
targets:
  openai/gpt-4: {expected: {p95: 4s, output: 400}}
let:
  small: tokens < 100 and not has_tools
routing_policy:
  - {name: staff, condition: 'header["x-team"] == "search"', route: openai/gpt-4}
  - {name: small, condition: small, route: groq/llama-3-8b}
  - {name: night, condition: 'tier == "free" and time in 22:00..06:00', route: groq/llama-3-70b}
  - {name: slow, condition: 'p95("openai/gpt-4") > 8s', route: anthropic/claude-sonnet}
  - {name: dear, condition: 'cost("openai/gpt-4") > $0.50', route: groq/llama-3-70b}
  - {name: long, condition: tokens + (max_tokens ?? 2k) > 32k, route: anthropic/claude-sonnet}
  - {name: weekend, condition: weekday in Sat..Sun and date >= 2026-06-01, route: groq/llama-3-8b}
  - {name: nameless, condition: 'not known(header["x-app"])', route: groq/llama-3-8b}
  - {name: never, condition: tokens < 10 and tokens > 20, route: openai/gpt-4}
  - {name: rest, route: openai/gpt-4}
"""
)
PROGRAM = POLICY.program
NAMES = [clause.name for clause in PROGRAM.clauses]
USUAL = {
    "tokens": 500,
    "tier": "pro",
    "at": "2026-03-04 10:00",
    "header.x-app": "shop",
    "header.x-team": "ads",
}


def flip_to(rule: str, **changed: object) -> str | None:
    snapshot = read_given(USUAL | changed, PROGRAM)
    found = nearest_flip_to(PROGRAM, snapshot, NAMES.index(rule)).flip
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("rule", "given_", "told"),
    [
        ("staff", {}, 'header["x-team"] == "search"'),
        ("small", {}, "tokens < 100"),
        ("small", {"tokens": 50, "has_tools": True}, "not has_tools"),
        ("small", {"has_tools": True}, "tokens < 100 and not has_tools"),
        ("night", {"tier": "free", "at": "2026-03-04 21:00"}, "time >= 22:00"),
        ("night", {"tier": "free", "at": "2026-03-04 06:30"}, "time < 06:00"),
        ("night", {"at": "2026-03-04 23:00"}, 'tier == "free"'),
        ("slow", {}, 'p95("openai/gpt-4") > 8s'),
        ("dear", {}, "tokens >= 15867"),
        ("weekend", {}, "date == 2026-06-06"),
        ("nameless", {}, 'header["x-app"] unknown'),
        ("rest", {"header.x-team": "search"}, 'header["x-team"] != "search"'),
        ("rest", {"p95(openai/gpt-4)": "9s"}, 'p95("openai/gpt-4") <= 8s'),
    ],
)
def test_the_nearest_change_is_told_as_a_condition(
    rule: str, given_: dict[str, object], told: str
) -> None:
    assert flip_to(rule, **given_) == told


def test_a_condition_that_is_never_true_has_no_flip_and_says_what_was_tried() -> None:
    search = nearest_flip_to(PROGRAM, read_given(USUAL, PROGRAM), NAMES.index("never"))
    assert search.flip is None
    assert "makes it fire" in search.failure
    assert str(search.tries) in search.failure


def test_the_nearest_other_rule_is_found_from_where_a_request_is() -> None:
    found = nearest_flip_from(PROGRAM, read_given(USUAL | {"tokens": 110}, PROGRAM)).flip
    assert found is not None
    assert (str(found), found.clause) == ("tokens < 100", NAMES.index("small"))


SNAPSHOTS = st.fixed_dictionaries(
    {
        "tokens": st.one_of(st.integers(0, 200), st.integers(0, 50_000)),
        "tier": st.sampled_from(["free", "pro", "enterprise", "default"]),
        "at": st.builds(
            "2026-0{}-0{} {:02}:{:02}".format,
            st.integers(1, 9),
            st.integers(1, 9),
            st.integers(0, 23),
            st.integers(0, 59),
        ),
        "has_tools": st.booleans(),
    },
    optional={
        "header.x-team": st.sampled_from(["search", "ads"]),
        "header.x-app": st.just("shop"),
        "max_tokens": st.integers(1, 40_000),
        "p95(openai/gpt-4)": st.integers(1, 20_000).map("{}ms".format),
    },
)


@settings(max_examples=60, deadline=None)
@given(SNAPSHOTS, st.sampled_from(NAMES))
def test_with_its_flip_a_rule_fires_and_without_one_of_its_changes_it_does_not(
    data: dict[str, object], rule: str
) -> None:
    snapshot = read_given(data, PROGRAM)
    wanted = NAMES.index(rule)
    if trace(PROGRAM, snapshot).clause == wanted:
        return
    found = nearest_flip_to(PROGRAM, snapshot, wanted).flip
    if found is None:
        assert rule in ("never", "nameless", "weekend", "night", "rest", "dear", "long")
        return
    assert found.clause == wanted
    keys = [change.key for change in found.changes]
    assert len(set(keys)) == len(keys)
    for change in found.changes:
        assert change.before != change.after
        assert change.before == snapshot[change.key]
    for left_out in found.changes if len(found.changes) > 1 else ():
        fewer = {c.key: c.after for c in found.changes if c is not left_out}
        lesser = read_given(data, PROGRAM)
        lesser.update(fewer)
        assert trace(PROGRAM, lesser).clause != wanted


def test_no_percentile_is_changed_past_a_greater_one() -> None:
    policy = Policy.parse(
        """\
routing_policy:
  - name: steady
    condition: 'p50("openai/gpt-4") > 5s and p95("openai/gpt-4") < 20s'
    route: groq/llama-3-8b
  - {name: rest, route: openai/gpt-4}
"""
    )
    snapshot = policy.snapshot({"p50(openai/gpt-4)": "1s", "p95(openai/gpt-4)": "3s"})
    found = nearest_flip_to(policy.program, snapshot, 0).flip
    assert found is not None
    after = {change.key: change.after for change in found.changes}
    p50, p95 = after["p50(openai/gpt-4)"], after["p95(openai/gpt-4)"]
    assert isinstance(p50, int) and isinstance(p95, int) and 5_000_000 < p50 <= p95 < 20_000_000


@pytest.mark.uncounted
def test_a_flip_among_a_thousand_rules_is_found_within_a_second() -> None:
    rules = "".join(
        f"  - {{name: r{n}, condition: 'tokens in {n * 10}..{n * 10 + 5} and tier == \"t{n % 7}\"',"
        " route: openai/gpt-4}\n"
        for n in range(1_000)
    )
    policy = Policy.parse("routing_policy:\n" + rules + "  - {name: rest, route: openai/gpt-4}\n")
    snapshot = policy.snapshot({"tokens": 7, "tier": "pro"})
    started = time.perf_counter()
    search = nearest_flip_to(policy.program, snapshot, 700)
    assert search.flip is not None
    assert time.perf_counter() - started < 5
    assert {change.key for change in search.flip.changes} == {"tokens", "tier"}
