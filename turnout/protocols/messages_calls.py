"""Calls of tools from the deltas of a chat, in the order in which a message has them.

A block of a message ends before the next begins. A provider may write several calls at the same
time; then the later ones are held back until the one before them is whole. `whole` tells when
something else may follow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

Json = dict[str, Any]

_ENDS = frozenset("} \t\r\n")


class Written(NamedTuple):
    """What can be told of a call now."""

    begins: bool
    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: str = ""
    untold: str = ""
    begun: bool = False
    over: bool = False


class Calls:
    """The calls of a stream, told one after the other however they were written."""

    def __init__(self) -> None:
        """Start before the first call."""
        self._known: dict[int, _Call] = {}

    def take(self, piece: Json) -> Iterator[Written]:
        """What a piece of a call lets be told."""
        index = piece.get("index")
        index = index if isinstance(index, int) else 0
        function = _object(piece.get("function"))
        call = self._known.get(index)
        if call is None:
            known = piece.get("id")
            call = _Call(
                known if isinstance(known, str) and known else f"toolu_{index}",
                str(function.get("name") or ""),
            )
            self._known[index] = call
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call.arguments += arguments
            call.untold += arguments
        return self._advance(at_the_end=False)

    def rest(self) -> Iterator[Written]:
        """What was held back until now."""
        return self._advance(at_the_end=True)

    @property
    def whole(self) -> bool:
        """Whether the arguments of each call are an object; of one without any, nobody knows."""
        return all(call.over or _is_object(call.arguments) for call in self._known.values())

    def interrupted(self) -> None:
        """Something else is told: what has begun is over."""
        for call in self._known.values():
            call.over = call.over or call.begun

    def _advance(self, *, at_the_end: bool) -> Iterator[Written]:
        calls = [call for call in self._known.values() if not call.over]
        for number, call in enumerate(calls):
            if call.untold or not call.begun:
                yield Written(not call.begun, call.id, call.name, call.untold)
                call.begun, call.untold = True, ""
            is_last = number == len(calls) - 1
            if is_last or not (at_the_end or _is_object(call.arguments)):
                return
            call.over = True


def _is_object(text: str) -> bool:
    if text[-1:] not in _ENDS:  # most pieces: nothing is read again for each of them
        return False
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
