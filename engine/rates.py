"""How many requests, and how many tokens, a tenant or a key may use a minute.

A rate holds in **any** 60 s, not per minute of the clock: time is cut into sub-windows of 250 ms,
and what was taken in the present one and the 240 before it is never more than the limit. So a load
that wants more than it may have gets the limit every 60.25 s (0.4 % less than the limit), all of it
at once if it likes, and never a unit above it. Requests and tokens have windows of their own.

The arithmetic here is pure; `engine.state.rates` keeps it for all workers together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

WIDTH_US = 250_000  # of a sub-window
PAST = 240  # sub-windows before the present one that count too: together never less than 60 s

Unit = Literal["requests", "tokens"]

LIMITS = frozenset(
    f"x-ratelimit-{what}-{unit}"
    for what in ("limit", "remaining", "reset")
    for unit in ("requests", "tokens")
)
"""The headers, as OpenAI calls them, that say how far rates are used up."""

Part = tuple[int, int]
"""A sub-window by its number, and the units that were taken in it."""


class Rate(NamedTuple):
    """So many units a minute for whoever the name says: `tenant:acme`, `key:k_7f…`."""

    name: str
    unit: Unit
    limit: int


class Level(NamedTuple):
    """How far a rate is used up: in the sub-window `at`, and in those before it that count.

    Sub-windows are numbered by a clock that all processes of a machine share.
    """

    at: int
    past: int
    now: int

    @property
    def used(self) -> int:
        """All units that count at present."""
        return self.past + self.now


@dataclass(frozen=True, slots=True)
class Taken:
    """Units that a request has taken of a rate, in sub-window `index`.

    `left` is what the rate had beside them at that moment; `reset_us` how long it was until all
    of it would be left, had nobody taken any more.
    """

    rate: Rate
    units: int
    index: int
    left: int
    reset_us: int


class UsedUp(Exception):
    """A rate has not as many units left.

    `wait_us` is how long it is until it has, if nobody takes any until then; None: it never has,
    as that is more than the whole limit.
    """

    def __init__(self, rate: Rate, left: int, wait_us: int | None, reset_us: int) -> None:
        """Hold which, and how far it is used up."""
        super().__init__(f"{rate.unit} of {rate.name}")
        self.rate = rate
        self.left = left
        self.wait_us = wait_us
        self.reset_us = reset_us


class Uncertain(Exception):
    """Nobody can say at the moment how far a rate is used up."""


class Rates(Protocol):
    """The rates of everybody; used from one event loop."""

    async def take(self, rate: Rate, units: int) -> Taken:
        """Take units of a rate; a refusal takes nothing. Raises: UsedUp, Uncertain."""

    def correct(self, taken: Taken, units: int) -> None:
        """Say that so many units were used, not those that were taken; once for each taking.

        Those too many come back in the sub-window they were taken in; those too few count from now
        on, whatever is left.
        """


class Unrated:
    """Rates that everybody is within."""

    async def take(self, rate: Rate, units: int) -> Taken:
        """There are always some left."""
        return Taken(rate, units, 0, rate.limit, 0)

    def correct(self, taken: Taken, units: int) -> None:
        """Nothing was counted."""


def index_at(now_us: int) -> int:
    """The sub-window that an instant lies in."""
    return now_us // WIDTH_US


def counts(index: int, at: int) -> bool:
    """Whether what was taken in one sub-window still counts in another."""
    return at - PAST <= index <= at


def moved(parts: Iterable[Part], index: int) -> Level:
    """The level at the beginning of a sub-window; `parts` has those before it, in any order."""
    first = index - PAST
    return Level(index, sum(units for at, units in parts if first <= at < index), 0)


def fits_at(level: Level, parts: Iterable[Part], limit: int, units: int) -> int | None:
    """The first sub-window in which so many units fit, if nobody takes any before; None: in none.

    `parts` has the sub-windows before the present one, in any order.
    """
    if units > limit:
        return None
    over = level.used + units - limit
    if over <= 0:
        return level.at
    past = [part for part in parts if part[0] != level.at and counts(part[0], level.at)]
    for index, taken in (*sorted(past), (level.at, level.now)):
        over -= taken
        if over <= 0:
            return index + PAST + 1
    return level.at + PAST + 1


def reset_at(level: Level) -> int:
    """A sub-window in which nothing counts any more of what is taken now."""
    return level.at + PAST + 1


def until_us(index: int, now_us: int) -> int:
    """How long it is until a sub-window begins."""
    return max(index * WIDTH_US - now_us, 0)
