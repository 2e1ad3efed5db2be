"""The three-valued tables that every interpretation obeys; None is the unknown.

Here are the meanings of operators on values that are there already. Which term uses which is the
business of the interpretations; `traced` calls these functions, `compiled` emits what equals them.

Laws: tests/dsl/test_dsl_laws.py.
"""

from collections.abc import Callable, Iterable
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from .core import LIMIT
from .pattern import finder
from .schema import Value

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "has": str.__contains__,
    "matches": lambda text, wanted: finder(wanted)(text),
}


def negate(truth: bool | None) -> bool | None:
    """Not: the unknown stays unknown.

    >>> negate(True), negate(None)
    (False, None)
    """
    return None if truth is None else not truth


def conjoin(truths: Iterable[bool | None]) -> bool | None:
    """And: false wins over unknown, and nothing at all is true.

    >>> conjoin([True, None]), conjoin([None, False])
    (None, False)
    """
    result: bool | None = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def disjoin(truths: Iterable[bool | None]) -> bool | None:
    """Or: true wins over unknown, and nothing at all is false.

    >>> disjoin([False, None]), disjoin([None, True])
    (None, True)
    """
    result: bool | None = False
    for truth in truths:
        if truth is True:
            return True
        if truth is None:
            result = None
    return result


def compare(operator: str, left: Value | None, right: Value | None) -> bool | None:
    """A comparison; unknown if a side is."""
    if left is None or right is None:
        return None
    return COMPARISONS[operator](left, right)


def match_text(kind: str, text: str | None, wanted: str) -> bool | None:
    """A test of text against a constant; unknown if the text is."""
    return None if text is None else TEXT_TESTS[kind](text, wanted)


def calculate(operator: str, left: int | None, right: int | None) -> int | None:
    """Exact arithmetic; unknown if a side is, or if the result does not fit (`core.LIMIT`)."""
    if left is None or right is None:
        return None
    match operator:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "min":
            result = min(left, right)
        case _:
            result = max(left, right)
    return fitting(result)


def ceil_div(value: int | None, divisor: int) -> int | None:
    """Division by a positive constant, rounded towards plus infinity.

    >>> ceil_div(7, 2), ceil_div(-7, 2)
    (4, -3)
    """
    return None if value is None else -(-value // divisor)


def fitting(value: int) -> int | None:
    """The value where it fits into 128 bits, else unknown."""
    return value if -LIMIT <= value <= LIMIT else None
