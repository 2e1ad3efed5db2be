"""What the gateway costs: its CPU time per request, what it adds to latency, and by stage.

    python -m benchmarks.gateway

Gateway and load share the machine: the gateway has one core, load generator and simulator the
rest. Prints, and writes `benchmarks/results/gateway.md`.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from turnout.simulator.process import SimulatorProcess

from .load import Report, Shot, fire
from .processes import BareProcess, GatewayProcess, cpu_us, machine, versions
from .stages import Stage, by_stage
from .workload import CHAT, PROVIDERS, chat, policy, prose

RESULTS = Path(__file__).with_name("results") / "gateway.md"
_BODY_BYTES = 1024
_CHUNKS = 20
_SEED = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. CPU in microseconds per request; of the simulator where it was direct."""

    what: str
    lanes: int
    requests: int
    per_second: float
    cpu_us: float
    p50_us: int
    p99_us: int
    first_p50_us: int

    @property
    def cells(self) -> list[str]:
        """The row as the table shows it."""
        return [
            self.what,
            str(self.lanes),
            str(self.requests),
            f"{self.per_second:,.0f}",
            f"{self.cpu_us:,.0f}",
            f"{self.p50_us / 1000:.2f}",
            f"{self.p99_us / 1000:.2f}",
            f"{self.first_p50_us / 1000:.2f}",
        ]


_HEADINGS = [
    "what",
    "lanes",
    "requests",
    "requests/s",
    "CPU µs/request",
    "p50 ms",
    "p99 ms",
    "first byte p50 ms",
]


def main() -> int:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--no-file", action="store_true", help="print only")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    own = {cores[0]} if len(cores) > 1 else None
    if own is not None:
        os.sched_setaffinity(0, set(cores[1:]))  # children start here; the gateway is moved
    rows: list[Row] = []
    with SimulatorProcess(PROVIDERS, "--latency", "*=0") as simulator:
        for stream in (False, True):
            rows += _direct(arguments, simulator, stream)
        with GatewayProcess(policy(simulator), cores=own) as gateway:
            for stream in (False, True):
                rows += _through(arguments, "gateway", gateway, stream)
        with BareProcess(_CHUNKS, cores=own) as bare:
            for stream in (False, True):
                rows += _through(arguments, "HTTP server alone", bare, stream)
    stages = by_stage(_body(stream=False), _CHUNKS, min(arguments.requests, 500))
    text = _render(rows, stages)
    print(text)
    if not arguments.no_file:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")
        print(f"written to {RESULTS.relative_to(Path.cwd())}", file=sys.stderr)
    return 0


def _direct(arguments: argparse.Namespace, simulator: SimulatorProcess, stream: bool) -> list[Row]:
    """Measure the simulator alone: what the gateway's figures have to be seen against."""
    port, path = simulator.port("openai"), "/v1/chat/completions"
    shot = Shot(path, _body(stream=stream, model="gpt-4o"), stream)
    rows = []
    for lanes in (1, arguments.lanes):
        _fire(port, [shot] * (arguments.requests // 5), lanes)
        before = cpu_us(simulator.pid)
        report = _fire(port, [shot] * arguments.requests, lanes)
        name = f"direct, {_name(stream)}"
        rows.append(_row(name, lanes, report, cpu_us(simulator.pid) - before))
    return rows


def _through(
    arguments: argparse.Namespace, who: str, server: GatewayProcess | BareProcess, stream: bool
) -> list[Row]:
    """Measure the gateway, or its HTTP server with nothing behind it."""
    shot = Shot(CHAT, _body(stream=stream), stream)
    rows = []
    for lanes in (1, arguments.lanes):
        _fire(server.port, [shot] * (arguments.requests // 5), lanes)
        before = server.cpu_us()
        report = _fire(server.port, [shot] * arguments.requests, lanes)
        time.sleep(0.5)  # what is written after the answer is part of the request's cost
        name = f"{who}, {_name(stream)}"
        rows.append(_row(name, lanes, report, server.cpu_us() - before))
    return rows


def _body(*, stream: bool, model: str = "auto") -> bytes:
    """A chat body of 1 KB whose answer has 20 tokens."""
    empty = len(chat("", stream=stream, max_tokens=_CHUNKS, model=model))
    prompt = prose(_BODY_BYTES, random.Random(_SEED))[: _BODY_BYTES - empty]
    return chat(prompt, stream=stream, max_tokens=_CHUNKS, model=model)


def _fire(port: int, shots: Iterable[Shot], lanes: int) -> Report:
    headers = {"authorization": "Bearer simulated"}
    report = asyncio.run(fire("127.0.0.1", port, shots, lanes=lanes, headers=headers))
    if failures := report.failures():
        raise SystemExit(f"{len(failures)} requests failed, the first: {failures[0]}")
    return report


def _name(stream: bool) -> str:
    return f"stream of {_CHUNKS} chunks" if stream else "1 KB, whole answer"


def _row(what: str, lanes: int, report: Report, cpu: int) -> Row:
    requests = len(report.outcomes)
    return Row(
        what,
        lanes,
        requests,
        report.per_second,
        cpu / requests,
        report.quantile_us(0.5),
        report.quantile_us(0.99),
        report.quantile_us(0.5, "first_us"),
    )


def _render(rows: list[Row], stages: list[Stage]) -> str:
    lines = [
        "# The gateway's cost",
        "",
        "Written by `python -m benchmarks.gateway`; do not edit.",
        "",
        f"- Machine: {machine()}; the gateway on one core, load and simulator on the other.",
        f"- Versions: {versions()}",
        f"- Date: {time.strftime('%Y-%m-%d', time.gmtime())}",
        "- Policy: `policies/first.yml` over simulated providers with no latency of their own.",
        "- CPU: user and system time of the gateway's processes (where direct, the simulator's),",
        "  its ledger and records included. The kernel counts in ticks of 10 ms.",
        "",
        *_table(_HEADINGS, [row.cells for row in rows]),
        "",
        "## By stage",
        "",
        "In one process without HTTP: the best of several rounds. The last rows are what is left",
        "of the gateway's own figures above (one lane) when the HTTP server, the engine and the",
        "adapter are taken off: the upstream connection and its sockets, the journal's thread.",
        "",
        *_table(
            ["stage", "µs"],
            [[stage.name, f"{stage.us:.2f}"] for stage in [*stages, *_left(rows, stages)]],
        ),
        "",
    ]
    return "\n".join(lines)


def _left(rows: list[Row], stages: list[Stage]) -> list[Stage]:
    """The share of a request that no other stage accounts for."""
    cpu = {row.what: row.cpu_us for row in rows if row.lanes == 1}
    cost = {
        stage.name.partition(",")[0] + str("stream" in stage.name): stage.us for stage in stages
    }
    return [
        Stage(
            f"the rest: upstream connection, journal thread ({_name(stream)})",
            cpu[f"gateway, {_name(stream)}"]
            - cpu[f"HTTP server alone, {_name(stream)}"]
            - cost[f"engine{stream}"]
            - cost[f"adapter{stream}"],
        )
        for stream in (False, True)
    ]


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(cells: list[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        "-" * (width + 2) if number == 0 else "-" * (width + 1) + ":"
        for number, width in enumerate(widths)
    )
    return [line(headings), f"|{rule}|", *map(line, rows)]


if __name__ == "__main__":
    sys.exit(main())
