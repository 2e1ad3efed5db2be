"""What the rules of lint that prove share: one policy, its prover, and what is known so far.

A question about a rule says that none before it fires, but of few in so many words (`_search`),
which is why hundreds of rules are as quick as they are. A pool of snapshots, and small changes
of them, answers most questions of the form "is it ever so?" before the prover is asked. What is not
decided is kept, and told once for each code.
Over 300 lines because what is known so far is one state that every question reads and adds to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from turnout.dsl import tree
from turnout.dsl.check import GENERATION
from turnout.dsl.core import And, Clause, Member, Named, Or, Program, Read, Term
from turnout.dsl.given import as_given
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.index import Index
from turnout.dsl.interpret.traced import trace, value_of
from turnout.dsl.logic import is_not_false, is_true, negation
from turnout.dsl.meaning import Meanings, Plans, of_own_salts, shared_salts
from turnout.dsl.paths import Path, Paths
from turnout.dsl.prove import Answer, NotDecided, Proved, Prover, ProverError, Witness
from turnout.dsl.regions import Regions, Words, all_of, outcomes
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot, read_given
from turnout.dsl.source import Span
from turnout.dsl.walk import reads

from .guesses import Guesses

IS_GENERATION = is_true(Member(Read("request_type", Type.ENUM), frozenset(GENERATION)))
Given = dict[str, bool | int | str | None]
_REQUIRED = frozenset(
    {"tokens", "time", "weekday", "date"}
)  # given in any case where they are read


@dataclass(frozen=True, slots=True)
class Dead:
    """A rule that never fires. `blockers`: the rules before it that take all it is about.

    None where which they are was not decided; empty where no request makes its condition true.
    """

    index: int
    blockers: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Reached:
    """Beside the terms of a question: no rule before this index takes the request."""

    index: int


Asked = Term | Reached


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was not decided: of which code, what it is about, and why."""

    code: str
    subject: str
    span: Span
    reason: str


