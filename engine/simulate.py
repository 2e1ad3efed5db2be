"""What a policy would have done with recorded requests: which rules, which targets, what cost.

Rows go in one by one, sums come out; nothing is kept of a row. Honest by rule: a decision on
recorded values is exact, or it is counted as undecidable (the policy asks for `tokens`, the clock
or a bucket, and the row has none). A value that the policy asked for on its way and the row lacks
is counted too, by its name. Prompt tokens are priced as recorded, the output as it was observed,
else as it is to be expected. Latency and quality of a target that was not called are not predicted.
How rows are read is in `recorded_rows`.

Over 300 lines because what is worked out, what is decided and what is counted is one account.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from turnout.dsl.core import REQUESTED, Hop, Plan, Program, Read, Reject, Slot, Split, Term
from turnout.dsl.cost import expected_cost
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.limits import Gate
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Target, Type, Value
from turnout.dsl.snapshot import BY_HAND, LARGEST

from .destination import destination, first_allowed, plan_without_rule
from .names import Names
from .pulse import DEFAULTS
from .request import RequestError
from .session import bucket, hashed

_NO_RULE = -1
_MODELS_KEPT = 4_096
_BUCKETS = ("bucket", "bucket.user", "bucket.tenant", "bucket.request")
_CLOCK = ("time", "weekday", "date")


class UndecidableError(Exception):
    """A row lacks what the policy cannot do without; `key` is the value that it asked for."""

    def __init__(self, key: str) -> None:
        """Hold the missing value's key."""
        super().__init__(key)
        self.key = key


@dataclass(slots=True)
class Past:
    """What a row says of what became of it then; None where it does not say.

    `input` and `output` are the tokens that the provider counted. Money in nano-USD.
    """

    rule: str | None = None
    target: str | None = None
    cost: int | None = None
    input: int | None = None
    output: int | None = None
    is_bounded: bool = False  # `tokens` is the low end of an interval, good to decide, not to price
    names_rule: bool = False  # whether the row says which rule it was, if only that none was


class Row(dict[str, Value | None]):
    """The values of a recorded request, as a program asks for them.

    What is not there is worked out when it is first asked for, and noted: in `missing` where the
    log lacks it, in `assumed` where the value of an empty chat stands in. `live` are the values of
    all targets at that moment, `request_id` and `session` what buckets are made of.
    """

    __slots__ = ("assumed", "live", "missing", "replay", "request_id")

    def __init__(self, replay: "Replay", values: Mapping[str, Value | None] | None = None) -> None:
        """Start from the values that the row has."""
        if values is not None:
            super().__init__(values)
        self.replay = replay
        self.live: Mapping[str, Value] = {}
        self.request_id: str | None = None
        self.missing: list[str] = []
        self.assumed: list[str] = []

    def __missing__(self, key: str) -> Value | None:
        """Work the value out and keep it. Raises: UndecidableError."""
        value = self.replay.work_out(self, key)
        self[key] = value
        return value


@dataclass(slots=True)
class Decided:
    """Which clause took a row (-1: none), and the target it comes to.

    `target` None: refused (`is_rejected` by the rule, else because no target was allowed), or a
    split whose bucket is not known (`lacks` names it).
    """

    index: int
    target: str | None
    is_rejected: bool = False
    lacks: str | None = None
    skips: bool = False  # a hop before the target cannot serve the request: too small, or unable


