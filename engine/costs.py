"""What was spent, of a stretch of time, as a document: arithmetic over sums of the ledger.

Pure: sums come from a `Spendings` (`engine/state/costs.py`), the clock from whoever asks. All money
is integer nano-USD until it is told. `turnout costs` and `GET /v1/costs` show the same document.
Over 300 lines because a question, its sums and the document made of them are read together.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from turnout.dsl.core import Budget
from turnout.dsl.units import format_usd

from .books import Loss
from .spent import Period, period_of, tenant_of

BY = ("day", "model", "target", "rule", "tenant", "team", "user", "key")
FILTERS = ("tenant", "team", "user", "key")
MOST_DAYS = 400  # of one question
MOST_ROWS = 10_000
ROWS = 1_000  # unless more are asked for

# Before a hundredth of a stretch is over, what follows from its spend says nothing of its end.
LEAST_SHARE = 100

# Beyond these there are days that have no month around them in every zone.
_FIRST_YEAR, _LAST_YEAR = 1970, 9_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
# Scopes of budgets, by the group or filter that names somebody of it. Budgets of a model count
# targets.
_SCOPES = {
    "key": "key",
    "user": "user",
    "team": "team",
    "target": "model",
    "tenant": "tenant",
}


class Unclear(Exception):
    """A question that cannot be answered; `param` is what is wrong in it."""

    def __init__(self, param: str, message: str) -> None:
        """Hold the parameter and a sentence that says what to write instead."""
        super().__init__(message)
        self.param = param
        self.message = message


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: ledger rows of `from_us` to `to_us` (UTC), grouped and filtered.

    `now_us`: what is spent after it is not known yet.
    """

    by: str
    from_us: int
    to_us: int
    now_us: int
    timezone: str
    filters: Mapping[str, str] = field(default_factory=dict)
    most_rows: int = ROWS

    @property
    def as_of_us(self) -> int:
        """Up to when something can have been spent."""
        return min(self.now_us, self.to_us)


class Sums(NamedTuple):
    """Ledger rows added up. `calls` counts attempts, copies and embeddings, not corrections.

    And what was answered from the cache: `recalled` requests, whose answers had used
    `recalled_in` and `recalled_out` tokens, and cost `saved_nano_usd`, when they were made. Nobody
    was paid for those; they are in none of the others.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_cache_write: int = 0
    tokens_reasoning: int = 0
    cost_nano_usd: int = 0
    unconfirmed_nano_usd: int = 0
    recalled: int = 0
    recalled_in: int = 0
    recalled_out: int = 0
    saved_nano_usd: int = 0

    @property
    def spent_nano_usd(self) -> int:
        """What counts against budgets."""
        return self.cost_nano_usd + self.unconfirmed_nano_usd


class Cell(NamedTuple):
    """The sums of one stretch, of what has this name in its group, paid by `gateway` or `caller`.

    `stretch` is its place among those that were asked for; `name` None where a row has none, and
    where nothing is grouped. `tenant`: whose team, user or key it is, where these are grouped.
    """

    stretch: int
    name: str | None
    payer: str
    sums: Sums
    tenant: str | None = None


_Name = tuple[str | None, str | None]  # of a row: whose team, user or key it is, and who or what
_NOBODY: _Name = (None, None)


class Spendings(Protocol):
    """Where sums of the ledger come from."""

    def cells(
        self, stretches: Sequence[Period], by: str | None, filters: Mapping[str, str]
    ) -> list[Cell]:
        """The sums of each stretch by a column of the ledger; None: of each as a whole.

        All of one moment. A cell may be told of in parts, which are to be added up.
        Blocks. Raises: StoreError.
        """

    def tenants(self, stretch: Period, filters: Mapping[str, str]) -> list[str]:
        """The tenants that a stretch has rows of, two of them at most; of these rows only.

        Blocks. Raises: StoreError.
        """


# --- the question --------------------------------------------------------------------------------


def ask(given: Mapping[str, str], timezone: str, now_us: int) -> Question:
    """A question from what somebody wrote: `by`, `since`, `until`, `month`, `limit`, filters.

    Without a time it is the present month of the zone. Raises: Unclear.
    """
    zone = zone_of(timezone)
    by = given.get("by", "day")
    if by not in BY:
        raise Unclear("by", f"`{by}` is no way to group: write {_or(BY)}")
    from_us, to_us = _stretch(given, zone, timezone, now_us)
    if from_us >= to_us:
        raise Unclear("until", "the time ends before it begins")
    if to_us - from_us > MOST_DAYS * 86_400_000_000:
        raise Unclear("since", f"write a time of at most {MOST_DAYS} days")
    limit = given.get("limit", str(ROWS))
    if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit[:9]) <= MOST_ROWS:
        raise Unclear("limit", f"write a number from 1 to {MOST_ROWS}")
    return Question(
        by,
        from_us,
        to_us,
        now_us,
        timezone,
        {name: given[name] for name in FILTERS if given.get(name)},
        int(limit),
    )


def zone_of(timezone: str) -> ZoneInfo:
    """A time zone by its name. Raises: Unclear."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unclear(
            "timezone", "write the name of a time zone, such as `Europe/Berlin` or `UTC`"
        ) from None


