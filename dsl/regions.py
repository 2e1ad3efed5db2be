"""For which values of each key a condition can be true: one key at a time, whatever the others are.

A static reading of terms. What it says is never too narrow: a snapshot on which the condition is
true has every key in its region. What a term does that is not understood here counts as anything.
So an index may leave out the rules whose regions a snapshot is not in, and a rule without a region
can be dropped.

Over 300 lines because what a region is, which one a term has and how regions are joined must agree.

Laws: tests/dsl/test_dsl_index.py.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .core import (
    LIMIT,
    And,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Read,
    Switch,
    Term,
    TextTest,
)
from .schema import Type, Value
from .walk import leaves_first

# A region of more pieces than this is widened to everything: sound, and cheap to go on with.
MAX_PIECES = 4_096

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Integers (and truths, as 0 and 1): membership begins as `below` and turns at every cut.

    `cuts` rise strictly. `unknown`: whether the unknown is in the region too.
    """

    below: bool
    cuts: tuple[int, ...]
    unknown: bool

    def __contains__(self, value: object) -> bool:
        """Whether a value (None: the unknown) is in the region."""
        if not isinstance(value, int):
            return value is None and self.unknown
        return self.below is not bool(bisect_right(self.cuts, value) & 1)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in the region."""
        return not (self.below or self.cuts or self.unknown)

    @property
    def is_full(self) -> bool:
        """Whether everything is in the region."""
        return self.below and self.unknown and not self.cuts


@dataclass(frozen=True, slots=True)
class Words:
    """Texts: those listed, or (`others`) all but those listed."""

    listed: frozenset[Value]
    others: bool
    unknown: bool

    def __contains__(self, value: object) -> bool:
        """Whether a value (None: the unknown) is in the region."""
        if value is None:
            return self.unknown
        return (value in self.listed) is not self.others

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in the region."""
        return not (self.listed or self.others or self.unknown)

    @property
    def is_full(self) -> bool:
        """Whether everything is in the region."""
        return self.others and self.unknown and not self.listed


Region = Numbers | Words
# Regions by key. A key that is not there may be anything; None instead of a mapping: never.
Regions = Mapping[str, Region]