class Replay:
    """A program made ready to decide recorded requests."""

    def __init__(self, program: Program) -> None:
        """Compile the conditions; what only some rows need is compiled when first needed."""
        self.program = program
        self._index_of = compile_program(program)
        self._gate = Gate(program)
        self._terms: dict[int, Callable[[Mapping[str, Value | None]], Value | None]] = {}
        self._made: dict[int, Term] = {}  # keeps terms alive, so that their identities stay theirs
        self._names = Names(program, program.schema.catalog)
        self._asked: dict[str, str | None] = {}
        self._flags = {
            name
            for name, attribute in program.schema.attributes.items()
            if attribute.type is Type.BOOL and attribute.always_known
        }
        self._able: dict[str, tuple[int, tuple[str, ...]]] = {}
        # A mirror sends a copy and changes nothing of where the request itself goes.
        self._plans = [replace(clause.plan, mirror=None) for clause in program.clauses]
        self._settled = {
            clause.index: Decided(clause.index, *found)
            for clause in program.clauses
            if (found := self._of_every_row(clause.plan)) is not None
        }

    def decide(self, row: Row) -> Decided:
        """The clause and the target for a row. Raises: UndecidableError."""
        index = self._index(row)
        settled = self._settled.get(index)
        if settled is not None and (
            settled.target is None or not self._cannot_serve(settled.target, row)
        ):
            return settled
        program = self.program
        if index >= 0:
            plan: Plan | None = self._plans[index]
        else:
            plan = plan_without_rule(program, row["request_type"] == "embeddings")
        is_rejected = plan is not None and isinstance(plan.route, Reject)
        requested = self.requested(row)

        def value_of(term: Term) -> Value | None:
            return self._compiled(term)(row)

        try:
            found = destination(program, plan, value_of, self._gate, row, requested)
            names = {hop.target for hop in found.hops}
            unable = {name: "unable" for name in names if self._cannot_serve(name, row)}
            if unable:
                found = replace(found, limits={**found.limits, **unable})
            target = first_allowed(program, found, value_of, row, requested)
        except UndecidableError as error:
            if plan is not None and isinstance(plan.route, Split):
                return Decided(index, None, lacks=error.key)
            raise
        return Decided(index, target, is_rejected, skips=bool(unable))

    def _index(self, row: Row) -> int:
        """The clause that takes a row. Raises: UndecidableError where that hangs on what it lacks.

        A rule is compiled to read all that it may need; what decides it may be less: `tier ==
        "free" and time < 9:00` is false for the others at any time.
        """
        lacking: list[str] = []
        while True:
            try:
                index = self._index_of(row)
                break
            except UndecidableError as error:
                lacking.append(error.key)
                row[error.key] = None
        if lacking:
            clauses = self.program.clauses
            for clause in clauses if index < 0 else clauses[:index]:
                if self._compiled(clause.applies)(row) is None:
                    for key in lacking:
                        if key in clause.reads:
                            raise UndecidableError(key)
            for key in lacking:
                del row[key]  # whoever asks for it after this cannot do without
        return index

    def _compiled(self, term: Term) -> Callable[[Mapping[str, Value | None]], Value | None]:
        compiled = self._terms.get(id(term))
        if compiled is None:
            self._made[id(term)] = term
            compiled = self._terms[id(term)] = compile_term(term)
        return compiled

    def requested(self, row: Row) -> Target | None:
        """The target that the client asked for, as far as the program knows it."""
        name = self._requested_id(row)
        if name is None:
            return None
        return self.program.targets.get(name) or self.program.schema.catalog.find(name)

    def target(self, name: str) -> Target | None:
        """A target of the program, or one that the catalogue knows."""
        return self.program.targets.get(name) or self.program.schema.catalog.find(name)

    def work_out(self, row: Row, key: str) -> Value | None:
        """A value that a row does not have itself. Raises: UndecidableError."""
        slot = self.program.slots.get(key)
        name = key if slot is None else slot.attribute.name
        if name == "weekday" and isinstance(day := row.get("date"), int):
            return (day + 3) % 7  # day 0, 1970-01-01, was a Thursday
        if name == "tokens" or name in _CLOCK:
            raise UndecidableError(key)
        if name in _BUCKETS and slot is not None:
            return _bucket_of(row, key, slot)
        if key == REQUESTED:
            return self._requested_id(row)
        if name == "provider":
            asked = self._requested_id(row)
            return None if asked is None else asked.partition("/")[0]
        if name == "expected_output":
            return self.expected_output(row, slot.argument or "" if slot is not None else "")
        if slot is not None and slot.attribute.parameter.value == "target":
            return self._live(row, key, slot)
        if key in BY_HAND or key in self._flags:
            row.assumed.append(key)
            return BY_HAND.get(key, False)
        if name == "held":  # nothing was held then by a rule that did not exist
            row.assumed.append(key)
            return False
        row.missing.append(key)
        return None

    def expected_output(self, row: Row, target: str) -> int | None:
        """The output tokens to expect: the recent median or the prior, within what was allowed."""
        name = self._requested_id(row) if target == REQUESTED else target
        known = None if name is None else self.target(name)
        recent = row.live.get(key := f"expected_output({name})", row.get(key))
        if recent is None and known is not None:
            recent = known.expected.output
        values = [v for v in (recent, row.get("max_tokens")) if isinstance(v, int)]
        return min(values) if values else None

    def _live(self, row: Row, key: str, slot: Slot) -> Value | None:
        name = slot.argument
        source = key
        if name == REQUESTED:
            name = self._requested_id(row)
            source = key.replace(f"({REQUESTED}", f"({name}", 1)
        value = row.live.get(source)
        if value is None and source != key:
            value = row.get(source)
        if value is not None:
            return value
        attribute = slot.attribute.name
        if attribute in DEFAULTS:
            if attribute != "usable" and not row.live:
                row.assumed.append(key)
            return DEFAULTS[attribute]
        known = None if name is None else self.target(name)
        prior = None
        if known is not None and attribute == "p95":
            prior = known.expected.p95_us
        elif known is not None and attribute.startswith("ttft."):
            prior = known.expected.ttft_us
        if prior is not None and not row.live:
            row.assumed.append(key)
        elif prior is None:
            row.missing.append(key)
        return prior

    def _cannot_serve(self, name: str, row: Row) -> bool:
        """Whether a target's window is too small for a row, or it is known to lack an ability."""
        known = self._able.get(name)
        if known is None:
            target = self.target(name)
            window = None if target is None else target.context_window
            abilities = {} if target is None else target.abilities
            flags = tuple(flag for ability, flag in NEEDS if abilities.get(ability) is False)
            known = self._able[name] = (window or LARGEST, flags)
        window, flags = known
        count = row.get("tokens")
        if isinstance(count, int) and count > window:
            return True
        return any(row.get(flag) is True for flag in flags)

    def _requested_id(self, row: Row) -> str | None:
        if REQUESTED in row:
            value = row[REQUESTED]
            return None if value is None else str(value)
        model = str(row["model"] or "auto")
        if model not in self._asked:
            try:
                target = self._names.resolve(model).target
            except RequestError:
                target = None
            if len(self._asked) >= _MODELS_KEPT:
                self._asked.clear()
            self._asked[model] = None if target is None else target.id
        return self._asked[model]

    def _of_every_row(self, plan: Plan) -> tuple[str | None, bool] | None:
        """Where a plan sends every row, if that hangs on no value."""
        if isinstance(plan.route, Reject):
            return None, True
        route = plan.route
        if not isinstance(route, Hop) or route.target == REQUESTED or self.program.limits:
            return None
        return None if route.when is not None else (route.target, False)


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
    """

    requests: int = 0
    decided: int = 0
    complete: int = 0
    rules: dict[str, Sum] = field(default_factory=dict)
    unmatched: Sum = field(default_factory=Sum)
    targets: dict[str, Sum] = field(default_factory=dict)
    rejected: int = 0
    refused: int = 0
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
        """Count one row; `old_row` is the same as `against` asks for it."""
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
        for key in row.assumed:
            result.assumed[key] += 1
        then = self._then(found, row, past)
        result.skipped += found.skips
        name = self._names[found.index]
        (result.unmatched if name is None else result.rules[name]).add(then)
        if found.target is not None:
            target = result.targets.get(found.target)
            if target is None:
                target = result.targets[found.target] = Sum()
            target.add(then)
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
        else:
            result.refused += 1
        return 0

    def _now(self, row: Row, past: Past, old_row: Row | None, new: str | None) -> int | None:
        """What the row costs now, and between which rules it moves."""
        result = self.result
        old: Decided | None = None
        if self._against is not None and old_row is not None:
            try:
                old = self._against.decide(old_row)
            except UndecidableError:
                old = None
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


def _bucket_of(row: Row, key: str, slot: Slot) -> int:
    """The bucket for a salt that nobody had asked for. Raises: UndecidableError."""
    match slot.attribute.name:
        case "bucket":
            kept_by = row.get("session")
        case "bucket.user":
            known = row.get("user") or row.get("tenant")
            kept_by = None if known is None else hashed(str(known))
        case "bucket.tenant":
            known = row.get("tenant")
            kept_by = None if known is None else hashed(str(known))
        case _:
            kept_by = None if row.request_id is None else hashed(row.request_id)
    if kept_by is None:
        raise UndecidableError(key)
    return bucket(slot.argument or "", str(kept_by))
