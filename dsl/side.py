"""One of two versions that are compared: its rules and plans as terms, and as what they do.

Terms of both versions that mean the same are one object (`meaning`), so that a question about both
is built once.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from .asked import IS_KNOWN
from .choose import Evaluate
from .core import REQUESTED, Clause, Hop, Mirror, Program, Reject, Term
from .destination import asked_target, named_target, reached
from .interpret.compiled import compile_program, compile_term
from .interpret.traced import values
from .limits import Gate
from .logic import FALSE, TRUE, all_of, any_of, is_not_false, is_true, negation
from .meaning import Meanings, Plans, of_own_salts, options, refusal, sets_of, shared_salts
from .paths import Path, Paths
from .regions import Regions, outcomes
from .regions import all_of as all_regions
from .schema import Value
from .sequences import Place, Step
from .snapshot import Snapshot
from .strangers import Strangers

Compiled = Callable[[Mapping[str, Value | None]], Value | None]
Aspect = Literal["reject", "target", "fallback", "set", "mirror", "clocks", "hold"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one request.

    `target` is what it comes to first; None of a refusal, and where nothing is allowed. `tries` are
    the hops in their order, each with the target that it stands for; `copy` is the hop of a copy.
    `lacks` is the key of a bucket that the snapshot does not have: no gateway's does that.
    """

    rule: str | None
    target: str | None
    tries: tuple[tuple[str, Hop], ...] = ()
    reject: Reject | None = None
    mirror: str | None = None
    sets: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    unknown_model: str | None = None
    lacks: str | None = None
    copy: Hop | None = None


