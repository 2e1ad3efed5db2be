"""Where requests can go, as terms: which rule fires, which hops follow each other, and when.

`destination` says where one snapshot leads; here the same is said of all of them at once, so that
the prover can ask about it. A law holds the two together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from . import worlds as of_gateways
from .asked import Asked
from .core import (
    REQUESTED,
    And,
    Choice,
    Clause,
    Compare,
    Const,
    Hop,
    Limit,
    Member,
    Program,
    Read,
    Reject,
    Term,
)
from .destination import following
from .limits import Gate
from .logic import FALSE, TRUE, all_of, any_of, is_not_false, is_true, negation
from .residual import simplify
from .schema import Target, Type
from .ways import Place, Way, place_of_hop, place_of_route

EMBEDDINGS = "embeddings"
_KIND = Read("request_type", Type.ENUM)
_IS_EMBEDDINGS = is_true(Compare("==", _KIND, Const(EMBEDDINGS, Type.ENUM)))


@dataclass(frozen=True, slots=True)
class Path:
    """A hop that requests may be sent to.

    `when` is true exactly where it is tried, if all before it failed. `target` is the id of a
    target of the program; of `requested`, each that it may stand for has its own path, REQUESTED
    itself stands for all that nobody listed. `row` is the target itself, which the program need not
    hold where it was asked for; None of those that nobody listed.
    """

    hop: Hop
    target: str
    when: Term
    is_fallback: bool
    row: Target | None = None


def fires(program: Program, index: int) -> Term:
    """Whether the rule of that index is the one that decides; never unknown."""
    earlier = (negation(is_true(clause.applies)) for clause in program.clauses[:index])
    return all_of((*earlier, is_true(program.clauses[index].applies)))


def paths(program: Program, clause: Clause | None) -> tuple[Path, ...]:
    """The hops of a rule in their order (None: where no rule matches); none of a rejection.

    Their terms are about requests on which the rule fires; they do not say that it does.
    Whoever asks about several rules keeps a `Paths`: what they share is made once there.
    """
    return Paths(program).of(clause)


def allowed(program: Program, target: str) -> Term:
    """Whether no limit keeps a target out; never unknown. REQUESTED: what was asked for."""
    return Paths(program).allowed(target)


def worlds(program: Program, *others: Program) -> tuple[Term, ...]:
    """What holds of every snapshot that a gateway takes, beside the ranges of its attributes.

    Of several programs: what all of them say.
    """
    first, *rest = (tuple(of_gateways.worlds(one)) for one in (program, *others))
    return tuple(term for term in first if all(term in terms for terms in rest))


class Paths:
    """The paths of one program; what they share is made once."""

    def __init__(self, program: Program) -> None:
        """Take a program; nothing is made before it is asked for."""
        self._program = program
        self._gate = Gate(program)
        self._allowed: dict[str, Term] = {}
        self._places: dict[int, Place] = {}  # of hops, by their identity

    @cached_property
    def asked(self) -> Asked:
        """What clients may ask for."""
        return Asked(self._program)

    def of(self, clause: Clause | None) -> tuple[Path, ...]:
        """The hops of a rule in their order, as `paths` says."""
        program = self._program
        if clause is None:
            asked = [self._place(hop) for hop in (program.requested, *program.chain)]
            # embeddings that no rule is about go to what was asked for
            return (*_where(_IS_EMBEDDINGS, self._paths(asked, TRUE)), *self.of_chain())
        plan = clause.plan
        if isinstance(plan.route, Reject):
            return ()
        targets = program.targets
        route = place_of_route(plan.route, targets, self.allowed, lambda: self.asked)
        places = [route, *(self._place(hop) for hop in following(program, plan))]
        return tuple(self._paths(places, _IS_EMBEDDINGS if _of_embeddings(clause) else FALSE))

    def of_chain(self) -> tuple[Path, ...]:
        """The hops of requests for generation that no rule takes."""
        chain = [self._place(hop) for hop in self._program.chain]
        found = self._paths(chain, FALSE, is_fallback=True)
        return tuple(_where(negation(_IS_EMBEDDINGS), found))

    def copied(self, clause: Clause) -> Term:
        """Whether the copy of a rule's request is sent: only beside a hop, tried or not."""
        plan = clause.plan
        mirror, route = plan.mirror, plan.route
        if mirror is None or isinstance(route, Reject):
            return FALSE
        sent = (is_true(mirror.sampled), self.allowed(mirror.hop.target))
        if isinstance(route, Hop):
            return all_of(sent)
        place = place_of_route(route, self._program.targets, self.allowed, lambda: self.asked)
        is_left = isinstance(route, Choice) and not following(self._program, plan)
        return all_of((*sent, place.is_open, place.any_of(place.ways) if is_left else TRUE))

    def allowed(self, target: str) -> Term:
        """Whether no limit keeps a target out, as `allowed` says."""
        if target not in self._allowed:
            if not self._program.limits:
                self._allowed[target] = TRUE
            elif target == REQUESTED:
                self._allowed[target] = self._whatever_was_asked()
            else:
                row = self._program.targets.get(target) or self.asked.targets.get(target)
                limits = () if row is None else self._gate.limits_of(row)
                self._allowed[target] = _nothing_excludes(limits)
        return self._allowed[target]

    def _whatever_was_asked(self) -> Term:
        return all_of(
            any_of((negation(way.chosen), self._is_allowed(way)))
            for way in self._place(self._program.requested).ways
        )

    def _is_allowed(self, way: Way) -> Term:
        # What nobody listed may have any facts: its limits read them as keys of the snapshot.
        return (
            _nothing_excludes(self._program.limits) if way.row is None else self.allowed(way.target)
        )

    def _place(self, hop: Hop) -> Place:
        if id(hop) not in self._places:
            targets = self._program.targets
            self._places[id(hop)] = place_of_hop(hop, targets, lambda: self.asked)
        return self._places[id(hop)]

    def _paths(
        self, places: Sequence[Place], embeddings: Term, *, is_fallback: bool = False
    ) -> Iterator[Path]:
        """The ways of all places in their order; `embeddings`: where the request is about these."""
        is_open: Term = TRUE
        before = _Before()
        for index, place in enumerate(places):
            is_open = all_of((is_open, place.is_open))
            for way in place.ways:
                when = all_of(
                    (
                        is_open,
                        way.chosen,
                        negation(before.is_met(way)),
                        self._is_allowed(way),
                        TRUE
                        if embeddings is FALSE
                        else any_of((negation(embeddings), before.has_their_model(way))),
                        TRUE if way.hop.when is None else is_true(way.hop.when),
                    )
                )
                if when is not FALSE:
                    is_behind = is_fallback or index > 0
                    yield Path(way.hop, way.target, when, is_behind, way.row)
            before.add(place)


