"""A witness that reads well: the simplest snapshot that still shows what is to be shown.

What holds is asked by evaluation, no solver is needed: whatever can be left out is left out, what
stays is pulled to values that people would write. The same snapshot and the same question give the
same answer.

Over 300 lines because what is plain of each kind of value stands side by side.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from .core import Compare, Const, Latch, Member, Program, Read, Switch, Term, TextTest
from .keys import attribute_of
from .moment import weekday_of
from .schema import Attribute, Type, Value
from .snapshot import BY_HAND, Snapshot
from .walk import leaves_first, program_terms, reads
from .worlds import priors

Confirm = Callable[[Snapshot], bool]

MOST_TRIES = 4_000
_TEXTS = (Type.TEXT, Type.ENUM)
_CLOCK = ("date", "weekday", "time")
_A_MONDAY = 20_458  # 2026-01-05
_OFFICE = (12, 10, 9, 14, 16, 18, 20, 22, 0, 6, 8)
_OF_ASKED = "(requested"  # in the key of a value of the target that was asked for
# Of these a request has some; none at all is the last that is tried.
_SOME: Mapping[str, tuple[int, ...]] = {"max_tokens": (1_000, 100, 10, 1)}
_MOST_NAMES = 40  # of models that anybody may ask for
_MOST_CONSTANTS, _MOST_NEIGHBOURS = 40, 12  # of one key; the nearest count
# What a request mostly has where it always has something.
_USUAL: Mapping[str, Value] = {
    "tokens": 100,
    "prompt_tokens": 100,
    "session": "a",
    "time": 720,
    "weekday": 0,
    "date": _A_MONDAY,
    "healthy": True,
    "rate_limited": False,
    "breaker": "closed",
    "inflight": 0,
}
# How large a round value of a type is, in its unit.
_UNITS: Mapping[Type, tuple[int, ...]] = {
    Type.NUMBER: (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
    Type.DURATION: (1_000_000, 100_000, 60_000_000, 3_600_000_000, 1_000),
    Type.MONEY: (10**9, 10**8, 10**7, 10**6, 10**10, 10**11, 10**12),
    Type.RATE: (10**9, 10**8, 10**10),
    Type.PERCENT: (100, 1_000, 5_000, 10_000),
    Type.SCORE: (1_000, 5_000, 10_000),
}
_STEPS: Mapping[Type, tuple[int, ...]] = {
    Type.DURATION: (3_600_000_000, 60_000_000, 1_000_000, 100_000, 10_000, 1_000),
    Type.MONEY: (10**9, 10**8, 10**7, 10**6),
    Type.RATE: (10**9, 10**8),
    Type.PERCENT: (100, 10),
    Type.SCORE: (1_000, 100),
}


@dataclass(frozen=True, slots=True)
class _Constants:
    """What conditions compare the values of one key with."""

    numbers: dict[int, None] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)


class Simplifier:
    """Makes the snapshots of some programs simple; what the programs say is collected once."""

    def __init__(self, *programs: Program) -> None:
        """Take the programs whose conditions say which values matter."""
        self._programs = programs
        self._constants: dict[str, _Constants] = {}
        for program in programs:
            self._collect(program_terms(program))
        self._latches = [latch for program in programs for latch in program.latches]
        self._always = tuple(self._always_there())
        self._names = {name for one in programs for name in (*one.targets, *one.models)}
        self._listed = tuple(islice(_listed(programs), _MOST_NAMES))
        self._priors = {key: prior for program in programs for key, prior in priors(program)}

    def completed(self, values: Mapping[str, Value | None]) -> Snapshot:
        """A snapshot with these values, and usual ones for what every request has."""
        snapshot = Snapshot({key: value for key, value in values.items() if value is not None})
        for key, usual in self._always:
            snapshot.setdefault(key, usual)
        _match_the_day(snapshot, values)
        return snapshot

    def simplest(self, snapshot: Snapshot, confirm: Confirm) -> Snapshot:
        """The simplest snapshot that was found on which `confirm` still holds."""
        search = _Search(snapshot, confirm)
        while True:
            before = dict(search.snapshot)
            self._leave_out(search)
            search.first(_usual_callers(search.snapshot))
            search.first(_asked_plainly(search.snapshot))
            for latch in self._latches:
                search.first(self._unlatched(latch, search.snapshot))
            self._simplify_clock(search)
            for key in _in_order(search.snapshot):
                if key not in _CLOCK:
                    simpler = list(self._simpler(key, search.snapshot[key]))
                    search.first({key: value} for value in simpler)
                    alike = _alike(key, search.snapshot)
                    search.first(dict.fromkeys(alike, value) for value in simpler if alike)
            if search.tries >= MOST_TRIES or dict(search.snapshot) == before:
                break
        for key in [key for key in search.snapshot if _may_be_left_out(key)]:
            search.first([{key: None}])
        return search.snapshot

    def ends(self, key: str, term: Term) -> Iterator[int]:
        """The numbers that a value may be compared with, in the programs or a term; those next."""
        known = dict(self._of(key).numbers)
        for part in leaves_first([term]):
            if isinstance(part, Const) and isinstance(part.value, int) and part.type is Type.NUMBER:
                known[part.value] = None
        attribute = self._attribute(key)
        least = None if attribute is None else attribute.minimum
        most = None if attribute is None else attribute.maximum
        for number in dict.fromkeys(one + step for one in known for step in (0, -1, 1)):
            if (least is None or least <= number) and (most is None or number <= most):
                yield number

    # --- what there is ---------------------------------------------------------------------------

    def _collect(self, terms: Iterable[Term]) -> None:
        for term in leaves_first(terms):
            match term:
                case Compare(_, left, right):
                    pairs = ((left, right), (right, left))
                    values: list[tuple[Term, Sequence[Value | None]]] = [
                        (side, [other.value]) for side, other in pairs if isinstance(other, Const)
                    ]
                case Member(operand, members):
                    values = [(operand, sorted(members, key=repr))]
                case TextTest(_, operand, text):
                    values = [(operand, [text])]
                case Switch(operand, cases):
                    values = [(operand, list(dict(cases)))]
                case _:
                    continue
            for side, constants in values:
                for part in leaves_first([side]):
                    if isinstance(part, Read) and part.type is side.type:
                        self._note(part.key, constants)

    def _note(self, key: str, constants: Iterable[Value | None]) -> None:
        known = self._constants.setdefault(key, _Constants())
        for value in constants:
            if isinstance(value, str):
                known.texts[value] = None
            elif isinstance(value, int) and not isinstance(value, bool):
                known.numbers[value] = None

    def _always_there(self) -> Iterator[tuple[str, Value]]:
        for program in self._programs:
            for key, slot in program.slots.items():
                if self._is_always_known(key):
                    yield key, _usual(key, slot.attribute)
        for key, value in BY_HAND.items():
            yield key, value

    def _attribute(self, key: str) -> Attribute | None:
        for program in self._programs:
            slot = program.slots.get(key)
            known = program.schema.attributes.get(attribute_of(key))
            if slot is not None or known is not None:
                return known if slot is None else slot.attribute
        return None

    def _is_always_known(self, key: str) -> bool:
        attribute = self._attribute(key)
        return attribute is not None and attribute.always_known and _OF_ASKED not in key

    def _unlatched(self, latch: Latch, snapshot: Snapshot) -> Iterator[Mapping[str, Value | None]]:
        """With a value that is plainly so instead of one that was so a while ago."""
        if snapshot[latch.key] is not True:
            return
        for key in reads([latch.test]):
            value = snapshot[key]
            attribute = self._attribute(key)
            type_ = Type.NUMBER if attribute is None else attribute.type
            numbers = sorted(self._of(key).numbers)
            if type_ is Type.BOOL:
                yield from ({latch.key: None, key: truth} for truth in (False, True))
            for one in numbers[:_MOST_CONSTANTS]:
                near = (one + sign * step for step in _steps(one, type_) for sign in (1, -1))
                for number in (one, *near):
                    if number != value and number >= 0:
                        yield {latch.key: None, key: number}

    # --- what is simpler -------------------------------------------------------------------------

    def _leave_out(self, search: "_Search") -> None:
        """Without what is not needed: all at once, else one after the other."""
        plain: dict[str, Value | None] = {}
        for key in _in_order(search.snapshot):
            attribute = self._attribute(key)
            if not self._is_always_known(key):
                plain[key] = None
            elif attribute is not None and key not in _CLOCK:
                plain[key] = _usual(key, attribute)
        search.first([plain])
        search.first(_without_credentials_away(search.snapshot))
        for key, value in plain.items():
            search.first([{key: value}])

    def _simplify_clock(self, search: "_Search") -> None:
        snapshot = search.snapshot
        day, weekday, time = (snapshot[key] for key in _CLOCK)
        if isinstance(day, int):
            known = self._of("date").numbers
            bases = sorted({_A_MONDAY, *(c + d for c in known for d in (0, 1, -1))})
            bases.sort(key=lambda one: (one != _A_MONDAY, abs(one - day)))
            days = dict.fromkeys(base + step for base in bases for step in range(7))
            low, high = 0, 2_932_896
            search.first(
                {"date": one} | ({} if weekday is None else {"weekday": weekday_of(one)})
                for one in days
                if low <= one <= high
            )
        elif isinstance(weekday, int):
            search.first({"weekday": one} for one in (0, 5, 6, 1, 2, 3, 4))
        if isinstance(time, int):
            hours = dict.fromkeys((*_OFFICE, *range(24)))
            ends = [(c + d) % 1440 for c in sorted(self._of("time").numbers) for d in (0, 1, -1)]
            halves = (hour * 60 + 30 for hour in hours)
            wanted = dict.fromkeys((*(hour * 60 for hour in hours), *halves, *ends))
            search.first({"time": one} for one in wanted)

    def _simpler(self, key: str, value: Value | None) -> Iterator[Value]:
        """Values that read better than this one, the simplest first; none after the value."""
        attribute = self._attribute(key)
        candidates: Iterable[Value] = ()
        if value is None:
            return
        if isinstance(value, bool):
            usual = attribute is not None and self._is_always_known(key) and _usual(key, attribute)
            candidates = (bool(usual),)
        elif isinstance(value, str):
            candidates = self._words(key, value, attribute)
        else:
            type_ = Type.NUMBER if attribute is None else attribute.type
            candidates = self._numbers(key, value, type_, attribute)
        once: dict[Value, None] = dict.fromkeys(candidates)
        for candidate in once:
            if candidate == value:
                return
            yield candidate

    def _words(self, key: str, value: str, attribute: Attribute | None) -> Iterator[str]:
        usual = BY_HAND.get(key)
        if isinstance(usual, str):
            yield usual
        if attribute is not None and attribute.domain is not None:
            yield from attribute.domain
            return
        named = sorted(self._of(key).texts, key=lambda text: (len(text), text))
        yield from named
        if key == "model":
            yield from self._listed
        if value not in self._names:
            yield from ("other", "a", "x")

    def _numbers(
        self, key: str, value: int, type_: Type, attribute: Attribute | None
    ) -> Iterator[int]:
        low = None if attribute is None else attribute.minimum
        high = None if attribute is None else attribute.maximum
        for one in self._any_numbers(key, value, type_):
            if (low is None or low <= one) and (high is None or one <= high):
                yield one

    def _any_numbers(self, key: str, value: int, type_: Type) -> Iterator[int]:
        usual = self._priors.get(key, _USUAL.get(key, BY_HAND.get(key)))
        if isinstance(usual, int):
            yield usual
        units = _UNITS.get(type_, (1,))
        yield from _SOME.get(key, (0, units[0]))
        constants = sorted(self._of(key).numbers, key=lambda one: (abs(one - value), one))
        near = constants[:_MOST_CONSTANTS]
        yield from near
        for one in near[:_MOST_NEIGHBOURS]:
            for step in _steps(one, type_):
                yield from (one + step, one - step)
        yield from units
        yield from _rounded(value)
        if key in _SOME:
            yield 0

    def _of(self, key: str) -> _Constants:
        return self._constants.get(key, _Constants())


def simplest(snapshot: Snapshot, confirm: Confirm, *programs: Program) -> Snapshot:
    """The simplest snapshot that was found on which `confirm` holds as it does on this one."""
    return Simplifier(*programs).simplest(snapshot, confirm)


class _Search:
    """The best snapshot so far, and how much was tried."""

    def __init__(self, snapshot: Snapshot, confirm: Confirm) -> None:
        self.snapshot = snapshot
        self.tries = 0
        self._confirm = confirm

    def first(self, changes: Iterable[Mapping[str, Value | None]]) -> None:
        """Make the first of these changes with which it is still confirmed."""
        for change in changes:
            if all(self.snapshot[key] == value for key, value in change.items()):
                return  # as simple as that already
            if self.tries >= MOST_TRIES:
                return
            self.tries += 1
            changed = Snapshot({**self.snapshot, **change})
            for key in [key for key, value in changed.items() if value is None]:
                del changed[key]
            if self._confirm(changed):
                self.snapshot = changed
                return


def _listed(programs: Sequence[Program]) -> Iterator[str]:
    """Names of models that a gateway knows: those of the policy first."""
    for program in programs:
        yield from program.models
        yield from program.targets
    for program in programs:
        yield from program.schema.catalog.requestable(program.providers)


def _steps(value: int, type_: Type) -> Iterator[int]:
    """How far the neighbours of a value are: of `8s` a second, of `800ms` a tenth of one."""
    around = abs(value) or _UNITS.get(type_, (1,))[0]
    fitting = [step for step in _STEPS.get(type_, ()) if step <= around]
    yield from (*fitting[:1], 1)


def _usual_callers(snapshot: Snapshot) -> Iterator[Mapping[str, Value | None]]:
    """Of a tenant like any other, whose region nobody names; then of its usual tier, too."""
    known: dict[str, Value | None] = {"tenant": BY_HAND["tenant"]}
    if snapshot["tenant.region"] is not None:
        known["tenant.region"] = None
    yield known | {"tier": BY_HAND["tier"]}
    yield known


def _without_credentials_away(snapshot: Snapshot) -> Iterator[Mapping[str, Value | None]]:
    """With every credential; else with all but one provider's, which is for all its targets."""
    away = [key for key in snapshot if attribute_of(key) == "usable"]
    yield dict.fromkeys(away)
    for provider in sorted({key.partition("/")[0] for key in away}):
        yield {key: None for key in away if key.partition("/")[0] != provider}


