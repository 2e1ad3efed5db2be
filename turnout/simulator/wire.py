"""What the server needs to know of a provider's wire."""

import hmac
import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .reply import Refusal, Reply, Whole


class Wire(Protocol):
    """One provider's wire: reads bodies, writes answers and errors in the provider's shape.

    `operations` has what can be posted, by the path after `/v1/`. `prefix` is the path that the
    provider's own base URL has before the endpoints. A Refusal raised anywhere is for `error`.
    """

    provider: str
    prefix: str
    operations: Mapping[str, Callable[[dict[str, Any]], Reply]]

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""

    def listing(self) -> Whole:
        """Answer `GET /v1/models`."""

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""


class Ids:
    """Identifiers that look like a provider's: a prefix and letters that do not repeat."""

    _start = os.urandom(8).hex()
    _next = itertools.count(1)

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
