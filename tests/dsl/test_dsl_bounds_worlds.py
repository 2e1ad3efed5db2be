"""The worst of each rule against every snapshot of small worlds, each sent through the chain.

The chain itself, over providers that fail and a clock that is turned, says how many attempts a
request comes to and how long they take. Windows, abilities and credentials differ, and which of
the targets are left alone because their breakers are open.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, product
from typing import Any

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import TARGETS, Decided, Written, world, written
from tests.engine.test_engine_chain import turn
from turnout.dsl.bounds import Bound, bounds
from turnout.dsl.core import Hop, Program
from turnout.dsl.cost import worst_case_cost
from turnout.dsl.destination import Reached
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.engine.breakers import Barred, Breakers
from turnout.engine.chain import Chain, Journey
from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.purse import Bottomless
from turnout.engine.request import Caller, Operation, OwnKey, Request, RequestError
from turnout.engine.till import Till

from .conftest import Language

pytestmark = pytest.mark.uncounted

CHUNKS = 8
POLICIES = max(32, EXAMPLES // 8) // CHUNKS * CHUNKS
MOST = 4_000  # snapshots of a world
# What the chain asks of a request, whatever the conditions read.
OF_CHAIN: dict[str, tuple[Value | None, ...]] = {
    "tokens": (100, 1_500, 2_500),
    "has_tools": (False, True),
    "has_images": (False, True),
}
PROVIDERS = ("own", "far")
Worst = tuple[int, int]


@dataclass
class Unlike(Written):
    """A policy whose targets differ in what they can serve, and one is another provider's."""

    known: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        text = super().text().replace("own/c", "far/c")
        far = 'far: {kind: openai, base_url: "https://far.example/v1"}}'
        text = text.replace('https://own.example/v1"}}', f'https://own.example/v1"}}, {far}')
        for name, known in self.known.items():
            text = text.replace(f"  {name}: {{price", f"  {name}: {{{known}, price")
        return text


def unlike(dice: random.Random) -> Unlike:
    """A policy of small worlds with windows, abilities and another provider."""
    policy = written(dice)
    known = {
        "own/a": dice.choice(("context_window: 1k", "context_window: 2k", "tools: false")),
        "own/b": dice.choice(("context_window: 1k", "tools: true", "tools: false")),
        "far/c": dice.choice(("context_window: 2k", "context_window: 2500", "tools: true")),
    }
    for rule in policy.rules:
        if dice.random() < 0.3:
            rule.options["timeout"] = "7s"
        if dice.random() < 0.3:
            rule.options["retries"] = str(dice.randrange(3))
    return Unlike(**vars(policy), known=known)


def made(seed: int, compile: Callable[[str], Program]) -> tuple[str, Program, list[Snapshot]]:
    """The first policy of a seed whose world is small enough, and its world."""
    dice = random.Random(seed)
    while True:
        text = unlike(dice).text()
        program = compile(text)
        snapshots = world(program) or []
        more = [key for key in OF_CHAIN if key not in program.slots]
        rows = list(product(*(OF_CHAIN[key] for key in more), (None, *PROVIDERS)))
        if 0 < len(snapshots) * len(rows) <= MOST:
            return text, program, list(_with(program, snapshots, more, rows))


def _with(
    program: Program,
    snapshots: Sequence[Snapshot],
    more: Sequence[str],
    rows: Sequence[tuple[Value | None, ...]],
) -> Iterator[Snapshot]:
    """Every snapshot with what the chain asks, and each provider's credential away once."""
    read = [key for key, slot in program.slots.items() if slot.attribute.name == "usable"]
    for seen, (*values, away) in product(snapshots, rows):
        gone = {f"usable({id})": False for id in program.targets if id.startswith(f"{away}/")}
        if all(seen[key] is gone.get(key) for key in read):
            yield Snapshot({**seen, **dict(zip(more, values, strict=True)), **gone})


