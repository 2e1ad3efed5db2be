"""What telling an answer again needs in every protocol: events to data and back, and no loss.

An answer that was streamed is put together from its events, and told in events again. What cannot
be put together with certainty is `Unfit`, and is not told again at all.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import orjson

from turnout.engine.request import Request

from .fields import is_deep

Json = dict[str, Any]

LONGEST_PIECE = 2000
"""Characters of text in one event: some clients read no line over 64 KB."""

# Integers that orjson reads as floats have at least so many digits. A table finds them some twenty
# times as fast as a pattern does.
_LONG = b"0" * 19
_DIGITS = bytes(0x30 if 0x30 <= octet <= 0x39 else 0x20 for octet in range(256))
_MOST_SHALLOW = 200  # brackets of which no nesting is deep
_DATA = b"data: "
_NAME = b"event:"
_DONE = b"[DONE]"


class Unfit(Exception):
    """What was told cannot be told again."""


def unfit(why: str) -> NoReturn:
    """Give up."""
    raise Unfit(why)


# --- JSON, with integers of any size -------------------------------------------------------------


def load(raw: bytes) -> Any:
    """The value of a JSON text. Raises: Unfit."""
    try:
        value = orjson.loads(raw)
        if _LONG in raw.translate(_DIGITS):
            value = json.loads(raw, parse_constant=unfit)
    except (ValueError, RecursionError):
        raise Unfit("no JSON") from None
    return value


def load_object(raw: bytes) -> Json:
    """The object of a JSON text. Raises: Unfit."""
    value = load(raw)
    return value if isinstance(value, dict) else unfit("no object")


def dump(value: Any) -> bytes:
    """A value as JSON. Raises: Unfit."""
    try:
        return orjson.dumps(value)
    except TypeError:  # among them: integers over 64 bits
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError):
        raise Unfit("cannot be written") from None


def whole_object(body: bytes) -> Json | None:
    """A whole answer as an object; None where it is none, or too deep to be written again."""
    try:
        parsed = load(body)
    except Unfit:
        return None
    if not isinstance(parsed, dict):
        return None
    if body.count(b"{") + body.count(b"[") > _MOST_SHALLOW and is_deep(parsed):
        return None
    return parsed


def are_objects(value: object) -> bool:
    """Whether this is a list of objects."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


# --- events --------------------------------------------------------------------------------------


def datas(events: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each event that has some, without closing marks."""
    for event in events:
        # Nearly all have one line of data, and at most a name before it.
        line = event.partition(b"\n")[2] if event.startswith(_NAME) else event
        if line.startswith(_DATA) and line.find(b"\n") == len(line) - 2:
            data = line[6:-2]
            if data != _DONE:
                yield data
            continue
        for block in event.split(b"\n\n"):
            lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
            data = b"\n".join([line.removeprefix(b" ") for line in lines])
            if lines and data != _DONE:
                yield data


def named(kind: str, members: Json) -> bytes:
    """An event of a type, which is its name too."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dump({"type": kind, **members}))


def pieces(text: str) -> list[str]:
    """A text in pieces that fit an event; none for an empty one."""
    if len(text) <= LONGEST_PIECE:
        return [text] if text else []
    return [text[at : at + LONGEST_PIECE] for at in range(0, len(text), LONGEST_PIECE)]


def wants_usage(body: Json) -> bool:
    """Whether a stream of chat or completions is to end with its usage."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def asked_usage(request: Request, *, native: bool) -> bool:
    """The same of a request, where it is told in its own protocol or as chat."""
    own = request.native
    return wants_usage(own.body if native and own is not None else request.body)


class Run:
    """Events in a row that differ in one text only: read without parsing each.

    Most of a stream is such. After an event that says nothing but a text, `begin` takes where that
    text stands; `takes` then reads all that are the same around it, until another one comes.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._before = self._after = b""
        self._held: list[bytes] = []
        self._into: list[str] = []

    def begin(self, data: bytes, name: str, text: str, into: list[str]) -> None:
        """Take an event whose member `name` is `text`, with the pieces that it was added to."""
        needle = b'"%b":%b' % (name.encode(), orjson.dumps(text))
        # Inside of a string, quotes have a backslash before them: this is a member, and the one.
        if data.count(needle) == 1:
            at = data.index(needle)
            self._before = data[: at + len(name) + 4]
            self._after = data[at + len(needle) - 1 :]
            self._into = into

    def takes(self, data: bytes) -> bool:
        """Whether this is the same event with another text; if not, the row is over."""
        before, after = self._before, self._after
        if before and data.startswith(before) and data.endswith(after):
            inner = data[len(before) : len(data) - len(after)]
            # An odd last backslash would take the closing quote in.
            if b'"' not in inner and inner[-1:] != b"\\" and len(data) >= len(before) + len(after):
                self._held.append(inner)
                return True
        self.end()
        return False

    def end(self) -> None:
        """Add what was read to the pieces."""
        self._before = b""
        if self._held:
            self._into.append(load(b'"%b"' % b"".join(self._held)))
            self._held = []