_ANYTHING: Regions = {}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The regions in which a condition can be true, false and unknown."""

    true: Regions | None
    false: Regions | None
    unknown: Regions | None


_OPEN = Outcomes(_ANYTHING, _ANYTHING, _ANYTHING)


def outcomes(term: Term) -> Outcomes:
    """Where a condition can be true, false and unknown."""
    found: dict[int, Outcomes] = {}
    for part in leaves_first([term]):
        if part.type is Type.BOOL:
            found[id(part)] = _outcomes(part, found)
    return found.get(id(term), _OPEN)


def _outcomes(term: Term, of: Mapping[int, Outcomes]) -> Outcomes:
    match term:
        case Const(value):
            return Outcomes(
                _ANYTHING if value is True else None,
                _ANYTHING if value is False else None,
                _ANYTHING if value is None else None,
            )
        case Read(key):
            return Outcomes(
                {key: Numbers(False, (1, 2), False)},
                {key: Numbers(False, (0, 1), False)},
                {key: Numbers(False, (), True)},
            )
        case Named(_, operand):
            return of[id(operand)]
        case Not(operand):
            inner = of[id(operand)]
            return Outcomes(inner.false, inner.true, inner.unknown)
        case And(operands):
            each = [of[id(operand)] for operand in operands]
            return Outcomes(
                all_of([one.true for one in each]),
                any_of([one.false for one in each]),
                any_of([one.unknown for one in each]),
            )
        case Or(operands):
            each = [of[id(operand)] for operand in operands]
            return Outcomes(
                any_of([one.true for one in each]),
                all_of([one.false for one in each]),
                any_of([one.unknown for one in each]),
            )
        case Compare(operator, left, right):
            if left.type is Type.BOOL:
                return _same(of[id(left)], of[id(right)], turned=operator != "==")
            return _compared(operator, left, right)
        case Member(operand, values):
            source = None if operand.type is Type.BOOL else _source(operand)
            return _OPEN if source is None else source.split(_listed(operand.type, values))
        case TextTest(_, operand):
            source = _source(operand)
            if source is None or source.default is not None:
                return _OPEN
            known = {source.key: Words(frozenset(), True, False)}
            return Outcomes(known, known, {source.key: Words(frozenset(), False, True)})
        case Known(operand):
            return _known(operand, of)
        case Coalesce(operand, default):
            first, second = of[id(operand)], of[id(default)]
            return Outcomes(
                any_of([first.true, all_of([first.unknown, second.true])]),
                any_of([first.false, all_of([first.unknown, second.false])]),
                all_of([first.unknown, second.unknown]),
            )
        case If(test, then, otherwise):
            asked, yes, no = of[id(test)], of[id(then)], of[id(otherwise)]
            return Outcomes(
                any_of([all_of([asked.true, yes.true]), all_of([asked.false, no.true])]),
                any_of([all_of([asked.true, yes.false]), all_of([asked.false, no.false])]),
                _ANYTHING,
            )
        case Switch(_, cases):
            each = [of[id(case)] for _, case in cases]
            return Outcomes(
                any_of([one.true for one in each]), any_of([one.false for one in each]), _ANYTHING
            )
        case _:
            return _OPEN


def _same(left: Outcomes, right: Outcomes, *, turned: bool) -> Outcomes:
    """`left == right` of two truths, or its opposite."""
    equal = any_of([all_of([left.true, right.true]), all_of([left.false, right.false])])
    differ = any_of([all_of([left.true, right.false]), all_of([left.false, right.true])])
    unknown = any_of([left.unknown, right.unknown])
    return Outcomes(differ, equal, unknown) if turned else Outcomes(equal, differ, unknown)


def _known(operand: Term, of: Mapping[int, Outcomes]) -> Outcomes:
    if operand.type is Type.BOOL:
        inner = of[id(operand)]
        return Outcomes(any_of([inner.true, inner.false]), inner.unknown, None)
    source = _source(operand)
    if source is None:
        return Outcomes(_ANYTHING, _ANYTHING, None)
    if source.default is not None:
        return Outcomes(_ANYTHING, None, None)
    there, missing = (
        Words(frozenset(), known, not known)
        if operand.type in (Type.TEXT, Type.ENUM)
        else Numbers(known, (), not known)
        for known in (True, False)
    )
    return Outcomes({source.key: there}, {source.key: missing}, None)


# --- comparisons with constants ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A value that is a key's, or a constant where that is unknown."""

    key: str
    default: Value | None

    def split(self, inside: Region) -> Outcomes:
        """The outcomes of a test that is true of the values of a region, unknown of the unknown."""
        outside = _complement(inside)
        known = self.default is not None
        holds = known and self.default in inside
        return Outcomes(
            {self.key: _with_unknown(inside, holds)},
            {self.key: _with_unknown(outside, known and not holds)},
            None if known else {self.key: _only_unknown(inside)},
        )


def _source(term: Term) -> _Source | None:
    default: Value | None = None
    while True:
        match term:
            case Read(key):
                return _Source(key, default)
            case Named(_, operand):
                term = operand
            case Coalesce(operand, Const(value)) if default is None and value is not None:
                if not isinstance(value, str) and abs(value) > LIMIT:
                    return None
                term, default = operand, value
            case _:
                return None


def _compared(operator: str, left: Term, right: Term) -> Outcomes:
    if isinstance(left, Const):
        operator, left, right = _FLIPPED[operator], right, left
    if not isinstance(right, Const):
        return _OPEN
    value = right.value
    if value is None or (not isinstance(value, str) and abs(value) > LIMIT):
        return Outcomes(None, None, _ANYTHING)
    source = _source(left)
    if source is None:
        return _OPEN
    if isinstance(value, str):
        if operator not in ("==", "!="):
            return _OPEN
        return source.split(Words(frozenset({value}), operator == "!=", False))
    match operator:
        case "<":
            inside = Numbers(True, (value,), False)
        case "<=":
            inside = Numbers(True, (value + 1,), False)
        case ">":
            inside = Numbers(False, (value + 1,), False)
        case ">=":
            inside = Numbers(False, (value,), False)
        case _:
            inside = Numbers(operator == "!=", (value, value + 1), False)
    return source.split(inside)


