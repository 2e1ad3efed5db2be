"""The attribute values that one request is decided on.

A snapshot is a mapping from slot key to value; a key that is missing or None is unknown. Integers
fit 64 bits: whoever fills a snapshot from outside leaves out what does not. A plain `Snapshot` is
data. The gateway's own subclass fills values in as they are first read.

Reading one from JSON (`read_snapshot`) is here too, since tests, logs and `explain` share the form.
Over 300 lines because the values and the words about what cannot be read stand side by side.
"""

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from .keys import ALIASES, key_of
from .moment import HELP as MOMENT_HELP
from .moment import clock_at, weekday_of
from .nearest import suggestion
from .schema import Attribute, Parameter, Type, Value
from .units import format_value, parse_date, parse_quantity, parse_time, parse_weekday, quote

if TYPE_CHECKING:
    from .core import Program

LARGEST = 2**63 - 1
# What a snapshot by hand means where it says nothing: an empty chat of a caller like any other.
BY_HAND: dict[str, Value] = {
    "request_type": "chat",
    "model": "auto",
    "messages": 1,
    "n": 1,
    "stream": False,
    "tenant": "default",
    "tier": "default",
}
_DOTTED = ("header", "meta")
_CLOCK = ("time", "weekday", "date")
_EXAMPLES = {
    Parameter.TARGET: "openai/gpt-4",
    Parameter.HEADER: "x-team",
    Parameter.META: "project",
    Parameter.SALT: "canary",
    Parameter.LIST: "words",
    Parameter.PATTERN: "^fix",
    Parameter.BUDGET: "team",
}
# What a live value of time is until there is traffic: the prior of this name.
_PRIORS = {"p95": "p95_us", "ttft.p50": "ttft_us", "ttft.p95": "ttft_us"}
_REQUESTED = "requested"


class Snapshot(dict[str, Value | None]):
    """Values by slot key; asking for a key that is not there gives None, the unknown.

    `reasons` says why a value is unknown, where that is known. `intervals` holds (low, high) of
    a count that was only bounded: its low end stands in the mapping.
    """

    __slots__ = ("intervals", "reasons")

    reasons: dict[str, str]
    intervals: dict[str, tuple[int, int]]

    def __init__(self, values: dict[str, Value | None] | None = None) -> None:
        """Start from values; None counts as unknown."""
        super().__init__(values or {})
        self.reasons = {}
        self.intervals = {}

    def __missing__(self, key: str) -> Value | None:
        """Unknown, until a subclass knows better."""
        return None


class SnapshotError(ValueError):
    """A snapshot that cannot be read: `key` is where, `help` what to write instead.

    `is_missing`: nothing is wrong with what was given, but a value is needed that was not (a log
    row is then undecidable).
    """

    def __init__(
        self, key: str, message: str, help: str | None = None, *, is_missing: bool = False
    ) -> None:
        """Hold what is wrong."""
        super().__init__(message)
        self.key = key
        self.message = message
        self.help = help
        self.is_missing = is_missing


def read_snapshot(
    data: Mapping[str, object], program: "Program", at: str | None = None
) -> Snapshot:
    """A snapshot by hand: `{"tokens": 80, "tier": "free", "p95(openai/gpt-4)": "9s"}`.

    A number means what a bare number means in a condition; what has a unit is text with its unit.
    None and what is missing is unknown, but the request's flags are those of an empty chat, and a
    caller has the tier and the tenant `default`. `at` is the moment, as `moment.clock_at` reads it:
    `"Sat 10:00"`, `"2026-03-27T13:30:00Z"`; a key `at` does the same, and `time`, `weekday` and
    `date` given by themselves win over it.
    Raises: SnapshotError; where `tokens` or the clock is read and not given it `is_missing`.
    """
    snapshot = read_given(data, program, at)
    require(snapshot, program.slots)
    return snapshot


