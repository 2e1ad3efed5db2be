"""A streamed answer on its way to the client: each event is written as it comes.

No task, timer or log line per event. Whatever happens, the generator is closed: that is how the
engine learns that nobody reads any more.
"""

import asyncio
import logging
from typing import Any

from turnout.engine.request import StreamReply

from .wire import Answer, Incoming, Station, close_after, envelope, headers_of

_EVENTS = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
_HEADERS = {
    "cache-control": "no-cache",
    # nginx in front would hold events back.
    "x-accel-buffering": "no",
}

_log = logging.getLogger("turnout.server")


async def relay(incoming: Incoming, station: Station, reply: StreamReply) -> None:
    """Send a stream to its end, its failure, or the client's leaving."""
    station.metrics.stream_opened()
    try:
        headers = headers_of(incoming, reply.headers | _HEADERS)
        response: Any = await incoming.respond(Answer(None, reply.status, headers, _EVENTS))
        await _write(incoming, station, reply, response)
    finally:
        station.metrics.stream_closed()
        await reply.chunks.aclose()


async def _write(incoming: Incoming, station: Station, reply: StreamReply, response: Any) -> None:
    transport: Any = incoming.transport
    stall_s = station.settings.limits.stall_us / 1e6
    _, most_buffered = transport.get_write_buffer_limits()
    try:
        async for event in reply.chunks:
            if transport.get_write_buffer_size() <= most_buffered:
                await response.send(event)
            else:
                await _send_slowly(response, event, stall_s)
        await _end(incoming, station, response, b"" if reply.failed else DONE)
    except _StalledError:
        _log.info("%s: the client stopped reading its stream", incoming.id)
        transport.abort()
    except asyncio.CancelledError:
        conn_info = incoming.conn_info
        if conn_info is not None and not conn_info.lost and not transport.is_closing():
            # Not the client: this worker is being stopped.
            await _end(incoming, station, response, _error("shutting_down", _STOPPING))
        raise
    except Exception:
        if transport.is_closing():
            return
        _log.exception("%s: a stream broke inside the gateway", incoming.id)
        await _end(incoming, station, response, _error("internal_error", _BROKEN))


class _StalledError(Exception):
    """The client has left a stream unread for too long."""


async def _send_slowly(response: Any, event: bytes, stall_s: float) -> None:
    """Send to a client that is behind; only then is there something to wait for."""
    try:
        async with asyncio.timeout(stall_s):
            await response.send(event)
    except TimeoutError:
        raise _StalledError from None


_STOPPING = "The gateway is shutting down; the answer is incomplete."
_BROKEN = "The gateway failed; the answer is incomplete."


def _error(code: str, message: str) -> bytes:
    return b"data: %b\n\n" % envelope("server_error", code, message)


async def _end(incoming: Incoming, station: Station, response: Any, last: bytes) -> None:
    if station.draining:
        # Its header has said keep-alive; closing after the last byte is still allowed.
        close_after(incoming.stream)
    await response.send(last, end_stream=True)
