"""A store that is opened when somebody first asks it, once, and again where that failed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from turnout.engine.cached import CacheError, Invalidation, Key
from turnout.engine.deferred import Deferred

KEY = Key("acme", bytes(32))


class Fake:
    """A store that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            self.asked.append(name)
            return None

        return call


def test_nothing_is_opened_before_somebody_asks_nor_to_let_go() -> None:
    made: list[Fake] = []

    def make() -> Any:
        made.append(Fake())
        return made[0]

    store = Deferred(make)
    store.release(KEY)
    store.close()
    assert made == []
    store.get(KEY, 0)
    store.get_or_claim(KEY, 0)
    store.put(KEY, None, 0, 0)  # type: ignore[arg-type]
    store.release(KEY)
    store.invalidate(Invalidation("all", "*", None))
    store.stats(None)
    store.close()
    (one,) = made
    assert one.asked == [
        "get",
        "get_or_claim",
        "put",
        "release",
        "invalidate",
        "stats",
        "close",
    ]


def test_of_many_who_ask_first_one_opens_it() -> None:
    made: list[Fake] = []
    together = threading.Barrier(8)

    def make() -> Any:
        made.append(Fake())
        return made[-1]

    store = Deferred(make)

    def ask(_: int) -> None:
        together.wait(10)
        store.get(KEY, 0)

    with ThreadPoolExecutor(8) as hands:
        list(hands.map(ask, range(8)))
    assert len(made) == 1 and len(made[0].asked) == 8


def test_what_could_not_be_opened_is_tried_again() -> None:
    outcomes = [CacheError("not now"), Fake()]

    def make() -> Any:
        found = outcomes.pop(0)
        if isinstance(found, CacheError):
            raise found
        return found

    store = Deferred(make)
    with pytest.raises(CacheError, match="not now"):
        store.get(KEY, 0)
    assert store.get(KEY, 0) is None
    assert outcomes == []
