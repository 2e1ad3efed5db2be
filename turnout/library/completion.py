"""What a request in process comes to: an answer, whole or piece by piece, or an error.

Each says what failed and what answered. Nothing of the engine shows through but `Usage`.

Over 300 lines because whole answers, streams and errors are accounts of the same record.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import orjson

from turnout.engine.record import Attempt as Kept
from turnout.engine.record import DecisionRecord
from turnout.engine.request import Reply, RequestError, StreamReply, Usage

_NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a target, or a target that was passed over.

    `outcome` is `ok`, `failed`, `skipped`, or `open` of the one that streams now. `fault` is the
    policy language's word for why it failed (`timeout`, `rate_limit`), `reason` one sentence.
    `status` is the provider's HTTP status where it was no success. `number` counts the tries at one
    target from 1; 0 where it was passed over.
    """

    target: str
    outcome: str
    fault: str | None
    reason: str | None
    status: int | None
    took: timedelta
    number: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer.

    `body` is OpenAI's; `text` the first choice's, empty of embeddings. `target` answered,
    `attempts` has what was tried before it too, `cost` (USD) is that of all of them. `rule` is the
    one that decided, None where none matched; `policy` its policy's hash. `id` finds the trace.
    """

    id: str
    body: dict[str, Any]
    text: str
    target: str
    attempts: tuple[Attempt, ...]
    cost: Decimal
    usage: Usage | None
    rule: str | None
    policy: str


class CompletionError(Exception):
    """A request that got no answer, or a stream that broke off.

    `str()` is the message with what was tried, such as `… (tried groq/llama-3-8b: timeout)`.

    `status` is what HTTP would have said, `code` and `type` are OpenAI's words for it, `param` the
    member of the body that is to blame. `attempts` is empty where nothing was tried.
    `retry_after_us`: when asking again may help, None where nobody said. `id` finds the trace,
    where there was a decision.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        id: str,
        type: str = "invalid_request_error",
        param: str | None = None,
        attempts: tuple[Attempt, ...] = (),
        retry_after_us: int | None = None,
    ) -> None:
        """Hold what is known of the failure."""
        super().__init__(message + _tried(attempts))
        self.status = status
        self.code = code
        self.message = message
        self.id = id
        self.type = type
        self.param = param
        self.attempts = attempts
        self.retry_after_us = retry_after_us


def _tried(attempts: Iterable[Attempt]) -> str:
    """What was tried, with its faults, and why the rest was not; empty where nothing was."""
    failed: dict[str, list[str]] = {}
    passed = []
    for one in attempts:
        if one.outcome == "failed":
            failed.setdefault(one.target, []).append(one.fault or one.reason or "failed")
        elif one.outcome == "skipped":
            passed.append(f"{one.target}: {one.reason or one.fault}")
    if not failed:
        return ""  # the message says why no target could be tried
    tried = "; ".join(f"{target}: {', '.join(faults)}" for target, faults in failed.items())
    return f" (tried {tried}" + (f"; passed over {'; '.join(passed)}" if passed else "") + ")"


class Account:
    """Where a request's record arrives once it is over."""

    __slots__ = ("__weakref__", "id", "record")

    def __init__(self, id: str) -> None:
        """Wait for the record of this request."""
        self.id = id
        self.record: DecisionRecord | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was tried for the answer; empty while there is no record."""
        return () if self.record is None else attempts_of(self.record.attempts)

    @property
    def cost(self) -> Decimal | None:
        """What all attempts cost, in USD; None while there is no record."""
        return None if self.record is None else self.record.cost_nano_usd / _NANO

    @property
    def usage(self) -> Usage | None:
        """What the answering attempt used, of a kept answer when it was made; None: no record."""
        if self.record is not None and self.record.served is not None:
            return self.record.served
        kept = () if self.record is None else self.record.attempts
        return next((a.usage for a in reversed(kept) if a.kind == "answer" and a.usage), None)


def attempts_of(kept: Iterable[Kept]) -> tuple[Attempt, ...]:
    """The attempts that were for the answer, in their order."""
    return tuple(
        Attempt(
            one.target,
            one.outcome,
            one.fault,
            one.reason,
            one.status,
            timedelta(microseconds=one.took_us),
            one.number,
        )
        for one in kept
        if one.kind == "answer"
    )


def failed(error: RequestError, account: Account) -> CompletionError:
    """The engine's error as a caller in process sees it."""
    return CompletionError(
        error.status,
        error.code,
        error.message,
        id=account.id,
        type=error.type,
        param=error.param,
        attempts=account.attempts,
        retry_after_us=error.retry_after_us,
    )


