"""Which targets `require` lets a request go to, and where a request goes in the end.

Pure like the decision: terms are evaluated by whoever asks (`Evaluate`), so that the gateway hands
in compiled ones, an explanation traced ones. The terms handed to `evaluate` are those of the
program, or those of `Gate.limits_of`, which are made once for each target: they can be compiled
ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .choose import Chosen, Evaluate, choose
from .core import REQUESTED, Const, Hop, Limit, Plan, Program, Read, Reject
from .facts import PREFIX, facts
from .schema import Target, Value
from .walk import reads, rewrite


class Gate:
    """The limits of a program, with the facts of each target put in."""

    def __init__(self, program: Program) -> None:
        """Take a program's limits; nothing is computed before a target is asked about."""
        self._program = program
        self._bound: dict[str, tuple[Limit, ...]] = {}

    def limits_of(self, target: str | Target | None) -> tuple[Limit, ...]:
        """The limits as they are for this target: its facts are constants in them.

        A target may be handed in as such where the program does not hold it (what a client asked
        for). Of None, a target that nobody knows, every fact is unknown.
        """
        row = self._program.targets.get(target) if isinstance(target, str) else target
        name = target if isinstance(target, str) else "" if row is None else row.id
        if name not in self._bound:
            self._bound[name] = tuple(_about(limit, row) for limit in self._program.limits)
        return self._bound[name]

    def excluding(
        self,
        target: str | Target,
        snapshot: Mapping[str, Value | None],
        evaluate: Evaluate,
    ) -> str | None:
        """The name of the first limit that keeps a request from a target; None if none does.

        REQUESTED is what the snapshot says was asked for. Closed in doubt: a limit applies unless
        its `when` is false, and a target passes only where `target` is true.
        """
        if not self._program.limits:
            return None
        asked = snapshot.get(REQUESTED) if target == REQUESTED else target
        if asked is None and isinstance(snapshot, dict):
            asked = snapshot[REQUESTED] if REQUESTED in self._program.slots else None
        for limit in self.limits_of(asked if isinstance(asked, str | Target) else None):
            if limit.when is not None and evaluate(limit.when) is False:
                continue
            if evaluate(limit.target) is not True:
                return limit.name
        return None


def excluding(
    program: Program,
    target: str | Target,
    snapshot: Mapping[str, Value | None],
    evaluate: Evaluate,
) -> str | None:
    """`Gate.excluding` for a single question; who asks often keeps a `Gate`."""
    return Gate(program).excluding(target, snapshot, evaluate)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes on a snapshot, before anything fails.

    `clause` is the index of the rule that fired, None where none did: then the chain is the plan
    and `chosen` is empty. `reject` is there where the rule refuses. `first` is the hop that is
    tried first: the chosen one, or where a limit excludes it (or a choice was left empty) the first
    of what follows whose guard is not false; None where nothing may be tried. `target` is its id,
    with REQUESTED resolved where the snapshot says to what. `excluded` are the hops passed over
    before it, with the name of the limit.
    """

    clause: int | None
    chosen: Chosen
    reject: Reject | None
    first: Hop | None
    target: str | None
    excluded: tuple[tuple[str, str], ...]


def destination(
    program: Program,
    clause: int | None,
    snapshot: Mapping[str, Value | None],
    evaluate: Evaluate,
    gate: Gate | None = None,
) -> Destination:
    """Where the plan of a clause (an index; None: no rule fired) leads on a snapshot."""
    gate = gate or Gate(program)

    def exclude(target: str) -> str | None:
        return gate.excluding(target, snapshot, evaluate)

    plan: Plan | None = None if clause is None else program.clauses[clause].plan
    if plan is not None and isinstance(plan.route, Reject):
        return Destination(clause, Chosen(None), plan.route, None, None, ())
    chosen = Chosen(None) if plan is None else choose(plan.route, evaluate, exclude)
    after = program.chain if plan is None or plan.fallback is None else plan.fallback
    hops = after if chosen.hop is None else (chosen.hop, *after)
    excluded: dict[str, str] = {}
    for hop in hops:
        if hop.target in excluded:
            continue
        if hop is not chosen.hop and hop.when is not None and evaluate(hop.when) is not True:
            continue
        limit = exclude(hop.target)
        if limit is None:
            target = hop.target
            if target == REQUESTED:
                asked = snapshot.get(REQUESTED)
                target = asked if isinstance(asked, str) else REQUESTED
            return Destination(clause, chosen, None, hop, target, tuple(excluded.items()))
        excluded[hop.target] = limit
    return Destination(clause, chosen, None, None, None, tuple(excluded.items()))


def _about(limit: Limit, target: Target | None) -> Limit:
    keys = tuple(key for key in reads([limit.target]) if key.startswith(PREFIX))
    values = dict.fromkeys(keys) if target is None else facts(target, keys)

    def known(term: Read) -> Const | Read:
        if term.key not in values:
            return term
        return Const(values[term.key], term.type, term.span)

    return replace(limit, target=rewrite(limit.target, known))
