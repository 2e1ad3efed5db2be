"""Questions about every request there can be, answered by a proof, or by a request.

A question is a term: is there a snapshot on which it is true? An answer with a snapshot was run by
`traced` before it is given; one that does not confirm is never an answer. Where opaque tests were
in play, it is ruled out and the search goes on, and ends as not decided.

z3 is loaded by the first `Prover`: what only names the answers does not need it.

Over 300 lines because the scopes, the search and what confirms it are one state.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .asked import IS_KNOWN
from .core import And, Compare, Const, Known, Program, Read, Term
from .facts import PREFIX
from .interpret.compiled import compile_term
from .interpret.traced import evaluate, values
from .interval import bounds as interval_of
from .logic import FALSE, is_true, negation
from .paths import worlds
from .schema import Value
from .snapshot import Snapshot
from .walk import children, reads
from .witness import Simplifier

if TYPE_CHECKING:
    from .interpret.smt import Model

__all__ = [
    "Answer",
    "NotDecided",
    "Proved",
    "Prover",
    "ProverError",
    "Witness",
    "is_not_true",
    "is_true",
]

MOST_ROUNDS = 24  # models that opaque tests spoil, before a question is left open
_OFTEN = 16  # evaluations of a term that make it worth its compiling
_MANY = 16  # terms that are compiled as one
_NOBODY_KNOWS_IT = Compare("==", IS_KNOWN, FALSE)

Confirm = Callable[[Snapshot], bool]
Compiled = Callable[[Snapshot], Value | None]


def is_not_true(term: Term) -> Term:
    """Whether a truth is false or unknown; never unknown."""
    return negation(is_true(term))


@dataclass(frozen=True, slots=True)
class Proved:
    """There is no such request."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A request: its snapshot, as simple as could be found, confirmed by `traced`."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class NotDecided:
    """Neither: the time was over, or opaque signals (a pattern, a similarity) stand in the way."""

    reason: Literal["time", "opaque"]


Answer = Proved | Witness | NotDecided


class ProverError(Exception):
    """A witness without opaque tests that `traced` does not confirm: a defect of ours.

    The message is a report, fit to be sent as it is: the question, and a request that is made up.
    """

    help = (
        "nothing is claimed that was not confirmed; please open an issue of turnout with this "
        "report, which holds nobody's request, and the policy"
    )


