import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.sse import Event, EventTooLong, Parser

CASES: dict[str, tuple[bytes, list[Event]]] = {
    "one event": (b"data: a\n\n", [Event(b"", b"a")]),
    "no space": (b"data:a\n\n", [Event(b"", b"a")]),
    "one space only is taken": (b"data:  a\n\n", [Event(b"", b" a")]),
    "a name": (b"event: error\ndata: {}\n\n", [Event(b"error", b"{}")]),
    "several lines": (b"data: a\ndata\ndata: b\n\n", [Event(b"", b"a\n\nb")]),
    "comments": (b": ping\n\n:\ndata: a\n: x\n\n", [Event(b"", b"a")]),
    "other fields": (b"id: 1\nretry: 3\ndata: a\nfoo: b\n\n", [Event(b"", b"a")]),
    "a name alone is no event": (b"event: ping\n\n", []),
    "carriage returns": (
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
        [*(Event(b"", c) for c in (b"a", b"b", b"c"))],
    ),
    "empty lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [Event(b"", b"a"), Event(b"", b"b")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a")]),
    "colons in data": (b"data: a: b\n\n", [Event(b"", b"a: b")]),
    "no blank line at the end": (
        b"data: a\n\ndata: [DONE]",
        [Event(b"", b"a"), Event(b"", b"[DONE]")],
    ),
    "no data at all": (b"", []),
}


def events_of(pieces: list[bytes]) -> list[Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


@pytest.mark.parametrize("name", CASES)
def test_events_are_what_the_format_says_wherever_the_bytes_are_split(name: str) -> None:
    whole, expected = CASES[name]
    assert events_of([whole]) == expected
    for at in range(len(whole) + 1):
        assert events_of([whole[:at], whole[at:]]) == expected
    assert events_of([whole[i : i + 1] for i in range(len(whole))]) == expected


@given(
    st.lists(
        st.sampled_from(
            [b"data: ", b"data", b":", b"\r", b"\n", b"\r\n", b"event: x", b"\xc3", b"\xbc", b" "]
        )
    ),
    st.data(),
)
def test_any_bytes_give_the_same_events_in_any_pieces(
    parts: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    bounds = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(bounds)]
    assert events_of(pieces) == events_of([whole])


@pytest.mark.parametrize("piece", [b"x" * 100, b"data: " + b"x" * 70, b"data: a\n" * 9])
def test_an_endless_event_is_refused_before_it_ends(piece: bytes) -> None:
    parser = Parser(max_event_bytes=64)
    with pytest.raises(EventTooLong):
        parser.feed(piece)


def test_the_bound_is_per_event_and_not_per_stream() -> None:
    parser = Parser(max_event_bytes=64)
    assert sum(len(parser.feed(b"data: 0123456789\n\n")) for _ in range(1000)) == 1000


def test_a_long_event_in_many_pieces_is_not_copied_again_and_again() -> None:
    parser = Parser()
    for _ in range(10_000):
        assert parser.feed(b"data: x" * 100) == []
    assert len(parser.feed(b"\n\n")[0].data) == 7_000_000 - 6


def test_a_long_event_of_many_lines_is_not_copied_again_and_again() -> None:
    parser = Parser()
    for _ in range(20_000):
        assert parser.feed(b"data: " + b"x" * 500 + b"\n") == []
    assert len(parser.feed(b"\n")[0].data) == 20_000 * 501 - 1
