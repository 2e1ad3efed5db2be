"""What a policy would have done with recorded requests: which rules, which targets, what cost.

Rows go in one by one, sums come out; nothing is kept of a row. What a row leaves undecided or
lacks is counted by its name. Prompt tokens are priced as recorded, the output as it was observed,
else as it is to be expected. How a row is decided is in `replay`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from turnout.dsl.core import Read
from turnout.dsl.cost import expected_cost
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.schema import Type, Value

from .replay import Decided, Past, Replay, Row, UndecidableError

_NO_RULE = -1


class Prices:
    """What requests cost at the prices of a program's catalogue."""

    def __init__(self, replay: Replay) -> None:
        """Prices are compiled when a target is first asked about."""
        self._replay = replay
        self._of: dict[str, Callable[[Mapping[str, Value | None]], Value | None] | None] = {}

    def cost(self, target: str, row: Row, past: Past) -> int | None:
        """Nano-USD for a row on a target; None where the price or a count of tokens is unknown."""
        if target not in self._of:
            known = self._replay.target(target)
            tariff = None if known is None else known.tariff
            self._of[target] = (
                None
                if known is None or tariff is None
                else compile_term(expected_cost(known, tariff, Read("output", Type.NUMBER)))
            )
        price = self._of[target]
        if price is None:
            return None
        tokens = past.input
        if tokens is None and not past.is_bounded:
            count = row.get("tokens")
            tokens = count if isinstance(count, int) else None
        output = past.output
        if output is None:
            output = self._replay.expected_output(row, target)
        value = price({"tokens": tokens, "output": output})
        return None if value is None else int(value)


@dataclass(slots=True)
class Sum:
    """How many rows, and what those of them cost whose cost is known (`priced`)."""

    requests: int = 0
    cost: int = 0
    priced: int = 0

    def add(self, cost: int | None) -> None:
        """One row more."""
        self.requests += 1
        if cost is not None:
            self.cost += cost
            self.priced += 1


@dataclass(slots=True)
class Simulated:
    """What came out so far. Money in nano-USD.

    `requests` are the rows that could be read, `decided` of them those with an answer. `rules` has
    every rule of the policy, in its order; `unmatched` the rows that none took. `now` and `then`
    are the cost of the same rows: those whose cost is known on both sides (`compared`); `then_all`
    is that of all `priced` rows. `complete` rows lacked nothing that the policy asked for.
    `now_from` says where the present cost was taken from. `moves` counts (old rule, new rule).
    `mirrors` are the copies by their target, which are in no other cost. `kept_out` counts (limit,
    target) where a limit kept a row from a target on its way. `assumed_from` says of each key in
    `assumed` what stands in for it. `old_undecidable` are rows that the policy compared with cannot
    decide, by what they lack, and `old_unreadable` those whose values it cannot have.
    """

    requests: int = 0
    decided: int = 0
    complete: int = 0
    rules: dict[str, Sum] = field(default_factory=dict)
    unmatched: Sum = field(default_factory=Sum)
    targets: dict[str, Sum] = field(default_factory=dict)
    rejected: int = 0
    refused: int = 0
    unknown_models: int = 0  # rows that go to what was asked for, and nobody knows that model
    skipped: int = 0  # rows for which a hop is too small or lacks an ability, so the next is taken
    now: int = 0
    then: int = 0
    compared: int = 0
    then_all: int = 0
    priced: int = 0
    observed_outputs: int = 0
    now_from: Counter[str] = field(default_factory=Counter)
    undecidable: Counter[str] = field(default_factory=Counter)
    undecided_splits: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    assumed: Counter[str] = field(default_factory=Counter)
    assumed_from: dict[str, str] = field(default_factory=dict)
    kept_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    mirrors: dict[str, Sum] = field(default_factory=dict)
    unsampled: Counter[str] = field(default_factory=Counter)  # no telling whether a copy is sent
    old_undecidable: Counter[str] = field(default_factory=Counter)
    old_unreadable: int = 0
    moves: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    moved_from: int = 0  # rows whose old rule is known


