"""A second policy that decides alongside the one in force, and acts on nothing.

It sees the same request at the same instant: the same live values, the same spending, what a call
of the acting policy fetched. What it says is compared and kept in the record. Nothing it does
reaches the request: what it raises is caught, counted and logged once per kind; where it needs a
long count of tokens that is made beside, in a thread.

Costs one more decision per request, 5 to 20 µs; nothing where there is no shadow.
"""

import asyncio
import logging
from collections import Counter
from copy import copy
from dataclasses import replace

from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.destination import by_reference, first_allowed
from turnout.dsl.snapshot import Snapshot

from . import tokens
from .decide import Decider, Decision, classed
from .destination import route_of
from .embedding import keys_of
from .fallback import Fallback, instead
from .latch import Latches
from .names import Names
from .observed import Observed
from .readers import NotFetched
from .record import PulseTable, Shadowed
from .request import RequestError
from .spent import Spent

_log = logging.getLogger("turnout.shadow")

MOST_COUNTS = 32  # under way at a time; each holds its request in memory
LATE = "its tokens were not counted before the request was over"


class Shadow:
    """A program made ready to decide alongside; one per worker, used from its event loop.

    Making it compiles the program, which may take long: it needs no event loop.
    """

    def __init__(self, program: Program) -> None:
        """Make the program ready."""
        self.program = program
        self.broke: Counter[str] = Counter()  # exceptions, by their kind
        self._decider = Decider(program)
        self._names = Names(program, program.schema.catalog)
        self._fetched = keys_of(program)
        self._latches = Latches(program)
        self._table = PulseTable("", 0, {}, {})
        self._counting = 0

    def beside(self, acting: Program) -> None:
        """Hold what this program holds and the acting one does not; whatever was held stays so."""
        keys = {latch.key for latch in acting.latches}
        rest = tuple(latch for latch in self.program.latches if latch.key not in keys)
        self._latches = Latches(replace(self.program, latches=rest), held=self._latches.held)

    def tick(self, table: PulseTable) -> None:
        """Take the live values of this moment, with what the acting program holds."""
        self._table = self._latches.over(table)

    def look(self, decision: Decision, spent: Spent, fallback: Fallback | None = None) -> "Look":
        """What the shadow says of a request that was just decided. Never raises."""
        seen = decision.snapshot
        look = Look(self.program.digest, seen)
        try:
            look.acting = _comes_to(decision)
            self._decide(look, decision, spent, fallback)
        except Exception as error:
            self._break(look, error)
        return look

    def _decide(
        self, look: "Look", decision: Decision, spent: Spent, fallback: Fallback | None
    ) -> None:
        acting = decision.snapshot
        request = acting.request
        try:
            requested = self._names.resolve(request.model).target
        except RequestError as error:
            look.refused = error.code or error.type
            look.is_decided = True
            return
        seen = self._decider.observe(request, requested, self._table, spent)
        look.seen = seen
        self._share(seen, acting, decision.program)
        if "tokens" not in seen and self._decider.must_count_first(seen):
            look.undecided = LATE
            if self._counting >= MOST_COUNTS:
                return
            self._counting += 1
            counting = asyncio.get_running_loop().run_in_executor(None, tokens.count, request)
            counting.add_done_callback(lambda done: self._counted(look, done, decision, fallback))
            return
        self._conclude(look, seen, decision, fallback)

    def _share(self, seen: Observed, acting: Observed, program: Program) -> None:
        """Take over what was costly to know and means the same to both."""
        if "tokens" in acting and "tokens" not in acting.intervals:
            seen["tokens"] = acting["tokens"]
        if acting.request.caller.models is not None or acting.request.own is not None:
            # What this caller may be answered by, it may be so under any policy.
            seen.update({key: acting[key] for key in acting if key.startswith("usable(")})
        for key, name in self._fetched.items():
            if key not in acting or program.embedding != self.program.embedding:
                continue
            if program.lists.get(name) == self.program.lists.get(name):
                seen[key] = acting[key]
                if key in acting.reasons:
                    seen.reasons[key] = acting.reasons[key]

    def _counted(
        self,
        look: "Look",
        done: "asyncio.Future[int]",
        decision: Decision,
        fallback: Fallback | None,
    ) -> None:
        self._counting -= 1
        try:
            assert look.seen is not None
            look.seen["tokens"] = done.result()
            look.undecided = None
            self._conclude(look, look.seen, decision, fallback)
        except Exception as error:
            self._break(look, error)

    def _conclude(
        self, look: "Look", seen: Observed, decision: Decision, fallback: Fallback | None
    ) -> None:
        try:
            said = self._decider.decide(seen)
        except NotFetched as missing:
            look.undecided = f"`{missing.key}` takes a call that the policy in force did not make"
            return
        if fallback is not None:
            said = instead(said, fallback, self._decider)
        clause, found = said.clause, said.destination
        look.rule = None if clause is None else clause.name
        look.route = route_of(said.program, clause)
        if clause is None and found.route is not None:
            look.route = found.route.target
        look.target = _comes_to(said)
        look.is_decided = True

    def _break(self, look: "Look", error: Exception) -> None:
        kind = type(error).__name__
        if not self.broke[kind]:
            _log.exception(
                "the shadow policy broke on %s; more of its kind are only counted",
                look.acted_on.request.id,
                exc_info=error,
            )
        self.broke[kind] += 1
        look.is_decided = False
        look.undecided = f"it broke: {kind}"