def require(snapshot: Snapshot, keys: Iterable[str]) -> None:
    """Raise SnapshotError (`is_missing`) where `tokens` or the clock is among keys, not given."""
    for key in keys:
        if snapshot[key] is None and (key == "tokens" or key in _CLOCK):
            raise SnapshotError(
                key,
                f"the policy reads `{key}`, which is not given",
                'give `at`, such as `at: "Sat 10:00"`'
                if key in _CLOCK
                else "give `tokens`, such as `tokens: 80`",
                is_missing=True,
            )


def read_given(data: Mapping[str, object], program: "Program", at: str | None = None) -> Snapshot:
    """What `read_snapshot` reads, with `tokens` and the clock unknown where they are not given.

    Raises: SnapshotError where a value cannot be read.
    """
    attributes = program.schema.attributes
    snapshot = Snapshot({k: v for k, v in BY_HAND.items() if k in attributes})
    for name, attribute in attributes.items():
        if (
            attribute.type is Type.BOOL
            and attribute.always_known
            and attribute.parameter is Parameter.NONE
        ):
            snapshot[name] = False
    snapshot.update(read_said(data, program, at))
    _derive(snapshot, program)
    return snapshot


def read_said(
    data: Mapping[str, object], program: "Program", at: str | None = None
) -> dict[str, Value | None]:
    """The values that are given in so many words, by slot key; nothing is added to them.

    Raises: SnapshotError where a value cannot be read.
    """
    values: dict[str, Value | None] = {}
    moment = data.get("at", at)
    if moment is not None:
        values.update(_moment(str(moment), program))
    for written, value in data.items():
        if written == "at":
            continue
        key, read_as = _key(written, program)
        values[key] = None if value is None else _value(written, value, read_as)
    return values


def _key(written: str, program: "Program") -> tuple[str, Attribute]:
    """The slot key of a written key, and the attribute that says how to read its value."""
    attributes = program.schema.attributes
    if written == _REQUESTED:
        return _REQUESTED, Attribute(_REQUESTED, Type.TEXT, "")
    if written in program.slots:  # before anything in it is taken for a quote or a window
        return written, program.slots[written].attribute
    name, argument = _split(written, attributes)
    name = ALIASES.get(name, name)
    attribute = attributes.get(name)
    if attribute is None:
        help = _meant(written, name, argument, program)
        raise SnapshotError(written, f"unknown attribute `{name}`", help)
    if attribute.parameter is Parameter.NONE:
        if argument is not None:
            raise SnapshotError(written, f"`{name}` takes no argument", f"write `{name}`")
        return name, attribute
    if argument is None:
        example = key_of(attribute, _EXAMPLES[attribute.parameter])
        raise SnapshotError(written, f"`{name}` of what?", f"write `{example}`")
    if attribute.parameter is not Parameter.PATTERN:
        argument = argument.strip()
    argument = _unquoted(argument)
    window_us: int | None = None
    match attribute.parameter:
        case Parameter.HEADER | Parameter.META:
            argument = argument.lower()
        case Parameter.TARGET:
            argument, window_us = _windowed(written, argument, attribute)
            _close_by(written, argument, attribute, window_us, (*program.targets, _REQUESTED))
        case Parameter.LIST:
            _close_by(written, argument, attribute, None, program.lists)
        case Parameter.BUDGET:
            budgets = (budget.name for budget in program.budgets)
            _close_by(written, argument, attribute, None, budgets)
        case Parameter.SALT:
            salts = (s.argument or "" for s in program.slots.values() if s.attribute is attribute)
            _close_by(written, argument, attribute, None, salts)
        case _:
            pass
    return key_of(attribute, argument, window_us), attribute


def _split(written: str, attributes: Mapping[str, Attribute]) -> tuple[str, str | None]:
    """A written key as the attribute's name and what it is asked with."""
    for name in _DOTTED:
        if written.startswith(f"{name}.") and written not in attributes:
            return name, written.removeprefix(f"{name}.")
    for opening, closing in (("(", ")"), ("[", "]")):
        name, opened, rest = written.partition(opening)
        argument, closed, part = rest.rpartition(closing)
        if opened and closed and (not part or part.startswith(".")):
            return name.strip() + part.strip(), argument
    return written, None


