"""Attempts at one target: how often, and how long to wait in between.

Waits double with full jitter, but where the provider says when to come back it is waited for. A
wait that is longer than there is patience for ends the attempts instead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from .provider import FAULTS, Fault, ProviderError

T = TypeVar("T")

# Waits double up to this, from the hop's own `backoff`.
LONGEST_BACKOFF_S = 8.0


class KeptOut(ProviderError):
    """An attempt that was not made: its target is left alone, or full, or too dear."""

    def __init__(
        self, fault: Fault, message: str, left_us: int | None = None, *, code: str | None = None
    ) -> None:
        """Hold why, and how long it may stay so; None: waiting alone does not help."""
        super().__init__(fault, message, retry_after_us=left_us, code=code)


@dataclass(frozen=True, slots=True)
class Retries:
    """How to try again what failed once.

    `tries` is how many attempts there may be in all, the first among them. `asked_s` is how long
    the provider wants to be left alone after a failure, None where it does not say, infinite where
    there is to be no other attempt. `patience_s` is how long a wait may be after a failure.
    """

    tries: int
    backoff_us: int
    asked_s: Callable[[ProviderError], float | None]
    patience_s: Callable[[ProviderError], float]

    async def after(self, failure: ProviderError, attempt: Callable[[int], Awaitable[T]]) -> T:
        """The first attempt that succeeds; it is called with its number, from 2.

        Raises: ProviderError, the last attempt's.
        """
        first: ProviderError | None = failure
        latest = failure
        async for trial in self._retrying():
            with trial:
                if first is not None:
                    # The first attempt is over: it counts as tenacity's first, which now waits.
                    over, first = first, None
                    raise over
                try:
                    return await attempt(trial.retry_state.attempt_number)
                except KeptOut:
                    # What went wrong says more than that it is not tried again.
                    raise latest from None
                except ProviderError as failure:
                    latest = failure
                    raise
        raise AssertionError("tenacity ends with a result or the last error")

    def _retrying(self) -> AsyncRetrying:
        first_s = self.backoff_us / 1e6
        backoff = wait_random_exponential(
            multiplier=first_s, max=max(LONGEST_BACKOFF_S, first_s), exp_base=2
        )
        counted = stop_after_attempt(self.tries)

        def wait(state: RetryCallState) -> float:
            asked = self.asked_s(_failure(state))
            return asked if asked is not None else backoff(state)

        def enough(state: RetryCallState) -> bool:
            return counted(state) or state.upcoming_sleep >= self.patience_s(_failure(state))

        return AsyncRetrying(
            retry=retry_if_exception(is_tried_again),
            wait=wait,
            stop=enough,
            sleep=asyncio.sleep,
            reraise=True,
        )


def is_tried_again(error: BaseException) -> bool:
    """Whether the same target may answer after this; the provider's own word wins."""
    if not isinstance(error, ProviderError) or isinstance(error, KeptOut):
        return False
    if error.should_retry is not None:
        return error.should_retry
    return FAULTS[error.fault].retry


def _failure(state: RetryCallState) -> ProviderError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, ProviderError)
    return error
