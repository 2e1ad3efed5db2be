"""The solver against brute force, snapshot after snapshot of small worlds: every condition of a
policy, the rule that fires, and the targets tried behind it.
"""

import random
from collections.abc import Callable

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import Decided, made, written
from turnout.dsl.core import And, Compare, Const, Hop, Known, Not, Program, Read, Term
from turnout.dsl.interpret.smt import Impossible, Model, Solver
from turnout.dsl.logic import any_of
from turnout.dsl.paths import Paths, fires
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.worlds import worlds

from .conftest import Language

pytestmark = pytest.mark.uncounted

CHUNKS = 12
SNAPSHOTS = max(6_000, EXAMPLES * 24) // CHUNKS * CHUNKS
OF_A_POLICY = 100


class Said:
    """What brute force says of a snapshot, as terms; each is made once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.decided = Decided(program)
        self.clauses = program.clauses
        self.paths = Paths(program)
        self._of_rule: dict[int | None, list[tuple[Hop, Term]]] = {}
        self._made: dict[tuple[int, str], Term] = {}
        self._kept: list[Term] = []

    def is_the(self, seen: Snapshot) -> list[Term]:
        """That it is this snapshot and no other."""
        return [self._key(key, seen[key]) for key in self.program.slots]

    def outcome(self, seen: Snapshot) -> Term:
        """What each condition comes to, which rule fires, and which targets are tried."""
        found = [self._is(c.applies, self.decided.value(c.applies, seen)) for c in self.clauses]
        fired = self.decided.clause(seen)
        for clause in self.clauses:
            found.append(self._is(self._fires(clause.index), clause.index == fired))
        tried = [hop for _, hop in self.decided.tried(seen)]
        for hop, is_tried in self._paths_of(fired):
            found.append(self._is(is_tried, any(one is hop for one in tried)))
        assert all(any(one is hop for hop, _ in self._paths_of(fired)) for one in tried)
        return And(tuple(found))

    def _paths_of(self, fired: int | None) -> list[tuple[Hop, Term]]:
        """Of each hop when it is tried, whatever leads to it."""
        if fired not in self._of_rule:
            hops: dict[int, tuple[Hop, list[Term]]] = {}
            for path in self.paths.of(None if fired is None else self.clauses[fired]):
                hops.setdefault(id(path.hop), (path.hop, []))[1].append(path.when)
            self._of_rule[fired] = [(hop, any_of(terms)) for hop, terms in hops.values()]
        return self._of_rule[fired]

    def _fires(self, index: int) -> Term:
        return self._once((index, "fires"), lambda: fires(self.program, index))

    def _is(self, term: Term, value: Value | None) -> Term:
        if value is True:
            return term
        self._kept.append(term)
        if value is False:
            return self._once((id(term), "not"), lambda: Not(term))
        return self._once((id(term), "unknown"), lambda: Not(Known(term)))

    def _key(self, key: str, value: Value | None) -> Term:
        type_ = self.program.slots[key].attribute.type
        read = Read(key, type_)
        if value is None:
            return self._once((-1, key), lambda: Not(Known(read)))
        return self._once(
            (-1, f"{key} {value!r}"), lambda: Compare("==", read, Const(value, type_))
        )

    def _once(self, name: tuple[int, str], make: Callable[[], Term]) -> Term:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_of_each_snapshot_the_solver_says_what_is_decided_on_it(
    chunk: int, language: Language
) -> None:
    count, seed = 0, chunk
    while count < SNAPSHOTS // CHUNKS:
        policy, program, snapshots = made(seed, written, language.compile)
        chosen = random.Random(seed).sample(snapshots, min(len(snapshots), OF_A_POLICY))
        solver, said = Solver([program]), Said(program)
        solver.add(*worlds(program))
        for seen in chosen:
            where = f"seed {seed}\n{policy.text()}\n{seen}"
            outcome, is_it = said.outcome(seen), said.is_the(seen)
            found = solver.check(*is_it, outcome)
            assert isinstance(found, Model) and found.is_exact, where
            assert isinstance(solver.check(*is_it, Not(outcome)), Impossible), where
        count += len(chosen)
        seed += CHUNKS
