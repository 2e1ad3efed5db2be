"""What is kept, for how long, and how much of it: level 1, ages, and what is never kept."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.engine import cache as cache_module
from turnout.engine.cache import INLINE_EVENTS, LOOK_AGAIN_US, MOST_TAGS, READ_PATIENCE_S
from turnout.engine.cached import CachedAnswer, CacheError, Key
from turnout.engine.request import Operation, RequestError, Usage

from .benches import request_of
from .recalled import (
    HOUR_US,
    OTHER,
    PROGRAM,
    PROVIDER,
    TARGET,
    Clock,
    Numbers,
    Plain,
    Shelf,
    Worker,
    clock,
    keep,
    turned,
)

__all__ = ["clock"]

SECOND_US = 1_000_000


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_an_answer_is_given_until_its_time_is_over(clock: Clock, shared: bool) -> None:
    async def play() -> None:
        numbers = Numbers()
        worker = Worker(Shelf(numbers) if shared else None, numbers)
        assert await worker.ask(b"old") is None
        clock.us += HOUR_US - 1
        assert await worker.ask() == b"old"
        clock.us += 1
        assert await worker.ask(b"new") is None
        assert await worker.ask() == b"new"

    turned(play())


@pytest.mark.parametrize("shared", [True, False])
def test_a_lowered_ttl_holds_for_what_is_kept_already(clock: Clock, shared: bool) -> None:
    async def play() -> None:
        numbers = Numbers()
        shelf = Shelf(numbers) if shared else None
        worker, other = Worker(shelf, numbers), Worker(shelf, numbers, "b")
        await worker.ask(b"old")
        clock.us += 10 * SECOND_US
        for one in (worker, other):
            recall = one.recall(ttl_us=5 * SECOND_US)
            assert await one.find(recall) is None
            recall.close()
        assert await worker.ask(b"new", ttl_us=5 * SECOND_US) is None
        assert await worker.ask(ttl_us=5 * SECOND_US) == b"new"
        assert worker.cache.flights == other.cache.flights == 0

    turned(play())


def test_of_many_that_find_an_answer_too_old_for_the_policy_one_makes_it_anew(clock: Clock) -> None:
    async def play() -> None:
        numbers = Numbers()
        shelf = Shelf(numbers)
        await Worker(shelf, numbers).ask(b"old")
        clock.us += 10 * SECOND_US
        worker = Worker(shelf, numbers, "b")
        leader = worker.recall(ttl_us=5 * SECOND_US)
        assert await worker.find(leader) is None
        asking = [asyncio.ensure_future(worker.ask(ttl_us=5 * SECOND_US)) for _ in range(5)]
        await asyncio.sleep(0)
        keep(leader, b"new")
        leader.close()
        assert [await task for task in asking] == [b"new"] * 5

    turned(play())


def test_what_another_worker_made_ends_when_it_does_there(clock: Clock) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        await Worker(shelf, shelf.numbers).ask(b"old")
        clock.us += HOUR_US - SECOND_US
        other = Worker(shelf, shelf.numbers, "b")
        assert await other.ask() == b"old"
        clock.us += SECOND_US
        assert await other.ask() is None

    turned(play())


@pytest.mark.parametrize("jump_us", [-2 * HOUR_US, 2 * HOUR_US])
def test_an_answer_of_a_clock_that_was_wrong_is_not_given_for_years(
    clock: Clock, jump_us: int
) -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        await worker.ask(b"old")
        clock.us += jump_us
        assert await worker.ask(b"new") is None

    turned(play())


def test_a_clock_that_is_a_little_behind_changes_nothing(clock: Clock) -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        await worker.ask(b"old")
        clock.us -= SECOND_US
        assert await worker.ask() == b"old"

    turned(play())


# --- what the client says ------------------------------------------------------------------------


def said(value: str) -> dict[str, str]:
    return {"cache-control": value}


@pytest.mark.parametrize("shared", [True, False])
def test_a_client_may_want_a_younger_answer(clock: Clock, shared: bool) -> None:
    async def play() -> None:
        numbers = Numbers()
        shelf = Shelf(numbers) if shared else None
        await Worker(shelf, numbers).ask(b"of the store")
        worker = Worker(shelf, numbers, "b")
        if not shared:
            await worker.ask(b"of the store")
        clock.us += 10 * SECOND_US
        old = worker.recall(headers=said("max-age=9"))
        assert await worker.find(old) is None
        # Others take the one that there is.
        assert await worker.ask() == b"of the store"
        keep(old, b"new")
        old.close()
        assert await worker.ask(headers=said("max-age=9")) == b"new"
        assert await worker.ask(headers=said("max-age=0"), body=b"newer") is None
        assert await worker.ask() == b"newer"
        assert worker.cache.flights == 0

    turned(play())


def test_a_refresh_asks_anew_and_keeps_what_comes() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        await worker.ask(b"old")
        assert await worker.ask(b"new", headers={"x-turnout-cache": "refresh"}) is None
        assert await worker.ask() == b"new"

    turned(play())


def test_a_refresh_that_fails_leaves_the_answer_that_there_is() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        await worker.ask(b"old")
        recall = worker.recall(headers=said("no-cache"))
        assert await worker.find(recall) is None
        recall.close()
        assert await worker.ask() == b"old"

    turned(play())


def test_only_if_cached_asks_nobody() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        recall = worker.recall(headers=said("only-if-cached"))
        recall.on_miss = lambda: pytest.fail("a copy would have been sent")
        with pytest.raises(RequestError) as caught:
            await worker.find(recall)
        recall.close()
        assert (caught.value.status, caught.value.code) == (504, "not_cached")
        assert caught.value.should_retry is False
        assert worker.cache.flights == 0
        await worker.ask(b"there")
        assert await worker.ask(headers=said("only-if-cached")) == b"there"

    turned(play())


ONLY = [
    # for how long, and what else is said: all of it means that nothing can be recalled
    (None, {}),
    (HOUR_US, {"x-turnout-cache": "no-store"}),
    (None, {"x-turnout-cache": "no-store"}),
]


@pytest.mark.parametrize(("ttl_us", "more"), ONLY)
def test_only_if_cached_asks_nobody_where_nothing_may_be_kept_either(
    ttl_us: int | None, more: dict[str, str]
) -> None:
    cache = Worker(None, Numbers()).cache
    request = request_of({"messages": []}, headers=said("only-if-cached") | more)
    with pytest.raises(RequestError) as caught:
        cache.recall(PROGRAM, None, request, {}, ttl_us)
    assert caught.value.code == "not_cached"


PASSED_BY = [
    (None, {}, b'{"model":"auto"}'),
    (HOUR_US, {"x-turnout-cache": "no-store"}, b'{"model":"auto"}'),
    (HOUR_US, said("no-store"), b'{"model":"auto"}'),
    (HOUR_US, {}, b'{"model":"auto","seed":1,"seed":2}'),
    (HOUR_US, {}, b'{"model":"auto","seed":18446744073709551616}'),
]


@pytest.mark.parametrize(("ttl_us", "headers", "raw"), PASSED_BY, ids=range(len(PASSED_BY)))
def test_some_requests_pass_the_cache_by(
    ttl_us: int | None, headers: dict[str, str], raw: bytes
) -> None:
    cache = Worker(None, Numbers()).cache
    request = request_of({}, headers=headers)
    request.raw = raw
    assert cache.recall(PROGRAM, None, request, {}, ttl_us) is None


def test_an_unknown_word_is_refused_also_where_nothing_may_be_kept() -> None:
    cache = Worker(None, Numbers()).cache
    request = request_of({}, headers={"x-turnout-cache": "please"})
    with pytest.raises(RequestError) as caught:
        cache.recall(PROGRAM, None, request, {}, None)
    assert caught.value.status == 400


# --- what other workers have made anew ------------------------------------------------------------


def test_an_answer_made_anew_by_another_worker_is_given_soon(clock: Clock) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        one, other = Worker(shelf, shelf.numbers, "a"), Worker(shelf, shelf.numbers, "b")
        await one.ask(b"old")
        assert await other.ask() == b"old"
        clock.us += SECOND_US
        await one.ask(b"new", headers={"x-turnout-cache": "refresh"})
        assert await one.ask() == b"new"
        asked = shelf.asked
        assert await other.ask() == b"old"
        assert shelf.asked == asked
        clock.us += LOOK_AGAIN_US
        assert await other.ask() == b"new"
        assert await other.ask() == b"new"
        assert shelf.asked == asked + 1
        assert (other.cache.flights, shelf.claims) == (0, {})

    turned(play())


STORES = ["lost", "broken", "slow", "another makes it"]


@pytest.mark.parametrize("store", STORES)
def test_memory_is_given_where_the_store_has_nothing_else_to_say(clock: Clock, store: str) -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        await worker.ask(b"answer")
        at = next(iter(shelf.kept))
        shelf.kept.clear()
        clock.us += LOOK_AGAIN_US
        shelf.fails = CacheError("the disk is gone") if store == "broken" else None
        worker.readers.holds = store == "slow"
        if store == "another makes it":
            shelf.claims[at] = "b"
        before = asyncio.get_running_loop().time()
        together = await asyncio.gather(*(worker.ask() for _ in range(5)))
        took_s = asyncio.get_running_loop().time() - before
        assert together == [b"answer"] * 5
        assert took_s == pytest.approx(READ_PATIENCE_S if store == "slow" else 0.0)
        worker.readers.let_go()
        await asyncio.sleep(0)
        asked = shelf.asked
        assert await worker.ask() == b"answer"
        assert shelf.asked == asked
        assert worker.cache.flights == 0
        assert shelf.claims == ({at: "b"} if store == "another makes it" else {})

    turned(play())


# --- what an answer carries ----------------------------------------------------------------------


def test_an_answer_is_kept_with_what_it_can_be_invalidated_by() -> None:
    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        tags = {"x-turnout-tags": "Who=me, bad, =x, who=you"}
        recall = worker.recall(headers=tags, model="gpt-4o")
        await worker.find(recall)
        recall.keep(b"{}", TARGET.id, Usage(10, 5), 7, ("seed",), native=True)
        recall.close()
        ((answer, _),) = shelf.kept.values()
        assert answer.tags == ("team=search", "who=me", "who=you")
        assert (answer.model, answer.rule, answer.target) == ("gpt-4o", "a", TARGET.id)
        assert (answer.usage, answer.cost_nano_usd) == (Usage(10, 5), 7)
        assert (answer.dropped, answer.native) == (("seed",), True)

    turned(play())


def test_tags_are_bounded_and_count() -> None:
    tags = ",".join(f"k{number}=v" for number in range(1000))
    recall = Worker(None, Numbers()).recall(headers={"x-turnout-tags": tags})
    assert len(recall.tags) == MOST_TAGS
    assert not recall.directives.write  # who invalidates by one of the others would not find it
    assert recall.tags[0] == "team=search"
    answer = CachedAnswer(b"", False, "", "", None, ("t=" + "x" * 8000,), None, 0, (), 0)
    assert answer.size > 8000


# --- what is never kept --------------------------------------------------------------------------


def test_an_answer_that_was_cut_short_is_not_kept() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        assert await worker.ask(b"cut") is None
        assert await worker.ask(b"whole") is None
        assert await worker.ask() == b"whole"

    turned(play())


def test_a_list_of_embeddings_is_kept_as_it_is() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        request = request_of({"input": "a"}, operation=Operation.EMBEDDINGS)
        for expected in (None, b"cut is what it begins with"):
            recall = worker.cache.recall(PROGRAM, None, request, {}, HOUR_US)
            assert recall is not None
            found = await worker.find(recall)
            assert (found and found.body) == expected
            keep(recall, b"cut is what it begins with")
            recall.close()

    turned(play())


def test_a_stream_is_kept_once_it_is_complete() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        recall = worker.recall()
        await worker.find(recall)
        for event in (b"one ", b"two"):
            recall.heard(event)
        assert await worker.find(worker.recall(), 0.0) is None  # nothing yet
        recall.keep_stream(TARGET.id, Usage(1, 1), 7, (), native=False)
        recall.close()
        assert await worker.ask() == b"one two"
        assert worker.cache._heard_bytes == 0

    turned(play())


LONG = [b"%d " % number for number in range(INLINE_EVENTS + 1)]


@pytest.mark.parametrize("makes", ["the answer", "nothing", "a defect"])
def test_a_long_stream_is_put_together_beside_requests(makes: str) -> None:
    threads: list[threading.Thread] = []

    class Noting(Plain):
        def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
            threads.append(threading.current_thread())
            if makes == "a defect":
                raise ZeroDivisionError(makes)
            return None if makes == "nothing" else b"".join(events)

    async def play() -> None:
        shelf = Shelf(Numbers())
        worker = Worker(shelf, shelf.numbers)
        worker.cache._forms = dict.fromkeys(Operation, Noting())
        recall = worker.recall()
        await worker.find(recall)
        for event in LONG:
            recall.heard(event)
        recall.keep_stream(TARGET.id, Usage(1, 1), 7, (), native=False)
        recall.close()
        assert worker.cache.flights == 1  # whoever comes now waits for it
        expected = b"".join(LONG) if makes == "the answer" else None
        later = worker.recall()
        found = await worker.find(later)
        assert (found and found.body) == expected
        later.close()
        while worker.cache._beside:
            await asyncio.sleep(0)
        assert threads and threading.main_thread() not in threads
        assert (worker.cache.flights, worker.cache._heard_bytes, shelf.claims) == (0, 0, {})

    asyncio.run(play())  # no clock is turned while a thread is at work


def test_a_stream_that_was_left_is_not_kept() -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        recall = worker.recall()
        await worker.find(recall)
        recall.heard(b"one ")
        recall.close(left=True)
        recall.keep_stream(TARGET.id, Usage(1, 1), 7, (), native=False)
        assert await worker.ask() is None
        assert worker.cache._heard_bytes == 0

    turned(play())


def test_a_stream_that_is_too_long_is_not_kept_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_module, "MOST_ANSWER_BYTES", 10)

    async def play() -> None:
        worker = Worker(None, Numbers())
        recall = worker.recall()
        await worker.find(recall)
        follower = worker.recall()
        asking = asyncio.ensure_future(worker.find(follower))
        recall.heard(b"12345")
        await asyncio.sleep(0)
        recall.heard(b"678901")
        assert worker.cache.flights == 0
        assert await asking is None
        assert worker.cache._heard_bytes == 0
        recall.heard(b"1")
        recall.keep_stream(TARGET.id, None, 7, (), native=False)
        recall.close()
        follower.close()
        assert await worker.ask(b"12345678901") is None
        assert await worker.ask(b"1234567890") is None  # the one before was too long as well
        assert await worker.ask() == b"1234567890"

    turned(play())


def test_streams_under_way_take_no_more_than_their_share_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_module, "MOST_HEARD_BYTES", 10)

    async def play() -> None:
        worker = Worker(None, Numbers())
        first, second = worker.recall(), worker.recall(seed=2)
        for recall in (first, second):
            await worker.find(recall)
            recall.heard(b"12345678"[: 8 if recall is first else 3])
        assert worker.cache._heard_bytes == 8
        for recall in (first, second):
            recall.keep_stream(TARGET.id, None, 7, (), native=False)
            recall.close()
        assert worker.cache.memory[0] == 1
        assert worker.cache._heard_bytes == 0

    turned(play())


# --- a defect in it ------------------------------------------------------------------------------


class Broken:
    """A form, or a place, that fails."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError("a defect")


