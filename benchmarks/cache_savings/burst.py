"""The same question from hundreds at the same moment, which nobody has asked before."""

import asyncio

import orjson

from benchmarks.chaos.answers import Judgement, asking
from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Outcome, Shot, Told, volley
from benchmarks.money.calls import policy_over
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

TOGETHER = 500
_QUICK_TOGETHER = 60
_PATIENCE_S = 60.0
_LATENCY = ("--latency", "*=300ms/1ms")
_NO_STORE = {"TURNOUT_CACHE_DISK_BYTES": "0"}


def burst(size: Size) -> Findings:
    """So many bursts, half of them streamed, with a store that workers share and without."""
    together = _QUICK_TOGETHER if size.quick else TOGETHER
    found = Findings(f"burst: {together} identical first requests at the same moment")
    found.told("workers", size.workers)
    with SimulatorProcess(["openai"], *_LATENCY) as simulator:
        policy = policy_over(simulator.base_url("openai"), more="cache: {ttl: 1h}\n")
        for what, environment, most in (
            ("without a shared store", _NO_STORE, size.workers),
            ("with the shared store", {}, 1),
        ):
            with GatewayProcess(policy, workers=size.workers, environment=environment) as gateway:
                _bursts(found, what, simulator, gateway, size, together, most)
    return found


def _bursts(
    found: Findings,
    what: str,
    simulator: SimulatorProcess,
    gateway: GatewayProcess,
    size: Size,
    together: int,
    most: int,
) -> None:
    judged = Judgement(Policy.parse(gateway.text))
    spread: dict[str, int] = {}
    calls: dict[str, list[int]] = {"whole": [], "streamed": []}
    slowest_us: list[int] = []

    def judge(shot: Shot, outcome: Outcome, told: Told) -> None:
        judged(shot, outcome, told)
        said = told.header("x-turnout-cache")
        spread[said] = spread.get(said, 0) + 1

    for number in range(size.count):
        for kind, several in calls.items():
            simulator.clear_stats()
            (shot,) = asking(
                range(number, number + 1),
                share=float(kind == "streamed"),
                # A question of its own: a stream would be told from what was whole.
                more={"temperature": 0, "seed": len(kind)},
            )
            report = asyncio.run(
                volley(
                    "127.0.0.1",
                    gateway.port,
                    [shot] * together,
                    judge=judge,
                    patience_s=_PATIENCE_S,
                )
            )
            several.append(int(simulator.stats()["total"]["requests"]))
            slowest_us.append(report.quantile_us(1))
    for kind, several in calls.items():
        shown = " to ".join(map(str, sorted({min(several), max(several)})))
        found.held(
            f"{what}, {kind}: upstream calls of a burst",
            shown,
            "1" if most == 1 else f"1 to {most}",
            min(several) == 1 <= max(several) <= most if most == 1 else max(several) <= most,
        )
    found.none(f"{what}: wrong answers", [*judged.wrong, *judged.refused])
    wanted = size.count * len(calls) * together
    found.held(f"{what}: answered", judged.right, str(wanted), judged.right == wanted)
    found.told(f"{what}: told", orjson.dumps(spread).decode())
    found.told(f"{what}: the slowest answer", milliseconds(max(slowest_us)))
