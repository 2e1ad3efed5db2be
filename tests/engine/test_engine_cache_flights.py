"""Requests that ask the same at the same time: one makes the answer, on a clock turned by hand."""

import asyncio
import gc
import threading
from collections.abc import Awaitable
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.engine import cache
from turnout.engine.cache import FLIGHT_PATIENCE_S, READ_PATIENCE_S, Cache
from turnout.engine.cached import CachedAnswer, CacheError, Invalidation, Key
from turnout.engine.request import RequestError

from .recalled import OTHER, PROVIDER, TARGET, Numbers, Shelf, Worker, keep, turned


async def waiting(*works: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    """Tasks that have come as far as they can without time going by."""
    tasks = [asyncio.ensure_future(work) for work in works]
    for _ in range(20):
        await asyncio.sleep(0)
    return tasks


async def seconds_of(work: Awaitable[Any]) -> Any:
    now = asyncio.get_running_loop().time
    began = now()
    return await work, now() - began


def clean(cache: Cache) -> bool:
    """Whether nothing is left behind of any request."""
    return cache.flights == 0 and cache._heard_bytes == 0


# --- one worker ----------------------------------------------------------------------------------


def test_of_five_hundred_that_ask_the_same_one_makes_the_answer() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        assert await worker.find(leader) is None
        others = await waiting(*(worker.ask() for _ in range(499)))
        assert not any(task.done() for task in others)
        keep(leader)
        leader.close()
        assert [await task for task in others] == [b"answer"] * 499
        assert (worker.cache.counts.misses, worker.cache.counts.awaited) == (1, 499)
        assert clean(worker.cache)

    turned(play())


def test_where_the_answer_fails_everybody_asks_at_once() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        followers = [worker.recall() for _ in range(5)]
        asking = await waiting(*(seconds_of(worker.find(one)) for one in followers))
        leader.close()
        assert [await task for task in asking] == [(None, 0.0)] * 5
        for one in followers:
            one.close()
        assert clean(worker.cache)

    turned(play())


def test_where_the_client_leaves_the_next_one_makes_the_answer() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        followers = [worker.recall() for _ in range(5)]
        asking = await waiting(*(worker.find(one) for one in followers))
        leader.close(left=True)
        await waiting()
        (next_one,) = [one for one, task in zip(followers, asking, strict=True) if task.done()]
        keep(next_one)
        found = [await task for task in asking]
        assert sorted(one is not None for one in found) == [False, True, True, True, True]
        for one in followers:
            one.close()
        assert clean(worker.cache)

    turned(play())


def test_of_those_who_wait_for_one_that_asks_for_kept_answers_only_one_makes_it() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.readers.holds = True
        only = worker.recall(headers={"cache-control": "only-if-cached"})
        (asking,) = await waiting(worker.find(only))
        recalls = [worker.recall() for _ in range(10)]
        others = await waiting(*map(worker.find, recalls))
        worker.readers.holds = False
        worker.readers.let_go()
        with pytest.raises(RequestError):
            await asking
        only.close()
        await waiting()
        (leads,) = [recall for recall, one in zip(recalls, others, strict=True) if one.done()]
        keep(leads)
        leads.close()
        assert sum(one is not None for one in await asyncio.gather(*others)) == 9
        assert clean(worker.cache)

    turned(play())


def test_a_slow_answer_is_waited_for_no_longer_than_there_is_patience() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        follower = worker.recall()
        found, took_s = await seconds_of(worker.find(follower, 2.0))
        assert (found, took_s) == (None, pytest.approx(2.0))
        follower.close()
        assert worker.cache.flights == 1  # others may still wait for it
        keep(leader)
        leader.close()
        assert clean(worker.cache)

    turned(play())


def test_nobody_waits_for_an_answer_that_should_long_be_there() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        await asyncio.sleep(FLIGHT_PATIENCE_S - 1)
        first, second = worker.recall(), worker.recall()
        assert await seconds_of(worker.find(first, 10.0)) == (None, pytest.approx(1.0))
        assert await seconds_of(worker.find(second, 10.0)) == (None, 0.0)
        # What they make is kept all the same.
        keep(second, b"second")
        third = worker.recall()
        found = await worker.find(third)
        assert found is not None and found.body == b"second"
        for one in (leader, first, second, third):
            one.close()
        assert clean(worker.cache)

    turned(play())


def test_a_follower_that_leaves_is_missed_by_nobody() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        leaving, staying = await waiting(worker.ask(), worker.ask())
        leaving.cancel()
        await waiting()
        keep(leader)
        assert await staying == b"answer"
        assert leaving.cancelled()
        leader.close()
        assert clean(worker.cache)

    turned(play())


def test_answers_of_other_targets_and_tenants_are_other_flights() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        one, other = worker.recall(), worker.recall()
        assert await worker.find(one) is None
        assert await seconds_of(worker.find(other, target=OTHER)) == (None, 0.0)
        assert worker.cache.flights == 2
        one.close()
        other.close()
        assert clean(worker.cache)

    turned(play())


def test_who_goes_on_to_the_next_target_lets_those_go_who_wait_for_the_first() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        leader = worker.recall()
        await worker.find(leader)
        (follower,) = await waiting(worker.ask(b"own"))
        assert await worker.find(leader, target=OTHER) is None
        assert await follower is None
        leader.close()
        assert clean(worker.cache)

    turned(play())


# --- several workers -----------------------------------------------------------------------------


def test_of_two_workers_one_makes_the_answer() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        leader = one.recall()
        assert await one.find(leader) is None
        asking = await waiting(*(other.ask() for _ in range(5)))
        assert other.cache.flights == 1
        keep(leader)
        leader.close()
        assert [await task for task in asking] == [b"answer"] * 5
        assert (other.cache.counts.shared_hits, other.cache.counts.awaited) == (1, 4)
        assert shelf.claims == {}
        assert clean(one.cache) and clean(other.cache)

    turned(play())


@pytest.mark.parametrize("left", [True, False])
def test_where_one_worker_fails_the_other_makes_the_answer(left: bool) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        leader = one.recall()
        await one.find(leader)
        (asking,) = await waiting(other.ask(b"other"))
        leader.close(left=left)
        assert await asking is None
        assert await one.ask() == b"other"
        assert shelf.claims == {}
        assert clean(one.cache) and clean(other.cache)

    turned(play())


def test_a_claim_that_nobody_ends_delays_a_request_and_no_more() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers, "b")
        gone = Worker(shelf, shelf.numbers, "a").recall()
        await gone.find(TARGET, PROVIDER, 1.0, of_caller=False)
        leader = worker.recall()
        found, took_s = await seconds_of(worker.find(leader, 3.0))
        assert found is None and 3.0 <= took_s < 3.1
        keep(leader, b"made")
        leader.close()
        assert await worker.ask() == b"made"
        assert clean(worker.cache)

    turned(play())


