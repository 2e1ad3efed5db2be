"""Where a plan goes for one request: which candidate, which arm, or nowhere.

Pure like the decision itself, and for every interpretation the same: terms are evaluated by
whoever asks, so that the gateway can hand in compiled ones and an explanation traced ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .core import Choice, Hop, Read, Route, Split, Term
from .schema import Value

Evaluate = Callable[[Term], Value | None]
Exclude = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Option:
    """One candidate or arm as it was looked at.

    `excluded` is the name of the limit that keeps it out, or a sentence; None where nothing does.
    `rank` is what a choice minimises, unknown where None.
    """

    target: str
    excluded: str | None
    rank: Value | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The hop that a route comes to; None of a rejection and of a choice that nothing is left of.

    `bucket` is the request's bucket where the route is a split. `lacks` is the key of a bucket that
    is not known: no arm can be told then, and `hop` is None, too. A gateway knows every bucket.
    """

    hop: Hop | None
    options: tuple[Option, ...] = ()
    bucket: int | None = None
    lacks: str | None = None


def choose(route: Route, evaluate: Evaluate, exclude: Exclude) -> Chosen:
    """The hop of a route. `exclude` says of a target's name which limit keeps it out, if any.

    A single target and a split's arm are chosen even where a limit excludes them: the chain then
    skips the hop and says why. A choice falls on what is left.
    """
    match route:
        case Hop():
            return Chosen(route)
        case Split(bucket, arms):
            number = evaluate(bucket)
            if not isinstance(number, int):
                key = bucket.key if isinstance(bucket, Read) else "bucket"
                return Chosen(None, _shown(route, exclude), lacks=key)
            for arm in arms:
                upto = evaluate(arm.upto)
                if isinstance(upto, int) and number < upto:
                    return Chosen(arm.hop, _shown(route, exclude), number)
            return Chosen(arms[-1].hop, _shown(route, exclude), number)
        case Choice():
            return _pick(route, evaluate, exclude)
        case _:
            return Chosen(None)


def _pick(choice: Choice, evaluate: Evaluate, exclude: Exclude) -> Chosen:
    options: list[Option] = []
    best: tuple[tuple[int, int, int], Hop] | None = None
    for index, candidate in enumerate(choice.candidates):
        reason = exclude(candidate.hop.target)
        if reason is None and evaluate(candidate.fits) is False:
            reason = "it cannot serve this request"
        truth = None if reason is not None or candidate.where is None else evaluate(candidate.where)
        if truth is False:
            reason = "`where` is false"
        rank = None if reason is not None or candidate.rank is None else evaluate(candidate.rank)
        options.append(Option(candidate.hop.target, reason, rank))
        if reason is not None:
            continue
        # What is unknown ranks last, in the order of the list: it would never get samples else.
        is_sure = (candidate.where is None or truth is True) and (
            candidate.rank is None or rank is not None
        )
        key = (0, rank if isinstance(rank, int) else 0, index) if is_sure else (1, 0, index)
        if best is None or key < best[0]:
            best = (key, candidate.hop)
    return Chosen(None if best is None else best[1], tuple(options))


def _shown(split: Split, exclude: Exclude) -> tuple[Option, ...]:
    return tuple(Option(arm.hop.target, exclude(arm.hop.target), None) for arm in split.arms)
