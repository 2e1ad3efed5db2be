"""A line in the log for each failed attempt: what it says, what never, and how many."""

import logging

import pytest

from turnout.engine.complaint import Complaints
from turnout.engine.provider import Fault, ProviderError


class Clock:
    """Seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(caught: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caught.records]


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "turnout.attempts")


def test_a_failed_attempt_is_a_line_with_request_target_fault_status_and_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Complaints().failed("req-1", "a/m", ProviderError(Fault.AUTH, "no good key", status=401))
    Complaints().failed("req-2", "a/m", ProviderError(Fault.CONNECT, "it refused"))
    assert lines(caplog) == [
        ("WARNING", "req-1: a/m failed: auth, status 401, no good key"),
        ("WARNING", "req-2: a/m failed: connect, it refused"),
    ]


@pytest.mark.parametrize(
    "fault", [Fault.BAD_REQUEST, Fault.CONTEXT_EXCEEDED, Fault.CONTENT_FILTER, Fault.UNSUPPORTED]
)
def test_what_a_provider_says_of_a_request_stays_in_its_trace(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    error = ProviderError(fault, "cannot read 'my own words'", status=400)
    Complaints().failed("req-1", "a/m", error)
    refused = "status 400, the request was refused; its trace says why"
    assert lines(caplog) == [("INFO", f"req-1: a/m failed: {fault.value}, {refused}")]


def test_a_name_that_a_client_made_up_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    error = ProviderError(Fault.SERVER, "it\nfailed", status=500)
    Complaints().failed("req-1", f"a/m\nERROR \x1b[31m{'x' * 500}", error)
    ((_, line),) = lines(caplog)
    assert line.isprintable() and len(line) < 400
    assert line.startswith("req-1: a/m?ERROR ?[31mxxx")


def test_the_lines_are_bounded_and_those_left_out_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    complaints = Complaints(clock)
    error = ProviderError(Fault.SERVER, "it failed")
    for number in range(1000):
        complaints.failed(f"req-{number}", "a/m", error)
    assert len(caplog.records) == 60
    clock.now = 1.0
    complaints.failed("req-last", "a/m", error)
    complaints.failed("req-too-many", "a/m", error)
    assert lines(caplog)[60:] == [
        ("WARNING", "940 failed attempts before this one were not logged"),
        ("WARNING", "req-last: a/m failed: 5xx, it failed"),
    ]
