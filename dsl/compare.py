"""Two versions of a policy: the same requests to the same places, or the requests that move.

What is the same as written is found without a search. For the rest every pair (old rule, new rule)
that some request can meet is asked about, and a request shown for each that differs. `equivalent`
is said only where it is proved.

What this rests on: matched rules have conditions of one meaning, in the same order. A request for
which no other condition is true is decided by the same matched rule in both, so only requests that
one of the others takes, or that meet a matched rule whose plan differs, can be treated otherwise.

Over 300 lines because the questions and the bookkeeping of what was answered are one search.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Literal, get_args

from .asked import IS_KNOWN, MODEL
from .core import REQUESTED, Clause, Compare, Const, Hop, Program, Term
from .embedded import is_let_in_alike, is_read_alike, newly_read, reads_similar
from .limits import Gate
from .logic import FALSE, TRUE, all_of, any_of, is_true, negation
from .meaning import Meanings, Plans, options
from .paths import worlds
from .prove import Answer, NotDecided, Prover, ProverError, Witness
from .readings import NEW, new_key, readings
from .schema import Type
from .sequences import differ_anywhere, differ_first
from .settings import Setting, assumptions, settings
from .side import Aspect, Effect, Side
from .snapshot import Snapshot, read_given
from .walk import plan_terms, reads, rewrite
from .witness import Simplifier

Verdict = Literal["equivalent", "settings_changed", "changed", "not_decided"]
Confirm = Callable[[Snapshot], bool]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)  # what weighs most comes first

_MANY = 32  # questions, from which on it is worth it to rule out every rule before each
_SIMPLE = 40  # witnesses that are made simple; who reads more looks for something else


@dataclass(frozen=True, slots=True)
class Change:
    """Requests that are treated otherwise: those that `old` took and `new` takes (None: no rule).

    `witness` is one of them, decided again by `traced`; what the new version reads otherwise has a
    key of its own there (`readings`). `before` and `after` are what becomes of it. `differs` names
    what is not the same, what weighs most first.
    """

    old: str | None
    new: str | None
    differs: tuple[Aspect, ...]
    witness: Snapshot
    before: Effect
    after: Effect


@dataclass(frozen=True, slots=True)
class Newly:
    """A target that some request can newly come to, with the request; of a copy `is_mirror`.

    `is_embedding`: it gets the text that `similar_to` compares. `witness` None: it does so newly
    whatever the request.
    """

    glob: str
    target: str
    witness: Snapshot | None
    old: str | None = None
    new: str | None = None
    is_mirror: bool = False
    is_embedding: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was not decided; None of a rule: none, or any."""

    old: str | None
    new: str | None
    reason: Literal["time", "opaque"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing two programs.

    `renamed` are pairs of names of rules that mean the same; `moving_arms` those of them whose
    split keeps sessions by the rule's name, so that they move arms. `settings` are changes of what
    is no routing. `assumed` says what was taken to be the same though it is not. `undecided` are
    those of the protected globs of which it is not proved that nothing newly comes there, each with
    the questions that stayed open; where there are none, it is what was assumed.
    """

    changes: tuple[Change, ...] = ()
    open: tuple[Open, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    moving_arms: tuple[tuple[str, str], ...] = ()
    settings: tuple[Setting, ...] = ()
    assumed: tuple[str, ...] = ()
    newly: tuple[Newly, ...] = ()
    undecided: Mapping[str, tuple[Open, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Equivalent only where all is proved, nothing had to be assumed and no setting acts."""
        if self.changes:
            return "changed"
        if self.open or self.assumed:
            return "not_decided"
        return "settings_changed" if any(one.acts for one in self.settings) else "equivalent"


def compare(
    old: Program,
    new: Program,
    prover_of: Callable[[Program, Program], Prover],
    protected: Sequence[str] = (),
) -> Comparison:
    """Compare two programs. `protected` are globs of targets: which requests newly reach one?

    `prover_of` is asked for a prover only where what is written differs.
    """
    comparing = _Comparing(old, new, protected)
    comparing.search(prover_of)
    assumed = assumptions(old, new)
    newly = comparing.newly
    undecided = comparing.undecided
    if assumed:
        # Once more, with values of their own for each: does anything hang on what was assumed?
        apart = _Comparing(old, new, protected, [key for one in assumed for key in one.keys])
        apart.search(prover_of)
        if not apart.changes and not apart.open:
            assumed = ()
        told = {one.glob for one in newly}
        possibly: dict[str, tuple[Open, ...]] = {one.glob: () for one in apart.newly}
        undecided = {
            glob: undecided.get(glob, ())
            for glob in {**possibly, **apart.undecided}
            if glob not in told
        }
    return comparing.comparison(tuple(dict.fromkeys(one.said for one in assumed)), undecided)


class _Comparing:
    """One search over two programs; the new one reads what is `apart` under keys of its own."""

    def __init__(
        self, old: Program, new: Program, protected: Sequence[str], apart: Iterable[str] = ()
    ) -> None:
        meanings = Meanings()
        self.readings = readings(old, new, apart)
        self.old = Side(old, new, meanings)
        self.new = Side(new, old, meanings, self.readings.renamed)
        self.protected = protected
        self.changes: list[Change] = []
        self.open: list[Open] = []
        self.newly: list[Newly] = []
        self.undecided: dict[str, tuple[Open, ...]] = {}
        self.matched = self._match()
        self.names = self._names()
        self.simplifier = Simplifier(old, new)
        self.worlds = (*worlds(old, new), *self.readings.terms)
        self.is_gated = not _same_gates(self.old, self.new, meanings)
        lone = [side.strangers.are_asked() for side in (self.old, self.new)]
        self.asks_for_a_stranger = any_of(lone)

    def _match(self) -> dict[int, int]:
        """Rules whose conditions mean the same, in the same order; `no rule` is one of them."""
        matcher = SequenceMatcher(None, self.old.conditions, self.new.conditions, autojunk=False)
        pairs = {
            block.a + step: block.b + step
            for block in matcher.get_matching_blocks()
            for step in range(block.size)
        }
        return pairs | {self.old.count: self.new.count}

    def _names(self) -> list[tuple[int, int]]:
        """The matched rules that have another name; what carries the name is read under the old."""
        found = []
        for i, j in self.matched.items():
            if i < self.old.count and self.old.name(i) != self.new.name(j):
                found.append((i, j))
                was = {any_: key for key, any_ in self.old.salts[i].items()}
                for key, any_ in self.new.salts[j].items():
                    if any_ in was:
                        self.new.renamed[key] = was[any_]
        taken = {*self.new.renamed.values()}
        for salts in self.new.salts:
            for key in salts:
                if key in taken and key not in self.new.renamed:  # drawn for another rule there
                    self.new.renamed[key] = _another_salt(key)
        return found

    def search(self, prover_of: Callable[[Program, Program], Prover]) -> None:
        """Find what differs, and what newly comes to what is protected."""
        old, new = self.old, self.new
        differing = [i for i, j in self.matched.items() if not self._is_same_plan(i, j)]
        only_old = [i for i in range(old.count) if i not in self.matched]
        only_new = sorted(set(range(new.count)) - set(self.matched.values()))
        if differing or only_old or only_new:
            old.prepare()
            new.prepare()
            prover = prover_of(old.program, new.program)
            with prover.assuming(*self.readings.terms):
                self._search(prover, differing, only_old, only_new)
        self._strangers(prover_of)
        self._embeddings(prover_of)

    def comparison(
        self, assumed: tuple[str, ...], undecided: Mapping[str, tuple[Open, ...]]
    ) -> Comparison:
        """What came of it."""
        old, new = self.old, self.new
        before = {clause.name for clause in old.clauses}
        after = {clause.name for clause in new.clauses}
        renamed = [(old.clauses[i].name, new.clauses[j].name) for i, j in self.names]
        gone, come = {a for a, _ in renamed}, {b for _, b in renamed}
        return Comparison(
            changes=tuple(sorted(self.changes, key=_weight)),
            open=tuple(self.open),
            added=tuple(c.name for c in new.clauses if c.name not in before | come),
            removed=tuple(c.name for c in old.clauses if c.name not in after | gone),
            renamed=tuple(renamed),
            moving_arms=tuple(
                (old.clauses[i].name, new.clauses[j].name)
                for i, j in self.names
                if _keeps_arms(old.clauses[i]) and _keeps_arms(new.clauses[j])
            ),
            settings=settings(old.program, new.program),
            assumed=assumed,
            newly=tuple(self.newly),
            undecided=undecided,
        )

    # --- the search ------------------------------------------------------------------------------

    def _is_same_plan(self, i: int, j: int) -> bool:
        return self.old.plans[i] == self.new.plans[j] and not self.is_gated

    def _search(
        self, prover: Prover, differing: list[int], only_old: list[int], only_new: list[int]
    ) -> None:
        """Ask about the rules that are in the old only, the matched that differ, the new only."""
        alone = {*only_old}
        asked = sorted({*differing, *only_old})
        is_many = len(asked) > _MANY
        with prover.assuming():
            passed = 0
            for i in asked:
                if is_many:  # then every rule stands in the way of some
                    prover.assume(*map(negation, self.old.takes[passed:i]))
                    passed = i
                if i in alone:
                    self._follow(prover, i, None, {})
                else:
                    self._pair(prover, i, self.matched[i])
        covered = dict.fromkeys(only_old, True)
        for j in only_new:
            self._follow(prover, None, j, covered)

    def _follow(
        self, prover: Prover, i: int | None, j: int | None, settled: Mapping[int, bool]
    ) -> None:
        """Ask about all pairs of a rule that one version has alone, as far as requests meet them.

        `settled` are rules of the other version that were asked about already.
        """
        if i is not None:
            mine, other, own = self.old, self.new, i
            passed = {k for m, k in self.matched.items() if m < i}
        else:
            assert j is not None
            mine, other, own = self.new, self.old, j
            passed = {m for m, k in self.matched.items() if k < j}

        def is_same(one: int) -> bool:
            return self._is_same_plan(i, one) if i is not None else self._is_same_plan(one, own)

        # A request that `own` takes is taken by no matched rule before it, in neither version.
        passed |= other.apart_from(mine.region(own))
        done = [settled.get(one, False) or is_same(one) for one in range(other.count + 1)]
        while True:
            open_ = other.ladder(passed, done)
            answer = prover.sample(*mine.decides(own, mine.blockers[own]), open_)
            if not isinstance(answer, Witness):
                self._note(i, j, answer)
                for glob in self.protected:
                    self._leave_open(glob, i, j, answer)
                return
            taken = mine.fired(answer.snapshot)
            if taken != own:
                mine.blockers[own][taken] = None
                continue
            found = other.fired(answer.snapshot)
            done[found] = True
            self._pair(prover, found if i is None else i, found if j is None else j)

    def _pair(self, prover: Prover, i: int, j: int) -> None:
        """Ask what differs for the requests that meet these two rules, and take down a witness."""
        may_differ = False
        for term in self._differences(i, j):
            answer = self._ask(prover, i, j, lambda seen: bool(self._differs(i, j, seen)), term)
            if isinstance(answer, Witness):
                self._take(i, j, answer.snapshot)
                may_differ = True
                break
            self._note(i, j, answer)
            may_differ = may_differ or isinstance(answer, NotDecided)
        if may_differ:
            for glob in self.protected:
                self._protect(prover, i, j, glob)

    def _ask(self, prover: Prover, i: int, j: int, confirm: Confirm, *terms: Term) -> Answer:
        """A request that meets these two rules and on which the terms are true.

        Rules before them are ruled out as they are met: of hundreds few stand in the way of one.
        """
        old, new = self.old, self.new
        known = (old.knows(i), new.knows(j), negation(self.asks_for_a_stranger))
        terms = tuple(term for term in (*terms, *known) if term is not TRUE)
        while True:
            met = (*old.decides(i, old.blockers[i]), *new.decides(j, new.blockers[j]), *terms)
            answer = prover.sample(*met)
            if not isinstance(answer, Witness):
                return answer
            taken, takes = old.fired(answer.snapshot), new.fired(answer.snapshot)
            if (taken, takes) == (i, j):
                break
            if taken != i:
                old.blockers[i][taken] = None
            if takes != j:
                new.blockers[j][takes] = None

        def is_shown(seen: Snapshot) -> bool:
            # What nobody listed is nothing that anybody knows: no example is made of it.
            asked = Snapshot({**seen, IS_KNOWN.key: False})
            return (
                old.fired(seen) == i
                and new.fired(seen) == j
                and all(old.value(term, asked) is True for term in (*terms, *self.worlds))
                and confirm(seen)
            )

        if len(self.changes) >= _SIMPLE and confirm(answer.snapshot):
            return answer
        return self._confirmed(i, j, self._simplest(answer.snapshot, is_shown), is_shown)

    def _simplest_there_is(self, seen: Snapshot, is_shown: Confirm) -> Snapshot:
        """The simplest request like this that a gateway can have."""

        def is_there(one: Snapshot) -> bool:
            told = Snapshot({**one, IS_KNOWN.key: False})
            return is_shown(one) and all(self.old.value(t, told) is True for t in self.worlds)

        return self._simplest(seen, is_there)

    def _simplest(self, seen: Snapshot, is_shown: Confirm) -> Snapshot:
        """The simplest request like this, what the new version reads otherwise put beside it."""
        if not self.readings.tenants and not self.readings.listed:
            return self.simplifier.simplest(seen, is_shown)

        def shown(one: Snapshot) -> Snapshot | None:
            return next(filter(is_shown, self.readings.completed(one)), None)

        simple = self.simplifier.simplest(seen, lambda one: shown(one) is not None)
        return shown(simple) or seen

    def _confirmed(self, i: int, j: int, seen: Snapshot, is_shown: Confirm) -> Witness:
        """A witness that `traced` decides alike. Raises: ProverError."""
        if is_shown(seen) and self.old.takes_it(i, seen) and self.new.takes_it(j, seen):
            return Witness(seen)
        rules = f"{self.old.name(i)} and {self.new.name(j)}"
        told = "\n".join(f"with: {key} = {value!r}" for key, value in sorted(seen.items()))
        digests = ", ".join(side.program.digest for side in (self.old, self.new))
        raise ProverError(
            f"a request that {rules} treat otherwise was not confirmed\npolicy: {digests}\n{told}"
        )

    def _differences(self, i: int, j: int) -> Iterator[Term]:
        """The questions about a pair, the weightiest first; of what never differs there is none."""
        old, new = self.old, self.new
        was, is_ = old.static(i), new.static(j)
        if was["reject"] != is_["reject"]:
            yield TRUE
            return
        if was["reject"] is None:
            first = differ_first(old.places(i, False), new.places(j, False))
            if first is not FALSE:
                yield first
            anywhere = differ_anywhere(old.places(i, True), new.places(j, True))
            rest = any_of((anywhere, *self._copies(i, j)))
            if rest is not FALSE:
                yield rest
        if was != is_:
            yield TRUE

    def _copies(self, i: int, j: int) -> Iterator[Term]:
        old, new = self.old.mirror(i), self.new.mirror(j)
        before, after = self.old.copies(i), self.new.copies(j)
        if before is not after:
            yield all_of((before, negation(after)))
            yield all_of((after, negation(before)))
        if old is not None and new is not None and _copy(old.hop) != _copy(new.hop):
            yield all_of((before, after))

    def _take(self, i: int, j: int, seen: Snapshot) -> None:
        before, after = self.old.effect(i, seen), self.new.effect(j, seen)
        differs = self._differs(i, j, seen)
        old, new = self.old.name(i), self.new.name(j)
        self.changes.append(Change(old, new, differs, self._shown(seen), before, after))

    def _shown(self, seen: Snapshot) -> Snapshot:
        """A witness under the names that both versions have; see `readings`."""
        own, read = self.new.own(seen), self.old.program.slots
        apart = {key for key in self.new.renamed.values() if key not in read}
        shown = Snapshot({key: value for key, value in seen.items() if key not in apart})
        for key in self.new.renamed:
            if key not in read:
                shown[key] = own[key]
            elif shown[key] != own[key]:
                shown[new_key(key)] = own[key]
        return shown

    def _differs(self, i: int, j: int, seen: Snapshot) -> tuple[Aspect, ...]:
        """What is not the same for one request; `traced` and `destination` say it, no question."""
        before, after = self.old.effect(i, seen), self.new.effect(j, seen)
        was, is_ = self.old.static(i), self.new.static(j)
        if before.lacks is not None or after.lacks is not None:
            return ()
        found: list[Aspect] = []
        if was["reject"] != is_["reject"]:
            return ("reject",)
        if (before.target, before.unknown_model) != (after.target, after.unknown_model):
            found.append("target")
        was_tried = [target for target, _ in before.tries]
        is_tried = [target for target, _ in after.tries]
        if was_tried[1:] != is_tried[1:]:
            found.append("fallback")
        if was["set"] != is_["set"]:
            found.append("set")
        if _copy(before.copy) != _copy(after.copy):
            found.append("mirror")
        hows = [[options(hop) for _, hop in effect.tries] for effect in (before, after)]
        if was_tried == is_tried and hows[0] != hows[1]:
            found.append("clocks")
        if was["hold"] != is_["hold"]:
            found.append("hold")
        return tuple(found)

    def _note(self, i: int | None, j: int | None, answer: object) -> None:
        if isinstance(answer, NotDecided):
            left = self._open(i, j, answer)
            if left not in self.open:  # several questions are asked about one pair
                self.open.append(left)

    def _open(self, i: int | None, j: int | None, answer: NotDecided) -> Open:
        old = None if i is None else self.old.name(i)
        new = None if j is None else self.new.name(j)
        return Open(old, new, answer.reason)

    # --- targets that are newly reached ----------------------------------------------------------

    def _protect(self, prover: Prover, i: int, j: int, glob: str) -> None:
        known = {(one.glob, one.target, one.is_mirror) for one in self.newly}
        before = self.old.reach(i, glob)
        for (target, is_mirror), after in self.new.reach(j, glob).items():
            if (glob, target, is_mirror) in known or self._is_enough(glob):
                continue
            already = [before[key] for key in ((target, False), (target, True)) if key in before]
            terms = (after, *map(negation, already))
            answer = self._ask(prover, i, j, lambda seen: True, *terms)
            self._leave_open(glob, i, j, answer)
            if isinstance(answer, Witness):
                names = self.old.name(i), self.new.name(j)
                shown = self._shown(answer.snapshot)
                self.newly.append(Newly(glob, target, shown, *names, is_mirror))

    def _is_enough(self, glob: str) -> bool:
        """Whether so much newly comes there that nobody reads on: it is no less broken for that."""
        return sum(one.glob == glob for one in self.newly) >= _SIMPLE

    def _leave_open(self, glob: str, i: int | None, j: int | None, answer: Answer) -> None:
        if isinstance(answer, NotDecided):
            left = self._open(i, j, answer)
            known = self.undecided.get(glob, ())
            self.undecided[glob] = known if left in known else (*known, left)

    # --- names that only one version knows -------------------------------------------------------

    def _strangers(self, prover_of: Callable[[Program, Program], Prover]) -> None:
        """Who asks for such a name is refused by the other version: one request for each name."""
        for name in self.old.strangers.examples():
            seen = self._plain(name)
            self._take(self.old.count, self.new.fired(seen), seen)
        for name in self.new.strangers.examples():
            seen = self._plain(name)
            self._take(self.old.fired(seen), self.new.count, seen)
        asks = self.old.strangers.are_asked()
        if self.protected and asks is not FALSE:
            alone = _Admitted(self.new.program, asks, prover_of)
            for glob in self.protected:
                self._admit(alone, glob)

    def _admit(self, alone: "_Admitted", glob: str) -> None:
        """What a request by such a name comes to, it newly comes to, whatever takes it."""
        known = {(one.glob, one.target, one.is_mirror) for one in self.newly}
        for j in range(alone.side.count + 1):
            for (target, is_mirror), after in alone.side.reach(j, glob).items():
                if (glob, target, is_mirror) in known or self._is_enough(glob):
                    continue
                names: list[str | None] = [None]
                if target == REQUESTED:
                    names = [*self.old.strangers.matching(glob)]
                    if not names and self.old.strangers.may_match(glob):
                        self._leave_open(glob, None, j, NotDecided("opaque"))
                for name in names:
                    answer = alone.ask(j, after, name)
                    self._leave_open(glob, None, j, answer)
                    if isinstance(answer, Witness):
                        came = target if name is None else name
                        new = self.new.name(j)
                        self.newly.append(Newly(glob, came, answer.snapshot, None, new, is_mirror))
                        known.add((glob, target, is_mirror))
                        break

    def _plain(self, model: str) -> Snapshot:
        """A usual request for a model."""
        drawn = {key: 0 for key in self.new.renamed.values() if key.startswith("bucket.")}
        said = {"tokens": 100, "model": model}
        sides = (read_given(said, side.program) for side in (self.old, self.new))
        given = {key: v for side in sides for key, v in side.items() if v is not None}
        plain = self.simplifier.completed({**drawn, **given})
        return next(self.readings.completed(plain))

    def _embeddings(self, prover_of: Callable[[Program, Program], Prover]) -> None:
        """The text that `similar_to` compares goes to a target, too."""
        was, is_ = self.old.program.embedding, self.new.program.embedding
        globs = [] if is_ is None else [g for g in self.protected if fnmatchcase(is_.target, g)]
        if is_ is None or not globs or not reads_similar(self.new.program):
            return
        if was is None or was.target != is_.target or not reads_similar(self.old.program):
            self.newly += (Newly(glob, is_.target, None) for glob in globs)
            return
        # As written alike is alike, but for those whom the two see otherwise, or let in otherwise.
        is_seen_alike = not self.readings.renamed and self.old.strangers.are_asked() is FALSE
        is_alike = is_read_alike(self.old, self.new) and is_let_in_alike(
            self.old.program, self.new.program
        )
        if is_seen_alike and is_alike:
            return
        self.old.prepare()
        self.new.prepare()
        prover = prover_of(self.old.program, self.new.program)
        with prover.assuming(*self.readings.terms):
            answer, j = newly_read(self.old, self.new, prover, self._simplest_there_is)
        for glob in globs:
            if isinstance(answer, Witness):
                shown = self._shown(answer.snapshot)
                i = self.old.fired(answer.snapshot)
                taken = self.new.fired(answer.snapshot)
                names = self.old.name(i), self.new.name(taken)
                self.newly.append(Newly(glob, is_.target, shown, *names, is_embedding=True))
            else:
                self._leave_open(glob, None, j, answer)


class _Admitted:
    """One version alone, asked about requests by names that only it knows."""

    def __init__(
        self, program: Program, asks: Term, prover_of: Callable[[Program, Program], Prover]
    ) -> None:
        self.side = Side(program, program, Meanings())
        self.side.prepare()
        self._asks = asks
        self._prover = prover_of(program, program)
        self._worlds = worlds(program)
        self._simplifier = Simplifier(program)

    def ask(self, j: int, after: Term, name: str | None) -> Answer:
        """A request that a rule takes and on which the term is true; `name` nobody lists."""
        side = self.side
        terms = [self._asks, after]
        if name is not None:  # this version knows it
            terms = [rewrite(after, lambda read: TRUE if read.key == IS_KNOWN.key else read)]
            terms.append(is_true(Compare("==", MODEL, Const(name, Type.TEXT))))

        def is_shown(seen: Snapshot) -> bool:
            told = Snapshot({**seen, IS_KNOWN.key: False})
            held = (*terms, *self._worlds)
            return side.fired(seen) == j and all(side.value(term, told) is True for term in held)

        while True:
            answer = self._prover.sample(*side.decides(j, side.blockers[j]), *terms)
            if not isinstance(answer, Witness):
                return answer
            taken = side.fired(answer.snapshot)
            if taken == j:
                break
            side.blockers[j][taken] = None
        return Witness(self._simplifier.simplest(answer.snapshot, is_shown))


def _weight(change: Change) -> int:
    """What moves requests comes before what only treats them otherwise."""
    return min((ASPECTS.index(aspect) for aspect in change.differs), default=len(ASPECTS))


def _keeps_arms(clause: Clause) -> bool:
    """Whether a split of this rule keeps somebody on an arm, by the rule's name."""
    own = f"({clause.name})"
    return any(
        key in (f"bucket{own}", f"bucket.user{own}", f"bucket.tenant{own}")
        for key in _plan_reads(clause)
    )


def _plan_reads(clause: Clause) -> tuple[str, ...]:
    return reads(plan_terms(clause.plan))


def _copy(hop: Hop | None) -> object:
    """Where a copy goes, and how it is tried."""
    return None if hop is None else (hop.target, options(hop))


def _another_salt(key: str) -> str:
    """The key of a draw, or of what is held, that is none of the old version's."""
    return f"{key.removesuffix(')')}{NEW})"


def _same_gates(old: Side, new: Side, meanings: Meanings) -> bool:
    """Whether the limits keep the same requests from the same targets, as they are written."""
    if not old.program.limits and not new.program.limits:
        return True
    names = {*old.program.targets, *new.program.targets}

    def gates(side: Side) -> dict[str | None, list[object]]:
        gate, plans = Gate(side.program), Plans(side.program, meanings, side.renamed)
        return {
            name: [plans.limit(limit) for limit in gate.limits_of(name)] for name in (*names, None)
        }

    return gates(old) == gates(new)
