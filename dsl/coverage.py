"""How much of a policy its tests have seen: rules that fired, conditions seen true and seen false.

A rule counts once a test fired it. Each atom of each condition counts twice: seen true, and seen
false, by tests that got as far as its rule. Tests that could not be read have seen nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .atoms import atoms
from .core import Clause, Program, Term
from .interpret.compiled import compile_term
from .interpret.traced import evaluate
from .schema import Value
from .source import Span

_Truth = Callable[[Mapping[str, Value | None]], Value | None]


@dataclass(frozen=True, slots=True)
class AtomCoverage:
    """An atom of a rule's condition, and which of its two truths a test has seen."""

    rule: str
    text: str
    span: Span
    seen_true: bool
    seen_false: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """What no test has seen of it: `true`, `false`, both or neither."""
        seen = (("true", self.seen_true), ("false", self.seen_false))
        return tuple(word for word, was_seen in seen if not was_seen)


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """A rule, how many tests fired it, and its atoms."""

    rule: str
    span: Span
    fired: int
    atoms: tuple[AtomCoverage, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rules of a program in their order, with what tests have seen of each."""

    rules: tuple[RuleCoverage, ...]

    @property
    def covered(self) -> int:
        """How many of `total` were seen."""
        return sum(bool(rule.fired) for rule in self.rules) + sum(
            2 - len(atom.missing) for rule in self.rules for atom in rule.atoms
        )

    @property
    def total(self) -> int:
        """One for each rule, two for each atom."""
        return sum(1 + 2 * len(rule.atoms) for rule in self.rules)

    @property
    def percent(self) -> int:
        """The share of what was seen in whole percent, rounded down: 100 means all of it."""
        return 100 if not self.total else 100 * self.covered // self.total


def cover(program: Program, snapshots: Iterable[Mapping[str, Value | None]]) -> Coverage:
    """What deciding these snapshots shows of a program."""
    fired = [0] * len(program.clauses)
    parts = [() if c.test is None else tuple(atoms(c.test)) for c in program.clauses]
    seen: list[list[set[Value | None]]] = [[set() for _ in some] for some in parts]
    made: dict[int, tuple[_Truth, list[_Truth]]] = {}
    for snapshot in snapshots:
        for clause in program.clauses:
            if clause.index not in made:
                atoms_made = [compile_term(atom) for atom in parts[clause.index]]
                made[clause.index] = compile_term(clause.applies), atoms_made
            applies, values = made[clause.index]
            for truths, value in zip(seen[clause.index], values, strict=True):
                truths.add(value(snapshot))
            if applies(snapshot) is True:
                fired[clause.index] += 1
                break
    return Coverage(
        tuple(
            RuleCoverage(
                clause.name,
                clause.span,
                fired[clause.index],
                tuple(
                    _atom(clause, atom, truths)
                    for atom, truths in zip(parts[clause.index], seen[clause.index], strict=True)
                ),
            )
            for clause in program.clauses
        )
    )


def _atom(clause: Clause, atom: Term, truths: set[Value | None]) -> AtomCoverage:
    span = atom.span if atom.span is not None else clause.span
    text = evaluate(atom, {}).text
    return AtomCoverage(clause.name, text, span, True in truths, False in truths)