class Look:
    """What a shadow says of one request, as far as it is known by now."""

    __slots__ = (
        "acted_on",
        "acting",
        "is_decided",
        "policy",
        "refused",
        "route",
        "rule",
        "seen",
        "target",
        "undecided",
    )

    def __init__(self, policy: str, acted_on: Observed) -> None:
        """Know nothing yet of a request, seen by the acting policy as `acted_on`."""
        self.policy = policy
        self.acted_on = acted_on
        self.acting: str | None = None
        self.seen: Observed | None = None
        self.is_decided = False
        self.undecided: str | None = None
        self.refused: str | None = None
        self.rule: str | None = None
        self.route: str | None = None
        self.target: str | None = None

    def kept(self, rule: str | None) -> Shadowed:
        """What is kept of it beside a record whose values are complete; `rule` acted."""
        shadowed = Shadowed(
            self.policy, self.rule, self.route, self.target, self.acting, refused=self.refused
        )
        if not self.is_decided:
            shadowed.undecided = self.undecided or LATE
            return shadowed
        same = (self.rule, self.target) == (rule, self.acting)
        if self.seen is not None:
            try:
                classed(self.seen)
                _keep_values(shadowed, self.seen, self.acted_on)
            except Exception as error:  # the request's own record must be written all the same
                shadowed.undecided = f"it broke: {type(error).__name__}"
                return shadowed
        shadowed.agrees = same and self.refused is None
        return shadowed


def _keep_values(shadowed: Shadowed, seen: Observed, acting: Snapshot) -> None:
    """Keep what the shadow read otherwise than the acting policy, or alone."""
    for key, value in seen.items():
        if key not in acting or acting[key] != value:
            shadowed.values[key] = value
            if key in seen.reasons:
                shadowed.reasons[key] = seen.reasons[key]
            if key in seen.intervals:
                shadowed.intervals[key] = seen.intervals[key]


def _comes_to(decision: Decision) -> str | None:
    """The target that a decided request comes to if nothing fails; the snapshot stays as it is."""
    seen, found = decision.snapshot, decision.destination
    if not found.hops:
        return None
    first = found.hops[0]
    if first.when is None and not found.limits:
        is_asked = first.target == REQUESTED
        target = seen.target if is_asked else decision.program.targets[first.target]
        if target is not None:
            return target.id
    # A guard may read what nobody has read yet, and that is for the chain to do.
    scratch = copy(seen)
    value_of = by_reference(scratch)
    return first_allowed(decision.program, found, value_of, scratch, seen.target).target
