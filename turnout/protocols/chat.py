"""Chat completions: what the engine speaks itself, so that nothing is translated."""

import orjson

from turnout.engine.request import Request, RequestError

from .client import Told

_DONE = b"data: [DONE]\n\n"


def envelope(type: str, code: str | None, message: str, param: str | None = None) -> bytes:
    """OpenAI's error body, with all four keys.

    Source: OpenAI's OpenAPI specification, `ErrorResponse` (all four keys required).
    """
    return orjson.dumps({"error": {"message": message, "type": type, "param": param, "code": code}})


def told(error: RequestError, request_id: str) -> Told:
    """An error as OpenAI's envelope."""
    return Told(envelope(error.type, error.code, error.message, error.param), {})


class Chat:
    """The voice of chat: everything as it is, a closing mark, one event for a failure."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""

    def whole(self, body: bytes) -> bytes:
        """The body itself."""
        return body

    def event(self, event: bytes) -> bytes:
        """The event itself."""
        return event

    def end(self) -> bytes:
        """The closing mark."""
        return _DONE

    def failed(self, error: RequestError) -> bytes:
        """One event with the error, and no closing mark after it."""
        return b"data: %b\n\n" % told(error, "").body
