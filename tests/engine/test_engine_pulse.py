import doctest
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.wall import Wall
from turnout.dsl.core import REQUESTED, Slot
from turnout.dsl.schema import Expected, Target, Tariff
from turnout.engine import window
from turnout.engine.attributes import BY_NAME
from turnout.engine.beat import Beat, Count, packed, unpacked
from turnout.engine.pulse import Pulse
from turnout.engine.window import (
    Sums,
    Window,
    added,
    lane_of,
    percentiles,
    top_of,
    trimmed,
    untrimmed,
)

SECOND = 1_000_000_000
MEASURED = (
    "p50",
    "p90",
    "p95",
    "p99",
    "ttft.p50",
    "ttft.p95",
    "error_rate",
    "expected_output",
)


class Clock:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def targets(*names: str, **known: Expected) -> dict[str, Target]:
    return {
        name: Target(name, "p", "m", Tariff(1, 1), expected=known.get("expected", Expected()))
        for name in names
    }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock, utc_ns=lambda: clock.now_ns + 5 * SECOND, min_samples=4, window_s=10)


def feed(pulse: Pulse, took: Iterable[int], failed: bool = False, target: str = "a") -> None:
    for took_us in took:
        pulse.record(target, took_us, took_us // 10, took_us // 100, failed)


def test_live_values_are_those_of_the_recent_attempts(pulse: Pulse) -> None:
    feed(pulse, [1] * 25, failed=True)
    feed(pulse, range(1_000, 101_000, 1_000))
    assert pulse.tick(targets("a")).values == {
        "p50(a)": told(50_000),
        "p90(a)": told(90_000),
        "p95(a)": told(95_000),
        "p99(a)": told(99_000),
        "ttft.p50(a)": told(5_000),
        "ttft.p95(a)": told(9_500),
        "error_rate(a)": 2_000,
        "expected_output(a)": told(500),
    }


def test_a_value_of_too_few_samples_is_unknown_and_says_how_few(pulse: Pulse) -> None:
    feed(pulse, [10, 10, 10])
    table = pulse.tick(targets("a"))
    assert table.values == {}
    assert table.reasons == {f"{name}(a)": "3 of 4 samples" for name in MEASURED}


def test_a_target_that_was_never_called_is_unknown(pulse: Pulse) -> None:
    assert pulse.tick(targets("a")).reasons["p95(a)"] == "0 of 4 samples"


def test_failures_count_for_the_error_rate_and_not_for_the_latency(pulse: Pulse) -> None:
    feed(pulse, [1] * 6, failed=True)
    table = pulse.tick(targets("a"))
    assert table.values == {"error_rate(a)": 10_000}
    assert table.reasons["p95(a)"] == "0 of 4 samples"


def test_a_declared_prior_stands_in_until_there_are_samples(pulse: Pulse) -> None:
    cold = targets("a", expected=Expected(p95_us=900, ttft_us=300, output=40))
    feed(pulse, [5_000] * 3)
    table = pulse.tick(cold)
    assert table.values == {
        "p95(a)": 900,
        "ttft.p50(a)": 300,
        "ttft.p95(a)": 300,
        "expected_output(a)": 40,
    }
    assert set(table.reasons) == {"p50(a)", "p90(a)", "p99(a)", "error_rate(a)"}
    feed(pulse, [5_000])
    assert pulse.tick(cold).values["p95(a)"] == told(5_000)


def test_samples_that_leave_the_window_no_longer_count(pulse: Pulse, clock: Clock) -> None:
    feed(pulse, [9_000] * 4)
    clock.now_ns = 6 * SECOND
    feed(pulse, [1_000] * 4)
    assert pulse.tick(targets("a")).values["p95(a)"] == told(9_000)
    clock.now_ns = 11 * SECOND
    assert pulse.tick(targets("a")).values["p95(a)"] == told(1_000)
    clock.now_ns = 17 * SECOND
    assert pulse.tick(targets("a")).reasons["p95(a)"] == "0 of 4 samples"


def test_every_attempt_of_the_window_counts_however_many_there_are(pulse: Pulse) -> None:
    feed(pulse, [9_000] * 5_000)
    feed(pulse, [1_000] * 4_000)
    assert pulse.tick(targets("a")).values["p50(a)"] == told(9_000)


def test_targets_do_not_mix(pulse: Pulse) -> None:
    feed(pulse, [1_000] * 4, target="a")
    feed(pulse, [2_000] * 4, target="b")
    values = pulse.tick(targets("a", "b")).values
    assert (values["p95(a)"], values["p95(b)"]) == (told(1_000), told(2_000))


def test_attempts_without_usage_or_first_token_leave_those_unknown(pulse: Pulse) -> None:
    for _ in range(4):
        pulse.record("a", 1_000, None, None, False)
    table = pulse.tick(targets("a"))
    assert "expected_output(a)" in table.reasons and "ttft.p95(a)" in table.reasons


def test_a_table_is_made_anew_only_where_something_changed(pulse: Pulse, clock: Clock) -> None:
    first = pulse.tick(targets("a"))
    clock.now_ns = SECOND
    assert pulse.tick(targets("a")) is first
    feed(pulse, [1_000] * 4)
    second = pulse.tick(targets("a"))
    assert second.id != first.id
    assert (first.at_us, second.at_us) == (5_000_000, 6_000_000)


def test_tables_of_two_workers_have_different_ids() -> None:
    assert Pulse().tick(targets("a")).id != Pulse().tick(targets("a")).id


def test_the_gateways_own_share_is_its_recent_median(pulse: Pulse, clock: Clock) -> None:
    assert pulse.gateway_latency() is None
    for took_us in (100, 250, 9_000):
        pulse.record_own(took_us)
    assert pulse.gateway_latency() == told(250)
    clock.now_ns = 11 * SECOND
    assert pulse.gateway_latency() is None


def test_a_tick_of_a_hundred_busy_targets_stays_far_from_a_second() -> None:
    busy = Pulse()
    names = [f"p/{number}" for number in range(100)]
    for name in names:
        feed(busy, range(1_000, 7_000, 10), target=name)
    began = time.process_time()
    busy.tick(targets(*names))
    assert time.process_time() - began < 0.5


def test_targets_that_clients_make_up_do_not_fill_the_memory(pulse: Pulse) -> None:
    pulse.tick(targets("a"))
    for number in range(5_000):
        feed(pulse, [1_000], target=f"openai/ft:gpt-4o-mini:{number}")
    assert len(pulse._courses) <= 501
    feed(pulse, [1_000] * 4)
    assert pulse.tick(targets("a")).values["p50(a)"] == told(1_000)


# --- the state of a target -----------------------------------------------------------------------


def test_attempts_under_way_are_counted(pulse: Pulse) -> None:
    pulse.entered("a")
    pulse.entered("a")
    assert pulse.tick(targets("a")).values["inflight(a)"] == 2
    for _ in range(3):
        pulse.left("a")
    pulse.left("never entered")
    assert "inflight(a)" not in pulse.tick(targets("a")).values


def test_what_is_told_of_a_target_beside_measures_is_in_the_table(pulse: Pulse) -> None:
    values = pulse.tick(targets("a"), states={"usable(a)": False}).values
    assert values == {"usable(a)": False}


# --- several workers -----------------------------------------------------------------------------


@pytest.fixture
def crew(clock: Clock) -> list[Pulse]:
    """Three workers that see what the others tell."""
    wall = Wall()
    return [Pulse(clock, board=wall.board(), min_samples=4, window_s=10) for _ in range(3)]


def ticked(crew: Iterable[Pulse], *names: str, **known: Expected) -> dict[str, Any]:
    """The values that the last of them has once all have ticked."""
    tables = [pulse.tick(targets(*names, **known)) for pulse in crew]
    return tables[-1].values


def test_what_one_worker_saw_all_others_decide_on(crew: list[Pulse]) -> None:
    feed(crew[0], range(1_000, 101_000, 1_000))
    feed(crew[0], [1] * 25, failed=True)
    alone = crew[0].tick(targets("a")).values
    assert len(alone) == len(MEASURED)
    assert crew[1].tick(targets("a")).values == alone
    assert crew[2].tick(targets("a")).values == alone


def test_samples_of_all_workers_are_counted_together(crew: list[Pulse]) -> None:
    cold = {"expected": Expected(p95_us=900)}
    feed(crew[0], [10, 20])
    feed(crew[1], [30], target="a")
    feed(crew[2], [30], target="b")
    values = ticked(crew, "a", "b", **cold)
    assert (values["p95(a)"], values["p95(b)"]) == (900, 900)
    feed(crew[2], [40])
    feed(crew[2], [1], failed=True)
    values = ticked(crew, "a", "b", **cold)
    assert (values["p50(a)"], values["p95(a)"], values["p95(b)"]) == (20, 40, 900)
    assert values["error_rate(a)"] == 2_000


def test_attempts_under_way_are_those_of_all_workers(crew: list[Pulse]) -> None:
    crew[0].entered("a")
    crew[1].entered("a")
    crew[2].entered("a")
    crew[2].entered("b")
    values = ticked(crew, "a", "b")
    assert (values["inflight(a)"], values["inflight(b)"]) == (3, 1)
    assert crew[2].inflight == {"a": 1, "b": 1}
    crew[0].left("a")
    assert ticked(crew, "a")["inflight(a)"] == 2


def test_a_window_that_all_workers_count_has_the_samples_of_all(crew: list[Pulse]) -> None:
    slots = [slot("p95", "a", 60), slot("error_rate", "a", 60)]
    for pulse in crew:
        pulse.tick(targets("a"), slots)
        feed(pulse, [100, 110])
        feed(pulse, [1], failed=True)
    tables = [pulse.tick(targets("a"), slots) for pulse in crew]
    assert tables[2].values["p95(a, 60s)"] == 110
    assert tables[2].values["error_rate(a, 60s)"] == 3_333


def test_what_a_worker_told_that_ended_no_longer_counts(clock: Clock) -> None:
    wall = Wall()
    boards = [wall.board() for _ in range(2)]
    one, two = (Pulse(clock, board=board, min_samples=1) for board in boards)
    feed(one, [100])
    one.entered("a")
    assert ticked([one, two], "a")["inflight(a)"] == 1
    boards[0].close()
    assert ticked([two], "a") == {}


def test_a_worker_that_is_stuck_counts_for_a_few_seconds_only(
    crew: list[Pulse], clock: Clock
) -> None:
    feed(crew[0], [100] * 4)
    assert ticked(crew, "a")["p95(a)"] == 100
    clock.now_ns += 5 * SECOND
    assert ticked(crew[1:], "a")["p95(a)"] == 100
    clock.now_ns += 1
    assert ticked(crew[1:], "a") == {}
    assert ticked(crew, "a")["p95(a)"] == 100


def test_samples_leave_the_windows_of_all_workers_at_the_same_time(
    crew: list[Pulse], clock: Clock
) -> None:
    feed(crew[0], [9_000] * 4)
    for _ in range(6):
        clock.now_ns += SECOND
        ticked(crew, "a")
    feed(crew[1], [1_000] * 4)
    assert ticked(crew, "a")["p95(a)"] == told(9_000)
    for _ in range(5):
        clock.now_ns += SECOND
        values = ticked(crew, "a")
    assert values["p95(a)"] == told(1_000)


def test_a_target_that_clients_name_at_another_worker_is_measured_too(crew: list[Pulse]) -> None:
    feed(crew[0], [70] * 4, target="openai/named-by-a-client")
    slots = [slot("p95", REQUESTED, None)]
    tables = [pulse.tick(targets("a"), slots) for pulse in crew]
    assert tables[2].values == tables[0].values != {}


def test_targets_that_clients_made_up_are_forgotten_once_nobody_calls_them(
    crew: list[Pulse], clock: Clock
) -> None:
    for number in range(2_000):
        feed(crew[number % 3], [70], target=f"openai/ft:{number}")
    crew[0].entered("openai/ft:0")
    tables = [pulse.tick(targets("a"), [slot("p95", REQUESTED, None)]) for pulse in crew]
    assert len(tables[2].reasons) <= 501 * len(MEASURED)
    clock.now_ns += 12 * SECOND
    for pulse in crew:
        pulse.tick(targets("a"))
    assert [len(pulse._courses) for pulse in crew] == [1, 0, 0]
    crew[0].left("openai/ft:0")


@given(st.binary() | st.binary().map(lambda rest: b"\1" + bytes(8) + b"\1\0\0\0" + rest))
def test_what_is_no_beat_is_not_counted(spoilt: bytes) -> None:
    clock, wall = Clock(), Wall()
    stranger = wall.board()
    one, two = (Pulse(clock, board=wall.board(), min_samples=1) for _ in range(2))
    feed(one, [100])
    one.tick(targets("a"))
    stranger.post("pulse", spoilt)
    assert two.tick(targets("a")).values["p95(a)"] == 100


SUMS = st.builds(
    Sums,
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    *(
        st.dictionaries(st.integers(0, lane_of(2**32)), st.integers(1, 2**32 - 1), max_size=4).map(
            lambda lanes: sum(count << 32 * lane for lane, count in lanes.items())
        )
        for _ in range(3)
    ),
)


@given(
    st.integers(0, 2**62),
    st.dictionaries(
        st.text(st.characters(), max_size=4),
        st.builds(
            Count,
            st.integers(0, 2**32 - 1),
            st.dictionaries(st.integers(0, 2**63), SUMS, max_size=2),
        ),
        max_size=3,
    ),
)
def test_a_beat_is_read_as_it_was_told(at_ns: int, counts: dict[str, Count]) -> None:
    beat = Beat(at_ns, counts)
    assert unpacked(packed(beat)) == beat


# --- windows that a policy names -----------------------------------------------------------------


def slot(name: str, target: str, window_s: int | None) -> Slot:
    key = f"{name}({target})" if window_s is None else f"{name}({target}, {window_s}s)"
    window_us = None if window_s is None else window_s * 1_000_000
    return Slot(key, BY_NAME[name], target, window_us)


def test_a_window_has_values_of_its_own(pulse: Pulse, clock: Clock) -> None:
    slots = [slot(name, "a", 60) for name in ("p50", "p95", "ttft.p95", "error_rate")]
    pulse.tick(targets("a"), slots)
    feed(pulse, [100] * 6)
    clock.now_ns = 30 * SECOND
    feed(pulse, [50] * 4)
    feed(pulse, [1] * 10, failed=True)
    values = pulse.tick(targets("a"), slots).values
    assert values["p50(a)"] == 50
    assert values["p50(a, 60s)"] == 100
    assert values["p95(a, 60s)"] == 100
    assert values["ttft.p95(a, 60s)"] == 10
    assert values["error_rate(a, 60s)"] == 5_000
    assert values["error_rate(a)"] == 7_143


def test_a_window_forgets_and_below_enough_samples_a_prior_stands_in(
    pulse: Pulse, clock: Clock
) -> None:
    slots = [slot("p95", "a", 60), slot("p50", "a", 60)]
    cold = targets("a", expected=Expected(p95_us=900))
    pulse.tick(cold, slots)
    feed(pulse, [100] * 4)
    assert pulse.tick(cold, slots).values["p95(a, 60s)"] == 100
    clock.now_ns = 63 * SECOND
    table = pulse.tick(cold, slots)
    assert table.values["p95(a, 60s)"] == 900
    assert table.reasons["p50(a, 60s)"] == "0 of 4 samples"


def test_a_window_counts_all_traffic_however_much_there_was(pulse: Pulse, clock: Clock) -> None:
    slots = [slot("p50", "a", 300)]
    pulse.tick(targets("a"), slots)
    feed(pulse, [100] * 3_000)
    clock.now_ns = 100 * SECOND
    feed(pulse, [50] * 2_000)
    assert pulse.tick(targets("a"), slots).values["p50(a, 300s)"] == 100


def test_a_window_of_what_was_requested_is_measured_for_every_target(pulse: Pulse) -> None:
    slots = [slot("p95", REQUESTED, 60), slot("p95", REQUESTED, None)]
    pulse.tick(targets("a"), slots)
    feed(pulse, [100] * 4)
    feed(pulse, [70] * 4, target="openai/named-by-a-client")
    values = pulse.tick(targets("a"), slots).values
    assert values["p95(a, 60s)"] == 100
    assert values["p95(openai/named-by-a-client, 60s)"] == 70
    assert values["p95(openai/named-by-a-client)"] == 70


def test_what_no_policy_asks_for_any_more_is_no_longer_counted(pulse: Pulse) -> None:
    pulse.tick(targets("a"), [slot("p95", "a", 60)])
    feed(pulse, [100] * 4)
    pulse.tick(targets("a"))
    assert list(pulse._courses["a"].windows) == [10_000_000]


def told(value: int) -> int:
    """A value as it is told."""
    return top_of(lane_of(value))


@given(st.integers(0, 2**32 - 1))
def test_a_class_is_at_most_a_sixty_fourth_above_its_values(value: int) -> None:
    assert value <= told(value) <= value + value // 64
    assert told(told(value)) == told(value)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_larger_values_have_no_smaller_class(value: int, more: int) -> None:
    assert 0 <= lane_of(value) <= lane_of(value + more) <= lane_of(2**32)


@given(st.lists(st.integers(0, 2**33), min_size=1), st.integers(1, 100))
def test_a_percentile_of_classes_is_the_class_of_that_of_their_values(
    values: list[int], percent: int
) -> None:
    whole = Window(SECOND)
    for value in values:
        whole.add(0, value, None, None, False)
    ordered = sorted(values)
    nearest_rank = ordered[-(-len(ordered) * percent // 100) - 1]
    row = whole.sums(0).took
    assert percentiles(row, percent) == (len(values), [told(nearest_rank)])
    assert untrimmed(*trimmed(row)) == row


SEEN = st.tuples(
    st.integers(0, 40),  # seconds since the one before
    st.integers(0, 10**7),
    st.none() | st.integers(0, 10**7),
    st.none() | st.integers(0, 10**5),
    st.booleans(),
)


@given(st.lists(st.tuples(st.booleans(), SEEN), max_size=40))
def test_what_two_counted_apart_adds_up_to_what_one_would_have_counted(
    seen: list[tuple[bool, Any]],
) -> None:
    one, two, alone = (Window(60 * SECOND) for _ in range(3))
    now_ns = 0
    for first, (later_s, *attempt) in seen:
        now_ns += later_s * SECOND
        for window_ in (one if first else two, alone):
            window_.add(now_ns, *attempt)
    assert added((one.sums(now_ns), two.sums(now_ns))) == alone.sums(now_ns)


@given(st.lists(SEEN, max_size=40))
def test_what_left_a_window_leaves_nothing_behind(
    seen: list[Any],
) -> None:
    window_, now_ns = Window(60 * SECOND), 0
    kept: list[tuple[int, Any]] = []
    for later_s, *attempt in seen:
        now_ns += later_s * SECOND
        window_.add(now_ns, *attempt)
        kept.append((now_ns, attempt))
    now_ns += 30 * SECOND
    young = Window(10**6 * SECOND)
    for at_ns, attempt in kept:
        if at_ns // (2 * SECOND) >= (now_ns - 60 * SECOND) // (2 * SECOND):
            young.add(at_ns, *attempt)
    assert window_.sums(now_ns) == young.sums(now_ns)
    assert window_.sums(now_ns + 100 * SECOND) == (0, 0, 0, 0, 0)


def test_a_window_without_attempts_has_no_percentile() -> None:
    assert percentiles(Window(SECOND).sums(0).took, 95) == (0, [None])


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(window).failed == 0