class Simulation:
    """Decides recorded rows with a policy, beside what was decided then.

    The old rule of a row is that of `against`, where one is given, else what the log says.
    """

    def __init__(self, replay: Replay, against: Replay | None = None) -> None:
        """Start with nothing counted."""
        self._replay = replay
        self._against = against
        self._prices = Prices(replay)
        self._old_prices = self._prices if against is None else Prices(against)
        self._names: list[str | None] = [clause.name for clause in replay.program.clauses]
        self._names.append(None)  # of the index -1
        self.result = Simulated(rules={str(name): Sum() for name in self._names[:-1]})

    def take(self, row: Row, past: Past, old_row: Row | None = None) -> None:
        """Count one row; `old_row` is the same as `against` asks for it, None if it cannot."""
        result = self.result
        result.requests += 1
        try:
            found = self._replay.decide(row)
        except UndecidableError as error:
            result.undecidable[error.key] += 1
            return
        result.decided += 1
        if not row.missing:
            result.complete += 1
        for key in row.missing:
            result.missing[key] += 1
        for key, source in row.assumed.items():
            result.assumed[key] += 1
            result.assumed_from[key] = source
        then = self._then(found, row, past)
        self._copies(found, row, past)
        result.skipped += found.skips
        for target, limit in found.kept_out:
            result.kept_out[limit, target] += 1
        name = self._names[found.index]
        (result.unmatched if name is None else result.rules[name]).add(then)
        if found.target is not None:
            result.targets.setdefault(found.target, Sum()).add(then)
        if then is not None:
            result.then_all += then
            result.priced += 1
        now = self._now(row, past, old_row, name)
        if now is not None and then is not None:
            result.compared += 1
            result.now += now
            result.then += then

    def _then(self, found: Decided, row: Row, past: Past) -> int | None:
        result = self.result
        if found.target is not None:
            result.observed_outputs += past.output is not None
            return self._prices.cost(found.target, row, past)
        if found.lacks is not None:
            result.undecided_splits[found.lacks] += 1
            return None
        if found.is_rejected:
            result.rejected += 1
        elif found.is_unknown:
            result.unknown_models += 1
        else:
            result.refused += 1
        return 0

    def _copies(self, found: Decided, row: Row, past: Past) -> None:
        result = self.result
        if found.lacks_sample is not None:
            result.unsampled[found.lacks_sample] += 1
        if found.mirror is not None:
            cost = self._prices.cost(found.mirror, row, past)
            result.mirrors.setdefault(found.mirror, Sum()).add(cost)

    def _now(self, row: Row, past: Past, old_row: Row | None, new: str | None) -> int | None:
        """What the row costs now, and between which rules it moves."""
        result = self.result
        old: Decided | None = None
        if self._against is not None and old_row is None:
            result.old_unreadable += 1
        elif self._against is not None and old_row is not None:
            try:
                old = self._against.decide(old_row)
            except UndecidableError as error:
                result.old_undecidable[error.key] += 1
            if old is not None:
                rule = None
                if old.index != _NO_RULE:
                    rule = self._against.program.clauses[old.index].name
                result.moves[rule, new] += 1
                result.moved_from += 1
        elif past.names_rule:
            result.moves[past.rule, new] += 1
            result.moved_from += 1
        if past.cost is not None:
            result.now_from["spent"] += 1
            return past.cost
        if past.target is not None:
            cost = self._old_prices.cost(past.target, row, past)
            if cost is not None:
                result.now_from["target of the log"] += 1
            return cost
        if old is None or old_row is None:
            return None
        if old.target is None:
            return None if old.lacks is not None else 0
        cost = self._old_prices.cost(old.target, old_row, past)
        if cost is not None:
            result.now_from["policy compared with"] += 1
        return cost
