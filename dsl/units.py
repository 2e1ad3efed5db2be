"""Numbers with units: between the text of the language and the integers of a snapshot.

The integer units are those of `schema.Type`; everything is exact, a value that is no whole number
of its unit is refused, never rounded. Errors are `ValueError` whose text is fit for a diagnostic.

What does not belong here: which type an attribute wants, and the conversions between types.

Over 300 lines because each kind of literal is read and written side by side.
"""

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING

from .core import LIMIT
from .schema import WEEKDAYS, Type, Value

if TYPE_CHECKING:
    from .tree import Literal

_AMOUNT = re.compile(r"(-?)(\$?)([0-9]+)(?:\.([0-9]+))?(.*)", re.DOTALL)
_PER = re.compile(
    r"\s*/\s*(?P<count>[0-9]{1,9})?\s*"
    r"(?:(?P<million>m|mio|million|mtok|mtoks|mtokens?)|(?P<thousand>k|ktok|ktoks|ktokens?)|t|tok)?"
    r"\s*(?:tok|toks|tokens?)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2})")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")

# suffix -> type, how many of the type's unit one of it is
_SUFFIXES: dict[str, tuple[Type, int]] = {
    "k": (Type.NUMBER, 1_000),
    "M": (Type.NUMBER, 1_000_000),
    "ms": (Type.DURATION, 1_000),
    "s": (Type.DURATION, 1_000_000),
    "m": (Type.DURATION, 60_000_000),
    "h": (Type.DURATION, 3_600_000_000),
    "d": (Type.DURATION, 86_400_000_000),
    "%": (Type.PERCENT, 100),
}
_DURATIONS = tuple((u, n) for u, (t, n) in _SUFFIXES.items() if t is Type.DURATION)

# what people write -> the suffix of the language
_MISSPELT = {
    "K": "k",
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "S": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "H": "h",
    "day": "d",
    "days": "d",
    "D": "d",
    "msec": "ms",
    "millis": "ms",
    "mil": "M",
    "million": "M",
    "%%": "%",
    "percent": "%",
    "pct": "%",
}
_FINEST = {
    Type.NUMBER: "a whole number",
    Type.DURATION: "a whole number of microseconds",
    Type.MONEY: "a whole number of nano-dollars",
    Type.RATE: "a whole number of nano-dollars per Mtok",
    Type.PERCENT: "a whole number of hundredths of a percent",
    Type.SCORE: "a whole number of ten-thousandths",
}
_UNITS_HELP = "units are k M, ms s m h d, %, and $ in front"


def parse_quantity(text: str) -> tuple[Type, int]:
    """Read a number with its unit, as a type and the integer of that type's unit.

    A bare whole number is a NUMBER, one with a point a SCORE. Raises ValueError.

    >>> parse_quantity("8k"), parse_quantity("800ms")
    ((<Type.NUMBER: 'number'>, 8000), (<Type.DURATION: 'duration'>, 800000))
    >>> parse_quantity("$5/Mtok"), parse_quantity("0.7")
    ((<Type.RATE: 'rate'>, 5000000000), (<Type.SCORE: 'score'>, 7000))
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"`{_shown(text)}` is not a number: write one such as `100` or `0.5`")
    sign, dollar, whole, fraction, suffix = match.groups()
    if dollar and suffix == "/Mtok":
        type_, factor = Type.RATE, 1_000_000_000
    elif dollar and not suffix:
        type_, factor = Type.MONEY, 1_000_000_000
    elif dollar:
        raise ValueError(
            f"`{_shown(text)}` is neither an amount nor a rate: "
            f"write {_meant_rate(whole, fraction or '', suffix)}"
        )
    elif not suffix:
        type_, factor = (Type.SCORE, 10_000) if fraction else (Type.NUMBER, 1)
    elif suffix in _SUFFIXES:
        type_, factor = _SUFFIXES[suffix]
    else:
        raise ValueError(_unknown_suffix(text, suffix))
    digits = whole + (fraction or "")
    if len(digits) > 60:
        raise ValueError(f"`{_shown(text)}` is too large")
    amount, rest = divmod(int(digits) * factor, 10 ** len(fraction or ""))
    if rest:
        raise ValueError(f"`{_shown(text)}` is not {_FINEST[type_]}: write fewer decimals")
    if amount > LIMIT:
        raise ValueError(f"`{_shown(text)}` is too large")
    return type_, -amount if sign else amount


def parse_time(text: str) -> int:
    """Read a time of day such as `09:00`, as the minute of the day. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"`{_shown(text)}` is not a time: write `09:00`")
    hour, minute = int(match[1]), int(match[2])
    if text == "24:00":
        raise ValueError("`24:00` is not a time: write `00:00`, ranges wrap at midnight")
    if hour > 23 or minute > 59:
        raise ValueError(f"`{text}` is not a time: they go from 00:00 to 23:59")
    if len(text) != 5:
        raise ValueError(f"`{text}` is not a time: write `{hour:02}:{minute:02}`")
    return hour * 60 + minute


