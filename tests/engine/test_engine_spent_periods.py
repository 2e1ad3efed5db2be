"""The stretches of budgets, as properties: month ends, changes of the clocks, odd zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.engine.spent import Period, period_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# Ahead and behind by half and quarter hours, clocks that change by half an hour, at midnight, on
# other hemispheres' dates, and a zone that is a day ahead of the one beside it.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "America/Santiago",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "Atlantic/Azores",
]
KINDS = ["day", "week", "month"]


def us(*when: int, zone: str = "UTC") -> int:
    moment = datetime(*when, tzinfo=ZoneInfo(zone))  # type: ignore[misc, arg-type]
    return (moment - EPOCH) // timedelta(microseconds=1)


def local(at_us: int, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone))


zones = st.sampled_from(ZONES)
kinds = st.sampled_from(KINDS)
instants = st.integers(us(2015, 1, 1), us(2037, 1, 1))


@given(kinds, instants, zones)
@example("day", us(2026, 3, 29, 1), "Europe/Berlin")
@example("day", us(2026, 10, 25, 0, 30), "Europe/Berlin")
@example("day", us(2026, 4, 24), "Africa/Cairo")
@example("day", us(2026, 9, 6, 4), "America/Santiago")
@example("day", us(2026, 11, 1, 4, 30), "America/Havana")
@example("month", us(2024, 2, 29, 23, 59), "Pacific/Kiritimati")
@example("month", us(2026, 12, 31, 23, 59), "Pacific/Pago_Pago")
def test_an_instant_lies_in_its_stretch_and_the_next_one_begins_where_it_ends(
    kind: str, at_us: int, zone: str
) -> None:
    period = period_of(kind, at_us, zone)
    assert period.from_us <= at_us < period.to_us
    assert period_of(kind, period.from_us, zone) == period
    assert period_of(kind, period.to_us - 1, zone) == period
    assert period_of(kind, period.to_us, zone).from_us == period.to_us
    assert period_of(kind, period.from_us - 1, zone).to_us == period.from_us


@given(instants, zones)
def test_a_stretch_begins_on_the_calendars_first_day(at_us: int, zone: str) -> None:
    day, week, month = (period_of(kind, at_us, zone) for kind in KINDS)
    today = local(at_us, zone).date()
    assert local(day.from_us, zone).date() == today
    assert local(week.from_us, zone).weekday() == 0
    assert local(month.from_us, zone).date() == today.replace(day=1)
    assert local(month.to_us, zone).day == 1
    assert local(month.to_us - 1, zone).date().month == today.month


@given(instants, zones)
def test_days_make_up_weeks_and_months(at_us: int, zone: str) -> None:
    day, week, month = (period_of(kind, at_us, zone) for kind in KINDS)
    for longer in (week, month):
        assert longer.from_us <= day.from_us < day.to_us <= longer.to_us
    # A day that the clocks are changed in is longer or shorter, by an hour at most in these zones.
    assert abs(day.to_us - day.from_us - DAY_US) <= HOUR_US
    assert abs(week.to_us - week.from_us - 7 * DAY_US) <= HOUR_US


@pytest.mark.parametrize(
    ("year", "month", "days"),
    [(2024, 2, 29), (2025, 2, 28), (2026, 4, 30), (2026, 12, 31), (2100, 2, 28)],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Pacific/Chatham"])
def test_a_month_has_its_own_days_and_not_thirty(
    year: int, month: int, days: int, zone: str
) -> None:
    after = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
    whole = Period(us(year, month, 1, zone=zone), us(*after, zone=zone))
    for day in range(1, days + 1):
        assert period_of("month", us(year, month, day, 12, zone=zone), zone) == whole
    assert local(whole.to_us - 1, zone).day == days


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ((2026, 3, 29), "Europe/Berlin", 23),
        ((2026, 10, 25), "Europe/Berlin", 25),
        ((2026, 10, 4), "Australia/Lord_Howe", 23.5),
        ((2026, 4, 5), "Australia/Lord_Howe", 24.5),
        ((2026, 4, 24), "Africa/Cairo", 23),  # it has no midnight: it begins at one o'clock
        ((2026, 11, 1), "America/Havana", 25),  # it has two: it begins at the first
    ],
)
def test_a_day_in_which_the_clocks_are_changed_is_as_long_as_it_is(
    day: tuple[int, int, int], zone: str, hours: float
) -> None:
    period = period_of("day", us(*day, 12, zone=zone), zone)
    assert (period.to_us - period.from_us) / HOUR_US == hours
