"""Terms as formulas: what each means.

A truth is two formulas, whether it is true and whether it is false; unknown is neither. A number
is whether it is known, and its value there. A text is the constants and values of the snapshot
that it may be, each with the formula under which it is that one.

This file is over 300 lines because it is one table with a case for each term.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from turnout.dsl.core import (
    LIMIT,
    And,
    Arithmetic,
    CeilDiv,
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
from turnout.dsl.interval import Bounds, combine
from turnout.dsl.kleene import TEXT_TESTS
from turnout.dsl.schema import Type, Value
from turnout.dsl.walk import children

from .smt_logic import Formula, Logic, Quantity
from .smt_snapshot import Variables

_AT_ONCE = 256  # terms that are made before the clock is looked at


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether it is true, whether it is false; never both."""

    true: Formula
    false: Formula


@dataclass(frozen=True, slots=True)
class Number:
    """Whether it has a value; the value, anything where it has none; between what it lies."""

    known: Formula
    value: Quantity
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Text:
    """What it may be, each with when it is that one; at most one of them, else it is unknown."""

    leaves: tuple[tuple[Formula, "str | _Place"], ...]


Form = Truth | Number | Text


@dataclass(frozen=True, slots=True)
class _Place:
    """A text of the snapshot, by its key."""

    key: str


class OutOfTime(Exception):
    """There is no time left to make formulas of terms."""


