"""What a provider sends back, before anything goes wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Whole:
    """An answer in one piece. `tokens` is how many tokens a model took to write it."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    tokens: int = 0


@dataclass(slots=True)
class Stream:
    """An answer as events, each a complete server-sent event with its blank line.

    `finish_at` is the index of the first event that ends the answer: a finish reason or later.
    `broken` makes the event that this stream breaks off with, where it is not the wire's own.
    """

    events: list[bytes]
    finish_at: int
    headers: dict[str, str] = field(default_factory=dict)
    broken: "Callable[[Refusal], bytes] | None" = None


Reply = Whole | Stream


class Refusal(Exception):
    """A request that the provider answers with an error; the wire gives it its shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        """Hold what the error says; `type` and `code` default to what goes with the status."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
