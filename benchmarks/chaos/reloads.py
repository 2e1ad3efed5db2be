"""A thousand changes of the policy file under load, a third of them not to be taken."""

import asyncio
import itertools
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.findings import Findings, Size
from benchmarks.load import fire
from benchmarks.processes import GatewayProcess
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

from .answers import Judgement, asking
from .books import ledger_rows, records, until
from .workers import asked, one_each

_LANES = 8
_REST_S = 0.02
# Between changes, by turns for so many of them: slow enough for each to be taken, and not.
_PACE_S, _HASTE_S, _TURN = 0.25, 0.02, 20
_MIDWAY_S = 0.002  # a file that is written in place is half a file for so long
_IN_FORCE_S = 15.0
_STAYS_S = 2.0
_GROWTH = 0.10
_TARGETS = ("openai/gpt-4o-mini", "groq/llama-3-8b")
_UNKNOWN = "opanai/gpt-4o-mini"

# The tests come first, so that half of the file is no policy: they name a rule of its other half.
_POLICY = """tests:
  - {{given: {{tokens: 80}}, expect: "{expected}"}}
providers:
{providers}routing_policy:
  - name: "revision-{number}"
    route: {target}
    fallback: [{other}]
"""


class Author:
    """Writes revisions of one policy file, every third of which is not to be taken."""

    def __init__(self, file: Path, providers: str) -> None:
        """Write over `file`; `providers` is that section's text."""
        self._file = file
        self._providers = providers
        self._spoil = itertools.cycle((self._misspelt, self._untrue, self._unknown, self._cut))
        self._write = itertools.cycle((self._renamed, self._in_place))
        self.valid: list[str] = []

    def text(self, number: int) -> str:
        """The policy of a number, sound."""
        target, other = _TARGETS if number % 2 else reversed(_TARGETS)
        return _POLICY.format(
            expected=f"revision-{number}",
            providers=self._providers,
            number=number,
            target=target,
            other=other,
        )

    def change(self, number: int) -> None:
        """Write the next revision."""
        if number % 3 == 2:
            self.spoilt(number)
        else:
            self.sound(number)

    def sound(self, number: int) -> None:
        """Write one that is to be taken."""
        self.valid.append(f"revision-{number}")
        next(self._write)(self.text(number))

    def spoilt(self, number: int) -> None:
        """Write one that is not to be taken."""
        next(self._write)(next(self._spoil)(self.text(number)))

    # --- ways to be wrong ------------------------------------------------------------------------

    def _misspelt(self, text: str) -> str:
        return text.replace("routing_policy:", "routing_policy: [")

    def _untrue(self, text: str) -> str:
        return text.replace('expect: "revision', 'expect: "another')

    def _unknown(self, text: str) -> str:
        return text.replace("route: ", f"route: {_UNKNOWN} #")

    def _cut(self, text: str) -> str:
        return text[: text.index("routing_policy:") + 30]

    # --- ways to write ---------------------------------------------------------------------------

    def _renamed(self, text: str) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self._file)

    def _in_place(self, text: str) -> None:
        half = len(text) // 2
        with self._file.open("w", encoding="utf-8") as file:
            file.write(text[:half])
            file.flush()
            time.sleep(_MIDWAY_S)
            file.write(text[half:])