# --- a store that does not do its part -----------------------------------------------------------


def test_a_slow_store_costs_a_request_its_bound_once_and_then_nothing() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.readers.holds = True
        first, second = worker.recall(), worker.recall(seed=2)
        assert await seconds_of(worker.find(first)) == (None, pytest.approx(READ_PATIENCE_S))
        assert await seconds_of(worker.find(second)) == (None, 0.0)
        assert (worker.cache.counts.slow, len(worker.readers.held)) == (1, 1)
        first.close()
        second.close()
        assert clean(worker.cache)

    turned(play())


@pytest.mark.parametrize("begun", [True, False])
def test_a_claim_that_comes_too_late_is_given_up(begun: bool) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.readers.holds = True
        recall = worker.recall()
        (asking,) = await waiting(worker.find(recall))
        if begun:
            worker.readers.begin()
        assert await asking is None
        worker.readers.let_go()
        await waiting()
        assert shelf.claims == {}
        recall.close()

    turned(play())


def test_a_client_that_leaves_while_the_store_is_asked_leaves_no_claim() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.readers.holds = True
        recall = worker.recall()
        (asking,) = await waiting(worker.find(recall))
        worker.readers.begin()
        follower_recall = worker.recall()
        (follower,) = await waiting(worker.find(follower_recall))
        asking.cancel()
        await waiting()
        worker.readers.let_go()
        await waiting()
        assert asking.cancelled()
        recall.close(left=True)
        # The claim was given up, and the one who waited has made it its own.
        assert await follower is None
        assert list(shelf.claims.values()) == ["a"]
        follower_recall.close()
        assert shelf.claims == {}
        assert clean(worker.cache)

    turned(play())


