"""A request's body: received within bounds, parsed once, its shape checked, made a `Request`.

Only what the gateway itself reads is checked; everything else is between client and provider.
Nulls count as absent, as real clients send them for every optional field.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from turnout.engine.request import Caller, Operation, Request, RequestError

from .guard import check_json
from .wire import Incoming, Station, close_after, refusal

# Never shown to the engine: policies, records and adapters have no use for them.
CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-turnout-key",
    }
)

# What is still read of a body that is too large, so that its sender gets to see the answer.
_DISCARD_BYTES = 64 * 1024 * 1024
_DISCARD_S = 2.0
# Sanic stops reading at this many buffered bytes, and so would not see the client leave.
_PAUSE_BYTES = 65_536

Check = Callable[[Any], str | None]


async def receive(incoming: Incoming, station: Station, operation: Operation) -> Request:
    """The request of a client, ready for the engine.

    Raises: RequestError 400, 408, 413 or 415.
    """
    received_us = time.time_ns() // 1000
    started_ns = time.monotonic_ns()
    raw = await read_body(incoming, station)
    check_json(incoming)
    body = parse(raw)
    (check_chat if operation is Operation.CHAT else check_embeddings)(body)
    return Request(
        id=incoming.id,
        operation=operation,
        body=body,
        raw=raw,
        model=body["model"],
        stream=body.get("stream") is True and operation is Operation.CHAT,
        caller=Caller(tenant=station.settings.tenant),
        headers=_plain(incoming.headers),
        received_us=received_us,
        started_ns=started_ns,
    )


def _plain(headers: Any) -> Mapping[str, str]:
    """Lower-case headers without credentials; repeated ones joined as HTTP allows."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name in CREDENTIALS:
            continue
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


# --- bytes ---------------------------------------------------------------------------------------


async def read_body(incoming: Incoming, station: Station) -> bytes:
    """The whole body. Raises: RequestError 413 if it is too large, 408 if it does not come."""
    stream: Any = incoming.stream
    if not stream.request_body:
        return b""
    limits = station.settings.limits
    if stream.request_bytes > limits.body_bytes:  # what Content-Length announces
        # Nobody asked for it yet; the client need not send it at all.
        if stream.expecting_continue:
            stream.expecting_continue = False
            _leave_unread(stream)
        raise await _too_large(stream, limits.body_bytes)
    if stream.request_bytes and len(stream.recv_buffer) >= stream.request_bytes:
        raw = await _collect(stream, limits.body_bytes)
    else:
        # A timer only where there is something to wait for.
        try:
            async with asyncio.timeout(limits.receive_us / 1e6):
                raw = await _collect(stream, limits.body_bytes)
        except TimeoutError:
            _leave_unread(stream)
            raise RequestError(
                408, "timeout", "request_timeout", "The request's body did not arrive in time."
            ) from None
    if len(raw) >= _PAUSE_BYTES:
        transport: Any = incoming.transport
        transport.resume_reading()
    return raw


async def _collect(stream: Any, limit: int) -> bytes:
    parts = []
    size = 0
    while stream.request_body:
        part = await stream.read()
        if part:
            size += len(part)
            if size > limit:
                raise await _too_large(stream, limit)
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _too_large(stream: Any, limit: int) -> RequestError:
    """The refusal, made after what the client is still sending was taken in (within bounds).

    Closing a connection with unread bytes resets it, and the client would never read the answer.
    """
    try:
        async with asyncio.timeout(_DISCARD_S):
            left = _DISCARD_BYTES
            while stream.request_body and left > 0:
                left -= len(await stream.read() or b"")
    except TimeoutError:
        pass
    _leave_unread(stream)
    return refusal(413, "request_too_large", f"The body is larger than {limit} bytes.")


def _leave_unread(stream: Any) -> None:
    """Close the connection after the response: what follows is no request."""
    close_after(stream)
    stream.request_body = None


# --- JSON ----------------------------------------------------------------------------------------


