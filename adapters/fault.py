"""What a provider's refusal means: status, body, headers or exception to `ProviderError`.

Known shapes: OpenAI's `{"error": {message, type, param, code}}` and its imitations (`error` a
string, `code` a number, `{"detail": …}`, `{"message": …}`), Anthropic's `{"type": "error", …}`.

Decisions that are not obvious:

- A model or an address the provider does not know (404, or Groq's 400 `model_decommissioned`) is
  the gateway's configuration, not the caller's request: `BAD_OUTPUT`, which is not retried there
  and goes to the next hop. The same for a redirect and for output that the provider itself
  refused (`tool_use_failed`, `json_validate_failed`).
- 409 is treated as the 5xx it stands for with SDKs. 413 is `CONTEXT_EXCEEDED`: too large here,
  another target may take it.
- An unanswered connect is `TIMEOUT` (never retried on the same target); a refused, broken or
  dropped connection is `CONNECT`.
- The provider's own words reach the client only where they are about the request. For anything
  else (account, credential, limits, outages) the text is ours.

Over 300 lines because half of them are the tables of what providers call it.
"""

import math
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from turnout.engine.provider import Fault, ProviderError

MAX_MESSAGE = 600
_MAX_WAIT_US = 24 * 3600 * 1_000_000

FAILURES = (httpx.TransportError, httpx.StreamError, httpx.DecodingError, OSError)
"""The exceptions of a transport that `from_exception` explains."""

# --- what providers call it ----------------------------------------------------------------------

_BY_NAME: dict[str, Fault] = {
    # OpenAI and its imitations: `code` first, then `type`
    "context_length_exceeded": Fault.CONTEXT_EXCEEDED,
    "string_above_max_length": Fault.CONTEXT_EXCEEDED,
    "exceed_context_size_error": Fault.CONTEXT_EXCEEDED,
    "content_filter": Fault.CONTENT_FILTER,
    "content_policy_violation": Fault.CONTENT_FILTER,
    "moderation_blocked": Fault.CONTENT_FILTER,
    "insufficient_quota": Fault.QUOTA,
    "credit_balance_exhausted": Fault.QUOTA,
    "billing_hard_limit_reached": Fault.QUOTA,
    "billing_not_active": Fault.QUOTA,
    "invalid_api_key": Fault.AUTH,
    "account_deactivated": Fault.AUTH,
    "rate_limit_exceeded": Fault.RATE_LIMIT,
    "rate_limit_error": Fault.RATE_LIMIT,
    "rate_limit": Fault.RATE_LIMIT,
    "slow_down": Fault.OVERLOADED,
    "server_is_overloaded": Fault.OVERLOADED,
    "service_unavailable_error": Fault.OVERLOADED,
    "unsupported_parameter": Fault.UNSUPPORTED,
    "unsupported_value": Fault.UNSUPPORTED,
    "model_not_found": Fault.BAD_OUTPUT,
    "model_decommissioned": Fault.BAD_OUTPUT,
    "model_terms_required": Fault.BAD_OUTPUT,
    "tool_use_failed": Fault.BAD_OUTPUT,
    "json_validate_failed": Fault.BAD_OUTPUT,
    "server_error": Fault.SERVER,
    "internal_server_error": Fault.SERVER,
    # Anthropic
    "overloaded_error": Fault.OVERLOADED,
    "authentication_error": Fault.AUTH,
    "permission_error": Fault.AUTH,
    "billing_error": Fault.QUOTA,
    "not_found_error": Fault.BAD_OUTPUT,
    "request_too_large": Fault.CONTEXT_EXCEEDED,
    "timeout_error": Fault.TIMEOUT,
    "api_error": Fault.SERVER,
    "invalid_request_error": Fault.BAD_REQUEST,
}

# Names that say enough in themselves, whatever the status beside them.
_DECISIVE = frozenset(
    name
    for name, fault in _BY_NAME.items()
    if fault
    in (
        Fault.CONTEXT_EXCEEDED,
        Fault.CONTENT_FILTER,
        Fault.QUOTA,
        Fault.UNSUPPORTED,
        Fault.OVERLOADED,
    )
) | {
    "model_not_found",
    "model_decommissioned",
    "model_terms_required",
    "tool_use_failed",
    "json_validate_failed",
    "invalid_api_key",
}

# Bodies of 400 that only their prose tells apart.
_BY_PROSE: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        (r"credit balance is too low", Fault.QUOTA),
        (r"api key not valid|invalid api key|api_key_invalid", Fault.AUTH),
        (
            r"maximum context length|prompt is too long|context (length|window|limit|size)"
            r"|exceeds the maximum number of (input )?tokens|reduce the length of the messages",
            Fault.CONTEXT_EXCEEDED,
        ),
        (r"content filter|content management policy|usage polic(y|ies)", Fault.CONTENT_FILTER),
    )
)

