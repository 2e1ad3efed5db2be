"""Recorded requests as a program sees them: rows of a log (JSON) and records of our journal.

A row of a log is a snapshot as tests write it, and may say beside it what became of the request:
`rule`, `target`, `cost`, `output_tokens`, `id`. The same words are read the same way as in a test
(law: tests/engine/test_engine_simulate.py); what was read once is remembered, which makes it fast.
Over 300 lines because what is kept of a request in either place means the same.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from turnout.dsl.classes import TextClasses, text_classes
from turnout.dsl.core import Program
from turnout.dsl.moment import HELP, clock_at, clock_of
from turnout.dsl.schema import Attribute, Parameter, Type, Value
from turnout.dsl.snapshot import LARGEST, SnapshotError, read_given
from turnout.dsl.units import parse_quantity

from . import tokens
from .record import DecisionRecord, PulseTable
from .replay import Past, Replay, Row
from .savings import was_saved

_PAST_KEYS = frozenset({"rule", "route", "target", "cost", "output_tokens", "id"})
_CLOCK = ("time", "weekday", "date")
# Read whether or not a condition does: prices, buckets and what was asked for are made of them.
_ALWAYS = frozenset(
    {"tokens", "max_tokens", "model", "requested", "request_type", "session", "user", "tenant"}
)
_SIZED = (Type.DURATION, Type.MONEY, Type.PERCENT, Type.RATE)
_MOST_REMEMBERED = 100_000
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT = object()


class RowError(ValueError):
    """A row that cannot be read; the text is one sentence for people."""


def past_of(data: Mapping[str, Any]) -> Past:
    """What a row of a log says of what became of it. Raises: RowError."""
    rule = data.get("rule")
    target = data.get("target")
    if target is None:
        target = data.get("route")
        if not isinstance(target, str):  # a route of several targets names none
            target = None
    for key, word in (("rule", rule), ("target", target)):
        if word is not None and not isinstance(word, str):
            raise RowError(f"`{key}` is text, not `{_shown(word)}`")
    return Past(
        rule=rule,
        target=target,
        cost=_money(data.get("cost")),
        output=_count(data.get("output_tokens")),
        names_rule="rule" in data,
    )


def _money(value: object) -> int | None:
    if value is None:
        return None
    try:
        found, amount = parse_quantity(value) if isinstance(value, str) else (None, 0)
    except ValueError as error:
        raise RowError(f"`cost`: {error}") from None
    if found is not Type.MONEY:
        raise RowError(f'`cost` is money, not `{_shown(value)}`: write `"cost": "$0.02"`')
    return amount


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise RowError(f"`output_tokens` is a whole number, not `{_shown(value)}`")
    return value


def _shown(value: object, most: int = 40) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


class JsonRows:
    """Reads the rows of a log for one program.

    `ignored` counts the keys that are no attributes, and so were left out.
    """

    def __init__(self, replay: Replay) -> None:
        """Learn the keys of the log as they come."""
        program = replay.program
        self._replay = replay
        self._program = program
        self._reads_clock = any(name in program.slots for name in _CLOCK)
        self._blank = read_given({}, program)
        self._known: dict[str, tuple[str, Attribute | None] | None] = {}
        self._values: dict[tuple[str, object, object], Value | None] = {}
        self.ignored: Counter[str] = Counter()

    def read(self, data: Mapping[str, Any]) -> Row:
        """The values of a row. Raises: RowError."""
        row = Row(self._replay)
        known, ignored = self._known, self.ignored
        try:
            if self._reads_clock and data.get("at") is not None:
                row.update(self._clock(str(data["at"])))
            for written, value in data.items():
                try:
                    entry = known[written]
                except KeyError:
                    entry = self._learn(written)
                if entry is None:
                    continue
                key, attribute = entry
                if attribute is None:
                    ignored[written] += 1
                elif value is None:
                    row[key] = None
                elif (
                    attribute.type is Type.NUMBER
                    and value.__class__ is int
                    and (attribute.minimum or 0) <= value <= (attribute.maximum or LARGEST)
                ):
                    row[key] = value
                else:
                    row[key] = self._value(written, key, value, attribute)
        except SnapshotError as error:
            help = f": {error.help}" if error.help else ""
            raise RowError(f"{_shown(error.message, 200)}{help}") from None
        request_id = data.get("id")
        row.request_id = request_id if isinstance(request_id, str) else None
        return row

    def _clock(self, at: str) -> dict[str, int]:
        try:
            return clock_at(at, self._program.timezone)
        except ValueError as error:
            what = str(error).partition(": write ")[0]
            raise RowError(f"{_shown(what, 200)}: {HELP}") from None

    def _learn(self, written: str) -> tuple[str, Attribute | None] | None:
        """The slot key and the attribute of a key; None where the program does not need it."""
        entry = self._entry(written)
        if len(self._known) < _MOST_REMEMBERED:
            self._known[written] = entry
        return entry

    def _entry(self, written: str) -> tuple[str, Attribute | None] | None:
        if written in _PAST_KEYS or written == "at":
            return None
        try:
            read = read_given({written: None}, self._program)
        except SnapshotError:
            # What is asked of a target that this policy does not name is an attribute all the same.
            name = written.partition("(")[0].partition("[")[0].strip()
            return None if name in self._program.schema.attributes else (written, None)
        keys = [
            key
            for key, value in read.items()
            if value is None and self._blank.get(key, _ABSENT) is not None
        ]
        if len(keys) != 1:
            return None
        key = keys[0]
        attributes = self._program.schema.attributes
        slot = self._program.slots.get(key)
        if slot is not None:
            return key, slot.attribute
        attribute = attributes.get(key) or attributes.get(key.partition("(")[0])
        if key == "requested":
            attribute = Attribute(key, Type.TEXT, "")
        if attribute is None:
            return None
        is_needed = key in _ALWAYS or attribute.live or attribute.name == "expected_output"
        is_clock = key == "date" and self._reads_clock
        return (key, attribute) if is_needed or is_clock else None

    def _value(self, written: str, key: str, value: object, attribute: Attribute) -> Value | None:
        if attribute.type in _SIZED and isinstance(value, str):
            found = _quantity(value, attribute)
            if found is not None:
                return found
        try:
            place = (written, value.__class__, value)
            return self._values[place]
        except (KeyError, TypeError):  # not seen yet; a list or an object
            read = read_given({written: value}, self._program)[key]
        if value.__hash__ is not None:
            if len(self._values) >= _MOST_REMEMBERED:
                self._values.clear()
            self._values[place] = read
        return read


def _quantity(text: str, attribute: Attribute) -> int | None:
    """The plain case of a number with its unit, without the words for what is wrong."""
    try:
        found, number = parse_quantity(text)
    except ValueError:
        return None
    least = -LARGEST if attribute.minimum is None else attribute.minimum
    return number if found is attribute.type and least <= number <= LARGEST else None


class JournalRows:
    """Reads the records of our journal for one program.

    `converted` counts the rows whose tokens were known as an interval that the program tells apart:
    there the provider's own count stands in. `policy_of` gives the program that decided then, for
    what a record keeps only as far as that program told it apart.
    """

    def __init__(self, replay: Replay, policy_of: Callable[[str], Program | None]) -> None:
        """Read for this program."""
        self._replay = replay
        self._program = replay.program
        self._zone = ZoneInfo(replay.program.timezone)
        self._policy_of = policy_of
        self._dropped: dict[str, frozenset[str]] = {}
        self.converted = 0

    def read(self, record: DecisionRecord, pulse: PulseTable | None, past: Past) -> Row:
        """The values of a record; `past` is what `past_of_record` says of it."""
        row = Row(self._replay, record.values)
        row.request_id = record.id
        for key in self._not_comparable(record.digest):
            row.pop(key, None)
        if row.get("session") is None:
            row["session"] = record.session_hash
        if pulse is not None:
            row.live = pulse.values
        instant = _EPOCH_UTC + timedelta(microseconds=record.received_us)
        row.update(clock_of(instant.astimezone(self._zone)))
        interval = record.intervals.get("tokens")
        if interval is not None and record.digest != self._program.digest:
            cuts = self._program.token_cuts
            if cuts is None or not tokens.between(cuts, *interval):
                row.pop("tokens", None)
                if past.input is not None and "tokens" in self._program.slots:
                    row["tokens"] = past.input
                    self.converted += 1
        past.is_bounded = interval is not None
        return row

    def _not_comparable(self, digest: str) -> frozenset[str]:
        """The keys whose recorded values mean nothing, or too little, to this program."""
        if digest == self._program.digest:
            return frozenset()
        found = self._dropped.get(digest)
        if found is None:
            found = self._dropped[digest] = frozenset(self._compare(self._policy_of(digest)))
        return found

    def _compare(self, old: Program | None) -> list[str]:
        """Texts that were kept as classes of the old policy; lists and latches of the old one."""
        dropped: list[str] = []
        texts = [
            key
            for key, slot in self._program.slots.items()
            if slot.attribute.parameter in (Parameter.HEADER, Parameter.META)
        ]
        now = text_classes(self._program, texts)
        then = {} if old is None else text_classes(old, texts)
        for key in texts:
            before, after = then.get(key), now[key]
            if before is None or not _tells_as_much(before, after):
                dropped.append(key)
        for key, slot in self._program.slots.items():
            if slot.attribute.parameter is Parameter.LIST:
                name = slot.argument or ""
                if old is None or old.lists.get(name) != self._program.lists.get(name):
                    dropped.append(key)
            elif slot.attribute.name == "held":
                dropped.append(key)
        return dropped


def _tells_as_much(before: TextClasses, after: TextClasses) -> bool:
    """Whether every test that is made now was made of the text then."""
    if before.is_opaque or after.is_opaque:
        return False
    names = [field.name for field in fields(TextClasses)]
    return all(
        set(getattr(after, name)) <= set(getattr(before, name))
        for name in names
        if isinstance(getattr(after, name), frozenset | tuple)
    )


def past_of_record(record: DecisionRecord) -> Past:
    """What became of a recorded request; only of one that got its whole answer, what it cost.

    What the others would have cost is that of an answer: the two are not to be compared. Nor is
    that of an answer from the cache, which is taken for one that its target was asked for.
    """
    if record.outcome not in ("ok", "rejected"):
        return Past(rule=record.rule, names_rule=True)
    if was_saved(record):
        served = record.served
        return Past(
            rule=record.rule,
            target=record.target,
            input=None if served is None else served.input,
            output=None if served is None else served.output,
            names_rule=True,
        )
    counted = [one for one in record.attempts if one.usage is not None and one.kind == "answer"]
    usage = counted[-1].usage if counted else None
    return Past(
        rule=record.rule,
        target=record.target,
        cost=record.cost_nano_usd,
        input=None if usage is None else usage.input,
        output=None if usage is None else usage.output,
        names_rule=True,
    )
