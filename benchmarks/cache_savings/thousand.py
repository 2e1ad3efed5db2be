"""The same call a thousand times through OpenAI's SDK, with a cache and without."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns

from openai import OpenAI

from benchmarks.chaos.books import ledger_rows, until
from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.money.calls import dollars, policy_over
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

from .picture import Series, savings

REPETITIONS = 10
_QUICK_REPETITIONS = 2
_MOST_P95_US = 50_000
_LATENCY = "20ms"  # of the provider; real ones take twenty times as long, and more
_QUESTION = "What does a turnout do for the trains that pass it, and what for those that wait?"


@dataclass(slots=True)
class Run:
    """One repetition. `upstream` is what the provider saw, `cost_nano_usd` what the ledger has."""

    upstream: int = 0
    hits: int = 0
    cost_nano_usd: int = 0
    times_us: list[int] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def quantile_us(self, share: float) -> int:
        """A quantile of the time of a call."""
        times = sorted(self.times_us)
        return times[min(int(len(times) * share), len(times) - 1)]


# Asks once. Returns: what was said, and what `x-turnout-cache` said of it.
Call = Callable[[OpenAI, str], tuple[str, str]]


def thousand(size: Size) -> Findings:
    """So many identical calls, one after another; each repetition has a question of its own."""
    repetitions = _QUICK_REPETITIONS if size.quick else REPETITIONS
    found = Findings(f"thousand: the same call {size.count} times, {repetitions} times over")
    found.told("client", "openai-python, one call after another; one worker")
    found.told("the provider takes", _LATENCY)
    with SimulatorProcess(["openai"], "--latency", f"*={_LATENCY}") as simulator:
        url = simulator.base_url("openai")
        with (
            GatewayProcess(policy_over(url)) as bare,
            GatewayProcess(policy_over(url, more="cache: {ttl: 24h}\n")) as cached,
        ):
            ways: dict[str, tuple[GatewayProcess, Call]] = {
                "without a cache": (bare, _whole),
                "with a cache": (cached, _whole),
                "with a cache, streamed": (cached, _streamed),
            }
            runs: dict[str, list[Run]] = {name: [] for name in ways}
            for repetition in range(repetitions):
                for name, (gateway, call) in ways.items():
                    prompt = f"{_QUESTION} ({name}, {repetition})"
                    run = _run(simulator, gateway, call, prompt, size.count)
                    runs[name].append(run)
    _tell(found, runs, size)
    found.below = _table(runs)
    found.pictures["cache_savings.svg"] = savings(
        size.count,
        _LATENCY,
        [
            Series(
                name,
                median(one.cost_nano_usd for one in several) / 1e9,
                [one.quantile_us(0.5) / 1000 for one in several],
                [one.quantile_us(0.95) / 1000 for one in several],
            )
            for name, several in runs.items()
        ],
    )
    return found


def _run(
    simulator: SimulatorProcess, gateway: GatewayProcess, call: Call, prompt: str, count: int
) -> Run:
    run = Run()
    before_rows, before_nano = ledger_rows(gateway), _paid(gateway)
    simulator.clear_stats()
    url = f"http://127.0.0.1:{gateway.port}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        client.models.list()  # the connection is there before the first call
        for _ in range(count):
            began_ns = perf_counter_ns()
            text, cache = call(client, prompt)
            run.times_us.append((perf_counter_ns() - began_ns) // 1000)
            run.hits += cache == "HIT"
            run.texts.add(text)
    run.upstream = int(simulator.stats()["total"]["requests"])
    until(lambda: ledger_rows(gateway) >= before_rows + run.upstream)
    run.cost_nano_usd = _paid(gateway) - before_nano
    return run


def _whole(client: OpenAI, prompt: str) -> tuple[str, str]:
    answer = client.chat.completions.with_raw_response.create(
        model="auto", temperature=0, messages=[{"role": "user", "content": prompt}]
    )
    text = answer.parse().choices[0].message.content or ""
    return text, answer.headers.get("x-turnout-cache", "")


def _streamed(client: OpenAI, prompt: str) -> tuple[str, str]:
    answer = client.chat.completions.with_raw_response.create(
        model="auto", temperature=0, messages=[{"role": "user", "content": prompt}], stream=True
    )
    text = "".join(
        choice.delta.content or "" for chunk in answer.parse() for choice in chunk.choices
    )
    return text, answer.headers.get("x-turnout-cache", "")


def _paid(gateway: GatewayProcess) -> int:
    with closing(gateway.ledger()) as database:
        (paid,) = database.execute("select coalesce(sum(cost_nano_usd), 0) from ledger").fetchone()
    return int(paid)


def _tell(found: Findings, runs: dict[str, list[Run]], size: Size) -> None:
    count = size.count
    without = runs["without a cache"]
    for name, several in runs.items():
        is_cached = several is not without
        wanted = 1 if is_cached else count
        upstream = sorted({one.upstream for one in several})
        found.held(
            f"{name}: upstream calls in each run",
            " to ".join(map(str, sorted({upstream[0], upstream[-1]}))),
            str(wanted),
            upstream == [wanted],
        )
        hits = min(one.hits for one in several)
        if is_cached:
            shown, bound = f"{hits / count:.1%}", f">= {(count - 1) / count:.1%}"
            found.held(f"{name}: hits, at least", shown, bound, hits >= count - 1)
        else:
            found.held(f"{name}: hits", sum(one.hits for one in several), "0", hits == 0)
        cost = median(one.cost_nano_usd for one in several)
        found.told(f"{name}: cost of {count} calls", dollars(round(cost)))
        others = [one for one in several if len(one.texts) != 1]
        found.none(f"{name}: runs with different answers", [str(one.texts) for one in others])
        p95_us = max(one.quantile_us(0.95) for one in several)
        shown = f"{milliseconds(p95_us)}, median of the runs' p50 {_median_p50(several)}"
        if is_cached and not size.quick:
            bound = milliseconds(_MOST_P95_US)
            found.held(f"{name}: p95, the worst run", shown, f"< {bound}", p95_us < _MOST_P95_US)
        else:
            found.told(f"{name}: p95, the worst run", shown)
    each = sum(one.cost_nano_usd for one in without) / (len(without) * count)
    # The questions differ by the name of the way, so by a few tokens.
    most = max(one.cost_nano_usd for one in runs["with a cache"])
    found.held(
        "with a cache: the dearest run costs as much as",
        f"{most / each:.2f} calls without",
        "<= 1.1",
        most <= 1.1 * each,
    )


def _median_p50(several: list[Run]) -> str:
    return milliseconds(median(one.quantile_us(0.5) for one in several))


def _table(runs: dict[str, list[Run]]) -> str:
    rows = [
        "| run | | upstream calls | hits | cost | p50 | p95 | p99 | slowest | all took |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, several in runs.items():
        for number, run in enumerate(several, 1):
            times = [milliseconds(run.quantile_us(share)) for share in (0.5, 0.95, 0.99, 1)]
            cells = [str(number), name, str(run.upstream), f"{run.hits / len(run.times_us):.1%}"]
            cells += [dollars(run.cost_nano_usd), *times, f"{sum(run.times_us) / 1e6:.1f} s"]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n\n![what was saved](cache_savings.svg)\n"
