"""What all tests share: how long a machine takes over an example says nothing about the code."""

import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count no lines in a test that is marked `uncounted`, nor in the processes that it starts.

    Counting makes Python code two to three times as slow, which shows where a test does the same
    some thousand times; other tests come by the same lines.
    """
    coverage = sys.modules.get("coverage")
    counting = coverage and coverage.Coverage.current()
    if counting is None or item.get_closest_marker("uncounted") is None:
        return (yield)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        counting.stop()
        try:
            return (yield)
        finally:
            counting.start()