def test_a_form_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        worker.cache._forms = dict.fromkeys(Operation, Broken())
        first, second = worker.recall(), worker.recall(seed=2)
        await worker.find(first)
        keep(first)
        first.close()
        await worker.find(second)
        second.heard(b"one")
        second.keep_stream(TARGET.id, None, 7, (), native=False)
        second.close()
        assert worker.cache.flights == worker.cache._heard_bytes == 0

    turned(play())
    assert caplog.text.count("its answer cannot be kept") == 2


def test_a_key_that_cannot_be_made_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        worker = Worker(None, Numbers())
        misses = []
        for provider, body in ((Broken(), {}), (PROVIDER, {"seed": 2**80})):
            request = request_of({})
            request.body |= body
            request.raw = b'{"model":"auto"}'
            recall = worker.recall()
            recall.request, recall.on_miss = request, lambda: misses.append(1)
            found = await recall.find(TARGET, provider, 1.0, of_caller=False)
            assert found is None
            keep(recall)
            recall.close()
        assert len(misses) == 2
        assert worker.cache.memory[0] == worker.cache.flights == 0

    turned(play())
    assert caplog.text.count("the cache cannot be asked") == 2


# --- level 1 -------------------------------------------------------------------------------------


def answer(size: int) -> CachedAnswer:
    return CachedAnswer(b"x" * size, False, TARGET.id, "auto", None, (), None, 0, (), 0)


