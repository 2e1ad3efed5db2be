"""Calls that end in every way there is, while workers are killed; then the books are looked at."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from benchmarks.chaos.books import until
from benchmarks.findings import Findings, Size
from benchmarks.load import Outcome, Shot, Told, fire
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import chat_tokens

from .bank import books, wrong_counters
from .calls import (
    INPUT_NANO,
    call,
    dollars,
    most,
    number_in,
    policy_over,
    session_hash,
    worst_usage,
)

CALLS_A_ROUND = 200
ROUNDS_A_GATEWAY = 5  # the pause before a killed worker is replaced grows with each kill
_WORKERS = (2, 3, 4)
_LANES = 24
# Beyond the term of a heartbeat: for whoever looks after the lost, and for the last records.
_TERM_S = 45.0
_TIMEOUT_S = 1.0
_OUTPUT = 40
# Of each prompt, as the simulator counts them; the bound that is reserved is four times that.
_PROMPT_TOKENS = chat_tokens(orjson.loads(call(1).body)["messages"], [])

# What becomes of calls upstream: a share of all of them each; the rest is answered in full.
_FAULTS: list[tuple[float, dict[str, Any]]] = [
    (0.04, {"kind": "status", "status": 500}),
    (0.03, {"kind": "status", "status": 429}),
    (0.03, {"kind": "status", "status": 400}),
    (0.03, {"kind": "reset", "at": "request"}),
    (0.03, {"kind": "delay", "at": "headers"}),
    (0.03, {"kind": "delay", "at": "first_token"}),
    (0.03, {"kind": "delay", "at": "chunk", "after": 4, "for": "300ms"}),
    (0.03, {"kind": "malformed", "form": "json", "after": 0}),
    (0.02, {"kind": "malformed", "form": "html"}),
    (0.02, {"kind": "malformed", "form": "empty"}),
    (0.02, {"kind": "malformed", "form": "chunk", "after": 3}),
    (0.03, {"kind": "cut", "after": 1, "by": "fin"}),
    (0.03, {"kind": "cut", "after": 6, "by": "rst"}),
    (0.03, {"kind": "unfinished", "after": 6}),
    (0.03, {"kind": "error_event", "after": 6}),
    (0.03, {"kind": "usage", "reported": None}),
]
# When clients go: `leave_ms` from the start, `leave_after` so many events of a stream.
_LEAVES: dict[str, dict[str, int]] = {
    "before anything is sent on": {"leave_ms": 0},
    "before headers": {"leave_ms": 15},
    "after headers": {"leave_after": 0},
    "after the first chunk": {"leave_after": 1},
    "amid the stream": {"leave_after": 5},
    "after the last content": {"leave_after": 20},
    "amid, whenever": {"leave_ms": 60},
}
_LEAVING = 0.35


def crash(size: Size) -> Findings:
    """Rounds of calls with a random end, in each of which a worker is killed."""
    rounds = -(-size.count // CALLS_A_ROUND)
    found = Findings(f"crash: {size.count} calls, {rounds} rounds, a worker killed in each")
    story = _Story(random.Random(size.seed))
    with SimulatorProcess(
        ["openai"], "--latency", "*=20ms/2ms", "--keep", str(CALLS_A_ROUND * 20)
    ) as simulator:
        _order(simulator, size.seed)
        for first in range(0, rounds, ROUNDS_A_GATEWAY):
            workers = _WORKERS[first // ROUNDS_A_GATEWAY % len(_WORKERS)]
            several = min(ROUNDS_A_GATEWAY, rounds - first)
            each = min(CALLS_A_ROUND, size.count)
            _house(simulator, story, workers, several, each)
    story.tell(found)
    return found


class _Story:
    """What came of all rounds."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.number = 0
        self.asked = 0
        self.killed = 0
        self.outcomes: Counter[str] = Counter()
        self.ends: dict[int, str] = {}
        self.upstream = 0
        self.rows = 0
        self.uncovered = 0
        self.unread = 0
        self.lost_nano_usd = 0
        self.cost_nano_usd = 0
        self.unconfirmed_nano_usd = 0
        self.longest_term_s = 0.0
        self.codes: list[str] = []
        self.reserved: list[str] = []
        self.counters: list[str] = []
        self.unpaid: list[str] = []
        self.doubled: list[str] = []
        self.above: list[str] = []
        self.left_over: list[str] = []

    def tell(self, found: Findings) -> None:
        """Say it."""
        found.told("calls", self.asked)
        found.told("workers killed", self.killed)
        found.told(
            "how clients saw them end",
            ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common()),
        )
        found.told("attempts that reached the provider", self.upstream)
        found.told("ledger rows", self.rows)
        found.told("attempts of lost workers, without a row", self.uncovered)
        found.told("rows of attempts that the provider had not read yet", self.unread)
        found.told("settled", dollars(self.cost_nano_usd))
        found.told("unconfirmed in the ledger", dollars(self.unconfirmed_nano_usd))
        found.told("unconfirmed of lost workers", dollars(self.lost_nano_usd))
        found.none("rounds after which something stayed reserved", self.reserved)
        found.told("reserved is 0 after", f"at most {self.longest_term_s:.1f} s")
        found.none("counters that are not the sum of the ledger", self.counters)
        found.none("attempts upstream that nothing accounts for", self.unpaid)
        found.none("attempts with two rows, or billed above their worst case", self.doubled)
        found.none("rounds that account for more than can have been billed", self.above)
        found.none("leases left after a clean stop", self.left_over)
        found.none("exit codes other than 0", self.codes)


