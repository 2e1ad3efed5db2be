"""Whether providers answer, found out without a request: one worker asks, all of them know.

What is asked is free of charge (`Provider.probe`), so that no completion is ever made for this. A
provider without such a call is left alone.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import orjson

from turnout.dsl.core import Program

from .board import Board
from .breakers import Breakers
from .live import Live
from .names import reached
from .provider import Fault, Provider, ProviderError

_log = logging.getLogger("turnout.prober")

TOPIC = "probes"
EVERY_US = 30_000_000
PATIENCE_US = 5_000_000
JITTER = 0.2  # of an interval, to either side
LOOK_S = 0.5  # between two looks at what is due and at what the other workers tell
_SLACK_S = 1.0  # for a provider that does not keep to its patience


class Probed(NamedTuple):
    """What a probe found. `at_us`: by the clock of the event loop, which all workers share.

    `reason` is the name of a fault, None where the provider is well; `took_us` until it was known.
    """

    ok: bool
    at_us: int
    reason: str | None
    took_us: int


class Prober:
    """Probes what the policy in force reaches, as long as this worker leads, and tells the others.

    A `Companion` of the gateway. An interval is `every_us` and a jitter, at most a cool-down for a
    provider that is not well or that a breaker waits for, and the first one passes before the first
    probe. Times are those of the event loop.
    """

    name = "probes"

    def __init__(
        self,
        live: Callable[[], Live],
        breakers: Breakers,
        board: Board,
        every_us: int = EVERY_US,
        chance: random.Random | None = None,
    ) -> None:
        """Know nothing yet; `live` is asked for the program in force whenever it matters."""
        self._live = live
        self._breakers = breakers
        self._board = board
        self._every_s = every_us / 1_000_000
        self._chance = chance or random.Random()
        self._found: dict[str, Probed] = {}
        self._due: dict[str, float] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        # Those that have nothing free to ask for, until they are built anew.
        self._silent: dict[str, Provider] = {}
        self._planned: Live | None = None
        self._called: frozenset[str] = frozenset()
        self._wanted: frozenset[str] = frozenset()

    @property
    def found(self) -> Mapping[str, Probed]:
        """The last that is known of each provider that the policy reaches."""
        self._plan()
        return {name: one for name, one in self._found.items() if name in self._wanted}

    def health(self) -> dict[str, Any]:
        """What is known of all that requests may go to, for `/health`; asks nobody.

        Shape: by provider `{usable, healthy, checked_at, reason}`; `healthy` None: it was not
        probed.
        """
        self._plan()
        live = self._live()
        now_us = round(asyncio.get_running_loop().time() * 1_000_000)
        wall_us = time.time_ns() // 1_000
        told: dict[str, Any] = {}
        for name in sorted(self._called):
            missing = live.providers[name].missing
            probed = self._found.get(name) if missing is None else None
            told[name] = {
                "usable": missing is None,
                "healthy": None if probed is None else probed.ok,
                "checked_at": None if probed is None else _date(wall_us - now_us + probed.at_us),
                "reason": missing if probed is None else probed.reason,
            }
        return told

    async def run(self) -> None:
        """Look, and probe what is due, until cancelled."""
        try:
            while True:
                self._learn()
                if self._board.leads(TOPIC):
                    self._probe_due()
                else:
                    self._due.clear()
                await asyncio.sleep(LOOK_S)
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- what is due -----------------------------------------------------------------------------

    def _plan(self) -> None:
        """Know which providers matter; worked out once for a program."""
        live = self._live()
        if live is not self._planned:
            self._planned = live
            self._called = called(live.program, live.providers)
            self._wanted = self._called & live.usable

    def _probe_due(self) -> None:
        self._plan()
        now = asyncio.get_running_loop().time()
        assert self._planned is not None
        providers = self._planned.providers
        wanted = [n for n in self._wanted if self._silent.get(n) is not providers[n]]
        self._set_dates(sorted(wanted), now)
        for name in wanted:
            if self._due[name] <= now and name not in self._under_way:
                self._due[name] = now + self._interval(name)
                task = asyncio.create_task(self._probe(name, providers[name]), name=f"probe {name}")
                self._under_way[name] = task
                task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, _: asyncio.Task[None]) -> None:
        del self._under_way[name]

    def _set_dates(self, names: list[str], now: float) -> None:
        """A date for each, and an earlier one where a breaker has begun to wait."""
        for at, name in enumerate(names):
            if name in self._due:
                continue
            known = self._found.get(name)
            # Spread, so that they are not all asked at once; one that another worker probed before
            # goes on as it was.
            self._due[name] = (
                now + self._interval(name) + self._every_s * at / len(names)
                if known is None
                else max(
                    known.at_us / 1_000_000 + self._interval(name),
                    now + self._every_s * JITTER * self._chance.random(),
                )
            )
        before, self._awaited = self._awaited, _awaited(self._breakers)
        for name in self._awaited.keys() & self._due.keys():
            awaited = self._awaited[name]
            if name not in before or before[name].states != awaited.states:
                # A good probe closes a breaker that lets one try, not one that is open.
                late = self._cool_down_s * JITTER * self._chance.random()
                self._due[name] = min(self._due[name], now + awaited.left_s + late)

    def _interval(self, name: str) -> float:
        """Seconds to the next probe."""
        every = self._every_s
        known = self._found.get(name)
        if name in self._awaited or (known is not None and not known.ok):
            every = min(every, self._cool_down_s)
        return every * self._chance.uniform(1 - JITTER, 1 + JITTER)

    @property
    def _cool_down_s(self) -> float:
        return self._live().program.breaking.cool_down_us / 1_000_000

    # --- what is found ---------------------------------------------------------------------------

    async def _probe(self, name: str, provider: Provider) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        reason: str | None = None
        try:
            async with asyncio.timeout(PATIENCE_US / 1_000_000 + _SLACK_S):
                if not await provider.probe(PATIENCE_US):
                    self._silent[name] = provider
                    return
        except ProviderError as error:
            reason = error.fault.value
        except TimeoutError:
            reason = Fault.TIMEOUT.value
        except Exception:
            _log.exception("the probe of `%s` broke", name)
            return
        ended = now()
        took_us = round((ended - began) * 1_000_000)
        self._take(name, Probed(reason is None, round(ended * 1_000_000), reason, took_us))
        # What follows for breakers, they tell one another.
        self._breakers.probed(name, reason is None, reason or "answers")
        self._tell()

    def _take(self, name: str, probed: Probed) -> None:
        before = self._found.get(name)
        self._found[name] = probed
        if probed.reason is not None and (before is None or before.ok):
            _log.warning("the provider `%s` is not well: %s", name, probed.reason)
        elif probed.ok and before is not None and not before.ok:
            _log.info("the provider `%s` is well again", name)

    def _tell(self) -> None:
        """Post all that is known, so that who comes later knows it too."""
        rows = {
            name: {"ok": one.ok, "at": one.at_us, "reason": one.reason, "us": one.took_us}
            for name, one in self.found.items()
        }
        self._board.post(TOPIC, orjson.dumps(rows))

    def _learn(self) -> None:
        """Take what another worker found, where it is newer."""
        for told in self._board.look(TOPIC) or ():
            for name, probed in _read(told):
                known = self._found.get(name)
                if known is None or known.at_us < probed.at_us:
                    self._take(name, probed)


class _Awaited(NamedTuple):
    """Breakers of a provider that are not closed, and how long until one lets somebody try."""

    states: frozenset[tuple[str, str]]
    left_s: float


def _awaited(breakers: Breakers) -> dict[str, _Awaited]:
    """What is awaited, by provider."""
    awaited: dict[str, _Awaited] = {}
    for target, state in breakers.states().items():
        if state["breaker"] == "closed":
            continue
        name = target.partition("/")[0]
        one = _Awaited(frozenset(((target, state["breaker"]),)), state["for_ms"] / 1_000)
        known = awaited.get(name, one)
        awaited[name] = _Awaited(known.states | one.states, min(known.left_s, one.left_s))
    return awaited


def _read(told: bytes) -> Iterable[tuple[str, Probed]]:
    """What a worker told; nothing, where it is of another form."""
    try:
        rows = orjson.loads(told)
        return [
            (name, Probed(row["ok"], row["at"], row["reason"], row["us"]))
            for name, row in rows.items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def called(program: Program, providers: Mapping[str, Provider]) -> frozenset[str]:
    """The providers that requests may go to, usable or not.

    Where the policy names none, these are all that have been given a key.
    """
    usable = frozenset(name for name, one in providers.items() if one.usable)
    found = reached(program, usable)
    if not found:
        free = program.schema.providers
        found = frozenset(n for n in usable if not free.get(program.providers[n].kind, False))
    return found & providers.keys()


def _date(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
