"""The worst that one request can cost and take: dollars, time and attempts, with the request.

Every hop that may be tried is, with all its retries, and every attempt is billed like the worst
case that is reserved for it: the prompt at most the window, the output at its bound. What the
gateway would pass over is not tried (`attempts`). A stream that has begun may go on to the
deadline; the time here ends with its first content. A request is tried MOST_ATTEMPTS times at most:
where retries could come to more, the attempts say so, and dollars and time are an upper bound.

Over 300 lines because the three measures add up the same hops.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from .attempts import KIND, Attempts, Sendings, Try, Way
from .check import GENERATION
from .core import (
    Arithmetic,
    Clause,
    Compare,
    Const,
    If,
    Known,
    Member,
    Program,
    Read,
    Reject,
    Term,
)
from .cost import TOKENS, worst_case_cost
from .hops import MOST_ATTEMPTS
from .interpret.traced import value_of, values
from .interval import bounds as interval_of
from .logic import FALSE, TRUE, all_of, any_of, is_true, negation
from .paths import Paths
from .prove import NotDecided, Proved, Prover, Witness
from .schema import Target, Tariff, Type
from .snapshot import Snapshot
from .walk import reads, rewrite
from .worlds import worlds_of_keys

Measure = Literal["dollars", "time", "attempts"]
MEASURES: tuple[Measure, ...] = ("dollars", "time", "attempts")
FASTER = 4  # how many times more cases are asked about at once where the last came to nothing
_ENDLESS = 10**9  # tokens; no prompt and no answer is as long
N = Read("n", Type.NUMBER)
MAX_TOKENS = Read("max_tokens", Type.NUMBER)
_IS_STREAM = is_true(Read("stream", Type.BOOL))
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


@dataclass(frozen=True, slots=True)
class _Bill:
    """Attempts at one target that are paid for where `when` is true, each at most `cost`."""

    row: Target
    when: Term
    cost: Term
    times: int
    writes: bool  # whether it gives an answer that somebody pays for

    @property
    def total(self) -> Term:
        """What all of them come to."""
        return _times(self.times, self.cost)


@dataclass(frozen=True, slots=True)
class _Case:
    """What a measure comes to where `when` is true; never more than `most`."""

    when: Term
    total: Term
    most: int

    def beats(self, best: Worst) -> Term:
        """Where it comes to more than the worst that was found."""
        if best.kind != "exact":
            return self.when
        than = Const(best.value, self.total.type)
        return all_of((self.when, is_true(Compare(">", self.total, than))))


class _Bounding:
    """One program, and what is assumed of its requests."""

    def __init__(self, program: Program, where: Term) -> None:
        self._program = program
        self._paths = Paths(program)
        self._attempts = Attempts(program, self._paths)
        said = reads([where])
        self._is_one_answer = N.key not in said
        # With the term itself: while it is held here, no other has its id.
        self._bounds: dict[int, tuple[Term, int]] = {}
        self._costs: dict[tuple[str, Term | None], Term] = {}
        self._assumed = [
            is_true(where),
            *worlds_of_keys(program, said),
            *self._attempts.worlds(),
        ]
        if self._is_one_answer:
            self._assumed.append(is_true(ONE_ANSWER))
        if KIND.key not in said:
            self._assumed.append(is_true(Member(KIND, frozenset(GENERATION))))

    @cached_property
    def _all_listed(self) -> Term:
        return negation(self._paths.asked.others())

    def rows(self, prover: Prover) -> Iterator[Bound]:
        """Rule after rule, each for the requests that none before it takes."""
        embeds = False
        with prover.assuming(*self._assumed):
            for clause in self._program.clauses:
                takes = is_true(clause.applies)
                embeds = embeds or self._attempts.reads_fetched(clause.reads)
                with prover.assuming(takes):
                    yield self._row(prover, clause, embeds)
                prover.assume(negation(takes))
            yield self._row(prover, None, embeds)

    def _row(self, prover: Prover, clause: Clause | None, embeds: bool) -> Bound:
        name = None if clause is None else clause.name
        if not prover.has_time():
            left_open = Worst("open")
            return Bound(name, left_open, left_open, left_open)
        if clause is not None and isinstance(clause.plan.route, Reject) and not embeds:
            worst = _worst(prover, [_Case(TRUE, _count(0), 0)])
            return Bound(name, worst, worst, worst)
        sent = self._attempts.of(clause, embeds)
        unlisted = [w.is_tried for one in sent.tries for w in one.ways if w.path.row is None]
        if not unlisted:
            return self._bound(prover, clause, sent)
        asks_others = self._is_ever(prover, any_of(unlisted))
        with prover.assuming(self._all_listed):
            return replace(self._bound(prover, clause, sent), asks_others=asks_others)

    def _is_ever(self, prover: Prover, term: Term) -> bool:
        return term is not FALSE and not isinstance(prover.sample(term), Proved)

    def _bound(self, prover: Prover, clause: Clause | None, sent: Sendings) -> Bound:
        found = self._of(prover, clause, sent)
        if not sent.instead:
            return found
        other = self._of(prover, clause, replace(sent, tries=sent.instead))
        return replace(
            found,
            dollars=_worse(found.dollars, other.dollars),
            time=_worse(found.time, other.time),
            attempts=_worse(found.attempts, other.attempts),
        )

    def _of(self, prover: Prover, clause: Clause | None, sent: Sendings) -> Bound:
        limit = None if clause is None else clause.plan.sets.get("max_tokens")
        # What a rule sets, it sets for every hop; the snapshot keeps what the client wrote.
        longest = _count(limit) if isinstance(limit, int) else None
        # Of the targets of a route there is one at most: each is a case of its own.
        first = [
            (one, self._bill(way, one, longest))
            for one in sent.tries
            if not one.is_fallback
            for way in one.ways
            if way.path.row is not None
        ]
        none_of_them = negation(any_of(bill.when for _, bill in first))

        rest = self._bills_behind(sent, longest)
        dollars = self._endless(prover, [*(bill for _, bill in first), *rest], longest is not None)
        if dollars is None:
            behind = _sum([_where(one.when, one.total, Type.MONEY) for one in rest], Type.MONEY)
            most = self._most(behind)
            cases = [
                _Case(one.when, _plus(one.total, behind), one.times * self._most(one.cost) + most)
                for _, one in first
            ]
            dollars = _worst(prover, [*cases, _Case(none_of_them, behind, most)])
        at_hops, beside = self._count_behind(sent), self._count_beside(sent)
        most = self._most(at_hops)
        most_beside = self._most(beside)
        cases = [
            _Case(
                bill.when,
                _plus(_at_most(_plus(_count(bill.times), at_hops), bill.times + most), beside),
                min(bill.times + most, MOST_ATTEMPTS) + most_beside,
            )
            for _, bill in first
        ]
        behind_alone = _plus(_at_most(at_hops, most), beside)
        nowhere = _Case(none_of_them, behind_alone, min(most, MOST_ATTEMPTS) + most_beside)
        attempts = _worst(prover, [*cases, nowhere], dollars.witness)
        clocks = _Clocks(self._program, sent)
        times = {id(one): clocks.beginning_with(one) for one, _ in first}
        cases = [_Case(bill.when, times[id(one)], clocks.most(one)) for one, bill in first]
        without = clocks.beginning_with(None)
        nowhere = _Case(none_of_them, without, clocks.most(None))
        time = _worst(prover, [*cases, nowhere], attempts.witness or dollars.witness)
        return Bound(None if clause is None else clause.name, dollars, time, attempts)

    def _most(self, total: Term) -> int:
        """A bound of it by its own terms, looked for once."""
        if id(total) not in self._bounds:
            attributes = self._program.schema.attributes
            self._bounds[id(total)] = total, interval_of(total, attributes)[1]
        return self._bounds[id(total)][1]

    # --- bills -----------------------------------------------------------------------------------

    def _bills_behind(self, sent: Sendings, longest: Term | None) -> list[_Bill]:
        """Those of all that is sent beside a route's own target."""
        tries = (one for one in sent.tries if one.is_fallback)
        found = [
            self._bill(way, one, longest)
            for one in tries
            for way in one.ways
            if way.path.row is not None
        ]
        if (copy := sent.copy) is not None:
            found.append(_Bill(copy.row, copy.is_sent, self._cost(copy.row, longest), 1, True))
        if (embedding := sent.embedding) is not None:
            found.append(self._embedded(embedding.row, embedding.is_sent))
        return found

    def _bill(self, way: Way, one: Try, longest: Term | None) -> _Bill:
        row = way.path.row
        assert row is not None
        return _Bill(row, way.is_tried, self._cost(row, longest), 1 + one.hop.retries, True)

    def _embedded(self, row: Target, when: Term) -> _Bill:
        """The call has no limit of the client's, and no answer but vectors."""
        nothing = _count(0)
        cost = self._with(row, {N.key: nothing, MAX_TOKENS.key: nothing})
        return _Bill(row, when, cost, 1, False)

    def _cost(self, row: Target, longest: Term | None) -> Term:
        key = (row.id, longest)
        if key not in self._costs:
            known: dict[str, Term] = {} if longest is None else {MAX_TOKENS.key: longest}
            if self._is_one_answer:
                known[N.key] = _count(1)
            self._costs[key] = self._with(row, known)
        return self._costs[key]

    def _with(self, row: Target, known: dict[str, Term]) -> Term:
        if row.tariff is None:
            return Const(0, Type.MONEY)
        cost = worst_case_cost(row, row.tariff)
        return rewrite(cost, lambda read: known.get(read.key, read))

    def _endless(self, prover: Prover, bills: Sequence[_Bill], is_set: bool) -> Worst | None:
        """Where something is paid for that has no end, by no target and no condition."""
        found = [
            (bill, all_of((bill.when, has_no_end)))
            for of in (self._endless_prompt, self._endless_answer)
            for bill in bills
            if (has_no_end := of(bill, is_set)) is not FALSE
        ]
        some = prover.sample(any_of(term for _, term in found)) if found else Proved()
        if not isinstance(some, Witness):
            return None
        bill, term = next(pair for pair in found if value_of(pair[1], some.snapshot) is True)
        answer = prover.find(term)
        seen = answer.snapshot if isinstance(answer, Witness) else some.snapshot
        return Worst("unbounded", 0, seen, bill.row.id)

    def _endless_prompt(self, bill: _Bill, _: bool) -> Term:
        row = bill.row
        steps = () if row.tariff is None else _steps(row.tariff)
        is_paid = any(one.input or one.cache_write for one in steps)
        return _is_endless(TOKENS) if is_paid and row.context_window is None else FALSE

    def _endless_answer(self, bill: _Bill, is_set: bool) -> Term:
        row = bill.row
        steps = () if row.tariff is None else _steps(row.tariff)
        if not bill.writes or not any(one.output for one in steps):
            return FALSE
        is_long: Term = FALSE
        if row.max_output is None and row.context_window is None and not is_set:
            is_long = any_of((negation(Known(MAX_TOKENS)), _is_endless(MAX_TOKENS)))
        return is_long if self._is_one_answer else any_of((is_long, _is_endless(N)))

    def _count_behind(self, sent: Sendings) -> Term:
        """The attempts at the hops behind a route's own target."""
        parts = [
            _where(one.is_tried, _count(1 + one.hop.retries), Type.NUMBER)
            for one in sent.tries
            if one.is_fallback
        ]
        return _sum(parts, Type.NUMBER)

    def _count_beside(self, sent: Sendings) -> Term:
        """The calls beside the hops, which the bound on attempts is not about."""
        single = (one for one in (sent.copy, sent.embedding) if one is not None)
        return _sum([_where(one.is_sent, _count(1), Type.NUMBER) for one in single], Type.NUMBER)


