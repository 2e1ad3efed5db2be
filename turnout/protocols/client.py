"""The contract of a client protocol: its requests as chat, and the voices that tell an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from turnout.engine.request import Operation, Request, RequestError


@dataclass(frozen=True, slots=True)
class AsChat:
    """A request said as chat; `only`, `lost` and `named` as in `Native`."""

    body: dict[str, Any]
    only: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


class Voice(Protocol):
    """Tells one answer to one client, in its protocol; no I/O.

    A stream is any number of `event`, then `end`, or `failed` where it broke off.
    """

    def whole(self, body: bytes) -> bytes:
        """The body to send for a whole answer."""

    def event(self, event: bytes) -> bytes:
        """What to send for one event of the engine's stream; empty for nothing."""

    def end(self) -> bytes:
        """What closes a stream that came to its end."""

    def failed(self, error: RequestError) -> bytes:
        """What closes a stream that broke off."""


class Told(NamedTuple):
    """An error's body, and the headers that the protocol has beside the usual ones."""

    body: bytes
    headers: Mapping[str, str]


def _no_headers(request_id: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class ClientProtocol:
    """A protocol that clients speak.

    `check` raises RequestError 400 for a body of the wrong shape. `as_chat` says a checked body as
    chat, None for chat itself. `translating` makes the voice for an answer in chat, `passing` the
    one for an answer that is in the protocol already. `error` takes the request's id too.
    `headers` are those that every answer to a request of this id has beside the usual ones.
    """

    operation: Operation
    check: Callable[[dict[str, Any]], None]
    as_chat: Callable[[dict[str, Any]], AsChat] | None
    translating: Callable[[Request], Voice]
    passing: Callable[[Request], Voice]
    error: Callable[[RequestError, str], Told]
    headers: Callable[[str], Mapping[str, str]] = _no_headers
