"""What one request takes of the rates of its tenant and its key.

In this order: a seat (`concurrency`), one request a minute (`rpm`), tokens (`tpm`). Tokens are
taken before anything is sent: the prompt, and the longest answer that the client allows. What a
later check refuses gives back what the earlier ones took: a request of which nothing was sent to
any provider uses up nothing. Once it is over, its tokens are those that were reported.
"""

import asyncio
from collections.abc import Iterable, Sequence

from . import tokens
from .budget import answers
from .rates import Rate, Rates, Taken, Uncertain, Unit, UsedUp
from .record import Attempt
from .request import Operation, Request, RequestError

CODE = "rate_limit_exceeded"
_UNCERTAIN_US = 1_000_000


class Draw:
    """One request's share of rates; `close` ends it, whatever became of the request."""

    __slots__ = ("_limits", "_rates", "_taken")

    def __init__(self, rates: Rates, limits: Sequence[Rate]) -> None:
        """Take of these rates, in this order."""
        self._rates = rates
        self._limits = limits
        self._taken: list[Taken] = []

    async def request(self) -> None:
        """Take one request. Raises: RequestError 429, 503."""
        await self._take("requests", 1, 1)

    async def tokens(self, request: Request) -> None:
        """Take the most tokens that a request may use, as far as it says. Raises: RequestError.

        Its prompt is bounded, and counted only where the bound does not fit and the count may.
        """
        limits = [rate.limit for rate in self._limits if rate.unit == "tokens"]
        if not limits:
            return
        output = 0
        if request.operation is not Operation.EMBEDDINGS:
            output = max(request.output_limit or 0, 0) * answers(request)
        low, high = tokens.bounds(request)
        try:
            await self._take("tokens", high + output, low + output)
        except _CountFirst:
            prompt = await asyncio.to_thread(tokens.count, request)
            await self._take("tokens", prompt + output, prompt + output)

    def settle(self, attempts: Iterable[Attempt]) -> None:
        """Say what the request has used: nothing, where nothing was sent for it.

        One that is answered from the cache is a request, of no tokens.
        """
        given = [one for one in attempts if one.sent or one.outcome == "cached"]
        made = [one for one in given if one.kind != "mirror"]
        used = sum(one.usage.input + one.usage.output for one in made if one.usage is not None)
        self._give_back(1 if made else 0, used)

    def close(self) -> None:
        """Give back what nothing was said of."""
        self._give_back(0, 0)

    def headers(self) -> dict[str, str]:
        """How far the rates are used up, in OpenAI's words; of several the one with least left."""
        told: dict[str, str] = {}
        for one in sorted(self._taken, key=lambda one: one.left, reverse=True):
            told |= _headers(one.rate, one.left, one.reset_us)
        return told

    async def _take(self, unit: Unit, units: int, at_least: int) -> None:
        for rate in self._limits:
            if rate.unit != unit:
                continue
            try:
                self._taken.append(await self._rates.take(rate, units))
            except UsedUp as full:
                # Where the bound never fits, only the count tells whether waiting helps.
                may_fit = full.left if full.wait_us is not None else rate.limit
                if at_least < units and at_least <= may_fit:
                    self._undo(unit)
                    raise _CountFirst from None
                told = _refused(full, units if full.wait_us is not None else max(units, 1))
                told.headers |= self.headers() | _headers(rate, full.left, full.reset_us)
                self.close()
                raise told from None
            except Uncertain:
                self.close()
                raise RequestError(
                    503,
                    "service_unavailable_error",
                    "rates_unavailable",
                    "The gateway cannot tell at the moment how far rate limits are used up.",
                    retry_after_us=_UNCERTAIN_US,
                    should_retry=True,
                ) from None
            except BaseException:  # the client went away while a lock was waited for
                self.close()
                raise

    def _undo(self, unit: Unit) -> None:
        for one in [one for one in self._taken if one.rate.unit == unit]:
            self._taken.remove(one)
            self._rates.correct(one, 0)

    def _give_back(self, requests: int, used: int) -> None:
        taken, self._taken = self._taken, []
        for one in taken:
            self._rates.correct(one, requests if one.rate.unit == "requests" else used)


class _CountFirst(Exception):
    """The bound of a prompt does not fit, and the prompt may."""


def _refused(full: UsedUp, units: int) -> RequestError:
    rate = full.rate
    whose = "This key" if rate.name.startswith("key:") else "This tenant"
    if full.wait_us is None:
        return RequestError(
            429,
            "rate_limit_error",
            CODE,
            f"{whose} may use {rate.limit} tokens a minute, and this request alone may use up to "
            f"{units}: send a shorter prompt, or a lower `max_tokens`.",
            should_retry=False,
        )
    if rate.unit == "requests":
        allowed = f"{rate.limit} request{'' if rate.limit == 1 else 's'} a minute"
        message = f"{whose} may make {allowed} and has made as many"
    else:
        message = (
            f"{whose} may use {rate.limit} tokens a minute and has {full.left} left; this request "
            f"may use up to {units}"
        )
    return RequestError(
        429,
        "rate_limit_error",
        CODE,
        f"{message}; try again in {_duration(full.wait_us)}.",
        retry_after_us=full.wait_us,
        should_retry=True,
    )


def _headers(rate: Rate, left: int, reset_us: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{rate.unit}": str(rate.limit),
        f"x-ratelimit-remaining-{rate.unit}": str(left),
        f"x-ratelimit-reset-{rate.unit}": _duration(reset_us),
    }


def _duration(us: int) -> str:
    """A time as OpenAI's headers write it, rounded up to a millisecond: `1m0.25s`, `120ms`.

    >>> _duration(60_250_000), _duration(1_000_000), _duration(119_001), _duration(0)
    ('1m0.25s', '1s', '120ms', '0s')
    """
    ms = -(-us // 1000)
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
