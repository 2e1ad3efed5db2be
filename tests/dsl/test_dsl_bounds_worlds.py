"""The worst attempts and times, rule by rule, against every snapshot of small worlds."""

from collections.abc import Sequence

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import Decided, made, written
from turnout.dsl.bounds import Bound, bounds
from turnout.dsl.core import Hop, Program
from turnout.dsl.prove import Prover
from turnout.dsl.snapshot import Snapshot

from .conftest import Language

CHUNKS = 8
POLICIES = max(64, EXAMPLES // 8) // CHUNKS * CHUNKS


class Counted:
    """What single requests come to, worked out by the rules of the page on commands."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.decided = Decided(program)

    def served(self, seen: Snapshot) -> list[Hop]:
        """The hops that are tried, but those that are known not to be able to serve it."""
        return [
            hop
            for target, hop in self.decided.tried(seen)
            if self.program.targets[target].abilities.get("vision") is not False
            or seen["has_images"] is not True
        ]

    def attempts(self, seen: Snapshot) -> int:
        copies = self.decided.copied(seen) is not None
        return copies + sum(1 + hop.retries for hop in self.served(seen))

    def time(self, seen: Snapshot) -> int:
        """Each hop as long as its clock lets it; the last one without a clock: what is left."""
        hops, deadline, total = self.served(seen), self.program.deadline_us, 0
        for hop in hops:
            has_clock = hop.clocks.written_timeout or hop is not hops[-1]
            total += hop.clocks.timeout_us if has_clock else deadline
        return min(total, deadline)

    def rows(self, snapshots: Sequence[Snapshot]) -> dict[str | None, tuple[int, int]]:
        """Of each rule that takes a request: the worst attempts and the worst time."""
        found: dict[str | None, tuple[int, int]] = {}
        for seen in snapshots:
            name = self.decided.name(seen)
            attempts, time = found.get(name, (0, 0))
            found[name] = max(attempts, self.attempts(seen)), max(time, self.time(seen))
        return found


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_worst_of_a_rule_is_that_of_the_snapshots_that_it_takes(
    chunk: int, language: Language
) -> None:
    for seed in range(chunk, POLICIES, CHUNKS):
        policy, program, snapshots = made(seed, written, language.compile)
        counted = Counted(program)
        worst = counted.rows(snapshots)
        where = f"seed {seed}\n{policy.text()}\n{worst}"
        for row in bounds(program, Prover(program)):
            if row.rule not in worst:
                assert row.attempts.kind == row.time.kind == row.dollars.kind == "never", where
                continue
            told = row.attempts.value, row.time.value
            assert told == worst[row.rule], f"{where}\n{row}"
            assert_reached(row, counted, where)


def assert_reached(row: Bound, counted: Counted, where: str) -> None:
    """The requests that are shown come to what is said of them."""
    for worst, value_of in ((row.attempts, counted.attempts), (row.time, counted.time)):
        assert worst.kind == "exact" and worst.witness is not None, where
        assert counted.decided.name(worst.witness) == row.rule, where
        assert value_of(worst.witness) == worst.value, where
    if row.dollars.witness is not None:
        assert counted.decided.name(row.dollars.witness) == row.rule, where