def _asked_plainly(snapshot: Snapshot) -> Iterator[Mapping[str, Value | None]]:
    """Nothing asked for; else what was, by the plainest name."""
    about = [key for key in snapshot if key in ("requested", "provider") or _OF_ASKED in key]
    yield {"model": "auto", **dict.fromkeys(about)}
    name = snapshot["requested"]
    if isinstance(name, str):
        yield {"model": name}


def _may_be_left_out(key: str) -> bool:
    """Whether it is known of every request, but mostly nobody cares what it is."""
    return attribute_of(key).partition(".")[0] in ("bucket", "session")


def _alike(key: str, snapshot: Snapshot) -> list[str]:
    """The values that change only together: of what was asked for, and of the target that it is."""
    asked = snapshot["requested"]
    if _OF_ASKED not in key or not isinstance(asked, str):
        return []
    return [key, key.replace(_OF_ASKED, f"({asked}", 1)]


def _rounded(value: int) -> Iterator[int]:
    """A number with ever more of its leading digits, rounded down and up."""
    size = abs(value)
    sign = -1 if value < 0 else 1
    for digits in range(len(str(size)) - 1, 0, -1):
        unit = 10**digits
        yield sign * (size // unit * unit)
        yield sign * -(-size // unit * unit)


def _usual(key: str, attribute: Attribute) -> Value:
    """A value of something that every request has."""
    usual = BY_HAND.get(key, _USUAL.get(attribute.name))
    if usual is not None and (attribute.domain is None or usual in attribute.domain):
        return usual
    if attribute.type is Type.BOOL:
        return False
    if attribute.type in _TEXTS:
        return attribute.domain[0] if attribute.domain else "a"
    return attribute.minimum or 0


def _match_the_day(snapshot: Snapshot, given: Mapping[str, Value | None]) -> None:
    """Make the weekday that of the date where only one of them was given."""
    day, weekday = snapshot["date"], snapshot["weekday"]
    if not isinstance(day, int) or not isinstance(weekday, int):
        return
    if given.get("date") is not None:
        snapshot["weekday"] = weekday_of(day)
    else:
        snapshot["date"] = day + (weekday - weekday_of(day)) % 7


def _in_order(snapshot: Snapshot) -> Sequence[str]:
    """Keys, those that say least to a reader first: they are the first to go."""
    return sorted(snapshot, key=lambda key: ("(" not in key, "." not in key, key))
