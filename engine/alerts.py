"""Says once of each budget that its spend has passed a threshold, or is going to pass its limit.

One worker watches (the board's role `alerts`), about once a second, never on a request's path. What
was said is a row of the store, whose key decides who says it: over all workers and restarts it is
said once of a budget, somebody's spend and a stretch. It goes to the log and to whoever is to be
told (a webhook), tried again for up to a day.
Over 300 lines because what is due, what is said of it and how it is sent are one way.
"""

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import orjson

from turnout.dsl.core import Budget
from turnout.dsl.units import format_usd

from .board import Board
from .books import Books, Standing
from .costs import projected, told_instant
from .counter import Known, Whose
from .spent import Period, period_of
from .state.store import StoreError

_log = logging.getLogger("turnout.alerts")

ROLE = "alerts"
EVERY_S = 1.0
SHOWN_EVERY_S = 5.0
# Without new spend, only time can make a projection due; and the end of a stretch is looked at
# again so long after it, for what was written late.
_AGAIN_US = 60_000_000
USUAL = (5_000, 8_000, 10_000)  # thresholds of a budget without steps, in 10 000 of its limit
PROJECTED = "projected"
# A projection is said from so much of a stretch on, or of a limit.
LEAST_GONE, LEAST_USED = 10, 4  # a tenth, a quarter
_WHOLE = 10_000
_KEEP_TRYING_US = 86_400_000_000
_FIRST_PAUSE_US, _LONGEST_PAUSE_US = 1_000_000, 300_000_000
_AT_A_TIME = 100  # messages read from the store


class Watched(NamedTuple):
    """The budgets to watch, the zone that their stretches begin in, and known tenants."""

    timezone: str
    budgets: Sequence[Budget]
    tenants: frozenset[str] = frozenset()


class Used(NamedTuple):
    """What somebody has spent in a stretch; the two do not overlap."""

    settled_nano_usd: int
    unconfirmed_nano_usd: int

    @property
    def nano_usd(self) -> int:
        """What counts against budgets."""
        return self.settled_nano_usd + self.unconfirmed_nano_usd


class Alert(NamedTuple):
    """Something to say once; all but `used` and `projected_nano_usd` tell it from others.

    `what`: a share of the limit in per cent (`80%`), or `projected`.
    """

    scope: str
    tenant: str
    who: str
    stretch: Period
    budget: str
    limit_nano_usd: int
    what: str
    used: Used
    projected_nano_usd: int | None

    @property
    def id(self) -> str:
        """The same for the same alert, whoever says it."""
        key = "\0".join(map(str, (*self[:3], *self.stretch, *self[4:7])))
        return f"alert_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


class Message(NamedTuple):
    """An alert as it is sent; `number` is the store's."""

    number: int
    time_us: int
    body: bytes


class Bulletin(Protocol):
    """Where alerts are kept, and the spend that they are about. All methods block.

    Any of them may raise StoreError.
    """

    def spent(
        self, scope: str, stretch: Period, after: int, last: int
    ) -> list[tuple[str, str, int, int]]:
        """Who has spent how much in ledger rows after one, up to another.

        Tenant (of a team, user or key, else empty), who, settled, unconfirmed.
        """

    def last(self) -> int:
        """The newest row of the ledger."""

    def lost(self) -> list[tuple[str, str, str, Period, int]]:
        """What leases of ended workers may have spent: scope, tenant, who, stretch, nano-USD."""

    def post(self, alerts: Sequence[tuple[Alert, bytes]], now_us: int, is_sent: bool) -> list[bool]:
        """Keep those that nobody has said yet; whether each was new."""

    def unsent(self, most: int, besides: Collection[int] = ()) -> list[Message]:
        """Messages that were not sent, oldest first, without those of these numbers."""

    def sent(self, number: int, now_us: int) -> None:
        """Know that a message was sent, or is given up."""


class Messenger(Protocol):
    """Who tells somebody outside."""

    async def send(self, body: bytes) -> str | None:
        """Send JSON; None: it was taken, else why not, without an address. Never raises."""

    async def close(self) -> None:
        """Let go of connections."""


class Counted(Protocol):
    """Who counts what became of messages, and shows how budgets are."""

    def alerted(self, result: str) -> None:
        """One of `said`, `sent`, `failed` (a try), `given_up`."""

    def know(self, tenants: Collection[str]) -> None:
        """These are tenants that somebody declared."""

    def budget(self, name: str, tenant: str, parts: Mapping[str, int]) -> None:
        """How a budget of a tenant is: `limit settled unconfirmed reserved left`."""


