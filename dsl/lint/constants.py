"""What conditions come to whatever the request: terms that constants alone decide.

Folding only, no solver: `1 == 2`, and what follows from it by the tables of the three truths.
"""

from collections.abc import Iterable, Mapping, Sequence, Set

from turnout.dsl.core import (
    And,
    Clause,
    Coalesce,
    Compare,
    Const,
    If,
    Member,
    Named,
    Or,
    Read,
    Term,
)
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.schema import Type
from turnout.dsl.source import Span
from turnout.dsl.walk import children, leaves_first, reads, with_children


def constants(roots: Iterable[Term], facts: Set[Span] = frozenset()) -> Mapping[int, Const]:
    """The terms that are constant, by `id`.

    A `let` that is `true` or `false` and nothing else is there to be changed, so it is none.
    `facts` are the places of values that are constant for one target, and others for the next.
    """
    found: dict[int, Const] = {}
    for term in leaves_first(roots):
        if isinstance(term, Const):
            constant = None if term.span in facts else term
        else:
            constant = _folded(term, [found.get(id(child)) for child in children(term)])
        if constant is not None:
            found[id(term)] = constant
    return found


def _folded(term: Term, below: Sequence[Const | None]) -> Const | None:
    """What a term comes to; `below` are its children, None for those that are not constant."""
    parts = tuple(part for part in below if part is not None)
    match term, below:
        case Named(operand=Const(type=Type.BOOL)), _:
            return None
        case And() | Or(), _ if any(part.value is isinstance(term, Or) for part in parts):
            return Const(isinstance(term, Or), Type.BOOL)
        case Coalesce(), (Const(value) as operand, _) if value is not None:
            return operand
        case If(), (Const(value), then, otherwise) if value is not None:
            return then if value else otherwise
        case _ if parts and len(parts) == len(below):
            return Const(evaluate(with_children(term, parts), {}).value, term.type)
        case _:
            return None


def takes_all(clause: Clause) -> bool:
    """Whether a rule has no condition, or one that is always true by itself."""
    if clause.test is None:
        return True
    first = clause.test  # of many rules this is enough: true of all requests are all their parts
    while isinstance(first, And | Named):
        first = children(first)[0]
    if isinstance(first, Compare | Member | Read) and reads([first]):
        return False
    constant = constants([clause.test]).get(id(clause.test))
    return constant is not None and constant.value is True
