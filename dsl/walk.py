"""Going over terms: the children of each kind, in order, and whole terms from the leaves up.

Nothing here recurses, so that no nesting is too deep. What a term means is not known here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from .core import (
    And,
    Arithmetic,
    Cache,
    CeilDiv,
    Choice,
    Clause,
    Coalesce,
    Compare,
    Const,
    Hop,
    If,
    Known,
    Latch,
    Limit,
    Member,
    Named,
    Not,
    Or,
    Plan,
    Program,
    Read,
    Split,
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


def rewrite(root: Term, change: Callable[[Read], Term]) -> Term:
    """The term with each read changed; what holds no changed read stays the same object."""
    done: dict[int, Term] = {}
    for term in leaves_first([root]):
        if isinstance(term, Read):
            done[id(term)] = change(term)
        else:
            done[id(term)] = with_children(term, tuple(done[id(c)] for c in children(term)))
    return done[id(root)]


def with_children(term: Term, below: tuple[Term, ...]) -> Term:
    """The term over other children, in the order of `children`; itself where they are its own."""
    if all(new is old for new, old in zip(below, children(term), strict=True)):
        return term
    match term:
        case And() | Or():
            return replace(term, operands=below)
        case Compare() | Arithmetic():
            return replace(term, left=below[0], right=below[1])
        case Coalesce():
            return replace(term, operand=below[0], default=below[1])
        case If():
            return replace(term, test=below[0], then=below[1], otherwise=below[2])
        case Switch(_, cases):
            keys = (key for key, _ in cases)
            return replace(term, operand=below[0], cases=tuple(zip(keys, below[1:], strict=True)))
        case Not() | Known() | Member() | TextTest() | CeilDiv() | Named():
            return replace(term, operand=below[0])
        case Const() | Read():
            return term
        case _:
            assert_never(term)


def gateway_terms(
    clauses: Iterable[Clause],
    chain: Iterable[Hop],
    limits: Iterable[Limit] = (),
    latches: Iterable[Latch] = (),
    cache: Cache | None = None,
) -> Iterator[Term]:
    """Every term that a gateway may evaluate for a request, or at a tick.

    Invariants are not among them: they are proved, never evaluated.
    """
    for clause in clauses:
        yield clause.applies
        yield from plan_terms(clause.plan)
    yield from _guards(chain)
    for limit in limits:
        if limit.when is not None:
            yield limit.when
        yield limit.target
    yield from (latch.test for latch in latches)
    if cache is not None:
        yield from (term for term in (cache.only, cache.never) if term is not None)


def program_terms(program: Program) -> Iterator[Term]:
    """The same of a program."""
    return gateway_terms(
        program.clauses, program.chain, program.limits, program.latches, program.cache
    )


def plan_terms(plan: Plan) -> Iterator[Term]:
    """The terms of a plan: what a choice or a split falls by, the mirror's sample, the guards."""
    match plan.route:
        case Hop():
            yield from _guards((plan.route,))
        case Choice(_, candidates):
            for candidate in candidates:
                yield candidate.fits
                yield from (t for t in (candidate.where, candidate.rank) if t is not None)
        case Split(bucket, arms):
            yield bucket
            yield from (arm.upto for arm in arms)
        case _:
            pass
    if plan.mirror is not None:
        yield plan.mirror.sampled
    yield from _guards(plan.fallback or ())


def _guards(hops: Iterable[Hop]) -> Iterator[Term]:
    return (hop.when for hop in hops if hop.when is not None)
