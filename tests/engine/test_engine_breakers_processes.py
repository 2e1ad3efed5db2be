"""Breakers of real processes over their board: one threshold, one probe, one state."""

import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from turnout.dsl.core import Breaking
from turnout.engine.breakers import Barred, Breakers
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.state.board import SharedBoard

X = "a/m"
WORKERS, ROUNDS, FAILURES = 4, 5, 10
PATIENCE_S = 30.0
DOWN = ProviderError(Fault.SERVER, "down")


def work(folder: Path, barrier: Barrier, out: "Queue[tuple[str, int]]") -> None:
    """Fail together until nobody is let in, then try it together, round after round."""
    breakers = Breakers(SharedBoard(folder))
    breakers.follow(Breaking(FAILURES, 200_000))

    def until(state: str) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while breakers.values().get(f"breaker({X})", "closed") != state:
            assert time.monotonic() < ends_at, f"never {state}"
            breakers.look()
            time.sleep(0.001)

    for _ in range(ROUNDS):
        barrier.wait(PATIENCE_S)
        failed = 0
        while not isinstance(entered := breakers.enter(X), Barred):
            breakers.failed(X, DOWN, entered)
            failed += 1
            time.sleep(0.001)
        out.put(("failed", failed))
        until("half_open")
        barrier.wait(PATIENCE_S)
        tries = breakers.enter(X)
        out.put(("tried", not isinstance(tries, Barred)))
        barrier.wait(PATIENCE_S)
        # Where each of two saw the other nobody was let in: the next attempt is.
        ends_at = time.monotonic() + PATIENCE_S
        while breakers.values() and time.monotonic() < ends_at:
            if not isinstance(tries, Barred):
                breakers.succeeded(X, tries)
            breakers.look()
            time.sleep(0.001)
            tries = breakers.enter(X)
        until("closed")
        breakers.succeeded(X, None if isinstance(tries, Barred) else tries)


def test_processes_share_a_threshold_a_probe_and_a_state(tmp_path: Path) -> None:
    context = get_context("spawn")
    barrier = context.Barrier(WORKERS)
    out: Queue[tuple[str, int]] = context.Queue()
    workers = [context.Process(target=work, args=(tmp_path, barrier, out)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    told = [out.get(timeout=2 * PATIENCE_S) for _ in range(2 * ROUNDS * WORKERS)]
    for worker in workers:
        worker.join(PATIENCE_S)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    failed = sum(number for what, number in told if what == "failed")
    # The last failure opens it; what the others had under way at that moment fails too.
    assert ROUNDS * FAILURES <= failed <= ROUNDS * (FAILURES + WORKERS - 1)
    assert sum(number for what, number in told if what == "tried") <= ROUNDS
