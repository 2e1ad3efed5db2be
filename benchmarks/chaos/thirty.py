"""Three providers that each fail 30 % of calls, in every way there is; then streams cut amid."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Report, fire
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

from .answers import Judgement, asking
from .books import ledger_rows, records, until

PROVIDERS = ("openai", "anthropic", "groq")
DEADLINE_S = 10.0
_SLACK_S = 0.5  # the client's own time: it shares the machine with everything else
# Requests at a time.
_LANES = 64
# Of new connections, which one call in seven needs: those that failed have broken theirs.
_ACCEPT_RATE = 0.2

TARGETS = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "groq/llama-3-8b")
_CLOCKS = "timeout: 1s, ttft: 1s, retries: 2"


def policy_over(targets: Sequence[str], addresses: Mapping[str, str]) -> str:
    """A policy that tries these targets in order; `addresses` are those of the providers."""
    first, *others = targets
    rows = "".join(f"      - {target} ({_CLOCKS})\n" for target in others)
    providers = "".join(f"  {name}: {{base_url: '{url}'}}\n" for name, url in addresses.items())
    return f"""
routing_policy:
  - name: all
    route: {first}
    timeout: 1s
    ttft: 1s
    retries: 2
    fallback:
{rows}defaults: {{backoff: 50ms}}
deadline: {DEADLINE_S:.0f}s
providers:
{providers}"""


Faults = list[tuple[float, dict[str, Any]]]
"""Shares of all calls, and what becomes of them."""

# With the connections that are reset at once, each way to fail has 5 % of the calls.
FAULTS: Faults = [
    (0.02, {"kind": "reset", "at": "request"}),
    (0.05, {"kind": "status", "status": 429}),
    (0.05, {"kind": "status", "status": 500}),
    (0.025, {"kind": "delay", "at": "headers"}),
    (0.025, {"kind": "delay", "at": "first_token"}),
    (0.02, {"kind": "malformed", "form": "json", "after": 0}),
    (0.015, {"kind": "malformed", "form": "html"}),
    (0.015, {"kind": "malformed", "form": "empty"}),
    (0.025, {"kind": "cut", "after": 1, "by": "fin"}),
    (0.025, {"kind": "cut", "after": 1, "by": "rst"}),
]
# Streams that break after content; of whole answers, the cut is one more that comes before.
LATE: Faults = [
    (0.007, {"kind": "cut", "after": 8, "by": "rst"}),
    (0.007, {"kind": "unfinished", "after": 8}),
    (0.007, {"kind": "error_event", "after": 8}),
]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of the requests of one run."""

    report: Report
    judged: Judgement
    calls: int
    resets: int  # of new connections, before a request was read
    rows: int
    gateway: str  # its log


def thirty(size: Size) -> Findings:
    """Every call may fail before its first content."""
    found = Findings("thirty: three providers, each failing 30 % of calls")
    run = _run(found, FAULTS, size)
    judged = run.judged
    found.held("streams cut after content", judged.cut, "0: none was ordered", judged.cut == 0)
    _tell(found, run, size)
    return found


def cut(size: Size) -> Findings:
    """The same, and 2 % of calls break after their first content, where they stream."""
    found = Findings("cut: the same, and 2 % of streams break after content")
    run = _run(found, LATE + FAULTS, size)
    judged = run.judged
    what = "streams cut after content, each with one error event, a right beginning and no `[DONE]`"
    if size.quick:
        found.told(what, judged.cut)
    else:
        found.held(what, judged.cut, "some, and nothing wrong below", judged.cut > 0)
    _tell(found, run, size)
    return found


def _run(
    found: Findings,
    faults: Faults,
    size: Size,
) -> Run:
    with SimulatorProcess(PROVIDERS, "--latency", "*=2ms/1ms") as simulator:
        _order(simulator, faults, size.seed)
        policy = policy_over(TARGETS, {name: simulator.base_url(name) for name in PROVIDERS})
        judged = Judgement(Policy.parse(policy))
        with GatewayProcess(policy, workers=size.workers) as gateway:
            report = asyncio.run(
                fire(
                    "127.0.0.1",
                    gateway.port,
                    asking(range(size.count)),
                    lanes=min(_LANES, max(size.count // 20, 4)),
                    judge=judged,
                    patience_s=3 * DEADLINE_S,
                )
            )
            until(lambda: ledger_rows(gateway) >= simulator.stats()["total"]["requests"])
            orders = simulator.faults()
            calls = simulator.stats()["total"]["requests"]
            resets = sum(one["hits"] for one in orders if one["fault"].get("at") == "accept")
            code = gateway.stop()
            found.held("exit code", code, "0", code == 0)
            _tell_attempts(found, gateway)
            return Run(report, judged, calls, resets, ledger_rows(gateway), gateway.log())


def _order(simulator: SimulatorProcess, faults: Faults, seed: int) -> None:
    """Order faults so that each has its share of all calls: the first that strikes wins."""
    simulator.fault({"kind": "reset", "at": "accept"}, rate=_ACCEPT_RATE, seed=seed)
    left = 1.0
    for number, (share, fault) in enumerate(faults):
        simulator.fault(fault, rate=share / left, seed=seed * 1000 + number)
        left -= share


def _tell(found: Findings, run: Run, size: Size) -> None:
    judged, report = run.judged, run.report
    answered = judged.right / max(judged.asked - judged.cut, 1)
    least = 0.99 if size.quick else 0.999
    found.held(
        "answered rightly, to the letter", f"{answered:.3%}", f">= {least:.1%}", answered >= least
    )
    asked = judged.asked
    found.held("requests that ended", asked, str(size.count), asked == size.count)
    found.none("answers that are wrong, or errors that are not declared", judged.wrong)
    found.told("errors told", _counts(judged.refused) or "none")
    longest = max(one.took_us for one in report.outcomes)
    bound_s = DEADLINE_S + _SLACK_S
    found.held(
        "longest request", milliseconds(longest), f"<= {bound_s} s", longest <= bound_s * 1e6
    )
    found.told(
        "p50, p90, p99",
        ", ".join(milliseconds(report.quantile_us(share)) for share in (0.5, 0.9, 0.99)),
    )
    found.told("requests per second", f"{report.per_second:.0f}")
    found.told("answered by", _counts(judged.targets))
    # A connection that is reset at once may have taken the request's bytes with it.
    found.held(
        "ledger rows",
        run.rows,
        f"{run.calls} upstream calls, and at most {run.resets} on connections reset at once",
        run.calls <= run.rows <= run.calls + run.resets,
    )


def _tell_attempts(found: Findings, gateway: GatewayProcess) -> None:
    faults: Counter[str] = Counter()
    tried = 0
    for record in records(gateway):
        for attempt in record.attempts:
            if attempt.outcome != "skipped":
                tried += 1
            if attempt.fault is not None:
                faults[attempt.fault] += 1
            elif attempt.outcome == "skipped":
                faults["skipped"] += 1
    found.told("attempts", tried)
    found.told("their faults", _counts(faults))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
