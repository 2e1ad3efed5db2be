"""A lean HTTP/1.1 load generator: keep-alive lanes over asyncio protocols, streams, early leavers.

It is lean enough that one core does for it and the simulator together. Over 300 lines
because every way a client can behave stands in one protocol.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

_END_OF_STREAM = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to make.

    `leave_after` makes the client drop the connection: of a stream after that many events (0:
    once the head is there), of a whole answer after so many milliseconds. `leave_ms` does so after
    so many milliseconds whatever it is. `head` is lines for its headers, each with its CRLF.
    """

    path: str
    body: bytes
    stream: bool = False
    leave_after: int | None = None
    leave_ms: int | None = None
    head: str = ""


@dataclass(slots=True)
class Outcome:
    """How a shot ended. `first_us` is the time to the first byte of the body, `took_us` to the end.

    `left`: the client dropped it as told. `failure`: what went wrong, in words; None if nothing.
    """

    status: int = 0
    events: int = 0
    first_us: int = 0
    took_us: int = 0
    left: bool = False
    failure: str | None = None


class Told(NamedTuple):
    """What came back, to be judged: the head in lower case, and the body without its framing."""

    head: str
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        _, found, rest = self.head.partition(f"\r\n{name}:")
        return rest.partition("\r\n")[0].strip() if found else ""


# Sees each answer, and may say in `outcome.failure` what is wrong with it, or that nothing is.
Judge = Callable[[Shot, Outcome, Told], None]


@dataclass
class Report:
    """All outcomes of a run, and how long it took."""

    outcomes: list[Outcome] = field(default_factory=list)
    took_us: int = 0

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return len(self.outcomes) / self.took_us * 1e6 if self.took_us else 0.0

    def failures(self) -> list[str]:
        """What went wrong, each failure in words."""
        return [one.failure for one in self.outcomes if one.failure is not None]

    def quantile_us(self, share: float, of: str = "took_us") -> int:
        """Return a quantile over the answers that were read to their end."""
        times = sorted(getattr(one, of) for one in self.outcomes if not one.left)
        return times[min(int(len(times) * share), len(times) - 1)] if times else 0


async def fire(
    host: str,
    port: int,
    shots: Iterable[Shot],
    *,
    lanes: int,
    headers: dict[str, str] | None = None,
    on_outcome: Callable[[int], None] | None = None,
    judge: Judge | None = None,
    rest_s: float = 0.0,
    patience_s: float | None = None,
) -> Report:
    """Make all requests over `lanes` connections at a time, each one after another.

    `on_outcome` is called with the number of requests done so far. A lane rests between requests;
    it gives an answer up that is not complete within `patience_s`.
    """
    head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    report = Report()
    queue = iter(shots)
    manner = _Manner(host, port, head, on_outcome, judge, rest_s, patience_s)
    started = time.perf_counter_ns()
    await asyncio.gather(*(_lane(manner, queue, report) for _ in range(lanes)))
    report.took_us = (time.perf_counter_ns() - started) // 1000
    return report


async def volley(
    host: str,
    port: int,
    shots: Iterable[Shot],
    *,
    headers: dict[str, str] | None = None,
    judge: Judge | None = None,
    patience_s: float | None = None,
) -> Report:
    """Make all requests at the same moment, each over a connection of its own opened before."""
    head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    manner = _Manner(host, port, head, None, judge, 0.0, patience_s)
    loop = asyncio.get_running_loop()
    make = partial(_Client, manner)
    waiting = list(shots)
    clients = [(await loop.create_connection(make, host, port))[1] for _ in waiting]
    report = Report()
    started = time.perf_counter_ns()
    shooting = (one.shoot(shot) for one, shot in zip(clients, waiting, strict=True))
    report.outcomes += await asyncio.gather(*shooting)
    report.took_us = (time.perf_counter_ns() - started) // 1000
    for one in clients:
        one.close()
    return report


class _Manner(NamedTuple):
    """How all lanes of a run go about it."""

    host: str
    port: int
    head: str
    on_outcome: Callable[[int], None] | None
    judge: Judge | None
    rest_s: float
    patience_s: float | None