# --- what is due ---------------------------------------------------------------------------------


def due(budget: Budget, whose: Whose, stretch: Period, used: Used, at_us: int) -> list[Alert]:
    """What is to be said of somebody's spend, lowest threshold first, said already or not."""
    limit = budget.limit_nano_usd
    if used.nano_usd <= 0:
        return []
    ahead = projected(used.nano_usd, stretch, at_us)
    shares = [share for share, _ in budget.steps] or USUAL
    reached = [share for share in shares if used.nano_usd * _WHOLE >= limit * share]
    whats = [_percent(share) for share in reached]
    gone, whole = at_us - stretch.from_us, stretch.to_us - stretch.from_us
    if (
        ahead is not None
        and ahead > limit > used.nano_usd
        and at_us < stretch.to_us
        and (gone * LEAST_GONE >= whole or used.nano_usd * LEAST_USED >= limit)
    ):
        whats.append(PROJECTED)
    return [
        Alert(budget.scope, *whose, stretch, budget.name, limit, what, used, ahead)
        for what in whats
    ]


def _percent(share: int) -> str:
    return f"{format_usd(share * 10_000_000)}%"  # thousandths as a decimal, exactly


def text_of(alert: Alert) -> str:
    """One line for people."""
    whose = f"{alert.scope} `{_one_line(alert.who)}`"
    if alert.tenant:
        whose += f" of the tenant `{_one_line(alert.tenant)}`"
    used, limit = format_usd(alert.used.nano_usd), format_usd(alert.limit_nano_usd)
    until = told_instant(alert.stretch.to_us)
    if alert.what == PROJECTED:
        ahead = _cents(alert.projected_nano_usd or 0)
        return (
            f"budget `{alert.budget}` of the {whose} is going to exceed its ${limit}: ${used} is "
            f"spent, ${ahead} projected by {until}"
        )
    return (
        f"budget `{alert.budget}` of the {whose} has reached {alert.what}: ${used} of ${limit} is "
        f"spent, and it resets at {until}"
    )


def _one_line(name: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name)


