"""The soak: thousands of requests through a real gateway, then its books and memory are checked.

    python -m benchmarks.soak --requests 20000

Exit code 0 if every check holds, 1 if one does not.
"""

import argparse
import asyncio
import re
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from turnout.simulator.process import SimulatorProcess

from .load import Report, fire
from .processes import GatewayProcess, machine, versions
from .workload import PROVIDERS, mixed, policy

_SETTLE_S = 10.0
_SAMPLES = 80
_NEIGHBOURS = 5  # a sample is the median of its surroundings: one garbage collection is no leak
_BAD_LINE = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback|Exception|Task was destroyed|never awaited")


@dataclass
class Memory:
    """Resident memory over the run, by the number of requests done."""

    samples: list[int] = field(default_factory=list)

    def at(self, share: float) -> float:
        """Return MiB at a share of the run."""
        middle = round(share * (len(self.samples) - 1))
        near = self.samples[max(middle - _NEIGHBOURS, 0) : middle + _NEIGHBOURS + 1]
        return statistics.median(near) / 2**20


def main() -> int:
    """Run the soak of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--lanes", type=int, default=32, help="connections at a time")
    parser.add_argument("--workers", type=int, default=1, help="the gateway's processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency", default="*=2ms/1ms", help="the simulator's, as its own option")
    parser.add_argument(
        "--growth", type=float, default=4.0, help="percent of memory that half the run may add"
    )
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help="share of upstream calls answered with 503"
    )
    arguments = parser.parse_args()
    with (
        SimulatorProcess(PROVIDERS, "--latency", arguments.latency) as simulator,
        GatewayProcess(policy(simulator), workers=arguments.workers) as gateway,
    ):
        return _soak(arguments, simulator, gateway)


def _soak(
    arguments: argparse.Namespace, simulator: SimulatorProcess, gateway: GatewayProcess
) -> int:
    print(f"{machine()}\n{versions()}")
    if arguments.fault_rate:
        fault = {"kind": "status", "status": 503}
        simulator.fault(fault, rate=arguments.fault_rate, seed=arguments.seed)
    memory = Memory([gateway.rss_bytes()])
    every = max(arguments.requests // _SAMPLES, 1)

    def look(done: int) -> None:
        if done % every == 0:
            memory.samples.append(gateway.rss_bytes())
        if done % max(arguments.requests // 10, 1) == 0:
            print(f"  {done:>7} requests  {memory.samples[-1] / 2**20:7.1f} MiB", flush=True)

    cpu_before = gateway.cpu_us()
    shots = mixed(arguments.requests, arguments.seed)
    report = asyncio.run(
        fire("127.0.0.1", gateway.port, shots, lanes=arguments.lanes, on_outcome=look)
    )
    cpu = gateway.cpu_us() - cpu_before
    _wait_until_settled(simulator, gateway)
    code = gateway.stop()
    problems = _problems(arguments, simulator, gateway, report, memory, code)
    _tell(report, memory, cpu)
    print("\n".join(f"FAILED: {problem}" for problem in problems) or "all checks hold")
    return 1 if problems else 0


def _wait_until_settled(simulator: SimulatorProcess, gateway: GatewayProcess) -> None:
    """Wait for the ledger to be written: until it has what was called, or in vain for a while."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        if _ledger_rows(gateway) == simulator.stats()["total"]["requests"]:
            return
        time.sleep(0.2)


def _ledger_rows(gateway: GatewayProcess) -> int:
    with gateway.ledger() as database:
        return int(database.execute("select count(*) from ledger").fetchone()[0])


def _problems(
    arguments: argparse.Namespace,
    simulator: SimulatorProcess,
    gateway: GatewayProcess,
    report: Report,
    memory: Memory,
    code: int,
) -> list[str]:
    problems = []
    if failures := Counter(report.failures()):
        problems.append(f"{failures.total()} requests failed: {dict(failures.most_common(5))}")
    if len(report.outcomes) != arguments.requests:
        problems.append(f"{len(report.outcomes)} outcomes of {arguments.requests} requests")
    bad = [line for line in gateway.log().splitlines() if _BAD_LINE.search(line)]
    if bad:
        problems.append(f"{len(bad)} error lines in the gateway's log, the first: {bad[0]}")
    stats = simulator.stats()
    calls, rows = stats["total"]["requests"], _ledger_rows(gateway)
    print(f"upstream calls {calls}, ledger rows {rows}; {stats['total']}")
    if rows != calls:
        problems.append(f"{rows} ledger rows, {calls} upstream calls")
    with gateway.ledger() as database:
        kept = database.execute("select count(*) from decisions").fetchone()[0]
        targets = dict(database.execute("select target, count(*) from ledger group by 1"))
        free = database.execute(
            "select count(*) from ledger where outcome = 'ok' and cost_nano_usd = 0"
        ).fetchone()[0]
        ends = dict(database.execute("select outcome, count(*) from ledger group by 1"))
    print(f"ledger by target {targets}, by outcome {ends}; {kept} decisions kept")
    if free:
        problems.append(f"{free} answered calls cost nothing")
    # A client that leaves before the gateway has read its request leaves no decision.
    gone = sum(one.left for one in report.outcomes)
    if not len(report.outcomes) - gone <= kept <= len(report.outcomes):
        problems.append(f"{kept} decisions of {len(report.outcomes)} requests, {gone} abandoned")
    if code != 0:
        problems.append(f"the gateway ended with exit code {code}")
    growth = (memory.at(1.0) / memory.at(0.5) - 1) * 100
    if growth > arguments.growth:
        problems.append(f"memory grew by {growth:.1f} % in the second half")
    return problems


def _tell(report: Report, memory: Memory, cpu: int) -> None:
    streams = [one for one in report.outcomes if one.events]
    print(
        f"{len(report.outcomes)} requests in {report.took_us / 1e6:.1f} s "
        f"({report.per_second:.0f}/s), {len(streams)} with events, "
        f"{sum(one.left for one in report.outcomes)} cut off by the client; "
        f"{cpu / len(report.outcomes):.0f} µs of the gateway's CPU each"
    )
    points = {"start": 0.0, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "end": 1.0}
    shown = ", ".join(f"{name} {memory.at(share):.1f}" for name, share in points.items())
    print(f"resident MiB: {shown}")


if __name__ == "__main__":
    sys.exit(main())
