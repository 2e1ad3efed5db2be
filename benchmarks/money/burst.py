"""A budget for exactly so many calls, and far more of them at once; then one after another."""

import asyncio
import statistics
from collections.abc import Iterable

from benchmarks.findings import Findings, Size, milliseconds
from benchmarks.load import Report, Shot, fire, volley
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

from .bank import Books, books, wait_for_rows, wrong_counters
from .calls import Answers, call, calls, dollars, most, policy_over, worst_usage
from .keys import KEYS_ONLY, Minted, mint

TOGETHER = 200
_FITTING = (7, 20, 1, 50)
_PATIENCE_S = 60.0
_LATENCY = ("--latency", "*=20ms/1ms")


def burst(size: Size) -> Findings:
    """So many runs of a burst, each for a new tenant, a known one, and a user never seen."""
    found = Findings(f"burst: a budget for exactly k calls, {TOGETHER} calls at the same moment")
    found.told("workers", size.workers)
    with SimulatorProcess(["openai"], *_LATENCY, "--keep", "4096") as simulator:
        simulator.fault(worst_usage())
        new, known = _Tally("a brand-new tenant"), _Tally("a known tenant")
        for run in range(size.count):
            fitting = _FITTING[run % len(_FITTING)]
            _tenant(simulator, size.workers, fitting, new, is_known=False)
            _tenant(simulator, size.workers, fitting, known, is_known=True)
        users = _Tally("a user never seen")
        _users(simulator, size, users)
    for tally in (new, known, users):
        tally.tell(found)
    return found