def _stretch(
    given: Mapping[str, str], zone: ZoneInfo, timezone: str, now_us: int
) -> tuple[int, int]:
    month, since, until = (given.get(name) for name in ("month", "since", "until"))
    if month is not None:
        if since is not None or until is not None:
            raise Unclear("month", "write either `month`, or `since` and `until`")
        try:
            first = _dated(date.fromisoformat(f"{month}-01"))
            whole = period_of("month", _midnight(first, zone), timezone)
            return whole.from_us, whole.to_us
        except (ValueError, OverflowError):
            raise Unclear("month", "write a month as in `2026-11`") from None
    present = period_of("month", now_us, timezone)
    from_us = present.from_us if since is None else _instant("since", since, zone, 0)
    to_us = _instant("until", until, zone, 1) if until is not None else None
    if to_us is None:
        to_us = max(present.to_us if since is None else now_us, from_us + 1)
    elif since is None:
        from_us = period_of("month", to_us - 1, timezone).from_us
    return from_us, to_us


def _instant(param: str, text: str, zone: ZoneInfo, days: int) -> int:
    """An instant, or the midnight at which a day of the zone begins, so many days later."""
    try:
        if len(text) == len("2026-11-01"):
            day = _dated(date.fromisoformat(text))
            return _midnight(day + timedelta(days=days), zone)
        moment = datetime.fromisoformat(text)
        _dated(moment.date())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return (moment - _EPOCH) // _US
    except (ValueError, OverflowError):
        raise Unclear(
            param, "write a day as in `2026-11-01`, or a moment as in `2026-11-01T14:30:00Z`"
        ) from None


def _dated(day: date) -> date:
    """A day that something can have been spent on. Raises: ValueError."""
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError("no year of a ledger")
    return day


def _midnight(day: date, zone: ZoneInfo) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // _US


def _or(names: Sequence[str]) -> str:
    told = [f"`{name}`" for name in names]
    return f"{', '.join(told[:-1])} or {told[-1]}"


# --- projections ---------------------------------------------------------------------------------