class Failing:
    """A provider of whose attempts each fails: at once, or when its time is over."""

    def __init__(self, name: str, usable: bool, at_once: bool) -> None:
        self.name = name
        self.usable = usable
        self.missing = None if usable else "no credential"
        self._at_once = at_once

    async def models(self, patience_us: int) -> list[str] | None:
        return None

    def owned(self, key: OwnKey) -> None:
        return None

    @property
    def place(self) -> str:
        return self.name

    async def probe(self, patience_us: int) -> bool:
        return False

    async def count(self, call: Call) -> int | None:
        return None

    async def answer(self, call: Call) -> Answer:
        if not self._at_once:
            await asyncio.sleep(1e9)
        raise ProviderError(Fault.CONNECT, "down", retry_after_us=0)

    def stream(self, call: Call) -> Any:
        raise AssertionError("nothing is streamed here")


class Opened(Breakers):
    """Breakers of which some are open."""

    def __init__(self, targets: frozenset[str]) -> None:
        super().__init__()
        self._targets = targets

    def barred(self, target: str) -> Barred | None:
        return Barred("it is open", 1_000_000) if target in self._targets else None

    def enter(self, target: str) -> int | Barred:
        return self.barred(target) or 0


REQUEST = Request(
    id="req_1",
    operation=Operation.CHAT,
    body={"messages": [{"role": "user", "content": "hello"}]},
    raw=b"{}",
    model="auto",
    stream=False,
    caller=Caller(),
    headers={},
    received_us=0,
    started_ns=0,
)


