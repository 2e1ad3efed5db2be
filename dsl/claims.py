"""Claims about every request and where it goes, tried by proof: `never …` and `always …`.

A claim is about each target that a request may be sent to: the route, the fallbacks behind it if
all before them failed, and the target of a copy. `never` is broken where its condition is true;
`always` where it is not true, so that what is not known breaks it. A rejected request goes nowhere.
A claim that does not test `request_type` is about generation only, as rules are.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .check import GENERATION
from .core import Clause, Const, Invariant, Member, Not, Program, Read, Term
from .facts import PREFIX, facts
from .interpret.compiled import compile_program
from .interpret.traced import evaluate
from .logic import FALSE, all_of, any_of, is_true, negation
from .meaning import Meanings
from .paths import Path, Paths
from .prove import NotDecided, Proved, Prover, Witness
from .residual import simplify
from .schema import Type, Value
from .scope import ROUTE
from .snapshot import Snapshot
from .walk import reads, rewrite

_KIND = Read("request_type", Type.ENUM)


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
    return next(breaches(program, claim, prover), Proved())


def breaches(program: Program, claim: Invariant, prover: Prover) -> Iterator[Breach | NotDecided]:
    """Of each rule a request that breaks a claim there, if there is one."""
    found = Paths(program)
    index_of = compile_program(program)
    meanings = Meanings()
    known: dict[int, bool] = {}

    at: dict[str, Term] = {}

    def at_target(path: Path) -> Term:
        """Where the claim is broken for what comes to a target; made once for each."""
        if path.target not in at:
            at[path.target] = _broken(claim, path, found)
        return at[path.target]

    def can_be(broken: Term) -> bool:
        """Whether it is ever true; what never was under fewer assumptions is not under more."""
        number = meanings.number(broken)
        if number not in known:
            answer = Proved() if broken is FALSE else prover.sample(broken)
            known[number] = not isinstance(answer, Proved)
        return known[number]

    with prover.assuming(*_about(claim)):
        for clause in (*program.clauses, None):
            taken = () if clause is None else (is_true(clause.applies),)
            cases = [
                _Case(path, is_copy, all_of((path.when, at_target(path))))
                for path, is_copy in _goes(program, found, clause)
                if clause is not None or _is_about(claim) or path.hop is not program.requested
            ]
            broken = any_of(case.broken for case in cases if can_be(case.broken))
            if broken is not FALSE:
                takes = _takes(index_of, -1 if clause is None else clause.index)
                answer = prover.find(*taken, broken, confirm=takes)
                if isinstance(answer, Witness):
                    yield _breach(clause, cases, answer.snapshot)
                elif isinstance(answer, NotDecided):
                    yield answer
            prover.assume(*map(negation, taken))


def _about(claim: Invariant) -> tuple[Term, ...]:
    if _is_about(claim):
        return ()
    return (is_true(Member(_KIND, frozenset(GENERATION))),)


def _is_about(claim: Invariant) -> bool:
    """Whether a claim says itself which kind of request it is about."""
    return _KIND.key in reads([claim.test])


def _takes(
    index_of: Callable[[Mapping[str, Value | None]], int], index: int
) -> Callable[[Snapshot], bool]:
    return lambda seen: index_of(seen) == index


def _breach(clause: Clause | None, cases: list[_Case], seen: Snapshot) -> Breach:
    case = next(case for case in cases if evaluate(case.broken, seen).value is True)
    index = None if clause is None else clause.index
    path = case.path
    return Breach(index, path.target, path.is_fallback, case.is_copy, seen, case.broken)


def _goes(program: Program, found: Paths, clause: Clause | None) -> Iterator[tuple[Path, bool]]:
    """The paths of a rule, and that of its copy."""
    for path in found.of(clause):
        yield path, False
    mirror = None if clause is None else clause.plan.mirror
    if mirror is not None:
        sampled = all_of((is_true(mirror.sampled), found.allowed(mirror.hop.target)))
        row = program.targets.get(mirror.hop.target)
        yield Path(mirror.hop, mirror.hop.target, sampled, False, row), True


def _broken(claim: Invariant, path: Path, paths: Paths) -> Term:
    """Whether the claim is broken for what comes to this target."""
    if path.row is None:
        # Of what nobody listed any fact may hold, but it is none of the listed ones.
        unlisted = Not(Member(Read(ROUTE, Type.TEXT), frozenset(paths.asked.targets)))
        return all_of((_is_broken(claim, claim.test), is_true(unlisted)))
    keys = tuple(key for key in reads([claim.test]) if key.startswith(PREFIX))
    known = {**facts(path.row, keys), ROUTE: path.row.id}

    def told(term: Read) -> Const | Read:
        return Const(known[term.key], term.type, term.span) if term.key in known else term

    return _is_broken(claim, simplify(rewrite(claim.test, told), {}))


def _is_broken(claim: Invariant, test: Term) -> Term:
    holds = is_true(test)
    return holds if claim.kind == "never" else negation(holds)
