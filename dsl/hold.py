"""`hold`: comparisons of live values that stay true for a while once they were.

Each becomes `held(rule:n) ?? false or <comparison>`: whether it is latched is a value of the
snapshot, so that a replay sees what the gateway saw. What reads the request, the caller or a budget
is never latched, nor a value of `requested`, which is another target for every request.
"""

from collections.abc import Callable, Mapping

from .core import (
    REQUESTED,
    And,
    Coalesce,
    Compare,
    Const,
    If,
    Latch,
    Member,
    Named,
    Not,
    Or,
    Read,
    Slot,
    Term,
    TextTest,
)
from .schema import Parameter, Type
from .walk import children, reads, with_children


def hold(
    term: Term,
    rule: str,
    hold_us: int,
    slots: Mapping[str, Slot],
    read: Callable[[str], Read],
) -> tuple[Term, tuple[Latch, ...]]:
    """The condition over latched comparisons, and its latches in the order they are written.

    `slots` says what is live; `read` makes the read of the truth for `<rule>:<number>`.
    """
    latches: list[Latch] = []
    done: dict[int, Term] = {}  # a `let` used twice is latched once

    def latched(part: Term) -> Term:
        truth = read(f"{rule}:{len(latches)}")
        latches.append(Latch(truth.key, part, hold_us))
        held = Coalesce(truth, Const(False, Type.BOOL), Type.BOOL)
        return Or((held, part), part.span)

    def walk(part: Term) -> Term:
        if id(part) not in done:
            if _is_unit(part):
                done[id(part)] = latched(part) if _is_live(part, slots) else part
            else:
                done[id(part)] = with_children(part, tuple(walk(c) for c in children(part)))
        return done[id(part)]

    return walk(term), tuple(latches)


def _is_unit(term: Term) -> bool:
    """Whether a truth is one comparison as written, though lowering may have made several of it."""
    match term:
        case And(operands) | Or(operands):
            # The two sides of a range have no place of their own.
            return all(isinstance(o, Compare) and o.span is None for o in operands)
        case Not(operand):
            # `not in` is one comparison; of `not (a > b)` it is the `a > b` that is held.
            return isinstance(operand, Read) or operand.span is None
        case Named(_, operand):
            return isinstance(operand, If | Compare) and operand.span is None
        case _:
            return True


def _is_live(term: Term, slots: Mapping[str, Slot]) -> bool:
    """Whether a comparison reads live values of named targets, and nothing else."""
    if not isinstance(term, Compare | Member | TextTest | Read | Not | Named | And | Or):
        return False
    keys = reads([term])
    return bool(keys) and all(_of_named_target(slots.get(key)) for key in keys)


def _of_named_target(slot: Slot | None) -> bool:
    if slot is None or not slot.attribute.live:
        return False
    return slot.attribute.parameter is Parameter.TARGET and slot.argument != REQUESTED
