"""Signals under open streams, and right after the start."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.findings import Findings, Size
from benchmarks.load import Report, fire
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

from .answers import Judgement, asking
from .books import ledger_rows, records

# Beyond the bound of the drain: two seconds for what was cut off to end, the rest for writing
# out, for the interpreters to end, and for a machine that is busy with everything else.
SLACK_S = 6.0
_EARLY_S = 0.05
_EARLY_END_S = 10.0
_START_S = 30.0
_WORDS = 25  # of a prompt: its answer has some 90 tokens
_PATIENCE_S = 60.0

POLICY = """
routing_policy:
  - name: all
    route: openai/gpt-4o-mini
providers:
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A gateway that is told to stop: how, and how long it waits; `gap` is between tokens."""

    workers: int
    how: signal.Signals
    bound_s: int
    gap: str

    def __str__(self) -> str:
        """How it stands in the findings."""
        plural = "s" if self.workers > 1 else ""
        return f"{self.how.name}, {self.workers} worker{plural}, bound {self.bound_s} s"


FINISHING = [
    Case(1, signal.SIGTERM, 20, "15ms"),
    Case(2, signal.SIGTERM, 20, "15ms"),
    Case(4, signal.SIGTERM, 20, "15ms"),
    Case(2, signal.SIGINT, 20, "15ms"),
]
CUT_OFF = [
    Case(1, signal.SIGTERM, 1, "150ms"),
    Case(2, signal.SIGTERM, 1, "150ms"),
    Case(4, signal.SIGTERM, 1, "150ms"),
    Case(1, signal.SIGINT, 1, "150ms"),
]
QUICK = [FINISHING[3], CUT_OFF[1]]


def drain(size: Size) -> Findings:
    """A signal while so many streams are open, and one 50 ms after the first connection.

    With 1, 2 and 4 workers; of a quick one, with 2.
    """
    found = Findings(f"drain: a signal under {size.count} open streams")
    for case in QUICK if size.quick else FINISHING + CUT_OFF:
        _stop_under_streams(found, case, size.count)
    for workers in (2,) if size.quick else (1, 2, 4):
        _stop_early(found, workers, signal.SIGTERM, listening=True)
        if not size.quick:
            _stop_early(found, workers, signal.SIGTERM, listening=False)
            _stop_early(found, workers, signal.SIGINT, listening=True)
    return found


def _stop_under_streams(found: Findings, case: Case, streams: int) -> None:
    with SimulatorProcess(["openai"], "--latency", f"*=20ms/{case.gap}") as simulator:
        policy = POLICY + f"  openai: {{base_url: '{simulator.base_url('openai')}'}}\n"
        judged = Judgement(Policy.parse(policy))
        environment = {"TURNOUT_DRAIN_SECONDS": str(case.bound_s)}
        with GatewayProcess(policy, workers=case.workers, environment=environment) as gateway:
            report, code, took_s = asyncio.run(
                _streaming(simulator, gateway, judged, case.how, streams)
            )
            calls, rows = simulator.stats()["total"]["requests"], ledger_rows(gateway)
            kept = len(records(gateway))
    if case in FINISHING:
        ends, well = "all finish", judged.right == streams
    else:
        ends = "each ends in one error event, `shutting_down`"
        well = judged.stopped == judged.cut == streams
    within_s = case.bound_s + SLACK_S
    booked = rows == kept == calls == len(report.outcomes)
    found.held(
        str(case),
        f"{judged.right} finished, {judged.stopped} ended by `shutting_down`; exit code {code} "
        f"after {took_s:.1f} s; {rows} ledger rows, {kept} decisions, {calls} upstream calls",
        f"{ends}; 0 within {within_s:.0f} s; equal",
        well and booked and not judged.wrong and code == 0 and took_s <= within_s,
    )
    if judged.wrong:
        found.none(f"{case}: requests that ended otherwise than declared", judged.wrong)


async def _streaming(
    simulator: SimulatorProcess,
    gateway: GatewayProcess,
    judged: Judgement,
    how: signal.Signals,
    streams: int,
) -> tuple[Report, int, float]:
    """Open the streams, signal once all have begun. Returns also exit code and time it took."""
    shots = asking(range(streams), share=1.0, words=_WORDS)
    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            shots,
            lanes=streams,
            judge=judged,
            patience_s=_PATIENCE_S,
        )
    )
    while (await asyncio.to_thread(simulator.stats))["total"]["requests"] < streams:
        if firing.done():
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # the first token takes 20 ms
    began = time.monotonic()
    code = await asyncio.to_thread(gateway.stop, how)
    took_s = time.monotonic() - began
    return await firing, code, took_s


def _stop_early(found: Findings, workers: int, how: signal.Signals, *, listening: bool) -> None:
    """Signal 50 ms after the first connection: one that the kernel took, or one that answered."""
    with SimulatorProcess(["openai"], "--latency", "*=20ms/5ms") as simulator:
        policy = POLICY + f"  openai: {{base_url: '{simulator.base_url('openai')}'}}\n"
        judged = Judgement(Policy.parse(policy))
        gateway = GatewayProcess(policy, workers=workers, port=_free_port())
        try:
            gateway.start()
            answered = _connected if listening else _ready
            _wait_for(gateway.port, answered)
            code, took_s = asyncio.run(_early(gateway, judged, how))
            calls = simulator.stats()["total"]["requests"]
            rows = ledger_rows(gateway) if (gateway.home / "turnout.db").exists() else 0
        finally:
            gateway.stop()
            gateway.clean()
    # Whoever is not served any more finds the connection closed, and may ask elsewhere.
    wrong = [one for one in judged.wrong if not one.startswith(("connection lost", "no answer"))]
    plural = "s" if workers > 1 else ""
    found.held(
        f"{how.name} 50 ms after the first {'connection' if listening else 'answer'}, "
        f"{workers} worker{plural}",
        f"{judged.right} answered, {len(wrong)} wrong; exit code {code} after {took_s:.1f} s; "
        f"{rows} ledger rows, {calls} upstream calls",
        f"none wrong; 0 within {_EARLY_END_S:.0f} s; equal",
        not wrong and code == 0 and took_s <= _EARLY_END_S and rows == calls,
    )


async def _early(
    gateway: GatewayProcess, judged: Judgement, how: signal.Signals
) -> tuple[int, float]:
    stopping = False

    def numbers() -> Iterator[int]:
        number = 0
        while not stopping and number < 200:
            yield number
            number += 1

    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            asking(numbers()),
            lanes=8,
            judge=judged,
            patience_s=_PATIENCE_S,
        )
    )
    await asyncio.sleep(_EARLY_S)
    stopping = True
    began = time.monotonic()
    code = await asyncio.to_thread(gateway.stop, how)
    took_s = time.monotonic() - began
    await firing
    return code, took_s


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(port: int, answered: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not answered(port):
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway did not come up")
        time.sleep(0.002)


def _connected(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as asked:
            asked.sendall(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            return asked.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
