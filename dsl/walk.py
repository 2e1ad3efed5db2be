"""Going over terms: the children of each kind, in order, and whole terms from the leaves up.

Nothing here recurses, so that no nesting is too deep. What a term means is not known here.
"""

from collections.abc import Iterable, Iterator
from typing import assert_never

from .core import (
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


def children(term: Term) -> tuple[Term, ...]:
    """The terms directly below, in the order they were written."""
    match term:
        case Const() | Read():
            return ()
        case And(operands) | Or(operands):
            return operands
        case Compare(_, left, right) | Arithmetic(_, left, right):
            return (left, right)
        case Coalesce(operand, default):
            return (operand, default)
        case If(test, then, otherwise):
            return (test, then, otherwise)
        case Switch(operand, cases):
            return (operand, *(case for _, case in cases))
        case (
            Not(operand)
            | Known(operand)
            | Member(operand)
            | TextTest(_, operand)
            | CeilDiv(operand)
            | Named(_, operand)
        ):
            return (operand,)
        case _:
            assert_never(term)


def leaves_first(roots: Iterable[Term]) -> Iterator[Term]:
    """Every term below the roots and these themselves, each object once, children before parents.

    Shape: objects are told apart by identity, so a shared sub-term comes once.
    """
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Term, bool]] = [(root, False)]
        while stack:
            term, is_ready = stack.pop()
            if is_ready:
                yield term
            elif id(term) not in seen:
                seen.add(id(term))
                stack.append((term, True))
                stack.extend((child, False) for child in reversed(children(term)))


def reads(roots: Iterable[Term]) -> tuple[str, ...]:
    """The snapshot keys that the terms may read, each once, in the order of their first use."""
    return tuple(dict.fromkeys(term.key for term in leaves_first(roots) if isinstance(term, Read)))
