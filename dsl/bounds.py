"""The worst that one request can cost and take: dollars, time and attempts, with the request.

Every hop that may be tried is, with all its retries, and every attempt is billed like the worst
case that is reserved for it: the prompt at most the window, the output at its bound. What a
provider refuses for its length is not billed. A stream that has begun may go on to the deadline;
the time here ends with its first content.

Over 300 lines because the three measures add up the same hops.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from .check import GENERATION
from .core import (
    REQUESTED,
    Arithmetic,
    Clause,
    Compare,
    Const,
    Hop,
    If,
    Member,
    Program,
    Read,
    Reject,
    Term,
)
from .cost import TOKENS, worst_case_cost
from .logic import FALSE, TRUE, all_of, any_of, is_true, negation
from .paths import Path, Paths
from .prove import NotDecided, Proved, Prover, Witness
from .routes import NEEDS
from .schema import Target, Type
from .snapshot import Snapshot
from .walk import plan_terms, reads, rewrite
from .worlds import worlds_of_keys

Measure = Literal["dollars", "time", "attempts"]
MEASURES: tuple[Measure, ...] = ("dollars", "time", "attempts")
_ENDLESS = 10**9  # tokens; no prompt is as long
N = Read("n", Type.NUMBER)
MAX_TOKENS = Read("max_tokens", Type.NUMBER)
KIND = Read("request_type", Type.ENUM)
ONE_ANSWER = Compare("==", N, Const(1, Type.NUMBER))


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst of one measure: nano-USD, microseconds, or a count.

    `exact`: `value` is reached by the witness. `unbounded`: a request has no end; `because` names
    the target. `open`: not decided, and at least `value`. `never`: there is no such request.
    """

    kind: Literal["exact", "unbounded", "open", "never"]
    value: int = 0
    witness: Snapshot | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The worst of the requests that a rule takes (None: that no rule takes).

    `asks_others`: it may go to what the client asked for that nobody listed, which is not counted.
    """

    rule: str | None
    dollars: Worst
    time: Worst
    attempts: Worst
    asks_others: bool = False

    def of(self, measure: Measure) -> Worst:
        """The worst by the name of its measure."""
        found: Worst = getattr(self, measure)
        return found


def bounds(program: Program, prover: Prover, where: Term = TRUE) -> tuple[Bound, ...]:
    """The worst of each rule in its order, then of the requests that no rule takes.

    Only requests on which `where` is true are asked about. Where it says nothing of `n`, which
    nothing bounds, it is requests for one answer; where it says nothing of `request_type`, it is
    generation, as of rules.
    """
    return tuple(_Bounding(program, where).rows(prover))


def worst_of(rows: tuple[Bound, ...], measure: Measure) -> tuple[str | None, Worst]:
    """The rule with the worst of all rules, and how bad it is. No end is worse than any number.

    Where a rule is open, so is the whole: at least the greatest value that was found.
    """
    if not rows:
        return None, Worst("never")
    name, worst = max(
        ((row.rule, row.of(measure)) for row in rows),
        key=lambda pair: (pair[1].kind == "unbounded", pair[1].kind != "never", pair[1].value),
    )
    is_open = any(row.of(measure).kind == "open" for row in rows)
    if is_open and worst.kind == "exact":
        return name, Worst("open", worst.value, worst.witness)
    return name, worst


class _Bounding:
    """One program, and what is assumed of its requests."""

    def __init__(self, program: Program, where: Term) -> None:
        self._program = program
        self._paths = Paths(program)
        said = reads([where])
        self._is_one_answer = N.key not in said
        self._assumed = [is_true(where), *worlds_of_keys(program, said)]
        if self._is_one_answer:
            self._assumed.append(is_true(ONE_ANSWER))
        if KIND.key not in said:
            self._assumed.append(is_true(Member(KIND, frozenset(GENERATION))))
        self._fetched = {key for key, slot in program.slots.items() if slot.attribute.fetched}

    def rows(self, prover: Prover) -> Iterator[Bound]:
        """Rule after rule, each for the requests that none before it takes."""
        embeds = False
        with prover.assuming(*self._assumed):
            for clause in self._program.clauses:
                takes = is_true(clause.applies)
                embeds = embeds or bool(self._fetched & {*clause.reads})
                with prover.assuming(takes):
                    yield self._row(prover, clause, embeds)
                prover.assume(negation(takes))
            yield self._row(prover, None, embeds)

    def _row(self, prover: Prover, clause: Clause | None, embeds: bool) -> Bound:
        name = None if clause is None else clause.name
        if clause is not None and isinstance(clause.plan.route, Reject) and not embeds:
            worst = _found(prover, _count(0))
            return Bound(name, worst, worst, worst)
        tries = _by_hop(self._paths.of(clause))
        if any(way.path.row is None for one in tries for way in one.ways):
            asks_others = self._asks_others(prover, tries)
            with prover.assuming(negation(self._paths.asked.others())):
                return replace(self._bound(prover, clause, tries, embeds), asks_others=asks_others)
        return self._bound(prover, clause, tries, embeds)

    def _bound(
        self, prover: Prover, clause: Clause | None, tries: list["_Try"], embeds: bool
    ) -> Bound:
        name = None if clause is None else clause.name
        if clause is not None:
            embeds = embeds or bool(self._fetched & {*reads(plan_terms(clause.plan))})
        dollars = self._endless(prover, tries)
        if dollars is None:
            dollars = _found(prover, self._dollars(tries, clause, embeds))
        time = _found(prover, self._time(tries, embeds))
        attempts = _found(prover, self._attempts(tries, clause, embeds))
        return Bound(name, dollars, time, attempts)

    def _asks_others(self, prover: Prover, tries: list["_Try"]) -> bool:
        ways = (way for one in tries for way in one.ways)
        others = any_of(way.path.when for way in ways if way.path.row is None)
        return others is not FALSE and not isinstance(prover.find(others), Proved)

    def _endless(self, prover: Prover, tries: list["_Try"]) -> Worst | None:
        """Where a prompt without end is paid for: no window bounds it, nor does a condition."""
        is_long = Compare(">", TOKENS, _count(_ENDLESS))
        for way in (way for one in tries for way in one.ways):
            row = way.path.row
            if row is None or row.context_window is not None or row.tariff is None:
                continue
            if row.tariff.input or row.tariff.cache_write:
                answer = prover.find(way.is_served, is_long)
                if isinstance(answer, Witness):
                    return Worst("unbounded", 0, answer.snapshot, row.id)
        return None

    # --- what is added up ------------------------------------------------------------------------

    def _dollars(self, tries: list["_Try"], clause: Clause | None, embeds: bool) -> Term:
        parts: list[Term] = []
        for one in tries:
            cost: Term = Const(0, Type.MONEY)
            for way in one.ways:  # they exclude each other
                if way.path.row is not None:
                    is_billed = all_of((way.is_served, _fits(way.path.row)))
                    cost = _choice(is_billed, self._cost(way.path.row, clause), cost)
            parts.append(_times(1 + one.hop.retries, cost))
        copied = self._mirror(clause)
        if copied is not None:
            is_sent, row = copied
            parts.append(_where(is_sent, self._cost(row, clause), Type.MONEY))
        if embeds and self._program.embedding is not None:
            parts.append(self._cost(self._program.targets[self._program.embedding.target], None))
        return _sum(parts, Type.MONEY)

    def _cost(self, row: Target, clause: Clause | None) -> Term:
        if row.tariff is None:
            return Const(0, Type.MONEY)
        # What a rule sets, it sets for every hop; the snapshot keeps what the client wrote.
        limit = None if clause is None else clause.plan.sets.get("max_tokens")

        def told(read: Read) -> Term:
            if read.key == N.key and self._is_one_answer:
                return _count(1)
            return _count(limit) if read.key == MAX_TOKENS.key and isinstance(limit, int) else read

        return rewrite(worst_case_cost(row, row.tariff), told)

    def _attempts(self, tries: list["_Try"], clause: Clause | None, embeds: bool) -> Term:
        parts = [_where(one.is_served, _count(1 + one.hop.retries), Type.NUMBER) for one in tries]
        copied = self._mirror(clause)
        if copied is not None:
            parts.append(_where(copied[0], _count(1), Type.NUMBER))
        if embeds:
            parts.append(_count(1))
        return _sum(parts, Type.NUMBER)

    def _time(self, tries: list["_Try"], embeds: bool) -> Term:
        """Hop after hop as long as its clock lets it; a default holds only while one is left."""
        deadline = Const(self._program.deadline_us, Type.DURATION)
        total: Term = Const(0, Type.DURATION)
        is_left: Term = FALSE
        for one in reversed(tries):
            clocks = one.hop.clocks
            own = Const(clocks.timeout_us, Type.DURATION)
            time = own if clocks.written_timeout else _choice(is_left, own, deadline)
            total = _choice(one.is_served, Arithmetic("+", time, total, Type.DURATION), total)
            is_left = any_of((is_left, one.is_served))
        whole = Arithmetic("min", total, deadline, Type.DURATION)
        if embeds and self._program.embedding is not None:
            wait = Const(self._program.embedding.timeout_us, Type.DURATION)
            return Arithmetic("+", whole, wait, Type.DURATION)
        return whole

    def _mirror(self, clause: Clause | None) -> tuple[Term, Target] | None:
        mirror = None if clause is None else clause.plan.mirror
        if mirror is None or mirror.hop.target == REQUESTED:
            return None
        is_sent = all_of((is_true(mirror.sampled), self._paths.allowed(mirror.hop.target)))
        return is_sent, self._program.targets[mirror.hop.target]


@dataclass(frozen=True, slots=True)
class _Way:
    """A target, and where it is tried: it is not known to lack what the request needs."""

    path: Path
    is_served: Term


@dataclass(frozen=True, slots=True)
class _Try:
    """A hop with the targets that it may stand for, of which each request meets one at most."""

    hop: Hop
    ways: tuple[_Way, ...]

    @property
    def is_served(self) -> Term:
        """Where one of them is tried."""
        return any_of(way.is_served for way in self.ways)


def _by_hop(paths: tuple[Path, ...]) -> list[_Try]:
    groups = groupby(paths, key=lambda path: id(path.hop))
    ways = (tuple(_Way(path, _served(path)) for path in group) for _, group in groups)
    return [_Try(some[0].path.hop, some) for some in ways]


def _served(path: Path) -> Term:
    abilities = {} if path.row is None else path.row.abilities
    lacks = [
        is_true(Read(needs, Type.BOOL))
        for ability, needs in NEEDS
        if abilities.get(ability) is False
    ]
    return all_of((path.when, *map(negation, lacks)))


def _fits(row: Target) -> Term:
    """Whether the prompt is within the window."""
    if row.context_window is None:
        return TRUE
    return is_true(Compare("<=", TOKENS, _count(row.context_window)))


def _found(prover: Prover, total: Term) -> Worst:
    answer = prover.find() if isinstance(total, Const) else prover.greatest(total)
    if isinstance(answer, tuple):
        value, witness = answer
        return Worst("exact", value, witness.snapshot)
    if isinstance(answer, Witness):
        assert isinstance(total, Const)
        return Worst("exact", int(total.value or 0), answer.snapshot)
    if isinstance(answer, NotDecided):
        return Worst("open")
    return Worst("never")


def _where(test: Term, amount: Term, type_: Type) -> Term:
    return _choice(test, amount, Const(0, type_))


def _choice(test: Term, then: Term, otherwise: Term) -> Term:
    if isinstance(test, Const):
        return then if test.value is True else otherwise
    return If(test, then, otherwise, then.type)


def _times(count: int, amount: Term) -> Term:
    return amount if count == 1 else Arithmetic("*", amount, _count(count), amount.type)


def _sum(parts: list[Term], type_: Type) -> Term:
    """The sum, its constants put together."""
    total = sum(int(part.value or 0) for part in parts if isinstance(part, Const))
    whole: Term = Const(total, type_)
    for part in parts:
        if not isinstance(part, Const):
            whole = Arithmetic("+", whole, part, type_)
    return whole


def _count(value: int) -> Const:
    return Const(value, Type.NUMBER)
