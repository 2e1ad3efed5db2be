"""Very many requests: what must not grow, and what bad clients must not cost the others."""

import asyncio
import contextlib
import re
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Report, fire
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

from .answers import Judgement, asking
from .books import ledger_rows, until
from .workers import open_files, threads

_LANES = 16
_WARM = 0.1  # of the requests
_WINDOWS = 30
_QUICK_WINDOWS = 5
_ENDS = 5  # windows at either end in which nothing else happens; between them every other one
_TRICKLING = 200
_TRICKLE_S = 1.0
_BODY_BYTES = 1_000_000_000
_BLOCK = bytes(256 * 1024)
_BETWEEN_BODIES_S = 1.0
_SLOWER = 1.25
_LESS = 0.85
_TASKS = re.compile(rb"^turnout_tasks (\S+)", re.MULTILINE)

POLICY = """
routing_policy:
  - name: all
    route: openai/gpt-4o-mini
providers:
"""


@dataclass(frozen=True, slots=True)
class Window:
    """So many requests in a row; `pressed`: bad clients were there too. At its end was measured."""

    pressed: bool
    per_second: float
    p99_us: int
    rss_bytes: int
    files: int
    threads: int
    tasks: int


@dataclass
class Pressure:
    """What the bad clients came to."""

    poured: int = 0
    sent_bytes: int = 0
    most_sent_bytes: int = 0  # of one body
    most_rss_bytes: int = 0
    trickled: int = 0
    closed: int = 0


def long(size: Size) -> Findings:
    """So many requests, half of them streams, with bad clients beside them every now and then."""
    found = Findings(f"long: {size.count} requests, and bad clients beside them")
    pressure = Pressure()
    with SimulatorProcess(["openai"], "--latency", "*=2ms/1ms") as simulator:
        policy = POLICY + f"  openai: {{base_url: '{simulator.base_url('openai')}'}}\n"
        judged = Judgement(Policy.parse(policy))
        with GatewayProcess(policy, workers=size.workers) as gateway:
            windows = asyncio.run(_play(gateway, judged, pressure, size))
            calls = simulator.stats()["total"]["requests"]
            until(lambda: ledger_rows(gateway) >= calls)
            rows, code = ledger_rows(gateway), gateway.stop()
    found.held("exit code", code, "0", code == 0)
    refused = [f"{told} ({count})" for told, count in judged.refused.items()]
    found.none(f"of {judged.asked} requests, those that failed", judged.wrong + refused)
    found.held("ledger rows", rows, f"{calls} upstream calls", rows == calls)
    _tell_growth(found, windows)
    _tell_times(found, windows, size)
    _tell_pressure(found, pressure, windows)
    return found


async def _play(
    gateway: GatewayProcess, judged: Judgement, pressure: Pressure, size: Size
) -> list[Window]:
    pids = gateway.serving
    count, ends = (_QUICK_WINDOWS, 1) if size.quick else (_WINDOWS, _ENDS)
    each = max(int(size.count * (1 - _WARM)) // count, 1)
    warm = size.count - each * count
    await _fire(gateway, judged, range(warm))
    windows = []
    for number in range(count):
        pressed = number % 2 == 1 and ends <= number < count - ends
        first = warm + number * each
        numbers = range(first, first + each)
        if pressed:
            async with _pressing(gateway, pressure):
                report = await _fire(gateway, judged, numbers)
        else:
            report = await _fire(gateway, judged, numbers)
        windows.append(
            Window(
                pressed,
                report.per_second,
                report.quantile_us(0.99),
                gateway.rss_bytes(),
                open_files(pids),
                threads(pids),
                await asyncio.to_thread(_tasks, gateway),
            )
        )
        if number % 5 == 4:
            last = windows[-1]
            print(
                f"    {first + each:>7} requests, {last.per_second:.0f}/s, p99 "
                f"{milliseconds(last.p99_us)}, {last.rss_bytes / 2**20:.0f} MiB",
                flush=True,
            )
    return windows


async def _fire(gateway: GatewayProcess, judged: Judgement, numbers: range) -> Report:
    return await fire(
        "127.0.0.1", gateway.port, asking(numbers), lanes=_LANES, judge=judged, patience_s=60.0
    )


def _tasks(gateway: GatewayProcess) -> int:
    """How many tasks the event loops have. Clients have gone by then: it is asked after a tick."""
    time.sleep(1.1)
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/metrics") as page:
        found = _TASKS.search(page.read())
    return round(float(found[1])) if found else 0


# --- bad clients ---------------------------------------------------------------------------------


@asynccontextmanager
async def _pressing(gateway: GatewayProcess, pressure: Pressure) -> AsyncIterator[None]:
    work = [_trickle(gateway.port, number, pressure) for number in range(_TRICKLING)]
    work += [_pour(gateway.port, pressure), _look(gateway, pressure)]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json"


async def _trickle(port: int, number: int, pressure: Pressure) -> None:
    """Send a head, or a body, byte by byte; come again when that is refused."""
    of_head = number % 2 == 0
    begin = _HEAD if of_head else f"{_HEAD}\r\ncontent-length: 100000\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(begin.encode())
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(b"\r\nx-a: b" if of_head else b" ")
                    await writer.drain()
                    pressure.trickled += 1
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(4096), _TRICKLE_S)
                pressure.closed += 1
            finally:
                writer.transport.abort()
        await asyncio.sleep(_TRICKLE_S)