def _cents(nano_usd: int) -> str:
    """A projection: in whole cents from ten of them on, else with three digits of it."""
    cent = 10_000_000
    part = cent if nano_usd >= 10 * cent else 10 ** max(len(str(nano_usd)) - 3, 0)
    return format_usd(nano_usd // part * part)


def body_of(alert: Alert, gateway: str, now_us: int) -> bytes:
    """An alert as JSON, fit to be sent. `text` is what chats show."""
    share = None if alert.what == PROJECTED else alert.what
    ahead = alert.projected_nano_usd
    return orjson.dumps(
        {
            "id": alert.id,
            "type": "budget.alert",
            "text": text_of(alert),
            "budget": alert.budget,
            "scope": alert.scope,
            "tenant": alert.tenant or None,
            "who": alert.who,
            "what": "threshold" if share else PROJECTED,
            "share": share,
            "spent": format_usd(alert.used.nano_usd),
            "unconfirmed": format_usd(alert.used.unconfirmed_nano_usd),
            "limit": format_usd(alert.limit_nano_usd),
            "stretch": {
                "from": told_instant(alert.stretch.from_us),
                "to": told_instant(alert.stretch.to_us),
            },
            "projected": None if ahead is None else format_usd(ahead),
            "gateway": gateway,
            "time": told_instant(now_us),
        }
    )


# --- what was spent ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """The spend of one scope and stretch, by who; `changed` since it was looked at."""

    after: int = 0
    used: dict[Whose, Used] = field(default_factory=dict)
    changed: set[Whose] = field(default_factory=set)


class Tallies:
    """Running sums of the ledger; each look reads only the rows that are new."""

    def __init__(self, bulletin: Bulletin) -> None:
        """Know nothing yet."""
        self._bulletin = bulletin
        self._tallies: dict[tuple[str, Period], _Tally] = {}
        self._lost: dict[tuple[str, Period, Whose], int] = {}
        self._watched: Watched | None = None
        self._last = -1
        self._all_us = 0

    def look(self, watched: Watched, now_us: int) -> list[Alert]:
        """All that is due of what has changed since the last look. Blocks. Raises: StoreError."""
        last, lost = self._bulletin.last(), self._losses()
        looks_at_all = watched != self._watched or now_us - self._all_us >= _AGAIN_US
        if last == self._last and lost == self._lost and not looks_at_all:
            return []
        kinds = {budget.period for budget in watched.budgets}
        stretches: dict[str, Collection[Period]] = {
            kind: _stretches(kind, watched.timezone, now_us) for kind in kinds
        }
        wanted = {
            (budget.scope, stretch)
            for budget in watched.budgets
            for stretch in stretches[budget.period]
        }
        self._tallies = {key: self._tallies.get(key) or _Tally() for key in wanted}
        for (scope, stretch), tally in self._tallies.items():
            if tally.after == last:
                continue
            for tenant, who, settled, unconfirmed in self._bulletin.spent(
                scope, stretch, tally.after, last
            ):
                before = tally.used.get((tenant, who), Used(0, 0))
                tally.used[tenant, who] = Used(before[0] + settled, before[1] + unconfirmed)
                tally.changed.add((tenant, who))
            tally.after = last
        for scope, stretch, whose in {*lost, *self._lost}:
            if (tally_of := self._tallies.get((scope, stretch))) is not None:
                tally_of.used.setdefault(whose, Used(0, 0))
                tally_of.changed.add(whose)
        self._lost = lost
        found = list(self._due(watched.budgets, stretches, now_us, looks_at_all))
        # Only now, so that a look that broke is looked again.
        for tally in self._tallies.values():
            tally.changed.clear()
        self._last, self._watched = last, watched
        self._all_us = now_us if looks_at_all else self._all_us
        return found

    def _due(
        self,
        budgets: Sequence[Budget],
        stretches: Mapping[str, Collection[Period]],
        now_us: int,
        looks_at_all: bool,
    ) -> Iterable[Alert]:
        known = {
            key: Known(tally.used if looks_at_all else tally.changed)
            for key, tally in self._tallies.items()
        }
        for budget in budgets:
            for stretch in stretches[budget.period]:
                tally = self._tallies[budget.scope, stretch]
                for whose in known[budget.scope, stretch].about(budget):
                    used = tally.used[whose]
                    more = self._lost.get((budget.scope, stretch, whose), 0)
                    seen = Used(used.settled_nano_usd, used.unconfirmed_nano_usd + more)
                    yield from due(budget, whose, stretch, seen, now_us)

    def _losses(self) -> dict[tuple[str, Period, Whose], int]:
        found: dict[tuple[str, Period, Whose], int] = defaultdict(int)
        for scope, tenant, who, stretch, nano_usd in self._bulletin.lost():
            found[scope, stretch, (tenant, who)] += nano_usd
        return dict(found)


def _stretches(kind: str, timezone: str, now_us: int) -> Collection[Period]:
    """The present stretch of a kind, and the one before it while something may come late."""
    return {period_of(kind, at, timezone) for at in (now_us, now_us - _AGAIN_US)}


# --- the one who watches -------------------------------------------------------------------------


class Alerts:
    """Watches budgets as long as this worker leads, says what is due, and has it sent.

    A `Companion` of the gateway. Cost, once a second in a thread of its own: two short reads where
    nothing was spent.
    """

    name = "alerts"

    def __init__(
        self,
        watch: Callable[[], Watched],
        bulletin: Bulletin,
        board: Board,
        messenger: Messenger | None,
        counted: Counted,
        gateway: str,
        books: Books | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """Say it to the log, and to `messenger` where there is one; `gateway` names this one.

        `books` are where counters are shown from; None: none is shown.
        """
        self._watch = watch
        self._bulletin = bulletin
        self._board = board
        self._messenger = messenger
        self._counted = counted
        self._gateway = gateway
        self._books = books
        self._now_us = now_us
        self._tallies = Tallies(bulletin)
        self._said: dict[str, int] = {}  # when the stretch of each ends
        self._tries: dict[int, _Tries] = {}
        self._wakes = asyncio.Event()
        self._complained = False

    async def run(self) -> None:
        """Watch and send until cancelled."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._watching(), name="alerts watching")
                if self._messenger is not None:
                    both.create_task(self._sending(self._messenger), name="alerts sending")
        finally:
            if self._messenger is not None:
                await self._messenger.close()

    async def _watching(self) -> None:
        shown_at = float("-inf")
        while True:
            self._counted.know(self._watch().tenants)
            if self._board.leads(ROLE):
                try:
                    said = await asyncio.to_thread(self.look)
                    if time.monotonic() - shown_at >= SHOWN_EVERY_S:
                        shown_at = time.monotonic()
                        await asyncio.to_thread(self.show)
                except StoreError as error:
                    self._complain(error)
                else:
                    self._complained = False
                    if said:
                        self._wakes.set()
            await asyncio.sleep(EVERY_S)

    def look(self) -> int:
        """Say what is due and was not said; how much that was. Blocks. Raises: StoreError."""
        now_us = self._now_us()
        watched = self._watch()
        if not watched.budgets:
            return 0
        found = {one.id: one for one in self._tallies.look(watched, now_us)}
        fresh = [one for id, one in found.items() if id not in self._said]
        if not fresh:
            return 0
        posted = [(one, body_of(one, self._gateway, now_us)) for one in fresh]
        is_new = self._bulletin.post(posted, now_us, is_sent=self._messenger is None)
        # Of stretches that are long over nothing is looked at any more, and the store knows them.
        self._said = {
            id: to_us for id, to_us in self._said.items() if now_us < to_us + 2 * _AGAIN_US
        }
        self._said |= {one.id: one.stretch.to_us for one in fresh}
        for one, new in zip(fresh, is_new, strict=True):
            if new:
                self._counted.alerted("said")
                _log.warning("%s", text_of(one))
        return sum(is_new)

    def show(self) -> None:
        """Let those who count know how the budgets of tenants are. Blocks. Raises: StoreError."""
        watched, now_us = self._watch(), self._now_us()
        if self._books is None:
            return
        read: dict[str, dict[str, Standing]] = {}  # by kind of period, each once
        for budget in watched.budgets:
            if budget.scope != "tenant":
                continue
            if budget.period not in read:
                stretch = period_of(budget.period, now_us, watched.timezone)
                read[budget.period] = {
                    one.who: one for one in self._books.known("tenant", *stretch)
                }
            known, of = read[budget.period], budget.of
            whose = known.values() if of is None else (known[of],) if of in known else ()
            for one in whose:
                if one.who in watched.tenants:
                    parts = {
                        "limit": budget.limit_nano_usd,
                        "settled": one.settled_nano_usd,
                        "unconfirmed": one.unconfirmed_nano_usd,
                        "reserved": one.reserved_nano_usd,
                        "left": budget.limit_nano_usd - one.used_nano_usd - one.reserved_nano_usd,
                    }
                    self._counted.budget(budget.name, one.who, parts)

    # --- sending ---------------------------------------------------------------------------------

    async def _sending(self, messenger: Messenger) -> None:
        while True:
            if self._board.leads(ROLE):
                try:
                    await self.send(messenger)
                except StoreError as error:
                    self._complain(error)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._wakes.wait()
            except TimeoutError:
                pass
            self._wakes.clear()

    async def send(self, messenger: Messenger) -> None:
        """Send what waits and is due to be tried. Raises: StoreError."""
        await self._send_new(messenger)
        now_us = self._now_us()
        pausing = [number for number, tries in self._tries.items() if now_us < tries.due_us]
        for message in await asyncio.to_thread(self._bulletin.unsent, _AT_A_TIME, pausing):
            if not self._board.leads(ROLE):
                return
            await self._try(message, messenger)
            # Each may hang for a while: what was not tried yet waits for one of them at most.
            await self._send_new(messenger)

    async def _send_new(self, messenger: Messenger) -> None:
        """Send what nobody has tried yet, oldest first. Raises: StoreError."""
        tried = list(self._tries)
        for message in await asyncio.to_thread(self._bulletin.unsent, _AT_A_TIME, tried):
            if not self._board.leads(ROLE):
                return
            await self._try(message, messenger)

    async def _try(self, message: Message, messenger: Messenger) -> None:
        now_us = self._now_us()
        tries = self._tries.setdefault(message.number, _Tries())
        reason = await messenger.send(message.body)
        if reason is None:
            self._counted.alerted("sent")
        else:
            self._counted.alerted("failed")
            if now_us - message.time_us < _KEEP_TRYING_US:
                tries.failed(now_us)
                if tries.count == 1:
                    _log.warning("an alert could not be sent, trying again: %s", reason)
                return
            self._counted.alerted("given_up")
            _log.error("an alert is given up after a day: %s", reason)
        await asyncio.to_thread(self._bulletin.sent, message.number, now_us)
        self._tries.pop(message.number, None)

    def _complain(self, error: StoreError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("budgets cannot be watched at the moment: %s", error)


@dataclass(slots=True)
class _Tries:
    """How often a message was tried, and when again."""

    count: int = 0
    due_us: int = 0

    def failed(self, now_us: int) -> None:
        pause_us = min(_FIRST_PAUSE_US << min(self.count, 20), _LONGEST_PAUSE_US)
        self.count += 1
        self.due_us = now_us + pause_us
