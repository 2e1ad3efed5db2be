"""What is known of one target's breaker, by this worker and by the others.

pybreaker is the state machine: it says what follows from a success and from a failure. This is the
storage that it works on. Its time is the caller's, so that a test can turn it by hand: an open
breaker is half-open by the clock alone, and closed again where nobody tried it.

Nothing here depends on the order in which workers hear of each other. The latest change wins, the
longest cool-down holds, and failures count where they are younger than anybody's last success.

Over 300 lines because what pybreaker asks of its storage stands beside what is kept in it.
"""

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

# The breaker's own clock is never asked: longer than any process lives, in seconds.
_NEVER_S = 1e9
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
    succeeded_ns: int
    fault: str
    failures: tuple[int, ...]


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
        self.succeeded_ns = 0
        self.fault = ""
        self._failures: list[int] = []
        self._others: list[Told] = []
        self._told = Told(self.change, 0, self.claim, 0, "", ())
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
        return max(self.succeeded_ns, self.change.at_ns, *self._failures[-1:])

    # --- what happens ----------------------------------------------------------------------------

    def turn(self, now_ns: int) -> None:
        """Let the clock have its say: a half-open breaker that nobody tried closes on trial."""
        self._now_ns = now_ns
        if self.change.until_ns and now_ns >= self._lapses_ns:
            self.change = Change(self._lapses_ns, 0, True, self.change.fault)
        self._weigh()

    def succeed(self, now_ns: int, since_ns: int | None) -> bool:
        """Take an attempt's success; whether others are to know. `since_ns`: when it began."""
        self.turn(now_ns)
        if not self._counts(since_ns):
            return False
        counted = self.counter > 0 or self.change.until_ns > 0
        self.succeeded_ns = now_ns
        self._failures.clear()
        self._machine.call(_nothing)
        self._weigh()
        return counted

    def fail(self, now_ns: int, since_ns: int | None, fault: str) -> bool:
        """Take an attempt's failure; whether others are to know. `since_ns`: when it began."""
        self.turn(now_ns)
        if not self._counts(since_ns):
            return False
        self.fault = fault
        with suppress(_Failed):
            self._machine.call(_fail)
        self._weigh()
        return True

    def cool(self, until_ns: int, fault: str) -> bool:
        """Leave the target alone until then at least; whether others are to know."""
        if until_ns <= self.cooled_ns:
            return False
        self.cooled_ns = until_ns
        self.fault = fault
        self._weigh()
        return True

    def close(self, now_ns: int) -> bool:
        """Close a half-open breaker for what was learned otherwise; whether it was one."""
        self.turn(now_ns)
        if self.state != STATE_HALF_OPEN:
            return False
        self._machine.call(_nothing)
        self._weigh()
        return True

    def learn(self, now_ns: int, told: list[Told]) -> None:
        """Take what all other workers tell."""
        self._others = told
        self.change = max((self.change, *(one.change for one in told)))
        self.cooled_ns = max((self.cooled_ns, *(one.cooled_ns for one in told)))
        self.turn(now_ns)
        if self.state == STATE_CLOSED and self.counter >= self._breaking.failures:
            # Nobody saw the last of them alone. All open it at the same instant.
            failed = [(at, one.fault) for one in told for at in one.failures]
            self._now_ns, self.fault = max(failed + [(at, self.fault) for at in self._failures])
            self._machine.open()
            self.turn(now_ns)

    @property
    def is_ahead(self) -> bool:
        """Whether nobody told yet what came of the clock, or what forgives others' failures."""
        told = max((self._told.change, *(one.change for one in self._others)))
        return self.change > told or any(
            self._told.succeeded_ns < at < self.succeeded_ns for at in self._others_failed()
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

    def drop_claim(self, now_ns: int, since_ns: int) -> bool:
        """End the claim of the attempt that began then; whether there was one."""
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
            self.succeeded_ns,
            self.fault,
            tuple(self._failures),
        )
        return self._told

    @property
    def is_worth_telling(self) -> bool:
        """Whether others could not know as much without it."""
        return bool(
            self.change.at_ns or self.cooled_ns or self._failures or any(self._others_failed())
        )

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

    def _others_failed(self) -> list[int]:
        return [at for one in self._others for at in one.failures]

    def _weigh(self) -> None:
        busy = self.change.until_ns or self.is_cooling or self.counter or self.is_ahead
        self.calm = not busy

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
            self.change = Change(self._now_ns, until_ns, False, self.fault)
        elif state == STATE_CLOSED:
            self.change = Change(self._now_ns)

    @property
    def counter(self) -> int:
        """The failures of all workers since anybody's last success and the last change."""
        floor_ns = max(
            self.change.at_ns, self.succeeded_ns, *(one.succeeded_ns for one in self._others)
        )
        count = sum(at > floor_ns for at in (*self._failures, *self._others_failed()))
        if self.change.on_trial and floor_ns == self.change.at_ns:
            count += self._breaking.failures - 1
        return count

    def increment_counter(self) -> None:
        """Note a failure; more than open the breaker need not be known."""
        self._failures = [*self._failures, self._now_ns][-self._breaking.failures :]

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
