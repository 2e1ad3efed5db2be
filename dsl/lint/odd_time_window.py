"""A window of time that is not the stretch it seems to be.

`09:00..09:00` is empty: its end is not part of it. A window past midnight, together with weekdays,
takes its early hours from the wrong day: `Mon..Fri` and `22:00..06:00` has Monday's first six hours
and not Saturday's. An edge in the hour that the clocks skip in spring moves on that day.

Avoid:

    condition: weekday in Mon..Fri and time in 22:00..06:00

Prefer:

    condition: weekday in Mon..Fri and time >= 22:00 or weekday in Tue..Sat and time < 06:00
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from turnout.dsl import tree
from turnout.dsl.check import timezones
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.refusal import warning
from turnout.dsl.source import Span
from turnout.dsl.units import parse_time

from .written import conditions, parts

CODE = "RP401"
LEVEL: Severity = "warning"

_DAY = 24 * 60
_EPOCH = date(1970, 1, 1)


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Empty windows, windows past midnight beside weekdays, edges in the skipped hour."""
    gaps: tuple[_Gap, ...] = ()
    zone = policy.timezone
    if zone is not None and today is not None and zone.value in timezones():
        gaps = _gaps(zone.value, today)
    for condition in conditions(policy):
        for part in parts(condition):
            if isinstance(part, tree.Junction) and part.operator == "and":
                yield from _past_midnight(part)
            window = _window(part)
            if window is not None:
                yield from _empty(*window)
                yield from _skipped(*window, gaps)


def _window(part: object) -> tuple[int, int, Span] | None:
    """The minutes and the place of a `time in a..b`."""
    if not isinstance(part, tree.Membership) or not isinstance(part.collection, tree.Range):
        return None
    low, high = part.collection.low, part.collection.high
    if not (isinstance(low, tree.Literal) and isinstance(high, tree.Literal)):
        return None
    if low.kind != "time" or high.kind != "time":
        return None
    return parse_time(low.text), parse_time(high.text), part.collection.span


def _empty(start: int, end: int, span: Span) -> Iterator[Diagnostic]:
    if start == end:
        yield warning(
            CODE,
            f"the window `{span.text}` is empty: its end is not part of it",
            span,
            "write an end after the start; for the whole day leave the condition out",
        )


def _past_midnight(junction: tree.Junction) -> Iterator[Diagnostic]:
    days = next(filter(None, map(_weekdays, junction.operands)), None)
    if days is None:
        return
    for operand in junction.operands:
        window = _window(operand)
        if window is None or window[0] <= window[1] or window[1] == 0:
            continue
        start, end, span = window
        yield Diagnostic(
            CODE,
            LEVEL,
            f"`{span.text}` goes past midnight, and its hours before {_clock(end)} belong to the "
            "next weekday",
            span,
            f"write the two parts: `time >= {_clock(start)}` with these days, "
            f"`time < {_clock(end)}` with the days after",
            (Related("the days that are meant", days),),
        )


def _weekdays(operand: tree.Expression) -> Span | None:
    """Where an operand narrows the weekday, directly."""
    match operand:
        case tree.Membership(tree.Name("weekday")) | tree.Comparison(_, tree.Name("weekday")):
            return operand.span
        case _:
            return None


# A stretch of minutes that a day does not have: first, after the last, and which day.
_Gap = tuple[int, int, date]


def _skipped(start: int, end: int, span: Span, gaps: tuple[_Gap, ...]) -> Iterator[Diagnostic]:
    for first, after, day in gaps:
        if start == end:
            return
        is_inside = first <= start < end <= after
        if is_inside or first < start < after or first < end < after:
            yield warning(
                CODE,
                f"on {day} the clocks go from {_clock(first)} to {_clock(after)}, so `{span.text}` "
                + ("is left out that day" if is_inside else "has another length that day"),
                span,
                f"let it begin and end outside {_clock(first)}..{_clock(after)}",
            )


@lru_cache(maxsize=64)
def _gaps(zone: str, today: int) -> tuple[_Gap, ...]:
    """The stretches that the coming year's clock changes skip."""
    rules = ZoneInfo(zone)
    found: list[_Gap] = []
    start = datetime.combine(_EPOCH + timedelta(days=today), datetime.min.time(), UTC)
    for day in range(366):
        before, later = (start + timedelta(days=day + step) for step in (0, 1))
        old, new = (instant.astimezone(rules).utcoffset() for instant in (before, later))
        if old is None or new is None or new <= old:
            continue
        low, high = 0, _DAY  # the minute of UTC at which the offset changes
        while high - low > 1:
            middle = (low + high) // 2
            moved = (before + timedelta(minutes=middle)).astimezone(rules).utcoffset()
            low, high = (middle, high) if moved == old else (low, middle)
        local = (before + timedelta(minutes=high)).replace(tzinfo=None) + old
        first = local.hour * 60 + local.minute
        found.append((first, first + int((new - old).total_seconds()) // 60, local.date()))
    return tuple(found)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