def _meant(written: str, name: str, argument: str | None, program: "Program") -> str | None:
    """What a key whose attribute is not known was meant to be, what it is asked with kept."""
    attributes = program.schema.attributes
    aliases = {alias: attributes[one] for alias, one in ALIASES.items() if one in attributes}
    read = {slot.attribute.name for slot in program.slots.values()}
    known = {
        one: attribute
        for one, attribute in {**attributes, **aliases}.items()
        if not attribute.hidden or one in read
    }
    if argument is None:
        head, dot, rest = written.partition(".")
        help = suggestion(name, (*known, "at"))
        return help or (suggestion(head, _DOTTED, lambda one: f"{one}.{rest}") if dot else None)

    def asked(one: str) -> str:
        if known[one].parameter in (Parameter.HEADER, Parameter.META, Parameter.BUDGET):
            return key_of(known[one], argument)
        return f"{one}({argument})"

    taking = [one for one in known if known[one].parameter is not Parameter.NONE]
    return suggestion(name, taking, asked) or suggestion(name, known)


def _unquoted(argument: str) -> str:
    is_quoted = len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'"
    return argument[1:-1] if is_quoted else argument


def _windowed(written: str, argument: str, attribute: Attribute) -> tuple[str, int | None]:
    """The target of a live value, and its window where one is written: `openai/gpt-4, 5m`."""
    target, comma, window = argument.rpartition(",")
    if not comma or not attribute.windowed:
        return argument, None
    try:
        found, window_us = parse_quantity(window.strip())
    except ValueError as error:
        raise SnapshotError(written, *_told(error)) from None
    if found is not Type.DURATION:
        raise SnapshotError(written, f"`{window.strip()}` is not a duration", "write it as `5m`")
    return _unquoted(target.strip()), window_us


def _close_by(
    written: str,
    argument: str,
    attribute: Attribute,
    window_us: int | None,
    known: Iterable[str],
) -> None:
    """Refuse what is most likely misspelt; what the policy does not name at all does no harm."""
    names = tuple(known)
    if argument in names:
        return
    help = suggestion(argument, names, lambda close: key_of(attribute, close, window_us))
    if help is not None:
        what = "target" if attribute.parameter is Parameter.TARGET else attribute.parameter.value
        raise SnapshotError(written, f"the policy names no {what} `{argument}`", help)


def _value(key: str, value: object, attribute: Attribute) -> Value:
    """One value in the unit of its attribute."""
    if attribute.type is Type.BOOL:
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise SnapshotError(key, f"`{key}` is true or false, not `{value}`", "write `true`")
        return truth
    if attribute.type in (Type.TEXT, Type.ENUM):
        return _text(key, value, attribute)
    try:
        number = _number(value, attribute.type)
    except ValueError as error:
        message, fix = _told(error)
        fix = fix or _example(key, attribute.type)
        raise SnapshotError(key, message, fix) from None
    if abs(number) > LARGEST:
        raise SnapshotError(key, f"`{value}` is too large", _example(key, attribute.type))
    if attribute.minimum is not None and number < attribute.minimum:
        least = format_value(attribute.minimum, attribute.type)
        raise SnapshotError(key, f"`{key}` is never below {least}", _example(key, attribute.type))
    if attribute.parameter is Parameter.SALT and number > (attribute.maximum or LARGEST):
        raise SnapshotError(key, f"`{key}` is a number of 0 to 9999", f"write `{key}: 9999`")
    return number


def _told(error: ValueError) -> tuple[str, str | None]:
    """What is wrong, and what to write instead where the error knows it."""
    message, separator, fix = str(error).partition(": write ")
    return message, f"write {fix}" if separator and fix.startswith("`") else None


def _text(key: str, value: object, attribute: Attribute) -> str:
    if not isinstance(value, str):
        raise SnapshotError(
            key, f"`{key}` is text, not `{str(value).lower()}`", f"write `{quote(str(value))}`"
        )
    if attribute.domain is not None and value not in attribute.domain:
        raise SnapshotError(
            key,
            f"`{key}` is never `{quote(value)}`",
            suggestion(value, attribute.domain) or f"it is one of {', '.join(attribute.domain)}",
        )
    return value


