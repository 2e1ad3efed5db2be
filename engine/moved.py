"""What a change of a policy does to recorded requests: how many it concerns, and what they cost.

Each row is decided by both versions. It moves where it comes to another target, or is refused by
one of the two; it is treated otherwise where that, or anything else that becomes of it is not as
before. Prices are those of each version's own catalogue; the output is as it was observed, else as
it is to be expected. Copies of mirrors are not priced.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from turnout.dsl.core import Clause, Reject
from turnout.dsl.meaning import (
    Meaning,
    Meanings,
    Plans,
    of_own_salts,
    options,
    refusal,
    sets_of,
    shared_salts,
)
from turnout.dsl.readings import tenants_otherwise
from turnout.dsl.snapshot import BY_HAND

from .replay import Decided, Past, Replay, Row, UndecidableError
from .simulate import Prices

Outcome = tuple[str | None, bool, bool]
Pair = tuple[str | None, str | None]


@dataclass(slots=True)
class Moved:
    """What was counted so far. Money in nano-USD.

    `decided` are the rows that both versions decide; `undecidable` counts what the others lack, and
    `not_compared` are those whose values the old version cannot have. `pairs` counts (old rule, new
    rule; None where no rule matched), `otherwise` those of them that are treated otherwise,
    `targets` (old, new) of the rows that move. `untold` counts what rows lack to tell whether they
    are treated otherwise though they do not move. `read_otherwise` counts by attribute the rows
    whose tenant has another one now: what is recorded may be the tenant's or that of the caller's
    key, so both versions are asked with it. `complete` rows lack nothing that one of the
    versions asked for; `missing`, `assumed` and `assumed_from` are as those of a simulation. `now`
    and `then` are the cost of the `priced` rows by the old version and the new one.
    """

    requests: int = 0
    decided: int = 0
    moved: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter)
    otherwise: Counter[Pair] = field(default_factory=Counter)
    targets: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    undecidable: Counter[str] = field(default_factory=Counter)
    not_compared: int = 0
    untold: Counter[str] = field(default_factory=Counter)
    read_otherwise: Counter[str] = field(default_factory=Counter)
    complete: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    assumed: Counter[str] = field(default_factory=Counter)
    assumed_from: dict[str, str] = field(default_factory=dict)
    priced: int = 0
    now: int = 0
    then: int = 0


class Movement:
    """Decides recorded rows with two versions of a policy."""

    def __init__(self, old: Replay, new: Replay) -> None:
        """Start with nothing counted."""
        self._old, self._new = old, new
        self._old_prices, self._new_prices = Prices(old), Prices(new)
        meanings = Meanings()
        shared = shared_salts(old.program, new.program)
        self._old_treats = _Treats(old, meanings, shared)
        self._new_treats = _Treats(new, meanings, shared)
        self._tenants = tenants_otherwise(old.program, new.program)
        self.result = Moved()

    def take(self, row: Row, past: Past, old_row: Row | None) -> None:
        """Count one row, as each version asks for it; `old_row` None where the old one cannot."""
        result = self.result
        result.requests += 1
        if old_row is None:
            result.not_compared += 1
            return
        read_otherwise = list(self._read_otherwise(old_row))
        try:
            before, after = self._old.decide(old_row), self._new.decide(row)
        except UndecidableError as error:
            result.undecidable[error.key] += 1
            return
        lacks = before.lacks or after.lacks
        if lacks is not None:
            result.undecidable[lacks] += 1
            return
        result.decided += 1
        result.read_otherwise.update(read_otherwise)
        pair = _rule(self._old, before), _rule(self._new, after)
        result.pairs[pair] += 1
        if _outcome(before) != _outcome(after):
            result.moved += 1
            result.targets[before.target, after.target] += 1
            result.otherwise[pair] += 1
        elif self._is_otherwise(before, after, old_row, row):
            result.otherwise[pair] += 1
        self._note_values(old_row, row)
        now = _cost(self._old_prices, before, old_row, past)
        then = _cost(self._new_prices, after, row, past)
        if now is not None and then is not None:
            result.priced += 1
            result.now += now
            result.then += then

    def _is_otherwise(self, before: Decided, after: Decided, old_row: Row, row: Row) -> bool:
        """Whether a row that does not move is treated otherwise all the same."""
        old, new = self._old_treats, self._new_treats
        if old.hangs_on_plan and new.hangs_on_plan:
            if old.plan(before.index) == new.plan(after.index):
                return False
        lacks = before.lacks_sample or after.lacks_sample
        try:
            if old.of(before, old_row) != new.of(after, row):
                return True
        except UndecidableError as error:
            lacks = error.key
        if lacks is not None:
            self.result.untold[lacks] += 1
        return False

    def _read_otherwise(self, row: Row) -> Iterator[str]:
        """What its tenant has otherwise now, of what the row does not have by the caller's key."""
        tenant = str(row.get("tenant", BY_HAND["tenant"]))
        for key, tenants in self._tenants.items():
            was, is_ = tenants.get(tenant, (None, None))
            if was != is_ and row.get(key, was) == was:
                yield key

    def _note_values(self, old_row: Row, row: Row) -> None:
        result = self.result
        missing = dict.fromkeys((*row.missing, *old_row.missing))
        result.complete += not missing
        result.missing.update(missing.keys())
        assumed = {**old_row.assumed, **row.assumed}
        result.assumed.update(assumed.keys())
        result.assumed_from.update(assumed)


class _Treats:
    """What a version does with a row beyond where it comes to."""

    def __init__(self, replay: Replay, meanings: Meanings, shared: frozenset[str]) -> None:
        self._replay = replay
        self._meanings = meanings
        self._shared = shared  # salts that are not some rule's own alone
        self._known: dict[int, tuple[Meaning, Meaning]] = {}
        # A limit keeps a row from a target whatever the plan says.
        self.hangs_on_plan = not replay.program.limits

    def plan(self, index: int) -> Meaning:
        """What a clause's plan means; -1 stands for no rule."""
        return self._of_clause(index)[0]

    def of(self, found: Decided, row: Row) -> Hashable:
        """All that becomes of a row. Raises: UndecidableError."""
        always = self._of_clause(found.index)[1]
        if found.is_unknown or found.is_rejected:
            return always
        tries = tuple(
            (target, options(hop), is_fallback and hop.catch is not None)
            for target, hop, is_fallback in self._replay.tried(found, row)
        )
        return always, tries, found.mirror

    def _of_clause(self, index: int) -> tuple[Meaning, Meaning]:
        """What its plan means, and what of it holds for all rows. Each is worked out once."""
        if index not in self._known:
            clause = self._replay.program.clauses[index] if index >= 0 else None
            salts = {} if clause is None else of_own_salts(clause, self._shared)
            plans = Plans(self._replay.program, self._meanings, salts)
            self._known[index] = plans.of(clause), _always(clause, plans)
        return self._known[index]


def _always(clause: Clause | None, plans: Plans) -> Meaning:
    """What a clause does with all rows alike."""
    if clause is None:
        return sets_of({}), ()
    route = clause.plan.route
    if isinstance(route, Reject):
        return refusal(route, clause.name)
    return sets_of(clause.plan.sets), plans.held(clause)


def _rule(replay: Replay, found: Decided) -> str | None:
    return replay.program.clauses[found.index].name if found.index >= 0 else None


def _outcome(found: Decided) -> Outcome:
    return found.target, found.is_rejected, found.is_unknown


def _cost(prices: Prices, found: Decided, row: Row, past: Past) -> int | None:
    return 0 if found.target is None else prices.cost(found.target, row, past)