async def _pour(port: int, pressure: Pressure) -> None:
    """Send bodies of a gigabyte, one after another, by turns of a told and of an untold length."""
    while True:
        for framing in (f"content-length: {_BODY_BYTES}", "transfer-encoding: chunked"):
            with contextlib.suppress(OSError):
                await _pour_once(port, framing, pressure)
            await asyncio.sleep(_BETWEEN_BODIES_S)


async def _pour_once(port: int, framing: str, pressure: Pressure) -> None:
    """Send without looking at what is answered, until nobody takes it any more."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    chunked = "chunked" in framing
    sent = 0
    block = b"%x\r\n%b\r\n" % (len(_BLOCK), _BLOCK) if chunked else _BLOCK
    try:
        writer.write(f"{_HEAD}\r\n{framing}\r\n\r\n".encode())
        while sent < _BODY_BYTES and not writer.is_closing():
            writer.write(block)
            await writer.drain()
            sent += len(_BLOCK)
    finally:
        pressure.poured += 1
        pressure.sent_bytes += sent
        pressure.most_sent_bytes = max(pressure.most_sent_bytes, sent)
        writer.transport.abort()


async def _look(gateway: GatewayProcess, pressure: Pressure) -> None:
    while True:
        pressure.most_rss_bytes = max(pressure.most_rss_bytes, gateway.rss_bytes())
        await asyncio.sleep(0.05)


# --- what came of it -----------------------------------------------------------------------------


def _tell_growth(found: Findings, windows: list[Window]) -> None:
    half = windows[len(windows) // 2 :]
    for what, bound, values in (
        ("resident MiB", 1.04, [one.rss_bytes / 2**20 for one in half]),
        ("open files", 1.10, [float(one.files) for one in half]),
        ("threads", 1.0, [float(one.threads) for one in half]),
        ("tasks", 1.10, [float(one.tasks) for one in half]),
    ):
        before, after = statistics.median(values[:_ENDS]), statistics.median(values[-_ENDS:])
        found.held(
            f"{what}, from the middle to the end",
            f"{before:.0f} to {after:.0f}",
            f"grows by at most {bound - 1:.0%}, or 2",
            after <= max(before * bound, before + 2),
        )


def _tell_times(found: Findings, windows: list[Window], size: Size) -> None:
    first = statistics.median(one.p99_us for one in windows[:_ENDS])
    last = statistics.median(one.p99_us for one in windows[-_ENDS:])
    # Each window under pressure beside the one before it: what else the machine does, does to both.
    pairs = [(quiet, pressed) for quiet, pressed in pairwise(windows) if pressed.pressed]
    slower = statistics.median(p.p99_us / q.p99_us for q, p in pairs)
    faster = statistics.median(p.per_second / q.per_second for q, p in pairs)
    drift = f"{milliseconds(first)} and {milliseconds(last)}: x {last / first:.2f}"
    beside = f"beside {_TRICKLING} tricklers and bodies of 1 GB, median of {len(pairs)} pairs"
    if size.quick:
        found.told("p99 at the beginning and at the end", drift)
        found.told(f"p99 and throughput {beside}", f"x {slower:.2f} and x {faster:.2f}")
    else:
        within = last <= first * _SLOWER
        found.held("p99 at the beginning and at the end", drift, f"x {_SLOWER}", within)
        found.held(f"p99 {beside}", f"x {slower:.2f}", f"<= x {_SLOWER}", slower <= _SLOWER)
        found.held(f"throughput {beside}", f"x {faster:.2f}", f">= x {_LESS}", faster >= _LESS)
    quiet = [one.per_second for one in windows if not one.pressed]
    found.told("requests per second without them", f"{statistics.median(quiet):.0f}")


def _tell_pressure(found: Findings, pressure: Pressure, windows: list[Window]) -> None:
    found.told(
        "bad clients",
        f"{pressure.trickled} trickles, {pressure.closed} connections closed on them; "
        f"{pressure.poured} bodies, {pressure.sent_bytes / 1e6:.0f} MB of which were sent, at most "
        f"{pressure.most_sent_bytes / 1e6:.0f} MB of one",
    )
    usual = statistics.median(one.rss_bytes for one in windows)
    grown = max(pressure.most_rss_bytes - usual, 0) / 2**20
    found.held("memory while bodies are poured in", f"+{grown:.0f} MiB", "<= 150 MiB", grown <= 150)