def test_a_client_that_leaves_between_two_looks_leaves_no_flight() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        leader = one.recall()
        await one.find(leader)
        recall = other.recall()
        (asking,) = await waiting(other.find(recall))
        asking.cancel()
        await waiting()
        assert clean(other.cache)
        leader.close()
        recall.close()

    turned(play())


def test_a_broken_store_is_left_alone_longer_and_longer_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers(), fails=CacheError("the disk is gone"))
        worker = Worker(shelf, shelf.numbers)
        # They all fail at the same time: that is one failure.
        assert [await worker.ask(seed=seed) for seed in range(5)] == [None] * 5
        assert shelf.asked == 1
        for pause_s, asked in ((1, 2), (5, 3), (30, 4), (30, 5)):
            await asyncio.sleep(pause_s - 0.5)
            await worker.ask(seed=asked + 100)
            assert shelf.asked == asked - 1
            await asyncio.sleep(0.6)
            await worker.ask(seed=asked + 200)
            assert shelf.asked == asked
        shelf.fails = None
        await asyncio.sleep(31)
        await worker.ask(seed=1000)
        await worker.ask(seed=1001)
        assert (shelf.asked, len(shelf.claims)) == (7, 0)
        assert clean(worker.cache)

    turned(play())
    told = [line.getMessage() for line in caplog.records if line.name == "turnout.cache"]
    assert told == ["the shared cache is left alone for 1 s: the disk is gone"]


def test_a_store_that_fails_is_told_by_the_cache_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers(), fails=CacheError("gone"))
        worker = Worker(shelf, shelf.numbers)
        assert await worker.ask() is None
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)

    turned(play())
    assert {one.name for one in caplog.records} == {"turnout.cache"}


def test_requests_that_ask_a_broken_store_together_count_as_one_failure() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.readers.holds = True
        await asyncio.gather(*(worker.ask(seed=seed) for seed in range(10)))
        worker.readers.holds = False
        await asyncio.sleep(1.01)
        await worker.ask(seed=100)
        assert shelf.asked == 1

    turned(play())


def test_a_defect_of_the_store_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers(), fails=ZeroDivisionError("a defect"))
        worker = Worker(shelf, shelf.numbers)
        assert await worker.ask() is None
        assert await worker.ask() == b"answer"

    turned(play())
    assert "the shared cache is broken" in caplog.text


def test_a_closed_cache_still_lets_requests_pass() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        cache = Cache(shelf.of("a"), shelf.numbers, {})
        recall = Worker(shelf, shelf.numbers).recall()
        recall.cache = cache
        cache.close()
        assert await recall.find(TARGET, PROVIDER, 1.0, of_caller=False) is None
        recall.close()

    turned(play())


@pytest.mark.parametrize("fails", [CacheError("full"), ZeroDivisionError("a defect")])
def test_what_the_store_does_not_take_is_given_from_memory_and_claimed_by_nobody(
    fails: Exception,
) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers(), put_fails=fails)
        worker = Worker(shelf, shelf.numbers)
        assert await worker.ask() is None
        assert (shelf.kept, shelf.claims) == ({}, {})
        assert await worker.ask() == b"answer"

    turned(play())


