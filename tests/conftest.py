"""What all tests share: how long a machine takes over an example says nothing about the code.

Counting lines makes Python code two to three times as slow, so that it ends where it says nothing
new: a test that does the same some thousand times comes by its lines in its first moment.
"""

import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

COUNTED_S = 0.5  # of a test's own CPU time


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count the lines of a test's first moment; none where it is marked `uncounted`.

    Of such a one, nor those of the processes that it starts: other tests come by the same lines.
    """
    coverage = sys.modules.get("coverage")
    counting = coverage and coverage.Coverage.current()
    if counting is None:
        return (yield)
    if item.get_closest_marker("uncounted") is None:
        with _counted_at_first(counting):
            return (yield)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        counting.stop()
        try:
            return (yield)
        finally:
            counting.start()


@contextmanager
def _counted_at_first(counting: Any) -> Iterator[None]:
    """Stop counting once the test has used `COUNTED_S` of CPU time, until its end."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            counting.stop()

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.siginterrupt(signal.SIGVTALRM, False)
    signal.setitimer(signal.ITIMER_VIRTUAL, COUNTED_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        if stopped:
            counting.start()
