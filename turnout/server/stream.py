"""A streamed answer on its way to the client: each event is written as it comes.

No task, timer or log line per event. Whatever happens, the generator is closed: that is how the
engine learns that nobody reads any more.
"""

import asyncio
import logging
from typing import Any

from turnout.engine.request import RequestError, StreamReply
from turnout.protocols.client import Voice

from .wire import Answer, Incoming, Station, close_after, headers_of

_EVENTS = "text/event-stream; charset=utf-8"
_HEADERS = {
    "cache-control": "no-cache",
    # nginx in front would hold events back.
    "x-accel-buffering": "no",
}

_log = logging.getLogger("turnout.server")


async def relay(incoming: Incoming, station: Station, reply: StreamReply, voice: Voice) -> None:
    """Send a stream to its end, its failure, or the client's leaving."""
    station.metrics.stream_opened()
    try:
        headers = headers_of(incoming, reply.headers | _HEADERS)
        response: Any = await incoming.respond(Answer(None, reply.status, headers, _EVENTS))
        await _write(incoming, station, reply, voice, response)
    finally:
        station.metrics.stream_closed()
        await reply.chunks.aclose()


async def _write(
    incoming: Incoming, station: Station, reply: StreamReply, voice: Voice, response: Any
) -> None:
    transport: Any = incoming.transport
    try:
        async for told in reply.chunks:
            event = voice.event(told)
            if event:
                # Waits where the client is behind; `connection` cuts one that stays so.
                await response.send(event)
        failure = reply.failure
        last = voice.end() if failure is None else voice.failed(failure)
        await _end(incoming, station, response, last)
    except asyncio.CancelledError:
        conn_info = incoming.conn_info
        if conn_info is not None and not conn_info.lost and not transport.is_closing():
            # Not the client: this worker is being stopped.
            await _end(incoming, station, response, voice.failed(_STOPPING))
        raise
    except RequestError as failure:
        # What the provider sent cannot be told in the client's protocol.
        await _end(incoming, station, response, voice.failed(failure))
    except Exception:
        if transport.is_closing():
            return
        _log.exception("%s: a stream broke inside the gateway", incoming.id)
        await _end(incoming, station, response, voice.failed(_BROKEN))


_STOPPING = RequestError(
    500, "server_error", "shutting_down", "The gateway is shutting down; the answer is incomplete."
)
_BROKEN = RequestError(
    500, "server_error", "internal_error", "The gateway failed; the answer is incomplete."
)


async def _end(incoming: Incoming, station: Station, response: Any, last: bytes) -> None:
    if station.draining:
        # Its header has said keep-alive; closing after the last byte is still allowed.
        close_after(incoming.stream)
    await response.send(last, end_stream=True)