def parse(raw: bytes) -> dict[str, Any]:
    """The body as a mapping. Raises: RequestError 400 that says where it is wrong."""
    if not raw:
        raise refusal(400, "invalid_json", "The body is empty; send a JSON object.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        what = error.msg.partition(": line ")[0]
        raise refusal(
            400,
            "invalid_json",
            f"The body is not valid JSON: {what} at line {error.lineno}, column {error.colno}.",
        ) from None
    if not isinstance(body, dict):
        raise refusal(400, "invalid_type", f"The body must be a JSON object, not {_kind(body)}.")
    return body


def _kind(value: object) -> str:
    """What JSON calls a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


# --- shape ---------------------------------------------------------------------------------------


def check_chat(body: dict[str, Any]) -> None:
    """Check the fields of a chat body that the gateway reads. Raises: RequestError 400."""
    _check_model(body)
    messages = body.get("messages")
    if messages is None:
        raise refusal(
            400,
            "missing_required_parameter",
            "`messages` is missing; send an array with at least one message.",
            "messages",
        )
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of messages", messages)
    if not messages:
        raise refusal(
            400, "empty_array", "`messages` is empty; send at least one message.", "messages"
        )
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_fields(body, _CHAT)


def check_embeddings(body: dict[str, Any]) -> None:
    """Check the fields of an embeddings body that the gateway reads. Raises: RequestError 400."""
    _check_model(body)
    given = body.get("input")
    if given is None:
        raise refusal(
            400,
            "missing_required_parameter",
            "`input` is missing; send a string, or an array of strings or tokens.",
            "input",
        )
    if not isinstance(given, (str, list)):
        raise _wrong_type("input", "a string, or an array of strings or tokens", given)
    if not given:
        raise refusal(400, "empty_input", "`input` is empty; send at least one text.", "input")
    if isinstance(given, list):
        _check_inputs(given)
    _check_fields(body, _EMBEDDINGS)


def _check_model(body: dict[str, Any]) -> None:
    model = body.get("model")
    if model is None or model == "":
        raise refusal(
            400,
            "missing_required_parameter",
            "`model` is missing; name a model, or `auto` to let the policy choose.",
            "model",
        )
    if not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    if len(model) > 256:
        raise refusal(
            400, "string_above_max_length", "`model` is longer than 256 characters.", "model"
        )


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise refusal(
            400,
            "missing_required_parameter",
            f"`{where}.role` is missing; send `user`, `assistant`, `system`, `developer` or "
            "`tool`.",
            f"{where}.role",
        )
    if not isinstance(role, str):
        raise _wrong_type(f"{where}.role", "a string", role)
    content = message.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            if not isinstance(part, dict):
                raise _wrong_type(f"{where}.content[{index}]", "an object", part)
            if not isinstance(part.get("type"), str):
                field = f"{where}.content[{index}].type"
                raise refusal(
                    400,
                    "missing_required_parameter",
                    f"`{field}` is missing; say what kind of part it is, such as `text`.",
                    field,
                )
    elif content is not None and not isinstance(content, str):
        raise _wrong_type(f"{where}.content", "a string or an array of parts", content)
    calls = message.get("tool_calls")
    if calls is not None and not _is_array_of_objects(calls):
        raise _wrong_type(f"{where}.tool_calls", "an array of objects", calls)


def _check_inputs(items: list[Any]) -> None:
    """All texts, all tokens, or all arrays of tokens."""
    if isinstance(items[0], str):
        for index, item in enumerate(items):
            if not isinstance(item, str):
                raise _wrong_type(f"input[{index}]", "a string like the first one", item)
            if not item:
                raise refusal(400, "empty_input", f"`input[{index}]` is empty.", f"input[{index}]")
    elif isinstance(items[0], list):
        for index, item in enumerate(items):
            if not isinstance(item, list) or not all(map(_is_whole, item)):
                raise _wrong_type(f"input[{index}]", "an array of token numbers", item)
            if not item:
                raise refusal(400, "empty_input", f"`input[{index}]` is empty.", f"input[{index}]")
    else:
        for index, item in enumerate(items):
            if not _is_whole(item):
                raise _wrong_type(f"input[{index}]", "a string or a token number", item)


def _check_fields(body: dict[str, Any], checks: Mapping[str, Check]) -> None:
    for name, value in body.items():
        check = checks.get(name)
        if check is not None and value is not None:
            expected = check(value)
            if expected is not None:
                raise _wrong_type(name, expected, value)


def _wrong_type(where: str, expected: str, value: object) -> RequestError:
    shown = _kind(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = f"`{value}`"
    return refusal(400, "invalid_type", f"`{where}` must be {expected}, not {shown}.", where)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_array_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "a boolean"


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) else "a string"


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "an object"


def _objects(value: Any) -> str | None:
    return None if _is_array_of_objects(value) else "an array of objects"


def _number(value: Any) -> str | None:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if numeric else "a number"


def _count(value: Any) -> str | None:
    return None if _is_whole(value) else "a whole number that is not negative"


def _positive(value: Any) -> str | None:
    return None if _is_whole(value) and value > 0 else "a whole number above 0"


def _answers(value: Any) -> str | None:
    return None if _is_whole(value) and 1 <= value <= 128 else "a whole number from 1 to 128"


def _encoding(value: Any) -> str | None:
    return None if value in ("float", "base64") else "`float` or `base64`"


_CHAT: dict[str, Check] = {
    "stream": _boolean,
    "stream_options": _object,
    "n": _answers,
    "max_tokens": _count,
    "max_completion_tokens": _count,
    "max_output_tokens": _count,
    "temperature": _number,
    "tools": _objects,
    "functions": _objects,
    "response_format": _object,
    "user": _string,
    "prompt_cache_key": _string,
}

_EMBEDDINGS: dict[str, Check] = {
    "dimensions": _positive,
    "encoding_format": _encoding,
    "user": _string,
}
