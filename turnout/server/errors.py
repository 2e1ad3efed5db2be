"""Every failure as OpenAI's error envelope: ours, Sanic's, and the ones nobody foresaw."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sanic import HTTPResponse
from sanic.constants import HTTP_METHODS
from sanic.exceptions import (
    BadRequest,
    ExpectationFailed,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    SanicException,
    ServiceUnavailable,
    URITooLong,
)
from sanic.handlers import ErrorHandler

from turnout.engine.request import RequestError
from turnout.protocols import messages
from turnout.protocols.client import Told

from .wire import UNPARSED, Incoming, error_response, refusal, station

_log = logging.getLogger("turnout.server")

TELLING: Mapping[str, Callable[[RequestError, str], Told]] = {"/v1/messages": messages.told}
"""Where errors are told otherwise than in OpenAI's envelope: the start of a path, and how."""

COUNTED = ("model_unpriced",)
"""Codes of refusals before any decision that operators look for."""


def failed(request: Incoming, error: RequestError) -> HTTPResponse:
    """The response to an error, as the protocol of the request's path tells it."""
    for path, tell in TELLING.items():
        if f"{request.path}/".startswith(f"{path}/"):
            return error_response(request, error, tell)
    return error_response(request, error)


class EnvelopeHandler(ErrorHandler):
    """Turns whatever ended a request into a response; details of defects stay in the log."""

    def response(self, request: Any, exception: BaseException) -> HTTPResponse:
        """The response to an exception."""
        error = exception if isinstance(exception, RequestError) else _told(request, exception)
        if error.code in COUNTED:
            station(request).refusals(error.code)
        return failed(request, error)

    def default(self, request: Any, exception: Exception) -> HTTPResponse:
        """The same; Sanic asks here where `response` failed."""
        return self.response(request, exception)


def _told(request: Incoming, exception: BaseException) -> RequestError:
    match exception:
        case MethodNotAllowed():
            return _method_not_allowed(request, exception)
        case NotFound():
            return refusal(404, None, f"There is no `{request.method} {_shown(request)}` here.")
        case RequestTimeout():
            return RequestError(
                408, "timeout", "request_timeout", "The request did not arrive in time."
            )
        case PayloadTooLarge() if request.method == UNPARSED:
            return refusal(431, "headers_too_large", "The request's headers are too large.")
        case PayloadTooLarge():
            return refusal(413, "request_too_large", "The body is too large.")
        case URITooLong():
            return refusal(414, "uri_too_long", "The request's URL is too long.")
        case ExpectationFailed():
            return refusal(417, None, "The only expectation known here is `100-continue`.")
        case BadRequest():
            return refusal(400, "bad_request", "The request is not valid HTTP.")
        case ServiceUnavailable():
            return _stopped("The gateway gave up on this request: its client went silent.")
        case asyncio.CancelledError():
            return _stopped("The gateway is shutting down.")
        case SanicException() if exception.status_code < 500:
            return refusal(exception.status_code, None, "The request cannot be served.")
    _log.error("%s: a request broke inside the gateway", request.id, exc_info=exception)
    return RequestError(
        500,
        "server_error",
        "internal_error",
        f"The gateway failed on this request; its log says more under `{request.id}`.",
    )


def _method_not_allowed(request: Incoming, exception: MethodNotAllowed) -> RequestError:
    # The router leaves them out where a part of the path is a name.
    allowed = ", ".join(sorted(exception.allowed_methods or _taken(request)))
    told = refusal(
        405, None, f"`{_shown(request)}` does not take `{request.method}`, only {allowed}."
    )
    told.headers["allow"] = allowed
    return told


def _taken(request: Incoming) -> Iterator[str]:
    """The methods that the request's path does take."""
    for method in HTTP_METHODS:
        try:
            request.app.router.get(request.path, method, None)
        except (NotFound, MethodNotAllowed):
            continue
        yield method


def _stopped(message: str) -> RequestError:
    return RequestError(503, "service_unavailable_error", "shutting_down", message)


def _shown(request: Incoming) -> str:
    """The path, short enough to be repeated."""
    return request.path if len(request.path) <= 200 else request.path[:200] + "…"
