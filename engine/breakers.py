"""Which targets are left alone for a while, and why: breakers, cool-downs, probes.

One breaker for each target, a state machine of pybreaker's over a memory of ours (`breaker`). What
one worker learns all of them know, through the board: it is told at once, and looked at before
each failure is counted, so that the failures of all workers add up.

What becomes of an attempt is reported once it is over; nothing is wrapped around it. So a client
that leaves is no failure, and an answer that takes minutes holds nothing.

Over 300 lines because what attempts report and what workers tell each other make one state.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from turnout.dsl.core import Breaking
from turnout.dsl.schema import Value

from .board import Alone, Board
from .breaker import Breaker, Change, Claim, Told
from .provider import FAULTS, Fault, ProviderError
from .row import Tally

_log = logging.getLogger("turnout.breakers")

LONGEST_COOL_DOWN_US = 3_600_000_000
"""However long a provider asks to be left alone, somebody tries it again after an hour."""

TOPIC = "breakers"
# Clients can name any number of targets (`ft:` models): beyond so many the oldest are forgotten.
MOST_TARGETS = 1_000
# How long an attempt that tries a half-open target is thought to take.
_SOON_US = 1_000_000


_Shape = tuple[tuple[tuple[str, str, bool], ...], tuple[str, ...]]
"""Breakers with something to say (target, state, whether it is to pause), and sick providers."""


class Barred(NamedTuple):
    """Why a target is not to be tried now; `left_us` until that may be otherwise.

    `is_cooling`: the provider asked for it, and its breaker is closed.
    """

    reason: str
    left_us: int
    is_cooling: bool = False


class Probed(NamedTuple):
    """What a free probe of a provider came to; of two the greater is the later."""

    at_ns: int
    ok: bool
    reason: str


class Breakers:
    """The breakers and cool-downs of all targets; used from one event loop.

    Cost: `enter` and `succeeded` 0.35 µs each where nothing is wrong. A failure 50 µs, and
    250 µs with 3 000 attempts under way; `look` 10 µs over a board of four processes.
    """

    def __init__(
        self, board: Board | None = None, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """All closed. `now_ns` is a clock that all workers of the machine share."""
        self._board = board or Alone()
        self._now_ns = now_ns
        self._breaking = Breaking()
        self._breakers: dict[str, Breaker] = {}
        self._probes: dict[str, Probed] = {}
        self._stamped_ns = 0
        self._shape: _Shape = ((), ())

    def follow(self, breaking: Breaking) -> None:
        """Hold to these bounds from now on."""
        self._breaking = breaking
        for breaker in self._breakers.values():
            breaker.follow(breaking)

    # --- attempts --------------------------------------------------------------------------------

    def barred(self, target: str) -> Barred | None:
        """Why a target is not to be tried now; None where it may be. Nothing is taken by asking."""
        breaker = self._breakers.get(target)
        if breaker is None or breaker.calm:
            return None
        return self._barred(breaker)

    def enter(self, target: str) -> int | Barred:
        """Let an attempt in, or say why not; what is returned goes with its outcome.

        Of a half-open target it takes the seat of the one that tries it. `succeeded`, `failed` or
        `left` must follow.
        """
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breaker(target)
        entered = self._stamp() if breaker.calm else self._enter(breaker)
        if not isinstance(entered, Barred):
            breaker.failed.under_way[entered] = None
        return entered

    def succeeded(self, target: str, since_ns: int | None = None) -> None:
        """Note that an attempt brought a whole answer.

        `since_ns`: what `enter` gave it; None: it began just now.
        """
        breaker = self._breakers.get(target)
        if breaker is not None and breaker.calm:
            breaker.failed.under_way.pop(since_ns or 0, None)
            breaker.failed.succeeded_ns = breaker.cut.succeeded_ns = self._stamp()
        else:
            self.spoke(target, since_ns)
            self.finished(target, since_ns)

    def spoke(self, target: str, since_ns: int | None = None) -> None:
        """Note that an attempt brought its first content.

        `finished`, `failed` or `left` must follow.
        """
        breaker = self._breakers.get(target) or self._breaker(target)
        now_ns = self._stamp()
        if since_ns is not None:
            breaker.cut.under_way[since_ns] = None
        if breaker.calm:
            breaker.failed.under_way.pop(since_ns or 0, None)
            breaker.failed.succeeded_ns = now_ns
        elif breaker.succeed(now_ns, since_ns):
            self._tell()

    def finished(self, target: str, since_ns: int | None = None) -> None:
        """Note that a stream came to its end."""
        breaker = self._breakers.get(target) or self._breaker(target)
        now_ns = self._stamp()
        if breaker.calm:
            breaker.cut.under_way.pop(since_ns or 0, None)
            breaker.cut.succeeded_ns = now_ns
        elif breaker.finish(now_ns, since_ns):
            self._tell()

    def failed(self, target: str, error: ProviderError, since_ns: int | None = None) -> None:
        """Note an attempt that failed, before or after its first content."""
        if not FAULTS[error.fault].breaker:
            if since_ns is not None:
                self.left(target, since_ns)
            return
        breaker = self._breaker(target)
        self._learn()
        now_ns = self._stamp()
        news = breaker.fail(now_ns, since_ns, error.fault.value)
        if error.fault is Fault.RATE_LIMIT and error.retry_after_us:
            waits_us = min(error.retry_after_us, LONGEST_COOL_DOWN_US)
            news |= breaker.cool(now_ns + waits_us * 1_000, error.fault.value)
        if news:
            self._tell()
            # Of failures at the same time whoever looks last sees all.
            self._learn()

    def left(self, target: str, since_ns: int) -> None:
        """Note that an attempt ended and says nothing of its target: the client left."""
        breaker = self._breakers.get(target)
        if breaker is not None and breaker.leave(self._stamp(), since_ns):
            self._tell()

    def probed(self, provider: str, ok: bool, reason: str) -> None:
        """Note what a free probe of a provider came to; `reason` holds no secret.

        A good one closes the half-open breakers of its targets, a bad one opens none.
        """
        self._learn()
        now_ns = self._stamp()
        before = self._probes.get(provider)
        news = ok is False if before is None else before.ok is not ok
        if before is None or before[1:] != (ok, reason):
            self._probes[provider] = Probed(now_ns, ok, reason)
        if ok:
            for breaker in self._breakers.values():
                if not breaker.calm and _provider(breaker.name) == provider:
                    news |= breaker.close(now_ns)
        if news:
            self._tell()

    # --- what is so ------------------------------------------------------------------------------

    def values(self, targets: Iterable[str] = ()) -> Mapping[str, Value]:
        """`breaker(…)`, `healthy(…)` and `rate_limited(…)` where they are otherwise than usual.

        Of these targets, by id, and of all others that were tried.
        """
        values: dict[str, Value] = {}
        for breaker in self._restless():
            id = breaker.name
            if not breaker.is_closed:
                values[f"breaker({id})"] = breaker.written
            if breaker.is_open:
                values[f"healthy({id})"] = False
            if breaker.is_cooling:
                values[f"rate_limited({id})"] = True
        sick = self._sick()
        if sick:
            for id in (*targets, *self._breakers):
                if _provider(id) in sick:
                    values[f"healthy({id})"] = False
        return values

    def states(self) -> Mapping[str, dict[str, Any]]:
        """The targets that are left alone or tried again, for people: no secrets.

        Shape: by target `{breaker, rate_limited, for_ms, reason}`; `for_ms` is how long it will
        last at least, `reason` the last fault's name.
        """
        now_ns = self._stamp()
        return {
            breaker.name: {
                "breaker": breaker.written,
                "rate_limited": breaker.is_cooling,
                "for_ms": max(breaker.ends_ns - now_ns, 0) // 1_000_000,
                "reason": breaker.fault or breaker.change.fault or "unknown",
            }
            for breaker in self._restless()
            if not breaker.is_closed or breaker.is_cooling
        }

    def look(self) -> bool:
        """Learn from the other workers and from the clock; whether `values` changed by that."""
        self._learn()
        restless = self._restless()
        if any(breaker.is_ahead for breaker in restless):
            self._tell()
        shape = (
            tuple((one.name, one.written, one.is_cooling) for one in restless),
            tuple(self._sick()),
        )
        changed = shape != self._shape
        if changed:
            _say_what_closed(self._shape, shape)
        self._shape = shape
        return changed

    # --- within ----------------------------------------------------------------------------------

    def _stamp(self) -> int:
        """The instant of now; no two of one worker are the same."""
        self._stamped_ns = max(self._now_ns(), self._stamped_ns + 1)
        return self._stamped_ns

    def _breaker(self, target: str) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            if len(self._breakers) >= MOST_TARGETS:
                self._forget()
            breaker = self._breakers[target] = Breaker(target, self._breaking)
        return breaker

    def _forget(self) -> None:
        """Make room: what was tried least lately is known least well."""
        oldest = sorted(self._breakers.values(), key=attrgetter("seen_ns"))
        for breaker in oldest[: MOST_TARGETS // 4]:
            del self._breakers[breaker.name]

    def _restless(self) -> list[Breaker]:
        """The breakers with something to say, as of now."""
        now_ns = self._stamp()
        restless = [breaker for breaker in self._breakers.values() if not breaker.calm]
        for breaker in restless:
            breaker.turn(now_ns)
        return restless

    def _sick(self) -> list[str]:
        return [name for name, probed in self._probes.items() if not probed.ok]

    def _barred(self, breaker: Breaker) -> Barred | None:
        now_ns = self._stamp()
        breaker.turn(now_ns)
        left_us = -((now_ns - breaker.ends_ns) // 1_000)
        if breaker.is_open:
            return Barred(f"its breaker is open after {breaker.change.fault}", left_us)
        if breaker.is_half_open and breaker.is_claimed:
            return Barred("its breaker lets one attempt at a time try", _SOON_US)
        if breaker.is_closed and breaker.is_cooling:
            return Barred("its provider asked for a pause", left_us, is_cooling=True)
        return None

    def _enter(self, breaker: Breaker) -> int | Barred:
        barred = self._barred(breaker)
        if barred is not None or not breaker.is_half_open:
            return barred or self._stamp()
        # Each worker claims first and looks then, so that of two at least one sees the other. It
        # is never two; where each sees the other it is none, and the next attempt tries.
        self._learn()
        barred = self._barred(breaker)
        if barred is not None or not breaker.is_half_open:
            return barred or self._stamp()
        breaker.take_claim()
        self._tell()
        self._learn()
        since_ns = breaker.claim.from_ns
        if breaker.is_half_open and not breaker.claimed_by_others:
            return since_ns
        if breaker.leave(self._stamp(), since_ns):
            self._tell()
        return self._barred(breaker) or self._stamp()

    # --- the board -------------------------------------------------------------------------------

    def _tell(self) -> None:
        told = {
            name: breaker.told()
            for name, breaker in self._breakers.items()
            if breaker.is_worth_telling
        }
        self._board.post(TOPIC, orjson.dumps([told, self._probes], default=tuple))

    def _learn(self) -> None:
        """Take what the others tell, where that has changed."""
        posts = self._board.look(TOPIC)
        if posts is None:
            return
        now_ns = self._stamp()
        told: dict[str, list[Told]] = {name: [] for name in self._breakers}
        for post in posts:
            try:
                breakers, probes = _read(post)
            except (ValueError, TypeError, AttributeError):
                _log.warning("what another worker tells of its breakers cannot be read")
                continue
            for name, one in breakers.items():
                told.setdefault(name, []).append(one)
            for provider, probed in probes.items():
                known = self._probes.get(provider)
                self._probes[provider] = probed if known is None else max(known, probed)
        for name, ones in told.items():
            self._breaker(name).learn(now_ns, ones)


def _read(post: bytes) -> tuple[dict[str, Told], dict[str, Probed]]:
    """What a worker told. Raises: ValueError, TypeError, AttributeError."""
    breakers, probes = orjson.loads(post)
    return (
        {
            name: Told(Change(*change), cooled, Claim(*claim), fault, (_tally(failed), _tally(cut)))
            for name, (change, cooled, claim, fault, (failed, cut)) in breakers.items()
        },
        {provider: Probed(*probed) for provider, probed in probes.items()},
    )


def _tally(told: list[Any]) -> Tally:
    failures, ripe_ns, succeeded_ns = told
    return Tally(tuple(failures), ripe_ns, succeeded_ns)


def _say_what_closed(before: _Shape, now: _Shape) -> None:
    """Log the breakers that let attempts in again."""
    left = {name: written for name, written, _ in now[0]}
    for name, was, _ in before[0]:
        written = left.get(name, "closed")
        if was != written and written != "open":
            _log.warning("%s: its breaker is %s", name, written.replace("_", "-"))


def _provider(target: str) -> str:
    return target.partition("/")[0]
