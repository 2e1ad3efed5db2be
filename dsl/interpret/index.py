"""Which of many rules can apply to a snapshot: a set of bits for every value of a tested key.

Of each rule `regions` says which values of a key leave it possible. The rules that a value leaves
are one Python integer, a bit for each rule; the integers of all keys together are the candidates,
and these are tried by their own compiled tests, in order. So the index need not be exact, only
never too narrow, and a value that is unknown is a value like any other: it has its integer too.

- Keys of few values (enums, truths, weekdays) are looked up at once: their values together are the
  key of a bounded table of integers that were combined before.
- Numbers and times are cut into segments by the constants they are compared with (`bisect`).
- Texts have a table from each text that some rule names; every other text has the rest.

The first rule is the highest bit, so that the next candidate is the length of the integer.
A rule's test is compiled when it is first a candidate: most rules of a large policy never are.

Over 300 lines because how a key is stored, built and asked must change together.

Laws: tests/dsl/test_dsl_index.py. Cost: benchmarks/results/decision.md (1.3 µs for 1 000 rules).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from turnout.dsl.core import Slot, Term
from turnout.dsl.regions import Numbers, Region, Words, outcomes
from turnout.dsl.schema import Type, Value

Snapshot = Mapping[str, Value | None]
Test = Callable[[Snapshot], bool]

# What things cost, in the time of trying one candidate (about 0.3 µs): looking up a key of few
# values, one of many, and trying a rule in a row of rules. Measured by benchmarks/decision.py.
FEW_COST = 0.15
MANY_COST = 0.4
RULE_COST = 1 / 30
# A key that less than this share of the rules test is left to their own tests.
LEAST_TESTED = 1 / 64
# Bounds in bytes: the integers of one key, and the combined ones of the keys of few values.
KEY_BYTES = 16 << 20
COMBINED_BYTES = 16 << 20

_FEW_VALUES = (Type.BOOL, Type.ENUM, Type.WEEKDAY)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A key of numbers. `segments[i]`: the rules left by values from `cuts[i - 1]` to `cuts[i]`."""

    key: str
    cuts: tuple[int, ...]
    segments: tuple[int, ...]
    unknown: int

    def left_by(self, value: Value | None) -> int:
        """The rules that a value leaves possible."""
        if not isinstance(value, int):
            return self.unknown
        return self.segments[bisect_right(self.cuts, value)]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A key of texts. `table` has the rules left by each text that is named, and by None."""

    key: str
    table: Mapping[Value | None, int]
    rest: int

    def left_by(self, value: Value | None) -> int:
        """The rules that a value leaves possible."""
        return self.table.get(value, self.rest)


_Key = _Cut | _Listed


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a list of rules.

    `all` has the bit of every rule that can apply at all; `left` is how many candidates a decision
    is expected to have.
    """

    size: int
    all: int
    few: tuple[_Key, ...]
    many: tuple[_Key, ...]
    left: float

    @classmethod
    def of(cls, rules: Sequence[Term], slots: Mapping[str, Slot]) -> "Index | None":
        """The index of the rules' conditions; None where it would not help.

        It would not where so many candidates are left that trying all rules is as quick.
        """
        index = cls.build(rules, slots)
        return index if index.left <= index.size * RULE_COST else None

    @classmethod
    def build(cls, rules: Sequence[Term], slots: Mapping[str, Slot]) -> "Index":
        """The index of the rules' conditions, whether it helps or not.

        Nothing that has to be fetched becomes a key: what the index goes by is always read.
        """
        size = len(rules)
        where = [outcomes(rule).true for rule in rules]
        possible = _bits((size - 1 - at for at, one in enumerate(where) if one is not None), size)
        tested: dict[str, list[tuple[int, Region]]] = {}
        for at, regions in enumerate(where):
            for key, region in (regions or {}).items():
                tested.setdefault(key, []).append((size - 1 - at, region))
        keys: dict[str, _Key] = {}
        for key, regions_of in tested.items():
            if len(regions_of) >= size * LEAST_TESTED and not _is_fetched(slots.get(key)):
                built = _key(key, regions_of, possible, size)
                if built is not None:
                    keys[key] = built
        few = {key for key in keys if _has_few_values(slots.get(key))}
        costs = {key: FEW_COST if key in few else MANY_COST for key in keys}
        chosen, left = _choose(keys, tested, costs, possible.bit_count())
        return cls(
            size,
            possible,
            tuple(keys[key] for key in chosen if key in few),
            tuple(keys[key] for key in chosen if key not in few),
            left,
        )

    def candidates(self, snapshot: Snapshot) -> list[int]:
        """The rules that can apply to a snapshot, in order; what `compile` tries."""
        left = self.all
        for key in (*self.few, *self.many):
            left &= key.left_by(snapshot[key.key])
        return [self.size - 1 - bit for bit in range(self.size - 1, -1, -1) if left >> bit & 1]

    def compile(self, test_of: Callable[[int], Test]) -> Callable[[Snapshot], int]:
        """A function from snapshot to the first rule that applies, -1 for none.

        `test_of` gives the compiled test of a rule; it is asked once, when the rule is first a
        candidate. The function is unrolled over the keys. Its text is made of numbered names only:
        keys and values are bound to them, so nothing in a policy becomes code.
        """
        bound: dict[str, object] = {
            "__builtins__": {},
            "size": self.size,
            "bisect": bisect_right,
            "tests": _tests(self.size, test_of),
            "everything": self.all,
        }
        lines = ["def decide(s):"]
        if self.few:
            combined = _Combined(self.few, self.all, self.size)
            bound |= {"combined": combined, **{f"k{i}": one.key for i, one in enumerate(self.few)}}
            parts = "".join(f"s[k{i}], " for i in range(len(self.few)))
            lines.append(f"    left = combined[{parts.strip()}]")
        else:
            lines.append("    left = everything")
        for i, one in enumerate(self.many, len(self.few)):
            bound[f"k{i}"] = one.key
            if isinstance(one, _Cut):
                bound |= {f"c{i}": one.cuts, f"g{i}": one.segments, f"u{i}": one.unknown}
                lines.append(f"    v = s[k{i}]")
                lines.append(f"    left &= u{i} if v is None else g{i}[bisect(c{i}, v)]")
            else:
                bound |= {f"t{i}": one.table.get, f"r{i}": one.rest}
                lines.append(f"    left &= t{i}(s[k{i}], r{i})")
        lines += [
            "    while left:",
            "        bit = left.bit_length()",
            "        at = size - bit",
            "        if tests[at](s):",
            "            return at",
            "        left ^= 1 << bit - 1",
            "    return -1",
        ]
        exec(compile("\n".join(lines), "<index>", "exec"), bound)
        return bound["decide"]  # type: ignore[return-value]


