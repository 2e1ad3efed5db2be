"""What a provider's refusal means: status, body, headers or exception to `ProviderError`.

Known shapes: OpenAI's `{"error": {message, type, param, code}}` and its imitations (`error` a
string, `code` a number, `{"detail": …}`, `{"message": …}`), Anthropic's `{"type": "error", …}`,
Google's `{"error": {code, message, status, details}}`, alone or in an array.

Decisions that are not obvious:

- A model or an address the provider does not know (404, or Groq's 400 `model_decommissioned`) is
  the gateway's configuration, not the caller's request: `BAD_OUTPUT`, but not tried again there:
  the next hop is. The same for a redirect. Output that the provider itself refused
  (`tool_use_failed`, `json_validate_failed`) is tried again like any other that is no answer.
- A provider's own `x-should-retry` (OpenAI) is believed, whatever the status.
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

from .reset import reset_us

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
    "model_not_available": Fault.BAD_OUTPUT,
    "invalid_model": Fault.BAD_OUTPUT,
    "DeploymentNotFound": Fault.BAD_OUTPUT,
    "OperationNotSupported": Fault.BAD_OUTPUT,
    "model_terms_required": Fault.BAD_OUTPUT,
    "tool_use_failed": Fault.BAD_OUTPUT,
    "json_validate_failed": Fault.BAD_OUTPUT,
    # OpenAI's Responses: the code of a response that failed
    "invalid_prompt": Fault.BAD_REQUEST,
    "invalid_image": Fault.BAD_REQUEST,
    "invalid_image_format": Fault.BAD_REQUEST,
    "invalid_base64_image": Fault.BAD_REQUEST,
    "invalid_image_url": Fault.BAD_REQUEST,
    "image_too_large": Fault.BAD_REQUEST,
    "image_too_small": Fault.BAD_REQUEST,
    "image_parse_error": Fault.BAD_REQUEST,
    "image_file_too_large": Fault.BAD_REQUEST,
    "unsupported_image_media_type": Fault.BAD_REQUEST,
    "empty_image_file": Fault.BAD_REQUEST,
    "failed_to_download_image": Fault.BAD_REQUEST,
    "image_file_not_found": Fault.BAD_REQUEST,
    "image_content_policy_violation": Fault.CONTENT_FILTER,
    "misalignment_policy_violation": Fault.CONTENT_FILTER,
    "bio_policy": Fault.CONTENT_FILTER,
    "vector_store_timeout": Fault.TIMEOUT,
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
    # Google: `status`
    "INVALID_ARGUMENT": Fault.BAD_REQUEST,
    "OUT_OF_RANGE": Fault.BAD_REQUEST,
    "FAILED_PRECONDITION": Fault.AUTH,
    "UNAUTHENTICATED": Fault.AUTH,
    "PERMISSION_DENIED": Fault.AUTH,
    "NOT_FOUND": Fault.BAD_OUTPUT,
    "RESOURCE_EXHAUSTED": Fault.RATE_LIMIT,
    "UNAVAILABLE": Fault.OVERLOADED,
    "DEADLINE_EXCEEDED": Fault.TIMEOUT,
    "INTERNAL": Fault.SERVER,
    # Amazon: the names of exceptions
    "ValidationException": Fault.BAD_REQUEST,
    "ThrottlingException": Fault.RATE_LIMIT,
    "TooManyRequestsException": Fault.RATE_LIMIT,
    "ServiceQuotaExceededException": Fault.QUOTA,
    "ModelNotReadyException": Fault.OVERLOADED,
    "ServiceUnavailableException": Fault.OVERLOADED,
    "ModelTimeoutException": Fault.TIMEOUT,
    "ModelErrorException": Fault.SERVER,
    "ModelStreamErrorException": Fault.SERVER,
    "InternalServerException": Fault.SERVER,
    "InternalFailure": Fault.SERVER,
    "ResourceNotFoundException": Fault.BAD_OUTPUT,
    "AccessDeniedException": Fault.AUTH,
    "UnrecognizedClientException": Fault.AUTH,
    "ExpiredTokenException": Fault.AUTH,
    "InvalidSignatureException": Fault.AUTH,
    "IncompleteSignatureException": Fault.AUTH,
    "MissingAuthenticationTokenException": Fault.AUTH,
}

# What a model wrote, not what it was asked: the next time it may write something else.
_WRITTEN_BADLY = frozenset(("tool_use_failed", "json_validate_failed"))
_SHOULD_RETRY = {"true": True, "false": False}

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
    "model_not_available",
    "invalid_model",
    "DeploymentNotFound",
    "OperationNotSupported",
    "model_terms_required",
    "tool_use_failed",
    "json_validate_failed",
    "invalid_api_key",
    "FAILED_PRECONDITION",
    "ThrottlingException",
    "ModelErrorException",
    "ModelStreamErrorException",
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "IncompleteSignatureException",
    "MissingAuthenticationTokenException",
}

# Bodies of 400 that only their prose tells apart.
_BY_PROSE: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        (r"credit balance is too low", Fault.QUOTA),
        (r"api key not valid|(invalid|incorrect) api key|api_key_invalid", Fault.AUTH),
        (r"not a valid model id", Fault.BAD_OUTPUT),
        (r"extra inputs are not permitted|argument not supported", Fault.UNSUPPORTED),
        (
            r"maximum context length|prompt is too long|context (length|window|limit|size)"
            r"|maximum prompt length|`inputs` tokens|`inputs` must have less|too many tokens"
            r"|exceeds the maximum number of (input )?tokens"
            r"|reduce the length of the messages",
            Fault.CONTEXT_EXCEEDED,
        ),
        (r"content filter|content management policy|usage polic(y|ies)", Fault.CONTENT_FILTER),
    )
)

# Amazon calls everything a `ValidationException`; here by its prose, the code that others have.
_AMAZON_PROSE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (r"model identifier|on-demand throughput|end of its life", "model_not_found"),
        (r"(input|prompt) is too long|too many (input )?tokens", "context_length_exceeded"),
        (r"(doesn.t|does not|isn.t|is not) support", "unsupported_parameter"),
    )
)

_GOOGLE = (
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "FAILED_PRECONDITION",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
)
# Google calls every 400 an `INVALID_ARGUMENT`; here by its prose, the code that others have.
_GOOGLE_PROSE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (r"not (enabled|supported) (for|by) (this model|models/)", "unsupported_parameter"),
        (r"response mime type.* is unsupported", "unsupported_parameter"),
        # What this target cannot read, or did not sign, another may take.
        (r"unsupported (file uri|mime type)|thought[_ ]signature", "unsupported_parameter"),
        (r"request payload size exceeds", "context_length_exceeded"),
    )
)
_NO_CREDIT = re.compile(r"spending cap|prepay\w* credits|billing account", re.IGNORECASE)

# xAI's 403, OpenRouter's 404.
_NO_BALANCE = re.compile(r"have any credits|insufficient (credits|balance)", re.IGNORECASE)
_NO_SUCH_ROUTE = re.compile(r"no endpoints found that (can handle|support)", re.IGNORECASE)

# What a 404 is about; of an address nobody knows it has other words, or no error of its own.
_NO_MODEL = frozenset(("model_not_found", "model_decommissioned", "DeploymentNotFound"))
_MODEL = re.compile(r"model|deployment", re.IGNORECASE)
_ADDRESS = re.compile(r"\burl\b|\broute\b", re.IGNORECASE)

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
    412: Fault.QUOTA,
    413: Fault.CONTEXT_EXCEEDED,
    429: Fault.RATE_LIMIT,
    498: Fault.OVERLOADED,
    499: Fault.CONNECT,
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

# Fireworks names it in its prose only.
_FIELD = re.compile(r"field: '([\w.\[\]]{1,80})'")
# What others write there is prose.
_CODE = re.compile(r"[\w.:/-]{1,80}")
_PARAM = re.compile(r"[\w.:/$\[\]'\"-]{1,160}")

# Where the provider's own words are about the request.
_THEIRS = frozenset(
    (Fault.BAD_REQUEST, Fault.CONTEXT_EXCEEDED, Fault.CONTENT_FILTER, Fault.UNSUPPORTED)
)


# --- answers -------------------------------------------------------------------------------------


def from_status(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Iterable[str] = (),
    advice: str = "",
) -> ProviderError:
    """Explain an answer that is not a success; `secrets` never appear in the message.

    `advice` is added where it is the address that the provider does not know.
    """
    error = _described(body)
    if name := headers.get("x-amzn-errortype") or error.get("__type"):
        error = _of_amazon(str(name), error)
    waits = retry_after_us(headers, time.time())
    error, told_us = _of_google(error)
    waits = told_us if waits is None else waits
    if waits is None and status == 429:
        waits = reset_us(headers, time.time())
    explained = _explained(error, status, waits, secrets, advice)
    if (word := headers.get("x-should-retry")) in _SHOULD_RETRY:
        explained.should_retry = _SHOULD_RETRY[word]
    return explained


def from_error(error: object, secrets: Iterable[str] = ()) -> ProviderError:
    """Explain an `error` object that came inside a 200, whole or in a stream."""
    described = error if isinstance(error, dict) else {"message": error}
    status = described.get("status_code", described.get("code"))
    if not isinstance(status, int) or not 400 <= status < 600:
        status = None
    read, waits = _of_google(described)
    return _explained(read, status, waits, secrets)


def from_amazon(name: str, body: bytes, secrets: Iterable[str] = ()) -> ProviderError:
    """Explain an exception of Amazon's that came inside a stream: its name and what it holds."""
    return _explained(_of_amazon(name, _described(body)), None, None, secrets)