def _order(simulator: SimulatorProcess, seed: int) -> None:
    """Order faults so that each has its share of all calls: the first that strikes wins."""
    left = 1.0
    for number, (share, fault) in enumerate(_FAULTS):
        simulator.fault(fault, rate=share / left, seed=seed * 1000 + number)
        left -= share
    simulator.fault(worst_usage(_OUTPUT))


def _house(
    simulator: SimulatorProcess, story: _Story, workers: int, rounds: int, each: int
) -> None:
    """Some rounds with one gateway, and its clean end."""
    budgets = [
        "name: all, scope: tenant, limit: $1000/month",
        "name: day, scope: model, limit: $900/day",
    ]
    more = "defaults: {ttft: 1s, idle: 1s, backoff: 10ms}\nbreakers: {failures: 1000}\n"
    policy = policy_over(simulator.base_url("openai"), budgets, more)
    policy = policy.replace("retries: 0", f"retries: 1\n    timeout: {_TIMEOUT_S:.0f}s")
    sent: dict[str, list[int]] = {}  # by the hash of the session, what each attempt costs at least
    with GatewayProcess(policy, workers=workers) as gateway:
        uncovered = unread = 0
        for _ in range(rounds):
            simulator.clear_stats()
            asyncio.run(_round(gateway, story, each))
            uncovered, unread = _look(simulator, gateway, story, sent)
        story.uncovered += uncovered
        story.unread += unread
        code = gateway.stop()
        if code:
            story.codes.append(f"{code} of {workers} workers")
        at_end = books(gateway)
        story.counters += wrong_counters(at_end)
        story.rows += at_end.rows
        story.cost_nano_usd += at_end.cost
        story.unconfirmed_nano_usd += at_end.unconfirmed
        story.lost_nano_usd += max((one.lost for one in at_end.counters), default=0)
        if at_end.reserved:
            story.left_over.append(f"{at_end.reserved} of {workers} workers")


