"""The shape of a body: what the gateway itself reads of it must be what it takes it for.

Everything else is between client and provider. Nulls count as absent, as real clients send them
for every optional field. To check another field: its row in `_CHAT` or `_EMBEDDINGS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from turnout.engine.request import HOTTEST, RequestError

from .fields import kind_of, refused

# What a value should be, where it is not.
Check = Callable[[Any], str | None]


def check_chat(body: dict[str, Any]) -> None:
    """Check the fields of a chat body that the gateway reads. Raises: RequestError 400."""
    _check_model(body)
    messages = body.get("messages")
    if messages is None:
        raise refused(
            "missing_required_parameter",
            "`messages` is missing; send an array with at least one message.",
            "messages",
        )
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of messages", messages)
    if not messages:
        raise refused("empty_array", "`messages` is empty; send at least one message.", "messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_fields(body, _CHAT)
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= HOTTEST:
        raise refused(
            "invalid_value",
            f"`temperature` must be from 0 to {HOTTEST}, not `{temperature}`.",
            "temperature",
        )


def check_embeddings(body: dict[str, Any]) -> None:
    """Check the fields of an embeddings body that the gateway reads. Raises: RequestError 400."""
    _check_model(body)
    given = body.get("input")
    if given is None:
        raise refused(
            "missing_required_parameter",
            "`input` is missing; send a string, or an array of strings or tokens.",
            "input",
        )
    if not isinstance(given, (str, list)):
        raise _wrong_type("input", "a string, or an array of strings or tokens", given)
    if not given:
        raise refused("empty_input", "`input` is empty; send at least one text.", "input")
    if isinstance(given, list):
        _check_inputs(given)
    _check_fields(body, _EMBEDDINGS)


def _check_model(body: dict[str, Any]) -> None:
    model = body.get("model")
    if model is None or model == "":
        raise refused(
            "missing_required_parameter",
            "`model` is missing; name a model, or `auto` to let the policy choose.",
            "model",
        )
    if not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    if len(model) > 256:
        raise refused("string_above_max_length", "`model` is longer than 256 characters.", "model")


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise refused(
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
                raise refused(
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
                raise refused("empty_input", f"`input[{index}]` is empty.", f"input[{index}]")
    elif isinstance(items[0], list):
        for index, item in enumerate(items):
            if not isinstance(item, list) or not all(map(_is_whole, item)):
                raise _wrong_type(f"input[{index}]", "an array of token numbers", item)
            if not item:
                raise refused("empty_input", f"`input[{index}]` is empty.", f"input[{index}]")
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
    shown = kind_of(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = f"`{value}`"
    return refused("invalid_type", f"`{where}` must be {expected}, not {shown}.", where)


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
