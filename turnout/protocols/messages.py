"""Anthropic's Messages as clients speak it: its errors, and the voice for what passes through.

Source: the types and the exceptions of Anthropic's own client library.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.request import Operation, Request, RequestError

from .client import ClientProtocol, Told
from .messages_answer import Translated
from .messages_request import as_chat
from .messages_shape import check, check_counted

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
# Of 503: what it is that there is too much of.
_OVERLOADED = frozenset(("overloaded", "breaker_open", "budget_wait"))


def told(error: RequestError, request_id: str) -> Told:
    """An error as Anthropic's envelope; `details` holds the code and the parameter."""
    return Told(_envelope(error, request_id), marks(request_id))


def marks(request_id: str) -> dict[str, str]:
    """The headers that every answer of this protocol has beside the usual ones."""
    return {"request-id": request_id}


def _envelope(error: RequestError, request_id: str) -> bytes:
    told: dict[str, Any] = {"type": _type(error), "message": error.message}
    details = {"error_code": error.code, "param": error.param}
    if known := {name: value for name, value in details.items() if value is not None}:
        told |= {"details": known}
    return orjson.dumps({"type": "error", "error": told, "request_id": request_id})


def _type(error: RequestError) -> str:
    if error.status in _TYPES:
        return _TYPES[error.status]
    if error.status == 503 and error.code in _OVERLOADED:
        return "overloaded_error"
    return "api_error" if error.status >= 500 else "invalid_request_error"


class Passing:
    """The voice for an answer in the protocol already: everything as it is."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""
        self._id = request.id

    def whole(self, body: bytes) -> bytes:
        """The body itself."""
        return body

    def event(self, event: bytes) -> bytes:
        """The event itself."""
        return event

    def end(self) -> bytes:
        """Nothing: the closing mark is one of the events."""
        return b""

    def failed(self, error: RequestError) -> bytes:
        """One event with the error."""
        return b"event: error\ndata: %b\n\n" % _envelope(error, self._id)


class Translating(Translated):
    """The voice for an answer in chat."""

    def failed(self, error: RequestError) -> bytes:
        """One event with the error."""
        return b"event: error\ndata: %b\n\n" % _envelope(error, self.request_id)


def model_item(item: Mapping[str, object]) -> dict[str, object]:
    """A model of OpenAI's list as Anthropic describes one; what is not known is the epoch."""
    name = item["id"]
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


MESSAGES = ClientProtocol(
    Operation.MESSAGES, check, as_chat, Translating, Passing, told, headers=marks
)
COUNTED = ClientProtocol(
    Operation.MESSAGES, check_counted, as_chat, Translating, Passing, told, headers=marks
)
