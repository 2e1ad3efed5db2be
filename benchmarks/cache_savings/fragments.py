"""Answers that break in every way there is, while workers are killed; whatever is kept is whole."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.chaos.answers import Judgement, asking
from benchmarks.findings import Findings, Size
from benchmarks.load import Outcome, Shot, Told, fire
from benchmarks.money.calls import policy_over
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

CALLS_A_ROUND = 200
ROUNDS_A_GATEWAY = 4  # the pause before a killed worker is replaced grows with each kill
_QUESTIONS = 60  # of each round, so that most are asked several times
_LANES = 16
_PATIENCE_S = 30.0
_LEAVING = 0.2
_ONLY_KEPT = "cache-control: only-if-cached\r\n"

# What becomes of calls upstream: each of these breaks its share of them.
_SHARE = 0.04
BREAKS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "reset", "at": "request"},
    {"kind": "cut", "after": 1, "by": "fin"},
    {"kind": "cut", "after": 6, "by": "rst"},
    {"kind": "unfinished", "after": 6},
    {"kind": "error_event", "after": 6},
    {"kind": "malformed", "form": "json", "after": 0},
    {"kind": "malformed", "form": "html"},
    {"kind": "malformed", "form": "empty"},
    {"kind": "malformed", "form": "chunk", "after": 3},
]


def fragments(size: Size) -> Findings:
    """Rounds of calls of which two fifths break; in each a worker is killed, at last all."""
    each = min(CALLS_A_ROUND, size.count)
    rounds = -(-size.count // each)
    found = Findings(f"fragments: {size.count} calls that break, a worker killed in each {each}")
    story = _Story(random.Random(size.seed))
    with SimulatorProcess(["openai"], "--latency", "*=5ms/1ms") as simulator:
        left = 1.0
        for number, fault in enumerate(BREAKS):
            simulator.fault(fault, rate=_SHARE / left, seed=size.seed * 1000 + number)
            left -= _SHARE
        more = "cache: {ttl: 1h}\nbreakers: {failures: 1000}\n"
        policy = policy_over(simulator.base_url("openai"), more=more)
        story.judged = Judgement(Policy.parse(policy))
        for first in range(0, rounds, ROUNDS_A_GATEWAY):
            several = min(ROUNDS_A_GATEWAY, rounds - first)
            _house(policy, size.workers, several, each, story)
    story.tell(found)
    return found


@dataclass
class _Story:
    """What came of all rounds."""

    dice: random.Random
    judged: Judgement = field(init=False)
    questions: int = 0
    killed: int = 0
    hits: int = 0
    lost: int = 0  # answers whose worker was killed
    kept: int = 0
    kept_after: int = 0  # of them, by a gateway that was killed as a whole and started again
    wrong: list[str] = field(default_factory=list)

    def __call__(self, shot: Shot, outcome: Outcome, told: Told) -> None:
        """Judge an answer while workers are killed."""
        if outcome.left or outcome.status == 0 or "connection lost" in (outcome.failure or ""):
            self.lost += not outcome.left
            # Whatever was said of a hit until then was its beginning; nobody took it for whole.
            outcome.failure = None
            return
        is_hit = told.header("x-turnout-cache") == "hit"
        self.hits += is_hit
        self.judged(shot, outcome, told)
        if is_hit and outcome.failure is not None:
            self.wrong.append(f"a hit: {outcome.failure or 'broken off'}")
        outcome.failure = None

    def tell(self, found: Findings) -> None:
        """Say it."""
        judged = self.judged
        found.told("questions", self.questions)
        found.told("workers killed", self.killed)
        found.told("answered in full", f"{judged.right}, {self.hits} of them hits")
        broken = judged.cut + judged.refused.total()
        found.told("broken off or refused, as is declared", broken)
        found.told("connections lost to a kill", self.lost)
        found.none("wrong answers", judged.wrong + self.wrong)
        found.held("answers kept", self.kept, "some", self.kept > 0)
        found.held(
            "of them after kill -9 of the gateway as a whole, and a start",
            self.kept_after,
            "some",
            self.kept_after > 0,
        )


def _house(policy: str, workers: int, rounds: int, each: int, story: _Story) -> None:
    """Some rounds with one gateway; then it is killed as a whole, and asked what it has kept."""
    with GatewayProcess(policy, workers=workers) as gateway:
        questions = range(story.questions, story.questions + _QUESTIONS * rounds)
        for _ in range(rounds):
            asyncio.run(_round(gateway, story, each))
        story.kept += _kept(gateway, questions, story)
        for pid in {gateway.pid, *gateway.serving}:
            os.kill(pid, signal.SIGKILL)
        gateway.stop()
        gateway.restart()
        story.kept_after += _kept(gateway, questions, story)


async def _round(gateway: GatewayProcess, story: _Story, each: int) -> None:
    first, story.questions = story.questions, story.questions + _QUESTIONS
    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            _shots(first, each, story.dice),
            lanes=_LANES,
            judge=story,
            patience_s=_PATIENCE_S,
        )
    )
    await asyncio.sleep(story.dice.uniform(0.1, 0.4))
    serving = gateway.serving
    if len(serving) > 1 and not firing.done():
        os.kill(story.dice.choice(serving), signal.SIGKILL)
        story.killed += 1
    await firing


def _shots(first: int, each: int, dice: random.Random) -> Iterator[Shot]:
    """Questions in any order, half of them streamed, a fifth given up by their clients."""
    for _ in range(each):
        number = first + dice.randrange(_QUESTIONS)
        share = float(dice.random() < 0.5)
        (shot,) = asking(range(number, number + 1), share=share, more={"temperature": 0})
        leave = dice.randrange(8) if dice.random() < _LEAVING else None
        yield Shot(shot.path, shot.body, shot.stream, leave)


def _kept(gateway: GatewayProcess, questions: range, story: _Story) -> int:
    """Ask for each answer that was kept, and for nothing else."""
    kept = 0

    def judge(shot: Shot, outcome: Outcome, told: Told) -> None:
        nonlocal kept
        if outcome.status == 504 and _code(told.body) == "not_cached":
            outcome.failure = None
            return
        story.judged(shot, outcome, told)
        kept += outcome.failure is None
        if outcome.failure is not None:
            story.wrong.append(f"kept: {outcome.failure or 'broken off'}")

    shots = [
        Shot(shot.path, shot.body, shot.stream, head=_ONLY_KEPT)
        for shot in asking(questions, more={"temperature": 0})
    ]
    asyncio.run(fire("127.0.0.1", gateway.port, shots, lanes=4, judge=judge))
    return kept


def _code(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return ""