def _where(term: Term, found: Iterator[Path]) -> Iterator[Path]:
    return (replace(path, when=all_of((term, path.when))) for path in found)


def _of_embeddings(clause: Clause) -> bool:
    """Whether a rule may fire on embeddings; it says in front where it cannot."""
    term = clause.applies
    for part in term.operands if isinstance(term, And) else (term,):
        if isinstance(part, Member) and isinstance(part.operand, Read):
            if part.operand.key == _KIND.key and EMBEDDINGS not in part.values:
                return False
    return True


def _nothing_excludes(limits: Sequence[Limit]) -> Term:
    """Closed in doubt: a limit applies unless `when` is false, and passes only what is true."""
    return all_of(
        any_of(
            (
                FALSE if limit.when is None else negation(is_not_false(limit.when)),
                is_true(simplify(limit.target, {})),
            )
        )
        for limit in limits
    )


class _Before:
    """The places before a hop; what is said of each of its ways is put together once."""

    def __init__(self) -> None:
        self._chosen: dict[str, list[Term]] = {}
        # Of each place, with the term that something stands there and nothing before.
        self._firsts: list[tuple[Place, Term]] = []
        self._is_nothing: Term = TRUE
        self._others: dict[str | None, Term] = {}

    def add(self, place: Place) -> None:
        """Take the next place."""
        for way in place.ways:
            self._chosen.setdefault(way.target, []).append(way.chosen)
        self._firsts.append((place, self._is_nothing))
        self._is_nothing = all_of((self._is_nothing, negation(place.any_of(place.ways))))
        self._others = {}

    def is_met(self, way: Way) -> Term:
        """Whether its target stands in the order before, tried or not."""
        return any_of(self._chosen.get(way.target, ()))

    def has_their_model(self, way: Way) -> Term:
        """Whether it has the model of the first target in the order: other vectors are useless."""
        model = _model(way)
        if model not in self._others:
            self._others[model] = any_of(
                all_of((nothing, place.any_of(_of_other_models(place, model))))
                for place, nothing in self._firsts
            )
        return negation(self._others[model])


def _of_other_models(place: Place, model: str | None) -> list[Way]:
    return [one for one in place.ways if model is None or _model(one) != model]


def _model(way: Way) -> str | None:
    return None if way.row is None else way.row.model