class Side:
    """One of the two programs, with its terms as shared ones. Rule number `len` is: no rule."""

    def __init__(
        self,
        program: Program,
        other: Program,
        meanings: Meanings,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        """Take one of the two programs; the meanings are those of both.

        `renamed` are keys that are read under another name here.
        """
        self.program = program
        self.clauses = program.clauses
        self.count = len(program.clauses)
        self._meanings = meanings
        self._index_of = compile_program(program)
        self.strangers = Strangers(program, other)
        self.renamed: dict[str, str] = dict(renamed or {})
        shared = shared_salts(program, other)
        # By rule: its own keys, under the names that all rules share.
        others = shared | {*self.renamed}
        self.salts = [of_own_salts(one, others, program.latches) for one in self.clauses]
        self._plans_of = [
            Plans(program, meanings, {**self.renamed, **salts}) for salts in self.salts
        ]
        self.conditions = [
            meanings.number(clause.applies, {**self.renamed, **salts})
            for clause, salts in zip(self.clauses, self.salts, strict=True)
        ]
        self.plans = [
            plans.of(clause) for clause, plans in zip(self.clauses, self._plans_of, strict=True)
        ]
        self.plans.append(Plans(program, meanings, dict(self.renamed)).of(None))
        self.takes: list[Term] = []
        # Rules before one that were met on the way to it; others do not stand in its way.
        self.blockers: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self._paths = Paths(_listing(program, other))
        self._gate = Gate(program)
        self._regions: dict[int, Regions | None] = {}
        self._compiled: dict[int, tuple[Term, Compiled]] = {}  # by identity, kept alive
        self._found: dict[int, tuple[Path, ...]] = {}

    def prepare(self) -> None:
        """Make the terms of questions, once it is known what is renamed."""
        self.takes = [is_true(self.shared(clause.applies)) for clause in self.clauses]

    def decides(self, index: int, blockers: Iterable[int]) -> Iterator[Term]:
        """That a rule takes a request and these before it do not."""
        if index < self.count:
            yield self.takes[index]
        yield from (negation(self.takes[other]) for other in blockers)

    def fired(self, seen: Mapping[str, Value | None]) -> int:
        """The rule that takes a request."""
        index = self._index_of(self.own(seen))
        return self.count if index < 0 else index

    def own(self, seen: Mapping[str, Value | None]) -> Snapshot:
        """A snapshot under this program's own names of keys."""
        snapshot = Snapshot(dict(seen))
        for own, shared in self.renamed.items():
            snapshot[own] = seen.get(shared)
        return snapshot

    def clause(self, index: int) -> Clause | None:
        """The rule of a number; None of `no rule`."""
        return self.clauses[index] if index < self.count else None

    def name(self, index: int) -> str | None:
        """Its name; None of `no rule`."""
        return self.clauses[index].name if index < self.count else None

    def paths(self, index: int) -> tuple[Path, ...]:
        """The hops of a rule in their order."""
        if index not in self._found:
            self._found[index] = self._paths.of(self.clause(index))
        return self._found[index]

    def region(self, index: int) -> Regions | None:
        """Where a rule can be true, one key at a time."""
        if index not in self._regions:
            self._regions[index] = outcomes(self.shared(self.clauses[index].applies)).true
        return self._regions[index]

    def apart_from(self, region: Regions | None) -> set[int]:
        """The rules that can never be true together with what has this region."""
        return {i for i in range(self.count) if all_regions((self.region(i), region)) is None}

    def ladder(self, passed: Container[int], done: Sequence[bool]) -> Term:
        """Whether the rule that decides is not done yet; those that are passed decide nothing."""
        rung: Term = FALSE if done[self.count] else TRUE
        for index in range(self.count - 1, -1, -1):
            if index not in passed:
                takes = self.takes[index]
                if done[index]:
                    rung = all_of((negation(takes), rung))
                else:
                    rung = any_of((takes, rung))
        return rung

    def shared(self, term: Term) -> Term:
        """The term for what one of this version means."""
        return self._meanings.term(term, self.renamed)

    def allows(self, target: str) -> Term:
        """Where no limit keeps a request from a target."""
        return self.shared(self._paths.allowed(target))

    def knows(self, index: int) -> Term:
        """That somebody knows the model that was asked for: others are refused before all this."""
        if all(path.target != REQUESTED for path in self.paths(index)):
            return TRUE
        unlisted = self.shared(self._paths.asked.others())
        return any_of((negation(unlisted), is_not_false(IS_KNOWN)))

    def places(self, index: int, with_options: bool) -> list[Place]:
        """The hops of a rule for a question about their sequence.

        What a hop may stand for excludes each other, and so do the alternatives of a route.
        """
        groups: dict[int, list[Step]] = {}
        for path in self.paths(index):
            label = path.target, _tried(path) if with_options else None
            step = Step(self.shared(path.when), label)
            groups.setdefault(id(path.hop), []).append(step)
        return [tuple(steps) for steps in groups.values()]

    def mirror(self, index: int) -> Mirror | None:
        """Where a rule sends copies, if it does."""
        clause = self.clause(index)
        return None if clause is None else clause.plan.mirror

    def reach(self, index: int, glob: str) -> dict[tuple[str, bool], Term]:
        """Where each target of a glob is tried, and where it gets a copy, under a rule."""
        found: dict[tuple[str, bool], list[Term]] = {}
        for path in self.paths(index):
            is_meant = path.target == REQUESTED and self._may_be_asked_for(glob)
            if is_meant or fnmatchcase(path.target, glob):
                found.setdefault((path.target, False), []).append(self.shared(path.when))
        mirror = self.mirror(index)
        if mirror is not None and fnmatchcase(mirror.hop.target, glob):
            found[mirror.hop.target, True] = [self.copies(index)]
        return {key: any_of(terms) for key, terms in found.items()}

    def _may_be_asked_for(self, glob: str) -> bool:
        """Whether a name that nobody listed may stand for a target of a glob."""
        provider, slash, _ = glob.partition("/")
        is_named = bool(slash) and not any(wild in provider for wild in "*?[")
        return not is_named or provider in self.program.providers

    def copies(self, index: int) -> Term:
        """Where a copy is sent."""
        clause = self.clause(index)
        return FALSE if clause is None else self.shared(self._paths.copied(clause))

    def static(self, index: int) -> dict[Aspect, object]:
        """What a plan says that hangs on no request."""
        clause = self.clause(index)
        if clause is None:
            return {"reject": None, "set": sets_of({}), "hold": ()}
        route = clause.plan.route
        is_refusal = isinstance(route, Reject)
        return {
            "reject": refusal(route, clause.name) if isinstance(route, Reject) else None,
            "set": sets_of({} if is_refusal else clause.plan.sets),
            "hold": self._plans_of[index].held(clause),
        }

    def effect(self, index: int, seen: Mapping[str, Value | None]) -> Effect:
        """What becomes of a request that a rule takes."""
        own = self.own(seen)
        model = str(own["model"])
        if self.strangers.has(model):
            return Effect(self.name(index), None, unknown_model=model)
        own[IS_KNOWN.key] = asked_target(self.program, own) is not None
        clause = self.clause(index)
        value_of = self._values(own)
        number = None if clause is None else index
        led = reached(self.program, number, own, value_of, self._gate)
        name = self.name(index)
        if led.reject is not None:
            return Effect(name, None, reject=led.reject)
        mirror = led.found.mirror
        if mirror is not None and mirror.target in led.found.limits:
            mirror = None
        return Effect(
            name,
            led.target,
            tuple(self._tries(index, own, value_of)),
            None,
            None if mirror is None else mirror.target,
            {} if clause is None else clause.plan.sets,
            led.unknown_model,
            led.found.lacks,
            mirror,
        )

    def takes_it(self, index: int, seen: Mapping[str, Value | None]) -> bool:
        """Whether a rule takes a request, by the reference interpretation."""
        truths = values(self.takes[: index + 1], seen)
        return [truth is True for truth in truths] == [
            number == index for number in range(min(index + 1, self.count))
        ]

    def value(self, term: Term, own: Mapping[str, Value | None]) -> Value | None:
        """The value of a term; each is compiled once."""
        if id(term) not in self._compiled:
            self._compiled[id(term)] = term, compile_term(term)
        return self._compiled[id(term)][1](own)

    def _values(self, own: Snapshot) -> Evaluate:
        return lambda term: self.value(term, own)

    def _tries(self, index: int, own: Snapshot, value_of: Evaluate) -> Iterator[tuple[str, Hop]]:
        for path in self.paths(index):
            if value_of(path.when) is True:
                asked = asked_target(self.program, own) if path.target == REQUESTED else None
                yield (path.target if asked is None else asked.id), path.hop


def _listing(program: Program, other: Program) -> Program:
    """The program with the targets that the other names, as its own clients would get them."""
    found = {name: named_target(program, name) for name in other.targets}
    known = {name: row for name, row in found.items() if row is not None}
    return replace(program, targets={**known, **program.targets})


def _tried(path: Path) -> object:
    """How a hop is tried; the faults of `catch` mean something else before a hop and behind one."""
    return options(path.hop), path.is_fallback and path.hop.catch is not None
