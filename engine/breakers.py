"""Which targets are left alone for a while, and why: breakers, cool-downs, probes.

One breaker for each target, a state machine of pybreaker's over a memory of ours (`circuit`). What
one worker learns all of them know, through the board: it is told at once, and looked at before
each failure is counted, so that the failures of all workers add up.

What becomes of an attempt is reported once it is over; nothing is wrapped around it. So a client
that leaves is no failure, and an answer that takes minutes holds nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN

from turnout.dsl.core import Breaking
from turnout.dsl.schema import Value

from .board import Alone, Board
from .circuit import NAMES, Change, Circuit, Claim, Told
from .provider import FAULTS, Fault, ProviderError

_log = logging.getLogger("turnout.breakers")

LONGEST_COOL_DOWN_US = 3_600_000_000
"""However long a provider asks to be left alone, somebody tries it again after an hour."""

TOPIC = "breakers"
# Clients can name any number of targets (`ft:` models): beyond so many the oldest are forgotten.
MOST_TARGETS = 1_000
# How long an attempt that tries a half-open target is thought to take.
_SOON_US = 1_000_000


class Barred(NamedTuple):
    """Why a target is not to be tried now; `left_us` until that may be otherwise.

    `is_cooling`: the provider asked for it, and its breaker is closed.
    """

    reason: str
    left_us: int
    is_cooling: bool = False


class Verdict(NamedTuple):
    """What a free probe of a provider came to; of two the greater is the later."""

    at_ns: int
    ok: bool
    reason: str


class Breakers:
    """The breakers and cool-downs of all targets; used from one event loop.

    Cost: `enter` and `succeeded` 0.2 µs each where nothing is wrong; a failure 15 µs.
    """

    def __init__(
        self, board: Board | None = None, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """All closed. `now_ns` is a clock that all workers of the machine share."""
        self._board = board or Alone()
        self._now_ns = now_ns
        self._breaking = Breaking()
        self._circuits: dict[str, Circuit] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._stamped_ns = 0
        self._shape: object = ((), ())

    def follow(self, breaking: Breaking) -> None:
        """Hold to these bounds from now on."""
        self._breaking = breaking
        for circuit in self._circuits.values():
            circuit.follow(breaking)

    # --- attempts --------------------------------------------------------------------------------

    def barred(self, target: str) -> Barred | None:
        """Why a target is not to be tried now; None where it may be. Nothing is taken by asking."""
        circuit = self._circuits.get(target)
        if circuit is None or circuit.calm:
            return None
        return self._barred(circuit)

    def enter(self, target: str) -> int | Barred:
        """Let an attempt in, or say why not; what is returned goes with its outcome.

        Of a half-open target it takes the seat of the one that tries it. `succeeded`, `failed` or
        `left` must follow.
        """
        circuit = self._circuits.get(target)
        if circuit is None or circuit.calm:
            return self._stamp()
        return self._enter(circuit)

    def succeeded(self, target: str, since_ns: int | None = None) -> None:
        """Note that an attempt brought an answer, or its first content.

        `since_ns`: what `enter` gave it; None: it began just now.
        """
        circuit = self._circuit(target)
        now_ns = self._stamp()
        if circuit.calm:
            circuit.succeeded_ns = now_ns
        elif circuit.succeed(now_ns, since_ns):
            self._tell()

    def failed(self, target: str, error: ProviderError, since_ns: int | None = None) -> None:
        """Note an attempt that failed, before or after its first content."""
        if not FAULTS[error.fault].breaker:
            if since_ns is not None:
                self.left(target, since_ns)
            return
        circuit = self._circuit(target)
        self._learn()
        now_ns = self._stamp()
        circuit.turn(now_ns)
        was = circuit.state
        news = circuit.fail(now_ns, since_ns, error.fault.value)
        if error.fault is Fault.RATE_LIMIT and error.retry_after_us:
            waits_us = min(error.retry_after_us, LONGEST_COOL_DOWN_US)
            news |= circuit.cool(now_ns + waits_us * 1_000, error.fault.value)
        if was != STATE_OPEN and circuit.state == STATE_OPEN:
            _log.warning("%s: its breaker opened after %s", circuit.name, circuit.fault)
        if news:
            self._tell()

    def left(self, target: str, since_ns: int) -> None:
        """Note that an attempt ended and says nothing of its target: the client left."""
        circuit = self._circuits.get(target)
        if circuit is not None and circuit.drop_claim(self._stamp(), since_ns):
            self._tell()

    def probed(self, provider: str, ok: bool, reason: str) -> None:
        """Note what a free probe of a provider came to; `reason` holds no secret.

        A good one closes the half-open breakers of its targets, a bad one opens none.
        """
        self._learn()
        now_ns = self._stamp()
        before = self._verdicts.get(provider)
        news = ok is False if before is None else before.ok is not ok
        if before is None or before[1:] != (ok, reason):
            self._verdicts[provider] = Verdict(now_ns, ok, reason)
        if ok:
            for circuit in self._circuits.values():
                if not circuit.calm and _provider(circuit.name) == provider:
                    news |= circuit.close(now_ns)
        if news:
            self._tell()

    # --- what is so ------------------------------------------------------------------------------

    def values(self, targets: Iterable[str] = ()) -> Mapping[str, Value]:
        """`breaker(…)`, `healthy(…)` and `rate_limited(…)` where they are otherwise than usual.

        Of these targets, by id, and of all others that were tried.
        """
        values: dict[str, Value] = {}
        for circuit in self._restless():
            id = circuit.name
            if circuit.state != STATE_CLOSED:
                values[f"breaker({id})"] = NAMES[circuit.state]
            if circuit.state == STATE_OPEN:
                values[f"healthy({id})"] = False
            if circuit.is_cooling:
                values[f"rate_limited({id})"] = True
        sick = self._sick()
        if sick:
            for id in (*targets, *self._circuits):
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
            circuit.name: {
                "breaker": NAMES[circuit.state],
                "rate_limited": circuit.is_cooling,
                "for_ms": max(circuit.ends_ns - now_ns, 0) // 1_000_000,
                "reason": circuit.fault or circuit.change.fault or "unknown",
            }
            for circuit in self._restless()
            if circuit.state != STATE_CLOSED or circuit.is_cooling
        }

    def look(self) -> bool:
        """Learn from the other workers and from the clock; whether `values` changed by that."""
        self._learn()
        restless = self._restless()
        if any(circuit.is_ahead for circuit in restless):
            self._tell()
        shape = (
            tuple((one.name, one.state, one.is_cooling) for one in restless),
            tuple(self._sick()),
        )
        changed, self._shape = shape != self._shape, shape
        return changed

    # --- within ----------------------------------------------------------------------------------

    def _stamp(self) -> int:
        """The instant of now; no two of one worker are the same."""
        self._stamped_ns = max(self._now_ns(), self._stamped_ns + 1)
        return self._stamped_ns

    def _circuit(self, target: str) -> Circuit:
        circuit = self._circuits.get(target)
        if circuit is None:
            if len(self._circuits) >= MOST_TARGETS:
                self._forget()
            circuit = self._circuits[target] = Circuit(target, self._breaking)
        return circuit

    def _forget(self) -> None:
        """Make room: what was tried least lately is known least well."""
        oldest = sorted(self._circuits.values(), key=attrgetter("seen_ns"))
        for circuit in oldest[: MOST_TARGETS // 4]:
            del self._circuits[circuit.name]

    def _restless(self) -> list[Circuit]:
        """The circuits with something to say, as of now."""
        now_ns = self._stamp()
        restless = [circuit for circuit in self._circuits.values() if not circuit.calm]
        for circuit in restless:
            circuit.turn(now_ns)
        return restless

    def _sick(self) -> list[str]:
        return [name for name, verdict in self._verdicts.items() if not verdict.ok]

    def _barred(self, circuit: Circuit) -> Barred | None:
        now_ns = self._stamp()
        circuit.turn(now_ns)
        left_us = -((now_ns - circuit.ends_ns) // 1_000)
        if circuit.state == STATE_OPEN:
            return Barred(f"its breaker is open after {circuit.change.fault}", left_us)
        if circuit.state == STATE_HALF_OPEN and circuit.is_claimed:
            return Barred("its breaker lets one attempt at a time try", _SOON_US)
        if circuit.state == STATE_CLOSED and circuit.is_cooling:
            return Barred("its provider asked for a pause", left_us, is_cooling=True)
        return None

    def _enter(self, circuit: Circuit) -> int | Barred:
        barred = self._barred(circuit)
        if barred is not None or circuit.state != STATE_HALF_OPEN:
            return barred or self._stamp()
        # Each worker claims first and looks then, so that of two at least one sees the other. It
        # is never two; where each sees the other it is none, and the next attempt tries.
        self._learn()
        barred = self._barred(circuit)
        if barred is not None or circuit.state != STATE_HALF_OPEN:
            return barred or self._stamp()
        circuit.take_claim()
        self._tell()
        self._learn()
        since_ns = circuit.claim.from_ns
        if circuit.state == STATE_HALF_OPEN and not circuit.claimed_by_others:
            return since_ns
        circuit.drop_claim(self._stamp(), since_ns)
        self._tell()
        return self._barred(circuit) or self._stamp()

    # --- the board -------------------------------------------------------------------------------

    def _tell(self) -> None:
        told = {
            name: circuit.told()
            for name, circuit in self._circuits.items()
            if circuit.is_worth_telling
        }
        self._board.post(TOPIC, orjson.dumps([told, self._verdicts], default=tuple))

    def _learn(self) -> None:
        """Take what the others tell, where that has changed."""
        posts = self._board.look(TOPIC)
        if posts is None:
            return
        now_ns = self._stamp()
        told: dict[str, list[Told]] = {name: [] for name in self._circuits}
        for post in posts:
            try:
                circuits, verdicts = _read(post)
            except (ValueError, TypeError, AttributeError):
                _log.warning("what another worker tells of its breakers cannot be read")
                continue
            for name, one in circuits.items():
                told.setdefault(name, []).append(one)
            for provider, verdict in verdicts.items():
                known = self._verdicts.get(provider)
                self._verdicts[provider] = verdict if known is None else max(known, verdict)
        for name, ones in told.items():
            self._circuit(name).learn(now_ns, ones)


def _read(post: bytes) -> tuple[dict[str, Told], dict[str, Verdict]]:
    """What a worker told. Raises: ValueError, TypeError, AttributeError."""
    circuits, verdicts = orjson.loads(post)
    return (
        {
            name: Told(Change(*change), cooled, Claim(*claim), succeeded, fault, tuple(failures))
            for name, (change, cooled, claim, succeeded, fault, failures) in circuits.items()
        },
        {provider: Verdict(*verdict) for provider, verdict in verdicts.items()},
    )


def _provider(target: str) -> str:
    return target.partition("/")[0]
