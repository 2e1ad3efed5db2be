"""Finds keys of providers that are others than before, and puts them in force while serving.

Keys in files and of commands (`OPENAI_API_KEY_FILE`, `…_COMMAND`) are looked at every few minutes,
at a SIGHUP, and as soon as a provider refuses one of them. Requests under way keep what they began
with, streams go on, connections stay. Each worker looks for itself: so many runs of a command in
a period as there are workers.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from turnout.dsl.core import Program
from turnout.engine.embedding import Embedder
from turnout.engine.live import Live
from turnout.engine.provider import Fault, Provider
from turnout.engine.record import DecisionRecord
from turnout.settings import SettingsError

# However many requests are refused: a key that is wrong stays wrong, and commands cost something.
LEAST_S = 10.0

_log = logging.getLogger("turnout.keys")


@dataclass(frozen=True, slots=True)
class Given:
    """What a provider is called with: compared, never shown."""

    address: str | None
    headers: Mapping[str, str]
    credential: str | None
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Given(…)"


class Serving(Protocol):
    """What has a program in force, and takes another."""

    @property
    def live(self) -> Live:
        """What is in force."""

    async def switch(self, live: Live) -> None:
        """Put another in force."""


class Rotation:
    """A companion of the gateway: what providers are called with, as the environment has it now."""

    name = "keys"

    def __init__(
        self,
        gateway: Serving,
        find: Callable[[Program], Mapping[str, Given]],
        make: Callable[[Program, str, Given], Provider],
        renew: Callable[[], list[str]],
        every_us: int,
        least_s: float = LEAST_S,
    ) -> None:
        """Look with `find`, after `renew` has run the commands anew (it tells what failed).

        `make` builds one provider. `every_us` 0: only when asked. `least_s` is between two looks.
        """
        self._gateway = gateway
        self._find = find
        self._make = make
        self._renew = renew
        self._every_s = every_us / 1_000_000 or None
        self._least_s = least_s
        self._asked = asyncio.Event()
        self._program: Program | None = None
        self._known: Mapping[str, Given] = {}

    def ask(self) -> None:
        """Look soon."""
        self._asked.set()

    def observe(self, record: DecisionRecord) -> None:
        """Look soon where a provider has refused a key of the gateway's own."""
        if any(one.fault == Fault.AUTH.value and one.payer == "gateway" for one in record.attempts):
            self._asked.set()

    async def run(self) -> None:
        """Look, now and then, until cancelled."""
        await asyncio.to_thread(self._remember)
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await self.look()
            await asyncio.sleep(self._least_s)

    def _remember(self) -> None:
        with suppress(SettingsError):  # what it is will be told at the first look
            self._known = self._find(self._gateway.live.program)

    async def look(self) -> None:
        """Put the keys of now in force; what cannot be read stays as it was, and is told."""
        live = self._gateway.live
        news = await asyncio.to_thread(self._news, live)
        for failure in news.failures:
            _log.warning("a key cannot be read again, what was read before stays: %s", failure)
        if not news.made:
            return
        if self._gateway.live is not live:  # another policy came meanwhile
            self._asked.set()
            return
        providers = {**live.providers, **news.made}
        embedder = Embedder(live.program, providers)
        await self._gateway.switch(replace(live, providers=providers, embedder=embedder))
        self._program, self._known = live.program, news.found
        if news.others:
            _log.info(
                "other keys are in force for %s", ", ".join(f"`{one}`" for one in news.others)
            )

    def _news(self, live: Live) -> "_News":
        failures = self._renew()
        try:
            found = self._find(live.program)
            others = sorted(name for name in found if found[name] != self._known.get(name))
            # With what the providers of a policy that is new were made is not known to the digit.
            stale = found if live.program is not self._program else others
            made = {name: self._make(live.program, name, found[name]) for name in stale}
        except SettingsError as error:
            return _News([*failures, *error.problems])
        except ValueError as error:
            return _News([*failures, str(error)])
        return _News(failures, found, made, others)


@dataclass(frozen=True, slots=True)
class _News:
    """What cannot be read; what was found, what was made of it, and whose is other than before."""

    failures: list[str]
    found: Mapping[str, Given] = field(default_factory=dict)
    made: Mapping[str, Provider] = field(default_factory=dict)
    others: Sequence[str] = ()
