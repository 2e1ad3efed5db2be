import time
from collections.abc import Iterable

import pytest

from turnout.dsl.schema import Expected, Target, Tariff
from turnout.engine.pulse import Pulse

SECOND = 1_000_000_000


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
    feed(pulse, range(1_000, 101_000, 1_000))
    feed(pulse, [1] * 25, failed=True)
    assert pulse.tick(targets("a")).values == {
        "p50(a)": 50_000,
        "p95(a)": 95_000,
        "ttft.p95(a)": 9_500,
        "error_rate(a)": 2_000,
        "expected_output(a)": 500,
    }


def test_a_value_of_too_few_samples_is_unknown_and_says_how_few(pulse: Pulse) -> None:
    feed(pulse, [10, 10, 10])
    table = pulse.tick(targets("a"))
    assert table.values == {}
    assert table.reasons == dict.fromkeys(
        ("p50(a)", "p95(a)", "ttft.p95(a)", "error_rate(a)", "expected_output(a)"),
        "3 of 4 samples",
    )


def test_a_target_that_was_never_called_is_unknown(pulse: Pulse) -> None:
    assert pulse.tick(targets("a")).reasons["p95(a)"] == "0 of 4 samples"


def test_failures_count_for_the_error_rate_and_not_for_the_latency(pulse: Pulse) -> None:
    feed(pulse, [1] * 6, failed=True)
    table = pulse.tick(targets("a"))
    assert (table.values, table.reasons["p95(a)"]) == ({"error_rate(a)": 10_000}, "0 of 4 samples")


def test_a_declared_prior_stands_in_until_there_are_samples(pulse: Pulse) -> None:
    cold = targets("a", expected=Expected(p95_us=900, ttft_us=300, output=40))
    feed(pulse, [5_000] * 3)
    table = pulse.tick(cold)
    assert table.values == {"p95(a)": 900, "ttft.p95(a)": 300, "expected_output(a)": 40}
    assert set(table.reasons) == {"p50(a)", "error_rate(a)"}
    feed(pulse, [5_000])
    assert pulse.tick(cold).values["p95(a)"] == 5_000


def test_samples_that_leave_the_window_no_longer_count(pulse: Pulse, clock: Clock) -> None:
    feed(pulse, [9_000] * 4)
    clock.now_ns = 6 * SECOND
    feed(pulse, [1_000] * 4)
    assert pulse.tick(targets("a")).values["p95(a)"] == 9_000
    clock.now_ns = 11 * SECOND
    assert pulse.tick(targets("a")).values["p95(a)"] == 1_000
    clock.now_ns = 17 * SECOND
    assert pulse.tick(targets("a")).reasons["p95(a)"] == "0 of 4 samples"


def test_only_the_newest_samples_are_kept_however_many_there_are(pulse: Pulse) -> None:
    feed(pulse, [9_000] * 5_000)
    feed(pulse, [1_000] * 512)
    assert pulse.tick(targets("a")).values["p95(a)"] == 1_000


def test_targets_do_not_mix(pulse: Pulse) -> None:
    feed(pulse, [1_000] * 4, target="a")
    feed(pulse, [2_000] * 4, target="b")
    values = pulse.tick(targets("a", "b")).values
    assert (values["p95(a)"], values["p95(b)"]) == (1_000, 2_000)


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
    assert pulse.gateway_latency() == 250
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
    assert len(pulse._rings) <= 501
    feed(pulse, [1_000] * 4)
    assert pulse.tick(targets("a")).values["p50(a)"] == 1_000
