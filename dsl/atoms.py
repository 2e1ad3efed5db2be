"""The atoms of a condition: its smallest parts that are true or false by themselves, as written.

`tokens < 100 and tier in [free, pro]` has two. What lowering made of one written part (the two ends
of a range, a held comparison) stays one atom. Nothing is evaluated here.
"""

from collections.abc import Callable, Iterator

from .core import And, If, Named, Not, Or, Switch, Term
from .schema import Type, Value
from .walk import children

_INNER = (And, Or, Not, Named, If, Switch)


def atoms(condition: Term) -> Iterator[Term]:
    """The atoms of a condition in the order they were written, each place once.

    `let` names are looked into: their atoms stand where the name is defined.
    """
    seen: set[object] = set()
    stack = [condition]
    while stack:
        term = stack.pop()
        parts = _parts(term)
        if parts:
            stack.extend(reversed(parts))
            continue
        place = term.span if term.span is not None else id(term)
        if place not in seen:
            seen.add(place)
            yield term


def deciding(condition: Term, value_of: Callable[[Term], Value | None]) -> tuple[Term, ...]:
    """The atoms that make a condition what it is: false, unknown or true.

    Of a conjunction that is false these are the false operands, all of which would have to change;
    of a disjunction that is false, all operands. Unknown ones count where nothing else decides.
    """
    found: list[Term] = []
    stack = [condition]
    while stack:
        term = stack.pop()
        parts = _parts(term)
        if not parts:
            if all(term is not known for known in found):
                found.append(term)
            continue
        value = value_of(term)
        decisive = [part for part in parts if value_of(part) == value] if _is_many(term) else parts
        stack.extend(reversed(decisive or parts))
    return tuple(found)


def _is_many(term: Term) -> bool:
    return isinstance(term, And | Or)


def _parts(term: Term) -> tuple[Term, ...]:
    """The written conditions that a condition is made of; none of an atom."""
    if not isinstance(term, _INNER):
        return ()
    parts = tuple(part for part in children(term) if part.type is Type.BOOL)
    if isinstance(term, Named) or term.span is None:
        return parts
    # What is written, and made of what is not, was one comparison before lowering.
    return parts if all(part.span is not None for part in parts) else ()
