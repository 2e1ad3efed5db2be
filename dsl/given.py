"""A snapshot in the form of a log or a test, as short as it can be: the way back of `snapshot`.

Law: `read_given` of what comes out is the snapshot, for every key that the program may read.
"""

import re
from collections.abc import Mapping

from .core import Program
from .keys import attribute_of, written_key
from .schema import Type, Value
from .snapshot import read_given
from .units import (
    format_value,
    parse_date,
    parse_quantity,
    parse_time,
    parse_weekday,
    quote,
    unquote,
)

_CLOCK = ("date", "weekday", "time")
# A key that can stand as it is in a line; any other one is written as a condition has it.
_PLAIN_KEY = r"[\w.-]+(?:\([\w./:@+~-]*(?:, \d\w*)?\)(?:\.\w+)?)?"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = (
    rf"(?:(?P<call>[\w.]+)\((?P<argument>{_QUOTED})(?P<window>, \d\w*)?\)(?P<part>(?:\.\w+)?)"
    rf"|(?P<table>header|meta)\[(?P<entry>{_QUOTED})\]|(?P<plain>{_PLAIN_KEY}))"
)
_ITEM = re.compile(
    rf"at (?P<moment>[^,\"=]+)"
    rf"|{_KEY}(?: (?P<unknown>unknown)| = (?:(?P<text>{_QUOTED})|(?P<value>[^\s\"',]+)))"
)
_PLAIN = (Type.BOOL, Type.TEXT, Type.ENUM, Type.NUMBER)


def as_given(
    snapshot: Mapping[str, Value | None], program: Program
) -> dict[str, bool | int | str | None]:
    """Attribute names and values as the language writes them, the clock as `at`.

    What a snapshot by hand has without being said (no tools, the tier `default`, a declared prior)
    is left out, but for what is said to be unknown: that is None.
    """
    given: dict[str, bool | int | str | None] = {}
    if (tokens := snapshot.get("tokens")) is not None:
        given["tokens"] = tokens
    by_itself = read_given(given, program)
    for key in dict.fromkeys((*program.slots, *snapshot)):
        value = snapshot.get(key)
        if key in _CLOCK or value == by_itself[key] or key in given:
            continue
        given[key] = _written(key, value, program)
    moment = _moment(snapshot)
    if moment:
        given["at"] = moment
    # What follows from something else that is given (the target from the model) is said only
    # where it does not.
    for key in list(given):
        rest = {name: value for name, value in given.items() if name != key}
        if key not in ("at", "tokens") and read_given(rest, program)[key] == snapshot.get(key):
            given = rest
    derived = read_given(given, program)
    for key in program.slots:
        if key not in _CLOCK and derived[key] != snapshot.get(key):
            given[key] = _written(key, snapshot.get(key), program)
    return given


def said(given: Mapping[str, object]) -> str:
    """What is given, in one line.

    >>> said({"tokens": 80, "tier": "free", "p95(a/b)": "9s", "team": None, "at": "Sat 10:00"})
    'tokens = 80, tier = "free", p95(a/b) = 9s, team unknown, at Sat 10:00'
    """
    return ", ".join(_said(key, value) for key, value in given.items())


def heard(line: str) -> dict[str, str | None] | None:
    """What `said` said, every value but None as text; None where a line is of another form.

    >>> heard('tokens = 80, tier = "free", p95(a/b) = 9s, team unknown, at Sat 10:00')
    {'tokens': '80', 'tier': 'free', 'p95(a/b)': '9s', 'team': None, 'at': 'Sat 10:00'}
    >>> heard("tokens=80")
    """
    given: dict[str, str | None] = {}
    at = 0
    while (item := _ITEM.match(line, at)) is not None:
        key = "at" if item["moment"] else _key_of(item)
        if key in given:
            return None
        try:
            given[key] = item["moment"] or (
                item["value"] if item["text"] is None else unquote(item["text"][1:-1])
            )
        except ValueError:  # an escape that there is none of
            return None
        if item.end() == len(line):
            return given
        if not line.startswith(", ", item.end()):
            return None
        at = item.end() + 2
    return None


def _key_of(item: re.Match[str]) -> str:
    """The key of what is asked with a quoted text, or that stands as it is."""
    if item["plain"]:
        return item["plain"]
    if item["table"]:
        return f"{item['table']}.{unquote(item['entry'][1:-1])}"
    argument = unquote(item["argument"][1:-1])
    return f"{item['call']}({argument}{item['window'] or ''}){item['part']}"


def _said(key: str, value: object) -> str:
    if key == "at":
        return f"at {value}"
    if re.fullmatch(_PLAIN_KEY, key) is None:
        key = written_key(key)
    if value is None:
        return f"{key} unknown"
    if isinstance(value, bool):
        return f"{key} = {str(value).lower()}"
    if isinstance(value, str) and not _is_quantity(value):
        return f"{key} = {quote(value)}"
    return f"{key} = {value}"


def _is_quantity(text: str) -> bool:
    for read in (parse_quantity, parse_time, parse_weekday, parse_date):
        try:
            read(text)
        except ValueError:
            continue
        return True
    return False


def _written(key: str, value: Value | None, program: Program) -> bool | int | str | None:
    slot = program.slots.get(key)
    attribute = slot.attribute if slot else program.schema.attributes.get(attribute_of(key))
    if value is None or attribute is None or attribute.type in _PLAIN:
        return value
    return format_value(value, attribute.type)


def _moment(snapshot: Mapping[str, Value | None]) -> str:
    """The clock in words: `Sat 10:00`, `2026-03-27 14:30`; a weekday only where no date says it."""
    day, weekday, time = (snapshot.get(key) for key in _CLOCK)
    words = []
    if isinstance(day, int):
        words.append(format_value(day, Type.DATE))
    elif isinstance(weekday, int):
        words.append(format_value(weekday, Type.WEEKDAY))
    if isinstance(time, int):
        words.append(format_value(time, Type.TIME))
    return " ".join(words)