def test_while_nothing_can_be_kept_nobody_waits_for_what_another_worker_makes() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers(), put_fails=CacheError("locked"))
        worker, other = Worker(shelf, shelf.numbers), Worker(shelf, shelf.numbers, "b")
        assert await worker.ask() is None
        assert worker.cache.health()["store"] == "left alone"
        makes = other.recall(model="another")
        assert await other.find(makes) is None and len(shelf.claims) == 1
        recall = worker.recall(model="another")
        assert await seconds_of(worker.find(recall)) == (None, 0.0)
        recall.close()
        assert [*shelf.claims.values()] == ["b"]
        # What was kept before is given all the same; and once more can be kept, all is as before.
        shelf.put_fails, worker.cache._writes._left_alone_until = None, 0.0
        keep(makes)
        assert await worker.ask(model="another") == b"answer"
        assert await worker.ask(model="a fourth") is None
        assert worker.cache.health()["store"] == "ok"
        assert await worker.find(worker.recall(model="a fifth")) is None
        assert [*shelf.claims.values()] == ["a"]

    turned(play())


class Locked:
    """A store, as far as writers use one, that takes nothing; its first write waits."""

    def __init__(self, fails: Exception | None) -> None:
        self.fails = fails
        self.begun, self.goes_on, self.empty = (threading.Event() for _ in range(3))
        self.puts: list[Key] = []
        self.released: list[Key] = []

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        self.puts.append(key)
        self.begun.set()
        assert self.goes_on.wait(10)
        if self.fails is not None:
            raise self.fails

    def release(self, key: Key) -> None:
        self.released.append(key)
        if key == LAST:
            self.empty.set()

    def close(self) -> None:
        """Nothing is left behind."""


LAST = Key("t", b"last")


