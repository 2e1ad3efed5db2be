"""One client's connection, and all of a worker's: how many, how long, how slow they may be.

Sanic measures silence, so a client that sends a byte now and then could stay for ever; here a
request's headers have a time, whatever trickles in. A client that does not read is cut, in the
middle of a stream as after a whole answer.
"""

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol, cast

import orjson
from sanic.exceptions import BadRequest, RequestTimeout
from sanic.http import Http, Stage
from sanic.http.http1 import HTTP_CONTINUE
from sanic.models.server_types import ConnInfo
from sanic.server.protocols.http_protocol import HttpProtocol

from turnout.engine.request import new_request_id
from turnout.settings import Limits

# Who has connected and said nothing for so long may be closed, for somebody else or at a stop.
_SPEAKS_WITHIN_S = 1.0

_REFUSED = orjson.dumps(
    {
        "error": {
            "message": "The gateway has as many connections as it can; try again in a moment.",
            "type": "service_unavailable_error",
            "param": None,
            "code": "overloaded",
        }
    }
)

# RFC 9112: the end of the line before, and what a chunk begins with. Sanic takes `0x1F` for a size,
# any two bytes for an end of line and anything for an extension; who reads them otherwise sees a
# request where it sees a body, or the other way round.
_CHUNK = re.compile(rb"\r\n[0-9A-Fa-f]{1,16}[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_LONGEST_CHUNK_LINE = 64  # where nothing but what follows ends it

_log = logging.getLogger("turnout.server")


class Silent(Hashable, Protocol):
    """Who has connected and said nothing yet."""

    def close(self) -> None:
        """Let go of it."""


class Connections:
    """The connections of one worker that nobody would miss, the oldest first."""

    def __init__(self, limits: Limits, most: int, turned_away: Callable[[str], None]) -> None:
        """Hold `most` at a time; `turned_away` is told of each that is not taken, and why."""
        self.limits = limits
        self.most = most
        self.turned_away = turned_away
        self.open = 0
        self.silent: OrderedDict[Silent, float] = OrderedDict()  # and since when
        self.idle: OrderedDict[Connection, None] = OrderedDict()

    def make_room(self, now: float) -> bool:
        """Close one that never asked for anything, else the one idle for longest, if any."""
        if self.silent:
            one, since = next(iter(self.silent.items()))
            if now - since > _SPEAKS_WITHIN_S:
                del self.silent[one]
                one.close()
                return True
        if self.idle:
            one, _ = self.idle.popitem(last=False)
            one.close()
            return True
        return False

    def forget(self, one: "Connection") -> None:
        """Keep a connection that asks for something, or is gone."""
        self.silent.pop(one, None)
        self.idle.pop(one, None)


class _Exchange(Http):
    """Sanic's reading and writing of one connection; it tells the connection where it is."""

    def init_for_request(self) -> None:
        """Get ready for the next request."""
        super().init_for_request()  # type: ignore[no-untyped-call]
        self._connection.is_idle()
        self._connection.is_pipelined = bool(self.recv_buffer)

    async def http1_request_header(self) -> None:
        """Read a request's headers; its first bytes are there."""
        self._connection.began = time.monotonic()
        if self._connection.is_pipelined:
            # There may be a thousand of them in the buffer; others get their turn in between.
            await asyncio.sleep(0)
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        self._connection.is_asking()

    async def read(self) -> bytes | None:
        """Read a part of the body. Raises: BadRequest where chunks are not as HTTP has them."""
        # Sanic declares neither as what it is.
        kind: Any = self.request_body
        if kind == "chunked" and not self.request_bytes_left:
            await self._check_chunk()
        return await super().read()

    async def _check_chunk(self) -> None:
        """Look at what the next chunk begins with, once it is there."""
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        buffer = self.recv_buffer
        while buffer.find(b"\r\n", 2) < 0 and len(buffer) <= _LONGEST_CHUNK_LINE:
            await self._receive_more()
        if _CHUNK.match(buffer) is None:
            self.keep_alive = False
            raise BadRequest("Bad chunked encoding")

    @property
    def _connection(self) -> "Connection":
        return cast(Connection, self.protocol)


class Connection(HttpProtocol):
    """A connection with bounds. One timer, that comes about every quarter of a minute."""

    HTTP_CLASS = _Exchange
    __slots__ = (
        "_behind",
        "_counted",
        "_crowd",
        "_leftover_since",
        "_spoke",
        "_unread",
        "began",
        "is_pipelined",
    )

    def __init__(self, **given: Any) -> None:
        """Prepare what Sanic's server makes for each connection."""
        super().__init__(**given)
        self.began = time.monotonic()
        self._crowd: Connections = self.app.ctx.connections
        self.is_pipelined = False
        self._counted = False
        self._spoke = False
        self._leftover_since: float | None = None
        self._behind: asyncio.TimerHandle | None = None
        self._unread = 0

    # --- coming and going ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Serve a client, unless there are too many."""
        crowd = self._crowd
        if crowd.open >= crowd.most and not crowd.make_room(self.began):
            self._refuse(transport)
            return
        self._counted = True
        crowd.open += 1
        crowd.silent[self] = self.began
        super().connection_made(transport)  # type: ignore[no-untyped-call]

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget a client."""
        self._crowd.forget(self)
        self._crowd.open -= self._counted
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def is_idle(self) -> None:
        """Nothing is asked for now."""
        self._leftover_since = None
        if self._spoke:
            self._crowd.idle[self] = None

    def is_asking(self) -> None:
        """The headers of a request are there."""
        self._spoke = True
        self._crowd.forget(self)

    def close_if_idle(self) -> bool:
        """Close where nothing is asked for; who has just begun to speak gets a moment for it."""
        http: Any = self._http
        is_beginning = http is not None and http.stage is Stage.REQUEST
        if (is_beginning or not self._spoke) and time.monotonic() - self.began < _SPEAKS_WITHIN_S:
            return False
        if is_beginning and self._task is not None:
            # Once its headers were there, it would be refused.
            self._task.cancel()
            return True
        return bool(super().close_if_idle())

    def _refuse(self, transport: Any) -> None:
        self._crowd.turned_away("connections_full")
        self.transport = transport
        self.conn_info = ConnInfo(transport, unix=self._unix)
        self.recv_buffer = bytearray()
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
            b"x-should-retry: true\r\nx-request-id: %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (new_request_id().encode(), len(_REFUSED), _REFUSED)
        )
        transport.close()

    # --- slow writers ----------------------------------------------------------------------------

    def check_timeouts(self) -> None:
        """End the connection if its client lets us wait for too long, else look again later."""
        http = self._http
        if self._task is None or http is None:
            return
        left = self._time_left(http, time.monotonic())
        if left > 0:
            # Sooner than that, it may be at something else.
            limits = self._crowd.limits
            soon = min(left, limits.header_us / 1e6, limits.idle_us / 1e6)
            self._callback_check_timeouts = self.loop.call_later(soon, self.check_timeouts)
            return
        if http.stage is Stage.REQUEST:
            http.exception = RequestTimeout("Request Timeout")
        self._task.cancel()

    def _time_left(self, http: Any, now: float) -> float:
        limits = self._crowd.limits
        header_s = limits.header_us / 1e6
        if http.stage is Stage.REQUEST or not self._spoke:
            return self.began + header_s - now
        if http.stage is not Stage.IDLE:
            return header_s
        if http.request_body:
            # It was answered already, and is still sending a body that nobody wanted.
            since = self._leftover_since = self._leftover_since or now
            return since + header_s - now
        if self._behind is not None:
            return header_s
        return self._time + limits.idle_us / 1e6 - now

    # --- slow readers ----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client is behind: nothing more is sent, and it has a time to catch up."""
        super().pause_writing()  # type: ignore[no-untyped-call]
        self._unread = self._buffered()
        self._give_time()

    def resume_writing(self) -> None:
        """The client has caught up, or is gone."""
        super().resume_writing()  # type: ignore[no-untyped-call]
        if self._behind is not None:
            self._behind.cancel()
            self._behind = None

    def _buffered(self) -> int:
        transport: Any = self.transport
        return cast(int, transport.get_write_buffer_size())

    def _give_time(self) -> None:
        stall_s = self._crowd.limits.stall_us / 1e6
        self._behind = self.loop.call_later(stall_s, self._check_reading)

    def _check_reading(self) -> None:
        transport = self.transport
        if transport is None:
            return
        limits = self._crowd.limits
        unread = self._buffered()
        if (self._unread - unread) * 1_000_000 < limits.least_bytes * limits.stall_us:
            _log.info("a client stopped reading its answer and was cut off")
            transport.abort()
            return
        self._unread = unread
        self._give_time()
