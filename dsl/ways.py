"""Where a route and the hops behind it may lead, as terms: each target with when it is chosen.

The same as `choose` says of one snapshot. Whether what was chosen may be tried is not known here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .asked import IS_KNOWN, Asked
from .core import (
    REQUESTED,
    Arithmetic,
    Candidate,
    Choice,
    Compare,
    Hop,
    If,
    Known,
    Reject,
    Route,
    Split,
    Term,
)
from .logic import FALSE, TRUE, all_of, any_of, is_not_false, is_true, negation
from .schema import Target


@dataclass(frozen=True, slots=True)
class Way:
    """A target that stands in a place of the order of hops where `chosen` is true.

    `row` None: something was asked for that nobody listed.
    """

    hop: Hop
    target: str
    row: Target | None
    chosen: Term


def _by_their_terms(ways: Sequence[Way]) -> Term:
    return any_of(way.chosen for way in ways)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of hops; its ways exclude each other.

    Where `is_open` is not true, nothing is tried here or behind. `any_of` says when one of some of
    the ways is chosen.
    """

    ways: tuple[Way, ...]
    is_open: Term = TRUE
    any_of: Callable[[Sequence[Way]], Term] = _by_their_terms


def place_of_route(
    route: Route,
    targets: Mapping[str, Target],
    allowed: Callable[[str], Term],
    asked: Callable[[], Asked],
) -> Place:
    """What a route comes to. `asked` is called where the route is what was asked for."""
    match route:
        case Hop():
            return place_of_hop(route, targets, asked)
        case Split():
            return Place(_known(_arms(route), targets), Known(route.bucket))
        case Choice():
            return Place(_known(_candidates(route, allowed), targets))
        case Reject():
            return Place((), FALSE)


def place_of_hop(hop: Hop, targets: Mapping[str, Target], asked: Callable[[], Asked]) -> Place:
    """One target; of `requested`, each that it may stand for."""
    if hop.target != REQUESTED:
        return Place(_known([(hop, TRUE)], targets))
    by_client = asked()
    ways = [Way(hop, id, row, by_client.any_of([id])) for id, row in by_client.targets.items()]
    unlisted = all_of((by_client.others(), is_not_false(IS_KNOWN)))

    def of_several(some: Sequence[Way]) -> Term:
        if len(some) > len(ways):
            return by_client.anything()
        listed = [way.target for way in some if way.row is not None]
        rest = [way.chosen for way in some if way.row is None]
        return any_of((by_client.any_of(listed), *rest))

    return Place((*ways, Way(hop, REQUESTED, None, unlisted)), any_of=of_several)


def _known(chosen: Sequence[tuple[Hop, Term]], targets: Mapping[str, Target]) -> tuple[Way, ...]:
    """The ways to targets that the program holds; others are passed over."""
    return tuple(
        Way(hop, hop.target, targets[hop.target], term)
        for hop, term in chosen
        if hop.target in targets
    )


def _arms(split: Split) -> list[tuple[Hop, Term]]:
    """The first arm whose end is above the bucket, else the last."""
    found: list[tuple[Hop, Term]] = []
    above: list[Term] = [Known(split.bucket)]
    for arm in split.arms[:-1]:
        is_below = is_true(Compare("<", split.bucket, arm.upto))
        found.append((arm.hop, all_of((*above, is_below))))
        above.append(negation(is_below))
    return [*found, (split.arms[-1].hop, all_of(above))]


def _candidates(choice: Choice, allowed: Callable[[str], Term]) -> list[tuple[Hop, Term]]:
    """The least of those that are left: the sure ones by rank, then the others, in their order."""
    candidates = choice.candidates
    left = [_is_left(candidate, allowed) for candidate in candidates]
    sure = [_is_sure(candidate) for candidate in candidates]
    ranked = [all_of(both) for both in zip(left, sure, strict=True)]
    ranks = [candidate.rank for candidate in candidates]
    before = _least_before(ranked, ranks)
    behind = _least_before(ranked[::-1], ranks[::-1])[::-1]
    is_none_sure = negation(any_of(ranked))
    is_none_before: Term = TRUE
    found: list[tuple[Hop, Term]] = []
    for one, candidate in enumerate(candidates):
        is_first = all_of(
            (
                ranked[one],
                negation(_goes_before("<=", before[one], ranks[one])),
                TRUE
                if ranks[one] is None
                else negation(_goes_before("<", behind[one], ranks[one])),
            )
        )
        is_first_unsure = all_of((is_none_sure, left[one], is_none_before))
        found.append((candidate.hop, any_of((is_first, is_first_unsure))))
        is_none_before = all_of((is_none_before, negation(left[one])))
    return found


_Least = tuple[Term, Term | None]  # whether there is one, and its rank where there is


def _least_before(ranked: Sequence[Term], ranks: Sequence[Term | None]) -> list[_Least]:
    """Of each place in an order: the least rank of those before it that are ranked."""
    found: list[_Least] = []
    is_one: Term = FALSE
    least: Term | None = None
    for is_ranked, rank in zip(ranked, ranks, strict=True):
        found.append((is_one, least))
        if least is None:
            least = rank
        elif rank is not None:
            smaller = Arithmetic("min", least, rank, rank.type)
            least = If(is_ranked, If(is_one, smaller, rank, rank.type), least, rank.type)
        is_one = any_of((is_one, is_ranked))
    return found


def _goes_before(operator: Literal["<", "<="], other: _Least, rank: Term | None) -> Term:
    """Whether there is another, of a rank that goes before; where nothing is ranked, any does."""
    is_one, least = other
    if least is None or rank is None:
        return is_one
    return all_of((is_one, is_true(Compare(operator, least, rank))))


def _is_left(candidate: Candidate, allowed: Callable[[str], Term]) -> Term:
    wanted = TRUE if candidate.where is None else is_not_false(candidate.where)
    return all_of((allowed(candidate.hop.target), is_not_false(candidate.fits), wanted))


def _is_sure(candidate: Candidate) -> Term:
    wanted = TRUE if candidate.where is None else is_true(candidate.where)
    return all_of((wanted, TRUE if candidate.rank is None else Known(candidate.rank)))
