"""What `hold:` holds: comparisons of live values that stay true for a while once they were.

They are tried at every tick, on that tick's table alone, so no request decides another's. A truth
that is held enters the table as `held(…)`, and with it the snapshots and the record. What one
worker holds all of them hold, and go on holding when it ends: each tells what it knows to be held,
its own or learnt, and of two times the later counts.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from turnout.dsl.core import Latch, Program
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads

from .board import Alone, Board
from .pulse import DEFAULTS
from .record import PulseTable

TOPIC = "held"


class Latches:
    """The latches of one program in one worker; `over` belongs behind every `Pulse.tick`.

    Cost: 1 µs for each latch, and 10 µs where something is held.
    """

    def __init__(
        self,
        program: Program,
        now_ns: Callable[[], int] = time.monotonic_ns,
        held: Mapping[str, int] | None = None,
        board: Board | None = None,
    ) -> None:
        """Hold nothing yet, or what another program's latches `held` under the same keys.

        `now_ns` is a clock that all workers of the machine share.
        """
        self._now_ns = now_ns
        self._board = board or Alone()
        self._latches = program.latches
        self._tests = {latch.key: compile_term(latch.test) for latch in program.latches}
        self._until_ns = dict(held or {})
        keys = reads(latch.test for latch in program.latches)
        # Before anything was measured these are known, as they are for a request.
        self._known: Mapping[str, Value] = {
            key: DEFAULTS[name] for key in keys if (name := key.partition("(")[0]) in DEFAULTS
        }
        self._told = False  # whether the others were told of something held
        self._over: PulseTable | None = None  # the table below the one handed out last
        self._table: PulseTable | None = None

    def over(self, table: PulseTable) -> PulseTable:
        """The table with `held(…)` true for what is held; itself where nothing is.

        The same table comes out while neither the one below it nor what is held changes.
        """
        now_ns = self._now_ns()
        self._learn(now_ns)
        if not self._latches:
            return table
        seen = Snapshot({**self._known, **table.values})
        for latch in self._latches:
            if self._tests[latch.key](seen) is True:
                until_ns = now_ns + latch.hold_us * 1_000
                self._until_ns[latch.key] = max(until_ns, self._until_ns.get(latch.key, 0))
        self._tell(now_ns)
        held = [latch for latch in self._latches if now_ns < self._until_ns.get(latch.key, 0)]
        if self._table is None or self._over is not table or _held(self._table) != _keys(held):
            self._over = table
            self._table = _with(table, held) if held else table
        return self._table

    def _learn(self, now_ns: int) -> None:
        """Hold what others hold, of this program or of the next."""
        for told in self._board.look(TOPIC) or ():
            # A worker of another version may tell it in another form.
            with suppress(ValueError, TypeError, AttributeError):
                for key, until_ns in json.loads(told).items():
                    if now_ns < until_ns:
                        self._until_ns[key] = max(until_ns, self._until_ns.get(key, 0))

    def _tell(self, now_ns: int) -> None:
        self._until_ns = {key: ns for key, ns in self._until_ns.items() if now_ns < ns}
        if self._until_ns or self._told:
            self._told = bool(self._until_ns)
            self._board.post(TOPIC, json.dumps(self._until_ns, sort_keys=True).encode())

    @property
    def held(self) -> Mapping[str, int]:
        """What is held, by key, and until when by the clock of this machine, in ns."""
        return self._until_ns


def _keys(latches: list[Latch]) -> set[str]:
    return {latch.key for latch in latches}


def _held(table: PulseTable) -> set[str]:
    return {key for key in table.values if key.startswith("held(")}


def _with(table: PulseTable, held: list[Latch]) -> PulseTable:
    # Tables are stored by their id, so what is held belongs to it.
    names = ",".join(sorted(latch.key.removeprefix("held(").removesuffix(")") for latch in held))
    values = table.values | dict.fromkeys(sorted(_keys(held)), True)
    return replace(table, id=f"{table.id}+{names}", values=values)
