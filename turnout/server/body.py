"""A request's body: received within bounds, parsed once, its shape checked, made a `Request`."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from turnout.engine.request import Native, Operation, Request, RequestError
from turnout.protocols.client import ClientProtocol
from turnout.protocols.fields import DEEPEST, check_depth, kind_of
from turnout.settings import Limits

from .guard import check_json
from .identity import identity_of
from .wire import Incoming, Station, close_after, refusal

# Never shown to the engine: policies, records and adapters have no use for them.
CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-turnout-key",
    }
)

# What policies and prices look at, and how it is written in most bodies. (Not `model`: every
# adapter writes its own over each of them.)
_ONCE = {
    name: b'"%b"' % name.encode()
    for name in (
        "messages input prompt suffix system instructions tools functions mcp_servers stream "
        "max_tokens max_completion_tokens max_output_tokens n best_of"
    ).split()
}
# A letter of a name that is written otherwise.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")

# Of a body that is logged, for whoever looks for a mistake in it.
_TOLD_BYTES = 4096

_log = logging.getLogger("turnout.prompts")

# What is still read of a body that is too large, so that its sender gets to see the answer.
_DISCARD_BYTES = 64 * 1024 * 1024
_DISCARD_S = 2.0
# The same of a request that is turned away: enough for what most clients have sent by then.
_REFUSED_BYTES = 256 * 1024
_REFUSED_S = 0.5
# After so many parts others get their turn.
_PARTS_AT_ONCE = 256
# Sanic stops reading at this many buffered bytes, and so would not see the client leave.
_PAUSE_BYTES = 65_536


async def receive(incoming: Incoming, station: Station, protocol: ClientProtocol) -> Request:
    """The request of a client, ready for the engine.

    Raises: RequestError 400, 408, 413 or 415.
    """
    received_us = time.time_ns() // 1000
    started_ns = time.monotonic_ns()
    raw = await read_body(incoming, station)
    if _log.isEnabledFor(logging.DEBUG):
        tell_prompt(incoming.id, raw)
    check_json(incoming)
    body, raw, native = read(raw, protocol)
    who = identity_of(incoming)
    return Request(
        id=incoming.id,
        operation=protocol.operation,
        body=body,
        raw=raw,
        model=body["model"],
        stream=body.get("stream") is True and protocol.operation is not Operation.EMBEDDINGS,
        caller=who.caller,
        headers=_plain(incoming.headers),
        received_us=received_us,
        started_ns=started_ns,
        native=native,
        own=who.own,
        gateway_pays=who.gateway_pays,
        draw=incoming.draw,
    )


def tell_prompt(request_id: str, raw: bytes) -> None:
    """Log what a client wants said: at `debug` alone, and nowhere else is it ever written."""
    prompt = raw[:_TOLD_BYTES].decode(errors="replace")
    _log.debug("%s: PROMPT (%d bytes) %s", request_id, len(raw), prompt)


def read(raw: bytes, protocol: ClientProtocol) -> tuple[dict[str, Any], bytes, Native | None]:
    """What the engine gets of a body: as chat, that in bytes, and what came in another protocol.

    Raises: RequestError 400.
    """
    body = parse(raw)
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        check_depth(body)
    _check_once(raw, body)
    protocol.check(body)
    if protocol.as_chat is None:
        return body, raw, None
    said = protocol.as_chat(body)
    native = Native(raw, body, said.only, said.lost, said.named)
    return said.body, orjson.dumps(said.body), native


def _check_once(raw: bytes, body: Mapping[str, Any]) -> None:
    """Check that what is decided on stands in the body once: a provider might read the other one.

    Looks at the bytes first, which takes a thousandth of the time. Raises: RequestError 400.
    """
    suspect = any(raw.count(mark) > 1 for name, mark in _ONCE.items() if name in body)
    if not suspect and not (b"\\u00" in raw and _ESCAPED_LETTER.search(raw)):
        return
    members = json.loads(raw, object_pairs_hook=list, parse_int=str, parse_float=str)
    seen: set[str] = set()
    for name, _ in members:
        if name in seen and name in _ONCE:
            told = f"`{name}` stands in the body more than once; send it once."
            raise refusal(400, "invalid_json", told, name)
        seen.add(name)


def _plain(headers: Any) -> Mapping[str, str]:
    """Lower-case headers without credentials; repeated ones joined as HTTP allows."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name in CREDENTIALS:
            continue
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


