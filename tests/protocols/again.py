"""What the tests of answers that are told again share: requests, answers by chance, and cuts."""

from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import strategies as st

from turnout.engine.request import Caller, Native, Operation, Request

Json = dict[str, Any]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SAID = st.one_of(
    TEXTS.filter(bool), st.sampled_from(['a "quoted" \\ one', "\\", '"', "🐘\n", "a\\n"])
)
IDS = st.text("abcdefgh0123456789_", min_size=1, max_size=12)
# Any JSON there is, with integers that no float holds.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
# Names of members that nobody knows.
EXTRAS = st.dictionaries(st.sampled_from(["x_one", "x_two", "x_three"]), VALUES, max_size=2)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)


def asked(operation: Operation = Operation.CHAT, usage: bool = True, **native: Any) -> Request:
    """A request for a stream; `native` are members of its body where it is not chat's."""
    options = {"stream_options": {"include_usage": True}} if usage else {}
    body: Json = {"model": "gpt-4", "messages": [], "stream": True, **options}
    told = Native(b"", {"model": "gpt-4", **native, **options})
    return Request(
        id="req_1",
        operation=operation,
        body=body,
        raw=b"",
        model="gpt-4",
        stream=True,
        caller=Caller(),
        headers={},
        received_us=1_755_000_000_000_000,
        started_ns=0,
        native=None if operation is Operation.CHAT else told,
    )


def data_of(events: list[bytes]) -> Iterator[Json]:
    """The objects of events, read in another way than the code does."""
    for block in b"".join(events).decode().split("\n\n"):
        lines = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        if lines and lines != ["[DONE]"]:
            yield orjson.loads("\n".join(lines))


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, cut anywhere."""
    places = draw(st.lists(st.integers(0, len(text)), max_size=4, unique=True).map(sorted))
    return [text[at:end] for at, end in zip([0, *places], [*places, len(text)], strict=True)]


def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """A value with something else somewhere in it."""
    inner = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else []
    )
    if not inner or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    at = draw(st.sampled_from(list(inner)))
    changed = value.copy()
    changed[at] = spoilt(draw, value[at])
    return changed
