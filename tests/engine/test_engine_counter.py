"""Counters of an attempt: the same whatever was asked before."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl.core import Budget
from turnout.dsl.source import Source, Span
from turnout.engine import counter as module
from turnout.engine.counter import Counter, counters_of
from turnout.engine.request import Caller

DAY_US = 86_400_000_000
SPAN = Span(Source("", ""), 0, 0)
TARGET = "openai/gpt-4o"

budgets = st.builds(
    Budget,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["tenant", "team", "user", "key", "model"]),
    st.sampled_from([None, "x", "y", TARGET]),
    st.integers(1, 3),
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from([(), ((8_000, "alert"),), ((5_000, "reject"),)]),
    st.just(SPAN),
    st.sampled_from([None, "x"]),
)
names = st.sampled_from(["x", "y"])
callers = st.builds(
    Caller, tenant=names, team=names | st.none(), user=names | st.none(), key_id=names | st.none()
)
questions = st.tuples(
    st.integers(0, 2),  # which of the lists of budgets
    st.sampled_from(["UTC", "Europe/Berlin"]),
    callers,
    st.sampled_from([TARGET, "x"]),
    st.integers(0, 70 * 24).map(lambda hours: hours * DAY_US // 24),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(budgets, max_size=4), min_size=3, max_size=3), st.lists(questions))
def test_an_answer_is_the_same_whatever_was_asked_before(
    lists: list[list[Budget]], asked: list[tuple[int, str, Caller, str, int]]
) -> None:
    def told(which: int, zone: str, caller: Caller, target: str, at_us: int) -> tuple[Counter, ...]:
        return counters_of(lists[which], zone, caller, target, at_us)

    expected = []
    for one in asked:
        module._told.clear()
        expected.append(told(*one))
    module._told.clear()
    assert [told(*one) for one in asked] == expected


def test_a_new_day_and_the_one_before_it_have_counters_of_their_own() -> None:
    daily = Budget("daily", "tenant", None, 1, "day", (), SPAN)
    monthly = Budget("monthly", "tenant", None, 1, "month", (), SPAN)
    days = [
        counters_of((daily, monthly), "UTC", Caller(), TARGET, at)[0].from_us // DAY_US
        for at in (DAY_US - 1, DAY_US, DAY_US - 1, 40 * DAY_US, DAY_US)
    ]
    assert days == [0, 1, 0, 40, 1]


def test_a_budget_that_was_edited_has_its_new_ceiling_at_once() -> None:
    one = Budget("all", "tenant", None, 10, "day", (), SPAN)
    ceilings = [
        counters_of([asked], "UTC", Caller(), TARGET, 0)[0].ceiling_nano_usd
        for asked in (one, replace(one, limit_nano_usd=4), one)
    ]
    assert ceilings == [10, 4, 10]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_TOLD", 50)
    daily = Budget("daily", "user", None, 1, "day", (), SPAN)
    for number in range(200):
        counters_of([daily], "UTC", Caller(user=str(number)), TARGET, 0)
        assert len(module._told) <= 50