class _Clocks:
    """How long a request takes: hop after hop, each as long as its clock lets it.

    A default holds only while another hop is left, and none is where the breakers of all others are
    open: so a hop whose clock is not written may take whatever is left of the deadline.
    """

    def __init__(self, program: Program, sent: Sendings) -> None:
        self._deadline = Const(program.deadline_us, Type.DURATION)
        self._behind: Term = Const(0, Type.DURATION)
        self._fallbacks = [one for one in sent.tries if one.is_fallback]
        self._wait_us = 0
        for one in reversed(self._fallbacks):
            with_it = _plus(_clocked(one, self._deadline), self._behind)
            self._behind = _choice(one.is_tried, with_it, self._behind)
        self._before: Term = Const(0, Type.DURATION)
        if sent.embedding is not None and program.embedding is not None:
            self._wait_us = program.embedding.timeout_us
            wait = Const(self._wait_us, Type.DURATION)
            self._before = _where(sent.embedding.is_sent, wait, Type.DURATION)

    def most(self, first: Try | None) -> int:
        """A bound of that, by the clocks alone."""
        hops = [one.hop for one in self._fallbacks] + ([] if first is None else [first.hop])
        deadline_us = int(self._deadline.value or 0)
        clocks = (hop.clocks for hop in hops)
        whole = sum(one.timeout_us if one.written_timeout else deadline_us for one in clocks)
        return self._wait_us + min(whole, deadline_us)

    def beginning_with(self, first: Try | None) -> Term:
        """The time where the route's own target is tried first; None: where there is none."""
        whole = self._behind
        if first is not None:
            whole = _plus(_clocked(first, self._deadline), whole)
        return _plus(self._before, Arithmetic("min", whole, self._deadline, Type.DURATION))


