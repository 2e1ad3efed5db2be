"""Types and units: an expression as written becomes a term, or the first error in it.

Strict on purpose: nothing is converted but a bare number beside a score. What an expression means
(a range, a bare `cost`, `/`) is decided here; afterwards only terms are left. Names and calls are
read by `infer_values`, comparisons and arithmetic by `infer_compare`.
"""

from typing import assert_never

from . import tree
from .agree import NOUNS, agree, as_condition, shown
from .core import And, Coalesce, Not, Or, Read, Term
from .diagnostic import Diagnostic
from .infer_compare import arithmetic, comparison, literal, membership, negate
from .infer_targets import cost_of, measured
from .infer_values import call, definition, index, name
from .reading import MAX_PARTS, Reading
from .refusal import Poisoned, Refused
from .schema import Attribute, Type
from .scope import Place, Scope
from .source import Span


def infer(expression: tree.Expression, scope: Scope, place: Place) -> Term | Diagnostic:
    """A condition as a term, or its first error.

    Raises: Poisoned where the condition uses a `let` name whose own error is reported already.
    """
    before = len(scope.findings)
    if scope.parts > MAX_PARTS:
        raise Poisoned("the conditions")  # said already, and each would cost as much
    reader = _Reader(scope, place)
    try:
        term = _condition(reader, expression)
        scope.parts += reader.size
        if scope.parts > MAX_PARTS:
            raise Refused(
                "RP001",
                f"the conditions of this policy have more than {MAX_PARTS} parts together",
                expression.span,
                "names of `let:` and lists count where they are used: write shorter ones",
            )
        return term
    except Refused as refused:
        del scope.findings[before:]  # one finding for a condition that has to be rewritten
        return refused.diagnostic


def define(name: str, scope: Scope) -> Diagnostic | None:
    """Check a `let` on its own, used or not; its error, if it has one."""
    reader = _Reader(scope, Place(), is_definition=True)
    written = scope.definitions[name]
    try:
        definition(reader, tree.Name(name, written.name.span))
    except Poisoned:
        scope.poisoned.add(name)
    except Refused as refused:
        scope.poisoned.add(name)
        return refused.diagnostic
    return None


def expected_cost(target: str, scope: Scope, span: Span) -> Term:
    """What a request is expected to cost on a target.

    Raises: Refused RP331; Poisoned where the target was refused already.
    """
    return cost_of(_Reader(scope, Place(target)), target, span, "cost")


def live_value(attribute: Attribute, target: str, scope: Scope, span: Span) -> Read:
    """What a target is measured by; one without a declared prior is a finding at `span`."""
    return measured(_Reader(scope, Place(target)), attribute, target, span)


def attribute_read(name: str, scope: Scope, argument: str | None = None) -> Read:
    """A read of an attribute that lowering needs; `name` is one of the schema."""
    return _Reader(scope, Place()).slot(scope.attributes[name], argument, None)


class _Reader(Reading):
    """Sends each kind of expression to what reads it."""

    def read(self, expression: tree.Expression) -> Term:
        match expression:
            case tree.Literal():
                return literal(expression)
            case tree.Name():
                return name(self, expression)
            case tree.Index():
                return index(self, expression)
            case tree.Call():
                return call(self, expression)
            case tree.Negate(operand, span):
                return negate(self, operand, span)
            case tree.Arithmetic():
                return arithmetic(self, expression)
            case tree.Default(operand, default, span):
                before, self.has_default = self.has_default, True
                left = self.value(operand)
                self.has_default = before
                left, right = agree(self.scope, left, self.value(default), operand, default, span)
                return Coalesce(left, right, left.type, span)
            case tree.Comparison():
                return comparison(self, expression)
            case tree.Membership():
                return membership(self, expression)
            case tree.Not(operand, span):
                return Not(_condition(self, operand), span)
            case tree.Junction(operator, operands, span):
                terms = tuple(_condition(self, operand) for operand in operands)
                terms = self.fetched_last(terms)
                return And(terms, span) if operator == "and" else Or(terms, span)
            case _:
                assert_never(expression)


def _condition(reader: _Reader, expression: tree.Expression) -> Term:
    """An expression that must be true or false."""
    term = reader.value(expression)
    if term.type is not Type.BOOL:
        raise Refused(
            "RP103",
            f"a condition is expected here, `{shown(expression.span)}` is {NOUNS[term.type]}",
            expression.span,
            as_condition(expression, term),
        )
    return term