async def _lane(manner: _Manner, queue: Iterator[Shot], report: Report) -> None:
    loop = asyncio.get_running_loop()
    client: _Client | None = None
    for shot in queue:
        if client is None or client.closed:
            make = partial(_Client, manner)
            try:
                _, client = await loop.create_connection(make, manner.host, manner.port)
            except OSError as error:
                report.outcomes.append(Outcome(failure=f"no connection: {error}"))
                continue
        report.outcomes.append(await client.shoot(shot))
        if manner.on_outcome is not None:
            manner.on_outcome(len(report.outcomes))
        if manner.rest_s:
            await asyncio.sleep(manner.rest_s)
    if client is not None:
        client.close()


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, manner: _Manner) -> None:
        self.closed = True
        self._manner = manner
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._shot = Shot("", b"")
        self._outcome = Outcome()
        self._started_ns = 0
        self._reset()

    def _reset(self) -> None:
        self._buffer = b""
        self._head_read = False
        self._chunked = False
        self._left = 0  # bytes of the body, or of the chunk, still to come
        self._tail = b""
        self._head = ""
        self._body: list[bytes] = []  # kept where somebody judges it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.closed = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(f"connection lost: {exc or 'closed by the server'}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def shoot(self, shot: Shot) -> Outcome:
        assert self._transport is not None
        manner = self._manner
        self._reset()
        self._shot, self._outcome = shot, Outcome()
        self._answered = asyncio.get_running_loop().create_future()
        self._started_ns = time.perf_counter_ns()
        self._transport.write(
            f"POST {shot.path} HTTP/1.1\r\nhost: {manner.host}\r\n"
            f"content-type: application/json\r\n{manner.head}{shot.head}"
            f"content-length: {len(shot.body)}\r\n\r\n".encode()
            + shot.body
        )
        leave_ms = shot.leave_after if shot.leave_ms is None and not shot.stream else shot.leave_ms
        if leave_ms is not None:
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(leave_ms / 1000, self._leave)
        try:
            async with asyncio.timeout(manner.patience_s):
                await self._answered
        except TimeoutError:
            self._outcome.failure = f"no complete answer within {manner.patience_s} s"
            self.closed = True
            self._transport.abort()
        self._answered = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._outcome.took_us = (time.perf_counter_ns() - self._started_ns) // 1000
        if manner.judge is not None:
            manner.judge(shot, self._outcome, Told(self._head, b"".join(self._body)))
        return self._outcome

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._head_read and not self._read_head():
            return
        if not self._outcome.first_us and self._buffer:
            self._outcome.first_us = (time.perf_counter_ns() - self._started_ns) // 1000
        if self._chunked:
            self._read_chunks()
        else:
            self._left -= len(self._buffer)
            if self._manner.judge is not None:
                self._body.append(self._buffer)
            self._tail, self._buffer = self._buffer[-64:], b""
            if self._left <= 0:
                self._complete()

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[:end].lower()
        self._buffer = self._buffer[end + 4 :]
        self._head_read = True
        self._head = head.decode("latin-1") if self._manner.judge is not None else ""
        self._outcome.status = int(head[9:12])
        self._chunked = b"transfer-encoding: chunked" in head
        if not self._chunked:
            at = head.find(b"content-length:")
            self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if self._shot.stream and self._shot.leave_after == 0:
            self._leave()
        return True

    def _read_chunks(self) -> None:
        buffer, at = self._buffer, 0
        while True:
            line = buffer.find(b"\r\n", at)
            if line < 0:
                break
            size = int(buffer[at:line], 16)
            end = line + 2 + size
            if len(buffer) < end + 2:
                break
            if size == 0:
                self._buffer = buffer[end + 2 :]
                self._complete()
                return
            payload = buffer[line + 2 : end]
            self._outcome.events += payload.count(b"\n\n")
            if self._manner.judge is not None:
                self._body.append(payload)
            self._tail = payload[-64:]
            at = end + 2
            if (
                self._shot.leave_after is not None
                and self._outcome.events >= self._shot.leave_after
            ):
                self._leave()
                return
        self._buffer = buffer[at:]

    def _complete(self) -> None:
        outcome = self._outcome
        if outcome.status != 200:
            outcome.failure = f"status {outcome.status}"
        elif self._shot.stream and _END_OF_STREAM not in self._tail:
            outcome.failure = "the stream ended without [DONE]"
        elif self._buffer or self._left < 0:
            outcome.failure = "something came after the end of the answer"
        self._settle()

    def _leave(self) -> None:
        if self._answered is None or self._answered.done() or self._transport is None:
            return
        self._outcome.left = True
        self._settle()
        self.closed = True
        self._transport.abort()

    def _fail(self, words: str) -> None:
        if self._answered is not None and not self._answered.done():
            self._outcome.failure = words
            self._settle()

    def _settle(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
