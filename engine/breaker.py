"""What is known of one target's breaker, by this worker and by the others.

pybreaker is the state machine: it says what follows from a success and from a failure. This is the
storage that it works on. Its time is the caller's, so that a test can turn it by hand: an open
breaker is half-open by the clock alone, and closed again where nobody tried it.

Nothing here depends on the order in which workers hear of each other. The latest change wins, the
longest cool-down holds, and failures count where they are younger than anybody's last success.

There are two rows of failures (`row`), and either opens the breaker: one of attempts that failed,
which the next first content ends, and one of streams that broke after it, which only an answer that
is complete ends. Else a target that always breaks off would forgive itself each time.

Over 300 lines because what pybreaker asks of its storage stands beside what is kept in it.
"""

import logging
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerStorage,
)

from turnout.dsl.core import Breaking

from .row import Row, Tally

_log = logging.getLogger("turnout.breakers")

# The breaker's own clock is never asked: longer than any process lives, in seconds.
_NEVER_S = 1e9
# Attempts that failed before their first content, and streams that broke after it.
_FAILED, _CUT = _ROWS = 0, 1
# As a policy writes them.
_NAMES = {STATE_CLOSED: "closed", STATE_HALF_OPEN: "half_open", STATE_OPEN: "open"}


class Change(NamedTuple):
    """The last change of a breaker; of two the greater is the later.

    `until_ns` 0: it closed, and where it is `on_trial` one failure opens it again.
    """

    at_ns: int = 0
    until_ns: int = 0
    on_trial: bool = False
    fault: str = ""


class Claim(NamedTuple):
    """A worker's claim that its attempt is the one that tries a half-open target."""

    from_ns: int = 0
    until_ns: int = 0


class Told(NamedTuple):
    """What one worker tells of one target; instants by the clock that all workers share."""

    change: Change
    cooled_ns: int
    claim: Claim
    fault: str
    rows: tuple[Tally, Tally]


