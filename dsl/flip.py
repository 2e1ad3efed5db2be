"""The nearest flip: the fewest and nearest changes of a request that make another rule fire.

Only what a caller or the world can change is changed, and only to values that the conditions can
tell apart: just below, at and just above what is compared, the other words of a domain, a word
that none of them names, known to unknown. What follows from a change follows here too (the day of
the week from the date, the target asked for from the model). The search is bounded and says so.
Every flip that is returned was decided again by the traced interpretation.

Over 300 lines because where candidates come from and what follows from them depend on each other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Literal

from .core import (
    REQUESTED,
    Coalesce,
    Compare,
    Const,
    Known,
    Member,
    Named,
    Program,
    Read,
    Slot,
    Term,
    TextTest,
)
from .interpret.compiled import compile_program, compile_term
from .interpret.traced import trace
from .keys import written_key
from .schema import Type, Value
from .snapshot import Snapshot
from .units import format_value
from .walk import leaves_first, reads

MOST_CHANGES = 3
MOST_TRIES = 60_000
OTHER = "…"  # stands for a text that no condition names

_FAR = 10**12  # as far as a value usually goes: distances of unlike attributes compare loosely
_NEAREST_KEPT = 24  # values of one attribute, beyond those of the rule that is asked about
_MOST_STEPS = 63  # doublings between 1 and the largest integer of a snapshot
_LARGEST = 2**63 - 1
_TEXTS = (Type.TEXT, Type.ENUM)
_PERCENTILES = ("p50", "p90", "p95", "p99")

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Decide = Callable[[Mapping[str, Value | None]], int]


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute with another value.

    `after` is a value that was tried (None: unknown). `operator` and `bound` say what the value
    has to satisfy, as far as was tried: `< 100` rather than 99. `named` are the words that the
    conditions name, where `after` stands for any other text.
    """

    key: str
    type: Type
    before: Value | None
    after: Value | None
    operator: Operator = "=="
    bound: Value | None = None
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The change as a condition would say it: `tokens < 100`."""
        name = written_key(self.key)
        if self.after is None:
            return f"{name} unknown"
        if self.after == OTHER and self.type in _TEXTS:
            if not self.named:
                return f"{name} of any value"
            words = [format_value(word, self.type) for word in self.named]
            if len(words) == 1:
                return f"{name} != {words[0]}"
            return f"{name} not in [{', '.join(words)}]"
        if self.type is Type.BOOL:
            return name if self.after else f"not {name}"
        bound = self.after if self.bound is None else self.bound
        return f"{name} {self.operator} {format_value(bound, self.type)}"


@dataclass(frozen=True, slots=True)
class Flip:
    """What to change, and the clause that fires then (None: no rule does)."""

    changes: tuple[Change, ...]
    clause: int | None

    def __str__(self) -> str:
        """The changes in words, joined by `and`."""
        return " and ".join(map(str, self.changes))


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to.

    `flip` None: nothing was found. `changes` is how many values at once were tried in full, for all
    candidate values; `tries` counts the decisions made.
    """

    flip: Flip | None
    changes: int
    tries: int

    @property
    def failure(self) -> str:
        """In words, why there is no flip."""
        if self.changes == 0:
            return f"no change was found that makes it fire ({self.tries} were tried)"
        return f"no change of {_COUNTED[self.changes]} makes it fire ({self.tries} were tried)"


_COUNTED = ("no value", "one value", "one or two values", "up to three values")


def nearest_flip_to(program: Program, snapshot: Snapshot, clause: int) -> Search:
    """The nearest change of a snapshot with which the clause of this index fires."""
    taken = trace(program, snapshot).clause
    asked = [program.clauses[clause].applies]
    if taken is not None and taken < clause:
        asked.append(program.clauses[taken].applies)
    others = [earlier.applies for earlier in program.clauses[:clause]]
    return _Finder(program, snapshot, asked, others).find(lambda index: index == clause)


def nearest_flip_from(program: Program, snapshot: Snapshot) -> Search:
    """The nearest change of a snapshot with which another rule fires than now."""
    taken = trace(program, snapshot).clause
    now = -1 if taken is None else taken
    # Of what was written only: another kind of request (embeddings) is no answer to this one.
    tests = [clause.test for clause in program.clauses]
    tried = [test for test in tests[: None if taken is None else taken + 1] if test is not None]
    asked = [] if taken is None else [test for test in (tests[taken],) if test is not None]
    return _Finder(program, snapshot, asked, tried).find(lambda index: index != now)