def _clocked(one: Try, deadline: Const) -> Term:
    """The longest that a hop may take until it has failed."""
    clocks = one.hop.clocks
    limit = Const(clocks.timeout_us, Type.DURATION) if clocks.written_timeout else deadline
    # The one attempt at a stream ends at its first content; waits before others have no bound.
    if not clocks.written_ttft or one.hop.retries or clocks.ttft_us >= int(limit.value or 0):
        return limit
    return _choice(_IS_STREAM, Const(clocks.ttft_us, Type.DURATION), limit)


def _steps(tariff: Tariff) -> tuple[Tariff, ...]:
    return (tariff, *(step for _, step in tariff.above))


def _is_endless(number: Term) -> Term:
    return is_true(Compare(">", number, _count(_ENDLESS)))


def _worst(prover: Prover, cases: Sequence[_Case], near: Snapshot | None = None) -> Worst:
    """The worst of cases that exclude each other, from the one that may be the worst on.

    What cannot come to more than the worst that was found is not asked about. `near`: a request
    that may be the worst of all.
    """
    best = Worst("never")
    taken = [None] * len(cases) if near is None else values([case.when for case in cases], near)
    ranked = sorted(
        zip(cases, taken, strict=True), key=lambda one: (-one[0].most, one[1] is not True)
    )
    left = [case for case, _ in ranked]
    size = 1
    while left:
        some, is_over = left[:size], False
        if len(some) > 1:
            found = prover.sample(any_of(case.beats(best) for case in some))
            if isinstance(found, NotDecided):
                return Worst("open", best.value, best.witness)
            if isinstance(found, Witness):
                near = found.snapshot
                some = [next(case for case in some if _holds(case.beats(best), near))]
            is_over = isinstance(found, Proved)
        if not is_over:
            worst = _greatest(prover, some[0], best, near)
            if worst.kind == "open":
                return Worst("open", best.value, best.witness)
            is_over = worst.kind == "never"
            best = best if is_over else worst
        if is_over:
            size *= FASTER
        done = {id(case) for case in some}
        left = [case for case in left if id(case) not in done and _may_beat(case, best)]
    return best


