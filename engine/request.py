"""What goes through the gateway: a request, its caller, what was used, what is answered.

Bodies pass through: a `Request` holds the parsed body and the very bytes that came in, and types
only what is routed on. Nothing here knows HTTP servers or providers' wires.
"""

import hashlib
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .draw import Draw
    from .record import Attempt
    from .tokens import Measured

Sets = Mapping[str, bool | int | float | str]
"""Fields of a request that a rule writes over the client's (`set:`)."""

NOTHING_SET: Sets = {}

# All mean the same; `set: {max_tokens: …}` stands for whichever a target takes.
OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

SEALED = "turnout.1."
"""How an `encrypted_content` starts that the gateway made itself: no provider can read it."""

HOTTEST = 2  # the highest temperature that OpenAI's API takes; the lowest is 0


READ, WRITE, ADMIN = "ai:read", "ai:write", "admin"
ALL_SCOPES = frozenset({READ, WRITE, ADMIN})
"""What callers may do: `ai:read` look at models, decisions and their own spend, `ai:write` have
requests answered, `admin` the rest."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_SHIFTS = tuple(range(120, -1, -10))


class Operation(Enum):
    """What is asked for; the value is `request_type` in conditions."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, from verified identity only (never from the body).

    `tier` and `region` are the key's or those of a stored tenant; what the policy says of a tenant
    stands where these are silent. `scopes` is what the caller may do. `models` is what it may be
    answered by: targets with `*` (`openai/*`), and names that clients ask for; None: by any.
    `rpm` and `tpm` are the key's own rates: requests and tokens a minute.
    """

    tenant: str = "default"
    tier: str = "default"
    team: str | None = None
    user: str | None = None
    key_id: str | None = None
    region: str | None = None
    scopes: frozenset[str] = ALL_SCOPES
    models: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A provider's key that a caller brought along: for that provider's own origin, and only there.

    Never kept, never logged: it is not in a repr.
    """

    provider: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Native:
    """A request as its client wrote it, in a protocol other than chat.

    `body` is `raw` parsed. `only` names the members that nobody but this protocol's own provider
    can honour: any other refuses the request for them. `lost` names those that only steer, and
    have no counterpart in chat: any other leaves them out and says so. `named` are the client's
    names of steering members of chat that it said otherwise.
    """

    raw: bytes
    body: dict[str, Any]
    only: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One request as received; `operation` says in which protocol.

    `body` is `raw` parsed once, a chat body for all that is generation: what came in another
    protocol is `native`, and `body` says the same as chat.
    `headers` are lower-case and without credentials.
    `received_us` is UTC in microseconds; `started_ns` is the monotonic clock at the same moment.
    `own` is a provider's key that the caller brought; `gateway_pays`: the gateway's credentials may
    be used for it. `draw` is what it takes of rates; None where none hold for its caller.
    `measured` is what `tokens` has found of the body; None before it was asked.
    """

    id: str
    operation: Operation
    body: dict[str, Any]
    raw: bytes
    model: str
    stream: bool
    caller: Caller
    headers: Mapping[str, str]
    received_us: int
    started_ns: int
    native: Native | None = None
    own: OwnKey | None = None
    gateway_pays: bool = True
    draw: "Draw | None" = None
    measured: "Measured | None" = field(default=None, init=False, repr=False, compare=False)

    @property
    def output_limit(self) -> int | None:
        """The output tokens that the request allows, by whichever name it says so; None if none."""
        for name in OUTPUT_LIMITS:
            value = self.body.get(name)
            # A snapshot holds integers of 64 bits; nothing longer limits anything.
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
                return value
        return None

    def written(self, sets: Sets) -> dict[str, Any]:
        """The body with these fields over the client's; one output limit replaces any other.

        A field of the client's that gives way is there as None, which counts as absent.
        """
        if not sets:
            return self.body
        body = self.body | dict(sets)
        if "max_tokens" in sets:
            for name in OUTPUT_LIMITS:
                if name != "max_tokens" and name in body:
                    body[name] = None
        return body

    @cached_property
    def session_hash(self) -> str:
        """The sha256 (hex) of the session: header, `prompt_cache_key`, `user` or the id."""
        session = (
            self.headers.get("x-turnout-session")
            or self.body.get("prompt_cache_key")
            or self.body.get("user")
            or self.id
        )
        return hashlib.sha256(str(session).encode("utf-8", "replace")).hexdigest()


def new_request_id() -> str:
    """An id of 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return "req_" + "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt. `input` includes `cached` and `cache_write` (OpenAI's convention).

    `output` includes `reasoning`. `estimated`: not the provider's own word.
    """

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False


class RequestError(Exception):
    """A request that ends in an error of the OpenAI envelope; the server renders it.

    `status` is HTTP's; `type`, `code`, `param` are the envelope's keys. `retry_after_us` becomes a
    Retry-After header; `should_retry` False tells SDKs not to try again (`x-should-retry`).
    """

    def __init__(
        self,
        status: int,
        type: str,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        retry_after_us: int | None = None,
        should_retry: bool | None = None,
    ) -> None:
        """Hold the parts of the envelope."""
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_us = retry_after_us
        self.should_retry = should_retry
        # Filled in by the gateway once a decision exists, so that errors are explained too.
        self.headers: dict[str, str] = {}


@dataclass(slots=True)
class Reply:
    """A whole answer: the JSON body to send and the headers of the decision.

    The body is a chat completion (of embeddings, their list), or where `native` in the request's
    own protocol already.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    native: bool = False


@dataclass(slots=True)
class StreamReply:
    """An answer that is sent while it is made; its first content is already known.

    Each of `chunks` is a whole event and its blank line: `data: …` of chat, or where `native` of
    the request's own protocol. Closing the generator says that the client left. `failure` is set
    where the stream ended before its answer did; the server tells it. `attempts` are those so far,
    the one that streams among them.
    """

    status: int
    headers: dict[str, str]
    chunks: AsyncGenerator[bytes, None]
    native: bool = False
    failure: RequestError | None = None
    attempts: "Sequence[Attempt]" = ()