def parse_date(text: str) -> int:
    """Read a day such as `2026-10-01`, as days since 1970-01-01. Raises ValueError."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"`{_shown(text)}` is not a date: write `2026-10-01`")
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise ValueError(
            f"`{text}` is not a day of the calendar: write one such as `2026-10-01`"
        ) from None
    return (day - _EPOCH).days


def parse_weekday(text: str) -> int:
    """Read a weekday such as `Sat`, Monday being 0. Raises ValueError."""
    if text in WEEKDAYS:
        return WEEKDAYS.index(text)
    close = text[:3].capitalize()
    hint = f"write `{close}`" if close in WEEKDAYS else f"they are {' '.join(WEEKDAYS)}"
    raise ValueError(f"`{_shown(text)}` is not a weekday: {hint}")


def literal_value(literal: "Literal") -> tuple[Type, Value]:
    """The type and value of a constant as written. Raises ValueError."""
    match literal.kind:
        case "time":
            return Type.TIME, parse_time(literal.text)
        case "date":
            return Type.DATE, parse_date(literal.text)
        case "string":
            return Type.TEXT, literal.text
        case "bool":
            return Type.BOOL, literal.text == "true"
        case _:
            return parse_quantity(literal.text)


def format_value(value: Value | None, type: Type) -> str:
    """A value as the language writes it; None is `unknown`.

    Law: reading the text again gives the value.

    >>> format_value(800_000, Type.DURATION), format_value(540, Type.TIME)
    ('800ms', '09:00')
    """
    if value is None:
        return "unknown"
    if type is Type.BOOL:
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    sign = "-" if value < 0 else ""
    size = abs(int(value))
    match type:
        case Type.DURATION:
            return sign + _format_duration(size)
        case Type.MONEY:
            return f"{sign}${_decimal(size, 9)}"
        case Type.RATE:
            return f"{sign}${_decimal(size, 9)}/Mtok"
        case Type.PERCENT:
            return f"{sign}{_decimal(size, 2)}%"
        case Type.SCORE:
            text = _decimal(size, 4)
            return sign + (text if "." in text else f"{text}.0")
        case Type.TIME:
            return f"{value // 60:02}:{value % 60:02}"
        case Type.WEEKDAY:
            return WEEKDAYS[value]
        case Type.DATE:
            return (_EPOCH + timedelta(days=value)).isoformat()
        case _:
            return str(int(value))


def format_usd(nano_usd: int) -> str:
    """Nano-dollars as a decimal number of dollars, without `$` and never with an exponent.

    >>> format_usd(20_000_000), format_usd(1), format_usd(3_000_000_000)
    ('0.02', '0.000000001', '3')
    """
    return ("-" if nano_usd < 0 else "") + _decimal(abs(nano_usd), 9)


def quote(text: str) -> str:
    """Text as a string of the language, in double quotes; `unquote` is its inverse."""
    return '"' + "".join(_ESCAPES.get(c) or _printable(c) for c in text) + '"'


def unquote(body: str) -> str:
    r"""The text that the inside of a string means: `\" \' \\ \n \t \r \uXXXX` are resolved.

    Raises ValueError for any other escape.
    """
    if "\\" not in body:
        return body
    return _ESCAPE.sub(_resolve, body)


_EPOCH = date(1970, 1, 1)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_MEANINGS = {'"': '"', "'": "'", "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.?)", re.DOTALL)


def _resolve(match: re.Match[str]) -> str:
    code = match[1]
    if code in _MEANINGS:
        return _MEANINGS[code]
    if len(code) > 1 and int(code[1:], 16) <= 0x10FFFF:
        return chr(int(code[1:], 16))
    raise ValueError(f"`\\{code}` is no escape: write `\\\\` for a backslash")


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _decimal(size: int, places: int) -> str:
    """A size of 10**-places units as a plain decimal number without trailing zeros."""
    whole, fraction = divmod(size, 10**places)
    return f"{whole}.{fraction:0{places}}".rstrip("0").rstrip(".") if fraction else str(whole)


def _format_duration(size_us: int) -> str:
    if size_us == 0:
        return "0s"
    for suffix, factor in reversed(_DURATIONS):
        if size_us % factor == 0:
            return f"{size_us // factor}{suffix}"
    return f"{_decimal(size_us, 3)}ms"


def _meant_rate(whole: str, fraction: str, suffix: str) -> str:
    """What to write for dollars per something that is not `Mtok`."""
    per = _PER.fullmatch(suffix)
    if per is None or not (per["million"] or per["thousand"] or per["count"]):
        amount = f"{whole}.{fraction}" if fraction else whole
        return f"`${amount}`, or `${amount}/Mtok` for a price per million tokens"
    times = 1 if per["million"] else 1_000 if per["thousand"] else 10**6
    tokens = int(per["count"] or 1)
    if len(whole + fraction) > 30 or not tokens:
        return "a price per million tokens, such as `$2.50/Mtok`"
    places = len(fraction) + 9
    size, rest = divmod(int(whole + fraction) * times * 10**9, tokens)
    exact = "" if rest else f"`${_decimal(size, places)}/Mtok`"
    return exact or "a price per million tokens, such as `$2.50/Mtok`"


def _unknown_suffix(text: str, suffix: str) -> str:
    number = text[: len(text) - len(suffix)]
    word = suffix.strip()
    if word.startswith((".", "_", ",", "'")):
        return f"`{_shown(text)}` is not a number: write one such as `1000` or `0.5`"
    known = word if word in _SUFFIXES else _MISSPELT.get(word)
    if known:
        return f"unknown unit `{_shown(suffix)}` in `{_shown(text)}`: write `{number}{known}`"
    return f"unknown unit `{_shown(word or suffix)}` in `{_shown(text)}`: {_UNITS_HELP}"


def _shown(text: str) -> str:
    """User text short enough for a message."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:37]}..."
