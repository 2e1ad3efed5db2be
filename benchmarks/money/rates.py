"""Requests and tokens a minute under more load than they allow, over all workers together."""

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from benchmarks.findings import Findings, Size
from benchmarks.load import Outcome, Shot, Told, fire
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

from .calls import PROMPT_TOKENS, call, policy_over, worst_usage

# A rate is there again after this long: the minute, and the sub-window in which it was taken.
_STRETCH_S = 60.25
_MINUTE_S = 60.0
_LANES = 32
_REST_S = 0.2  # some 130 requests a second in all
_OUTPUT = 100
_TOKENS_EACH = PROMPT_TOKENS + _OUTPUT
_QUICK_LIMIT, _LIMIT = 200, 3_000
_NEAR = 0.99


def rates(size: Size) -> Findings:
    """So many seconds of requests against a rate of requests, then against one of tokens."""
    found = Findings("rates: more requests than a tenant may make, over all workers")
    limit = _QUICK_LIMIT if size.quick else _LIMIT
    found.told("workers", size.workers)
    with SimulatorProcess(["openai"], "--latency", "*=5ms") as simulator:
        simulator.fault(worst_usage(_OUTPUT))
        policy = policy_over(simulator.base_url("openai"))
        for unit, each in (("rpm", 1), ("tpm", _TOKENS_EACH)):
            simulator.clear_stats()
            written = f"tenants:\n  acme: {{{unit}: {limit * each}}}\n"
            seen = _saturated(policy + written, size)
            reached = simulator.stats()["total"]["requests"]
            _tell(found, seen, unit, limit, reached, size.count)
    return found


@dataclass
class _Seen:
    """When requests were let in, and what the others were told."""

    admitted_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __call__(self, shot: Shot, outcome: Outcome, told: Told) -> None:
        if outcome.status == 200:
            self.admitted_s.append(time.monotonic() - outcome.took_us / 1e6)
            return
        try:
            error = orjson.loads(told.body)["error"]
            name = f"{outcome.status} {error['type']} {error['code']}"
        except (ValueError, LookupError, TypeError):
            name = f"{outcome.status} {outcome.failure}"
        self.refused[name] += 1
        if outcome.status != 429 or not told.header("retry-after"):
            self.wrong.append(name)
        outcome.failure = None


def _saturated(policy: str, size: Size) -> _Seen:
    seen = _Seen()
    environment = {"TURNOUT_TENANT_ID": "acme"}
    with GatewayProcess(policy, workers=size.workers, environment=environment) as gateway:
        ends_at = time.monotonic() + size.count

        def shots() -> Iterator[Shot]:
            number = 0
            while time.monotonic() < ends_at:
                yield call(number, max_tokens=_OUTPUT)
                number += 1

        asyncio.run(
            fire(
                "127.0.0.1",
                gateway.port,
                shots(),
                lanes=_LANES,
                judge=seen,
                rest_s=_REST_S,
                patience_s=30.0,
            )
        )
    return seen


def _tell(found: Findings, seen: _Seen, unit: str, limit: int, reached: int, seconds: int) -> None:
    asked = len(seen.admitted_s) + seen.refused.total()
    found.told(f"{unit}: asked", f"{asked} in {seconds} s, {asked / seconds:.0f} per second")
    found.told(f"{unit}: refused", ", ".join(f"{name} {n}" for name, n in seen.refused.items()))
    found.none(f"{unit}: refusals that are not 429 with a Retry-After", seen.wrong)
    stretches = max(int(seconds / _STRETCH_S), 1)
    least = int(limit * stretches * _NEAR)
    admitted = len(seen.admitted_s)
    bound = f"at least {least}: {stretches} times {limit}, less 1 %"
    found.held(f"{unit}: admitted", admitted, bound, admitted >= least)
    most = _most_in_a_minute(seen.admitted_s)
    found.held(f"{unit}: admitted in any 60 s", most, f"<= {limit}", most <= limit)
    found.held(
        f"{unit}: reached the provider", reached, f"the {admitted} admitted", reached == admitted
    )


def _most_in_a_minute(times_s: list[float]) -> int:
    times = sorted(times_s)
    return max(
        (bisect_left(times, at + _MINUTE_S) - first for first, at in enumerate(times)), default=0
    )
