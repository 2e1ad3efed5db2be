"""Breakers on a hand-turned clock: one against a small model, several over a board of their own."""

import heapq
import logging
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from turnout.dsl.core import Breaking
from turnout.engine import breakers as module
from turnout.engine.breakers import Barred, Breakers
from turnout.engine.provider import FAULTS, Fault, ProviderError

X = "a/m"
S = 1_000_000_000
COOL_S = 15
DOWN = ProviderError(Fault.SERVER, "down", status=500)


class Clock:
    """Stands still but for what it is turned."""

    def __init__(self) -> None:
        self.ns = 1_000 * S

    def __call__(self) -> int:
        self.ns += 1  # no two instants are the same
        return self.ns

    def turn(self, seconds: float) -> None:
        self.ns += round(seconds * S)


class Posts:
    """What the workers of a machine told, in memory."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], bytes] = {}
        self.posted = 0

    def board(self, worker: int) -> "OneBoard":
        return OneBoard(self, worker)


class OneBoard:
    def __init__(self, posts: Posts, worker: int) -> None:
        self._posts = posts
        self._worker = worker
        self._seen: list[bytes] = []

    def post(self, topic: str, told: bytes) -> None:
        self._posts.told[topic, self._worker] = told
        self._posts.posted += 1

    def look(self, topic: str) -> list[bytes] | None:
        told = [
            post
            for (of, worker), post in sorted(self._posts.told.items())
            if of == topic and worker != self._worker
        ]
        if told == self._seen:
            return None
        self._seen = told
        return told

    def leads(self, role: str) -> bool:
        return self._worker == 0

    def close(self) -> None:
        self._posts.told = {
            key: told for key, told in self._posts.told.items() if key[1] != self._worker
        }


def limited(seconds: float) -> ProviderError:
    return ProviderError(
        Fault.RATE_LIMIT, "slow down", status=429, retry_after_us=int(seconds * 1e6)
    )


def alone(failures: int = 3) -> tuple[Breakers, Clock]:
    clock = Clock()
    breakers = Breakers(now_ns=clock)
    breakers.follow(Breaking(failures, COOL_S * 1_000_000))
    return breakers, clock


def crowd(workers: int, failures: int = 3) -> tuple[list[Breakers], Clock, Posts]:
    clock, posts = Clock(), Posts()
    all = [Breakers(posts.board(n), clock) for n in range(workers)]
    for one in all:
        one.follow(Breaking(failures, COOL_S * 1_000_000))
    return all, clock, posts


def state(breakers: Breakers, target: str = X) -> str:
    return str(breakers.values().get(f"breaker({target})", "closed"))


def enter(breakers: Breakers, target: str = X) -> int:
    entered = breakers.enter(target)
    assert not isinstance(entered, Barred)
    return entered


def fail(breakers: Breakers, failures: int) -> None:
    for _ in range(failures):
        breakers.failed(X, DOWN, enter(breakers))


def open_it(breakers: Breakers, failures: int = 3) -> None:
    fail(breakers, failures)
    assert state(breakers) == "open"


# --- what counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.BREAKER_OPEN])
def test_what_opens_a_breaker_is_what_the_table_of_faults_says(fault: Fault) -> None:
    breakers, _ = alone()
    for _ in range(10):
        entered = breakers.enter(X)
        if isinstance(entered, int):
            breakers.failed(X, ProviderError(fault, "no"), entered)
    assert (state(breakers) == "open") is FAULTS[fault].breaker


def test_a_refusal_of_the_request_neither_counts_nor_forgives() -> None:
    breakers, _ = alone()
    for fault in (Fault.SERVER, Fault.SERVER, Fault.BAD_REQUEST, Fault.AUTH, Fault.SERVER):
        breakers.failed(X, ProviderError(fault, "no"), enter(breakers))
    assert state(breakers) == "open"


def test_a_success_forgives_what_failed_before() -> None:
    breakers, _ = alone()
    for _ in range(10):
        for _ in range(2):
            breakers.failed(X, DOWN, enter(breakers))
        breakers.succeeded(X, enter(breakers))
    assert state(breakers) == "closed"


def test_a_provider_that_only_says_429_opens_its_breaker() -> None:
    breakers, clock = alone()
    for _ in range(3):
        breakers.failed(X, limited(2), enter(breakers))
        clock.turn(2.1)
    assert state(breakers) == "open"


def test_an_attempt_from_before_the_last_change_says_nothing_of_now() -> None:
    breakers, clock = alone()
    hanging = [enter(breakers) for _ in range(20)]
    fail(breakers, 3)
    clock.turn(1)
    assert state(breakers) == "open"
    clock.turn(COOL_S)
    breakers.succeeded(X, enter(breakers))
    for since in hanging:
        breakers.failed(X, ProviderError(Fault.TIMEOUT, "at last"), since)
    assert state(breakers) == "closed"


# --- time ----------------------------------------------------------------------------------------


def test_a_breaker_half_opens_by_the_clock_without_traffic() -> None:
    breakers, clock = alone()
    open_it(breakers)
    assert breakers.look()
    clock.turn(COOL_S - 1)
    assert (state(breakers), breakers.look()) == ("open", False)
    clock.turn(1)
    assert breakers.look()
    assert breakers.values() == {f"breaker({X})": "half_open"}


def test_nobody_trying_a_half_open_target_closes_it_with_one_failure_to_spare() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(2 * COOL_S)
    assert breakers.look()
    assert state(breakers) == "closed"
    breakers.failed(X, DOWN, enter(breakers))
    assert state(breakers) == "open"


def test_a_success_after_it_closed_by_itself_gives_the_whole_count_back() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(2 * COOL_S)
    breakers.succeeded(X, enter(breakers))
    for _ in range(2):
        breakers.failed(X, DOWN, enter(breakers))
    assert state(breakers) == "closed"


def test_a_breaker_that_was_on_trial_costs_no_more_than_any_other_afterwards() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(2 * COOL_S)
    breakers.look()
    assert not breakers._breakers[X].calm
    breakers.succeeded(X, enter(breakers))
    assert breakers._breakers[X].calm


def test_an_open_breaker_says_how_long_it_will_be() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(5)
    barred = breakers.barred(X)
    assert barred is not None
    assert barred.reason == "its breaker is open after 5xx"
    assert 9_999_000 <= barred.left_us <= 10_000_001
    assert breakers.values() == {f"breaker({X})": "open", f"healthy({X})": False}
    assert breakers.states() == {
        X: {"breaker": "open", "rate_limited": False, "for_ms": 9_999, "reason": "5xx"}
    }


# --- probes --------------------------------------------------------------------------------------


def test_one_attempt_tries_a_half_open_target_and_the_others_wait() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(COOL_S)
    since = enter(breakers)
    assert all(isinstance(breakers.enter(X), Barred) for _ in range(20))
    breakers.succeeded(X, since)
    assert state(breakers) == "closed"
    assert breakers.barred(X) is None


def test_asking_whether_a_half_open_target_is_barred_takes_no_seat() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(COOL_S)
    assert [breakers.barred(X) for _ in range(5)] == [None] * 5
    enter(breakers)


def test_a_probe_that_fails_opens_the_breaker_for_another_cool_down() -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(COOL_S + 3)
    breakers.failed(X, DOWN, enter(breakers))
    clock.turn(COOL_S - 1)
    assert state(breakers) == "open"
    clock.turn(1)
    assert state(breakers) == "half_open"


@pytest.mark.parametrize("ends", ["left", "refused", "never"])
def test_a_probe_that_says_nothing_gives_its_seat_back(ends: str) -> None:
    breakers, clock = alone()
    open_it(breakers)
    clock.turn(COOL_S)
    since = enter(breakers)
    if ends == "left":
        breakers.left(X, since)
    elif ends == "refused":
        breakers.failed(X, ProviderError(Fault.BAD_REQUEST, "no"), since)
    else:
        clock.turn(COOL_S)
    assert state(breakers) == "half_open"
    breakers.succeeded(X, enter(breakers))
    assert state(breakers) == "closed"


def test_an_old_attempt_that_is_cancelled_does_not_give_up_the_probes_seat() -> None:
    breakers, clock = alone()
    old = enter(breakers)
    fail(breakers, 3)
    clock.turn(COOL_S + 1)
    assert state(breakers) == "half_open"
    enter(breakers)
    breakers.left(X, old)
    assert isinstance(breakers.enter(X), Barred)


# --- cool-downs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "left"), [((20, 5), 20), ((5, 20), 20), ((7_200,), 3_600), ((0.5,), 0.5)]
)
def test_a_cool_down_is_extended_and_never_shortened(asked: tuple[float, ...], left: float) -> None:
    breakers, clock = alone(failures=100)
    attempts = [enter(breakers) for _ in asked]
    for seconds, since in zip(asked, attempts, strict=True):
        breakers.failed(X, limited(seconds), since)
    barred = breakers.barred(X)
    assert barred is not None
    assert barred.is_cooling
    assert barred.left_us == pytest.approx(left * 1e6, abs=10)
    assert breakers.values() == {f"rate_limited({X})": True}
    clock.turn(left)
    assert breakers.look()
    assert breakers.barred(X) is None
    assert breakers.values() == {}


def test_a_cool_down_longer_than_the_breakers_keeps_it_open() -> None:
    breakers, clock = alone()
    late = enter(breakers)
    fail(breakers, 3)
    clock.turn(1)
    assert state(breakers) == "open"
    breakers.failed(X, limited(60), late)
    clock.turn(59)
    assert breakers.values() == {
        f"breaker({X})": "open",
        f"healthy({X})": False,
        f"rate_limited({X})": True,
    }
    clock.turn(1)
    assert state(breakers) == "half_open"


# --- free probes ---------------------------------------------------------------------------------


def test_a_good_free_probe_closes_what_is_half_open_and_nothing_that_cools_down() -> None:
    breakers, clock = alone()
    open_it(breakers)
    breakers.probed("a", True, "it lists its models")
    assert state(breakers) == "open"
    clock.turn(COOL_S)
    breakers.probed("b", True, "another's")
    assert state(breakers) == "half_open"
    breakers.probed("a", True, "it lists its models")
    assert state(breakers) == "closed"
    # That it is there does not say that it answers: one failure is enough now.
    breakers.failed(X, DOWN, enter(breakers))
    assert state(breakers) == "open"


def test_each_change_of_a_breaker_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="turnout.breakers")
    breakers, clock = alone()
    open_it(breakers)
    for _ in range(3):
        breakers.look()
    clock.turn(COOL_S)
    for _ in range(3):
        breakers.look()
    breakers.succeeded(X, enter(breakers))
    for _ in range(3):
        breakers.look()
    assert [one.getMessage() for one in caplog.records] == [
        f"{X}: its breaker opened after 5xx",
        f"{X}: its breaker is half-open",
        f"{X}: its breaker is closed",
    ]


def test_a_bad_free_probe_makes_a_providers_targets_unhealthy_and_opens_nothing() -> None:
    breakers, _ = alone()
    breakers.probed("a", False, "refused")
    assert breakers.look()
    assert breakers.values([X, "a/n", "b/m"]) == {f"healthy({X})": False, "healthy(a/n)": False}
    assert breakers.barred(X) is None
    breakers.probed("a", True, "fine")
    assert breakers.look()
    assert breakers.values([X]) == {}


# --- bounds --------------------------------------------------------------------------------------


def test_targets_that_clients_make_up_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TARGETS", 40)
    breakers, clock = alone()
    for n in range(1_000):
        clock.turn(1)
        breakers.succeeded(X)
        breakers.failed(f"a/ft:{n}", DOWN)
        assert len(breakers._breakers) <= 40
    assert X in breakers._breakers


def test_a_quiet_worker_tells_nothing() -> None:
    (one, _), _, posts = crowd(2)
    for n in range(100):
        one.succeeded(f"a/{n}", enter(one, f"a/{n}"))
        one.look()
    assert posts.posted == 0


def test_other_bounds_hold_from_when_they_are_told() -> None:
    breakers, _ = alone(failures=100)
    for _ in range(3):
        breakers.failed(X, DOWN, enter(breakers))
    breakers.follow(Breaking(4, 1_000_000))
    breakers.failed(X, DOWN, enter(breakers))
    assert state(breakers) == "open"
    assert (breakers.barred(X) or Barred("", 0)).left_us == pytest.approx(1e6, abs=10)


# --- rows among attempts side by side ------------------------------------------------------------


def test_failures_that_are_over_before_a_success_could_be_open_nothing() -> None:
    breakers, clock = alone()
    burst = [enter(breakers) for _ in range(64)]
    clock.turn(0.002)
    for since in burst[::3]:
        breakers.failed(X, DOWN, since)
    assert state(breakers) == "closed"
    clock.turn(0.02)
    breakers.succeeded(X, burst[1])
    clock.turn(10)
    assert state(breakers) == "closed"


def test_a_provider_that_dies_opens_its_breaker_once_what_was_under_way_has_failed() -> None:
    breakers, _ = alone(failures=10)
    under_way = [enter(breakers) for _ in range(16)]
    for n, since in enumerate(under_way):
        assert state(breakers) == "closed", n
        breakers.failed(X, DOWN, since)
    assert state(breakers) == "open"


def test_a_row_opens_at_its_last_failure_where_little_was_under_way() -> None:
    breakers, _ = alone(failures=10)
    for since in [enter(breakers) for _ in range(4)]:
        breakers.failed(X, DOWN, since)
    fail(breakers, 5)
    assert state(breakers) == "closed"
    fail(breakers, 1)
    assert state(breakers) == "open"


@pytest.mark.parametrize("ends", ["left", "time"])
def test_a_row_opens_without_traffic_once_nothing_can_end_it(ends: str) -> None:
    breakers, clock = alone()
    long = enter(breakers)
    fail(breakers, 3)
    breakers.look()
    clock.turn(0.9)
    assert not breakers.look()
    if ends == "left":
        breakers.left(X, long)
    else:
        clock.turn(0.1)
    assert breakers.look()
    assert state(breakers) == "open"
    barred = breakers.barred(X)
    assert barred is not None
    # From when it was ripe: with its last failure, or when it had waited long enough.
    assert barred.left_us / 1e6 == pytest.approx(COOL_S - (0.9 if ends == "left" else 0), abs=1e-3)


def test_long_answers_from_before_do_not_hide_an_outage() -> None:
    breakers, clock = alone(failures=10)
    for _ in range(500):
        enter(breakers)
    for _ in range(50):
        clock.turn(0.1)
        entered = breakers.enter(X)
        if isinstance(entered, Barred):
            break
        breakers.failed(X, DOWN, entered)
    assert state(breakers) == "open"
    assert clock.ns < 1_002.1 * S


def test_what_hangs_opens_its_breaker_though_more_is_always_under_way() -> None:
    breakers, clock = alone(failures=10)
    under_way: list[int] = []
    for _ in range(300):
        clock.turn(0.1)
        entered = breakers.enter(X)
        if isinstance(entered, Barred):
            break
        under_way.append(entered)
        if len(under_way) > 100:
            breakers.failed(X, ProviderError(Fault.TIMEOUT, "hangs"), under_way.pop(0))
    # Ten seconds until the first fails, one until ten have.
    assert clock.ns / S == pytest.approx(1_011.2, abs=0.15)


def test_slow_answers_that_began_with_the_failures_are_waited_for_while_they_are_more() -> None:
    breakers, clock = alone(failures=10)
    burst = [enter(breakers) for _ in range(60)]
    for since in burst[:30:2] + burst[30::3]:
        breakers.failed(X, DOWN, since)
    slow = [since for since in burst if since not in burst[:30:2] + burst[30::3]]
    clock.turn(20)
    assert (state(breakers), len(slow)) == ("closed", 35)
    for since in slow[:10]:
        breakers.failed(X, DOWN, since)
    assert state(breakers) == "open"


def test_of_a_long_row_little_is_kept_and_its_beginning_is_not_forgotten() -> None:
    breakers, clock = alone(failures=3)
    enter(breakers)
    for _ in range(9):
        clock.turn(0.11)
        fail(breakers, 1)
    assert state(breakers) == "closed"
    clock.turn(0.13)
    assert state(breakers) == "open"
    assert len(breakers._breakers[X].failed.tally.failures) == 3


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("lanes", [8, 24, 64])
def test_three_failures_in_ten_open_nothing_however_many_attempts_run_side_by_side(
    lanes: int, workers: int
) -> None:
    """Of ten in a row by chance: 0.3 to the tenth, of at most 3 000."""
    chance = random.Random(lanes)
    crew, clock, _ = crowd(workers, failures=10)
    due: list[tuple[int, int, int, bool]] = []
    looked = 0
    for n in range(3_000):
        worker = n % workers
        if len(due) >= lanes:
            at, since, worker, failed = heapq.heappop(due)
            clock.ns = max(clock.ns, at)
            if failed:
                crew[worker].failed(X, DOWN, since)
            else:
                crew[worker].succeeded(X, since)
        if clock.ns > looked + S // 10:
            looked = clock.ns
            for one in crew:
                one.look()
        since = enter(crew[worker])  # or it is open
        failed = chance.random() < 0.3
        if failed:
            took_s = 1.0 if chance.random() < 0.17 else 0.002
        else:
            took_s = chance.uniform(0.01, 0.03)
        heapq.heappush(due, (clock.ns + round(took_s * S), since, worker, failed))
    assert {state(one) for one in crew} == {"closed"}


# --- streams that break after their first content ------------------------------------------------


def stream(breakers: Breakers, ends: str) -> None:
    since = enter(breakers)
    breakers.spoke(X, since)
    if ends == "cut":
        breakers.failed(X, DOWN, since)
    elif ends == "finished":
        breakers.finished(X, since)
    breakers.left(X, since)


def test_a_target_that_always_breaks_off_after_its_first_content_opens_its_breaker() -> None:
    breakers, _ = alone()
    for _ in range(2):
        stream(breakers, "cut")
    assert state(breakers) == "closed"
    stream(breakers, "cut")
    assert state(breakers) == "open"


@pytest.mark.parametrize(
    ("between", "expected"),
    [("finished", "closed"), ("whole", "closed"), ("left", "open"), ("nothing", "open")],
)
def test_only_an_answer_that_is_complete_forgives_those_that_broke_off(
    between: str, expected: str
) -> None:
    breakers, _ = alone()
    for n in range(3):
        if n == 2 and between == "whole":
            breakers.succeeded(X, enter(breakers))
        elif n == 2 and between != "nothing":
            stream(breakers, between)
        stream(breakers, "cut")
    assert state(breakers) == expected


def test_a_few_that_break_off_among_many_long_streams_open_nothing() -> None:
    breakers, clock = alone()
    streams = [enter(breakers) for _ in range(50)]
    for since in streams:
        breakers.spoke(X, since)
    for since in streams[::10]:
        breakers.failed(X, DOWN, since)
    clock.turn(60)
    assert state(breakers) == "closed"
    breakers.finished(X, streams[1])
    clock.turn(60)
    assert state(breakers) == "closed"


def test_streams_that_break_off_add_up_over_all_workers() -> None:
    all, _, _ = crowd(3)
    for one in all:
        stream(one, "cut")
        assert one is all[2] or state(one) == "closed"
    assert state(all[2]) == "open"


def test_nothing_is_under_way_once_all_have_ended() -> None:
    breakers, _ = alone(failures=100)
    for ends in ("cut", "finished", "left"):
        stream(breakers, ends)
    breakers.succeeded(X, enter(breakers))
    breakers.failed(X, DOWN, enter(breakers))
    breakers.failed(X, ProviderError(Fault.BAD_REQUEST, "no"), enter(breakers))
    breakers.left(X, enter(breakers))
    breaker = breakers._breakers[X]
    assert (breaker.failed.under_way, breaker.cut.under_way) == ({}, {})


# --- several workers -----------------------------------------------------------------------------


def test_the_failures_of_all_workers_add_up() -> None:
    all, _, _ = crowd(4, failures=10)
    for n in range(10):
        assert {state(one) for one in all} == {"closed"}
        worker = all[n % 4]
        worker.failed(X, DOWN, enter(worker))
    assert state(all[1]) == "open"
    for one in all:
        one.look()
    assert {state(one) for one in all} == {"open"}


def test_a_success_anywhere_forgives_failures_everywhere_whenever_it_is_heard_of() -> None:
    (one, two), _, _ = crowd(2, failures=4)
    for _ in range(3):
        one.failed(X, DOWN, enter(one))
    two.succeeded(X, enter(two))  # knows of no failure yet
    two.look()
    one.look()
    for _ in range(3):
        one.failed(X, DOWN, enter(one))
    assert state(one) == "closed"
    one.failed(X, DOWN, enter(one))
    assert state(one) == "open"


def test_one_attempt_of_all_workers_tries_a_half_open_target() -> None:
    all, clock, _ = crowd(4)
    open_it(all[2])
    for one in all:
        one.look()
    clock.turn(COOL_S)
    entered = [one.enter(X) for one in all]
    assert [isinstance(e, Barred) for e in entered] == [False, True, True, True]
    assert isinstance(entered[0], int)
    all[0].succeeded(X, entered[0])
    for one in all:
        one.look()
    assert {state(one) for one in all} == {"closed"}


def test_a_worker_that_dies_with_the_probe_gives_its_seat_back() -> None:
    clock, posts = Clock(), Posts()
    boards = [posts.board(n) for n in range(2)]
    one, two = (Breakers(board, clock) for board in boards)
    for each in (one, two):
        each.follow(Breaking(3, COOL_S * 1_000_000))
    open_it(one)
    two.look()
    clock.turn(COOL_S)
    enter(one)
    assert isinstance(two.enter(X), Barred)
    boards[0].close()
    two.look()
    enter(two)


def test_what_cannot_be_read_of_another_worker_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (one, two), _, posts = crowd(2)
    for junk in (b"", b"[]", b"7", b'[{"a/m": [1]}, {}]', b'[{"a/m": 3}, {}]'):
        posts.told[module.TOPIC, 5] = junk
        open_it(one) if state(one) == "closed" else None
        two.look()
        assert state(two) == "open"
    assert "cannot be read" in caplog.text


def test_a_part_of_a_row_counts_once_its_worker_says_that_it_is_ripe() -> None:
    (one, two), clock, _ = crowd(2, failures=4)
    waiting = enter(one)
    fail(one, 2)
    fail(two, 3)
    clock.turn(0.5)
    for each in (one, two, one):
        each.look()
    assert (state(one), state(two)) == ("closed", "closed")
    one.left(X, waiting)
    two.look()
    assert (state(one), state(two)) == ("open", "open")


def test_a_part_that_is_not_ripe_does_not_keep_the_others_from_counting() -> None:
    (stopped, two), _, _ = crowd(2, failures=4)
    for since in [enter(stopped) for _ in range(9)][:2]:
        stopped.failed(X, DOWN, since)
    fail(two, 4)
    assert state(two) == "open"
    stopped.look()
    assert state(stopped) == "open"


# --- one against a model -------------------------------------------------------------------------


class ModelRow:
    """A row of failures in plain words; instants in seconds."""

    def __init__(self) -> None:
        self.under_way: dict[int, float] = {}  # when each began
        self.failed: list[tuple[float, float]] = []  # when it was over, when it began

    def forget(self, until: float) -> None:
        self.under_way = {s: began for s, began in self.under_way.items() if began > until}
        self.failed.clear()

    def is_ripe(self, now: float) -> bool:
        if not self.failed:
            return False
        first = self.failed[0][0]
        if not any(began < first for began in self.under_way.values()):
            return True
        starts = [began for _, began in self.failed]
        between = sum(min(starts) < began < max(starts) for began in self.under_way.values())
        return now >= first + 1 and len(self.failed) >= between


class Modelled(RuleBasedStateMachine):
    """A breaker of one worker, beside what it should be in plain words."""

    def __init__(self) -> None:
        super().__init__()
        self.breakers, self.clock = alone(failures=3)
        self.state = "closed"
        self.spare = 3
        self.rows = self.first, self.cuts = ModelRow(), ModelRow()
        self.ends = 0.0
        self.cooled = 0.0
        self.lapses = 0.0
        self.changed = 0.0
        self.probe: tuple[int, float] | None = None
        self.last_probe: int | None = None
        self.began: dict[int, float] = {}
        self.streams: dict[int, float] = {}

    @property
    def now(self) -> float:
        return self.clock.ns / S

    def change(self, state: str, at: float) -> None:
        self.state, self.changed, self.probe, self.spare = state, at, None, 3
        for row in self.rows:
            row.forget(at)

    def catch_up(self) -> None:
        if self.state == "closed":
            limits = (self.spare, 3)
            for row, limit in zip(self.rows, limits, strict=True):
                if row.is_ripe(self.now) and len(row.failed) >= limit:
                    ripe = [one for one in self.rows if one.is_ripe(self.now)]
                    at = max(one.failed[-1][0] for one in ripe)
                    for one in ripe:
                        if any(began < one.failed[0][0] for began in one.under_way.values()):
                            at = max(at, one.failed[0][0] + 1)
                    self.opened(at)
                    break
        if self.probe is not None and self.now >= self.probe[1]:
            self.probe = None
        if self.state == "open" and self.now >= max(self.ends, self.cooled):
            self.state = "half_open"
            self.lapses = max(self.ends, self.cooled) + COOL_S
        if self.state == "half_open" and self.now < self.cooled:
            self.state = "open"
            self.ends = self.cooled
        if self.state == "half_open" and self.now >= self.lapses:
            self.change("closed", self.lapses)
            self.spare = 1

    def opened(self, at: float) -> None:
        self.change("open", at)
        self.ends = at + COOL_S

    def take(self, which: int, of: dict[int, float]) -> tuple[int, bool, bool]:
        """An attempt that something becomes of, whether it is the probe, whether it counts."""
        since = list(of)[which % len(of)]
        began = of.pop(since)
        self.catch_up()
        is_probe = self.state == "half_open" and since == self.last_probe
        return since, is_probe, began > self.changed and (self.state == "closed" or is_probe)

    @rule()
    def begin(self) -> None:
        self.catch_up()
        entered = self.breakers.enter(X)
        is_free = self.now >= self.cooled and (
            self.state == "closed" or (self.state == "half_open" and self.probe is None)
        )
        assert isinstance(entered, int) is is_free
        if isinstance(entered, int):
            self.began[entered] = self.first.under_way[entered] = self.now
            if self.state == "half_open":
                self.probe = (entered, self.now + COOL_S)
                self.last_probe = entered
                self.lapses = self.now + 2 * COOL_S

    @rule(outcome=st.sampled_from(["ok", "speaks"]), which=st.integers(0, 9))
    def goes_well(self, outcome: str, which: int) -> None:
        if not self.began:
            return
        began = list(self.began.items())[which % len(self.began)][1]
        since, is_probe, counts = self.take(which, self.began)
        self.first.under_way.pop(since, None)
        if counts:
            self.first.failed.clear()
            self.spare = 3
            if outcome == "ok":
                self.cuts.failed.clear()
            if is_probe:
                self.change("closed", self.now)
        if outcome == "ok":
            self.breakers.succeeded(X, since)
        else:
            self.breakers.spoke(X, since)
            self.streams[since] = began
            if began > self.changed:
                self.cuts.under_way[since] = began

    @rule(which=st.integers(0, 9))
    def ends_well(self, which: int) -> None:
        if self.streams:
            since, _, counts = self.take(which, self.streams)
            self.cuts.under_way.pop(since, None)
            self.breakers.finished(X, since)
            if counts:
                self.cuts.failed.clear()

    @rule(
        outcome=st.sampled_from(["5xx", "400", "left", "429"]),
        which=st.integers(0, 9),
        is_stream=st.booleans(),
    )
    def ends_badly(self, outcome: str, which: int, is_stream: bool) -> None:
        of = self.streams if is_stream else self.began
        if not of:
            return
        began = list(of.items())[which % len(of)][1]
        since, is_probe, counts = self.take(which, of)
        for row in self.rows:
            row.under_way.pop(since, None)
        if outcome in ("5xx", "429"):
            self.breakers.failed(X, DOWN if outcome == "5xx" else limited(40), since)
            if counts:
                for row in self.rows if is_stream else self.rows[:1]:
                    row.failed.append((self.now, began))
                if is_probe:
                    self.opened(self.now)
            if outcome == "429":
                self.catch_up()
                self.cooled = max(self.cooled, self.now + 40)
        else:
            if outcome == "400":
                self.breakers.failed(X, ProviderError(Fault.BAD_REQUEST, "no"), since)
            else:
                self.breakers.left(X, since)
            if self.probe is not None and self.probe[0] == since:
                self.probe = None
                self.lapses = self.now + COOL_S

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 3, 7.4, 15, 16.1, 31, 50]))
    def wait(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(ok=st.booleans())
    def probed(self, ok: bool) -> None:
        self.catch_up()
        self.breakers.probed("a", ok, "said the prober")
        if ok and self.state == "half_open":
            self.change("closed", self.now)
            self.spare = 1

    @invariant()
    def agree(self) -> None:
        self.catch_up()
        assert state(self.breakers) == self.state
        assert (f"rate_limited({X})" in self.breakers.values()) is (self.now < self.cooled)


TestModelled = Modelled.TestCase
TestModelled.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# --- several in any order ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(2, 4))
def test_workers_that_look_in_any_order_come_to_the_same(seed: int, workers: int) -> None:
    chance = random.Random(seed)
    crew, clock, _ = crowd(workers)
    under_way: list[tuple[int, int]] = []
    streams: list[tuple[int, int]] = []
    longest = 0
    probing: dict[int, int] = {}

    def seen(one: Breakers) -> dict[str, object]:
        return dict(one.values())

    for _ in range(80):
        n = chance.randrange(workers)
        one = crew[n]
        match chance.randrange(5):
            case 0:
                one.look()
            case 1 | 2:
                was = state(one)
                entered = one.enter(X)
                if isinstance(entered, int):
                    under_way.append((n, entered))
                    if was == "half_open" and state(one) == "half_open":
                        probing = {m: e for m, e in probing.items() if clock.ns < e}
                        assert not probing, "two attempts try at once"
                        probing[n] = clock.ns + COOL_S * S
            case 3 if under_way:
                m, since = under_way.pop(chance.randrange(len(under_way)))
                probing.pop(m, None)
                outcome = chance.randrange(6)
                if outcome == 0:
                    crew[m].succeeded(X, since)
                elif outcome == 4:
                    crew[m].spoke(X, since)
                    streams.append((m, since))
                elif outcome == 5:
                    crew[m].left(X, since)
                elif outcome == 1:
                    seconds = chance.choice([1, 20, 50])
                    crew[m].failed(X, limited(seconds), since)
                    longest = max(longest, clock.ns + seconds * S)
                else:
                    crew[m].failed(X, DOWN, since)
            case 4 if streams:
                m, since = streams.pop(chance.randrange(len(streams)))
                match chance.randrange(4):
                    case 0:
                        crew[m].finished(X, since)
                    case 1:
                        crew[m].left(X, since)
                    case _:
                        crew[m].failed(X, DOWN, since)
            case _:
                clock.turn(chance.choice([0.01, 0.1, 1, 4, 16]))
    for _ in range(2):
        for one in chance.sample(crew, workers):
            one.look()
    assert all_same(seen(one) for one in crew)
    # No cool-down is ever shortened.
    assert all((f"rate_limited({X})" in one.values()) is (clock.ns + 100 < longest) for one in crew)


def all_same(things: Iterable[object]) -> bool:
    first, *others = things
    return all(other == first for other in others)
