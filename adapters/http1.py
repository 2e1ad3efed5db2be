"""An HTTP/1.1 transport for upstream requests: one protocol object per connection, an O(1) pool.

httpx's own transport searches its whole pool and probes sockets for every request, which costs
more than everything else the gateway does together. This one keeps idle connections of an origin on
a stack, learns of a closed one from the event loop, and parses with llhttp (httptools).

What it is not: a client. No redirects, cookies, proxies, HTTP/2 or retries. It speaks for requests
whose body is known (a `content-length`), which is all that adapters send.

Over 300 lines because connection, response body and pool only make sense together.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httptools
import httpx

# Idle connections are dropped before the usual 60 s of load balancers: a request that meets a
# closing connection fails for nothing.
_IDLE_S = 45.0
_IDLE_CONNECTIONS = 100
_HEAD_BYTES = 128 * 1024
_INTERIM_ANSWERS = 16  # 100 Continue, 103 Early Hints …
# Read ahead of a slow reader; beyond it the socket is left alone until the reader has caught up.
_BUFFERED_BYTES = 256 * 1024

Origin = tuple[bool, str, int]


class Http1Transport(httpx.AsyncBaseTransport):
    """Sends requests over pooled connections; used from one event loop.

    Reads the `timeout` extension: `connect` bounds connecting and the TLS handshake, `read` every
    gap in the answer. Raises: httpx.ConnectError, ConnectTimeout, ReadTimeout, ReadError and
    RemoteProtocolError, as httpx's own transport does.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        """Verify certificates by this context."""
        self._tls = tls
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return once the head of its answer is there."""
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        url = request.url
        secure = url.scheme == "https"
        # Not `host`, which is decoded: encoding it again, Python reads `faß` as `fass`.
        host = url.raw_host.decode("ascii")
        origin = (secure, host, url.port or (443 if secure else 80))
        connection = self._take(origin)
        if connection is None:
            connection = await self._connect(origin, timeouts.get("connect"))
        try:
            body = b"".join([part async for part in cast(httpx.AsyncByteStream, request.stream)])
            connection.send(_head(request, url), body, timeouts.get("read"))
            await connection.head()
            return httpx.Response(
                connection.status,
                headers=connection.headers,
                stream=_Body(connection),
                extensions={"http_version": b"HTTP/1.1"},
            )
        except BaseException:
            connection.abort()
            raise

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    def _take(self, origin: Origin) -> "_Connection | None":
        """The connection that was used last, if one is still good."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if now - connection.idle_since >= _IDLE_S:
                # It was the youngest: all of them are too old.
                for stale in (connection, *idle):
                    stale.abort()
                idle.clear()
            elif connection.is_open:
                return connection
        return None

    async def _connect(self, origin: Origin, seconds: float | None) -> "_Connection":
        secure, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                transport, connection = await loop.create_connection(
                    lambda: _Connection(self, origin),
                    host,
                    port,
                    ssl=self._tls if secure else None,
                    server_hostname=host if secure else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("connecting took too long") from error
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise httpx.ConnectError("connecting failed") from error
        plain = transport.get_extra_info("socket")
        if plain is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def opened(self, connection: "_Connection") -> None:
        """A connection is there."""
        self._open.add(connection)

    def lost(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def keep(self, connection: "_Connection") -> None:
        """A connection has answered and may be used again."""
        idle = self._idle.setdefault(connection.origin, deque())
        now = connection.idle_since
        while idle and (len(idle) >= _IDLE_CONNECTIONS or now - idle[0].idle_since >= _IDLE_S):
            idle.popleft().abort()
        if self._closed:
            connection.abort()
        else:
            idle.append(connection)


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    def __init__(self, pool: Http1Transport, origin: Origin) -> None:
        self._pool = pool
        self.origin = origin
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_use = False
        self._parser: httptools.HttpResponseParser | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is known to have closed it."""
        return self._transport is not None and not self._transport.is_closing()

    # --- one exchange ----------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes, read_s: float | None) -> None:
        """Write a request and be ready for its answer."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise httpx.ReadError("the connection was closed")
        self._in_use = True
        self._new_answer()
        self._interim = 0
        self._error: Exception | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._read_s = read_s
        self._progress = self._loop.time()
        self._transport.write(head + body)
        if read_s is not None:
            self._timer = self._loop.call_later(read_s, self._look)

    def _new_answer(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._header_bytes = 0
        self._has_head = False
        self._is_whole = False
        self._is_framed = False
        self._keep_alive = False

    async def head(self) -> None:
        """Wait until status and headers are there. Raises: httpx.TransportError."""
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def piece(self) -> bytes:
        """What has come of the body; empty at its end. Raises: httpx.TransportError."""
        while not self._pieces:
            if self._is_whole:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        pieces, self._pieces, self._buffered = self._pieces, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        # A slow reader's time is not the provider's.
        self._progress = self._loop.time()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        """One timer for the whole answer: when it strikes, see how long the last wait has been."""
        assert self._read_s is not None
        due = self._progress + self._read_s
        if self._waiter is not None and self._loop.time() >= due:
            self._fail(httpx.ReadTimeout("nothing came for too long"))
            return
        if self._waiter is None:
            due = self._loop.time() + self._read_s
        self._timer = self._loop.call_at(due, self._look)

    def finish(self) -> None:
        """The answer is not needed any more: keep the connection if it can be used again."""
        if not self._in_use:
            return
        self._stop_timer()
        if self._is_whole and self._keep_alive and not self._pieces and self._error is None:
            self._in_use = False
            self._parser = None
            self.idle_since = self._loop.time()
            self._pool.keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._in_use = False
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, error: Exception) -> None:
        if self._in_use and self._error is None and not self._is_whole:
            self._error = error
            self._wake()
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._is_whole:
            # Nobody asked, or more than was announced: whatever it is, it is not an answer.
            self._keep_alive = False
            if not self._in_use and self._transport is not None:
                self._transport.abort()
            return
        self._progress = self._loop.time()
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the provider changes the protocol"))
        except httptools.HttpParserError:
            self._keep_alive = False
            self._fail(httpx.RemoteProtocolError("the provider's answer is not HTTP"))
        if not self._has_head and self._head_bytes > _HEAD_BYTES:
            self._fail(httpx.RemoteProtocolError("the head of the provider's answer is too long"))
        if self._buffered > _BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        if self._in_use and self._has_head and not self._is_framed and self._error is None:
            # Neither length nor chunks: the end of the connection is the end of the body.
            self._is_whole = True
        self._end(httpx.RemoteProtocolError("the provider closed the connection too early"))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        failure = httpx.ReadError("the connection broke")
        failure.__cause__ = error
        self._end(failure)
        self._stop_timer()
        self._pool.lost(self)
        self._transport = None

    def _end(self, error: Exception) -> None:
        """The provider sends no more."""
        self._keep_alive = False
        if self._in_use:
            if not self._is_whole and self._error is None:
                self._error = error
            self._wake()

    # --- the parser's calls ----------------------------------------------------------------------

    # An exception raised in one of these ends the parsing: the answer is refused.

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _HEAD_BYTES:
            raise ValueError("too many headers")
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
            return
        # An interim answer; the real one follows.
        self._interim += 1
        if self._interim > _INTERIM_ANSWERS:
            raise ValueError("too many interim answers")
        self.headers = []
        self._is_framed = False


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes. Closing it gives the connection back, or ends it."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._connection.piece():
            yield piece

    async def aclose(self) -> None:
        self._connection.finish()


def _head(request: httpx.Request, url: httpx.URL) -> bytes:
    """Request line and headers as bytes. The names and values were checked when they were set."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"