class _Combined(dict[tuple[Value | None, ...], int]):
    """The rules left by several values together, combined on the first question for them.

    It is emptied when it is full: what a client writes must not make it grow.
    """

    __slots__ = ("_all", "_keys", "_most")

    def __init__(self, keys: Sequence[_Key], all: int, size: int) -> None:
        """Combine these keys, in this order."""
        super().__init__()
        self._keys = keys
        self._all = all
        self._most = max(64, COMBINED_BYTES // (size // 8 + 128))

    def __missing__(self, values: tuple[Value | None, ...]) -> int:
        """Combine now, and keep it."""
        left = self._all
        for key, value in zip(self._keys, values, strict=True):
            left &= key.left_by(value)
        if len(self) >= self._most:
            self.clear()
        self[values] = left
        return left


def _tests(size: int, test_of: Callable[[int], Test]) -> list[Test]:
    """The tests of all rules, each put in its place on its first use."""
    tests: list[Test] = []

    def first(at: int, snapshot: Snapshot) -> bool:
        tests[at] = test = test_of(at)
        return test(snapshot)

    tests += [partial(first, at) for at in range(size)]
    return tests


# --- building ------------------------------------------------------------------------------------


def _bits(places: Iterable[int], size: int) -> int:
    there = bytearray((size + 7) // 8)
    for place in places:
        there[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(there, "little")


def _key(key: str, regions: list[tuple[int, Region]], possible: int, size: int) -> _Key | None:
    """The integers of one key; None where it is read as numbers and as texts."""
    free = possible & ~_bits((bit for bit, _ in regions), size)
    unknown = free | _bits((bit for bit, region in regions if region.unknown), size)
    most = max(8, KEY_BYTES // (size // 8 + 32))
    numbers = [(bit, region) for bit, region in regions if isinstance(region, Numbers)]
    words = [(bit, region) for bit, region in regions if isinstance(region, Words)]
    if numbers and words:
        return None
    return (
        _cut(key, numbers, free, unknown, most)
        if numbers
        else _list(key, words, free, unknown, most)
    )


def _cut(key: str, regions: list[tuple[int, Numbers]], free: int, unknown: int, most: int) -> _Cut:
    turns: dict[int, int] = {}
    left = free
    for bit, region in regions:
        mask = 1 << bit
        if region.below:
            left |= mask
        for cut in region.cuts:
            turns[cut] = turns.get(cut, 0) ^ mask
    step = len(turns) // most + 1  # segments side by side become one where there are too many
    cuts: list[int] = []
    segments = [left]
    for number, cut in enumerate(sorted(turns)):
        left ^= turns[cut]
        if number % step == 0:
            cuts.append(cut)
            segments.append(left)
        else:
            segments[-1] |= left
    return _Cut(key, tuple(cuts), tuple(segments), unknown)


def _list(
    key: str, regions: list[tuple[int, Words]], free: int, unknown: int, most: int
) -> _Listed:
    turns: dict[Value, int] = {}
    rest = free
    for bit, region in regions:
        mask = 1 << bit
        if region.others:
            rest |= mask
        for word in region.listed:
            turns[word] = turns.get(word, 0) ^ mask
    named = sorted(turns, key=lambda word: -turns[word].bit_count())
    table: dict[Value | None, int] = {word: rest ^ turns[word] for word in named[:most]}
    for word in named[most:]:  # too many: they share what is left by any of them, and the rest
        rest |= turns[word]
    table[None] = unknown
    return _Listed(key, table, rest)


def _choose(
    keys: Mapping[str, _Key],
    tested: Mapping[str, list[tuple[int, Region]]],
    costs: Mapping[str, float],
    rules: int,
) -> tuple[list[str], float]:
    """The keys that save more candidates than they cost, the best first; and how many are left.

    Counted as if every segment of every key were as likely, and the keys had nothing to do with
    each other.
    """
    parts = {
        key: [(bit, _part(region, one)) for bit, region in tested[key]] for key, one in keys.items()
    }
    weights: dict[int, float] = {}  # how likely a rule is left by the keys chosen so far; absent: 1
    chosen: list[str] = []
    left = float(rules)
    while parts:
        saved = {
            key: sum(weights.get(bit, 1.0) * (1 - part) for bit, part in some) - costs[key]
            for key, some in parts.items()
        }
        best = max(saved, key=saved.__getitem__)
        if saved[best] <= 0:
            break
        left -= saved[best] + costs[best]
        chosen.append(best)
        for bit, part in parts.pop(best):
            weights[bit] = weights.get(bit, 1.0) * part
    return chosen, left


def _part(region: Region, key: _Key) -> float:
    """The part of a key's segments that a region covers; the unknown is one of them."""
    if isinstance(region, Words):
        named = len(key.table) - 1 if isinstance(key, _Listed) else 0
        listed = min(len(region.listed), named)
        return ((named + 1 - listed if region.others else listed) + region.unknown) / (named + 2)
    cuts = key.cuts if isinstance(key, _Cut) else ()
    edges = [0, *(bisect_left(cuts, cut) + 1 for cut in region.cuts), len(cuts) + 1]
    lengths = [high - low for low, high in pairwise(edges)]
    covered = sum(lengths[0 if region.below else 1 :: 2])
    return (covered + region.unknown) / (len(cuts) + 2)


def _is_fetched(slot: Slot | None) -> bool:
    return slot is not None and slot.attribute.fetched


def _has_few_values(slot: Slot | None) -> bool:
    return slot is not None and slot.attribute.type in _FEW_VALUES
