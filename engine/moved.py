"""What a change of a policy does to recorded requests: how many move, and what they cost.

Each row is decided by both versions. It moves where it comes to another target, or is refused by
one of the two. Prices are those of each version's own catalogue; the output is as it was observed,
else as it is to be expected. Copies of mirrors are not counted.
"""

from collections import Counter
from dataclasses import dataclass, field

from .replay import Decided, Past, Replay, Row, UndecidableError
from .simulate import Prices

Outcome = tuple[str | None, bool, bool]


@dataclass(slots=True)
class Moved:
    """What was counted so far. Money in nano-USD.

    `decided` are the rows that both versions decide; `undecidable` counts what the others lack.
    `pairs` counts (old rule, new rule; None where no rule matched), `targets` (old, new) of the
    rows that move. `now` and `then` are the cost of the `priced` rows by the old version and the
    new one.
    """

    requests: int = 0
    decided: int = 0
    moved: int = 0
    pairs: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    targets: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    undecidable: Counter[str] = field(default_factory=Counter)
    priced: int = 0
    now: int = 0
    then: int = 0


class Movement:
    """Decides recorded rows with two versions of a policy."""

    def __init__(self, old: Replay, new: Replay) -> None:
        """Start with nothing counted."""
        self._old, self._new = old, new
        self._old_prices, self._new_prices = Prices(old), Prices(new)
        self.result = Moved()

    def take(self, row: Row, past: Past, old_row: Row | None) -> None:
        """Count one row, as each version asks for it; `old_row` None where the old one cannot."""
        result = self.result
        result.requests += 1
        if old_row is None:
            result.undecidable["(not readable by the old version)"] += 1
            return
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
        result.pairs[_rule(self._old, before), _rule(self._new, after)] += 1
        if _outcome(before) != _outcome(after):
            result.moved += 1
            result.targets[before.target, after.target] += 1
        now = _cost(self._old_prices, before, old_row, past)
        then = _cost(self._new_prices, after, row, past)
        if now is not None and then is not None:
            result.priced += 1
            result.now += now
            result.then += then


def _rule(replay: Replay, found: Decided) -> str | None:
    return replay.program.clauses[found.index].name if found.index >= 0 else None


def _outcome(found: Decided) -> Outcome:
    return found.target, found.is_rejected, found.is_unknown


def _cost(prices: Prices, found: Decided, row: Row, past: Past) -> int | None:
    return 0 if found.target is None else prices.cost(found.target, row, past)
