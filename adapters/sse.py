"""Event-stream bytes to events, in whatever pieces they arrive. No I/O.

Follows the WHATWG event-stream format, except that `finish` also hands out a last event whose
blank line never came: several providers end with a bare `data: [DONE]`.
"""

from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its `event:` name (empty without one) and its `data:` lines, joined by newlines.

    Bytes, because the data is JSON and goes to the JSON parser as it is.
    """

    name: bytes
    data: bytes


class EventTooLong(Exception):
    """An event grew over the parser's bound."""


class Parser:
    """An event stream that is read piece by piece; a piece may end anywhere."""

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        """Start before the first byte."""
        self._max_event_bytes = max_event_bytes
        # The unfinished event. A list, so that a long line in many pieces is joined only once.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._after_return = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[Event]:
        """Events completed by this piece; comments and events without data give none.

        Raises: EventTooLong.
        """
        if b"\r" in piece or self._after_return:
            piece = self._with_plain_newlines(piece)
        if b"\n\n" not in piece and not (piece.startswith(b"\n") and self._ends_a_line):
            self._hold(piece)
            return []
        if self._held:
            self._held.append(piece)
            piece = b"".join(self._held)
            self._held = []
        blocks = piece.split(b"\n\n")
        rest = blocks.pop()
        self._held_bytes = 0
        if rest:
            self._hold(rest)
        events = []
        for block in blocks:
            if len(block) > self._max_event_bytes:
                raise EventTooLong
            if block.startswith(b"data: ") and b"\n" not in block:
                self._at_start = False
                events.append(Event(b"", block[6:]))
            elif (event := self._read(block)) is not None:
                events.append(event)
        return events

    def finish(self) -> list[Event]:
        """The event that the end of the stream cut off before its blank line, if there is one."""
        event = self._read(b"".join(self._held))
        self._held = []
        self._held_bytes = 0
        return [] if event is None else [event]

    @property
    def _ends_a_line(self) -> bool:
        """Whether what is held ends with a newline, so that another one ends the event."""
        return bool(self._held) and self._held[-1].endswith(b"\n")

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self._max_event_bytes:
            raise EventTooLong

    def _with_plain_newlines(self, piece: bytes) -> bytes:
        """Turn CRLF and CR into LF, also where the pair is split between two pieces."""
        if self._after_return and piece:
            # The return counted as the newline already.
            self._after_return = False
            if piece.startswith(b"\n"):
                piece = piece[1:]
        if piece.endswith(b"\r"):
            self._after_return = True
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, block: bytes) -> Event | None:
        if self._at_start and block:
            block = block.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        name = b""
        data: list[bytes] = []
        for line in block.split(b"\n"):
            key, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value
        return Event(name, b"\n".join(data)) if data else None
