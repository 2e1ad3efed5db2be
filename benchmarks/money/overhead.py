"""What budgets add to a request: two gateways side by side, one of which has some."""

import asyncio
from statistics import median

from benchmarks.findings import Findings, Size
from benchmarks.load import Report, fire
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

from .bank import books, wait_for_rows, wrong_counters
from .calls import Answers, calls, policy_over, worst_usage

_TURNS = 10
_LANES = 4


def overhead(size: Size) -> Findings:
    """So many requests each, in turns, over four connections; one worker each."""
    found = Findings("overhead: with and without budgets, side by side, one worker each")
    budgets = [
        "name: month, scope: tenant, limit: $1000/month",
        "name: day, scope: tenant, limit: $900/day",
        "name: model, scope: model, limit: $800/day",
    ]
    reports: dict[str, list[Report]] = {"without": [], "with three budgets": []}
    wrong: list[str] = []
    with SimulatorProcess(["openai"], "--latency", "*=1ms") as simulator:
        simulator.fault(worst_usage())
        url = simulator.base_url("openai")
        with (
            GatewayProcess(policy_over(url)) as bare,
            GatewayProcess(policy_over(url, budgets)) as paid,
        ):
            gateways = {"without": bare, "with three budgets": paid}
            for gateway in gateways.values():  # warm
                asyncio.run(_fired(gateway, 50, wrong))
            cpu_us = {name: -one.cpu_us() for name, one in gateways.items()}
            each = max(size.count // _TURNS, 1)
            for _ in range(_TURNS):
                for name, gateway in gateways.items():
                    reports[name].append(asyncio.run(_fired(gateway, each, wrong)))
            for name, gateway in gateways.items():
                cpu_us[name] += gateway.cpu_us()
            wait_for_rows(paid, 50 + each * _TURNS)
            wrong += wrong_counters(books(paid))
    found.none("wrong answers or books", wrong)
    for name, several in reports.items():
        p50, p99 = (median(one.quantile_us(share) for one in several) for share in (0.5, 0.99))
        cpu = cpu_us[name] / (each * _TURNS)
        found.told(name, f"p50 {p50:.0f} µs, p99 {p99:.0f} µs, {cpu:.0f} µs of CPU a request")
    added = [
        other.quantile_us(0.5) - one.quantile_us(0.5)
        for one, other in zip(*reports.values(), strict=True)
    ]
    found.told("added at the median", f"{median(added):.0f} µs, by turn {sorted(added)}")
    return found


async def _fired(gateway: GatewayProcess, number: int, wrong: list[str]) -> Report:
    answers = Answers()
    report = await fire(
        "127.0.0.1", gateway.port, calls(range(number)), lanes=_LANES, judge=answers
    )
    wrong += answers.wrong
    return report