_BY_STATUS: dict[int, Fault] = {
    401: Fault.AUTH,
    402: Fault.QUOTA,
    403: Fault.AUTH,
    404: Fault.BAD_OUTPUT,
    405: Fault.BAD_OUTPUT,
    407: Fault.CONNECT,
    408: Fault.TIMEOUT,
    409: Fault.SERVER,
    410: Fault.BAD_OUTPUT,
    413: Fault.CONTEXT_EXCEEDED,
    429: Fault.RATE_LIMIT,
    498: Fault.OVERLOADED,
    503: Fault.OVERLOADED,
    529: Fault.OVERLOADED,
}

_OURS: dict[Fault, str] = {
    Fault.AUTH: "the provider refused the gateway's credential",
    Fault.QUOTA: "the gateway's account at the provider has no quota left",
    Fault.RATE_LIMIT: "the provider's rate limit is reached",
    Fault.OVERLOADED: "the provider is overloaded",
    Fault.TIMEOUT: "the provider took too long",
    Fault.CONNECT: "the connection to the provider failed",
    Fault.SERVER: "the provider failed",
    Fault.BAD_OUTPUT: "the provider gave no usable answer",
}

# Where the provider's own words are about the request.
_THEIRS = frozenset(
    (Fault.BAD_REQUEST, Fault.CONTEXT_EXCEEDED, Fault.CONTENT_FILTER, Fault.UNSUPPORTED)
)


# --- answers -------------------------------------------------------------------------------------


def from_status(
    status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str] = ()
) -> ProviderError:
    """Explain an answer that is not a success; `secrets` never appear in the message."""
    error = _described(body)
    waits = retry_after_us(headers, time.time())
    return _explained(error, status, waits, secrets)


def from_error(error: object, secrets: Iterable[str] = ()) -> ProviderError:
    """Explain an `error` object that came inside a 200, whole or in a stream."""
    described = error if isinstance(error, dict) else {"message": error}
    status = described.get("status_code", described.get("code"))
    if not isinstance(status, int) or not 400 <= status < 600:
        status = None
    return _explained(described, status, None, secrets)


def bad_output(message: str, *, status: int | None = None) -> ProviderError:
    """Make the fault for an answer that is no answer."""
    return ProviderError(Fault.BAD_OUTPUT, message, status=status)


def no_answer(body: bytes, wanted: str, secrets: Iterable[str] = ()) -> ProviderError:
    """Explain a 200 whose body is not what was `wanted` (`a chat completion`)."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("error"):
        return from_error(parsed["error"], secrets)
    thing = "JSON, but not" if parsed is not None else "not"
    return bad_output(
        f"the provider's answer is {thing} {wanted}" if body else "the provider's answer is empty",
        status=200,
    )


def _explained(
    error: Mapping[str, Any],
    status: int | None,
    waits_us: int | None,
    secrets: Iterable[str],
) -> ProviderError:
    code = _word(error.get("code"))
    kind = _word(error.get("type"))
    prose = error.get("message")
    prose = prose if isinstance(prose, str) else ""
    fault = _fault(error, status, code, kind, prose)
    if fault in _THEIRS:
        message = scrubbed(prose, secrets) or "the provider refused the request"
        param = _word(error.get("param"))
        return ProviderError(
            fault,
            message,
            status=status,
            code=scrubbed(code, secrets) if code is not None else None,
            param=scrubbed(param, secrets) if param is not None else None,
            retry_after_us=waits_us,
        )
    message = _OURS[fault]
    if fault is Fault.BAD_OUTPUT and (status in (404, 410) or (code or "").startswith("model_")):
        missing = code or kind
        unknown_model = missing in ("model_not_found", "not_found_error", "model_decommissioned")
        thing = "model" if unknown_model or "model" in prose else "address"
        message = f"the provider does not know the {thing} that the gateway asked for"
    elif fault is Fault.BAD_OUTPUT and status is not None and 300 <= status < 400:
        message = "the provider redirected the request; redirects are not followed"
    if status is not None:
        message = f"{message} (status {status})"
    return ProviderError(fault, message, status=status, retry_after_us=waits_us)


def _fault(
    error: Mapping[str, Any], status: int | None, code: str | None, kind: str | None, prose: str
) -> Fault:
    for name in (code, kind):
        if name in _DECISIVE:
            # Groq's 413 and 429 say both; a request too large for the limit never fits.
            return _BY_NAME[name]
    if status is not None and status in _BY_STATUS:
        if status == 403 and _is_moderation(error):
            return Fault.CONTENT_FILTER
        return _BY_STATUS[status]
    if status is not None and status >= 500:
        return Fault.SERVER
    if status is not None and status < 400:
        return Fault.BAD_OUTPUT
    named = next((_BY_NAME[name] for name in (code, kind) if name in _BY_NAME), None)
    if status is not None or named is Fault.BAD_REQUEST:
        for pattern, fault in _BY_PROSE:
            if pattern.search(prose):
                return fault
        return Fault.BAD_REQUEST
    return named or Fault.SERVER


def _is_moderation(error: Mapping[str, Any]) -> bool:
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and "reasons" in metadata


def _described(body: bytes) -> Mapping[str, Any]:
    """The error object of a body, whatever its shape; empty if there is none."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return {**parsed, "message": error}
    if not isinstance(error, dict):
        return {}
    if "message" not in error and "detail" in error:
        detail = error["detail"]
        return {"message": detail if isinstance(detail, str) else orjson.dumps(detail).decode()}
    return error


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# --- exceptions ----------------------------------------------------------------------------------