def completed(reply: Reply, account: Account) -> Completion:
    """A whole answer as a caller in process sees it."""
    body = orjson.loads(reply.body)
    return Completion(
        id=account.id,
        body=body,
        text=_text(body),
        target=reply.headers.get("x-turnout-model", ""),
        attempts=account.attempts,
        cost=account.cost or Decimal(0),
        usage=account.usage,
        rule=reply.headers.get("x-turnout-rule"),
        policy=reply.headers["x-turnout-policy"],
    )


def _text(body: dict[str, Any]) -> str:
    choices = body.get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return content if isinstance(content, str) else ""


class CompletionStream:
    """An answer while it is made: iterate for OpenAI's chunks, each parsed.

    It has begun when this exists: a failure before the first content was another hop's to mend, or
    a `CompletionError`. One after it is raised by the iteration. Closing it early (`aclose`, or the
    end of `async with`) ends the call at the provider; what was used by then is paid for.
    The fields are those of `Completion`; `cost` and `usage` are None before the end, `text` is what
    came so far.
    """

    def __init__(
        self,
        reply: StreamReply,
        account: Account,
        on_end: Callable[[], None],
        on_drop: Callable[[AsyncGenerator[bytes, None]], None],
    ) -> None:
        """Take over a stream at its first content.

        `on_end` is called once, when it is over; `on_drop` in the loop, with what is to be closed
        of a stream that was let go of.
        """
        self.id = account.id
        self.target = reply.headers.get("x-turnout-model", "")
        self.rule = reply.headers.get("x-turnout-rule")
        self.policy = reply.headers["x-turnout-policy"]
        self._reply = reply
        self._account = account
        self._on_end = on_end
        self._on_drop = on_drop
        self._said: list[str] = []
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[Any] | None = None  # who waits for the next chunk
        self._unread: asyncio.Event | None = None  # set once nobody does; while it is closed
        self._closing = asyncio.Lock()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What failed before, and the attempt that streams."""
        if self._account.record is not None:
            return self._account.attempts
        *before, last = attempts_of(self._reply.attempts)
        now = Attempt(last.target, "open", None, None, None, last.took, last.number)
        return (*before, now)

    @property
    def cost(self) -> Decimal | None:
        """What all attempts cost, in USD; None before the end."""
        return self._account.cost

    @property
    def usage(self) -> Usage | None:
        """What the answer used; None before the end."""
        return self._account.usage

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        return "".join(self._said)

    def __aiter__(self) -> Self:
        """The stream is its own iterator."""
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next chunk.

        Raises: CompletionError where the stream broke off, or was closed meanwhile.
        """
        if self._reader is not None:
            raise RuntimeError("another task waits for the next chunk of this stream already")
        if self._over:
            raise StopAsyncIteration
        self._reader = reader = asyncio.current_task()
        try:
            event = await anext(self._reply.chunks)
        except asyncio.CancelledError:
            self._end()
            if self._unread is None or reader is None or reader.uncancel() > 0:
                raise
            raise CompletionError(
                499,
                "stream_closed",
                "The stream was closed while it was read.",
                id=self.id,
                attempts=self._account.attempts,
            ) from None
        except StopAsyncIteration:
            self._end()
            if self._reply.failure is not None:
                failure, self._reply.failure = self._reply.failure, None
                raise failed(failure, self._account) from None
            raise
        except BaseException:
            self._end()
            raise
        finally:
            self._reader = None
            if self._unread is not None:
                self._unread.set()
        chunk: dict[str, Any] = orjson.loads(event[5:])
        for choice in chunk.get("choices") or ():
            said = (choice.get("delta") or {}).get("content")
            if said and choice.get("index", 0) == 0:
                self._said.append(said)
        return chunk

    async def aclose(self) -> None:
        """End the stream, if it has not ended; whoever closes early left.

        Any task may do so: for who waits for a chunk, it is a `CompletionError`.
        """
        self._end()
        async with self._closing:
            if self._reader is not None:
                self._unread = asyncio.Event()
                self._reader.cancel()
                await self._unread.wait()
            await self._reply.chunks.aclose()

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._on_end()

    def __del__(self) -> None:
        """Settle a stream that was dropped, as a client that left; its connection is let go of."""
        if self._over or self._loop.is_closed():
            return
        chunks, on_end, on_drop = self._reply.chunks, self._on_end, self._on_drop

        def leave() -> None:
            on_end()
            on_drop(chunks)

        self._loop.call_soon_threadsafe(leave)
