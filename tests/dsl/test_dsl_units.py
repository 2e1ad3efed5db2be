import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl import units
from turnout.dsl.core import LIMIT
from turnout.dsl.schema import WEEKDAYS, Type, Value
from turnout.dsl.source import Source, Span
from turnout.dsl.tree import Literal
from turnout.dsl.units import (
    format_usd,
    format_value,
    literal_value,
    parse_date,
    parse_quantity,
    parse_time,
    parse_weekday,
    quote,
    unquote,
)

NOWHERE = Span(Source("t", ""), 0, 0)


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("100", Type.NUMBER, 100),
        ("0", Type.NUMBER, 0),
        ("007", Type.NUMBER, 7),
        ("-3", Type.NUMBER, -3),
        ("8k", Type.NUMBER, 8_000),
        ("1.5k", Type.NUMBER, 1_500),
        ("2M", Type.NUMBER, 2_000_000),
        ("0.7", Type.SCORE, 7_000),
        ("1.0", Type.SCORE, 10_000),
        ("800ms", Type.DURATION, 800_000),
        ("0.001ms", Type.DURATION, 1),
        ("2s", Type.DURATION, 2_000_000),
        ("5m", Type.DURATION, 300_000_000),
        ("1h", Type.DURATION, 3_600_000_000),
        ("1d", Type.DURATION, 86_400_000_000),
        ("$0.02", Type.MONEY, 20_000_000),
        ("$5", Type.MONEY, 5_000_000_000),
        ("$5/Mtok", Type.RATE, 5_000_000_000),
        ("$2.50/Mtok", Type.RATE, 2_500_000_000),
        ("5%", Type.PERCENT, 500),
        ("12.5%", Type.PERCENT, 1_250),
    ],
)
def test_a_number_reads_as_the_integer_of_its_unit(text: str, type_: Type, value: int) -> None:
    assert parse_quantity(text) == (type_, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a number"),
        ("two", "not a number"),
        ("2 parsecs", "unknown unit `parsecs`"),
        ("2 s", "write `2s`"),
        ("5min", "write `5m`"),
        ("8K", "write `8k`"),
        ("5 %", "write `5%`"),
        ("$5/1k", "write `$5000/Mtok`"),
        ("$5k", "neither an amount nor a rate"),
        ("0.70001", "not a whole number of ten-thousandths"),
        ("1.0005k", "not a whole number"),
        ("$0.0000000001", "not a whole number of nano-dollars"),
        ("0.0001ms", "not a whole number of microseconds"),
        ("9" * 50, "too large"),
        ("9" * 5000, "too large"),
        ("1e3", "unknown unit `e3`"),
        ("٣", "not a number"),
    ],
)
def test_what_is_not_a_number_with_a_unit_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_quantity(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "minute"), [("00:00", 0), ("09:00", 540), ("23:59", 1439), ("12:05", 725)]
)
def test_a_time_is_the_minute_of_the_day(text: str, minute: int) -> None:
    assert parse_time(text) == minute


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9:00", "write `09:00`"),
        ("24:00", "write `00:00`"),
        ("25:00", "from 00:00 to 23:59"),
        ("noon", "write `09:00`"),
    ],
)
def test_a_bad_time_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_time(text)
    assert message in str(caught.value)


def test_a_date_counts_days_from_1970() -> None:
    assert (parse_date("1970-01-02"), parse_date("2026-10-01")) == (1, 20_727)


@pytest.mark.parametrize("text", ["2026-02-30", "26-01-01", "tomorrow"])
def test_a_day_that_is_not_in_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_date(text)


def test_weekdays_start_on_monday() -> None:
    assert [parse_weekday(day) for day in WEEKDAYS] == list(range(7))


@pytest.mark.parametrize(
    ("text", "message"), [("Monday", "write `Mon`"), ("sat", "write `Sat`"), ("x", "Mon Tue")]
)
def test_a_bad_weekday_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_weekday(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "type_", "value"),
    [
        ("number", "100", Type.NUMBER, 100),
        ("number", "0.7", Type.SCORE, 7_000),
        ("quantity", "32k", Type.NUMBER, 32_000),
        ("money", "$0.02", Type.MONEY, 20_000_000),
        ("rate", "$5/Mtok", Type.RATE, 5_000_000_000),
        ("percent", "5%", Type.PERCENT, 500),
        ("time", "09:00", Type.TIME, 540),
        ("date", "2026-10-01", Type.DATE, 20_727),
        ("string", "free", Type.TEXT, "free"),
        ("bool", "true", Type.BOOL, True),
        ("bool", "false", Type.BOOL, False),
    ],
)
def test_a_literal_has_a_type_and_a_value(kind: str, text: str, type_: Type, value: Value) -> None:
    literal = Literal(kind, text, NOWHERE)  # type: ignore[arg-type]
    assert literal_value(literal) == (type_, value)


@pytest.mark.parametrize(
    ("value", "type_", "text"),
    [
        (None, Type.NUMBER, "unknown"),
        (True, Type.BOOL, "true"),
        (540, Type.TIME, "09:00"),
        (800_000, Type.DURATION, "800ms"),
        (812_345, Type.DURATION, "812.345ms"),
        (90_000_000, Type.DURATION, "90s"),
        (0, Type.DURATION, "0s"),
        (20_000_000, Type.MONEY, "$0.02"),
        (5_000_000_000, Type.RATE, "$5/Mtok"),
        (1_250, Type.PERCENT, "12.5%"),
        (7_000, Type.SCORE, "0.7"),
        (10_000, Type.SCORE, "1.0"),
        (5, Type.WEEKDAY, "Sat"),
        (20_727, Type.DATE, "2026-10-01"),
        ("free", Type.ENUM, '"free"'),
        ('a "b"\n', Type.TEXT, '"a \\"b\\"\\n"'),
    ],
)
def test_a_value_is_written_as_the_language_writes_it(
    value: Value | None, type_: Type, text: str
) -> None:
    assert format_value(value, type_) == text


@given(
    st.sampled_from([Type.NUMBER, Type.DURATION, Type.MONEY, Type.RATE, Type.PERCENT, Type.SCORE]),
    st.integers(-LIMIT, LIMIT) | st.integers(-(10**7), 10**7),
)
def test_what_is_written_reads_back(type_: Type, value: int) -> None:
    assert parse_quantity(format_value(value, type_)) == (type_, value)


@given(st.integers(0, 1439), st.integers(0, 6), st.integers(-700_000, 2_900_000))
def test_times_weekdays_and_dates_read_back(minute: int, weekday: int, day: int) -> None:
    assert parse_time(format_value(minute, Type.TIME)) == minute
    assert parse_weekday(format_value(weekday, Type.WEEKDAY)) == weekday
    assert parse_date(format_value(day, Type.DATE)) == day


@given(st.text())
def test_any_text_reads_back_from_its_quotes(text: str) -> None:
    quoted = quote(text)
    assert unquote(quoted[1:-1]) == text
    assert quoted.isprintable()


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    try:
        result = parse_quantity(text)
    except ValueError as problem:
        assert str(problem)
    else:
        assert abs(result[1]) <= LIMIT


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [(0, "0"), (20_000_000, "0.02"), (1, "0.000000001"), (-5, "-0.000000005"), (10**10, "10")],
)
def test_dollars_are_printed_without_sign_or_exponent(nano_usd: int, text: str) -> None:
    assert format_usd(nano_usd) == text


def test_the_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(units)
    assert (results.attempted > 0, results.failed) == (True, 0)
