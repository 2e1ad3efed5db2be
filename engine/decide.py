"""From a live request to a decision: reads the attributes a program asks for, and no others.

`readers` says how the gateway reads each attribute of `attributes.ATTRIBUTES`. Values are read when
the compiled program first asks for them and stay in the snapshot, so that the snapshot is the
record of what was read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from turnout.dsl.choose import Evaluate
from turnout.dsl.classes import text_classes
from turnout.dsl.core import Clause, Hop, Plan, Program, Reject, Term
from turnout.dsl.destination import (
    Destination,
    destination,
    first_allowed,
    following,
    plan_without_rule,
)
from turnout.dsl.hops import first_hops
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.limits import Gate
from turnout.dsl.schema import Target, Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads

from . import bypass, tokens
from .cache_key import outside
from .embedding import keys_of, leave_out
from .names import Names
from .observed import Observed
from .pulse import Pulse
from .readers import BASE_SET, NotFetched, readers_of
from .record import PulseTable
from .request import Caller, Operation, Request, RequestError, Sets
from .spent import NOTHING_SPENT, Spent

# A count of this many UTF-8 bytes takes about a millisecond; longer ones leave the event loop.
INLINE_COUNT_BYTES = 16_384

# Beside the indices of clauses: no rule matched, and no rule is about it (embeddings).
_NO_RULE, _ASKED_FOR = -1, -2

# Texts of a caller: kept as their classes only.
_OF_CALLER = ("header", "meta")

Guard = Callable[[Mapping[str, Value | None]], Value | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one request.

    `clause` None: no rule matched, and `destination` is the program's chain; of embeddings, what
    was asked for comes first.
    """

    program: Program
    snapshot: Observed
    clause: Clause | None
    destination: Destination


class Decider:
    """A program made ready to decide live requests: every term that it may ask is compiled once.

    `guards` are the compiled `when` conditions of its hops, by the hop's identity.
    """

    def __init__(self, program: Program) -> None:
        """Compile the program and bind a reader to every slot it may read."""
        self.program = program
        self._index_of = compile_program(program)
        self._zone = ZoneInfo(program.timezone)
        self._readers = readers_of(program)
        texts = [key for key, slot in program.slots.items() if slot.attribute.name in _OF_CALLER]
        self._classes = text_classes(program, texts)
        self._reads_tokens = "tokens" in program.slots
        self.guards = {id(hop): compile_term(hop.when) for hop in _hops(program) if hop.when}
        costly = keys_of(program).keys()
        self._fetching = {
            id(hop) for hop in _hops(program) if hop.when and costly & set(reads([hop.when]))
        }
        # By identity: terms of the program and of the gate, compiled when first asked for.
        self._terms: dict[int, Guard] = {}
        self._gate = Gate(program)
        self._asked_for = plan_without_rule(program, embeddings=True)
        # What no value of a request changes: most policies need no more.
        self._settled = {
            index: destination
            for index, plan in (
                (_NO_RULE, None),
                (_ASKED_FOR, self._asked_for),
                *((clause.index, clause.plan) for clause in program.clauses),
            )
            if (destination := self._of_every_request(plan)) is not None
        }

    def observe(
        self,
        request: Request,
        requested: Target | None,
        live: PulseTable,
        spent: Spent = NOTHING_SPENT,
    ) -> Observed:
        """An empty snapshot of a live request, filled by the questions put to it."""
        seen = Observed()
        seen.request = request
        seen.target = requested
        seen.requested = None if requested is None else requested.id
        seen.live = live
        seen.spent = spent
        seen.program = self.program
        seen.zone = self._zone
        seen.readers = self._readers
        seen.classes = self._classes
        return seen

    def decide(self, seen: Observed) -> Decision:
        """The clause for a snapshot, and where it sends the request. Raises: NotFetched."""
        index = self._index_of(seen)
        clause = self.program.clauses[index] if index >= 0 else None
        if clause is None and seen.request.operation is Operation.EMBEDDINGS:
            index = _ASKED_FOR
        found = self._settled.get(index)
        if found is None:
            plan = clause.plan if clause is not None else None
            plan = self._asked_for if index == _ASKED_FOR else plan
            found = destination(
                self.program,
                plan,
                self._evaluate(seen),
                self._gate,
                seen,
                seen.target,
            )
        if self._fetching:
            # A guard may be asked long after; whatever it costs a call to know is known by then.
            for hop in found.hops:
                if id(hop) in self._fetching:
                    self.guards[id(hop)](seen)
        return Decision(self.program, seen, clause, found)

    def target_of(self, decision: Decision) -> str | None:
        """The target that a decided request comes to if nothing fails."""
        seen = decision.snapshot
        value_of = self._evaluate(seen)
        found = decision.destination
        return first_allowed(self.program, found, value_of, seen, seen.target).target

    def excluding(self, target: str, seen: Observed) -> str | None:
        """The limit that keeps a target of the program out of a request; None if none does."""
        return self._gate.excluding(target, self._evaluate(seen))

    def withheld(self, seen: Observed, sets: Sets) -> str | None:
        """Why an answer to a request may not be given again, for people; None: it may.

        Where the policy does not say `only`, it may if it asks for no chance, or for embeddings.
        """
        cache = self.program.cache
        if cache is None:
            return bypass.NO_SECTION
        if (beside := outside(seen.request)) is not None:
            return beside
        value_of = self._evaluate(seen)
        try:
            if cache.only is None:
                if not _leaves_nothing_to_chance(seen.request, sets):
                    return bypass.BY_CHANCE
            elif value_of(cache.only) is not True:
                return bypass.NOT_ONLY
            if cache.never is not None and value_of(cache.never) is True:
                return bypass.NEVER
        except NotFetched:
            return bypass.NOT_FETCHED
        return None

    def _evaluate(self, seen: Observed) -> Evaluate:
        def value_of(term: Term) -> Value | None:
            compiled = self._terms.get(id(term))
            if compiled is None:
                compiled = self._terms[id(term)] = compile_term(term)
            return compiled(seen)

        return value_of

    def _of_every_request(self, plan: Plan | None) -> Destination | None:
        """Where a plan sends every request; None where that depends on the request."""
        if self.program.limits:
            return None
        if plan is None:
            return Destination(self.program.chain)
        if plan.mirror is not None or not isinstance(plan.route, Hop | Reject):
            return None
        if isinstance(plan.route, Reject):
            return Destination(())
        return Destination((plan.route, *following(self.program, plan)), plan.route)

    def must_count_first(self, seen: Observed) -> bool:
        """Whether the token count is needed and too long to be made on the event loop."""
        if not self._reads_tokens or len(seen.request.raw) <= INLINE_COUNT_BYTES:
            return False
        low, high = tokens.bounds(seen.request)
        cuts = self.program.token_cuts
        return low != high and (cuts is None or not tokens.between(cuts, low, high))