def reloads(size: Size) -> Findings:
    """So many changes of the policy file, while requests go on."""
    found = Findings(f"reloads: {size.count} changes of the policy under load")
    with SimulatorProcess(["openai", "groq"], "--latency", "*=5ms/1ms") as simulator:
        providers = "".join(
            f"  {name}: {{base_url: '{simulator.base_url(name)}'}}\n" for name in ("openai", "groq")
        )
        first = Author(Path(), providers).text(0)
        judged = Judgement(Policy.parse(first))
        with GatewayProcess(first, workers=size.workers) as gateway:
            author = Author(gateway.policy, providers)
            author.valid.append("revision-0")
            memory = asyncio.run(_play(found, gateway, author, judged, size.count))
            calls = simulator.stats()["total"]["requests"]
            until(lambda: ledger_rows(gateway) >= calls)
            code = gateway.stop()
            decided = [(one.digest, one.rule or "") for one in records(gateway)]
            rows = ledger_rows(gateway)
    found.held("exit code", code, "0", code == 0)
    refused = [f"{told} ({count})" for told, count in judged.refused.items()]
    found.none(f"of {judged.asked} requests, those that failed", judged.wrong + refused)
    found.held("ledger rows", rows, f"{calls} upstream calls", rows == calls)
    _tell_revisions(found, author, [*judged.revisions, *set(decided)])
    half = len(memory) // 2
    before, after = statistics.median(memory[half : half + 5]), statistics.median(memory[-5:])
    found.held(
        "memory in the middle and at the end",
        f"{before / 2**20:.0f} and {after / 2**20:.0f} MiB",
        f"grows by at most {_GROWTH:.0%}",
        after <= before * (1 + _GROWTH),
    )
    return found


async def _play(
    found: Findings, gateway: GatewayProcess, author: Author, judged: Judgement, changes: int
) -> list[int]:
    """Change the file under load. Returns: samples of resident memory."""
    over = False

    def numbers() -> Iterator[int]:
        yield from itertools.takewhile(lambda _: not over, itertools.count())

    shots = asking(numbers())
    firing = asyncio.create_task(
        fire(
            "127.0.0.1",
            gateway.port,
            shots,
            lanes=_LANES,
            judge=judged,
            rest_s=_REST_S,
            patience_s=30.0,
        )
    )
    memory = [gateway.rss_bytes()]
    began = time.monotonic()
    for number in range(1, changes + 1):
        await asyncio.to_thread(author.change, number)
        if number % max(changes // 40, 1) == 0:
            memory.append(gateway.rss_bytes())
        await asyncio.sleep(_HASTE_S if number // _TURN % 2 else _PACE_S)
    took_s = time.monotonic() - began
    found.told("changes", f"{changes} in {took_s:.0f} s, {len(author.valid) - 1} of them sound")
    # Time for one last sound one, and for one after it that must not be taken.
    await asyncio.to_thread(author.sound, changes + 1)
    in_force = await asyncio.to_thread(_in_force, gateway, author.valid[-1])
    found.held(
        "the last sound one in force in all workers",
        "never" if in_force is None else f"after {in_force:.1f} s",
        f"within {_IN_FORCE_S:.0f} s",
        in_force is not None,
    )
    await asyncio.to_thread(author.spoilt, changes + 2)
    await asyncio.sleep(_STAYS_S)
    stays = await asyncio.to_thread(_in_force, gateway, author.valid[-1])
    found.held(
        "in force after one more that is spoilt", str(stays is not None), "True", bool(stays)
    )
    over = True
    await firing
    memory += [gateway.rss_bytes() for _ in range(5)]
    return memory


def _in_force(gateway: GatewayProcess, rule: str) -> float | None:
    """Seconds until all workers decide by the revision with this rule; None: in vain."""
    began = time.monotonic()
    with one_each(gateway) as workers:
        for connection in workers.values():
            while asked(connection, "which revision?").get("x-turnout-rule") != rule:
                if time.monotonic() - began > _IN_FORCE_S:
                    return None
                time.sleep(0.02)
    return time.monotonic() - began


def _tell_revisions(found: Findings, author: Author, seen: list[tuple[str, str]]) -> None:
    """Check that each answer and each record names one revision, and one that was sound."""
    rules, digests = defaultdict(set), defaultdict(set)
    for digest, rule in seen:
        rules[digest].add(rule)
        digests[rule].add(digest)
    mixed = [
        f"{name}: {sorted(several)}"
        for several_of in (rules, digests)
        for name, several in several_of.items()
        if len(several) > 1
    ]
    found.none("answers or records that mix revisions", mixed)
    found.none("rules of no sound revision", sorted(digests.keys() - set(author.valid)))
    found.told("revisions that decided", len(digests))