@dataclass(slots=True)
class _Values:
    """What the conditions compare one attribute with."""

    cuts: dict[int, None] = field(default_factory=dict)
    turns: dict[int, None] = field(default_factory=dict)  # found by trying, not written
    words: dict[str, None] = field(default_factory=dict)
    may_be_unknown: bool = False


@dataclass(frozen=True, slots=True)
class _Step:
    """A candidate change and how far it goes, of `_FAR`."""

    key: str
    after: Value | None
    distance: int


class _Finder:
    """One search: the candidates, and what is decided with them."""

    def __init__(
        self,
        program: Program,
        snapshot: Snapshot,
        asked: Sequence[Term],
        others: Sequence[Term],
    ) -> None:
        self._program = program
        self._snapshot = snapshot
        self._decide: Decide = compile_program(program)
        self._tries = 0
        self._values: dict[str, _Values] = {}
        for condition in asked:
            self._collect(condition)
        asked_values = {key: frozenset(self._candidates(key)) for key in self._values}
        for condition in others:
            self._collect(condition)
        self._steps = sorted(
            (step for key in self._values for step in self._steps_of(key, asked_values.get(key))),
            key=lambda step: step.distance,
        )

    def find(self, is_wanted: Callable[[int], bool]) -> Search:
        """The first success among all single changes, then all pairs, then triples."""
        for size in range(1, MOST_CHANGES + 1):
            best: tuple[int, tuple[_Step, ...]] | None = None
            for steps in combinations(self._steps, size):
                if len({step.key for step in steps}) < size:
                    continue
                if self._tries >= MOST_TRIES:
                    break
                distance = sum(step.distance for step in steps)
                if best is not None and distance >= best[0]:
                    continue
                changed = self._changed({step.key: step.after for step in steps})
                self._tries += 1
                if changed is not None and is_wanted(self._decide(changed)):
                    best = (distance, steps)
            if best is not None:
                flip = self._told(best[1], is_wanted)
                if flip is not None:
                    return Search(flip, size, self._tries)
            if self._tries >= MOST_TRIES:
                return Search(None, size - 1, self._tries)
        return Search(None, MOST_CHANGES, self._tries)

    # --- what is compared ------------------------------------------------------------------------

    def _collect(self, condition: Term) -> None:
        for term in leaves_first([condition]):
            match term:
                case Read(key, Type.BOOL):
                    self._of(key)
                case Compare(_, left, right):
                    self._compare(term, left, right)
                case Member(operand, values):
                    for found in self._read_in(operand):
                        for value in sorted(values, key=str):
                            if isinstance(value, str):
                                found.words[value] = None
                            else:
                                found.cuts[int(value)] = None
                case TextTest(_, operand, text):
                    for found in self._read_in(operand):
                        found.words[text] = None
                case Known(operand) | Coalesce(operand):
                    for found in self._read_in(operand):
                        found.may_be_unknown = True
                case _:
                    pass

    def _compare(self, term: Term, left: Term, right: Term) -> None:
        for side, other in ((_bare(left), _bare(right)), (_bare(right), _bare(left))):
            if isinstance(side, Read) and isinstance(other, Const):
                values = self._of(side.key)
                if values is not None and other.value is not None:
                    if isinstance(other.value, str):
                        values.words[other.value] = None
                    else:
                        values.cuts[int(other.value)] = None
                return
        # Sums, costs and the like: where the comparison turns is found by trying.
        for key in self._numbers_below(term):
            found = self._of(key)
            if found is not None:
                for turn in self._turns(term, key):
                    found.turns[turn] = None

    def _of(self, key: str) -> _Values | None:
        """The values of an attribute that can be changed; None of one that cannot."""
        slot = self._program.slots.get(key)
        if slot is None or key == REQUESTED:
            return None
        attribute = slot.attribute
        if attribute.hidden or attribute.too_late or attribute.name == "expected_output":
            return None
        return self._values.setdefault(key, _Values())

    def _read_in(self, operand: Term) -> Iterator[_Values]:
        for key in reads([operand]):
            found = self._of(key)
            if found is not None:
                yield found

    def _numbers_below(self, term: Term) -> Iterator[str]:
        keys = dict.fromkeys(
            part.key
            for part in leaves_first([term])
            if isinstance(part, Read) and part.type not in (*_TEXTS, Type.BOOL)
        )
        if "max_tokens" in self._program.schema.attributes and any(
            key.startswith("expected_output(") for key in keys
        ):
            keys["max_tokens"] = None
        yield from keys

    def _turns(self, term: Term, key: str) -> Iterator[int]:
        """Where the truth of a term changes as one number grows and the rest stays."""
        evaluate = compile_term(term)

        def truth(value: int) -> Value | None:
            changed = self._changed({key: value})
            return None if changed is None else evaluate(changed)

        slot = self._program.slots.get(key)
        low = slot.attribute.minimum if slot is not None else 0
        high = slot.attribute.maximum if slot is not None else None
        steps = [0, *(2**step for step in range(_MOST_STEPS))]
        grid = [
            step
            for step in ([-step for step in reversed(steps[1:])] if low is None else []) + steps
            if (low is None or low <= step) and (high is None or step <= high)
        ]
        told = [(value, truth(value)) for value in grid]
        for (below, before), (above, after) in pairwise(told):
            if before == after:
                continue
            while above - below > 1:
                middle = (below + above) // 2
                if truth(middle) == before:
                    below = middle
                else:
                    above = middle
            yield above

    # --- candidates ------------------------------------------------------------------------------

    def _candidates(self, key: str) -> Iterator[Value | None]:
        slot, found = self._program.slots.get(key), self._values[key]
        if slot is None:
            return
        attribute = slot.attribute
        now = self._snapshot[key]
        if attribute.type is Type.BOOL:
            yield from (True, False)
        elif attribute.type in _TEXTS:
            if attribute.domain is not None:
                yield from attribute.domain
            else:
                yield from found.words
                yield OTHER
        elif attribute.type is Type.WEEKDAY:
            yield from range(7)
        else:
            least = -_LARGEST if attribute.minimum is None else attribute.minimum
            most = _LARGEST if attribute.maximum is None else attribute.maximum
            # Of days a whole week on either side: some rules ask for the day of the week as well.
            around = 7 if attribute.type is Type.DATE else 1
            for cut in (*found.cuts, *found.turns):
                values = range(cut - around, cut + around + 1)
                yield from (value for value in values if least <= value <= most)
            if now is None and not found.cuts and not found.turns:
                yield least if attribute.minimum is not None else 0
        if found.may_be_unknown and not attribute.always_known and now is not None:
            yield None

    def _steps_of(self, key: str, kept: frozenset[Value | None] | None) -> Iterator[_Step]:
        slot = self._program.slots.get(key)
        if slot is None:
            return
        now = self._snapshot[key]
        steps = sorted(
            (
                _Step(key, value, _distance(slot.attribute.type, now, value))
                for value in dict.fromkeys(self._candidates(key))
                if value != now
            ),
            key=lambda step: step.distance,
        )
        for number, step in enumerate(steps):
            if number < _NEAREST_KEPT or (kept is not None and step.after in kept):
                yield step

    # --- what follows ----------------------------------------------------------------------------

    def _changed(self, values: Mapping[str, Value | None]) -> Snapshot | None:
        """The snapshot with these values and what follows from them; None where that cannot be."""
        changed = Snapshot(dict(self._snapshot))
        changed.update(values)
        slots = self._program.slots
        if ("date" in values or "weekday" in values) and not _follow_day(changed, values):
            return None
        if "max_tokens" in values:
            self._follow_limit(changed)
        if "model" in values:
            self._follow_model(changed)
        for key in values:
            slot = slots.get(key)
            if slot is not None and slot.attribute.live and not _in_order(changed, slot, slots):
                return None
        return changed

    def _follow_limit(self, changed: Snapshot) -> None:
        """What is expected of a target is never more than the request allows."""
        before, limit = self._snapshot["max_tokens"], changed["max_tokens"]
        for key, slot in self._program.slots.items():
            if slot.attribute.name != "expected_output":
                continue
            now = self._snapshot[key]
            if now is not None and now == before:  # the old limit stood in for what is not known
                target = self._program.targets.get(slot.argument or "")
                now = None if target is None else target.expected.output
            known = [value for value in (now, limit) if isinstance(value, int)]
            changed[key] = min(known) if known else None

    def _follow_model(self, changed: Snapshot) -> None:
        model, program = str(changed["model"]), self._program
        asked = program.models.get(model, model if model in program.targets else None)
        if REQUESTED in program.slots:
            changed[REQUESTED] = asked
        for key, slot in program.slots.items():
            if slot.argument == REQUESTED:
                changed[key] = self._snapshot[key.replace(f"({REQUESTED}", f"({asked}", 1)]

    # --- what is told ----------------------------------------------------------------------------

    def _told(self, steps: tuple[_Step, ...], is_wanted: Callable[[int], bool]) -> Flip | None:
        values = {step.key: step.after for step in steps}
        changed = self._changed(values)
        if changed is None:
            return None
        clause = trace(self._program, changed).clause
        if not is_wanted(-1 if clause is None else clause):
            return None  # the interpretations disagree: better to say nothing than what is wrong
        index = -1 if clause is None else clause
        order = list(self._values)  # as the conditions read them
        told = sorted(steps, key=lambda step: order.index(step.key))
        return Flip(tuple(self._change(step, values, index) for step in told), clause)

    def _change(self, step: _Step, values: Mapping[str, Value | None], index: int) -> Change:
        key, after, before = step.key, step.after, self._snapshot[step.key]
        type = self._program.slots[key].attribute.type
        found = self._values[key]
        if type in _TEXTS:
            named = tuple(sorted(found.words)) if after == OTHER else ()
            return Change(key, type, before, after, named=named)
        if not isinstance(after, int) or type in (Type.BOOL, Type.WEEKDAY) or before is None:
            return Change(key, type, before, after)
        beyond = [
            value
            for value in self._candidates(key)
            if isinstance(value, int) and (value < after if after < int(before) else value > after)
        ]
        for value in beyond:  # `tokens < 100` is said only where less still is as good
            changed = self._changed({**values, key: value})
            if changed is None or self._decide(changed) != index:
                return Change(key, type, before, after)
        return Change(key, type, before, after, *_bound(after, int(before), found.cuts))