async def read_body(incoming: Incoming, station: Station) -> bytes:
    """The whole body. Raises: RequestError 413 if it is too large, 408 if it does not come."""
    stream: Any = incoming.stream
    if not stream.request_body:
        return b""
    limits = station.settings.limits
    if stream.request_bytes > limits.body_bytes:  # what Content-Length announces
        # Nobody asked for it yet; the client need not send it at all.
        if stream.expecting_continue:
            stream.expecting_continue = False
            _leave_unread(stream)
        raise await _too_large(stream, limits.body_bytes)
    if stream.request_bytes and len(stream.recv_buffer) >= stream.request_bytes:
        raw = await _collect(stream, limits.body_bytes)
    else:
        # A timer only where there is something to wait for.
        raw = await _receive(stream, limits)
    if len(raw) >= _PAUSE_BYTES:
        transport: Any = incoming.transport
        transport.resume_reading()
    return raw


async def _receive(stream: Any, limits: Limits) -> bytes:
    """A body that is still being sent: as fast as it must be at least, and within its time."""
    began = asyncio.get_running_loop().time()
    grace_s, longest_s = limits.grace_us / 1e6, limits.receive_us / 1e6

    def until(size: int) -> float:
        return began + min(grace_s + size / limits.least_bytes, longest_s)

    try:
        async with asyncio.timeout_at(until(0)) as patience:
            return await _collect(
                stream, limits.body_bytes, lambda size: patience.reschedule(until(size))
            )
    except TimeoutError:
        _leave_unread(stream)
        raise RequestError(
            408, "timeout", "request_timeout", "The request's body did not arrive in time."
        ) from None


def _arrived(size: int) -> None:
    """All of it is here; nobody waits."""


async def _collect(stream: Any, limit: int, arrived: Callable[[int], None] = _arrived) -> bytes:
    whole: bytes | bytearray = b""
    parts = 0
    while stream.request_body:
        part = await stream.read()
        # What a chunk announces counts at once.
        if stream.request_bytes > limit:
            raise await _too_large(stream, limit)
        if not part:
            continue
        parts += 1
        if parts == 1:
            whole = part
        elif parts == 2:
            # One buffer: a million chunks of a byte each would be a million objects.
            whole = bytearray(whole + part)
        else:
            whole += part
            if parts % _PARTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        arrived(len(whole))
    return bytes(whole)


async def let_go(incoming: Incoming) -> None:
    """Take leave of a body that nobody will read.

    What is there of it is dropped, and what the client is about to send, if it is little; else the
    connection ends with the answer.
    """
    stream: Any = incoming.stream
    if stream is None or not stream.request_body:
        return
    if stream.expecting_continue:
        stream.expecting_continue = False
        _leave_unread(stream)
    elif not 0 < stream.request_bytes <= len(stream.recv_buffer):
        await _discard(stream, _REFUSED_BYTES, _REFUSED_S)


async def _too_large(stream: Any, limit: int) -> RequestError:
    """The refusal, made after what the client is still sending was taken in (within bounds).

    Closing a connection with unread bytes resets it, and the client would never read the answer.
    """
    await _discard(stream, _DISCARD_BYTES, _DISCARD_S)
    _leave_unread(stream)
    return refusal(413, "request_too_large", f"The body is larger than {limit} bytes.")


async def _discard(stream: Any, most_bytes: int, most_s: float) -> None:
    """Take in the rest of a body and drop it; beyond these bounds the connection will end."""
    try:
        async with asyncio.timeout(most_s):
            while stream.request_body and most_bytes > 0:
                most_bytes -= len(await stream.read() or b"")
    except TimeoutError:
        pass
    if stream.request_body:
        _leave_unread(stream)


def _leave_unread(stream: Any) -> None:
    """Close the connection after the response: what follows is no request."""
    close_after(stream)
    stream.request_body = None


def parse(raw: bytes) -> dict[str, Any]:
    """The body as a mapping. Raises: RequestError 400 that says where it is wrong."""
    if not raw:
        raise refusal(400, "invalid_json", "The body is empty; send a JSON object.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        what = error.msg.partition(": line ")[0]
        raise refusal(
            400,
            "invalid_json",
            f"The body is not valid JSON: {what} at line {error.lineno}, column {error.colno}.",
        ) from None
    if not isinstance(body, dict):
        raise refusal(400, "invalid_type", f"The body must be a JSON object, not {kind_of(body)}.")
    return body


def parse_strictly(raw: bytes) -> dict[str, Any]:
    """The body as a mapping in which no member stands twice, at any depth.

    For operators: of two values nobody knows which was meant. Raises: RequestError 400.
    """
    body = parse(raw)
    check_depth(body)
    json.loads(raw, object_pairs_hook=_each_once, parse_int=str, parse_float=str)
    return body


def _each_once(members: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            told = f"`{name}` stands in the same object more than once; send it once."
            raise refusal(400, "invalid_json", told, name)
        seen.add(name)
