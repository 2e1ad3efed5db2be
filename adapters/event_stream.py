"""AWS's binary event stream to events, in whatever pieces it arrives. No I/O.

A frame is: its length and that of its headers (4 bytes each, big-endian), the checksum of these
eight bytes, the headers, the payload, and the checksum of all before it (both CRC-32). A header is
a name, a type and a value.

A frame that cannot be trusted gives the event `BROKEN`, the last one: what came before it counts
however the bytes were cut into pieces.
"""

import struct
import zlib
from collections.abc import Iterator

import orjson

from .sse import Event

EXCEPTION = b"exception:"
"""What the name of an event begins with that says why the stream failed; AWS's name follows."""

BROKEN = b"broken"
"""The name of the event in whose place a frame was cut, damaged or none at all."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LEAST = _PRELUDE.size + _CRC.size
# AWS's own bounds: 128 KiB of headers, and 24 MiB for all of a message.
_MOST_HEADERS = 128 * 1024
_MOST = 24 * 1024 * 1024
_STRING = 7
# Sizes of the values of a fixed size by type: true, false, byte, short, int, long, time, UUID.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_WITH_LENGTH = (6, _STRING)


class _Damaged(Exception):
    """Bytes that are no frame."""


class Parser:
    """An event stream of AWS that is read piece by piece; a piece may end anywhere."""

    def __init__(self, max_frame_bytes: int = _MOST) -> None:
        """Start before the first byte."""
        self._max = max_frame_bytes
        self._held = bytearray()
        self._wanted = _PRELUDE.size
        self._is_broken = False

    def feed(self, piece: bytes) -> list[Event]:
        """Events completed by this piece; the data is a frame's payload."""
        if self._is_broken:
            return []
        self._held += piece
        events: list[Event] = []
        try:
            while len(self._held) >= self._wanted:
                if self._wanted == _PRELUDE.size:
                    self._wanted = self._length()
                    continue
                frame = bytes(self._held[: self._wanted])
                del self._held[: self._wanted]
                self._wanted = _PRELUDE.size
                if (event := _read(frame)) is not None:
                    events.append(event)
        except _Damaged:
            events.append(self._broken())
        return events

    def finish(self) -> list[Event]:
        """Nothing, or that the end of the stream cut a frame."""
        return [self._broken()] if self._held and not self._is_broken else []

    def _length(self) -> int:
        """The length of the frame whose prelude is held."""
        length, headers, crc = _PRELUDE.unpack_from(self._held)
        if zlib.crc32(self._held[:8]) != crc:
            raise _Damaged
        if not _LEAST + headers <= length <= self._max or headers > _MOST_HEADERS:
            raise _Damaged
        return int(length)

    def _broken(self) -> Event:
        self._is_broken = True
        self._held.clear()
        return Event(BROKEN, b"")


def _read(frame: bytes) -> Event | None:
    """The event of a whole frame; None for a kind of message that nobody knows."""
    body = len(frame) - _CRC.size
    if zlib.crc32(frame[:body]) != _CRC.unpack_from(frame, body)[0]:
        raise _Damaged
    at = _PRELUDE.size + _PRELUDE.unpack_from(frame)[1]
    headers = dict(_headers(frame[_PRELUDE.size : at]))
    payload = frame[at:body]
    kind = headers.get(b":message-type", b"event")
    if kind == b"event":
        return Event(headers.get(b":event-type", b""), payload)
    if kind == b"exception":
        return Event(EXCEPTION + headers.get(b":exception-type", b""), payload)
    if kind == b"error":
        message = headers.get(b":error-message", b"").decode("utf-8", "replace")
        payload = orjson.dumps({"message": message})
        return Event(EXCEPTION + headers.get(b":error-code", b""), payload)
    return None


def _headers(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The headers that are text; the others have no meaning here."""
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name, kind = block[at + 1 : name_end], block[name_end]
            at = name_end + 1
            if kind in _WITH_LENGTH:
                size = int.from_bytes(block[at : at + 2], "big")
                at += 2
            else:
                size = _FIXED[kind]
            if at + size > len(block):
                raise _Damaged
            if kind == _STRING:
                yield name, block[at : at + size]
            at += size
    except (IndexError, KeyError):
        raise _Damaged from None