def from_exception(error: BaseException) -> ProviderError:
    """Explain an exception of the transport (one of `FAILURES`) without its words.

    Its words hold hosts, and with a malformed header even credentials.
    """
    if isinstance(error, httpx.ConnectTimeout):
        return ProviderError(Fault.TIMEOUT, "the provider could not be reached in time")
    if isinstance(error, httpx.PoolTimeout):
        return ProviderError(Fault.TIMEOUT, "no connection to the provider became free in time")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return ProviderError(Fault.TIMEOUT, "the provider fell silent")
    if isinstance(error, httpx.DecodingError):
        return bad_output("the provider's answer could not be decompressed")
    if isinstance(error, httpx.ConnectError | OSError):
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLError):
                return ProviderError(Fault.CONNECT, "the TLS connection to the provider failed")
            if isinstance(cause, socket.gaierror):
                return ProviderError(Fault.CONNECT, "the provider's name could not be resolved")
            if isinstance(cause, ConnectionRefusedError):
                return ProviderError(Fault.CONNECT, "the provider refused the connection")
        return ProviderError(Fault.CONNECT, "the connection to the provider failed")
    return ProviderError(Fault.CONNECT, "the connection to the provider broke")


def _causes(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [c for c in (cause.__cause__, cause.__context__) if c is not None]
        if isinstance(cause, BaseExceptionGroup):
            waiting += cause.exceptions


# --- waiting -------------------------------------------------------------------------------------


def retry_after_us(headers: Mapping[str, str], now_s: float) -> int | None:
    """How long the provider asks to wait: `retry-after-ms`, or seconds or a date in `retry-after`.

    `now_s` is the Unix time. None without an instruction; negative ones are none; at most a day.
    """
    waits: float | None = _number(headers.get("retry-after-ms"))
    if waits is not None:
        waits /= 1000
    else:
        written = headers.get("retry-after")
        waits = _number(written)
        if waits is None and written:
            try:
                waits = max(0.0, parsedate_to_datetime(written).timestamp() - now_s)
            except (ValueError, OverflowError):
                return None
    if waits is None or waits < 0:
        return None
    return min(round(waits * 1_000_000), _MAX_WAIT_US)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


# --- messages ------------------------------------------------------------------------------------

_CREDENTIALS = re.compile(
    r"""
      \b(?:https?|wss?)://\S+                                  # addresses, with what is in them
    | \bbearer\s+\S+
    | \b(?:sk|gsk|tk|xai)[-_][\w*.\-]{6,}                       # keys
    | \b(?:pk|rk|key|org|proj|req)[-_](?=[\w*.\-]*[\d*])[\w*.\-]{6,}  # keys, account ids
    | \bAIza[\w-]{20,}
    | \beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?                         # JSON web tokens
    | (?<=[?&])(?:key|api[_-]?key|token|access_token|sig)=[^\s&]+
    | \b(?:x-)?api[_-]?key\s*[:=]\s*\S+
    | \bauthorization\s*[:=]\s*\S+(?:\s\S+)?
    """,
    re.IGNORECASE | re.VERBOSE,
)


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """The text on one line, bounded, without these secrets and anything that looks like one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[removed]")
    # Bounded before the patterns run: the text is the provider's.
    text = _CREDENTIALS.sub("[removed]", " ".join(text[: 4 * MAX_MESSAGE].split()))
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
