"""The fourth interpretation: terms as formulas, and the search for snapshots that make them true.

z3 is known here and nowhere else (`smt_logic` makes its formulas, `smt_snapshot` says what
snapshots are, `smt_text` what texts are, `smt_terms` what terms mean). What a term means is
`traced`'s business; laws hold this to it, unknown values included
(tests/dsl/test_dsl_smt_laws.py).
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import z3

from turnout.dsl.core import Program, Term
from turnout.dsl.schema import Value

from .smt_logic import Formula, Logic
from .smt_snapshot import Variables
from .smt_terms import OutOfTime, Terms

FASTER = 1_024  # how many times longer each step towards the greatest value is than the last


@dataclass(frozen=True, slots=True)
class Model:
    """Values by snapshot key under which everything asked is true; None is the unknown.

    `is_exact` is false where an opaque test of a text (a pattern) was chosen freely, so that the
    text that stands here may not really pass it.
    """

    values: dict[str, Value | None]
    is_exact: bool
    _choice: Formula = field(default=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Impossible:
    """No snapshot makes it true. `core`: indices of the asked terms that suffice for that."""

    core: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The solver gave up within its bound."""


class Solver:
    """Formulas over the snapshots of some programs (one, or two that are compared).

    Their slots say what there is to read: type, range, domain, whether it is always known. Scopes
    nest: what is added holds until its scope is left.

    What holds of every snapshot comes to be known as terms are, in whatever scope; z3 forgets it
    with the scope and is told again. Each question is a scope of z3's own, so that nothing stays
    of it: what a model costs grows with all that z3 knows.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        timeout_ms: int = 2_000,
        is_over: Callable[[], bool] | None = None,
    ) -> None:
        """Start with what holds of every snapshot.

        Once `is_over`, terms are no longer made into formulas: every answer is `TimedOut` then.
        """
        self.timeout_ms = timeout_ms
        self._logic = Logic()
        self._z3 = z3.SimpleSolver(ctx=self._logic.context)
        self._z3.set("ctrl_c", False)
        self._variables = Variables(programs, self._logic, self._require)
        self._terms = Terms(self._variables, self._logic, self._require, is_over)
        # What holds for good and was said in a scope, by scope: z3 is to be told again.
        self._late: list[list[Formula]] = []
        self._names: list[Formula] = []  # entry i stands for what is asked in place i
        self._set_timeout = 0
        self._spent_ms = 0.0
        self._last: Any = None  # the z3 model of the last answer that is one

    def add(self, *terms: Term) -> None:
        """From here on, in this scope, these terms are true."""
        with suppress(OutOfTime):
            for term in terms:
                self._z3.add(self._logic.formula(self._terms.truth(term).true))

    def push(self) -> None:
        """Open a scope."""
        self._z3.push()
        self._late.append([])

    def pop(self) -> None:
        """Leave the innermost scope."""
        self._z3.pop()
        for formula in self._late.pop():
            self._require(formula)

    def check(self, *terms: Term) -> Model | Impossible | TimedOut:
        """Whether some snapshot makes these terms true, all at once, beside what was added."""
        try:
            formulas = [self._terms.truth(term).true for term in terms]
        except OutOfTime:
            return TimedOut()
        return self._find(formulas, self._spent_ms + self.timeout_ms)

    def exclude(self, model: Model) -> None:
        """From here on, in this scope, the texts of this model do not pass these tests together."""
        self._z3.add(self._logic.formula(self._logic.negate(model._choice)))

    def greatest(
        self, term: Term, *terms: Term, floor: int | None = None
    ) -> tuple[int, Model] | Impossible | TimedOut:
        """The greatest value of a number where the terms are true, and a snapshot that has it.

        With a floor it is greater than that, or impossible. Found by steps that grow until one is
        impossible, then shrink; all of them together have the time of one check.
        """
        until_ms = self._spent_ms + self.timeout_ms
        try:
            number = self._terms.number(term)
            formulas = [*(self._terms.truth(term).true for term in terms), number.known]
        except OutOfTime:
            return TimedOut()
        if floor is not None:
            formulas.append(self._logic.compare("<", floor, number.value))
        best = self._find(formulas, until_ms)
        if isinstance(best, Impossible):
            return Impossible(tuple(index for index in best.core if index < len(terms)))
        if isinstance(best, TimedOut):
            return best
        least, most = self._logic.value(self._last, number.value), number.bounds[1]
        step = most - least  # first the end of its range: little is bounded but by that
        is_bounded = False
        while least < most:
            aim = min(most, least + step)
            reached = self._logic.compare("<=", aim, number.value)
            answer = self._find([*formulas, reached], until_ms)
            if isinstance(answer, TimedOut):
                return answer
            if isinstance(answer, Model):
                best, least = answer, self._logic.value(self._last, number.value)
                step *= FASTER
            else:
                most = aim - 1
                step = (most - least + 1) // 2 if is_bounded else 1
                is_bounded = True
        return least, best

    def _find(self, formulas: Sequence[Formula], until_ms: float) -> Model | Impossible | TimedOut:
        """A model of texts that pass what they are said to pass, if there is one."""
        first = self._ask(formulas, self._variables.texts.settled(), until_ms)
        if isinstance(first, Model) and not first.is_exact:
            second = self._ask(formulas, self._variables.texts.constant(), until_ms)
            return second if isinstance(second, Model) else self._ask(formulas, (), until_ms)
        if isinstance(first, Impossible) and self._variables.texts.has_patterns:
            return self._ask(formulas, (), until_ms)
        return first

    def _require(self, formula: Formula) -> None:
        """A formula holds for good."""
        if formula is not True:
            known = self._logic.formula(formula)
            self._z3.add(known)
            if self._late:
                self._late[-1].append(known)

    def _ask(
        self, formulas: Sequence[Formula], beside: Iterable[Formula], until_ms: float
    ) -> Model | Impossible | TimedOut:
        for index, formula in enumerate(formulas):
            if formula is False:
                return Impossible((index,))
        timeout_ms = int(until_ms - self._spent_ms)
        if timeout_ms <= 0:
            return TimedOut()
        if timeout_ms != self._set_timeout:
            self._z3.set("timeout", timeout_ms)
            self._set_timeout = timeout_ms
        asked = [*formulas, *beside]
        names = self._named(len(asked))
        self._z3.push()
        try:
            for name, formula in zip(names, asked, strict=True):
                self._z3.add(self._logic.implies(name, formula))
            return self._answer(names)
        finally:
            self._z3.pop()

    def _answer(self, names: Sequence[Formula]) -> Model | Impossible | TimedOut:
        answer = self._z3.check(*names)
        self._spent_ms += self._taken_ms()
        if answer == z3.sat:
            return self._model()
        if answer == z3.unsat:
            core = {name.get_id() for name in self._z3.unsat_core()}
            return Impossible(
                tuple(index for index, name in enumerate(names) if name.get_id() in core)
            )
        return TimedOut()

    def _taken_ms(self) -> float:
        """How long z3 says that its last answer took; it says nothing of very little."""
        statistics = self._z3.statistics()
        has_time = "time" in statistics.keys()
        return 1_000 * float(statistics.get_key_value("time")) if has_time else 0.0

    def _named(self, count: int) -> Sequence[Formula]:
        """Plain truths, one for each formula that is asked: z3 assumes nothing else."""
        self._names.extend(self._logic.truth() for _ in range(count - len(self._names)))
        return self._names[:count]

    def _model(self) -> Model:
        self._last = self._z3.model()
        values, texts = self._variables.read(self._last)
        chosen = [reading.choice for reading in texts.values() if not reading.is_exact]
        return Model(values, not chosen, self._logic.all_of(chosen) if chosen else False)