async def _round(gateway: GatewayProcess, story: _Story, each: int) -> None:
    """Make calls, and kill a worker while they are under way."""

    def judge(shot: Shot, outcome: Outcome, told: Told) -> None:
        ending = _ending(outcome)
        story.outcomes[ending] += 1
        story.ends[number_in(orjson.loads(shot.body)["messages"][0]["content"])] = ending

    first = story.number
    story.number += each
    story.asked += each
    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            _shots(story.dice, range(first, first + each)),
            lanes=_LANES,
            judge=judge,
            patience_s=20.0,
        )
    )
    await asyncio.sleep(story.dice.uniform(0.05, 1.5))
    serving = gateway.serving
    if serving:
        os.kill(story.dice.choice(serving), signal.SIGKILL)
        story.killed += 1
    await firing


def _shots(dice: random.Random, numbers: range) -> Iterator[Shot]:
    for number in numbers:
        stream = dice.random() < 0.6
        shot = call(number, stream=stream, max_tokens=_OUTPUT)
        if dice.random() < _LEAVING:
            how = dice.choice(list(_LEAVES.values()))
            if not stream and "leave_after" in how:
                how = {"leave_ms": dice.randrange(100)}
            shot = Shot(shot.path, shot.body, stream, head=shot.head, **how)
        yield shot


_LOST = "no answer"


def _ending(outcome: Outcome) -> str:
    if outcome.left:
        return "left"
    if outcome.status == 0 or (outcome.failure or "").startswith("connection lost"):
        return _LOST
    if outcome.status == 200:
        return "answered" if outcome.failure is None else "broken off"
    return str(outcome.status)


def _least(fault: str | None, ending: str) -> int:
    """What an attempt costs at least, or is reserved for it, in nano-USD.

    In full where the provider answered it so, and while it is under way. Of what was broken off the
    part that was seen is estimated: the prompt at least. A refusal costs nothing.
    """
    if fault == "status":
        return 0
    if fault is None and ending in ("answered", _LOST):
        return most(_OUTPUT)
    return _PROMPT_TOKENS * INPUT_NANO


def _look(
    simulator: SimulatorProcess,
    gateway: GatewayProcess,
    story: _Story,
    sent: dict[str, list[int]],
) -> tuple[int, int]:
    """Wait for the term of the heartbeats, and compare what the provider saw with the books.

    Returns: how many attempts upstream have no row, and how many rows the provider knows nothing of
    (it was left before it had read them), of all rounds with this gateway.
    """
    began = time.monotonic()
    if not until(lambda: books(gateway).reserved == 0, _TERM_S):
        story.reserved.append(f"{books(gateway).reserved} after {_TERM_S:.0f} s")
    story.longest_term_s = max(story.longest_term_s, time.monotonic() - began)
    for one in simulator.requests(CALLS_A_ROUND * 20):
        number = number_in(one["body"]["messages"][0]["content"])
        floor = _least(one["fault"], story.ends.get(number, _LOST))
        sent.setdefault(session_hash(number), []).append(floor)
        story.upstream += 1
    found = books(gateway)
    each = most(_OUTPUT)
    story.counters += wrong_counters(found)
    if found.doubled:
        story.doubled.append(f"{found.doubled} attempts with two rows")
    if found.dearest > each:
        story.doubled.append(f"{found.dearest} for one attempt, {each} at worst")
    if found.reported - {each}:
        story.doubled.append(f"billed {sorted(found.reported)}, reported was {each}")
    attempts = Counter({of: len(floors) for of, floors in sent.items()})
    covered = (attempts & found.rows_of).total()
    unread = (found.rows_of - attempts).total()
    lost = max((one.lost for one in found.counters), default=0)
    # Of a call with fewer rows than attempts, the cheapest ones are taken for those without.
    least = sum(sum(sorted(sent[of])[:n]) for of, n in (attempts - found.rows_of).items())
    uncovered = attempts.total() - covered
    if least > lost:
        story.unpaid.append(f"{uncovered} attempts of {least}, {lost} nano-USD of lost workers")
    if found.cost + found.unconfirmed > (covered + unread) * each:
        story.above.append(f"{found.cost + found.unconfirmed} for {covered + unread} attempts")
    return uncovered, unread
