"""The beginning of a connection over TLS: until both sides have agreed, it is none of a request.

A client that is slow to begin, or never does, is held to the same time as one that is slow with its
headers, and counts among those that may be connected. Its first bytes are seen before TLS starts,
so that a client that speaks plain HTTP is told so instead of being cut off without a word.
"""

import asyncio
import time
from typing import Any, cast

import orjson

from turnout.engine.request import new_request_id

from .connection import Connection, Connections
from .tls import Certificate

# How long a client may take over the goodbye of TLS.
_GOODBYE_S = 2.0
_PIECE_BYTES = 64 * 1024
_HANDSHAKE = 0x16  # what a record of TLS begins with that opens a connection

_PLAIN = orjson.dumps(
    {
        "error": {
            "message": "This port speaks HTTPS; the request came over plain HTTP.",
            "type": "invalid_request_error",
            "param": None,
            "code": "https_required",
        }
    }
)

_shaking: set[asyncio.Task[None]] = set()  # the loop itself only holds tasks weakly


class Secured(Connection):
    """A connection over TLS; a long answer goes into it piece by piece.

    TLS takes all that it is given, and says only at the next piece that the client is behind.
    """

    __slots__ = ()

    async def send(self, data: bytes) -> None:
        """Write, as fast as the client reads."""
        for at in range(0, len(data), _PIECE_BYTES):
            await super().send(data[at : at + _PIECE_BYTES])  # type: ignore[no-untyped-call]


class _First(asyncio.Protocol):
    """What comes through TLS before anybody could take it: some send a request with their hello."""

    def __init__(self) -> None:
        self.data = b""
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.is_over = True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.is_over = True


class Greeting(asyncio.Protocol):
    """A client that has connected and not agreed on TLS yet; a `Connection` takes over then."""

    def __init__(self, certificate: Certificate, **given: Any) -> None:
        """Prepare for a client; `given` is what Sanic's server has for a connection."""
        self._certificate = certificate
        self._given = given
        self._crowd: Connections = given["app"].ctx.connections
        self._loop: asyncio.AbstractEventLoop = given["loop"]
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._begun = False
        self._counted = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for what the client says first, unless there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        crowd = self._crowd
        now = time.monotonic()
        if crowd.open >= crowd.most and not crowd.make_room(now):
            crowd.turned_away("connections_full")
            self._transport.abort()
            return
        crowd.open += 1
        self._counted = True
        crowd.silent[self] = now
        self._patience = self._loop.call_later(crowd.limits.header_us / 1e6, self.close)

    def data_received(self, data: bytes) -> None:
        """Begin with TLS, or tell a client that it is what is spoken here."""
        self._early += data
        if self._begun:
            return
        self._begun = True
        assert self._transport is not None
        if self._early[0] != _HANDSHAKE:
            self._tell_plainly(self._transport)
            return
        task = self._loop.create_task(self._shake(self._transport))
        _shaking.add(task)
        task.add_done_callback(_shaking.discard)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget a client that left before it came to TLS."""
        self._leave()

    def close(self) -> None:
        """Let go of a client, for somebody else or because it takes too long."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake(self, transport: asyncio.Transport) -> None:
        first = _First()
        secured = self._loop.create_task(self._start_tls(transport, first))
        # By now it has paused reading and waits for its turn to begin; right after that turn, what
        # was read already is its first.
        await asyncio.sleep(0)
        if not secured.done():
            self._loop.call_soon(self._feed, transport)
        try:
            over = await secured
        except (OSError, asyncio.IncompleteReadError):  # an `SSLError` is one, and a timeout
            transport.abort()
            return
        finally:
            self._leave()
        # A handshake that was cut short ends without an error, too.
        if over is None or first.is_over or over.get_extra_info("cipher") is None:
            transport.abort()
            return
        connection = Secured(**self._given)
        over.set_protocol(connection)
        connection.connection_made(over)
        if first.data:
            connection.data_received(first.data)

    async def _start_tls(
        self, transport: asyncio.Transport, first: "_First"
    ) -> asyncio.Transport | None:
        return await self._loop.start_tls(
            transport,
            first,
            self._certificate.context,
            server_side=True,
            ssl_handshake_timeout=self._crowd.limits.header_us / 1e6,
            ssl_shutdown_timeout=_GOODBYE_S,
        )

    def _feed(self, transport: asyncio.Transport) -> None:
        """Give TLS the bytes that were read before it was there."""
        protocol: Any = transport.get_protocol()  # the loop's own, a buffered one
        if protocol is self or transport.is_closing():
            return
        early, self._early = self._early, b""
        while early:
            buffer = protocol.get_buffer(len(early))
            size = min(len(buffer), len(early))
            buffer[:size] = early[:size]
            protocol.buffer_updated(size)
            early = early[size:]

    def _tell_plainly(self, transport: asyncio.Transport) -> None:
        transport.write(
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\nx-request-id: %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (new_request_id().encode(), len(_PLAIN), _PLAIN)
        )
        transport.close()

    def _leave(self) -> None:
        """Count no longer among those who have not begun."""
        if self._patience is not None:
            self._patience.cancel()
        self._crowd.silent.pop(self, None)
        self._crowd.open -= self._counted
        self._counted = False
