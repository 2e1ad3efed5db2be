"""What the server needs to know of a provider's wire."""

import hmac
import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import unquote

from .received import Received
from .reply import Refusal, Reply, Whole


class Endpoint(NamedTuple):
    """What can be posted somewhere: how it is answered, and what the address says beyond the body.

    `model` and `stream` None: the body's members of those names say it. `asked` is for an address
    whose query (without its `?`) chooses among endpoints.
    """

    answer: Callable[[dict[str, Any]], Reply]
    model: str | None = None
    stream: bool | None = None
    asked: "Callable[[str], Endpoint] | None" = None

    def means(self, body: Mapping[str, Any]) -> tuple[str, bool]:
        """The model that is asked for, and whether its answer is to be a stream."""
        model = str(body.get("model") or "") if self.model is None else self.model
        return model, body.get("stream") is True if self.stream is None else self.stream


class Wire(Protocol):
    """One provider's wire: reads bodies, writes answers and errors in the provider's shape.

    `prefix` is the path that the provider's own base URL has before the endpoints. A Refusal raised
    anywhere is for `error`.
    """

    provider: str
    prefix: str

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path (whole, without its query); None: nothing."""

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path, empty for their list; None: neither."""

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1/models`; `query` may say which page."""

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""


@runtime_checkable
class Signed(Protocol):
    """A wire whose requests may be signed as a whole, instead of bringing a key."""

    def verify(self, received: Received, key: str | None) -> None:
        """Check a request's signature, if it has one. Raises: Refusal."""


@runtime_checkable
class Public(Protocol):
    """A wire that tells something to anybody, without a key."""

    def is_public(self, name: str) -> bool:
        """Whether what is looked up by this name (see `looked_up`) needs no key."""


def looked_up_at(path: str, models: str = "/v1/models") -> str | None:
    """The model that a path below `models` names, empty for `models` itself; None: neither."""
    _, found, rest = path.partition(models)
    return unquote(rest.removeprefix("/")) if found and rest[:1] in ("", "/") else None


class Ids:
    """Identifiers that look like a provider's: a prefix and letters that do not repeat."""

    _start = os.urandom(8).hex()
    _next = itertools.count(1)

    @classmethod
    def short(cls) -> str:
        """Return a new one of nine letters and digits."""
        return f"{next(cls._next):09x}"

    @classmethod
    def new(cls, prefix: str) -> str:
        """Return a new identifier."""
        return f"{prefix}{cls._start}{next(cls._next):08x}"


def check_key(given: str, key: str | None, missing: str, wrong: str) -> None:
    """Accept `key`, or any non-empty one if it is None. Raises: Refusal with 401."""
    if not given:
        raise Refusal(401, missing)
    if key is not None and not hmac.compare_digest(given.encode(), key.encode()):
        raise Refusal(401, wrong)