def _listed(type_: Type, values: frozenset[Value]) -> Region:
    if type_ in (Type.TEXT, Type.ENUM):
        return Words(values, False, False)
    points = (Numbers(False, (int(value), int(value) + 1), False) for value in values)
    return _numbers([Numbers(False, (), False), *points], needed=1)


# --- regions together ----------------------------------------------------------------------------


def all_of(parts: Sequence[Regions | None]) -> Regions | None:
    """The regions of what lies in all of some."""
    grouped: dict[str, list[Region]] = {}
    for part in parts:
        if part is None:
            return None
        for key, region in part.items():
            grouped.setdefault(key, []).append(region)
    result: dict[str, Region] = {}
    for key, regions in grouped.items():
        met = _together(regions, len(regions)) if len(regions) > 1 else regions[0]
        if met is None:
            continue
        if met.is_empty:
            return None
        result[key] = met
    return result


def any_of(parts: Sequence[Regions | None]) -> Regions | None:
    """The regions of what lies in any of some."""
    there = [part for part in parts if part is not None]
    if len(there) < 2:
        return there[0] if there else None
    result: dict[str, Region] = {}
    for key in min(there, key=len):
        regions = [part[key] for part in there if key in part]
        if len(regions) < len(there):
            continue  # one of them lets the key be anything
        joined = _together(regions, 1)
        if joined is not None and not joined.is_full:
            result[key] = joined
    return result


def _together(regions: list[Region], needed: int) -> Region | None:
    """What lies in at least `needed` (1 or all) of the regions; None where that may be anything."""
    numbers = [region for region in regions if isinstance(region, Numbers)]
    words = [region for region in regions if isinstance(region, Words)]
    if numbers and words:  # one key read as two types: nothing is understood
        return None
    if numbers:
        joined = _numbers(numbers, needed)
        return joined if len(joined.cuts) <= MAX_PIECES else None
    return _words(words, needed)


def _numbers(regions: Iterable[Numbers], needed: int) -> Numbers:
    regions = list(regions)
    turns: dict[int, int] = {}
    for region in regions:
        step = -1 if region.below else 1
        for cut in region.cuts:
            turns[cut] = turns.get(cut, 0) + step
            step = -step
    depth = sum(region.below for region in regions)
    below = inside = depth >= needed
    cuts: list[int] = []
    for cut in sorted(turns):
        depth += turns[cut]
        if (depth >= needed) is not inside:
            inside = not inside
            cuts.append(cut)
    return Numbers(below, tuple(cuts), sum(region.unknown for region in regions) >= needed)


def _words(regions: list[Words], needed: int) -> Words:
    unknown = sum(region.unknown for region in regions) >= needed
    if needed > 1:  # what is in all: what is not in any complement
        outside = _any_word([Words(r.listed, not r.others, False) for r in regions])
        return Words(outside.listed, not outside.others, unknown)
    joined = _any_word(regions)
    return Words(joined.listed, joined.others, unknown)


def _any_word(regions: list[Words]) -> Words:
    listed = frozenset[Value]().union(*(r.listed for r in regions if not r.others))
    excluded = [r.listed for r in regions if r.others]
    if not excluded:
        return Words(listed, False, False)
    return Words(frozenset.intersection(*excluded) - listed, True, False)


def _complement(region: Region) -> Region:
    if isinstance(region, Numbers):
        return Numbers(not region.below, region.cuts, not region.unknown)
    return Words(region.listed, not region.others, not region.unknown)


def _with_unknown(region: Region, unknown: bool) -> Region:
    if isinstance(region, Numbers):
        return Numbers(region.below, region.cuts, unknown)
    return Words(region.listed, region.others, unknown)


def _only_unknown(like: Region) -> Region:
    if isinstance(like, Numbers):
        return Numbers(False, (), True)
    return Words(frozenset(), False, True)