def _bound(after: int, before: int, cuts: Iterable[int]) -> tuple[Operator, int]:
    """What a value has to satisfy, in the numbers that are written in the conditions."""
    known = frozenset(cuts)
    if after < before:
        return ("<", after + 1) if after + 1 in known and after not in known else ("<=", after)
    return (">", after - 1) if after - 1 in known and after not in known else (">=", after)


def _bare(term: Term) -> Term:
    while isinstance(term, Named):
        term = term.operand
    return term


def _distance(type: Type, before: Value | None, after: Value | None) -> int:
    if before is None:
        return 7 * _FAR // 10
    if after is None:
        return 9 * _FAR // 10
    if type is Type.BOOL:
        return _FAR // 2
    if isinstance(before, str) or isinstance(after, str):
        return _FAR * 6 // 10 if after == OTHER else _FAR // 2
    apart = abs(int(after) - int(before))
    if type is Type.TIME:
        return _FAR * min(apart, 1_440 - apart) // 720
    if type is Type.WEEKDAY:
        return _FAR * min(apart, 7 - apart) // 3
    if type is Type.DATE:
        return min(_FAR * apart // 100, _FAR)
    return _FAR * apart // max(abs(int(after)), abs(int(before)), 1)


def _follow_day(changed: Snapshot, values: Mapping[str, Value | None]) -> bool:
    """A date has its weekday; another weekday is the next such day. False where the two differ."""
    day, weekday = changed["date"], changed["weekday"]
    if not isinstance(day, int):
        return True
    its_own = (day + 3) % 7  # day 0, 1970-01-01, was a Thursday
    if "weekday" not in values:
        changed["weekday"] = its_own
    elif "date" not in values and isinstance(weekday, int):
        changed["date"] = day + (weekday - its_own) % 7
    return "date" not in values or changed["weekday"] == its_own


def _in_order(changed: Snapshot, slot: Slot, slots: Mapping[str, Slot]) -> bool:
    """Whether the percentiles of a target still rise with their number."""
    family, _, word = slot.attribute.name.rpartition(".")
    if word not in _PERCENTILES:
        return True
    names = [f"{family}.{name}" if family else name for name in _PERCENTILES]
    known = [
        (names.index(other.attribute.name), changed[key])
        for key, other in slots.items()
        if other.attribute.name in names
        and other.argument == slot.argument
        and other.window_us == slot.window_us
    ]
    values = [value for _, value in sorted(known, key=lambda pair: pair[0]) if value is not None]
    return values == sorted(values, key=int)
