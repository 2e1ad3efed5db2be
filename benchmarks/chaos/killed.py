"""A provider that is killed under load, and started again."""

import asyncio
import http.client
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Outcome, Report, Shot, Told, fire
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.engine.record import Attempt
from turnout.simulator.process import SimulatorProcess

from .answers import Judgement, asking
from .books import ledger_rows, records, until
from .workers import asked, one_each

THRESHOLD = 10
COOL_DOWN_S = 2.0
_LANES = 16
_REST_S = 0.02
_DOWN_S = 5.0  # more than two cool-downs
_LOOK_S = 0.02
_OPEN_AFTER_S = 1.0  # by then the breaker has long opened; what is slow then waits on it

PRIMARY, SECOND = "openai/gpt-4o-mini", "groq/llama-3-8b"
POLICY = f"""
routing_policy:
  - name: all
    route: {PRIMARY}
    timeout: 1s
    retries: 1
    backoff: 50ms
    fallback:
      - {SECOND} (timeout: 5s)
breakers: {{failures: {THRESHOLD}, cool_down: {COOL_DOWN_S:.0f}s}}
providers:
"""


@dataclass
class Story:
    """What happened when, in seconds of the monotonic clock and in UTC microseconds."""

    killed_us: int = 0
    opened: float = 0.0  # when its successor took connections
    opened_us: int = 0
    back: dict[int, float] = field(default_factory=dict)  # by worker: when the first came back
    latencies_us: dict[str, list[int]] = field(default_factory=dict)
    phase: str = "before"
    over: bool = False
    watched: int = 0  # workers


def killed(size: Size) -> Findings:
    """A provider is killed and started again, with 2 workers and with 4; quickly with 2."""
    found = Findings("killed: a provider killed and started again under load")
    for workers in (2,) if size.quick else (2, 4):
        _killed(found, workers, size.quick)
    return found


def _killed(found: Findings, workers: int, quick: bool) -> None:
    with (
        SimulatorProcess(["openai"], "--latency", "*=10ms/1ms") as first,
        SimulatorProcess(["groq"], "--latency", "*=10ms/1ms") as second,
    ):
        rows = (
            f"  openai: {{base_url: '{first.base_url('openai')}'}}\n"
            f"  groq: {{base_url: '{second.base_url('groq')}'}}\n"
        )
        policy = POLICY + rows
        judged = Judgement(Policy.parse(policy))
        story = Story(watched=workers)
        with GatewayProcess(policy, workers=workers) as gateway, one_each(gateway) as watched:
            report = asyncio.run(_play(first, gateway, judged, story, watched))
            calls = second.stats()["total"]["requests"]
            until(lambda: ledger_rows(gateway) >= calls)
            code = gateway.stop()
            attempts = [
                attempt
                for record in records(gateway)
                for attempt in record.attempts
                if attempt.target == PRIMARY
            ]
    found.told("workers", workers)
    found.held("exit code", code, "0", code == 0)
    _tell(found, story, judged, report, attempts, quick)


async def _play(
    first: SimulatorProcess,
    gateway: GatewayProcess,
    judged: Judgement,
    story: Story,
    watched: dict[int, http.client.HTTPConnection],
) -> Report:
    def numbers() -> Iterator[int]:
        number = 0
        while not story.over:
            yield number
            number += 1

    def judge(shot: Shot, outcome: Outcome, told: Told) -> None:
        judged(shot, outcome, told)
        story.latencies_us.setdefault(story.phase, []).append(outcome.took_us)

    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            asking(numbers()),
            lanes=_LANES,
            judge=judge,
            rest_s=_REST_S,
            patience_s=30.0,
        )
    )
    await asyncio.sleep(2.0)
    story.phase = "opening"
    story.killed_us = time.time_ns() // 1000
    os.kill(first.pid, signal.SIGKILL)
    await asyncio.sleep(_OPEN_AFTER_S)
    story.phase = "open"
    await asyncio.sleep(_DOWN_S - _OPEN_AFTER_S)
    story.phase = "closing"
    again = SimulatorProcess([f"openai:{first.port('openai')}"], "--latency", "*=10ms/1ms")
    try:
        await asyncio.to_thread(again.start)
        story.opened, story.opened_us = time.monotonic(), time.time_ns() // 1000
        await asyncio.gather(*(_watch(pid, one, story) for pid, one in watched.items()))
        story.phase = "after"
        await asyncio.sleep(1.0)
        story.over = True
        return await firing
    finally:
        story.over = True
        again.stop()


async def _watch(pid: int, connection: http.client.HTTPConnection, story: Story) -> None:
    """Ask one worker until the provider answers through it again."""
    deadline = story.opened + 5 * COOL_DOWN_S
    while time.monotonic() < deadline:
        headers = await asyncio.to_thread(asked, connection, "are you back?")
        if headers.get("x-turnout-model") == PRIMARY:
            story.back[pid] = time.monotonic() - story.opened
            return
        await asyncio.sleep(_LOOK_S)


def _tell(
    found: Findings,
    story: Story,
    judged: Judgement,
    report: Report,
    attempts: list[Attempt],
    quick: bool,
) -> None:
    found.told("requests", f"{judged.asked}, {report.per_second:.0f} per second")
    unanswered = [f"{code} ({count})" for code, count in judged.refused.items()]
    found.none("requests that failed", judged.wrong + unanswered)
    # Nobody can answer what a dead provider had begun to say.
    found.told("streams that had begun when it was killed", judged.cut)
    # By when they were over: those under way at the kill fail too.
    failed = sorted(
        one.started_us + one.took_us
        for one in attempts
        if one.outcome == "failed" and one.fault is not None
    )
    down = [at for at in failed if story.killed_us <= at <= story.opened_us]
    opening = [at for at in down if at < story.killed_us + _OPEN_AFTER_S * 1e6]
    most = THRESHOLD + _LANES
    found.held(
        "failed attempts until the breaker was open in every worker",
        len(opening),
        f"{THRESHOLD}, and at most the {_LANES} under way",
        THRESHOLD <= len(opening) <= most,
    )
    if opening:
        found.told("the last of them", f"{milliseconds(opening[-1] - story.killed_us)} after")
    later = len(down) - len(opening)
    probes = int((story.opened_us - story.killed_us) / 1e6 / COOL_DOWN_S) + 1
    found.held("attempts while it was open", later, f"<= {probes} probes", later <= probes)
    before, during = _quantiles(story, "before"), _quantiles(story, "open")
    what, shown = "p50, p99 while it was open", " and ".join(map(milliseconds, during))
    if quick:
        found.told(what, shown)
    else:
        bound = f"no wait on it: p99 within 100 ms of the {milliseconds(before[1])} before"
        found.held(what, shown, bound, during[1] <= before[1] + 100_000)
    back = sorted(story.back.values())
    within_s = COOL_DOWN_S + 1
    found.held(
        "back in each worker",
        ", ".join(f"{one:.2f} s" for one in back) or "in none",
        f"all within {within_s:.0f} s of its start",
        len(back) == story.watched and back[-1] <= within_s,
    )


def _quantiles(story: Story, phase: str) -> tuple[int, int]:
    times = sorted(story.latencies_us.get(phase, [0]))
    return times[len(times) // 2], times[min(len(times) * 99 // 100, len(times) - 1)]