class _Tally:
    """What came of all runs of a case."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._runs = 0
        self._fitting = 0
        self._reached = 0
        self._full = 0
        self._above: list[str] = []
        self._wrong: list[str] = []
        self._told: set[str] = set()
        self._waits_us: list[int] = []

    def add(self, fitting: int, reached: int, answers: Answers, asked: int) -> None:
        """Note a run: how many calls fitted, and how many of them the provider saw."""
        self._runs += 1
        self._fitting += fitting
        self._reached += reached
        self._full += reached == fitting
        if reached > fitting:
            self._above.append(f"{reached} of {fitting}")
        if answers.served != reached:
            self._wrong.append(f"{answers.served} served, {reached} seen upstream")
        if answers.served + answers.refused != asked:
            self._wrong.append(f"{answers.served} and {answers.refused} of {asked}")
        self._wrong += answers.wrong
        self._told |= answers.messages
        self._waits_us += answers.waits_us

    def note(self, wrong: list[str]) -> None:
        """Note what should not have been."""
        self._wrong += wrong

    def check(self, found: Books, ceiling: int) -> None:
        """Note what the books of a run say, whose counters all have this ceiling."""
        self._wrong += wrong_counters(found, ceiling)

    def tell(self, found: Findings) -> None:
        """Say it."""
        what = self._what
        found.told(f"{what}: runs of {TOGETHER} calls", self._runs)
        found.none(f"{what}: more calls upstream than fit", self._above)
        found.none(f"{what}: wrong answers or books", self._wrong)
        shown = f"{self._reached} of {self._fitting}, all in {self._full} of {self._runs} runs"
        found.held(f"{what}: served of those that fit", shown, "all", self._full == self._runs)
        if self._waits_us:
            median = milliseconds(statistics.median(self._waits_us))
            found.told(f"{what}: a refusal takes", f"median {median}")
        if self._told:
            found.told(f"{what}: told", sorted(self._told, key=len)[-1])


def _tenant(
    simulator: SimulatorProcess, workers: int, fitting: int, tally: _Tally, *, is_known: bool
) -> None:
    ceiling = most() * (fitting + is_known)
    budget = f"name: all, scope: tenant, limit: {dollars(ceiling)}/month"
    policy = policy_over(simulator.base_url("openai"), [budget])
    with GatewayProcess(policy, workers=workers) as gateway:
        if is_known:
            first = Answers()
            asyncio.run(fired(gateway, [call(10_000_000)], first))
            tally.note(first.wrong)
            wait_for_rows(gateway, 1)
        simulator.clear_stats()
        answers = Answers()
        asyncio.run(released(gateway, calls(range(TOGETHER)), answers))
        reached = simulator.stats()["total"]["requests"]
        wait_for_rows(gateway, reached + is_known)
        tally.add(fitting, reached, answers, TOGETHER)
        tally.check(books(gateway), ceiling)


def _users(simulator: SimulatorProcess, size: Size, tally: _Tally) -> None:
    """Each user has a key and a counter of its own, which nobody has asked for before."""
    fitting = 7
    ceiling = most() * fitting
    budget = f"name: each, scope: user, limit: {dollars(ceiling)}/day"
    policy = policy_over(simulator.base_url("openai"), [budget])
    gateway = GatewayProcess(policy, workers=size.workers, environment=KEYS_ONLY)
    owners = [Minted("acme", user=f"user{number}") for number in range(size.count)]
    secrets = mint(gateway, owners)
    rows = 0
    with gateway:
        for secret in secrets:
            simulator.clear_stats()
            answers = Answers()
            asyncio.run(released(gateway, calls(range(TOGETHER), key=secret), answers))
            reached = simulator.stats()["total"]["requests"]
            rows += reached
            wait_for_rows(gateway, rows)
            tally.add(fitting, reached, answers, TOGETHER)
        tally.check(books(gateway), ceiling)


async def released(gateway: GatewayProcess, shots: Iterable[Shot], answers: Answers) -> Report:
    """Make calls at the same moment, each over a connection of its own."""
    return await volley("127.0.0.1", gateway.port, shots, judge=answers, patience_s=_PATIENCE_S)


async def fired(
    gateway: GatewayProcess, shots: Iterable[Shot], answers: Answers, lanes: int = 1
) -> Report:
    """Make calls one after another, over so many connections."""
    return await fire(
        "127.0.0.1", gateway.port, shots, lanes=lanes, judge=answers, patience_s=_PATIENCE_S
    )


# --- one after another, and beside each other -----------------------------------------------------


def trickle(size: Size) -> Findings:
    """Calls one after another, each over a new connection, whose bills are the worst case."""
    found = Findings(f"trickle: a budget for exactly {size.count} calls, one after another")
    fitting = size.count
    ceiling = most() * fitting
    budget = f"name: all, scope: tenant, limit: {dollars(ceiling)}/week"
    with SimulatorProcess(["openai"], "--latency", "*=2ms") as simulator:
        simulator.fault(worst_usage())
        policy = policy_over(simulator.base_url("openai"), [budget])
        with GatewayProcess(policy, workers=size.workers) as gateway:
            answers = Answers()
            for one in calls(range(fitting + 5)):
                asyncio.run(released(gateway, [one], answers))
            reached = simulator.stats()["total"]["requests"]
            wait_for_rows(gateway, reached)
            at_end = books(gateway)
    found.told("workers", size.workers)
    least = -(-fitting * 9 // 10)
    found.held("served", answers.served, f"{least} to {fitting}", least <= reached <= fitting)
    found.none("wrong answers", answers.wrong)
    found.none("wrong books", wrong_counters(at_end, ceiling))
    share = f"{(at_end.cost + at_end.unconfirmed) / ceiling:.1%}"
    found.told("of the budget", share)
    return found


def squeeze(size: Size) -> Findings:
    """Calls beside each other that all fit, but for what the others have reserved."""
    found = Findings("squeeze: parallel calls that fit but for each other's reservations")
    at_once, max_tokens = 10, 2_000
    ceiling = most(max_tokens) * 5 // 2
    budget = f"name: all, scope: tenant, limit: {dollars(ceiling)}/month"
    wrong: list[str] = []
    served = 0
    longest_us = 0
    with SimulatorProcess(["openai"], *_LATENCY) as simulator:
        policy = policy_over(simulator.base_url("openai"), [budget], "budget_wait: 2s\n")
        for _ in range(size.count):
            with GatewayProcess(policy, workers=size.workers) as gateway:
                answers = Answers()
                shots = calls(range(at_once), max_tokens=max_tokens)
                report = asyncio.run(released(gateway, shots, answers))
                longest_us = max(longest_us, *(one.took_us for one in report.outcomes))
                served += answers.served
                wrong += [*answers.wrong, *answers.messages]
                wait_for_rows(gateway, at_once)
                wrong += wrong_counters(books(gateway), ceiling)
    found.told("workers", size.workers)
    found.told("worst cases that fit at a time", "2.5")
    asked = at_once * size.count
    found.held("served", served, f"all {asked}", served == asked)
    found.none("wrong answers or books", wrong)
    found.told("longest", milliseconds(longest_us))
    return found
