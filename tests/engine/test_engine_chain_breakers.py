"""The chain and what it may not do now: barred targets, taken places, too many attempts."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_engine_chain import Over, hop, journey, outcomes, target, turn
from tests.engine.test_engine_gateway import Bench
from turnout.adapters.scripted import Pause, Scripted, Step, said, spoken
from turnout.dsl.core import Breaking, Hop
from turnout.engine.breakers import Breakers
from turnout.engine.chain import MOST_ATTEMPTS, Answered, Journey, Opened
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.request import Operation, RequestError, StreamReply
from turnout.engine.seats import Leave

DOWN = ProviderError(Fault.SERVER, "down", status=500)
ONE, TWO = frozenset({"breaker_open"}), frozenset({"5xx"})


def turned(failures: int = 10) -> Breakers:
    """Breakers by the clock of the loop that runs."""
    breakers = Breakers(now_ns=lambda: round(asyncio.get_running_loop().time() * 1e9) + 1)
    breakers.follow(Breaking(failures))
    return breakers


def limited(seconds: float) -> ProviderError:
    waits_us = int(seconds * 1e6)
    return ProviderError(Fault.RATE_LIMIT, "slow down", status=429, retry_after_us=waits_us)


def told(
    trip: Journey, breakers: Breakers, *providers: Scripted, before: Callable[[], Any] | None = None
) -> tuple[str | RequestError, float]:
    async def go() -> str | RequestError:
        if before is not None:
            before()
        try:
            runner = Over({p.name: p for p in providers}, breakers)
            if trip.request.stream:
                return (await runner.open(trip)).target.id
            return (await runner.answer(trip)).target.id
        except RequestError as error:
            return error

    return turn(go())


def opens(breakers: Breakers, *targets: str) -> Callable[[], None]:
    def do() -> None:
        for name in targets:
            while breakers.barred(name) is None:
                breakers.failed(name, DOWN)

    return do


# --- barred targets ------------------------------------------------------------------------------


def test_a_target_whose_breaker_is_open_is_passed_over_at_once() -> None:
    breakers = turned()
    trip = journey(hop("a/m", retries=2), hop("b/m"))
    answered, seconds = told(
        trip, breakers, Scripted("a", []), Scripted("b", [said("b")]), before=opens(breakers, "a/m")
    )
    assert (answered, seconds) == ("b/m", 0)
    assert outcomes(trip) == [("a/m", "skipped", "breaker_open"), ("b/m", "ok", None)]
    assert trip.attempts[0].reason == "its breaker is open after 5xx"


CATCH: list[tuple[frozenset[str] | None, frozenset[str] | None, str | int]] = [
    # the rule's catch, the next hop's, and who answers or which status is told
    (None, None, "b/m"),
    (ONE, None, "b/m"),
    (None, ONE, "b/m"),
    (TWO, None, 503),
    (None, TWO, 503),
]


@pytest.mark.parametrize(("left", "entered", "expected"), CATCH)
def test_an_open_breaker_is_caught_like_a_fault(
    left: frozenset[str] | None, entered: frozenset[str] | None, expected: str | int
) -> None:
    breakers = turned()
    trip = journey(hop("a/m", catch=left), hop("b/m", catch=entered))
    answered, _ = told(
        trip, breakers, Scripted("a", []), Scripted("b", [said("b")]), before=opens(breakers, "a/m")
    )
    assert expected == (answered.status if isinstance(answered, RequestError) else answered)


@pytest.mark.parametrize("catch", [ONE, TWO])
def test_what_failed_before_a_barred_hop_still_leads_to_the_one_after_it(
    catch: frozenset[str],
) -> None:
    breakers = turned()
    trip = journey(hop("a/m"), hop("b/m"), hop("c/m", catch=catch))
    answered, _ = told(
        trip,
        breakers,
        Scripted("a", [DOWN]),
        Scripted("b", []),
        Scripted("c", [said("c")]),
        before=opens(breakers, "b/m"),
    )
    assert answered == "c/m"


def test_where_all_targets_are_barred_the_shortest_wait_is_told() -> None:
    breakers = turned()

    def before() -> None:
        opens(breakers, "a/m")()
        breakers.failed("b/m", limited(7.2))

    trip = journey(hop("a/m"), hop("b/m"))
    error, seconds = told(trip, breakers, Scripted("a", []), Scripted("b", []), before=before)
    assert isinstance(error, RequestError)
    assert (error.status, error.code, error.should_retry) == (503, "breaker_open", True)
    assert error.retry_after_us == pytest.approx(7_200_000, abs=10)
    assert "a/m: its breaker is open after 5xx; b/m: its provider asked for a pause" in str(error)
    assert seconds == 0


def test_a_short_pause_is_waited_for_where_nobody_else_is_left() -> None:
    breakers = turned()

    def before() -> None:
        breakers.failed("a/m", limited(1.5))
        breakers.failed("b/m", limited(7.2))

    trip = journey(hop("a/m"), hop("b/m"))
    first = Scripted("a", [said("a")])
    answered, seconds = told(trip, breakers, first, Scripted("b", []), before=before)
    assert answered == "a/m"
    assert 1.5 < seconds < 1.6


def test_a_short_pause_is_not_waited_for_where_somebody_is_left() -> None:
    breakers = turned()
    trip = journey(hop("a/m"), hop("b/m"))

    def before() -> None:
        breakers.failed("a/m", limited(0.5))

    second = Scripted("b", [said("b")])
    assert told(trip, breakers, Scripted("a", []), second, before=before) == ("b/m", 0)


@pytest.mark.parametrize("pause_s", [0.96, 0.99, 0.9999, 1.0])
def test_no_pause_is_waited_for_that_leaves_no_time_to_answer(pause_s: float) -> None:
    breakers = turned()
    trip = journey(hop("a/m"), deadline_us=1_000_000)
    only = Scripted("a", [])
    error, seconds = told(
        trip, breakers, only, before=lambda: breakers.failed("a/m", limited(pause_s))
    )
    assert isinstance(error, RequestError)
    assert (error.status, error.code, seconds) == (503, "breaker_open", 0)


def test_a_hop_that_never_could_leaves_it_at_the_breakers_wait() -> None:
    breakers = turned()
    small = {"b/m": target("b/m", context_window=5)}
    trip = journey(hop("a/m"), hop("b/m"), targets=small)
    error, _ = told(
        trip, breakers, Scripted("a", []), Scripted("b", []), before=opens(breakers, "a/m")
    )
    assert isinstance(error, RequestError)
    assert (error.status, error.code) == (503, "breaker_open")


def test_where_nothing_is_barred_and_nothing_allowed_it_is_still_forbidden() -> None:
    trip = journey(hop("a/m"))
    trip.limits = {"a/m": "eu_only"}
    error, _ = told(trip, turned(), Scripted("a", []))
    assert isinstance(error, RequestError)
    assert (error.status, error.code) == (403, "no_target_allowed")


def test_a_barred_hop_is_no_other_hop() -> None:
    breakers = turned()
    trip = journey(hop("a/m"), hop("b/m"))
    slow = Scripted("a", [[Pause(100_000_000), said("late")]])
    answered, seconds = told(trip, breakers, slow, Scripted("b", []), before=opens(breakers, "b/m"))
    assert (answered, seconds) == ("a/m", 100)


def test_a_breaker_that_opens_under_retries_ends_them_and_the_fault_is_told() -> None:
    breakers = turned(failures=2)
    first = Scripted("a", [DOWN] * 9)
    error, _ = told(journey(hop("a/m", retries=8)), breakers, first)
    assert isinstance(error, RequestError)
    assert (error.status, error.code) == (502, "bad_gateway")
    assert len(first.calls) == 2


def test_a_breaker_that_others_open_meanwhile_ends_retries_too() -> None:
    breakers = turned()
    first = Scripted("a", [limited(1.5), said("never")])
    trip = journey(hop("a/m", retries=1))

    def before() -> None:
        asyncio.get_running_loop().call_later(1.0, opens(breakers, "a/m"))
        asyncio.get_running_loop().call_later(1.0, breakers.failed, "a/m", DOWN)
        for _ in range(9):
            asyncio.get_running_loop().call_later(1.0, breakers.failed, "a/m", DOWN)

    error, _ = told(trip, breakers, first, before=before)
    assert isinstance(error, RequestError)
    assert (error.status, len(first.calls)) == (429, 1)


def test_a_pause_that_the_provider_asked_for_keeps_other_requests_out() -> None:
    breakers = turned()
    trip, other = journey(hop("a/m", retries=1)), journey(hop("a/m"), hop("b/m"))
    providers = {
        "a": Scripted("a", [limited(3), said("at last")]),
        "b": Scripted("b", [said("b")]),
    }

    async def go() -> tuple[str, str]:
        runner = Over(providers, breakers)
        waiting = asyncio.create_task(runner.answer(trip))
        await asyncio.sleep(1)
        second = (await runner.answer(other)).target.id
        return (await waiting).target.id, second

    assert turn(go()) == (("a/m", "b/m"), 3.0)


def test_a_client_that_leaves_the_probe_lets_the_next_one_try() -> None:
    breakers = turned()
    hangs = Scripted("a", [Pause(), said("back")])

    async def go() -> object:
        opens(breakers, "a/m")()
        await asyncio.sleep(15.001)
        runner = Over({"a": hangs}, breakers)
        probe = asyncio.create_task(runner.answer(journey(hop("a/m"))))
        await asyncio.sleep(1)
        with pytest.raises(RequestError):
            await runner.answer(journey(hop("a/m")))
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await runner.answer(journey(hop("a/m")))
        return breakers.barred("a/m")

    assert turn(go())[0] is None


def test_a_count_of_tokens_does_not_close_a_breaker() -> None:
    class Counts(Scripted):
        async def count(self, call: Any) -> int | None:
            return 7

    breakers = turned()

    async def go() -> object:
        opens(breakers, "a/m")()
        await asyncio.sleep(15.001)
        trip = journey(hop("a/m"))
        trip.providers = {"a": Counts("a", [])}
        await Over({}, breakers).count(trip)
        return breakers.values()["breaker(a/m)"]

    assert turn(go())[0] == "half_open"


def test_a_stream_that_is_cut_after_its_content_counts_once() -> None:
    breakers = turned(failures=2)

    async def go() -> list[bool]:
        barred: list[bool] = []
        for _ in range(3):
            trip = journey(hop("a/m"), stream=True)
            opened = await Over({"a": Scripted("a", [spoken("x")])}, breakers).open(trip)
            if not barred:
                breakers.failed("a/m", DOWN)
            opened.leave()
            opened.complain(DOWN)
            barred.append(breakers.barred("a/m") is not None)
            if barred[-1]:
                break
        return barred

    assert turn(go())[0] == [True]


# --- places --------------------------------------------------------------------------------------


class Places:
    """Seats in one process, with how long each was asked to wait."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.patience: list[float] = []

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        self.patience.append(patience_s)
        if self.taken.get(name, 0) >= seats:
            await asyncio.sleep(patience_s)
            if self.taken.get(name, 0) >= seats:
                return None
        self.taken[name] = self.taken.get(name, 0) + 1

        def leave() -> None:
            self.taken[name] -= 1

        return leave