class Terms:
    """The forms of terms over the values of snapshots; each term's is made once."""

    def __init__(
        self,
        variables: Variables,
        logic: Logic,
        require: Callable[[Formula], None],
        is_over: Callable[[], bool] | None = None,
    ) -> None:
        """`require` makes a formula hold for good; once `is_over`, `OutOfTime` is raised."""
        self._is_over = is_over
        self._variables = variables
        self._texts = variables.texts
        self._logic = logic
        self._require = require
        # With the term itself: while it is held here, no other has its id.
        self._forms: dict[int, tuple[Term, Form]] = {}

    def truth(self, term: Term) -> Truth:
        """The form of a truth."""
        form = self._form(term)
        assert isinstance(form, Truth), "not a truth"
        return form

    def number(self, term: Term) -> Number:
        """The form of a number."""
        form = self._form(term)
        assert isinstance(form, Number), "not a number"
        return form

    # --- terms ---------------------------------------------------------------------------------

    def _form(self, root: Term) -> Form:
        forms = self._forms
        stack = [root]
        while stack:
            term = stack[-1]
            if id(term) in forms:
                stack.pop()
                continue
            missing = [child for child in children(term) if id(child) not in forms]
            if missing:
                stack.extend(missing)
            else:
                forms[id(term)] = (term, self._meaning(term))
                stack.pop()
                if len(forms) % _AT_ONCE == 0 and self._is_over is not None and self._is_over():
                    raise OutOfTime
        return forms[id(root)][1]

    def _of(self, term: Term) -> Form:
        return self._forms[id(term)][1]

    def _truth(self, term: Term) -> Truth:
        form = self._of(term)
        assert isinstance(form, Truth)
        return form

    def _number(self, term: Term) -> Number:
        form = self._of(term)
        assert isinstance(form, Number)
        return form

    def _meaning(self, term: Term) -> Form:
        logic = self._logic
        match term:
            case Const(value, type_):
                return _constant(value, type_)
            case Read(key, type_):
                return self._read(key, type_)
            case Named(_, operand):
                return self._of(operand)
            case Not(operand):
                truth = self._truth(operand)
                return Truth(truth.false, truth.true)
            case And(operands):
                truths = [self._truth(operand) for operand in operands]
                return Truth(
                    logic.all_of(truth.true for truth in truths),
                    logic.any_of(truth.false for truth in truths),
                )
            case Or(operands):
                truths = [self._truth(operand) for operand in operands]
                return Truth(
                    logic.any_of(truth.true for truth in truths),
                    logic.all_of(truth.false for truth in truths),
                )
            case Compare(operator, left, right):
                return self._compare(operator, self._of(left), self._of(right))
            case Member(operand, values):
                form = self._of(operand)
                known = self._known(form)
                is_one = logic.any_of(
                    self._equals(form, value) for value in sorted(values, key=repr)
                )
                return Truth(logic.both(known, is_one), logic.both(known, logic.negate(is_one)))
            case TextTest(kind, operand, text):
                return self._text_test(kind, self._of(operand), text)
            case Known(operand):
                known = self._known(self._of(operand))
                return Truth(known, logic.negate(known))
            case Coalesce(operand, default):
                form = self._of(operand)
                known = self._known(form)
                unknown = logic.negate(known)
                return self._one_of(term, [(known, form), (unknown, self._of(default))])
            case Arithmetic(operator, left, right):
                return self._arithmetic(term, operator, self._number(left), self._number(right))
            case CeilDiv(operand, divisor):
                return self._ceil_div(term, self._number(operand), divisor)
            case If(test, then, otherwise):
                truth = self._truth(test)
                return self._one_of(
                    term, [(truth.true, self._of(then)), (truth.false, self._of(otherwise))]
                )
            case Switch(operand, cases):
                form = self._of(operand)
                first: dict[Value, Form] = {}
                for label, case in cases:
                    first.setdefault(label, self._of(case))
                known = self._known(form)
                return self._one_of(
                    term,
                    [
                        (logic.both(known, self._equals(form, label)), its)
                        for label, its in first.items()
                    ],
                )
            case _:
                assert_never(term)

    def _read(self, key: str, type_: Type) -> Form:
        variable, logic = self._variables.of(key, type_), self._logic
        if type_ is Type.BOOL:
            return Truth(
                logic.both(variable.known, variable.value),
                logic.both(variable.known, logic.negate(variable.value)),
            )
        if type_ in (Type.TEXT, Type.ENUM):
            return Text(((variable.known, _Place(key)),))
        return Number(variable.known, variable.value, variable.bounds)

    def _known(self, form: Form) -> Formula:
        match form:
            case Truth(true, false):
                return self._logic.either(true, false)
            case Number(known):
                return known
            case Text(leaves):
                return self._logic.any_of(guard for guard, _ in leaves)

    def _one_of(self, term: Term, options: Sequence[tuple[Formula, Form]]) -> Form:
        """The form of the option whose guard holds; unknown where none does. Guards exclude."""
        logic = self._logic
        if term.type is Type.BOOL:
            truths = [(guard, form) for guard, form in options if isinstance(form, Truth)]
            return Truth(
                logic.any_of(logic.both(guard, form.true) for guard, form in truths),
                logic.any_of(logic.both(guard, form.false) for guard, form in truths),
            )
        if term.type in (Type.TEXT, Type.ENUM):
            texts = [(guard, form) for guard, form in options if isinstance(form, Text)]
            leaves = (
                (logic.both(guard, its), leaf) for guard, form in texts for its, leaf in form.leaves
            )
            return Text(tuple((guard, leaf) for guard, leaf in leaves if guard is not False))
        numbers = [(guard, form) for guard, form in options if isinstance(form, Number)]
        if not numbers:
            return Number(False, 0, (0, 0))
        value = numbers[-1][1].value
        for guard, form in reversed(numbers[:-1]):
            value = logic.choose(guard, form.value, value)
        known = logic.any_of(logic.both(guard, form.known) for guard, form in numbers)
        return Number(known, value, self._bounds(term))

    # --- comparisons ---------------------------------------------------------------------------

    def _compare(self, operator: str, left: Form, right: Form) -> Truth:
        logic = self._logic
        match left, right:
            case Number(), Number():
                known = logic.both(left.known, right.known)
                holds = logic.compare(operator, left.value, right.value)
            case Truth(), Truth():
                known = logic.both(self._known(left), self._known(right))
                holds = logic.alike(left.true, right.true)
                holds = holds if operator == "==" else logic.negate(holds)
            case Text(), Text():
                known = logic.both(self._known(left), self._known(right))
                holds = logic.any_of(
                    logic.all_of((one, other, self._same(leaf, its)))
                    for one, leaf in left.leaves
                    for other, its in right.leaves
                )
                holds = holds if operator == "==" else logic.negate(holds)
            case _:
                raise TypeError("two values of different types are compared")
        return Truth(logic.both(known, holds), logic.both(known, logic.negate(holds)))

    def _equals(self, form: Form, value: Value) -> Formula:
        """Whether it is this constant, given that it is known."""
        match form:
            case Number():
                return self._logic.compare("==", form.value, int(value))
            case Truth(true, false):
                return true if value else false
            case Text(leaves):
                return self._logic.any_of(
                    self._logic.both(guard, self._same(leaf, str(value))) for guard, leaf in leaves
                )

    def _same(self, one: "str | _Place", other: "str | _Place") -> Formula:
        match one, other:
            case str(), str():
                return one == other
            case _Place(key), str():
                return self._texts.word(key).equals(other)
            case str(), _Place(key):
                return self._texts.word(key).equals(one)
            case _Place(key), _Place(its_key):
                return self._texts.word(key).same(self._texts.word(its_key))
        raise TypeError("not two texts")

    def _text_test(self, kind: str, form: Form, text: str) -> Truth:
        assert isinstance(form, Text)
        logic = self._logic
        outcomes = [
            (
                guard,
                TEXT_TESTS[kind](leaf, text)
                if isinstance(leaf, str)
                else self._texts.word(leaf.key).passes(kind, text),
            )
            for guard, leaf in form.leaves
        ]
        return Truth(
            logic.any_of(logic.both(guard, passed) for guard, passed in outcomes),
            logic.any_of(logic.both(guard, logic.negate(passed)) for guard, passed in outcomes),
        )

    # --- numbers -------------------------------------------------------------------------------

    def _bounds(self, term: Term) -> Bounds:
        low, high = combine(term, lambda part: self._number(part).bounds)
        return max(low, -LIMIT), min(high, LIMIT)

    def _arithmetic(self, term: Term, operator: str, left: Number, right: Number) -> Number:
        logic = self._logic
        value = logic.calculate(operator, left.value, right.value)
        known = logic.both(left.known, right.known)
        low, high = combine(term, lambda part: self._number(part).bounds)
        if low < -LIMIT:
            known = logic.both(known, logic.compare("<=", -LIMIT, value))
        if high > LIMIT:
            known = logic.both(known, logic.compare("<=", value, LIMIT))
        return Number(known, value, (max(low, -LIMIT), min(high, LIMIT)))

    def _ceil_div(self, term: Term, form: Number, divisor: int) -> Number:
        if isinstance(form.value, int):
            value: Quantity = -(-form.value // divisor)
        elif divisor == 1:
            value = form.value
        else:
            # The one integer with `value * divisor - divisor < operand <= value * divisor`.
            logic = self._logic
            value = logic.number()
            whole = logic.calculate("*", value, divisor)
            self._require(logic.compare("<=", form.value, whole))
            below = logic.calculate("-", whole, divisor)
            self._require(logic.compare("<", below, form.value))
        return Number(form.known, value, self._bounds(term))


def _constant(value: Value | None, type_: Type) -> Form:
    if type_ is Type.BOOL:
        return Truth(value is True, value is False)
    if isinstance(value, str):
        return Text(((True, value),))
    if type_ in (Type.TEXT, Type.ENUM):
        return Text(())
    if value is None or not -LIMIT <= value <= LIMIT:
        return Number(False, 0, (0, 0))
    return Number(True, int(value), (int(value), int(value)))
