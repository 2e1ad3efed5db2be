"""Between which integers a term's value lies, whatever the snapshot: static bounds.

Snapshots hold 64-bit integers, and no term's value exceeds `core.LIMIT`; both are used here. The
bounds say nothing of when a value is unknown.
"""

from collections.abc import Callable, Mapping

from .core import (
    LIMIT,
    Arithmetic,
    CeilDiv,
    Coalesce,
    Const,
    If,
    Named,
    Read,
    Switch,
    Term,
)
from .keys import attribute_of
from .schema import Attribute
from .walk import leaves_first

Bounds = tuple[int, int]
WORD: Bounds = (-(2**63), 2**63 - 1)  # what a snapshot's integer fits in


def bounds(term: Term, attributes: Mapping[str, Attribute]) -> Bounds:
    """The least and the greatest value of an integer term, given the attributes' ranges."""
    found: dict[int, Bounds] = {}
    for part in leaves_first([term]):
        low, high = combine(part, lambda child: found[id(child)])
        if isinstance(part, Read):
            low, high = _declared(part, attributes)
        found[id(part)] = (max(low, -LIMIT), min(high, LIMIT))
    return found[id(term)]


def combine(term: Term, of: Callable[[Term], Bounds]) -> Bounds:
    """The bounds of a term from those of its children; may exceed LIMIT, where a check is due."""
    match term:
        case Const(value) if isinstance(value, int):
            return value, value
        case Named(_, operand):
            return of(operand)
        case Coalesce(operand, default):
            return _hull(of(operand), of(default))
        case If(_, then, otherwise):
            return _hull(of(then), of(otherwise))
        case Switch(_, cases) if cases:
            return _hull(*(of(case) for _, case in cases))
        case CeilDiv(operand, divisor):
            low, high = of(operand)
            return -(-low // divisor), -(-high // divisor)
        case Arithmetic(operator, left, right):
            return _calculate(operator, of(left), of(right))
        case _:
            return WORD


def _declared(read: Read, attributes: Mapping[str, Attribute]) -> Bounds:
    attribute = attributes.get(attribute_of(read.key))
    if attribute is None:
        return WORD
    low = WORD[0] if attribute.minimum is None else attribute.minimum
    high = WORD[1] if attribute.maximum is None else attribute.maximum
    return low, high


def _hull(*parts: Bounds) -> Bounds:
    return min(low for low, _ in parts), max(high for _, high in parts)


def _calculate(operator: str, left: Bounds, right: Bounds) -> Bounds:
    match operator:
        case "+":
            return left[0] + right[0], left[1] + right[1]
        case "-":
            return left[0] - right[1], left[1] - right[0]
        case "*":
            products = [a * b for a in left for b in right]
            return min(products), max(products)
        case "min":
            return min(left[0], right[0]), min(left[1], right[1])
        case _:
            return max(left[0], right[0]), max(left[1], right[1])