class Prover:
    """Asks about the snapshots of some programs (one, or two that are compared).

    `time_left` gives the seconds that may still be spent in all; nothing here reads a clock.
    """

    def __init__(
        self,
        *programs: Program,
        time_left: Callable[[], float] | None = None,
        check_ms: int = 2_000,
    ) -> None:
        """Start with what holds of every snapshot of these programs."""
        from .interpret.smt import Solver

        self._programs = programs
        self._time_left = time_left
        self._check_ms = check_ms
        self._solver = Solver(programs, check_ms, self._is_over)
        self._simplifier = Simplifier(*programs)
        self._truths = _Truths()
        everywhere = worlds(*programs)
        self._solver.add(*everywhere)
        self._scopes = [_Scope(self._truths)]
        self._scopes[0].add(everywhere)

    # --- questions -------------------------------------------------------------------------------

    def find(self, *terms: Term, confirm: Confirm | None = None) -> Answer:
        """A snapshot on which all these terms are true; `confirm` is asked beside `traced`."""
        found = self._search(terms, confirm)
        if not isinstance(found, Snapshot):
            return found
        return _shown(self._simplest(found, terms, confirm))

    def sample(self, *terms: Term, confirm: Confirm | None = None) -> Answer:
        """The same, where nobody is shown the witness: it is confirmed, but as it comes."""
        found = self._search(terms, confirm)
        return _shown(found) if isinstance(found, Snapshot) else found

    def greatest(
        self, term: Term, *terms: Term, near: Snapshot | None = None
    ) -> tuple[int, Witness] | Proved | NotDecided:
        """The greatest value of a number where the terms are true. Proved: they never are.

        `near`: a snapshot that may have it; where it does, little is searched.
        """
        from .interpret.smt import Impossible, TimedOut

        if not self.has_time():
            return NotDecided("time")
        value = None if near is None else self._value_there(term, terms, near)
        if near is None or value is None:
            found = self._search((*terms, Known(term)), None)
            if not isinstance(found, Snapshot):
                return found
            near, value = found, _number(term, found)
        assert value is not None
        near, value = self._climbed(term, terms, near, value)
        if value < self._most(term):
            listed = self._without_nobody_s(terms)
            answer = self._solver.greatest(term, *listed, floor=value)
            if isinstance(answer, TimedOut):
                return NotDecided("time")
            if not isinstance(answer, Impossible):
                value, model = answer
                snapshot = self._confirmed(model, terms, lambda seen: _number(term, seen) == value)
                if snapshot is None:
                    # A greater value may need a text that the opaque tests do not allow.
                    return self._spoilt(model, terms)
                near = snapshot
            if listed is not terms:
                more = self._check((*terms, Compare(">", term, Const(value, term.type))))
                if not isinstance(more, Proved):
                    return more if isinstance(more, NotDecided) else NotDecided("opaque")
        has_it = is_true(Compare("==", term, Const(value, term.type)))
        return value, _shown(self._simplest(near, (*terms, has_it), None))

    def blockers(self, wanted: Term, others: Sequence[Term]) -> tuple[int, ...] | None:
        """A minimal set of the others (by index) that together leave `wanted` no snapshot.

        Others are terms that have to be true beside it; the earlier of them are preferred. None
        where they leave one, or it was not decided.
        """
        needed = self._core(wanted, others, range(len(others)))
        if needed is None:
            return None
        for index in sorted(needed, reverse=True):
            if index in needed:
                fewer = self._core(wanted, others, [one for one in needed if one != index])
                needed = needed if fewer is None else fewer
        return tuple(sorted(needed))

    # --- what is assumed -------------------------------------------------------------------------

    @contextmanager
    def assuming(self, *terms: Term) -> Iterator[None]:
        """Only snapshots on which these terms are true, until the block ends."""
        self._solver.push()
        self._scopes.append(_Scope(self._truths))
        try:
            self.assume(*terms)
            yield
        finally:
            self._scopes.pop()
            self._solver.pop()

    def assume(self, *terms: Term) -> None:
        """From here on, in this block, only snapshots on which these terms are true."""
        scope = self._scopes[-1]
        # Once the time is over nothing is asked any more, so that nothing needs to be known.
        if self.has_time():
            self._solver.add(*terms)
        scope.add(terms)

    # --- the search ------------------------------------------------------------------------------

    def _search(
        self, terms: Sequence[Term], confirm: Confirm | None
    ) -> Snapshot | Proved | NotDecided:
        from .interpret.smt import Model

        terms, whole = self._without_nobody_s(terms), terms
        answer = self._check(terms)
        if isinstance(answer, Proved) and terms is not whole:
            answer = self._check(whole)
            return NotDecided("opaque") if isinstance(answer, Model) else answer
        if not isinstance(answer, Model):
            return answer
        with self._scope_of_its_own():
            for _ in range(MOST_ROUNDS):
                snapshot = self._confirmed(answer, terms, confirm)
                if snapshot is not None:
                    return snapshot
                left_open = self._spoilt(answer, terms)
                self._solver.exclude(answer)
                answer = self._check(terms)
                if not isinstance(answer, Model):
                    return left_open if isinstance(answer, Proved) else answer
        return NotDecided("opaque")

    def _check(self, terms: Sequence[Term]) -> "Model | Proved | NotDecided":
        from .interpret.smt import Impossible, TimedOut

        if not self.has_time():
            return NotDecided("time")
        answer = self._solver.check(*terms)
        if isinstance(answer, TimedOut):
            return NotDecided("time")
        return Proved() if isinstance(answer, Impossible) else answer

    def has_time(self) -> bool:
        """Whether the solver may still be asked; it gets no more time than there is."""
        if self._time_left is None:
            return True
        left_ms = int(self._time_left() * 1_000)
        self._solver.timeout_ms = max(1, min(self._check_ms, left_ms))
        return left_ms > 0

    def _is_over(self) -> bool:
        return self._time_left is not None and self._time_left() <= 0

    @contextmanager
    def _scope_of_its_own(self) -> Iterator[None]:
        self._solver.push()
        try:
            yield
        finally:
            self._solver.pop()

    def _core(
        self, wanted: Term, others: Sequence[Term], which: Sequence[int]
    ) -> tuple[int, ...] | None:
        """Those of the others that suffice, if these do."""
        from .interpret.smt import Impossible

        if not self.has_time():
            return None
        answer = self._solver.check(wanted, *(others[index] for index in which))
        if not isinstance(answer, Impossible):
            return None
        return tuple(which[place - 1] for place in answer.core if place > 0)

    # --- confirming ------------------------------------------------------------------------------

    def _confirmed(
        self, model: "Model", terms: Sequence[Term], confirm: Confirm | None
    ) -> Snapshot | None:
        snapshot = self._simplifier.completed(_of_requests(model.values))
        return snapshot if self._holds(snapshot, terms, confirm) else None

    def _holds(self, snapshot: Snapshot, terms: Sequence[Term], confirm: Confirm | None) -> bool:
        """Whether `traced` finds everything true that was asked, and the caller confirms it."""
        return (
            all(value is True for value in values(terms, snapshot))
            and self._is_assumed(snapshot)
            and (confirm is None or confirm(snapshot))
        )

    def _is_assumed(self, snapshot: Snapshot) -> bool:
        return all(scope.holds(snapshot) for scope in reversed(self._scopes))

    def _simplest(
        self, snapshot: Snapshot, terms: Sequence[Term], confirm: Confirm | None
    ) -> Snapshot:
        def is_shown(other: Snapshot) -> bool:
            other[IS_KNOWN.key] = False
            return (
                (self._time_left is None or self._time_left() > 0)
                and self._is_assumed(other)
                and self._truths.are_all_true(terms, other)
                and (confirm is None or confirm(other))
            )

        found = self._simplifier.simplest(snapshot, is_shown)
        assumed = [term for scope in self._scopes[1:] for term in scope.terms]
        if not all(value is True for value in values((*terms, *assumed), found)):
            raise ProverError(self._report(found, terms, "compiled is not traced"))
        return found

    def _value_there(self, term: Term, terms: Sequence[Term], near: Snapshot) -> int | None:
        """The value of a number on a snapshot; None where it is none that was asked about."""
        seen = Snapshot({**near, IS_KNOWN.key: False})
        return _number(term, seen) if self._holds(seen, terms, None) else None

    def _climbed(
        self, term: Term, terms: Sequence[Term], snapshot: Snapshot, value: int
    ) -> tuple[Snapshot, int]:
        """A snapshot with a greater value, where one that reads alike is found to have it.

        The greatest value mostly lies where a number meets what it is compared with: to look there
        spares the solver its many steps.
        """
        value_of = compile_term(term)
        for key in reads([term]):
            if not isinstance(snapshot[key], int) or isinstance(snapshot[key], bool):
                continue
            better: list[tuple[int, Snapshot]] = []
            for number in self._simplifier.ends(key, term):
                other = Snapshot({**snapshot, key: number})
                reached = value_of(other)
                if isinstance(reached, int) and reached > value:
                    better.append((reached, other))
            for reached, other in sorted(better, key=lambda pair: -pair[0]):
                if self._is_assumed(other) and self._truths.are_all_true(terms, other):
                    snapshot, value = other, reached
                    break
        return snapshot, value

    def _most(self, term: Term) -> int:
        """A bound of a number by its own terms."""
        return interval_of(term, self._programs[0].schema.attributes)[1]

    def _without_nobody_s(self, terms: Sequence[Term]) -> Sequence[Term]:
        """The terms, and where facts of a target that nobody listed are read, that it is none.

        Nobody knows such a target, so no request with it can be shown.
        """
        is_read = any(scope.reads_facts for scope in self._scopes)
        is_read = is_read or self._truths.read_facts(terms)
        return (*terms, _NOBODY_KNOWS_IT) if is_read else terms

    def _spoilt(self, model: "Model", terms: Sequence[Term]) -> NotDecided:
        """What is left of a question whose model was not confirmed. Raises: ProverError."""
        if model.is_exact:
            snapshot = self._simplifier.completed(_of_requests(model.values))
            raise ProverError(self._report(snapshot, terms, "a witness was not confirmed"))
        return NotDecided("opaque")

    def _report(self, snapshot: Snapshot, terms: Sequence[Term], what: str) -> str:
        """What was asked and what came out, to be sent as it is; it holds no request of anyone."""
        asked = [evaluate(term, snapshot) for term in terms]
        wrong = [node for node in asked if node.value is not True]
        assumed = [term for scope in self._scopes for term in scope.terms]
        broken = [
            node for node in (evaluate(t, snapshot) for t in assumed) if node.value is not True
        ]
        return "\n".join(
            (
                f"{what}: please report this with the policy",
                f"policy: {', '.join(program.digest for program in self._programs)}",
                *(f"asked: {node.text} is {node.written or 'unknown'}" for node in wrong or asked),
                *(f"assumed: {node.text} is {node.written or 'unknown'}" for node in broken),
                *(f"with: {key} = {value!r}" for key, value in sorted(snapshot.items())),
            )
        )


