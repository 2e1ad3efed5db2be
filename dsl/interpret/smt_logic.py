"""Formulas of z3, with what is settled already kept as Python's truths and integers.

A formula is True, False or a z3 truth; a quantity is an int or a z3 integer. z3 has no types for a
type checker, so both are `Any` here. The thin layer of z3's own C functions is called directly:
its operators for Python cost ten times as much, and a policy makes ten thousand formulas.
"""

from collections.abc import Iterable
from operator import add, mul, sub
from typing import Any

import z3

from turnout.dsl.kleene import COMPARISONS

Formula = Any
Quantity = Any

_OPPOSITES = {"!=": "==", ">": "<=", ">=": "<"}
_FOLDED = {"+": add, "-": sub, "*": mul}


class Logic:
    """Makes the formulas of one z3 context."""

    def __init__(self) -> None:
        """Start a context of its own: nothing is shared with any other."""
        self.context = z3.Context()
        self._ref = self.context.ref()
        self._booleans = z3.BoolSort(self.context)
        self._integers = z3.IntSort(self.context)
        self._texts = z3.DeclareSort("text", self.context)
        self._numerals: dict[int, Quantity] = {}
        self._settled = {truth: z3.BoolVal(truth, self.context) for truth in (True, False)}

    # --- leaves --------------------------------------------------------------------------------

    def truth(self) -> Formula:
        """A truth that is not settled."""
        return z3.BoolRef(z3.Z3_mk_fresh_const(self._ref, "b", self._booleans.ast), self.context)

    def number(self) -> Quantity:
        """An integer that is not settled."""
        return z3.ArithRef(z3.Z3_mk_fresh_const(self._ref, "n", self._integers.ast), self.context)

    def text(self) -> Any:
        """A text of which only equality is known."""
        return z3.ExprRef(z3.Z3_mk_fresh_const(self._ref, "t", self._texts.ast), self.context)

    def formula(self, formula: Formula) -> Any:
        """The same as z3 knows it."""
        return self._settled[formula] if isinstance(formula, bool) else formula

    def quantity(self, quantity: Quantity) -> Any:
        """The same as z3 knows it."""
        if not isinstance(quantity, int):
            return quantity
        numeral = self._numerals.get(quantity)
        if numeral is None:
            ast = z3.Z3_mk_numeral(self._ref, str(quantity), self._integers.ast)
            numeral = self._numerals[quantity] = z3.ArithRef(ast, self.context)
        return numeral

    # --- truths --------------------------------------------------------------------------------

    def negate(self, formula: Formula) -> Formula:
        """Not."""
        if isinstance(formula, bool):
            return not formula
        return self._truth(z3.Z3_mk_not(self._ref, formula.ast))

    def all_of(self, formulas: Iterable[Formula]) -> Formula:
        """And; true of none."""
        return self._join(formulas, False, z3.Z3_mk_and)

    def any_of(self, formulas: Iterable[Formula]) -> Formula:
        """Or; false of none."""
        return self._join(formulas, True, z3.Z3_mk_or)

    def both(self, one: Formula, other: Formula) -> Formula:
        """And, of two."""
        return self.all_of((one, other))

    def either(self, one: Formula, other: Formula) -> Formula:
        """Or, of two."""
        return self.any_of((one, other))

    def implies(self, one: Formula, other: Formula) -> Formula:
        """Or, the first negated."""
        return self.any_of((self.negate(one), other))

    def alike(self, one: Formula, other: Formula) -> Formula:
        """Whether two truths are the same."""
        if isinstance(one, bool):
            return other if one else self.negate(other)
        if isinstance(other, bool):
            return one if other else self.negate(one)
        if one is other:
            return True
        return self._truth(z3.Z3_mk_eq(self._ref, one.ast, other.ast))

    def _join(self, formulas: Iterable[Formula], absorbs: bool, make: Any) -> Formula:
        kept: dict[int, Formula] = {}
        for formula in formulas:
            if formula is absorbs:
                return absorbs
            if not isinstance(formula, bool):
                kept[id(formula)] = formula
        if len(kept) < 2:
            return next(iter(kept.values()), not absorbs)
        asts = (z3.Ast * len(kept))(*(formula.ast for formula in kept.values()))
        return self._truth(make(self._ref, len(kept), asts))

    def _truth(self, ast: Any) -> Formula:
        return z3.BoolRef(ast, self.context)

    # --- integers ------------------------------------------------------------------------------

    def compare(self, operator: str, left: Quantity, right: Quantity) -> Formula:
        """A comparison of two integers."""
        if isinstance(left, int) and isinstance(right, int):
            return COMPARISONS[operator](left, right)
        if left is right:
            return operator in ("==", "<=", ">=")
        opposite = _OPPOSITES.get(operator)
        if opposite is not None:
            return self.negate(self.compare(opposite, left, right))
        one, other = self.quantity(left).ast, self.quantity(right).ast
        make = {"==": z3.Z3_mk_eq, "<": z3.Z3_mk_lt, "<=": z3.Z3_mk_le}[operator]
        return self._truth(make(self._ref, one, other))

    def same_text(self, left: Any, right: Any) -> Formula:
        """Whether two texts are equal."""
        return self._truth(z3.Z3_mk_eq(self._ref, left.ast, right.ast))

    def calculate(self, operator: str, left: Quantity, right: Quantity) -> Quantity:
        """`+ - * min max` of two integers, without a limit."""
        if operator in ("min", "max"):
            is_left = self.compare("<=" if operator == "min" else ">=", left, right)
            return self.choose(is_left, left, right)
        if isinstance(left, int) and isinstance(right, int):
            return _FOLDED[operator](left, right)
        pair = (z3.Ast * 2)(self.quantity(left).ast, self.quantity(right).ast)
        make = {"+": z3.Z3_mk_add, "-": z3.Z3_mk_sub, "*": z3.Z3_mk_mul}[operator]
        return z3.ArithRef(make(self._ref, 2, pair), self.context)

    def choose(self, test: Formula, then: Quantity, otherwise: Quantity) -> Quantity:
        """One of two integers."""
        if isinstance(test, bool):
            return then if test else otherwise
        if then is otherwise or (isinstance(then, int) and then == otherwise):
            return then
        parts = (test.ast, self.quantity(then).ast, self.quantity(otherwise).ast)
        return z3.ArithRef(z3.Z3_mk_ite(self._ref, *parts), self.context)

    # --- models --------------------------------------------------------------------------------

    def value(self, model: Any, expression: Any) -> Any:
        """What a z3 truth or integer is in a model; any value it may have where it is free."""
        if isinstance(expression, bool | int):
            return expression
        found = (z3.Ast * 1)()
        is_there = z3.Z3_model_eval(self._ref, model.model, expression.ast, True, found)
        assert is_there, "a model has a value for everything"
        if isinstance(expression, z3.BoolRef):
            return bool(z3.Z3_get_bool_value(self._ref, found[0]) == z3.Z3_L_TRUE)
        return int(z3.Z3_get_numeral_string(self._ref, found[0]))
