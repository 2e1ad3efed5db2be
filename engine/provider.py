"""The contract between the engine and providers: a call goes in, an answer or a fault comes out.

An adapter knows one wire; it does not retry, choose or count. The engine decides from the `Fault`
alone what happens next: `FAULTS` is the one table that says so.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

from .request import OwnKey, Request, Sets, Usage


class Fault(Enum):
    """Why an attempt failed; the value is its name in `catch`, traces and metric labels."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    TTFT_TIMEOUT = "ttft_timeout"
    SERVER = "5xx"
    OVERLOADED = "overloaded"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    AUTH = "auth"
    OWN_KEY = "own_key"
    BAD_OUTPUT = "bad_output"
    CONTEXT_EXCEEDED = "context_exceeded"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"
    UNSUPPORTED = "unsupported_parameter"
    BREAKER_OPEN = "breaker_open"
    BUDGET = "budget"


class Treatment(NamedTuple):
    """What a fault leads to. `status`, `type`, `code`: shown where the chain ends with it.

    `weight`: of several faults the client is told the one that weighs most.
    """

    retry: bool
    breaker: bool
    next_hop: bool
    status: int
    type: str
    code: str | None
    should_retry: bool | None
    weight: int


FAULTS: dict[Fault, Treatment] = {
    # retry, breaker, next hop, status, type, code, should retry, weight
    Fault.CONNECT: Treatment(True, True, True, 502, "upstream_error", "bad_gateway", None, 1),
    Fault.TIMEOUT: Treatment(False, True, True, 504, "timeout", "upstream_timeout", None, 3),
    Fault.TTFT_TIMEOUT: Treatment(False, True, True, 504, "timeout", "upstream_timeout", None, 3),
    Fault.SERVER: Treatment(True, True, True, 502, "upstream_error", "bad_gateway", None, 2),
    Fault.OVERLOADED: Treatment(
        True, True, True, 503, "service_unavailable_error", "overloaded", None, 4
    ),
    Fault.RATE_LIMIT: Treatment(
        True, True, True, 429, "rate_limit_error", "rate_limit_exceeded", None, 5
    ),
    Fault.QUOTA: Treatment(
        False, False, True, 429, "insufficient_quota", "insufficient_quota", False, 6
    ),
    Fault.AUTH: Treatment(False, False, True, 502, "upstream_error", "upstream_auth", False, 6),
    Fault.OWN_KEY: Treatment(
        False, False, False, 401, "invalid_request_error", "invalid_api_key", False, 8
    ),
    Fault.BAD_OUTPUT: Treatment(True, True, True, 502, "upstream_error", "bad_gateway", None, 2),
    Fault.CONTEXT_EXCEEDED: Treatment(
        False, False, True, 400, "invalid_request_error", "context_length_exceeded", None, 7
    ),
    Fault.CONTENT_FILTER: Treatment(
        False, False, False, 400, "invalid_request_error", "content_filter", None, 9
    ),
    Fault.BAD_REQUEST: Treatment(False, False, False, 400, "invalid_request_error", None, None, 9),
    Fault.UNSUPPORTED: Treatment(
        False, False, True, 400, "invalid_request_error", "unsupported_parameter", None, 8
    ),
    Fault.BREAKER_OPEN: Treatment(
        False, False, True, 503, "service_unavailable_error", "breaker_open", None, 0
    ),
    Fault.BUDGET: Treatment(
        False, False, True, 402, "insufficient_quota", "budget_exceeded", False, 7
    ),
}


class ProviderError(Exception):
    """An attempt that failed.

    `message` is fit to be shown to the client: no key, no URL, nothing of the upstream's identity
    beyond what its own error said about the request. `status` is the upstream's, None if there was
    none. `code` and `param` are the upstream's own where they say more than the fault's.
    `usage` is what a broken stream had already reported. `should_retry` is whether the same target
    may answer if it is asked again, where that is known better than by the fault.
    """

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_us: int | None = None,
        usage: Usage | None = None,
        should_retry: bool | None = None,
    ) -> None:
        """Hold what is known of the failure."""
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_us = retry_after_us
        self.usage = usage
        self.should_retry = should_retry
        # Noted by the chain: what the provider said of its rate limits beside the refusal.
        self.limits: Mapping[str, str] = {}