class _Truths:
    """Whether terms are true; those asked often are compiled, which means the same."""

    def __init__(self) -> None:
        # With the term itself: while it is held here, no other has its id.
        self._asked: dict[int, tuple[Term, int]] = {}
        self._compiled: dict[int, Compiled] = {}
        self._blocks: dict[tuple[int, ...], tuple[Term, Compiled]] = {}
        self._reads_facts: dict[int, tuple[Term, bool]] = {}

    def are_all_true(self, terms: Sequence[Term], snapshot: Snapshot) -> bool:
        """Whether each of the terms is true."""
        for term in terms:
            compiled = self._compiled.get(id(term))
            value = self._traced(term, snapshot) if compiled is None else compiled(snapshot)
            if value is not True:
                return False
        return True

    def block(self, terms: Sequence[Term]) -> Compiled:
        """Whether several terms are all true, compiled as one."""
        ids = tuple(map(id, terms))
        if ids not in self._blocks:
            whole = And(tuple(terms))
            self._blocks[ids] = whole, compile_term(whole)
        return self._blocks[ids][1]

    def read_facts(self, terms: Sequence[Term]) -> bool:
        """Whether a fact of a target that nobody listed is read."""
        return any(self._reads_a_fact(term) for term in terms)

    def _reads_a_fact(self, root: Term) -> bool:
        """Each term is looked at once, whatever it is a part of."""
        known = self._reads_facts
        stack = [root]
        while stack:
            term = stack[-1]
            if id(term) in known:
                stack.pop()
                continue
            missing = [child for child in children(term) if id(child) not in known]
            if missing:
                stack.extend(missing)
                continue
            is_fact = isinstance(term, Read) and term.key.startswith(PREFIX)
            reads_one = is_fact or any(known[id(child)][1] for child in children(term))
            known[id(term)] = term, reads_one
            stack.pop()
        return known[id(root)][1]

    def _traced(self, term: Term, snapshot: Snapshot) -> Value | None:
        _, times = self._asked.get(id(term), (term, 0))
        self._asked[id(term)] = (term, times + 1)
        if times >= _OFTEN:
            self._compiled[id(term)] = compile_term(term)
        return next(values([term], snapshot))