def bad_output(
    message: str, *, status: int | None = None, should_retry: bool | None = None
) -> ProviderError:
    """Make the fault for an answer that is no answer."""
    return ProviderError(Fault.BAD_OUTPUT, message, status=status, should_retry=should_retry)


def object_of(data: bytes) -> dict[str, Any]:
    """What an event of a stream says, as JSON. Raises: ProviderError where it is no object."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise bad_output("the provider's stream holds malformed JSON") from None
    if not isinstance(parsed, dict):
        raise bad_output("the provider's stream holds an event that is no object")
    return parsed


def no_answer(body: bytes, wanted: str, secrets: Iterable[str] = ()) -> ProviderError:
    """Explain a 200 whose body is not what was `wanted` (`a chat completion`)."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
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
    advice: str = "",
) -> ProviderError:
    code = _word(error.get("code"))
    kind = _word(error.get("type"))
    prose = error.get("message")
    prose = prose if isinstance(prose, str) else ""
    fault = _fault(error, status, code, kind, prose)
    if fault in _THEIRS:
        message = scrubbed(prose, secrets) or "the provider refused the request"
        param = _word(error.get("param"))
        if param is None and (field := _FIELD.search(prose)):
            param = field[1]
        return ProviderError(
            fault,
            message,
            status=status,
            code=scrubbed(code, secrets) if code and _CODE.fullmatch(code) else None,
            param=scrubbed(param, secrets) if param and _PARAM.fullmatch(param) else None,
            retry_after_us=waits_us,
        )
    message = _OURS[fault]
    # A model or an address that is not known now is not known in a moment either.
    is_settled = fault is Fault.BAD_OUTPUT and code not in _WRITTEN_BADLY
    is_settled = is_settled and (code in _BY_NAME or (status is not None and status >= 300))
    if fault is Fault.BAD_OUTPUT and (status in (404, 410) or (code or "").startswith("model_")):
        if code in _NO_MODEL or (_MODEL.search(prose) and not _ADDRESS.search(prose)):
            message = "the provider does not know the model that the gateway asked for"
        else:
            message = f"the provider does not know the address that the gateway asked for{advice}"
    elif fault is Fault.BAD_OUTPUT and status is not None and 300 <= status < 400:
        message = "the provider redirected the request; redirects are not followed"
    if status is not None:
        message = f"{message} (status {status})"
    return ProviderError(
        fault,
        message,
        status=status,
        retry_after_us=waits_us,
        should_retry=False if is_settled else None,
    )


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
        if status == 403 and _NO_BALANCE.search(prose):
            return Fault.QUOTA
        if status == 404 and _NO_SUCH_ROUTE.search(prose):
            return Fault.UNSUPPORTED
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
    message = error.get("message")
    if isinstance(message, dict):  # Mistral's
        error = {**error, "message": None, **message}
    if error.get("message") is None and "detail" in error:
        detail = error["detail"]
        if isinstance(detail, list) and detail and isinstance(detail[0], dict):
            return _of_validation(detail[0])
        return {"message": detail if isinstance(detail, str) else orjson.dumps(detail).decode()}
    return error