@dataclass(slots=True)
class Call:
    """One attempt at one target.

    `upstream_model` goes to the provider; `shown_model` is what the client asked for and finds in
    the answer's `model`. `max_output` is the target's own limit in tokens, for wires that must
    name one. `connect_us` and `idle_us` bound the connection and every gap between bytes.
    `refused` names the steering parameters that this target is known to refuse: the adapter leaves
    them out, and adds to `dropped` those that the client had set.
    `strict`: a steering parameter that would be dropped refuses the call instead.
    `sets` is what the policy writes over the client's body: adapters read `body`, where that has
    been done.
    The adapter sets `sent` just before request bytes leave, and adds to `dropped` the names of the
    steering parameters that this wire cannot carry. It sets `native` where it passes a request of
    another protocol than chat through as it is, so that the answer is in that protocol too.
    `limits` is what the provider said of its rate limits, as headers for the client.
    """

    request: Request
    upstream_model: str
    shown_model: str
    max_output: int | None
    connect_us: int
    idle_us: int
    refused: frozenset[str] = frozenset()
    strict: bool = False
    sets: Sets = field(default_factory=dict)
    sent: bool = False
    dropped: list[str] = field(default_factory=list)
    native: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)

    @property
    def losses(self) -> tuple[str, ...]:
        """What was dropped, each once, by the name that its client knows."""
        named = {} if self.request.native is None else self.request.native.named
        return tuple(
            dict.fromkeys(
                name if name in self.sets else named.get(name, name) for name in self.dropped
            )
        )

    @property
    def body(self) -> dict[str, Any]:
        """The request's body with what the policy sets; its bytes (`raw`) are still the client's.

        Made anew at each question where there is something to set.
        """
        return self.request.written(self.sets)


@dataclass(slots=True)
class Answer:
    """A whole answer, ready to send: in OpenAI's wire whatever the provider speaks.

    Of a call that is `native`, it is in the request's own protocol instead.
    `usage` None: the provider reported none. `text` is the output, for counting it then.
    `finish_reason` None: the provider did not say why it ended, whatever the body says.
    `upstream_model` is the model name that the provider itself reported.
    """

    body: bytes
    usage: Usage | None
    text: str
    finish_reason: str | None
    upstream_model: str | None


@dataclass(slots=True)
class Chunk:
    """One event of a stream, in OpenAI's wire: `data: {…}` and its blank line.

    Of a call that is `native`, it is an event of the request's own protocol instead.
    `data` is empty for what only the gateway wants to know (usage that the client did not ask
    for). `content` is true from the first piece that a client would show or act on: text,
    reasoning, refusal, a tool's delta or a finish reason. `text` is the visible output in it.
    `beat`: it only keeps the connection alive, and no clock is set back for it.
    `usage`, once present, replaces what earlier chunks said.
    """

    data: bytes
    content: bool
    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    upstream_model: str | None = None
    beat: bool = False


class Provider(Protocol):
    """A configured provider: an address, a credential, a wire."""

    name: str

    @property
    def place(self) -> str:
        """Where it is called: at another place, the same model may answer otherwise."""

    @property
    def usable(self) -> bool:
        """Whether nothing is missing for a call."""

    @property
    def missing(self) -> str | None:
        """What it lacks to be called, to be read before `for …`; None: it is usable."""

    def owned(self, key: OwnKey) -> "Provider | None":
        """The same one for a caller with a key of its own, which is used in the gateway's place.

        None where the key is not for it: it is for the provider that it names, at that provider's
        own origin. Nothing of the gateway's goes along with it.
        """

    async def answer(self, call: Call) -> Answer:
        """Generation without streaming, or embeddings. Raises: ProviderError."""

    async def count(self, call: Call) -> int | None:
        """The provider's own count of the prompt's tokens, free of charge; None: it has none.

        Raises: ProviderError.
        """

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that the provider lists, free of charge; None: it has no such call.

        An answer that is no list is a fault, so that it says: reached, and the key is taken.
        Raises: ProviderError.
        """

    async def probe(self, patience_us: int) -> bool:
        """Ask for the least that says: reached, and the key is taken; free of charge.

        False: it has no such call. Raises: ProviderError.
        """

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks; the closing `[DONE]` is not among them.

        Connects on the first `__anext__`. It ends by itself only after a finish reason came;
        an upstream that ends early raises. Closing the generator closes the upstream connection.
        Raises: ProviderError, at any point.
        """