class _Scope:
    """What is assumed in a block. `reads_facts`: of a target that nobody listed."""

    def __init__(self, truths: _Truths) -> None:
        self.terms: list[Term] = []
        self.reads_facts = False
        self._truths = truths
        self._blocks: list[Compiled] = []

    def add(self, terms: Sequence[Term]) -> None:
        """Assume these terms, too."""
        self.terms.extend(terms)
        self.reads_facts = self.reads_facts or self._truths.read_facts(terms)

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether all that is assumed is true."""
        done = len(self._blocks) * _MANY
        while len(self.terms) >= done + _MANY:
            self._blocks.append(self._truths.block(self.terms[done : done + _MANY]))
            done += _MANY
        return all(block(snapshot) is True for block in self._blocks) and (
            self._truths.are_all_true(self.terms[done:], snapshot)
        )


def _of_requests(chosen: Mapping[str, Value | None]) -> dict[str, Value | None]:
    """Without the facts of a target that nobody listed: no request is known to have them."""
    found = {key: value for key, value in chosen.items() if not key.startswith(PREFIX)}
    return found | {IS_KNOWN.key: False}


def _number(term: Term, seen: Snapshot) -> int | None:
    """The value of a number as `traced` finds it."""
    value = next(values([term], seen))
    return value if isinstance(value, int) else None


def _shown(snapshot: Snapshot) -> Witness:
    return Witness(Snapshot({key: v for key, v in snapshot.items() if key != IS_KNOWN.key}))
