"""The values of snapshots as z3 knows them, and what holds of every snapshot.

A value comes to be when it is first read, with its range, its domain, and whether it is always
known, as the slots of the programs say; and with what ties it to others that are read as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.interval import WORD, Bounds
from turnout.dsl.keys import attribute_of
from turnout.dsl.schema import Attribute, Type, Value

from .smt_logic import Formula, Logic, Quantity
from .smt_text import Reading, Texts

# Values of one target and one window that never fall from left to right.
_RISING = (("p50", "p90", "p95", "p99"), ("ttft.p50", "ttft.p95"))
_BUDGET = ("budget.limit", "budget.used", "budget.left")
_RANGES: dict[Type, Bounds] = {Type.WEEKDAY: (0, 6), Type.TIME: (0, 1439)}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value of the snapshot: whether it is known; the value, of a text its key in `texts`.

    `bounds` are those of a number, whatever else holds of it.
    """

    known: Formula
    value: Formula | Quantity | str
    bounds: Bounds = WORD


@dataclass(frozen=True, slots=True)
class _Kind:
    """What holds of a key's values in all programs that read it."""

    always_known: bool
    bounds: Bounds
    domain: tuple[str, ...] | None


class Variables:
    """The values of the snapshots of some programs, by key."""

    def __init__(
        self, programs: Sequence[Program], logic: Logic, require: Callable[[Formula], None]
    ) -> None:
        """`require` makes a formula hold for good."""
        self.texts = Texts(logic, require)
        self._programs = programs
        self._logic = logic
        self._require = require
        self._variables: dict[str, Variable] = {}
        # Of values that are tied together, what they have in common; then by attribute.
        self._tied: dict[tuple[str, str], dict[str, Variable]] = {}

    def of(self, key: str, type_: Type) -> Variable:
        """The value of a key; it comes to be where it was not read before."""
        variable = self._variables.get(key)
        if variable is None:
            logic, kind = self._logic, self._kind(key, type_)
            known = True if kind.always_known else logic.truth()
            if type_ is Type.BOOL:
                variable = Variable(known, logic.truth())
            elif type_ in (Type.TEXT, Type.ENUM):
                self.texts.declare(key, kind.domain)
                variable = Variable(known, key)
            else:
                variable = Variable(known, logic.number(), kind.bounds)
                low, high = kind.bounds
                self._require(logic.compare("<=", low, variable.value))
                self._require(logic.compare("<=", variable.value, high))
            self._variables[key] = variable
            self._tie(key, variable)
        return variable

    def read(self, model: object) -> tuple[dict[str, Value | None], dict[str, Reading]]:
        """The values of a model by key, and the texts among them as they were read."""
        logic = self._logic
        known = {k: logic.value(model, v.known) for k, v in self._variables.items()}
        texts = self.texts.read(model, lambda key: known[key])
        values: dict[str, Value | None] = {}
        for key, variable in self._variables.items():
            if not known[key]:
                values[key] = None
            elif key in texts:
                values[key] = texts[key].text
            else:
                values[key] = logic.value(model, variable.value)
        return values, texts

    def _kind(self, key: str, type_: Type) -> _Kind:
        attributes = list(self._attributes(key))
        ranges = [_range(attribute, type_) for attribute in attributes]
        domains = [attribute.domain for attribute in attributes]
        together: dict[str, None] = {}
        for domain in domains:
            together.update(dict.fromkeys(domain or ()))
        is_open = not domains or None in domains
        return _Kind(
            bool(attributes)
            and all(attribute.always_known for attribute in attributes)
            and f"({REQUESTED}" not in key,  # of what was asked for, if anything was
            (min(low for low, _ in ranges), max(high for _, high in ranges))
            if ranges
            else _RANGES.get(type_, WORD),
            None if is_open else tuple(together),
        )

    def _attributes(self, key: str) -> Iterable[Attribute]:
        slots = [p.slots[key].attribute for p in self._programs if key in p.slots]
        if slots:
            return slots
        name = attribute_of(key)
        known = (program.schema.attributes.get(name) for program in self._programs)
        return [attribute for attribute in known if attribute is not None][:1]

    def _tie(self, key: str, variable: Variable) -> None:
        """What holds of a value and others of the same snapshot, once they are read, too."""
        name = attribute_of(key)
        if name in ("date", "weekday"):
            clock = self._tied.setdefault(("clock", ""), {})
            clock[name] = variable
            self._require_weekday(clock)
        elif name in _BUDGET:
            budget = self._tied.setdefault(("budget", key.partition(")")[0]), {})
            budget[name] = variable
            self._require_balance(budget)
        for order in _RISING:
            if name in order:
                measured = self._tied.setdefault((order[0], key.removeprefix(name)), {})
                for other, its in measured.items():
                    is_above = order.index(other) < order.index(name)
                    self._require_rising(*((its, variable) if is_above else (variable, its)))
                measured[name] = variable

    def _require_weekday(self, clock: Mapping[str, Variable]) -> None:
        if len(clock) == 2:  # 1970-01-01 was a Thursday
            logic, date, weekday = self._logic, clock["date"], clock["weekday"]
            weeks = logic.calculate("*", logic.number(), 7)
            days = logic.calculate("+", weeks, weekday.value)
            thursday = logic.calculate("+", date.value, 3)
            known = logic.both(date.known, weekday.known)
            self._require(logic.implies(known, logic.compare("==", days, thursday)))

    def _require_balance(self, budget: Mapping[str, Variable]) -> None:
        if {"budget.limit", "budget.left"} <= budget.keys():  # nothing below 0 is spent
            self._require_rising(budget["budget.left"], budget["budget.limit"])
        if len(budget) == len(_BUDGET):
            logic = self._logic
            limit, used, left = (budget[name] for name in _BUDGET)
            known = logic.all_of((limit.known, used.known, left.known))
            balance = logic.calculate("-", limit.value, used.value)
            self._require(logic.implies(known, logic.compare("==", left.value, balance)))

    def _require_rising(self, low: Variable, high: Variable) -> None:
        known = self._logic.both(low.known, high.known)
        is_rising = self._logic.compare("<=", low.value, high.value)
        self._require(self._logic.implies(known, is_rising))


def _range(attribute: Attribute, type_: Type) -> Bounds:
    low, high = _RANGES.get(type_, WORD)
    return (
        low if attribute.minimum is None else attribute.minimum,
        high if attribute.maximum is None else attribute.maximum,
    )
