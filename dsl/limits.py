"""Which targets `require` lets a request go to.

Pure like the decision: terms are evaluated by whoever asks (`Evaluate`), so that the gateway hands
in compiled ones, an explanation traced ones. The terms handed to `evaluate` are those of the
program, or those of `Gate.limits_of`, which are made once for each target: they can be compiled
ahead.
"""

from dataclasses import replace

from .choose import Evaluate
from .core import Const, Limit, Program, Read
from .facts import PREFIX, facts
from .schema import Target
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

    def excluding(self, target: str | Target, evaluate: Evaluate) -> str | None:
        """The name of the first limit that keeps a request from a target; None if none does.

        Closed in doubt: a limit applies unless its `when` is false, and a target passes only where
        `target` is true.
        """
        if not self._program.limits:
            return None
        for limit in self.limits_of(target):
            if limit.when is not None and evaluate(limit.when) is False:
                continue
            if evaluate(limit.target) is not True:
                return limit.name
        return None


def _about(limit: Limit, target: Target | None) -> Limit:
    keys = tuple(key for key in reads([limit.target]) if key.startswith(PREFIX))
    values = dict.fromkeys(keys) if target is None else facts(target, keys)

    def known(term: Read) -> Const | Read:
        if term.key not in values:
            return term
        return Const(values[term.key], term.type, term.span)

    return replace(limit, target=rewrite(limit.target, known))