@dataclass
class Survey:
    """One run over one program.

    `told` are the places that cheaper rules said something of already. `notes`: whether what is
    only worth it on request is looked for, too.
    """

    policy: tree.Policy
    program: Program
    prover: Prover
    told: frozenset[Span] = frozenset()
    notes: bool = False
    open: list[Open] = field(default_factory=list)
    _pool: dict[int, list[Snapshot]] = field(default_factory=dict)
    _paths: dict[int, tuple[Path, ...]] = field(default_factory=dict)
    _learned: dict[int, dict[int, None]] = field(default_factory=dict)

    # --- rules -----------------------------------------------------------------------------------

    @cached_property
    def taken(self) -> tuple[Term, ...]:
        """Of each rule: its condition is true."""
        return tuple(is_true(clause.applies) for clause in self.program.clauses)

    @cached_property
    def left(self) -> tuple[Term, ...]:
        """Of each rule: its condition is false or unknown."""
        return tuple(negation(term) for term in self.taken)

    @cached_property
    def decide(self) -> Callable[[Mapping[str, Value | None]], int]:
        """Which rule fires on a snapshot, -1 for none."""
        return compile_program(self.program)

    def rule(self, index: int) -> tree.Rule:
        """A rule as it was written."""
        return self.policy.rules[index]

    def live(self) -> Iterator[Clause]:
        """The rules that are known to fire for some requests, in order."""
        known = self._reach[0]
        return (clause for clause in self.program.clauses if clause.index in known)

    def fires(self, index: int) -> tuple[Asked, ...]:
        """What has to hold where a rule decides."""
        return Reached(index), self.taken[index]

    def paths(self, clause: Clause) -> tuple[Path, ...]:
        """The hops of a rule in their order."""
        if clause.index not in self._paths:
            self._paths[clause.index] = self.ways.of(clause)
        return self._paths[clause.index]

    @cached_property
    def ways(self) -> Paths:
        """Where requests can go."""
        return Paths(self.program)

    @cached_property
    def usable(self) -> tuple[Term, ...]:
        """That no credential is missing: which are there is not the policy's business."""
        return tuple(
            is_not_false(Read(slot.key, Type.BOOL))
            for slot in self.program.slots.values()
            if slot.attribute.name == "usable"
        )

    @cached_property
    def plans(self) -> tuple[object, ...]:
        """Of each rule what it does, as something that is equal where they do the same."""
        meanings = Meanings()
        shared = shared_salts(self.program)
        return tuple(
            (Plans(self.program, meanings, of_own_salts(clause, shared)).of(clause), clause.tags)
            for clause in self.program.clauses
        )

    # --- what is known of all rules --------------------------------------------------------------

    @cached_property
    def dead(self) -> tuple[Dead, ...]:
        """The rules that never fire, in order."""
        return tuple(
            Dead(index, self.blockers(self.taken[index], index)) for index in self._reach[1]
        )

    @cached_property
    def spare_default(self) -> Dead | None:
        """A last rule without a condition, where the others are in use and leave nothing for it."""
        dead = self.dead
        if len(dead) != 1 or dead[0].index != len(self.program.clauses) - 1:
            return None
        is_default = self.program.clauses[-1].test is None and len(dead[0].blockers or ()) != 1
        return dead[0] if is_default else None

    @property
    def gap(self) -> Answer:
        """Whether there is a request for generation that no rule takes."""
        return self._reach[2]

    @cached_property
    def _reach(self) -> tuple[frozenset[int], tuple[int, ...], Answer]:
        """The rules that fire, those that never do, and whether something comes through all."""
        live: list[int] = []
        dead: list[int] = []
        for index in range(len(self.program.clauses)):
            guess = self._guess(index)
            answer = self.sample(*self.fires(index)) if guess is None else Witness(guess)
            if isinstance(answer, Witness):
                self._remember(answer.snapshot)
                live.append(index)
            elif isinstance(answer, Proved):
                dead.append(index)
            else:
                name = self.rule(index).name
                self.leave_open("RP202", f"whether `{name.value}` ever runs", name.span, answer)
        gap = self.prover.find(IS_GENERATION, *self.left)
        if isinstance(gap, Witness):
            self._remember(gap.snapshot)
        return frozenset(live), tuple(dead), gap

    def _guess(self, index: int) -> Snapshot | None:
        """A request that the rule takes, if one is easily found."""
        for guess in self._guesses.of(self._regions[index]):
            if self.decide(guess) == index:
                return guess
        return None

    @cached_property
    def _guesses(self) -> Guesses:
        return Guesses(self.program)

    # --- questions -------------------------------------------------------------------------------

    def sample(self, *asked: Asked) -> Answer:
        """Whether there is a snapshot on which all of this holds; not a simple one."""
        return self._search(self.prover.sample, asked)

    def ask(self, code: str, subject: str, span: Span, *asked: Asked) -> Snapshot | None:
        """A snapshot on which all of this holds; None where there is none, or none was found."""
        answer = self.sample(*asked)
        match answer:
            case Witness(snapshot):
                self._remember(snapshot)
                return snapshot
            case NotDecided():
                self.leave_open(code, subject, span, answer)
        return None

    def never(self, *asked: Asked) -> bool:
        """Whether it is proved that all of this never holds together."""
        answer = self.sample(*asked)
        if isinstance(answer, Witness):
            self._remember(answer.snapshot)
        return isinstance(answer, Proved)

    def is_never(self, code: str, subject: str, span: Span, *asked: Asked) -> bool:
        """The same; where it was not decided, that is told."""
        answer = self.sample(*asked)
        match answer:
            case Witness(snapshot):
                self._remember(snapshot)
            case NotDecided():
                self.leave_open(code, subject, span, answer)
        return isinstance(answer, Proved)

    def _search(self, find: Callable[..., Answer], asked: Sequence[Asked]) -> Answer:
        """Ask with as few of the rules before as it takes.

        That one of them does not fire is said only once it took an answer for itself: most never
        do, and each that is said has to be thought of, and confirmed.
        """
        terms = [one for one in asked if not isinstance(one, Reached)]
        before = min((one.index for one in asked if isinstance(one, Reached)), default=None)
        if before is None:
            return find(*terms)
        learned = self._learned.setdefault(before, {})
        while True:
            answer = find(*terms, *(self.left[index] for index in learned))
            if not isinstance(answer, Witness):
                return answer
            fired = self.decide(answer.snapshot)
            if not 0 <= fired < before:
                return answer
            if fired in learned:
                raise ProverError(f"the rule {fired} fires where it was said not to")
            learned[fired] = None

    def blockers(self, wanted: Term, index: int) -> tuple[int, ...] | None:
        """The fewest rules before an index that together leave a term nothing; None: not decided.

        Empty where the term is impossible by itself.
        """
        before = self.meeting(wanted, range(index))
        found = self.prover.blockers(wanted, [self.left[at] for at in before])
        return None if found is None else tuple(before[at] for at in found)

    def meeting(self, term: Term, rules: Iterable[int]) -> list[int]:
        """Of some rules those that could match where a term is true: a cheap filter, never wrong.

        What it leaves out is kept apart by the values of a single key.
        """
        own = outcomes(term).true
        if own is None:
            return []
        return [index for index in rules if _can_meet(own, self._regions[index])]

    def next_taker(self, seen: Snapshot, index: int) -> int | None:
        """The first rule behind an index that would take a request."""
        clauses = self.program.clauses
        behind = (at for at in self._index.candidates(seen) if at > index)
        return next((at for at in behind if holds(clauses[at].applies, seen)), None)

    @cached_property
    def _index(self) -> Index:
        return Index.build([clause.applies for clause in self.program.clauses], self.program.slots)

    @cached_property
    def _regions(self) -> tuple[Regions | None, ...]:
        return tuple(outcomes(clause.applies).true for clause in self.program.clauses)

    def leave_open(self, code: str, subject: str, span: Span, answer: NotDecided) -> None:
        """Keep what was not decided; `RP209` tells it."""
        self.open.append(Open(code, subject, span, answer.reason))

    def known(self) -> Iterator[Snapshot]:
        """Every snapshot that is known so far."""
        return (seen for group in self._pool.values() for seen in group)

    def firing(self, index: int) -> Sequence[Snapshot]:
        """Snapshots that are known to make a rule fire."""
        return self._pool.get(index, ())

    def reaching(self, index: int, term: Term) -> Iterator[Snapshot]:
        """Snapshots that no rule before takes: those of a rule, then changes that matter to it."""
        known = self.firing(index)[:2]
        yield from known
        for snapshot in known[:1]:
            for changed in self._guesses.changed(snapshot, term):
                fired = self.decide(changed)
                if fired >= index or fired < 0:
                    yield changed

    def taking(self, index: int, term: Term) -> Iterator[Snapshot]:
        """The same, but such that the rule itself takes."""
        return (seen for seen in self.reaching(index, term) if self.decide(seen) == index)

    def _remember(self, snapshot: Snapshot) -> None:
        self._pool.setdefault(self.decide(snapshot), []).append(snapshot)

    # --- findings --------------------------------------------------------------------------------

    def example(self, seen: Snapshot, *asked: Asked) -> Given:
        """The simplest request on which all of this holds, as `seen` is one: to be shown."""
        answer = self._search(self.prover.find, asked)
        found = answer.snapshot if isinstance(answer, Witness) else seen
        return self.shown(found, *(one for one in asked if not isinstance(one, Reached)))

    def shown(self, seen: Snapshot, *terms: Term) -> Given:
        """A request on which these terms are true, in as few words as still say so.

        What is read back of it makes the same rule fire, and the terms true. Raises: ProverError
        where `traced` does not say so.
        """
        fired = self.decide(seen)
        given = as_given(seen, self.program)
        for key in reversed(list(given)):
            fewer = {name: value for name, value in given.items() if name != key}
            if (key in self.program.slots and key in _REQUIRED) or key == "at":
                continue
            read = read_given(fewer, self.program)
            if self.decide(read) == fired and all(value_of(t, read) is True for t in terms):
                given = fewer
        traced = trace(self.program, read_given(given, self.program)).clause
        if (-1 if traced is None else traced) != fired:
            raise ProverError(f"{given}: `traced` decides by {traced}, `compiled` by {fired}")
        # Where nothing had to be said, it is what is unknown that tells.
        return given or {key: None for key in reads(terms) if self._may_be_unknown(key)}

    def _may_be_unknown(self, key: str) -> bool:
        slot = self.program.slots.get(key)
        return slot is not None and not slot.attribute.always_known


def _can_meet(one: Regions, other: Regions | None) -> bool:
    if other is None:
        return False
    for key, region in one.items():
        beside = other.get(key)
        if isinstance(region, Words) and isinstance(beside, Words):
            is_open = region.others or beside.others or (region.unknown and beside.unknown)
            if not is_open and region.listed.isdisjoint(beside.listed):
                return False
    return all_of((one, other)) is not None


def holds(term: Term, snapshot: Mapping[str, Value | None]) -> bool:
    """Whether a condition is true; what decides it is looked at first, and nothing else."""
    match term:
        case And(operands):
            return all(holds(operand, snapshot) for operand in operands)
        case Or(operands):
            return any(holds(operand, snapshot) for operand in operands)
        case Named(_, operand):
            return holds(operand, snapshot)
        case _:
            return value_of(term, snapshot) is True


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