def _worse(one: Worst, other: Worst) -> Worst:
    """The worse of two; open where one of them is, and the other has an end."""
    worst = max((one, other), key=lambda w: (w.kind == "unbounded", w.kind != "never", w.value))
    is_open = "open" in (one.kind, other.kind) and worst.kind != "unbounded"
    return Worst("open", worst.value, worst.witness) if is_open else worst


def _may_beat(case: _Case, best: Worst) -> bool:
    return best.kind == "never" or case.most > best.value


def _holds(term: Term, seen: Snapshot) -> bool:
    return value_of(term, seen) is True


def _greatest(prover: Prover, case: _Case, best: Worst, near: Snapshot | None) -> Worst:
    """What a case comes to at most, where that is more than the worst so far."""
    if isinstance(case.total, Const):
        found = prover.find(case.when)
        if isinstance(found, Witness):
            return Worst("exact", int(case.total.value or 0), found.snapshot)
        return Worst("open" if isinstance(found, NotDecided) else "never")
    answer = prover.greatest(case.total, case.beats(best), near=near)
    if isinstance(answer, tuple):
        value, witness = answer
        return Worst("exact", value, witness.snapshot)
    return Worst("open" if isinstance(answer, NotDecided) else "never")


def _where(test: Term, amount: Term, type_: Type) -> Term:
    return _choice(test, amount, Const(0, type_))


def _choice(test: Term, then: Term, otherwise: Term) -> Term:
    if isinstance(test, Const):
        return then if test.value is True else otherwise
    return If(test, then, otherwise, then.type)


def _at_most(attempts: Term, most: int) -> Term:
    """So many attempts, of which `most` is a bound, and never more than a request has."""
    if most <= MOST_ATTEMPTS:
        return attempts
    return Arithmetic("min", attempts, _count(MOST_ATTEMPTS), Type.NUMBER)


def _times(count: int, amount: Term) -> Term:
    return amount if count == 1 else Arithmetic("*", amount, _count(count), amount.type)


def _plus(one: Term, other: Term) -> Term:
    return _sum([one, other], other.type)


def _sum(parts: list[Term], type_: Type) -> Term:
    """The sum, its constants put together."""
    total = sum(int(part.value or 0) for part in parts if isinstance(part, Const))
    whole: Term = Const(total, type_)
    for part in parts:
        if not isinstance(part, Const):
            is_first = isinstance(whole, Const) and not whole.value
            whole = part if is_first else Arithmetic("+", whole, part, type_)
    return whole


def _count(value: int) -> Const:
    return Const(value, Type.NUMBER)
