"""Values that grow piece by piece: what the deltas of a stream add up to.

As official clients add them: texts are joined, lists of objects with an `index` merged by it, other
lists extended. Where two deltas cannot both be true (two ids of one call), there is no sum.
"""

from collections.abc import Mapping
from typing import Any

from .again import Json, unfit

# Said once, or the same again.
_CONSTANT = frozenset(("role", "id", "type", "name", "format", "index"))
# Not added up: the last one holds.
_REPLACED = frozenset(("extra_content",))
_CALLS = "tool_calls"
# Lists whose entries grow; of thoughts, several of one index are told apart by their type.
_GROWING = frozenset((_CALLS, "reasoning_details"))


class Text(list[str]):
    """A text in pieces."""


class Rows:
    """A list; its objects grow where they have an `index`."""

    def __init__(self, name: str) -> None:
        """Begin the list that is the member `name`."""
        self._name = name
        self._rows: list[Any] = []
        self._at: dict[tuple[int, str], Json] = {}

    def add(self, entries: list[Any]) -> None:
        """Add the entries of a delta. Raises: Unfit."""
        for entry in entries:
            index = entry.get("index") if isinstance(entry, dict) else None
            if type(index) is not int:
                self._rows.append(begun("", entry))
                continue
            at = (index, "" if self._name == _CALLS else str(entry.get("type")))
            held = self._at.get(at)
            if held is None:
                held = self._at[at] = {}
                self._rows.append(held)
            elif self._name not in _GROWING:
                unfit("two entries of one index")
            grow(held, entry)

    def at(self, index: int) -> Json:
        """What grew at an index; empty where nothing did."""
        return self._at.get((index, ""), {})

    def settled(self) -> list[Any]:
        """What it grew to; calls of tools in their order, which a whole answer does not number."""
        rows = [settled(row) for row in self._rows]
        if self._name == _CALLS:
            rows.sort(key=_index)
            for row in rows:
                if isinstance(row, dict):
                    row.pop("index", None)
        return rows


def grow(held: Json, delta: Mapping[str, Any]) -> None:
    """Add a delta to what was held before, in place. Raises: Unfit."""
    for name, new in delta.items():
        old = held.get(name)
        if old is None:
            held[name] = begun(name, new)
        elif new is None:
            continue
        elif name in _CONSTANT:
            if old == "":
                held[name] = new
            elif new not in ("", old):
                unfit(f"two values of `{name}`")
        elif name in _REPLACED:
            held[name] = begun(name, new)
        elif isinstance(old, Text) and isinstance(new, str):
            old.append(new)
        elif isinstance(old, dict) and isinstance(new, dict):
            grow(old, new)
        elif isinstance(old, Rows) and isinstance(new, list):
            old.add(new)
        elif isinstance(old, int | float) and isinstance(new, int | float):
            held[name] = new  # a number of each token: what it counts, nobody knows
        else:
            unfit(f"two values of `{name}`")


def begun(name: str, value: Any) -> Any:
    """A value that may grow, as the member `name` of something. Raises: Unfit."""
    match value:
        case str():
            return value if name in _CONSTANT else Text([value])
        case dict():
            held: Json = {}
            grow(held, value)
            return held
        case list():
            rows = Rows(name)
            rows.add(value)
            return rows
        case _:
            return value


def settled(value: Any) -> Any:
    """The value that it grew to."""
    match value:
        case Text():
            return "".join(value)
        case dict():
            return {name: settled(one) for name, one in value.items()}
        case Rows():
            return value.settled()
        case _:
            return value


def _index(row: Any) -> int:
    index = row.get("index") if isinstance(row, dict) else None
    return index if type(index) is int else 0
