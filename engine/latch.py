"""What `hold:` holds: comparisons of live values that stay true for a while once they were.

They are tried at every tick, on that tick's table alone, so no request decides another's. A truth
that is held enters the table as `held(…)`, and with it the snapshots and the record.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from turnout.dsl.core import Latch, Program
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads

from .pulse import DEFAULTS
from .record import PulseTable


class Latches:
    """The latches of one program in one worker; `over` belongs behind every `Pulse.tick`.

    Cost: 1 µs for each latch.
    """

    def __init__(
        self,
        program: Program,
        now_ns: Callable[[], int] = time.monotonic_ns,
        held: Mapping[str, int] | None = None,
    ) -> None:
        """Hold nothing yet, or what another program's latches `held` under the same keys."""
        self._now_ns = now_ns
        self._latches = program.latches
        self._tests = {latch.key: compile_term(latch.test) for latch in program.latches}
        self._until_ns = {key: ns for key, ns in (held or {}).items() if key in self._tests}
        keys = reads(latch.test for latch in program.latches)
        # Before anything was measured these are known, as they are for a request.
        self._known: Mapping[str, Value] = {
            key: DEFAULTS[name] for key in keys if (name := key.partition("(")[0]) in DEFAULTS
        }
        self._over: PulseTable | None = None  # the table below the one handed out last
        self._table: PulseTable | None = None

    def over(self, table: PulseTable) -> PulseTable:
        """The table with `held(…)` true for what is held; itself where nothing is.

        The same table comes out while neither the one below it nor what is held changes.
        """
        if not self._latches:
            return table
        now_ns = self._now_ns()
        seen = Snapshot({**self._known, **table.values})
        for latch in self._latches:
            if self._tests[latch.key](seen) is True:
                self._until_ns[latch.key] = now_ns + latch.hold_us * 1_000
        held = [latch for latch in self._latches if now_ns < self._until_ns.get(latch.key, 0)]
        if self._table is None or self._over is not table or _held(self._table) != _keys(held):
            self._over = table
            self._table = _with(table, held) if held else table
        return self._table

    @property
    def held(self) -> Mapping[str, int]:
        """What is held or was, by key, and until when by this worker's clock, in ns."""
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
