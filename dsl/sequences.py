"""Whether two lists of guarded steps come to the same sequence, as a term.

A list has places, a place has steps of which at most one counts: where its guard is true. What
comes out of a list for a request are the labels of the steps that count, in their order. The guards
are never unknown.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from .core import Term
from .logic import FALSE, all_of, any_of, negation


@dataclass(frozen=True, slots=True)
class Step:
    """Something that counts where `when` is true; `label` tells it from others.

    Guards that mean the same are best one object: then nothing is asked of them.
    """

    when: Term
    label: Hashable


Place = tuple[Step, ...]


def differ_anywhere(old: Sequence[Place], new: Sequence[Place]) -> Term:
    """Whether the two sequences are not the same."""
    start = _common_start(old, new)
    old, new = old[start:], new[start:]
    end = _common_start(old[::-1], new[::-1])
    return _differ(old[: len(old) - end], new[: len(new) - end], only_first=False)


def differ_first(old: Sequence[Place], new: Sequence[Place]) -> Term:
    """Whether the first of the two sequences are not the same, or only one of them has any."""
    start = _common_start(old, new)
    nothing_before = (negation(_counts(place)) for place in old[:start])
    return all_of((*nothing_before, _differ(old[start:], new[start:], only_first=True)))


def _differ(old: Sequence[Place], new: Sequence[Place], *, only_first: bool) -> Term:
    """Whether what is left from place i of the one and j of the other differs, for all i and j."""
    counts_old, counts_new = [*map(_counts, old)], [*map(_counts, new)]
    found: dict[tuple[int, int], Term] = {}
    for i in range(len(old), -1, -1):
        for j in range(len(new), -1, -1):
            if i == len(old) or j == len(new):
                found[i, j] = any_of((*counts_old[i:], *counts_new[j:]))
                continue
            here, there = counts_old[i], counts_new[j]
            is_other = negation(_same(old[i], new[j]))
            rest = FALSE if only_first else found[i + 1, j + 1]
            found[i, j] = any_of(
                (
                    all_of((here, there, any_of((is_other, rest)))),
                    all_of((here, negation(there), found[i, j + 1])),
                    all_of((negation(here), found[i + 1, j])),
                )
            )
    return found[0, 0]


def _counts(place: Place) -> Term:
    return any_of(step.when for step in place)


def _same(old: Place, new: Place) -> Term:
    """Whether steps of one label count in both."""
    others: dict[Hashable, list[Step]] = {}
    for step in new:
        others.setdefault(step.label, []).append(step)
    return any_of(
        all_of((step.when, other.when)) for step in old for other in others.get(step.label, ())
    )


def _common_start(old: Sequence[Place], new: Sequence[Place]) -> int:
    """How many places are the same in both from the start on: they come to the same step."""
    count = 0
    while count < min(len(old), len(new)) and _steps(old[count]) == _steps(new[count]):
        count += 1
    return count


def _steps(place: Place) -> set[tuple[Hashable, int]]:
    return {(step.label, id(step.when)) for step in place}
