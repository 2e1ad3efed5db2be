"""Events of AWS's binary event stream, written from AWS's description of its frames."""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import orjson


def event_frame(name: str, data: Mapping[str, Any]) -> bytes:
    """An event of this name; `p` is the padding that hides lengths, as AWS sends it."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, orjson.dumps({**data, "p": "abcdefghijklmnop"[: 4 + len(name) % 9]}))


def exception_frame(name: str, message: str) -> bytes:
    """What a stream breaks off with."""
    headers = {
        ":exception-type": name,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, orjson.dumps({"message": message}))


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """A frame of these headers, all of them texts."""
    block = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 12 + len(block) + len(payload) + 4, len(block))
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text