class Breaker(CircuitBreakerStorage):
    """One target's breaker, cool-down and seat of the probe.

    `calm`: closed, nothing failed since the last success, no cool-down; nothing but a failure or
    another worker can change that, so most attempts need not look further.
    """

    def __init__(self, target: str, breaking: Breaking) -> None:
        """Closed, and nothing known."""
        super().__init__(target)
        self.calm = True
        self.change = Change()
        self.cooled_ns = 0
        self.claim = Claim()
        self.fault = ""
        self._rows = self.failed, self.cut = Row(), Row()
        self._others: list[Told] = []
        self._told = Told(self.change, 0, self.claim, "", (Tally(), Tally()))
        self._successes = 0
        self._opened_at: datetime | None = None
        self._now_ns = 0
        self._breaking = breaking
        self._machine = CircuitBreaker(
            fail_max=breaking.failures,
            reset_timeout=_NEVER_S,
            state_storage=self,
            throw_new_error_on_trip=False,
        )

    def follow(self, breaking: Breaking) -> None:
        """Hold to these bounds from now on."""
        self._breaking = breaking
        self._machine.fail_max = breaking.failures

    @property
    def seen_ns(self) -> int:
        """When this worker last learned of the target."""
        return max(self.failed.latest_ns, self.change.at_ns)

    # --- what happens ----------------------------------------------------------------------------

    def turn(self, now_ns: int) -> None:
        """Let the clock have its say.

        A half-open breaker that nobody tried closes on trial, and a row that ripened opens it.
        """
        self._now_ns = now_ns
        if self.change.until_ns and now_ns >= self._lapses_ns:
            self._alter(Change(self._lapses_ns, 0, True, self.change.fault))
        if self.state == STATE_CLOSED and self.counter >= self._breaking.failures:
            # At the instant from which it is so, which all workers work out alike.
            self._now_ns, self.fault = self._ripened
            self._machine.open()
            self.turn(now_ns)
        self._weigh()

    def succeed(self, now_ns: int, since_ns: int | None) -> bool:
        """Take an attempt's success; whether others are to know. `since_ns`: when it began."""
        if since_ns is not None:
            self.failed.end(since_ns)
        self.turn(now_ns)
        if not self._counts(since_ns):
            return False
        counted = self._is_failing(_FAILED) or self.change.until_ns > 0
        self.failed.succeed(now_ns)
        self._machine.call(_nothing)
        self._weigh()
        return counted

    def finish(self, now_ns: int, since_ns: int | None) -> bool:
        """Take a complete answer; whether others are to know. `since_ns`: when it began."""
        if since_ns is not None:
            self.cut.end(since_ns)
        self.turn(now_ns)
        if not self._counts(since_ns):
            return False
        counted = self._is_failing(_CUT)
        self.cut.succeed(now_ns)
        self._weigh()
        return counted

    def fail(self, now_ns: int, since_ns: int | None, fault: str) -> bool:
        """Take an attempt's failure; whether others are to know. `since_ns`: when it began."""
        is_cut = since_ns in self.cut.under_way
        if since_ns is not None:
            self.failed.end(since_ns)
            self.cut.end(since_ns)
        self.turn(now_ns)
        if not self._counts(since_ns):
            return False
        self.fault = fault
        most = self._breaking.failures
        for row in _ROWS if is_cut else (_FAILED,):
            floor_ns = self._floor_ns(self._parts(row))
            self._rows[row].fail(now_ns, since_ns, floor_ns, most)
        with suppress(_Failed):
            self._machine.call(_fail)
        self._weigh()
        return True

    def leave(self, now_ns: int, since_ns: int) -> bool:
        """Take an attempt that says nothing; whether others are to know."""
        self.failed.end(since_ns)
        self.cut.end(since_ns)
        dropped = self._drop_claim(now_ns, since_ns)
        if self.calm:
            return dropped
        # It may be what a row waited for.
        self.turn(now_ns)
        told = self._told
        return dropped or (self.change, self._tallies) != (told.change, told.rows)

    def cool(self, until_ns: int, fault: str) -> bool:
        """Leave the target alone until then at least; whether others are to know."""
        if until_ns <= self.cooled_ns:
            return False
        self.cooled_ns = until_ns
        self.fault = fault
        self._weigh()
        return True

    def close(self, now_ns: int) -> bool:
        """Close a half-open breaker for what was learned otherwise; whether it was one.

        On trial: that a provider is there does not say that it answers.
        """
        self.turn(now_ns)
        if self.state != STATE_HALF_OPEN:
            return False
        self._alter(Change(now_ns, 0, True, self.change.fault))
        self._weigh()
        return True

    def learn(self, now_ns: int, told: list[Told]) -> None:
        """Take what all other workers tell."""
        self._others = told
        self._alter(max((self.change, *(one.change for one in told))))
        self.cooled_ns = max((self.cooled_ns, *(one.cooled_ns for one in told)))
        self.turn(now_ns)

    @property
    def is_ahead(self) -> bool:
        """Whether nobody told yet what came of the clock, or what forgives others' failures."""
        told = max((self._told.change, *(one.change for one in self._others)))
        return self.change > told or any(
            self._told.rows[row].succeeded_ns < at < self._rows[row].succeeded_ns
            for row in _ROWS
            for one in self._others
            for at in one.rows[row].failures
        )

    # --- what is so ------------------------------------------------------------------------------

    @property
    def written(self) -> str:
        """The state as a policy writes it: `closed`, `half_open` or `open`."""
        return _NAMES[self.state]

    @property
    def is_closed(self) -> bool:
        """Whether attempts go there as usual."""
        return self.state == STATE_CLOSED

    @property
    def is_half_open(self) -> bool:
        """Whether one attempt may try."""
        return self.state == STATE_HALF_OPEN

    @property
    def is_open(self) -> bool:
        """Whether nobody may try."""
        return self.state == STATE_OPEN

    @property
    def is_cooling(self) -> bool:
        """Whether the provider asked for a pause that is not over."""
        return self._now_ns < self.cooled_ns

    @property
    def ends_ns(self) -> int:
        """When the target may be tried again, as far as known."""
        return max(self.change.until_ns, self.cooled_ns)

    @property
    def claimed_by_others(self) -> bool:
        """Whether another worker's attempt is trying the half-open target."""
        return any(self._holds(one.claim) for one in self._others)

    @property
    def is_claimed(self) -> bool:
        """Whether an attempt is trying the half-open target."""
        return self._holds(self.claim) or self.claimed_by_others

    def take_claim(self) -> None:
        """Let this worker's attempt be the one; it has as long as the breaker was open."""
        self.claim = Claim(self._now_ns, self._now_ns + self._cool_down_ns)

    def _drop_claim(self, now_ns: int, since_ns: int) -> bool:
        self._now_ns = now_ns
        if since_ns != self.claim.from_ns or not self._holds(self.claim):
            return False
        self.claim = Claim(self.claim.from_ns, now_ns)
        return True

    def told(self) -> Told:
        """What this worker tells the others."""
        self._told = Told(
            self.change,
            self.cooled_ns,
            self.claim,
            self.fault,
            self._tallies,
        )
        return self._told

    @property
    def is_worth_telling(self) -> bool:
        """Whether others could not know as much without it."""
        return bool(
            self.change.at_ns
            or self.cooled_ns
            or any(part.failures for row in _ROWS for part in self._parts(row))
        )

    @property
    def _tallies(self) -> tuple[Tally, Tally]:
        return self.failed.tally, self.cut.tally

    def _counts(self, since_ns: int | None) -> bool:
        """Whether the breaker learns from an attempt: what began before its last change is old."""
        if since_ns is not None and since_ns <= self.change.at_ns:
            return False
        if not self.change.until_ns:
            return True
        # An open breaker lets nobody in; a half-open one the attempt that claimed it.
        claimed_ns = self.claim.from_ns
        is_tried = self.state == STATE_HALF_OPEN and claimed_ns > self.change.at_ns
        return is_tried and (since_ns is None or since_ns >= claimed_ns)

    def _holds(self, claim: Claim) -> bool:
        return claim.from_ns > self.change.at_ns and self._now_ns < claim.until_ns

    @property
    def _cool_down_ns(self) -> int:
        return self._breaking.cool_down_us * 1_000

    @property
    def _lapses_ns(self) -> int:
        """When a breaker that nobody tried any more closes by itself."""
        claims = (self.claim, *(one.claim for one in self._others))
        tried = (claim.until_ns for claim in claims if claim.from_ns > self.change.at_ns)
        return max(self.ends_ns, *tried, 0) + self._cool_down_ns

    def _parts(self, row: int) -> list[Tally]:
        """All workers' parts of a row, this one's first."""
        return [self._rows[row].tally, *(one.rows[row] for one in self._others)]

    def _floor_ns(self, parts: list[Tally]) -> int:
        """What failed up to then is forgiven."""
        return max(self.change.at_ns, *(part.succeeded_ns for part in parts))

    def _is_failing(self, row: int) -> bool:
        """Whether a row has begun, ripe or not."""
        parts = self._parts(row)
        floor_ns = self._floor_ns(parts)
        return any(at > floor_ns for part in parts for at in part.failures[-1:])

    def _count(self, row: int) -> int:
        """The failures of a row that are ripe."""
        parts = self._parts(row)
        floor_ns = self._floor_ns(parts)
        count = sum(
            at > floor_ns for part in parts if part.ripe_ns <= self._now_ns for at in part.failures
        )
        if row == _FAILED and self._is_on_trial(floor_ns):
            count += self._breaking.failures - 1
        return count

    def _is_on_trial(self, floor_ns: int) -> bool:
        """Whether nothing succeeded since the breaker closed because nobody tried."""
        return self.change.on_trial and floor_ns == self.change.at_ns

    @property
    def _ripened(self) -> tuple[int, str]:
        """The latest instant at which anything came to count, and its fault."""
        faults = (self.fault, *(one.fault for one in self._others))
        return max(
            (max(part.ripe_ns, *part.failures), fault)
            for row in _ROWS
            for part, fault in zip(self._parts(row), faults, strict=True)
            if part.failures and part.ripe_ns <= self._now_ns
        )

    def _alter(self, change: Change) -> None:
        """Take a change; of what began before it nothing counts any more."""
        if change != self.change:
            self.change = change
            for row in self._rows:
                row.forget(change.at_ns)

    def _weigh(self) -> None:
        self.calm = not (
            self.change.until_ns
            or self.is_cooling
            or any(self._is_failing(row) for row in _ROWS)
            or self._is_on_trial(self._floor_ns(self._parts(_FAILED)))
            or self.is_ahead
        )

    # --- as pybreaker sees it --------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The breaker's state at the last instant that was told."""
        if not self.change.until_ns:
            return STATE_CLOSED
        return STATE_OPEN if self._now_ns < self.ends_ns else STATE_HALF_OPEN

    @state.setter
    def state(self, state: str) -> None:
        if state == STATE_OPEN:
            until_ns = self._now_ns + self._cool_down_ns
            self._alter(Change(self._now_ns, until_ns, False, self.fault))
            _log.warning("%s: its breaker opened after %s", self.name, self.fault)
        elif state == STATE_CLOSED:
            self._alter(Change(self._now_ns))

    @property
    def counter(self) -> int:
        """The failures that count, since the last success that any worker saw and the last change.

        Of two rows the longer one.
        """
        return max(self._count(row) for row in _ROWS)

    def increment_counter(self) -> None:
        """Nothing: `fail` has noted it."""

    def reset_counter(self) -> None:
        """Nothing: failures are forgotten by the instant of a success or a change."""

    @property
    def success_counter(self) -> int:
        """Successes since the breaker was half-open."""
        return self._successes

    def increment_success_counter(self) -> None:
        """Note one."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """Begin anew."""
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        """When the breaker opened by pybreaker's clock, which nobody asks."""
        return self._opened_at

    @opened_at.setter
    def opened_at(self, at: datetime) -> None:
        self._opened_at = at


class _Failed(Exception):
    """Tells pybreaker of a failure."""


def _nothing() -> None:
    return None


def _fail() -> None:
    raise _Failed
