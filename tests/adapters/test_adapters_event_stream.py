"""AWS's binary frames: read as AWS's own client reads them, damaged ones never."""

import struct
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.event_stream import BROKEN, EXCEPTION, Parser
from turnout.adapters.sse import Event
from turnout.simulator.bedrock_frames import event_frame, exception_frame, frame

WORD = event_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "wörd"}})
STOP = event_frame("messageStop", {"stopReason": "end_turn"})
FAILED = exception_frame("throttlingException", "slow down")
DAMAGED = Event(BROKEN, b"")

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
HEADERS = st.dictionaries(
    st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=20),
    TEXTS,
    max_size=4,
)


def read(*pieces: bytes, **bounds: int) -> list[Event]:
    parser = Parser(**bounds)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.finish()]


def framed(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return head + struct.pack(">I", zlib.crc32(head))


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=60)), max_size=4))
def test_frames_are_read_as_the_official_client_reads_them(frames: list[Any]) -> None:
    written = b"".join(frame(headers, payload) for headers, payload in frames)
    buffer = EventStreamBuffer()
    buffer.add_data(written)
    official: list[Any] = list(buffer)
    assert [message.headers for message in official] == [headers for headers, _ in frames]
    known = [
        Event(str(message.headers.get(":event-type", "")).encode(), message.payload)
        for message in official
        if message.headers.get(":message-type", "event") == "event"
    ]
    assert read(written) == known


def test_events_exceptions_and_errors_have_their_names() -> None:
    error = frame(
        {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "oh"}, b""
    )
    word, failed, broke = read(WORD + FAILED + error)
    assert word.name == b"contentBlockDelta" and "wörd".encode() in word.data
    assert failed == Event(EXCEPTION + b"throttlingException", b'{"message":"slow down"}')
    assert broke == Event(EXCEPTION + b"InternalFailure", b'{"message":"oh"}')
    assert read(frame({":message-type": "novelty"}, b"{}") + STOP)[0].name == b"messageStop"


def test_headers_of_every_type_are_passed_over() -> None:
    values = (
        b"\x00",
        b"\x01",
        b"\x02\x7f",
        b"\x03\x00\x01",
        b"\x04" + b"\0" * 4,
        b"\x05" + b"\0" * 8,
        b"\x06\x00\x02\xff\xfe",
        b"\x07\x00\x01x",
        b"\x08" + b"\0" * 8,
        b"\x09" + b"\0" * 16,
    )
    headers = b"".join(b"\x02h" + bytes([48 + i]) + value for i, value in enumerate(values))
    headers += b"\x0b:event-type\x07\x00\x04ping"
    assert read(framed(headers, b"{}")) == [Event(b"ping", b"{}")]


@pytest.mark.parametrize(
    "headers",
    [b"\x05ab", b"\x01a\x0a", b"\x01a\x07\x00\x09x", b"\x01a\x07", b"\x01a\x04\x00", b"\x01"],
    ids=["name", "type", "length", "no length", "number", "nothing"],
)
def test_headers_that_do_not_add_up_are_damage(headers: bytes) -> None:
    assert read(STOP + framed(headers, b"{}") + STOP)[1:] == [DAMAGED]


def test_a_cut_anywhere_is_damage_and_what_came_whole_before_it_counts() -> None:
    first, second = read(WORD), read(STOP)
    whole = WORD + STOP
    for at in range(1, len(whole)):
        seen = read(whole[:at])
        if at == len(WORD):
            assert seen == first
        else:
            assert seen == (first if at > len(WORD) else []) + [DAMAGED], at
    assert read(whole) == first + second


def test_pieces_of_any_size_give_the_same_events() -> None:
    whole = WORD + FAILED + STOP
    expected = read(whole)
    for at in range(1, len(whole)):
        assert read(whole[:at], whole[at:]) == expected, at
    assert read(*(whole[i : i + 1] for i in range(len(whole)))) == expected


def test_every_flipped_bit_is_seen_whatever_the_pieces() -> None:
    for position in range(len(STOP)):
        damaged = bytearray(WORD + STOP + WORD)
        damaged[len(WORD) + position] ^= 1 << (position % 8)
        seen = read(bytes(damaged))
        # A longer length may wait for bytes that never come: that is a cut.
        assert seen == [*read(WORD), DAMAGED], position
        assert read(*(bytes(damaged[i : i + 7]) for i in range(0, len(damaged), 7))) == seen


@pytest.mark.parametrize(
    ("length", "headers"),
    [(15, 0), (16, 1), (2**32 - 1, 0), (24 * 2**20 + 1, 0), (2**18, 2**17 + 1), (0, 0)],
)
def test_lengths_out_of_bounds_are_not_waited_for(length: int, headers: int) -> None:
    prelude = struct.pack(">II", length, headers)
    parser = Parser()
    assert parser.feed(prelude + struct.pack(">I", zlib.crc32(prelude))) == [DAMAGED]
    assert parser.feed(STOP) == [] and parser.finish() == []


def test_a_stream_of_another_kind_is_damage_at_once() -> None:
    assert Parser().feed(b'data: {"type":"ping"}\n\n') == [DAMAGED]
    assert read(b"<html>") == [DAMAGED]
    assert read() == []


@given(st.binary(max_size=200))
def test_garbage_never_raises(garbage: bytes) -> None:
    assert all(isinstance(event, Event) for event in read(WORD, garbage))