def _number(value: object, wanted: Type) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"`{text.lower()}` is not a number")
    match wanted:
        case Type.TIME if isinstance(value, str):
            return parse_time(text)
        case Type.WEEKDAY:
            return parse_weekday(text)
        case Type.DATE:
            return parse_date(text)
    if isinstance(value, float):
        text = _plain_decimal(value)
    found, number = parse_quantity(text)
    if found is wanted:
        return number
    if wanted is Type.SCORE and found is Type.NUMBER:
        return number * 10_000
    if wanted is Type.NUMBER and found is Type.SCORE and number % 10_000 == 0:
        return number // 10_000
    if found in (Type.NUMBER, Type.SCORE) and wanted not in (Type.NUMBER, Type.SCORE):
        raise ValueError(f"`{text}` lacks a unit")
    raise ValueError(f"`{text}` is not of the right kind")


def _plain_decimal(value: float) -> str:
    try:
        return f"{Decimal(repr(value)):f}"
    except (InvalidOperation, ValueError):
        raise ValueError(f"`{value}` is not a number") from None


def _example(key: str, wanted: Type) -> str:
    examples: dict[Type, Value] = {
        Type.DURATION: 800_000,
        Type.MONEY: 20_000_000,
        Type.RATE: 5_000_000_000,
        Type.PERCENT: 500,
        Type.SCORE: 7_000,
        Type.TIME: 540,
        Type.WEEKDAY: 0,
        Type.DATE: 20_727,
    }
    example = format_value(examples.get(wanted, 80), wanted)
    return f"write `{key}: {example}`"


def _moment(at: str, program: "Program") -> dict[str, int]:
    try:
        return clock_at(at, program.timezone)
    except ValueError as error:
        raise SnapshotError("at", _told(error)[0], MOMENT_HELP) from None


def _derive(snapshot: Snapshot, program: "Program") -> None:
    """What follows from the values given: a day's name, the target asked for, the priors.

    Live values are those of a cold gateway: the prior that the target declares, or unknown.
    """
    day = snapshot["date"]
    if isinstance(day, int):
        snapshot.setdefault("weekday", weekday_of(day))
    model = snapshot["model"]
    requested = snapshot[_REQUESTED]
    if requested is None and _REQUESTED not in snapshot and isinstance(model, str):
        requested = program.models.get(model, model if model in program.targets else None)
        if _REQUESTED not in program.slots:
            pass  # a live value of it may be asked for, it itself is not
        elif requested is not None:
            snapshot[_REQUESTED] = requested
        else:
            snapshot.reasons[_REQUESTED] = "the client left the choice to the policy"
    for key, slot in program.slots.items():
        if key in snapshot:
            continue
        name = requested if slot.argument == _REQUESTED else slot.argument
        row = program.targets.get(str(name))
        match slot.attribute.name:
            case "p95" | "ttft.p50" | "ttft.p95" as measure:
                prior = None if row is None else getattr(row.expected, _PRIORS[measure])
                if prior is not None:
                    snapshot[key] = prior
            case "healthy":
                snapshot[key] = True
            case "rate_limited":
                snapshot[key] = False
            case "breaker":
                snapshot[key] = "closed"
            case "inflight":
                snapshot[key] = 0
            case "bucket" if isinstance(session := snapshot["session"], str):
                snapshot[key] = bucket(slot.argument or "", session)
            case "expected_output":
                _expect_output(snapshot, key, None if row is None else row.expected.output)
            case _:
                pass


def _expect_output(snapshot: Snapshot, key: str, prior: int | None) -> None:
    bounds = [v for v in (prior, snapshot["max_tokens"]) if isinstance(v, int)]
    if bounds:
        snapshot[key] = min(bounds)
    else:
        snapshot.reasons[key] = "neither `max_tokens` nor a declared `expected: {output: …}`"


def bucket(salt: str, kept_by: str) -> int:
    """The bucket, 0..9 999, of a session (a hash already) for a salt; SQL can compute it, too."""
    digest = hashlib.sha256(f"{salt}\0{kept_by}".encode()).hexdigest()
    return int(digest[:15], 16) % 10_000
