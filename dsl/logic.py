"""Truths put together: what is never unknown, and what a constant decides is left out."""

from collections.abc import Iterable

from .core import And, Coalesce, Const, Not, Or, Term
from .schema import Type

TRUE, FALSE = Const(True, Type.BOOL), Const(False, Type.BOOL)


def is_true(term: Term) -> Term:
    """Whether a truth is true; never unknown."""
    if isinstance(term, Const):
        return TRUE if term.value is True else FALSE
    return Coalesce(term, FALSE, Type.BOOL)


def is_not_false(term: Term) -> Term:
    """Whether a truth is true or unknown; never unknown."""
    if isinstance(term, Const):
        return FALSE if term.value is False else TRUE
    return Coalesce(term, TRUE, Type.BOOL)


def negation(term: Term) -> Term:
    """`not`, where constants are."""
    if isinstance(term, Const) and term.value is not None:
        return FALSE if term.value else TRUE
    return term.operand if isinstance(term, Not) else Not(term)


def all_of(terms: Iterable[Term]) -> Term:
    """`and` of truths that are never unknown."""
    return _joined(terms, TRUE, FALSE)


def any_of(terms: Iterable[Term]) -> Term:
    """`or` of truths that are never unknown."""
    return _joined(terms, FALSE, TRUE)


def _joined(terms: Iterable[Term], neutral: Const, decisive: Const) -> Term:
    kept: dict[int, Term] = {}
    for term in terms:
        if isinstance(term, Const):
            if term.value is decisive.value:
                return decisive
        else:
            kept[id(term)] = term
    if len(kept) <= 1:
        return next(iter(kept.values()), neutral)
    return And(tuple(kept.values())) if neutral is TRUE else Or(tuple(kept.values()))
