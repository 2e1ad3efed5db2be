"""What `at` says of the clock: a moment as tests, logs and `policy explain` write it.

On the policy's own clock: `Sat 10:00`, `10:00`, `Sat`, `2026-03-27 14:30`, `2026-03-29`. An instant
anywhere: `2026-03-27T13:30:00Z`, `2026-03-27 14:30+01:00`; it is read on the policy's clock.
"""

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

from .units import parse_date, parse_time, parse_weekday

HELP = 'write `"Sat 10:00"`, `"2026-03-27 14:30"` or `"2026-03-27T13:30:00Z"`'

_EPOCH = date(1970, 1, 1)
_OFFSET = re.compile(r"\d(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", re.IGNORECASE)


def clock_at(at: str, timezone: str) -> dict[str, int]:
    """The clock's attributes at a moment, in this zone; what it does not say is not there.

    `time` is in minutes, `weekday` 0 to 6 from Monday, `date` in days since 1970-01-01.
    Raises: ValueError, a sentence for people.

    >>> clock_at("2026-07-01T20:30:00Z", "Europe/Berlin")
    {'time': 1350, 'weekday': 2, 'date': 20635}
    >>> clock_at("Sat 10:00", "Europe/Berlin")
    {'weekday': 5, 'time': 600}
    """
    if _INSTANT.match(at):
        try:
            moment = datetime.fromisoformat(at)
            local = moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(timezone))
            return clock_of(local)
        except OverflowError:
            raise ValueError(f"`{at}` is beyond the calendar") from None
        except ValueError:
            if _OFFSET.search(at):
                raise ValueError(f"`{at}` is no instant") from None
    elif _OFFSET.search(at) and ":" in at:
        raise ValueError(f"`{at}` has an offset and no date, so its day cannot be told")
    return _said(at)


def clock_of(local: datetime) -> dict[str, int]:
    """The clock's attributes at a moment that is in the right zone already."""
    return {
        "time": local.hour * 60 + local.minute,
        "weekday": local.weekday(),
        "date": (local.date() - _EPOCH).days,
    }


def _said(at: str) -> dict[str, int]:
    """The words of a moment on the policy's own clock, each in its turn."""
    moment: dict[str, int] = {}
    for word in at.replace("T", " ").split() if at[:1].isdigit() else at.split():
        if ":" in word:
            said = {"time": parse_time(word[:5] if word.count(":") == 2 else word)}
        elif "-" in word:
            day = parse_date(word)
            said = {"date": day, "weekday": weekday_of(day)}
        else:
            said = {"weekday": parse_weekday(word)}
        if said.keys() & moment.keys():
            raise ValueError(f"`{at}` says the {next(iter(said))} twice")
        moment |= said
    if not moment:
        raise ValueError("`at` is empty")
    return moment


def weekday_of(day: int) -> int:
    """The day of the week, 0 to 6 from Monday, of a day counted from 1970-01-01."""
    return (day + 3) % 7  # day 0 was a Thursday
