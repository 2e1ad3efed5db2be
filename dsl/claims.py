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
from .facts import COST, PREFIX, TAG, WORST_CASE, facts
from .interpret.compiled import compile_program
from .interpret.traced import value_of
from .logic import FALSE, all_of, any_of, is_true, negation
from .paths import Path, Paths
from .prove import NotDecided, Proved, Prover, Witness
from .residual import simplify
from .schema import Target, Type, Value
from .scope import ROUTE
from .snapshot import Snapshot
from .walk import leaves_first, reads, rewrite
from .worlds import worlds_of_keys

_COSTS = (COST, WORST_CASE)
_KIND = Read("request_type", Type.ENUM)
_IS_GENERATION = is_true(Member(_KIND, frozenset(GENERATION)))


@dataclass(frozen=True, slots=True)
class Breach:
    """A request that breaks a claim.

    `clause` took it (None: no rule did), and it comes to `target` there: REQUESTED is what the
    client asked for and nobody listed. `is_fallback`: it stands behind the route. The request comes
    there only if others fail where it `is_after_others`. `values` is what the claim compares of the
    target, by its name: what it costs, where it runs.
    """

    clause: int | None
    target: str
    is_fallback: bool
    is_copy: bool
    witness: Snapshot
    broken: Term  # true where the claim is broken there
    is_after_others: bool = False
    values: tuple[tuple[str, Value | None, Type], ...] = ()


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
        known: dict[str, bool] = {}
        at: dict[str, Term] = {}

        def at_target(path: Path) -> Term:
            """Where the claim is broken for what comes to a target; made once for each."""
            if path.target not in at:
                broken = _broken(claim, path, self._paths)
                beside = worlds_of_keys(program, reads([broken]))
                at[path.target] = all_of((broken, *beside))
            return at[path.target]

        def can_be(path: Path) -> bool:
            """Whether the claim is ever broken there, whatever leads to it; asked once for each."""
            if path.target not in known:
                broken = at_target(path)
                answer = Proved() if broken is FALSE else prover.sample(broken)
                known[path.target] = not isinstance(answer, Proved)
            return known[path.target]

        with prover.assuming(*(() if is_about_kinds else (_IS_GENERATION,))):
            for clause in (*program.clauses, None):
                if not prover.has_time():
                    yield NotDecided("time")
                    return
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
                        yield _breach(clause, cases, case, answer.snapshot, claim)
                    elif isinstance(answer, NotDecided):
                        yield answer
                prover.assume(*map(negation, taken))

    def _in_question(self, cases: list[_Case], can_be: Callable[[Path], bool]) -> Iterator[Term]:
        """Where it may be broken; of what a client may ask for, which is much, all at once."""
        for _, group in groupby(cases, key=lambda case: id(case.path.hop)):
            some = list(group)
            if len(some) > 1 or can_be(some[0].path):
                yield any_of(case.broken for case in some)

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
        if clause is not None and mirror is not None:
            sent = self._paths.copied(clause)
            row = self._program.targets.get(mirror.hop.target)
            yield Path(mirror.hop, mirror.hop.target, sent, False, row), True


def _case_of(cases: list[_Case], seen: Snapshot) -> _Case:
    """The first target at which a request breaks the claim."""
    return next(case for case in cases if value_of(case.broken, seen) is True)


def _breach(
    clause: Clause | None, cases: list[_Case], case: _Case, seen: Snapshot, claim: Invariant
) -> Breach:
    index = None if clause is None else clause.index
    path = case.path
    before = cases[: cases.index(case)]
    return Breach(
        index,
        path.target,
        path.is_fallback,
        case.is_copy,
        seen,
        case.broken,
        any(value_of(other.path.when, seen) is True for other in before),
        tuple(_compared(claim, path.row, seen)),
    )


def _compared(
    claim: Invariant, row: Target | None, seen: Snapshot
) -> Iterator[tuple[str, Value | None, Type]]:
    """What the claim reads of a target, and what that is of this request."""
    if row is None:
        return
    terms = [term for term in leaves_first([claim.test]) if isinstance(term, Read)]
    for key, type_ in {term.key: term.type for term in terms}.items():
        if key in _COSTS:
            name = "cost" if key == COST else "worst_case(cost)"
            yield name, value_of(_cost(key, row), seen), type_
        elif key.startswith(PREFIX) and not key.startswith(TAG):
            yield key.removeprefix(PREFIX), facts(row, (key,))[key], type_


def unknown_facts(program: Program, claim: Invariant) -> dict[str, list[str]]:
    """By fact that a claim reads: the targets of the policy's routes of which it is not known."""
    keys = [key for key in reads([claim.test]) if key.startswith(PREFIX) and key not in _COSTS]
    paths = Paths(program)
    plans = (*program.clauses, None)
    goes = {path.target for clause in plans for path in paths.of(clause)}
    rows = [row for id, row in program.targets.items() if id in goes]
    found = {
        key.removeprefix(PREFIX): [row.id for row in rows if facts(row, (key,))[key] is None]
        for key in keys
    }
    return {name: ids for name, ids in found.items() if ids}


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
