"""A program made ready to decide recorded requests.

Honest by rule: a decision on recorded values is exact, or it is undecidable (the policy asks for
`tokens`, the clock or a bucket, and the row has none). A value that the policy asked for on its way
and the row lacks is noted by its name. Latency and quality of a target that was not called are not
predicted. How rows are read is in `recorded_rows`, what is counted of them in `simulate`.

Over 300 lines because what a row lacks and what is worked out for it is one account.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from turnout.dsl.choose import Evaluate
from turnout.dsl.core import REQUESTED, Hop, Mirror, Plan, Program, Reject, Slot, Split, Term
from turnout.dsl.destination import (
    Destination,
    asked_name,
    destination,
    first_allowed,
    kept_out,
    named_target,
    plan_without_rule,
)
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.limits import Gate
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Target, Type, Value
from turnout.dsl.snapshot import BY_HAND, LARGEST

from .pulse import DEFAULTS
from .session import bucket, kept_by

_MODELS_KEPT = 4_096
_BUCKETS = ("bucket", "bucket.user", "bucket.tenant", "bucket.request")
_CLOCK = ("time", "weekday", "date")
# What stands in for a value that a row lacks.
EMPTY_CHAT = "empty chat"
PRIOR = "declared prior"
IDLE = "idle target"

_UNABLE = "(unable)"  # stands for the name of a limit where a target cannot serve a request


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
    log lacks it, in `assumed` with what stands in for it (EMPTY_CHAT, PRIOR, IDLE). `live` are the
    values of all targets at that moment, `request_id` and `session` what buckets are made of.
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
        self.assumed: dict[str, str] = {}

    def __missing__(self, key: str) -> Value | None:
        """Work the value out and keep it. Raises: UndecidableError."""
        value = self.replay.work_out(self, key)
        self[key] = value
        return value


@dataclass(slots=True)
class Decided:
    """Which clause took a row (-1: none), and the target it comes to.

    `target` None: refused (`is_rejected` by the rule, `is_unknown` because nobody knows the model
    that was asked for, else because no target was allowed), or a split whose bucket is not known
    (`lacks` names it). `kept_out` are the targets that limits kept it from, with the limits' names.
    `mirror` is the target that a copy goes to; `lacks_sample` says what is not known to tell.
    """

    index: int
    target: str | None
    is_rejected: bool = False
    lacks: str | None = None
    skips: bool = False  # a hop before the target cannot serve the request: too small, or unable
    is_unknown: bool = False
    kept_out: tuple[tuple[str, str], ...] = ()
    mirror: str | None = None
    lacks_sample: str | None = None


class Replay:
    """A program made ready to decide recorded requests."""

    def __init__(self, program: Program) -> None:
        """Compile the conditions; what only some rows need is compiled when first needed."""
        self.program = program
        self._index_of = compile_program(program)
        self._gate = Gate(program)
        self._terms: dict[int, Callable[[Mapping[str, Value | None]], Value | None]] = {}
        self._made: dict[int, Term] = {}  # keeps terms alive, so that their identities stay theirs
        self._asked: dict[str, Target | None] = {}
        self._flags = {
            name
            for name, attribute in program.schema.attributes.items()
            if attribute.type is Type.BOOL and attribute.always_known
        }
        self._able: dict[str, tuple[int, tuple[str, ...]]] = {}
        # Whether a copy is sent may hang on more than where the request itself goes.
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
        plan = self._plan(index, row)
        is_rejected = plan is not None and isinstance(plan.route, Reject)
        try:
            found, value_of, requested = self._led(plan, row)
            first = first_allowed(program, found, value_of, row, requested)
        except UndecidableError as error:
            if plan is not None and isinstance(plan.route, Split):
                return Decided(index, None, lacks=error.key)
            raise
        out = tuple(pair for pair in kept_out(found, first.excluded) if pair[1] != _UNABLE)
        decided = Decided(
            index,
            first.target,
            is_rejected,
            found.lacks,
            _UNABLE in found.limits.values(),
            first.unknown_model is not None,
            out,
        )
        copied = None if index < 0 else program.clauses[index].plan.mirror
        if copied is not None and first.target is not None:
            self._mirror(decided, copied, row, value_of)
        return decided

    def tried(self, decided: Decided, row: Row) -> Iterator[tuple[str, Hop, bool]]:
        """The targets that a decided row is tried on, in their order; whether each is a fallback.

        What a limit keeps out, what cannot serve the row and what is not entered is not among them.
        Raises: UndecidableError where that hangs on what the row lacks.
        """
        plan = self._plan(decided.index, row)
        found, value_of, requested = self._led(plan, row)
        met: dict[str, str] = {}
        for hop in found.hops:
            target = requested if hop.target == REQUESTED else self.target(hop.target)
            if target is None or target.id in met:
                continue
            met[target.id] = target.model
            of_others = target.model != next(iter(met.values()))  # another model's vectors
            if target.id in found.limits or (of_others and row["request_type"] == "embeddings"):
                continue
            if hop.when is None or value_of(hop.when) is True:
                yield target.id, hop, hop is not found.route

    def _plan(self, index: int, row: Row) -> Plan | None:
        """The plan of a clause, without its mirror; None: the chain, for no rule matched."""
        if index >= 0:
            return self._plans[index]
        return plan_without_rule(self.program, row["request_type"] == "embeddings")

    def _led(self, plan: Plan | None, row: Row) -> tuple[Destination, Evaluate, Target | None]:
        """Where a plan sends a row, what evaluates terms on it, and the target it asks for.

        Among the limits are the targets that cannot serve the row. Raises: UndecidableError.
        """
        requested = self.requested(row)

        def value_of(term: Term) -> Value | None:
            return self._compiled(term)(row)

        found = destination(self.program, plan, value_of, self._gate, row, requested)
        names = {hop.target for hop in found.hops}
        unable = {name: _UNABLE for name in names if self._cannot_serve(name, row)}
        if unable:
            found = replace(found, limits={**unable, **found.limits})
        return found, value_of, requested

    def _mirror(self, decided: Decided, mirror: Mirror, row: Row, value_of: Evaluate) -> None:
        """Note where a copy of a row goes, if one does."""
        name = mirror.hop.target
        try:
            is_sampled = value_of(mirror.sampled)
        except UndecidableError as error:
            decided.lacks_sample = error.key
            return
        if is_sampled is not True or self._cannot_serve(name, row):
            return
        if self._gate.excluding(name, value_of) is None:
            decided.mirror = name

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
        name = asked_name(self.program, row)
        if name is None:
            return None
        if name not in self._asked:
            if len(self._asked) >= _MODELS_KEPT:
                self._asked.clear()
            self._asked[name] = named_target(self.program, name)
        return self._asked[name]

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
            kept = kept_by(name, row, row.request_id)
            if kept is None:
                raise UndecidableError(key)
            return bucket(slot.argument or "", kept)
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
            row.assumed[key] = EMPTY_CHAT
            return BY_HAND.get(key, False)
        if name == "held":  # nothing was held then by a rule that did not exist
            row.assumed[key] = IDLE
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
                row.assumed[key] = IDLE
            return DEFAULTS[attribute]
        known = None if name is None else self.target(name)
        prior = None
        if known is not None and attribute == "p95":
            prior = known.expected.p95_us
        elif known is not None and attribute.startswith("ttft."):
            prior = known.expected.ttft_us
        if prior is not None and not row.live:
            row.assumed[key] = PRIOR
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
        target = self.requested(row)
        return None if target is None else target.id

    def _of_every_row(self, plan: Plan) -> tuple[str | None, bool] | None:
        """Where a plan sends every row, if that hangs on no value."""
        if isinstance(plan.route, Reject):
            return None, True
        route = plan.route
        if not isinstance(route, Hop) or route.target == REQUESTED or self.program.limits:
            return None
        if route.when is not None or plan.mirror is not None:
            return None
        return route.target, False