def _hops(program: Program) -> Iterator[Hop]:
    yield from program.chain
    for clause in program.clauses:
        yield from first_hops(clause.plan)
        yield from clause.plan.fallback or ()


def _leaves_nothing_to_chance(request: Request, sets: Sets) -> bool:
    if request.operation is Operation.EMBEDDINGS:
        return True
    temperature = request.written(sets).get("temperature")
    return not isinstance(temperature, bool) and temperature == 0


def recorded(seen: Observed) -> None:
    """Complete a snapshot with the base set, for the record.

    A caller's header is kept as its class only: a text that decides the same, made of the policy's
    own words.
    """
    classed(seen)
    for key in BASE_SET:
        if key not in seen:  # not by `__missing__`: this is done for every request
            seen[key] = seen.readers[key](seen, key)
    if "tokens" not in seen:
        low, high = tokens.bounds(seen.request)
        if low != high:
            seen.intervals["tokens"] = (low, high)
        seen["tokens"] = low


def classed(seen: Observed) -> None:
    """Put in place of a caller's texts their classes, which is all that may be kept of them."""
    for key, classes in seen.classes.items():
        text = seen.get(key)
        if isinstance(text, str):
            seen[key] = classes.representative(text)
            if seen[key] is None:
                seen.reasons[key] = "not kept"


def observe_body(program: Program, body: dict[str, Any], received_us: int) -> Snapshot:
    """The snapshot of a chat body without a gateway around it, as a cold one would see it.

    Reads every slot of the program; live values are the declared priors, or unknown.
    `received_us` is the instant to decide at, UTC.
    """
    request = Request(
        id="",
        operation=Operation.CHAT,
        body=body,
        raw=b"",
        model=str(body.get("model", "auto")),
        stream=body.get("stream") is True,
        caller=Caller(),
        headers={},
        received_us=received_us,
        started_ns=0,
    )
    decider = Decider(program)
    try:
        target = Names(program, program.schema.catalog).resolve(request.model).target
    except RequestError:
        target = None
    seen = decider.observe(request, target, Pulse().tick(program.targets, program.slots.values()))
    leave_out(seen, program)
    for key in program.slots:
        seen[key]
    return seen
