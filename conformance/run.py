"""Asks the cases and tells what came of each."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import quote

import httpx

from .api import Api, Exchanges, Target
from .case import Case, Failed, Skipped
from .exchange import Exchange
from .suite import AREAS

_HIDDEN = "•••"
# Areas that ask nothing of the model itself.
_WITHOUT_THE_MODEL = frozenset({"models", "embeddings"})


class Outcome(StrEnum):
    """What came of a case. `not offered`: nothing is served at the endpoint of its area."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_OFFERED = "not offered"


@dataclass(frozen=True, slots=True)
class Result:
    """A case and what came of it.

    `seen` says what was seen of a failed case and why another was not asked; `exchange` is the
    last request of a failed case with its answer, in short. `answered_by` are the targets that a
    gateway of this kind says were asked (`x-turnout-model`).
    """

    case: Case
    outcome: Outcome
    ms: float
    seen: str | None = None
    exchange: str | None = None
    answered_by: tuple[str, ...] = ()


class UnreachableError(Exception):
    """Nothing can be asked at the base URL; the message says why."""


class UnknownModelError(Exception):
    """Nobody knows the model there; the message is what was said of it."""


async def run(
    target: Target,
    cases: Sequence[Case],
    *,
    timeout_s: float = 30.0,
    concurrency: int = 4,
    transport: httpx.AsyncBaseTransport | None = None,
    told: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Ask cases, so many at a time, and return their results in the same order.

    `told` hears of each as it ends, before it is known what is not offered. The key is in no
    result. Raises: UnreachableError where the first request gets no answer or the key is refused;
    UnknownModelError where cases need a model that nobody knows.
    """
    gate = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        transport=transport, timeout=timeout_s, trust_env=False, limits=limits, cookies=_none_kept()
    ) as client:
        client.headers.clear()
        exchanges = Exchanges(target, client, timeout_s)
        await _reach(target, exchanges)
        if any(case.area not in _WITHOUT_THE_MODEL for case in cases):
            await _know(target, exchanges)

        async def ask(case: Case) -> tuple[Result, list[Exchange]]:
            async with gate:
                api = Api(target, exchanges)
                result = _without(target.key, await _ask(case, api))
                told(result)
                return replace(result, answered_by=_answered_by(api.seen)), api.seen

        asked = await asyncio.gather(*map(ask, cases))
    return _with_what_is_not_offered(asked)


def _none_kept() -> CookieJar:
    """Cookies that came with one answer must not go with another request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


async def _reach(target: Target, exchanges: Exchanges) -> None:
    try:
        answer = await Api(target, exchanges).send("GET", "models")
    except Failed as error:
        raise UnreachableError(str(error)) from None
    if target.key and answer.status in (401, 403):
        raise UnreachableError(f"the key is refused with status {answer.status}")


async def _know(target: Target, exchanges: Exchanges) -> None:
    try:
        said = (await Api(target, exchanges).chat()).denies(target.model)
    except Failed:
        return  # the cases tell of it
    if said is not None:
        raise UnknownModelError(_hidden(target.key, said))


def _answered_by(seen: Sequence[Exchange]) -> tuple[str, ...]:
    named = (exchange.header("x-turnout-model") for exchange in seen)
    return tuple(dict.fromkeys(name for name in named if name))


async def _ask(case: Case, api: Api) -> Result:
    started = time.perf_counter()

    def result(outcome: Outcome, seen: str | None = None, exchange: str | None = None) -> Result:
        return Result(case, outcome, (time.perf_counter() - started) * 1e3, seen, exchange)

    try:
        await case.check(api)
    except Skipped as reason:
        return result(Outcome.SKIPPED, str(reason))
    except Failed as failure:
        last = api.seen[-1].excerpt() if api.seen else None
        return result(Outcome.FAILED, str(failure), last)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        # No case foresaw an answer of this shape, so no client will.
        last = api.seen[-1].excerpt() if api.seen else None
        said = f"the answer cannot be read: {type(error).__name__}: {error}"
        return result(Outcome.FAILED, said, last)
    return result(Outcome.PASSED)


def _with_what_is_not_offered(asked: Sequence[tuple[Result, list[Exchange]]]) -> list[Result]:
    """The results, with those of an area none of whose requests found anything told apart."""
    nowhere: set[str] = set()
    for area in AREAS:
        found_nothing = [
            exchange.finds_nothing
            for result, seen in asked
            if result.case.area == area.name
            for exchange in seen
            if exchange.path.startswith(area.endpoint)
        ]
        if found_nothing and all(found_nothing):
            nowhere.add(area.name)
    return [
        replace(result, outcome=Outcome.NOT_OFFERED, seen=None, exchange=None)
        if result.case.area in nowhere
        else result
        for result, _ in asked
    ]


def _without(key: str | None, result: Result) -> Result:
    """The result without the key, however it was written."""
    if not key:
        return result

    def hidden(words: str | None) -> str | None:
        return None if words is None else _hidden(key, words)

    return replace(result, seen=hidden(result.seen), exchange=hidden(result.exchange))


def _hidden(key: str | None, words: str) -> str:
    for secret in dict.fromkeys((key, quote(key, safe=""))) if key else ():
        words = words.replace(secret, _HIDDEN)
    return words