def _of_validation(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the first finding of a Python server's validation says, as others shape it."""
    place = detail.get("loc")
    steps = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
    unknown = detail.get("type") == "extra_forbidden"
    param = ".".join(steps) or None
    message = detail.get("msg")
    return {
        "message": f"{param}: {message}" if param and isinstance(message, str) else message,
        "code": "unsupported_parameter" if unknown else None,
        "param": param,
    }


def _of_amazon(name: str, error: Mapping[str, Any]) -> Mapping[str, Any]:
    """An error of Amazon's as others shape it; its name comes with an address or a namespace."""
    name = name.partition(":")[0].rpartition("#")[2]
    name = name[:1].upper() + name[1:]
    message = error.get("message") or error.get("Message")
    prose = message if name == "ValidationException" and isinstance(message, str) else ""
    code = next((code for pattern, code in _AMAZON_PROSE if pattern.search(prose)), None)
    return {"type": name, "code": code, "message": message}


def _of_google(error: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    """An error of Google's as others shape it, and how long it asks to wait (microseconds).

    Reason, quota and wait stand in `details`. A quota of a day is used up; one of a minute is a
    rate, although the prose of both is the same.
    """
    status = error.get("status")
    if status not in _GOOGLE:
        return error, None
    details = error.get("details")
    listed = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    prose = error.get("message")
    prose = prose if isinstance(prose, str) else ""
    code: str | None = None
    if status == "RESOURCE_EXHAUSTED":
        violations = (one.get("violations") for one in listed)
        quotas = [q for v in violations if isinstance(v, list) for q in v if isinstance(q, dict)]
        if _NO_CREDIT.search(prose) or any("PerDay" in str(q.get("quotaId")) for q in quotas):
            code = "insufficient_quota"
    elif any(str(one.get("reason")).startswith("API_KEY") for one in listed):
        code = "invalid_api_key"
    elif status == "INVALID_ARGUMENT":
        code = next((code for pattern, code in _GOOGLE_PROSE if pattern.search(prose)), None)
    delay = next((one["retryDelay"] for one in listed if "retryDelay" in one), None)
    seconds = _number(delay.removesuffix("s")) if isinstance(delay, str) else None
    waits = None
    if seconds is not None and seconds >= 0:
        waits = min(round(seconds * 1_000_000), _MAX_WAIT_US)
    return {**error, "type": status, "code": code}, waits


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
    return round(min(waits * 1_000_000, _MAX_WAIT_US))


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
    | \barn:aws[\w-]*:\S+                                    # Amazon's resources …
    | (?<![\w.])\d{12}(?![\w.])                               # … and accounts
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b
    | \beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?                         # JSON web tokens
    | (?<=[?&])(?:key|api[_-]?key|token|access_token|sig)=[^\s&]+
    | \b(?:x-)?api[_-]?key\s*[:=]\s*\S+
    | \bAWS4-HMAC-SHA256\b(?:[ ,]+(?:Credential|SignedHeaders|Signature)=\S+)*  # signatures
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
