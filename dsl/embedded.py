"""Whose text newly goes to what makes the embeddings of `similar_to`.

The gateway asks for an embedding when a condition comes to read it: whose text goes there hangs on
the order in which rules, and the parts of a condition, are written.
"""

from collections.abc import Callable, Iterator

from .core import Clause, Const, Program, Read, Term
from .interpret.compiled import compile_program
from .limits import Gate
from .logic import FALSE, TRUE, all_of, is_not_false, negation
from .meaning import as_written
from .prove import Answer, Confirm, NotDecided, Prover, Witness
from .schema import Type, Value
from .side import Side
from .snapshot import Snapshot
from .walk import plan_terms, reads, rewrite

_SIMILAR = "similar_to("


class _Watched(Snapshot):
    """A request that tells whether the similarity of its text was read."""

    __slots__ = ("is_read",)

    is_read: bool

    def __getitem__(self, key: str) -> Value | None:
        """The value, and a note where it is a similarity."""
        if key.startswith(_SIMILAR):
            self.is_read = True
        return super().get(key)

    def get(self, key: str, default: Value | None = None) -> Value | None:  # type: ignore[override]
        """The same."""
        found = self[key]
        return default if found is None else found


def reads_similar(program: Program) -> bool:
    """Whether some text of a request may be embedded."""
    return any(key.startswith(_SIMILAR) for key in program.slots)


def is_let_in_alike(old: Program, new: Program) -> bool:
    """Whether the same limits, as written, stand before what makes the embeddings."""
    return _limits_as_written(old) == _limits_as_written(new)


def limits_read(program: Program) -> tuple[str, ...]:
    """The keys that decide whether a text may be embedded at all."""
    return reads(term for terms in _limits(program) for term in terms if term is not None)


def is_read_alike(old: Side, new: Side) -> bool:
    """Whether similarities are read in the same places behind the same conditions, as written."""
    return _written(old) == _written(new)


def newly_read(
    old: Side, new: Side, prover: Prover, simplest: Callable[[Snapshot, Confirm], Snapshot]
) -> tuple[Answer, int | None]:
    """A request whose text is embedded by the new version alone, with the rule that reads it.

    Only one that was seen to be is told; where there is none, nothing is proved by that. `simplest`
    makes one simple on which something holds.
    """
    does_read_old, does_read_new = (compile_program(side.program) for side in (old, new))
    let_in_old, let_in_new = _let_in(old), _let_in(new)

    def is_newly_read(seen: Snapshot) -> bool:
        if new.value(let_in_new, seen) is not True or not _is_read(does_read_new, new, seen):
            return False
        return old.value(let_in_old, seen) is not True or not _is_read(does_read_old, old, seen)

    idle = [negation(all_of((let_in_old, _comes_to(old, i)))) for i in _readers(old)]
    is_told_by_itself = any(key.startswith(_SIMILAR) for key in limits_read(new.program))
    last: int | None = None
    for j in _readers(new):
        last = j
        if is_told_by_itself:
            continue
        terms = (let_in_new, _comes_to(new, j), *idle)
        answer = prover.sample(*(term for term in terms if term is not TRUE))
        if isinstance(answer, Witness) and is_newly_read(answer.snapshot):
            return Witness(simplest(answer.snapshot, is_newly_read)), j
    return NotDecided("opaque"), last


def _is_read(decide: Callable[[Snapshot], int], side: Side, seen: Snapshot) -> bool:
    watched = _Watched(side.own(seen))
    watched.is_read = False
    decide(watched)
    return watched.is_read


def _let_in(side: Side) -> Term:
    """Where the limits let a text be embedded; they cannot know what only that would tell."""
    embedding = side.program.embedding
    return FALSE if embedding is None else rewrite(side.allows(embedding.target), _unknown)


def _limits(program: Program) -> Iterator[tuple[Term | None, Term]]:
    if program.embedding is not None:
        for limit in Gate(program).limits_of(program.embedding.target):
            yield limit.when, limit.target


def _limits_as_written(program: Program) -> list[tuple[object, object]]:
    return [
        (None if when is None else as_written(when), as_written(target))
        for when, target in _limits(program)
    ]


def _readers(side: Side) -> Iterator[int]:
    """The rules that read a similarity, in their condition or their plan."""
    return (index for index, clause in enumerate(side.clauses) if _reads(clause))


def _reads(clause: Clause) -> bool:
    read = (*clause.reads, *reads(plan_terms(clause.plan)))
    return any(key.startswith(_SIMILAR) for key in read)


def _comes_to(side: Side, index: int) -> Term:
    """Whether a request comes to a rule, and to the similarity in it if other parts let it."""
    earlier = map(negation, side.takes[:index])
    rest = rewrite(side.clauses[index].applies, _unknown)
    return all_of((*earlier, side.shared(is_not_false(rest))))


def _unknown(read: Read) -> Term:
    return Const(None, Type.SCORE) if read.key.startswith(_SIMILAR) else read


def _written(side: Side) -> tuple[object, ...]:
    """All conditions up to the last rule that reads a similarity, and the plans that read one."""
    last = max(_readers(side), default=-1)
    program = side.program
    conditions = tuple(as_written(clause.applies) for clause in side.clauses[: last + 1])
    guards = (hop.when for hop in program.chain if hop.when is not None)
    limits = (t for limit in program.limits for t in (limit.when, limit.target) if t is not None)
    beside = [*guards, *limits]
    for clause in side.clauses:
        beside += plan_terms(clause.plan)
    similar = (t for t in beside if any(key.startswith(_SIMILAR) for key in reads([t])))
    return conditions, tuple(map(as_written, similar))