class Sent:
    """What single requests come to where everything fails, by the chain."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.decided = Decided(program)
        hops = [*program.chain]
        for clause in program.clauses:
            hops += clause.plan.fallback or ()
        self._guards = {id(hop): compile_term(hop.when) for hop in hops if hop.when is not None}
        self._known: dict[object, tuple[list[str], int]] = {}
        self._costs = {
            row.id: compile_term(worst_case_cost(row, row.tariff))
            for row in program.targets.values()
            if row.tariff is not None
        }

    def attempts(self, seen: Snapshot) -> list[str]:
        """The target of each attempt, that of the copy included."""
        led = self.decided.reached(seen)
        tried, _ = self._walked(led, seen)
        if led.reject is None and led.found.mirror is not None:
            copy = led.found.mirror
            tried = tried + self._run(self._journey(led, seen, (copy,), None), seen, True)[0][:1]
        return tried

    def time(self, seen: Snapshot) -> int:
        return self._walked(self.decided.reached(seen), seen)[1]

    def dollars(self, seen: Snapshot) -> int:
        clause = self.decided.reached(seen).clause
        sets = {} if clause is None else self.program.clauses[clause].plan.sets
        limit = sets.get("max_tokens")
        told = Snapshot(
            {**seen, "max_tokens": limit if isinstance(limit, int) else seen["max_tokens"]}
        )
        return sum(int(self._costs[id](told) or 0) for id in self.attempts(seen))

    def _walked(self, led: Reached, seen: Snapshot) -> tuple[list[str], int]:
        hops = () if led.reject is not None else led.found.hops
        asked = self._asked(led, hops, seen)
        if asked not in self._known:
            journey = self._journey(led, seen, hops, led.found.route)
            tried = self._run(journey, seen, True)[0]
            self._known[asked] = tried, self._longest(led, seen, hops)
        return self._known[asked]

    def _longest(self, led: Reached, seen: Snapshot, hops: Sequence[Hop]) -> int:
        """How long it takes, whichever of the targets are left alone."""
        targets = sorted({*TARGETS, "far/c"} & self.program.targets.keys() if hops else ())
        found = 0
        for are_open in product((False, True), repeat=len(targets)):
            opened = frozenset(compress(targets, are_open))
            journey = self._journey(led, seen, hops, led.found.route)
            found = max(found, self._run(journey, seen, False, opened)[1])
        return found

    def _asked(self, led: Reached, hops: Sequence[Hop], seen: Snapshot) -> object:
        """All that the chain is told of a request."""
        guards = [self._guards[id(hop)](seen) for hop in hops if hop.when is not None]
        flags = [*map(seen.get, OF_CHAIN), *(self._is_usable(name, seen) for name in PROVIDERS)]
        limits = sorted(led.found.limits)
        return tuple(map(id, hops)), id(led.found.route), *guards, *flags, *limits

    def _journey(
        self, led: Reached, seen: Snapshot, hops: Sequence[Hop], route: Hop | None
    ) -> Journey:
        tokens = seen["tokens"]
        return Journey(
            REQUEST,
            self.program,
            tuple(hops),
            route,
            None,
            seen,
            tokens if isinstance(tokens, int) else 0,
            self._guards,
            Till(Bottomless(), REQUEST, self.program, ()),
            led.found.limits,
        )

    def _is_usable(self, provider: str, seen: Snapshot) -> bool:
        """Whether no target of a provider is said to lack its credential."""
        ids = [id for id in self.program.targets if id.startswith(f"{provider}/")]
        return not any(seen[f"usable({id})"] is False for id in ids)

    def _run(
        self,
        journey: Journey,
        seen: Snapshot,
        at_once: bool,
        opened: frozenset[str] = frozenset(),
    ) -> tuple[list[str], int]:
        """The targets of the attempts, and the microseconds that the loop's clock moved."""
        providers = {
            name: Failing(name, self._is_usable(name, seen), at_once) for name in PROVIDERS
        }
        journey.providers = providers
        chain = Chain(Pulse(), Opened(opened))

        async def walk() -> None:
            with pytest.raises(RequestError):
                await chain.answer(journey)

        _, seconds = turn(walk())
        tried = [one.target for one in journey.attempts if one.outcome != "skipped"]
        return tried, round(seconds * 1e6)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_worst_of_a_rule_is_that_of_the_snapshots_that_it_takes(
    chunk: int, language: Language
) -> None:
    for seed in range(chunk, POLICIES, CHUNKS):
        text, program, snapshots = made(seed, language.compile)
        sent = Sent(program)
        worst, dearest = _worst(sent, snapshots)
        where = f"seed {seed}\n{text}\n{worst}"
        for row in bounds(program, Prover(program)):
            if row.rule not in worst:
                assert row.attempts.kind == row.time.kind == row.dollars.kind == "never", where
                continue
            told = row.attempts.value, row.time.value
            assert told == worst[row.rule], f"{where}\n{row}"
            if row.dollars.kind == "exact":
                assert row.dollars.value >= dearest[row.rule], f"{where}\n{row}"
            assert_reached(row, sent, where)


def _worst(
    sent: Sent, snapshots: Sequence[Snapshot]
) -> tuple[dict[str | None, Worst], dict[str | None, int]]:
    """Of each rule that takes a request: the worst attempts and time, and the dearest bill."""
    found: dict[str | None, Worst] = {}
    dearest: dict[str | None, int] = {}
    for seen in snapshots:
        name = sent.decided.name(seen)
        attempts, time = found.get(name, (0, 0))
        found[name] = max(attempts, len(sent.attempts(seen))), max(time, sent.time(seen))
        dearest[name] = max(dearest.get(name, 0), sent.dollars(seen))
    return found, dearest


def assert_reached(row: Bound, sent: Sent, where: str) -> None:
    """The requests that are shown come to what is said of them."""
    measures = (
        (row.attempts, lambda seen: len(sent.attempts(seen))),
        (row.time, sent.time),
        (row.dollars, sent.dollars),
    )
    for worst, value_of in measures:
        if worst.kind == "unbounded":
            continue
        assert worst.kind == "exact" and worst.witness is not None, f"{where}\n{row}"
        assert sent.decided.name(worst.witness) == row.rule, f"{where}\n{row}"
        assert value_of(worst.witness) == worst.value, f"{where}\n{row}"