def bounded(*hops: Hop, stream: bool = False) -> Journey:
    return journey(*hops, targets={"a/m": target("a/m", concurrency=1)}, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ends", ["answered", "failed", "left"])
def test_a_place_is_given_back_however_an_attempt_ends(ends: str, stream: bool) -> None:
    places = Places()
    good: Step = spoken("x") if stream else said("x")
    step: Step = {"answered": good, "failed": [DOWN], "left": [Pause()]}[ends]
    trip = bounded(hop("a/m"), stream=stream)

    async def go() -> None:
        runner = Over({"a": Scripted("a", [step])}, turned(), places)
        asked: Coroutine[Any, Any, Opened | Answered] = (
            runner.open(trip) if stream else runner.answer(trip)
        )
        task = asyncio.create_task(asked)
        await asyncio.sleep(1)
        if ends == "answered" and stream:
            assert places.taken == {"target:a/m": 1}
            opened = await task
            assert isinstance(opened, Opened)
            opened.leave()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    turn(go())
    assert places.taken == {"target:a/m": 0}


def test_where_its_places_are_taken_the_next_hop_is_tried_soon() -> None:
    places, breakers = Places(), turned()
    places.taken["target:a/m"] = 1
    trip = bounded(hop("a/m"), hop("b/m"))

    async def go() -> str:
        providers = {"a": Scripted("a", []), "b": Scripted("b", [said("b")])}
        return (await Over(providers, breakers, places).answer(trip)).target.id

    assert turn(go()) == ("b/m", 0.25)
    assert outcomes(trip)[0] == ("a/m", "skipped", "overloaded")
    assert trip.attempts[0].reason == "its 1 places are taken"
    assert breakers.states() == {} if not breakers._breakers else True


def test_where_the_only_target_is_full_the_client_is_told_to_come_back() -> None:
    places = Places()
    places.taken["target:a/m"] = 1

    async def go() -> RequestError:
        with pytest.raises(RequestError) as caught:
            await Over({"a": Scripted("a", [])}, turned(), places).answer(bounded(hop("a/m")))
        return caught.value

    error, seconds = turn(go())
    assert (error.status, error.code, error.retry_after_us) == (503, "overloaded", 1_000_000)
    assert seconds == 1.0


def test_nothing_is_begun_once_the_deadline_has_passed_in_a_queue() -> None:
    places = Places()
    places.taken["target:a/m"] = 1
    last = Scripted("b", [said("too late")])
    trip = bounded(hop("a/m"), hop("b/m"))
    trip.program = replace(trip.program, deadline_us=200_000)

    async def go() -> RequestError:
        with pytest.raises(RequestError) as caught:
            await Over({"a": Scripted("a", []), "b": last}, turned(), places).answer(trip)
        return caught.value

    error, seconds = turn(go())
    assert (error.status, error.code, seconds) == (503, "overloaded", 0.2)
    assert last.calls == []


def test_a_target_without_a_bound_asks_for_no_place() -> None:
    places = Places()
    turn(Over({"a": Scripted("a", [said("a")])}, turned(), places).answer(journey(hop("a/m"))))
    assert places.patience == []


# --- how many attempts ---------------------------------------------------------------------------


@pytest.mark.parametrize(("retries", "asked"), [(8, [9, 7, 0]), (7, [8, 8, 0]), (4, [5, 5, 5])])
def test_a_request_is_never_more_than_so_many_attempts(retries: int, asked: list[int]) -> None:
    providers = [Scripted(name, [DOWN] * 9) for name in "abc"]
    trip = journey(*(replace(hop(f"{name}/m", retries), backoff_us=1) for name in "abc"))
    error, _ = told(trip, turned(failures=100), *providers)
    assert isinstance(error, RequestError)
    assert (error.status, error.should_retry) == (502, False)
    assert [len(p.calls) for p in providers] == asked
    assert sum(asked) <= MOST_ATTEMPTS
    if not asked[-1]:
        assert trip.attempts[-1].reason == "16 attempts were made"


@pytest.mark.parametrize(("count", "attempts"), [("0", 3), ("1", 1), ("2", 1), ("x", 3), ("", 3)])
def test_what_an_sdk_repeats_is_tried_once_at_each_hop(count: str, attempts: int) -> None:
    first = Scripted("a", [DOWN] * 3)
    trip = journey(hop("a/m", retries=2))
    trip.request.headers = {"x-stainless-retry-count": count}
    told(trip, turned(), first)
    assert len(first.calls) == attempts


AGAIN = [
    # the failures of the only hop, and what the client is told: status, whether and when to retry
    ([DOWN], 502, None, None),
    ([DOWN, DOWN], 502, False, None),
    ([limited(1)], 429, None, 1_000_000),
    ([limited(1), limited(2)], 429, True, 2_000_000),
    ([ProviderError(Fault.RATE_LIMIT, "no")] * 2, 429, None, None),
    ([ProviderError(Fault.OVERLOADED, "no", retry_after_us=500_000)] * 2, 503, True, 500_000),
    ([ProviderError(Fault.OVERLOADED, "no")] * 2, 503, False, None),
    ([DOWN, ProviderError(Fault.TIMEOUT, "late")], 504, False, None),
    ([DOWN, ProviderError(Fault.BAD_REQUEST, "no")], 400, None, None),
    ([ProviderError(Fault.QUOTA, "no")], 429, False, None),
]


@pytest.mark.parametrize(("failures", "status", "should_retry", "after_us"), AGAIN)
def test_a_client_is_told_not_to_repeat_what_was_repeated(
    failures: list[Step], status: int, should_retry: bool | None, after_us: int | None
) -> None:
    trip = journey(hop("a/m", retries=len(failures) - 1))
    error, _ = told(trip, turned(), Scripted("a", failures))
    assert isinstance(error, RequestError)
    assert (error.status, error.should_retry, error.retry_after_us) == (
        status,
        should_retry,
        after_us,
    )


def test_the_latest_word_on_when_to_come_back_counts() -> None:
    first = Scripted("a", [limited(1), limited(4), said("a")])
    answered, seconds = told(journey(hop("a/m", retries=2)), turned(), first)
    assert answered == "a/m"
    assert seconds == pytest.approx(5)


def test_embeddings_hold_to_breakers_too() -> None:
    breakers = turned()
    trip = journey(hop("a/m"))
    trip.request.operation = Operation.EMBEDDINGS
    error, _ = told(trip, breakers, Scripted("a", []), before=opens(breakers, "a/m"))
    assert isinstance(error, RequestError)
    assert error.status == 503


async def test_a_stream_that_is_read_to_its_end_forgives_those_that_broke_off(
    tmp_path: Path,
) -> None:
    cut: Step = [*spoken("he", "llo")[:2], DOWN]
    policy = """
routing_policy: [{name: all, route: openai/gpt-4o, retries: 0}]
breakers: {failures: 3}
"""
    steps = [cut, cut, spoken("whole"), cut, cut, cut]
    one = Bench(tmp_path, policy, Scripted("openai", steps))
    open_after: list[bool] = []
    await one.gateway.start()
    try:
        for _ in steps:
            reply = await one.gateway.generate(one.request(stream=True))
            assert isinstance(reply, StreamReply)
            async for _event in reply.chunks:
                pass
            open_after.append("breaker(openai/gpt-4o)" in one.gateway._breakers.values())
    finally:
        await one.gateway.close()
    assert open_after == [False] * 5 + [True]