@settings(max_examples=50)
@given(
    st.integers(0, 20_000),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9_000)), max_size=40),
)
def test_memory_never_takes_more_than_it_may(most: int, puts: list[tuple[int, int]]) -> None:
    cache = Worker(None, Numbers(), memory_bytes=most).cache
    for number, size in puts:
        at = Key("default", b"%d" % number)
        cache.remember(at, answer(size), 2**62, 0)
        answers, taken = cache.memory
        assert taken <= max(most, 1)
        assert (cache.remembered(at, 0) is not None) == (answer(size).size <= most) or answers
    assert cache.memory[1] == sum(one.answer.size for one in cache._memory.values())


def test_what_was_not_asked_for_longest_makes_room() -> None:
    cache = Worker(None, Numbers(), memory_bytes=3 * answer(0).size).cache
    keys = [Key("default", b"%d" % number) for number in range(4)]
    for at in keys[:3]:
        cache.remember(at, answer(0), 2**62, 0)
    assert cache.remembered(keys[0], 0) is not None
    cache.remember(keys[3], answer(0), 2**62, 0)
    assert [cache.remembered(at, 0) is not None for at in keys] == [True, False, True, True]


def test_an_answer_larger_than_the_memory_drives_nobody_out() -> None:
    cache = Worker(None, Numbers(), memory_bytes=5_000).cache
    small, large = Key("default", b"small"), Key("default", b"large")
    cache.remember(small, answer(0), 2**62, 0)
    cache.remember(large, answer(5_000), 2**62, 0)
    assert cache.remembered(small, 0) is not None
    assert cache.remembered(large, 0) is None


def test_a_larger_answer_does_not_leave_the_smaller_one_of_before() -> None:
    cache = Worker(None, Numbers(), memory_bytes=5_000).cache
    at = Key("default", b"one")
    cache.remember(at, answer(0), 2**62, 0)
    cache.remember(at, answer(5_000), 2**62, 0)
    assert cache.remembered(at, 0) is None


def test_what_is_known_of_targets_is_bounded() -> None:
    cache = Worker(None, Numbers()).cache
    assert cache.target(PROGRAM, TARGET, PROVIDER) != cache.target(PROGRAM, OTHER, PROVIDER)
    assert cache.target(PROGRAM, TARGET, PROVIDER) is cache.target(PROGRAM, TARGET, PROVIDER)
    assert cache._targets.maxsize <= 10_000