def projected(spent_nano_usd: int, stretch: Period, at_us: int) -> int | None:
    """What will be spent by the end of a stretch, if it goes on as it went until `at_us`.

    In nano-USD, rounded down; never less than was spent. None where too little of the stretch is
    over to say.

    >>> projected(30, Period(0, 100), 50), projected(30, Period(0, 100), 100)
    (60, 30)
    """
    whole = stretch.to_us - stretch.from_us
    gone = min(at_us, stretch.to_us) - stretch.from_us
    if gone <= 0 or gone * LEAST_SHARE < whole:
        return None
    return max(spent_nano_usd * whole // gone, spent_nano_usd)


def permille(part_nano_usd: int, whole_nano_usd: int) -> int | None:
    """A part in thousandths of a whole, rounded down: 1000 only where all of it is there."""
    return part_nano_usd * 1_000 // whole_nano_usd if whole_nano_usd > 0 else None


# --- the document --------------------------------------------------------------------------------


def statement(
    question: Question,
    budgets: Iterable[Budget],
    ledger: Spendings,
    losses: Iterable[Loss] = (),
) -> dict[str, Any]:
    """The answer to a question, as data; blocks. Raises: StoreError.

    Shape: `by timezone from to as_of filters rows total caller_paid more`. A row and `total` have
    `date` (a day, or the time of the question), `name` (of the group), `calls`, `tokens`, `cost`,
    `unconfirmed`, `budget` (`{name scope who period limit spent percent resets_at}` or None),
    `projected` and `projected_at`. Money is decimal USD. `spent` is what the row has used of the
    budget's stretch up to the end of the row's date: of a day all that came before it counts, too.
    A row of a team, user or key has its `tenant`: the same name may be one of several.
    What callers paid with keys of their own is in `caller_paid` alone, which has rows of its own.
    `more` says how many rows were left out. `lost` is what killed workers may have spent besides.
    """
    filters = dict(question.filters)
    whole = Period(question.from_us, question.to_us)
    implied = dict(filters)
    if question.by != "tenant" and "tenant" not in implied:
        there = ledger.tenants(whole, filters)
        if len(there) == 1:
            implied["tenant"] = there[0]
    sheet = _Sheet(question, list(budgets), implied)
    sheet.fill(ledger.cells(sheet.stretches, sheet.column, filters))
    rows = sheet.rows("gateway")
    theirs = sheet.rows("caller")
    kept = question.most_rows
    return {
        "object": "costs",
        "by": question.by,
        "timezone": question.timezone,
        "from": told_instant(question.from_us),
        "to": told_instant(question.to_us),
        "as_of": told_instant(question.as_of_us),
        "filters": filters,
        "rows": rows[:kept],
        "total": sheet.total("gateway"),
        "caller_paid": {"rows": theirs[:kept], "total": sheet.total("caller")},
        "lost": format_usd(sum(one.nano_usd for one in losses if _is_asked(question, one))),
        "more": max(len(rows) - kept, 0) + max(len(theirs) - kept, 0),
    }


def _is_asked(question: Question, loss: Loss) -> bool:
    """Whether a loss is of the question's time, and can only be of whom it asks about."""
    within = question.from_us <= loss.lost_us < question.to_us
    return within and all(
        (loss.tenant if name == "tenant" else loss.of(name)) == who
        for name, who in question.filters.items()
    )


def told_instant(us: int) -> str:
    """An instant in UTC, to the second."""
    moment = _EPOCH + timedelta(microseconds=us)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


class _Sheet:
    """Sums by stretch and name, from which rows are made."""

    def __init__(
        self, question: Question, budgets: list[Budget], implied: Mapping[str, str]
    ) -> None:
        self._asked = question
        self._budgets = budgets
        self._about: dict[tuple[str, str | None, str | None], list[Budget]] = defaultdict(list)
        for budget in budgets:  # a row looks at its own alone: there may be as many of both
            self._about[budget.scope, budget.tenant, budget.of].append(budget)
        self._implied = implied
        self._by_day = question.by == "day"
        self.column = None if self._by_day else question.by
        self._zone = ZoneInfo(question.timezone)
        self.stretches = self._stretches()
        self._cells: dict[tuple[str, _Name], dict[int, Sums]] = defaultdict(dict)

    def _stretches(self) -> list[Period]:
        """Stretches side by side, so that the question's time and each budget's are sums of some.

        They begin where the first stretch of a budget does that a row may be told of.
        """
        asked = self._asked
        kinds = {"month", *(budget.period for budget in self._budgets)}
        at = asked.from_us if self._by_day else max(asked.as_of_us - 1, asked.from_us)
        starts = [period_of(kind, at, asked.timezone).from_us for kind in kinds]
        cuts = {asked.from_us, asked.to_us, *starts}
        if self._by_day:
            cuts |= set(self._midnights(min(cuts), asked.to_us))
        return [Period(*both) for both in pairwise(sorted(cuts)) if both[1] <= asked.to_us]

    def _midnights(self, from_us: int, to_us: int) -> Iterable[int]:
        at = period_of("day", from_us, self._asked.timezone).to_us
        while at < to_us:
            yield at
            at = period_of("day", at, self._asked.timezone).to_us

    def fill(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            of = self._cells[cell.payer, (cell.tenant, cell.name)]
            there = of.get(cell.stretch)
            of[cell.stretch] = cell.sums if there is None else _added((there, cell.sums))

    def rows(self, payer: str) -> list[dict[str, Any]]:
        """By day in their order, else the dearest first."""
        if self._by_day:
            return [
                self._row(payer, _NOBODY, at, self._date(stretch.from_us, stretch.to_us))
                for at, stretch in enumerate(self.stretches)
                if stretch.from_us >= self._asked.from_us
                and at in self._cells.get((payer, _NOBODY), ())
            ]
        found = []
        for paid_by, name in self._cells:
            if paid_by == payer:
                sums = self._within(payer, name)
                if sums is not None:
                    order = (name[1] or "", name[0] or "")
                    rank = (-sums.spent_nano_usd, -sums.calls, -sums.recalled)
                    found.append((*rank, order, name))
        return [
            self._row(payer, name, None, self._whole_date)
            for *_, name in sorted(found, key=lambda one: one[:4])
        ]

    def total(self, payer: str) -> dict[str, Any]:
        """All rows together."""
        return self._told(
            payer,
            _NOBODY,
            _added(
                sums
                for (paid_by, _), by_stretch in self._cells.items()
                if paid_by == payer
                for at, sums in by_stretch.items()
                if self._is_asked(at)
            ),
            self._whole_date,
            self._implied,
            lambda from_us, to_us: self._all(payer, from_us, to_us),
            self._asked.as_of_us,
        )

    def _row(self, payer: str, whose: "_Name", at: int | None, date: str) -> dict[str, Any]:
        if at is None:
            sums, end_us = self._within(payer, whose) or Sums(), self._asked.as_of_us
        else:
            sums = self._cells[payer, whose][at]
            end_us = min(self.stretches[at].to_us, self._asked.as_of_us)
        tenant, name = whose
        about = dict(self._implied)
        if tenant is not None:
            about["tenant"] = tenant
        if self._asked.by in _SCOPES and name is not None:
            about = {**about, self._asked.by: name}
        return self._told(
            payer,
            (None, date) if at is not None else whose,
            sums,
            date,
            about,
            lambda from_us, to_us: self._of(payer, whose, from_us, to_us),
            end_us,
        )

    def _told(
        self,
        payer: str,
        name: "_Name",
        sums: Sums,
        date: str,
        about: Mapping[str, str],
        spent: "Spend",
        end_us: int,
    ) -> dict[str, Any]:
        ours = payer == "gateway"
        budget = self._budget(about, spent, end_us) if ours else None
        month = period_of("month", max(end_us - 1, 0), self._asked.timezone)
        stretch = month if budget is None else budget.stretch
        used = spent(stretch.from_us, end_us) if budget is None else budget.spent_nano_usd
        ahead = projected(used, stretch, end_us) if ours else None
        return {
            "date": date,
            "name": name[1],
            "tenant": name[0],
            "payer": payer,
            "calls": sums.calls,
            "tokens": {
                "input": sums.tokens_in,
                "output": sums.tokens_out,
                "cached": sums.tokens_cached,
                "cache_write": sums.tokens_cache_write,
                "reasoning": sums.tokens_reasoning,
            },
            "cost": format_usd(sums.cost_nano_usd),
            "unconfirmed": format_usd(sums.unconfirmed_nano_usd),
            "from_cache": {
                "calls": sums.recalled,
                "tokens": {"input": sums.recalled_in, "output": sums.recalled_out},
                "saved": format_usd(sums.saved_nano_usd),
            },
            "budget": None if budget is None else budget.told(),
            "projected": None if ahead is None else format_usd(ahead),
            "projected_at": None if ahead is None else told_instant(stretch.to_us),
        }

    def _budget(self, about: Mapping[str, str], spent: "Spend", end_us: int) -> "Used | None":
        """The budget of the narrowest scope that is about a row; of several, the fullest."""
        for group in (self._asked.by, *_SCOPES):
            if group not in about or group not in _SCOPES:
                continue
            if tenant_of(group, "any") and "tenant" not in about:
                continue  # of several tenants, which have a counter each
            scope, who = _SCOPES[group], about[group]
            tenants = dict.fromkeys((None, about.get("tenant")))
            used = [
                Used(
                    budget,
                    who,
                    stretch := period_of(budget.period, max(end_us - 1, 0), self._asked.timezone),
                    spent(stretch.from_us, end_us),
                )
                for tenant in tenants
                for of in (None, who)
                for budget in self._about.get((scope, tenant, of), ())
            ]
            if used:
                return max(used, key=lambda one: one.permille or 0)
        return None

    # --- sums ------------------------------------------------------------------------------------

    def _is_asked(self, at: int) -> bool:
        return self.stretches[at].from_us >= self._asked.from_us

    def _within(self, payer: str, name: "_Name") -> Sums | None:
        found = [s for at, s in self._cells[payer, name].items() if self._is_asked(at)]
        return _added(found) if found else None

    def _of(self, payer: str, name: "_Name", from_us: int, to_us: int) -> int:
        by_stretch = self._cells[payer, name]
        return sum(
            sums.spent_nano_usd
            for at, sums in by_stretch.items()
            if from_us <= self.stretches[at].from_us < to_us
        )

    def _all(self, payer: str, from_us: int, to_us: int) -> int:
        return sum(
            self._of(payer, name, from_us, to_us)
            for paid_by, name in self._cells
            if paid_by == payer
        )

    @property
    def _whole_date(self) -> str:
        return self._date(self._asked.from_us, self._asked.to_us)

    def _date(self, from_us: int, to_us: int) -> str:
        """The days of a stretch: `2026-11` where they are a month."""
        if period_of("month", from_us, self._asked.timezone) == (from_us, to_us):
            return self._local(from_us).isoformat()[:7]
        first, last = self._local(from_us), self._local(to_us - 1)
        return first.isoformat() if first == last else f"{first}..{last}"

    def _local(self, us: int) -> date:
        return (_EPOCH + timedelta(microseconds=us)).astimezone(self._zone).date()


class Spend(Protocol):
    """What a row has spent from an instant to another."""

    def __call__(self, from_us: int, to_us: int, /) -> int:
        """In nano-USD."""


@dataclass(frozen=True, slots=True)
class Used:
    """A budget, and what was spent of it in a stretch."""

    budget: Budget
    who: str
    stretch: Period
    spent_nano_usd: int

    @property
    def permille(self) -> int | None:
        """In thousandths of the limit."""
        return permille(self.spent_nano_usd, self.budget.limit_nano_usd)

    def told(self) -> dict[str, Any]:
        """As part of a row."""
        share = self.permille
        return {
            "name": self.budget.name,
            "scope": self.budget.scope,
            "who": self.who,
            "period": self.budget.period,
            "limit": format_usd(self.budget.limit_nano_usd),
            "spent": format_usd(self.spent_nano_usd),
            "percent": None if share is None else share / 10,
            "resets_at": told_instant(self.stretch.to_us),
        }


def _added(some: Iterable[Sums]) -> Sums:
    columns = list(zip(*some, strict=True))
    return Sums(*map(sum, columns)) if columns else Sums()
