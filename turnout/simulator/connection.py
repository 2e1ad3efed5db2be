"""One connection: reads HTTP/1.1 requests, plays scripts, and notices clients that leave.

A protocol of its own and not a web framework's, because faults need the socket: a reset, a body
cut short, a write per chunk.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from .received import Received
from .script import Ending, Script
from .traffic import Tally

_HEAD_LIMIT = 65_536
_BODY_LIMIT = 64 * 1024 * 1024
_RESET_AFTER_S = 0.002  # lets what was written reach the wire before the reset
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Turn:
    """A script to play and the counts it belongs to; `outcome` names the count it ends in."""

    script: Script
    tally: Tally
    outcome: str


Respond = Callable[[Received], Turn]


class BadRequest(Exception):
    """Bytes that are no HTTP/1.1 request."""


class Connection(asyncio.Protocol):
    """Serves one client; requests are answered in turn, pipelined ones wait."""

    def __init__(
        self,
        respond: Respond,
        opened: Callable[["Connection"], bool],
        closed: Callable[["Connection"], None],
    ) -> None:
        """Answer by `respond`; `opened` says False to have the connection reset at once."""
        self._respond = respond
        self._opened = opened
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._turn: Turn | None = None
        self._at = 0
        self._keep = True
        self._paused = False
        self._continued = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new client."""
        # A cast, not a check: uvloop's transports are of no class of asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        if not self._opened(self):
            self._reset()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what the client did not wait for."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._turn is not None:
            self._turn.tally.cut_by_client += 1
            self._turn = None
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        """Answer a request as soon as all of it is there."""
        self._buffer = self._buffer + data if self._buffer else data
        if self._turn is None:
            self._next()

    def pause_writing(self) -> None:
        """Stop playing: the client reads slower than it is written to."""
        self._paused = True

    def resume_writing(self) -> None:
        """Play on."""
        self._paused = False
        if self._turn is not None and self._timer is None:
            self._play()

    def abort(self) -> None:
        """Leave the client at once."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self) -> None:
        """Leave the client: in the middle of an answer at once, else once all is sent."""
        if self._transport is not None and self._turn is None:
            self._transport.close()
        else:
            self.abort()

    def _next(self) -> None:
        while self._turn is None and self._buffer and self._transport is not None:
            try:
                received, rest = self._read()
            except BadRequest:
                self._transport.write(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                self._transport.close()
                self._buffer = b""
                return
            if received is None:
                return
            self._buffer, self._continued = rest, False
            self._keep = received.headers.get("connection", "").lower() != "close"
            self._turn, self._at = self._respond(received), 0
            self._play()

    def _read(self) -> tuple[Received | None, bytes]:
        """Return the first request of the buffer, None if more of it is to come, and the rest."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _HEAD_LIMIT:
                raise BadRequest
            return None, buffer
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadRequest
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise BadRequest
            headers[name.lower()] = value.strip()
        start = end + 4
        if "chunked" in headers.get("transfer-encoding", ""):
            body, stop = _unchunk(buffer, start)
        else:
            length = headers.get("content-length", "0")
            if not length.isdecimal():
                raise BadRequest
            stop = start + int(length)
            body = buffer[start:stop] if len(buffer) >= stop else None
        if body is None:
            if stop - start > _BODY_LIMIT:
                raise BadRequest
            self._continue(headers)
            return None, buffer
        path, _, query = words[1].partition("?")
        return Received(words[0], path, query, headers, body), buffer[stop:]

    def _continue(self, headers: dict[str, str]) -> None:
        if headers.get("expect", "").lower() == "100-continue" and not self._continued:
            self._continued = True
            if self._transport is not None:
                self._transport.write(_CONTINUE)

    def _play(self) -> None:
        """Write until the next wait, the client's limit or the end."""
        self._timer = None
        turn, transport = self._turn, self._transport
        if turn is None or transport is None:
            return
        steps = turn.script.steps
        while self._at < len(steps):
            if self._paused:
                return
            step = steps[self._at]
            self._at += 1
            if isinstance(step, bytes):
                transport.write(step)
                turn.tally.bytes_out += len(step)
            elif step < 0:
                return
            else:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(step / 1e6, self._play)
                return
        self._finish(turn, transport)

    def _finish(self, turn: Turn, transport: asyncio.Transport) -> None:
        setattr(turn.tally, turn.outcome, getattr(turn.tally, turn.outcome) + 1)
        self._turn = None
        if turn.script.ending is Ending.RST:
            asyncio.get_running_loop().call_later(_RESET_AFTER_S, self._reset)
            self._buffer = b""
        elif turn.script.ending is Ending.FIN or not self._keep:
            transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next)

    def _reset(self) -> None:
        """Close so that the peer sees a reset: a zero linger discards and sends RST."""
        if self._transport is not None:
            linger = struct.pack("ii", 1, 0)
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()


def _unchunk(buffer: bytes, start: int) -> tuple[bytes | None, int]:
    """Return a chunked body, None if more is to come, and where it ends."""
    parts: list[bytes] = []
    at = start
    while (line := buffer.find(b"\r\n", at)) >= 0:
        try:
            size = int(buffer[at:line].split(b";")[0], 16)
        except ValueError as error:
            raise BadRequest from error
        at = line + 2 + size + 2
        if at > len(buffer):
            break
        if size == 0:
            return b"".join(parts), at
        parts.append(buffer[line + 2 : at - 2])
    return None, len(buffer)
