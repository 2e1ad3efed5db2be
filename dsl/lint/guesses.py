"""Requests that are easily thought of: what conditions compare values with, and a step beside it.

A guess that shows what it should saves a question to the prover, and a guess that does not costs
next to nothing. Only values are changed that no law ties to another one, so that every guess is a
request that a gateway could take.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from turnout.dsl.core import (
    REQUESTED,
    And,
    Compare,
    Const,
    Member,
    Program,
    Read,
    Slot,
    Term,
    TextTest,
)
from turnout.dsl.flip import OTHER
from turnout.dsl.interpret.compiled import compile_test
from turnout.dsl.paths import worlds
from turnout.dsl.regions import Region, Regions, Words
from turnout.dsl.schema import Attribute, Type, Value
from turnout.dsl.snapshot import Snapshot, read_given
from turnout.dsl.walk import leaves_first, reads
from turnout.dsl.witness import Simplifier

_FREE = frozenset(
    {"tokens", "max_tokens", "temperature", "messages", "n", "stream", "has_tools", "has_images",
     "has_audio", "has_schema", "tier", "tenant", "team", "user", "time", "tenant.region", "key",
     "complexity", "task", "language", "header", "meta", "contains_any", "matches", "similar_to",
     "error_rate", "rate_limited", "healthy", "breaker", "inflight", "held", "request_type",
     "bucket", "bucket.user", "bucket.tenant", "bucket.request"}
)  # fmt: skip
_PERCENTILES = frozenset({"p50", "p90", "p95", "p99", "ttft.p50", "ttft.p95"})
_MOST_VALUES = 8  # of one key, to change a snapshot by
_SIZES = (0, 1_000_000, 2_000_000_000)  # of a prompt, where it is not `tokens` that is compared
_USUAL = {"tokens": 100, "at": "2026-01-05 12:00"}


class Guesses:
    """What can be thought of for one program."""

    def __init__(self, program: Program) -> None:
        """Take a program; nothing is computed before it is asked for."""
        self._program = program

    def of(self, regions: Regions | None) -> Iterator[Snapshot]:
        """Requests with every value in its region: the nearest to a usual one, then the corners."""
        if regions is None or not all(self._is_free(key) for key in regions):
            return
        for corner in (None, 0, -1):
            guess = Snapshot(dict(self._usual))
            for key, region in regions.items():
                guess[key] = _inside(region, self._usual[key], corner, self._attribute(key))
            if self._is_possible(guess):
                yield guess

    def changed(self, snapshot: Snapshot, term: Term) -> Iterator[Snapshot]:
        """A request with one value changed to another that the term can tell apart."""
        for key, values in self._values(term).items():
            for value in values:
                if value != snapshot[key]:
                    changed = Snapshot({**snapshot, key: value})
                    if self._is_possible(changed):
                        yield changed

    @cached_property
    def _usual(self) -> Snapshot:
        usual = read_given(_USUAL, self._program)
        return Simplifier(self._program).completed(usual)

    @cached_property
    def _is_possible(self) -> Callable[[Snapshot], bool]:
        return compile_test(And(worlds(self._program)))

    def _attribute(self, key: str) -> Attribute | None:
        slot = self._program.slots.get(key)
        return None if slot is None else slot.attribute

    def _is_free(self, key: str) -> bool:
        """Whether nothing else hangs on a value, as far as this program reads."""
        slot = self._program.slots.get(key)
        if slot is None or slot.argument == REQUESTED:
            return False
        if slot.attribute.name in _PERCENTILES:
            return not any(_is_of_same(slot, other) for other in self._program.slots.values())
        if key == "model":
            return not self._reads_asked
        return slot.attribute.name in _FREE

    @cached_property
    def _reads_asked(self) -> bool:
        slots = self._program.slots
        is_asked = REQUESTED in slots or "provider" in slots
        return is_asked or any(slot.argument == REQUESTED for slot in slots.values())

    def _values(self, term: Term) -> dict[str, dict[Value | None, None]]:
        """Of the keys of a term that nothing else hangs on, values that it can tell apart."""
        found: dict[str, dict[Value | None, None]] = {}
        for key in reads([term]):
            attribute = self._attribute(key)
            if attribute is None or not self._is_free(key):
                continue
            values: list[Value | None] = [] if attribute.always_known else [None]
            if attribute.type is Type.BOOL:
                values += [True, False]
            elif attribute.domain is not None:
                values += attribute.domain[:_MOST_VALUES]
            elif attribute.type is Type.TEXT:
                values.append(OTHER)
            elif key == "tokens":
                values += _SIZES
            found[key] = dict.fromkeys(values)
        for part in leaves_first([term]):
            key, constants = _compared(part)
            if key not in found:
                continue
            for constant in constants:
                if isinstance(constant, bool) or not isinstance(constant, int):
                    found[key][constant] = None
                else:
                    near = (constant - 1, constant, constant + 1)
                    found[key] |= dict.fromkeys(
                        value for value in near if _is_allowed(value, self._attribute(key))
                    )
        return found


def _is_of_same(slot: Slot, other: Slot) -> bool:
    """Whether another measure of the same target is read: these are ordered among themselves."""
    is_measure = other.attribute.name in _PERCENTILES
    return is_measure and other.key != slot.key and other.argument == slot.argument


def _compared(part: Term) -> tuple[str, Sequence[Value | None]]:
    match part:
        case Compare(_, Read(key), Const(value)) | Compare(_, Const(value), Read(key)):
            return key, (value,)
        case Member(Read(key), members):
            return key, sorted(members, key=str)[:_MOST_VALUES]
        case TextTest(_, Read(key), text):
            return key, (text,)
        case _:
            return "", ()


def _inside(
    region: Region, usual: Value | None, corner: int | None, attribute: Attribute | None
) -> Value | None:
    """A value of a region: the usual one or the first there is, or its least or greatest."""
    if corner is None and usual in region:
        return usual
    values: list[Value]
    if isinstance(region, Words):
        values = sorted(region.listed, key=str)
        if region.others:
            domain = (attribute.domain if attribute is not None else None) or (OTHER, "default")
            values = [word for word in domain if word in region]
    elif attribute is not None and attribute.type is Type.BOOL:
        values = [truth for truth in (True, False) if truth in region]
    else:
        near = [cut + step for cut in region.cuts for step in (-1, 0)]
        values = [value for value in near if value in region and _is_allowed(value, attribute)]
    if not values:
        return usual if usual in region else None
    return values[0 if corner is None else corner]


def _is_allowed(value: int, attribute: Attribute | None) -> bool:
    low = None if attribute is None else attribute.minimum
    high = None if attribute is None else attribute.maximum
    return (low is None or low <= value) and (high is None or value <= high)