@pytest.mark.parametrize("fails", [CacheError("locked"), None], ids=["fails", "is slow"])
def test_what_waits_for_a_store_that_takes_nothing_is_not_claimed_for_long(
    fails: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Locked(fails)
    writes = cache._Writes(store)  # type: ignore[arg-type]
    answer = CachedAnswer(b"{}", False, "t", "m", None, (), None, 0, (), 0)
    keys = [Key("t", b"%d" % number) for number in range(20)]
    writes.put(keys[0], answer, 1, 1)
    assert store.begun.wait(10)
    for key in keys[1:]:
        writes.put(key, answer, 1, 1)
    writes.release(LAST)
    if fails is None:
        monkeypatch.setattr(cache, "MOST_WRITE_WAIT_S", 0.0)
    store.goes_on.set()
    assert store.empty.wait(10)
    writes.close()
    assert store.puts == keys[:1]
    assert store.released == [*keys[fails is None :], LAST]
    assert len(caplog.records) == (fails is not None)


def test_what_the_writer_has_no_room_for_is_claimed_by_nobody() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.cache._writes._bytes = 2**40
        assert await worker.ask() is None
        assert (shelf.kept, shelf.claims, worker.cache.counts.unstored) == ({}, {}, 1)
        assert await worker.ask() == b"answer"

    turned(play())


# --- invalidation --------------------------------------------------------------------------------


def test_an_answer_that_was_asked_for_before_an_invalidation_is_not_kept() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        leader = worker.recall()
        await worker.find(leader)
        worker.cache.invalidate(Invalidation("all", "*", "default"))
        keep(leader, b"old")
        leader.close()
        assert (shelf.kept, shelf.claims, worker.cache.memory) == ({}, {}, (0, 0))
        assert await worker.ask(b"new") is None
        assert await worker.ask() == b"new"
        assert clean(worker.cache)

    turned(play())


@pytest.mark.parametrize("shared", [True, False])
def test_who_asks_after_an_invalidation_does_not_wait_for_an_answer_of_before(
    shared: bool,
) -> None:
    async def play() -> None:
        numbers = Numbers()
        shelf = Shelf(numbers) if shared else None
        worker = Worker(shelf, numbers)
        leader = worker.recall()
        await worker.find(leader)
        (before,) = await waiting(worker.ask(b"again"))
        worker.cache.invalidate(Invalidation("all", "*", None))
        after = worker.recall()
        assert await seconds_of(worker.find(after)) == (None, 0.0)
        (with_it,) = await waiting(worker.ask())
        keep(leader, b"old")
        leader.close()
        assert await before == b"old"  # it had asked before
        assert not with_it.done()
        assert shelf is None or list(shelf.claims.values()) == ["a"]
        keep(after, b"new")
        after.close()
        assert await with_it == b"new"
        assert shelf is None or shelf.claims == {}
        assert clean(worker.cache)

    turned(play())


def test_nothing_of_before_is_given_from_memory_or_store() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        await one.ask(b"old")
        assert await other.ask() == b"old"
        one.cache.invalidate(Invalidation("all", "*", "default"))
        assert await other.ask(b"new") is None
        assert await one.ask() == b"new"

    turned(play())


def test_another_tenants_answers_stay() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        await worker.ask(b"mine")
        worker.cache.invalidate(Invalidation("all", "*", "other"))
        assert await worker.ask() == b"mine"

    turned(play())


def test_what_the_store_gave_while_it_was_invalidated_is_not_remembered() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        await one.ask(b"old")
        other.readers.holds = True
        recall = other.recall()
        (asking,) = await waiting(other.find(recall))
        shelf.numbers.raise_("default")  # the first half: what is kept is not removed yet
        other.readers.let_go()
        assert await asking is not None  # it had asked before
        recall.close()
        other.readers.holds = False
        shelf.kept.clear()
        assert await other.ask(b"new") is None

    turned(play())


def test_a_claim_that_an_invalidation_left_over_ends_with_the_answer_of_another_worker() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        slow = worker.recall()
        assert await worker.find(slow) is None and [*shelf.claims.values()] == ["a"]
        worker.cache.invalidate(Invalidation("all", "*", None))
        impatient = other.recall()
        assert await other.find(impatient, 0.0) is None
        keep(impatient, b"new")
        assert await worker.ask() == b"new"
        keep(slow, b"old")
        slow.close()
        assert shelf.claims == {} and clean(worker.cache)

    turned(play())


# --- all of it, in any order ---------------------------------------------------------------------

Does = Literal["keeps", "fails", "leaves", "cut"]
steps = st.tuples(
    st.sampled_from(["keeps", "keeps", "fails", "leaves", "cut"]),
    st.floats(0, 3),  # begins
    st.floats(0, 3),  # takes
    st.sampled_from([None, None, 0.0, 0.5, 1.7]),  # is cancelled so long after it began
    st.sampled_from([0.0, 0.3, 5.0]),  # patience
    st.sampled_from(["a", "b"]),
    st.booleans(),  # whether answers are invalidated then
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=1, max_size=12), st.booleans())
def test_however_requests_end_nothing_is_left_behind(plays: list[Any], shared: bool) -> None:
    numbers = Numbers()
    shelf = Shelf(numbers) if shared else None
    workers = {name: Worker(shelf, numbers, name) for name in "ab"}

    async def one(
        does: Does,
        begins: float,
        takes: float,
        cancelled: float | None,
        patience_s: float,
        name: str,
        voids: bool,
    ) -> None:
        worker = workers[name]
        now = asyncio.get_running_loop().time
        await asyncio.sleep(begins)
        if voids:
            worker.cache.invalidate(Invalidation("all", "*", None))
        generation = numbers.of("default")
        recall = worker.recall()
        left = False

        async def go() -> None:
            nonlocal left
            began = now()
            found = await worker.find(recall, patience_s)
            # A poll and the store's bound are what may be on top of it.
            assert now() - began <= patience_s + 0.1
            if found is not None:
                asked_at, body = found.body.split(b":")
                assert body == b"answer" and int(asked_at) >= generation
                return
            asked_at_generation = recall._generation
            await asyncio.sleep(takes)
            if does == "keeps":
                keep(recall, b"%d:answer" % asked_at_generation)
            elif does == "cut":
                keep(recall, b"cut")
            left = does == "leaves"

        task = asyncio.ensure_future(go())
        if cancelled is not None:
            asyncio.get_running_loop().call_later(cancelled, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            left = True
        finally:
            recall.close(left=left)

    async def play() -> None:
        await asyncio.gather(*(one(*step) for step in plays))
        assert all(clean(worker.cache) for worker in workers.values())
        assert shelf is None or shelf.claims == {}

    turned(play())
