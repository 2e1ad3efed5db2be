"""What every response has in common: the request's id, its protocol's errors, JSON bytes.

Routes are in files of their own; nothing here knows one of them.

Over 300 lines because what the server needs of a gateway stands here too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson
from sanic import HTTPResponse
from sanic.compat import Header
from sanic.exceptions import BadRequest, PayloadTooLarge
from sanic.request import Request as SanicRequest

from turnout.engine.audit import Audit
from turnout.engine.cached import Invalidation
from turnout.engine.draw import Draw
from turnout.engine.keyring import Keyring
from turnout.engine.metrics import Metrics
from turnout.engine.offered import Asking
from turnout.engine.rates import LIMITS
from turnout.engine.request import (
    Caller,
    Reply,
    Request,
    RequestError,
    StreamReply,
    new_request_id,
)
from turnout.engine.seats import Leave
from turnout.engine.tenants import Tenants
from turnout.protocols import chat
from turnout.protocols.client import Told
from turnout.settings import Settings

from .admission import Admission
from .connection import Connections
from .refusals import Refusals

if TYPE_CHECKING:
    from .identity import Identity

JSON = "application/json"
# The method of Sanic's stand-in for a request that could not be parsed; all else in it is empty.
UNPARSED = "NONE"
MOST_HEADERS = 100

# What a browser's script may read of an answer from another origin.
EXPOSED = (
    "x-request-id, x-turnout-model, x-turnout-rule, x-turnout-policy, x-turnout-cache, "
    "x-turnout-cost, x-turnout-cost-estimate, x-turnout-attempts, x-turnout-dropped, "
    "x-turnout-count, request-id, retry-after, age, " + ", ".join(sorted(LIMITS))
)

# RFC 9112: a method, a target, and headers whose names are tokens. Sanic is laxer, and what is a
# header to whoever stands in front of it but not to it is how requests are smuggled.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_HEAD = re.compile(
    _TOKEN + rb" [\x21-\x7e]++ HTTP/1\.[01](?:\r\n" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+)*+"
)


class Gateway(Protocol):
    """What the server needs of the engine's gateway."""

    ready: bool
    audit: Audit
    tenants: Tenants | None
    keys: Keyring

    @property
    def digest(self) -> str:
        """The hash of the policy in force."""

    @property
    def refuses(self) -> str | None:
        """The code with which all paid work is refused now; None where it is taken."""

    @property
    def providers(self) -> Mapping[str, bool]:
        """The providers that may be called, with whether their credential is there."""

    @property
    def missing(self) -> Mapping[str, str]:
        """What those of `providers` lack that cannot be called."""

    async def start(self) -> None:
        """Begin to serve, in the worker's event loop."""

    async def close(self) -> None:
        """Write out what is queued, and stop."""

    def look_again(self) -> None:
        """Look at the policy's files now."""

    async def seat(self, tenant: str, patience_s: float) -> Leave | None:
        """A seat for a request among those that a tenant may have under way; None: not in time."""

    def seats_of(self, tenant: str) -> int | None:
        """How many requests a tenant may have under way; None: no number is set."""

    async def draw(self, caller: Caller) -> Draw | None:
        """Take a request of the rates of its caller; None where none hold for it.

        What is returned goes with the request, and must be closed after it. Raises: RequestError.
        """

    async def generate(self, request: Request) -> Reply | StreamReply:
        """Answer a request for generation, in whatever protocol. Raises: RequestError."""

    async def count(self, request: Request) -> Reply:
        """Count a prompt's tokens: `{"input_tokens": …}`. Raises: RequestError."""

    async def embeddings(self, request: Request) -> Reply:
        """Answer an embeddings request. Raises: RequestError."""

    def models(self, asking: Asking) -> list[dict[str, Any]]:
        """What this caller may ask for, as OpenAI lists models."""

    def model(self, name: str, asking: Asking) -> dict[str, Any]:
        """One model by name. Raises: RequestError."""

    async def explain(self, request: Request) -> dict[str, Any]:
        """The decision on a chat body, without an upstream call."""

    async def trace(
        self,
        request_id: str,
        tenant: str | None,
        team: str | None = None,
        user: str | None = None,
        *,
        of_strangers: bool = False,
    ) -> dict[str, Any]:
        """The trace document of a request of a tenant, None: of any. Raises: RequestError."""

    async def costs(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What was spent, by what was asked for. Raises: RequestError."""

    async def budgets(self, caller: Caller) -> dict[str, Any]:
        """How the budgets of a caller are. Raises: RequestError."""

    async def all_budgets(self, tenant: str | None) -> dict[str, Any]:
        """How the budgets of a tenant are, None: of all. Raises: RequestError."""

    async def invalidate(self, which: Invalidation, pattern: str, actor: str) -> int | None:
        """Give these answers to nobody any more; how many were kept. Raises: RequestError."""

    async def shelved(self, tenant: str | None) -> dict[str, Any]:
        """What is kept of a tenant's answers, None: of all. Raises: RequestError."""

    def health(self) -> dict[str, Any]:
        """Whether this worker serves, and how."""


@dataclass(slots=True)
class Station:
    """What the routes of one worker share; `request.app.ctx` of the Sanic app is one.

    `draining` is true from the signal to stop on.
    """

    settings: Settings
    gateway: Gateway
    metrics: Metrics
    admission: Admission
    connections: Connections
    refusals: Refusals
    draining: bool = False


class Incoming(SanicRequest):
    """A request as Sanic parsed it, with an id that we made: a client cannot choose it."""

    __slots__ = ("_made_id", "draw", "identity")

    identity: "Identity"  # whose request it is, once the gate has found out

    def __init__(
        self,
        url_bytes: bytes,
        headers: Any,
        version: str,
        method: str,
        head: bytes = b"",
        **rest: Any,
    ):
        """Take in what Sanic parsed.

        For what it could not parse it makes a stand-in with the same URL and no head, and fails
        again if that was the trouble.
        Raises: BadRequest, PayloadTooLarge for what it should not have parsed.
        """
        url = b"*" if method == UNPARSED else url_bytes
        if head:
            _check_head(head, method, headers, version)
            if not head.isascii():
                headers = _readable(headers)
        super().__init__(url, headers, version, method, head=head, **rest)
        self.draw: Draw | None = None  # what it takes of rates, once it was admitted

    @property
    def id(self) -> str:
        """`req_` and 26 characters that sort by time."""
        try:
            return self._made_id
        except AttributeError:
            self._made_id: str = new_request_id()
            return self._made_id


def _check_head(head: bytes, method: str, headers: Any, version: str) -> None:
    if head.count(b"\r\n") > MOST_HEADERS:
        raise PayloadTooLarge("too many headers")
    length = headers.get("content-length")
    if (
        method == UNPARSED
        or _HEAD.fullmatch(head) is None
        or (length is not None and not length.isascii())
        # Whoever forwards HTTP/1.0 may not know chunks, and see another request's start in them.
        or (version == "1.0" and "transfer-encoding" in headers)
    ):
        raise BadRequest("not a request of HTTP/1.1")


def _readable(headers: Any) -> Any:
    """The headers with those that are no UTF-8 read as Latin-1: no text holds half a character."""
    return Header((name, _text(value)) for name, value in headers.items())


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


class Answer(HTTPResponse):
    """A response; its headers are looked at once, not character by character through a table.

    Ten headers cost 4 µs this way, and 14 µs in Sanic's own.
    """

    __slots__ = ()

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Name and value of each header, without anything that could end a line."""
        if self.content_type is not None:
            self.headers.setdefault("content-type", self.content_type)
        for name, value in self.headers.items():
            text = f"{value}"
            if not text.isprintable():
                text = self._sanitize_header_value(text)
            yield name.encode(), text.encode(errors="surrogateescape")


def station(request: Incoming) -> Station:
    """What this worker's routes share."""
    return cast(Station, request.app.ctx)


def headers_of(request: Incoming, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers that every response has, and more."""
    here = station(request)
    if here.draining and request.stream is not None:
        close_after(request.stream)
    headers = {"x-request-id": request.id}
    origins = here.settings.cors_origins
    if origins:
        headers["vary"] = "origin"
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() in origins:
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = EXPOSED
    if more:
        headers.update(more)
    return headers


def close_after(stream: Any) -> None:
    """Let the connection end with this response; `stream` is the request's."""
    stream.keep_alive = False


def json_bytes(
    request: Incoming, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """A response of JSON that is bytes already."""
    return Answer(body, status, headers_of(request, headers), JSON)


def json_value(request: Incoming, value: object, status: int = 200) -> HTTPResponse:
    """A response of JSON from plain values."""
    return json_bytes(request, orjson.dumps(value), status)


def error_response(
    request: Incoming, error: RequestError, tell: Callable[[RequestError, str], Told] = chat.told
) -> HTTPResponse:
    """An error as a response, in OpenAI's envelope or as `tell` tells it."""
    body, more = tell(error, request.id)
    headers = {**error.headers, **more}
    if error.retry_after_us is not None:
        # Rounded up: a client that comes back early is refused again.
        headers["retry-after"] = str(-(-error.retry_after_us // 1_000_000))
        headers["retry-after-ms"] = str(-(-error.retry_after_us // 1_000))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    return json_bytes(request, body, error.status, headers)


def refusal(status: int, code: str | None, message: str, param: str | None = None) -> RequestError:
    """An error that is the request's own fault."""
    return RequestError(status, "invalid_request_error", code, message, param=param)
