"""Claims about every request and where it goes, tried by proof: `never …` and `always …`.

A claim is about each target that a request may be sent to: the route, the fallbacks behind it if
all before them failed, and the target of a copy. `never` is broken where its condition is true;
`always` where it is not true, so that what is not known breaks it. A rejected request goes nowhere.
A claim that does not test `request_type` is about generation only, as rules are.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from .check import GENERATION
from .core import Arithmetic, Clause, Const, Invariant, Member, Not, Program, Read, Term
from .cost import expected_cost, worst_case_cost
from .facts import COST, PREFIX, WORST_CASE, facts
from .interpret.compiled import compile_program
from .interpret.traced import value_of
from .logic import FALSE, all_of, any_of, is_true, negation
from .meaning import Meanings
from .paths import Path, Paths
from .prove import NotDecided, Proved, Prover, Witness
from .residual import simplify
from .schema import Target, Type, Value
from .scope import ROUTE
from .snapshot import Snapshot
from .walk import reads, rewrite
from .worlds import worlds_of_keys

_COSTS = (COST, WORST_CASE)
_KIND = Read("request_type", Type.ENUM)
_IS_GENERATION = is_true(Member(_KIND, frozenset(GENERATION)))


@dataclass(frozen=True, slots=True)
class Breach:
    """A request that breaks a claim.

    `clause` took it (None: no rule did), and it comes to `target` there: REQUESTED is what the
    client asked for and nobody listed. `is_fallback`: if all before it failed.
    """

    clause: int | None
    target: str
    is_fallback: bool
    is_copy: bool
    witness: Snapshot
    broken: Term  # true where the claim is broken there


@dataclass(frozen=True, slots=True)
class _Case:
    """A target that requests come to, and where the claim is broken there."""

    path: Path
    is_copy: bool
    broken: Term


def breach_of(program: Program, claim: Invariant, prover: Prover) -> Breach | Proved | NotDecided:
    """A request that breaks a claim, from the first rule on; or that there is none."""
    return Claims(program, prover, Paths(program)).breach_of(claim)


class Claims:
    """The claims that are made about one program; what they share is made once."""

    def __init__(self, program: Program, prover: Prover, paths: Paths) -> None:
        """Take a program and what is known of where its requests go."""
        self._program = program
        self._prover = prover
        self._paths = paths

    def breach_of(self, claim: Invariant) -> Breach | Proved | NotDecided:
        """A request that breaks a claim, from the first rule on; or that there is none."""
        return next(self.breaches(claim), Proved())

    def breaches(self, claim: Invariant) -> Iterator[Breach | NotDecided]:
        """Of each rule a request that breaks a claim there, if there is one."""
        prover, program = self._prover, self._program
        is_about_kinds = _KIND.key in reads([claim.test])
        meanings = Meanings()
        known: dict[int, bool] = {}
        at: dict[str, Term] = {}

        def at_target(path: Path) -> Term:
            """Where the claim is broken for what comes to a target; made once for each."""
            if path.target not in at:
                broken = _broken(claim, path, self._paths)
                beside = worlds_of_keys(program, reads([broken]))
                at[path.target] = all_of((broken, *beside))
            return at[path.target]

        def can_be(broken: Term) -> bool:
            """Whether it is ever true; what never was under fewer assumptions is not under more."""
            number = meanings.number(broken)
            if number not in known:
                answer = Proved() if broken is FALSE else prover.sample(broken)
                known[number] = not isinstance(answer, Proved)
            return known[number]

        with prover.assuming(*(() if is_about_kinds else (_IS_GENERATION,))):
            for clause in (*program.clauses, None):
                taken = () if clause is None else (is_true(clause.applies),)
                cases = [
                    _Case(path, is_copy, all_of((path.when, at_target(path))))
                    for path, is_copy in self._goes(clause, is_about_kinds)
                ]
                broken = any_of(self._in_question(cases, can_be))
                if broken is not FALSE:
                    takes = self._takes(-1 if clause is None else clause.index)
                    answer = prover.sample(*taken, broken, confirm=takes)
                    if isinstance(answer, Witness):
                        case = _case_of(cases, answer.snapshot)
                        answer = prover.find(*taken, case.broken, confirm=takes)
                    if isinstance(answer, Witness):
                        yield _breach(clause, case, answer.snapshot)
                    elif isinstance(answer, NotDecided):
                        yield answer
                prover.assume(*map(negation, taken))

    def _in_question(self, cases: list[_Case], can_be: Callable[[Term], bool]) -> Iterator[Term]:
        """Where it may be broken; of what a client may ask for, which is much, all at once."""
        for _, group in groupby(cases, key=lambda case: id(case.path.hop)):
            some = [case.broken for case in group]
            if len(some) > 1 or can_be(some[0]):
                yield any_of(some)

    @cached_property
    def _index_of(self) -> Callable[[Mapping[str, Value | None]], int]:
        return compile_program(self._program)

    def _takes(self, index: int) -> Callable[[Snapshot], bool]:
        return lambda seen: self._index_of(seen) == index

    def _goes(self, clause: Clause | None, is_about_kinds: bool) -> Iterator[tuple[Path, bool]]:
        """The paths of a rule, and that of its copy."""
        if clause is None and not is_about_kinds:
            found = self._paths.of_chain()
        else:
            found = self._paths.of(clause)
        for path in found:
            yield path, False
        mirror = None if clause is None else clause.plan.mirror
        if mirror is not None:
            sampled = all_of((is_true(mirror.sampled), self._paths.allowed(mirror.hop.target)))
            row = self._program.targets.get(mirror.hop.target)
            yield Path(mirror.hop, mirror.hop.target, sampled, False, row), True


def _case_of(cases: list[_Case], seen: Snapshot) -> _Case:
    """The first target at which a request breaks the claim."""
    return next(case for case in cases if value_of(case.broken, seen) is True)


def _breach(clause: Clause | None, case: _Case, seen: Snapshot) -> Breach:
    index = None if clause is None else clause.index
    path = case.path
    return Breach(index, path.target, path.is_fallback, case.is_copy, seen, case.broken)


def _broken(claim: Invariant, path: Path, paths: Paths) -> Term:
    """Whether the claim is broken for what comes to this target."""
    if path.row is None:
        # Of what nobody listed any fact may hold, but it is none of the listed ones.
        unlisted = Not(Member(Read(ROUTE, Type.TEXT), frozenset(paths.asked.targets)))
        return all_of((_is_broken(claim, claim.test), is_true(unlisted)))
    row = path.row
    keys = tuple(key for key in reads([claim.test]) if key.startswith(PREFIX) and key not in _COSTS)
    known = {**facts(row, keys), ROUTE: row.id}

    def told(term: Read) -> Term:
        if term.key in _COSTS:
            return _cost(term.key, row)
        return Const(known[term.key], term.type, term.span) if term.key in known else term

    return _is_broken(claim, simplify(rewrite(claim.test, told), {}))


def _cost(key: str, row: Target) -> Term:
    """What the request costs on a target, as a term; without a price it is unknown."""
    if row.tariff is None:
        return Const(None, Type.MONEY)
    if key == WORST_CASE:
        return worst_case_cost(row, row.tariff)
    output: Term = Read(f"expected_output({row.id})", Type.NUMBER)
    longest = row.max_output if row.max_output is not None else row.context_window
    if longest is not None:  # what is measured is no longer than what is possible
        output = Arithmetic("min", output, Const(longest, Type.NUMBER), Type.NUMBER)
    return expected_cost(row, row.tariff, output)


def _is_broken(claim: Invariant, test: Term) -> Term:
    holds = is_true(test)
    return holds if claim.kind == "never" else negation(holds)
