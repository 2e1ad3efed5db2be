"""How many hits a core gives, beside the most that its HTTP server can answer at all."""

import asyncio
import os
import random
import time
from dataclasses import dataclass
from typing import Protocol

from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Outcome, Report, Shot, Told, fire
from benchmarks.money.calls import policy_over
from benchmarks.processes import BareProcess, GatewayProcess, ModuleProcess
from benchmarks.workload import CHAT, chat, prose
from turnout.simulator.process import SimulatorProcess

_BODY_BYTES = 1024
_LANES = 16
_WARM = 5  # one in so many requests, before the others
# Whatever is written after the answer is part of what it costs.
_WRITTEN_S = 0.5
_CHUNKS = 20


class Server(Protocol):
    """A server on one core."""

    port: int

    def cpu_us(self) -> int:
        """CPU time so far."""


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    report: Report
    cpu_us: float  # a request
    size: int  # of the answer, in bytes

    @property
    def per_core(self) -> float:
        """Requests that a second of CPU time is enough for."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0


def ceiling(size: Size) -> Findings:
    """So many requests of 1 KB each: plain Sanic, our HTTP server alone, the gateway's hits."""
    found = Findings("ceiling: hits per second and core, beside the HTTP server's own")
    cores = sorted(os.sched_getaffinity(0))
    own = {cores[0]} if len(cores) > 1 else None
    if own is not None:
        os.sched_setaffinity(0, set(cores[1:]))  # children start here; servers are moved
    try:
        rows = _rows(size.count, own)
    finally:
        os.sched_setaffinity(0, cores)
    found.told("each server has a core, load and provider another; connections", _LANES)
    found.none(
        "answers that were not as expected", [*{f for row in rows for f in row.report.failures()}]
    )
    for row in rows:
        p50, p99 = (milliseconds(row.report.quantile_us(share)) for share in (0.5, 0.99))
        found.told(
            row.what,
            f"{row.per_core:,.0f} a second and core ({row.cpu_us:,.0f} µs of CPU each); "
            f"{row.report.per_second:,.0f} a second here, p50 {p50}, p99 {p99}; "
            f"{row.size} bytes".replace(",", " "),
        )
    return found


def _rows(count: int, cores: set[int] | None) -> list[_Row]:
    whole, stream = (Shot(CHAT, _body(stream), stream) for stream in (False, True))
    rows: list[_Row] = []

    def measure(what: str, server: Server, shot: Shot, cache: str = "") -> None:
        rows.append(_measured(what, server, shot, count, cache))

    with SimulatorProcess(["openai"], "--latency", "*=0") as simulator:
        text = policy_over(simulator.base_url("openai"), more="cache: {ttl: 1h}\n")
        with GatewayProcess(text, cores=cores) as gateway:
            measure("hits from memory, whole", gateway, whole, "hit")
            measure("hits from memory, streamed", gateway, stream, "hit")
        # So little memory that every hit is read from the store.
        tiny = {"TURNOUT_CACHE_MEMORY_BYTES": "1"}
        with GatewayProcess(text, cores=cores, environment=tiny) as gateway:
            measure("hits from the shared store, whole", gateway, whole, "hit")
    size = str(rows[0].size)
    with ModuleProcess("benchmarks.cache_savings.plain", size, cores=cores) as plain:
        measure("plain Sanic, whole", plain, whole)
    with BareProcess(_CHUNKS, cores=cores) as bare:
        measure("the gateway's HTTP server alone, whole", bare, whole)
        measure(f"the gateway's HTTP server alone, {_CHUNKS} chunks", bare, stream)
    return rows


def _measured(what: str, server: Server, shot: Shot, count: int, cache: str) -> _Row:
    sizes: list[int] = []

    def judge(shot: Shot, outcome: Outcome, told: Told) -> None:
        sizes.append(len(told.body))
        if outcome.failure is None and told.header("x-turnout-cache") != cache and cache:
            outcome.failure = f"{what}: not a hit but {told.header('x-turnout-cache')}"

    asyncio.run(fire("127.0.0.1", server.port, [shot], lanes=1))  # it is kept from here on
    asyncio.run(fire("127.0.0.1", server.port, [shot] * (count // _WARM), lanes=_LANES))
    time.sleep(_WRITTEN_S)
    # Judged apart, for judging takes the load generator time.
    asked = asyncio.run(fire("127.0.0.1", server.port, [shot] * 20, lanes=1, judge=judge))
    before_us = server.cpu_us()
    report = asyncio.run(fire("127.0.0.1", server.port, [shot] * count, lanes=_LANES))
    time.sleep(_WRITTEN_S)
    cpu_us = (server.cpu_us() - before_us) / count
    report.outcomes += [one for one in asked.outcomes if one.failure is not None]
    return _Row(what, report, cpu_us, max(sizes))


def _body(stream: bool) -> bytes:
    """A chat body of 1 KB that may be answered again."""
    prompt = prose(_BODY_BYTES, random.Random(1))
    empty = len(chat("", stream=stream, max_tokens=200))
    body = chat(prompt[: _BODY_BYTES - empty - 18], stream=stream, max_tokens=200)
    return body[:-1] + b', "temperature": 0}'
