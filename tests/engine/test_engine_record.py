"""What a record says of its own time."""

from dataclasses import replace

import pytest

from tests.engine.test_engine_journal import record
from turnout.engine.record import Attempt, Kind


def tried(started_us: int, took_us: int, number: int = 1, kind: Kind = "answer") -> Attempt:
    return Attempt("a/m", "m", "failed", 0, number, started_us, took_us, kind=kind)


SKIPPED = replace(tried(0, 0, 0), outcome="skipped")

WAITS = {
    "one attempt": ([tried(0, 50)], 50),
    "two hops, and what the gateway did between them": ([tried(0, 50), tried(60, 40)], 90),
    "a pause before the next try": ([tried(0, 50), tried(450, 40, number=2)], 490),
    "a hop left out on the way": ([tried(0, 50), SKIPPED, tried(60, 40)], 90),
    "a copy beside it": ([tried(0, 50), tried(0, 9_000, kind="mirror")], 50),
    "clocks that differ by a little": ([tried(0, 50), tried(45, 40, number=2)], 90),
}


@pytest.mark.parametrize("case", WAITS)
def test_pauses_between_tries_are_not_the_gateways_own_time(case: str) -> None:
    attempts, waited_us = WAITS[case]
    assert record("req_1", *attempts).waited_us == waited_us
