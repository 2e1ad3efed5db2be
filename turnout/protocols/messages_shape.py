"""The shape of a Messages body: what is read of it must be what it is taken for.

Everything else is between client and provider. Nulls count as absent where Anthropic's own client
sends them.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from turnout.engine.request import RequestError

Json = dict[str, Any]

_LONGEST_MODEL = 256


def check(body: Json) -> None:
    """Check a body of `/messages`. Raises: RequestError 400."""
    check_counted(body)
    limit = body.get("max_tokens")
    if limit is None:
        _refuse("max_tokens", "Field required", "missing_required_parameter")
    if not _is_whole(limit):
        _refuse("max_tokens", "Input should be a whole number that is not negative")


def check_counted(body: Json) -> None:
    """Check a body of `/messages/count_tokens`. Raises: RequestError 400."""
    model = body.get("model")
    if model is None or model == "":
        _refuse("model", "Field required", "missing_required_parameter")
    if not isinstance(model, str):
        _refuse("model", "Input should be a string")
    if len(model) > _LONGEST_MODEL:
        _refuse("model", f"String should have at most {_LONGEST_MODEL} characters")
    if body.get("thread") is not None:
        # What is decided and paid by must be in the request. Anthropic's clients know this code,
        # and send the whole conversation from then on.
        raise RequestError(
            400,
            "invalid_request_error",
            "thread_unsupported_request",
            "thread: conversations are not kept here; send all messages, without `thread`",
            param="thread",
        )
    messages = body.get("messages")
    if messages is None:
        _refuse("messages", "Field required", "missing_required_parameter")
    if not isinstance(messages, list):
        _refuse("messages", "Input should be a list of messages")
    if not messages:
        _refuse("messages", "at least one message is required", "empty_array")
    for number, message in enumerate(messages):
        _check_message(message, f"messages.{number}")
    _check_content(body.get("system"), "system", required=False)
    for name, (told, holds) in _FIELDS.items():
        if (value := body.get(name)) is not None and not holds(value):
            _refuse(name, f"Input should be {told}")
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        _refuse("temperature", "Input should be from 0 to 1", "invalid_value")
    for number, tool in enumerate(body.get("tools") or []):
        if not isinstance(tool.get("name"), str) and tool.get("type") in (None, "custom"):
            _refuse(f"tools.{number}.name", "Field required", "missing_required_parameter")


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        _refuse(where, "Input should be an object")
    if message.get("role") not in ("user", "assistant", "system"):
        _refuse(f"{where}.role", "Input should be 'user', 'assistant' or 'system'")
    _check_content(message.get("content"), f"{where}.content", required=True)


def _check_content(content: Any, where: str, *, required: bool) -> None:
    if content is None:
        if required:
            _refuse(where, "Field required", "missing_required_parameter")
        return
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        _refuse(where, "Input should be a string or a list of blocks")
    for number, block in enumerate(content):
        at = f"{where}.{number}"
        if not isinstance(block, dict):
            _refuse(at, "Input should be an object")
        if not isinstance(block.get("type"), str):
            _refuse(f"{at}.type", "Field required", "missing_required_parameter")
        if block["type"] == "text" and not isinstance(block.get("text"), str):
            _refuse(f"{at}.text", "Input should be a string")
        if block["type"] == "tool_result":
            _check_content(block.get("content"), f"{at}.content", required=False)


def _refuse(where: str, told: str, code: str = "invalid_type") -> NoReturn:
    raise RequestError(400, "invalid_request_error", code, f"{where}: {told}", param=where)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "stream": ("a boolean", lambda value: isinstance(value, bool)),
    "temperature": ("a number", _is_number),
    "top_p": ("a number", _is_number),
    "top_k": ("a whole number that is not negative", _is_whole),
    "stop_sequences": ("a list of strings", _is_texts),
    "tools": ("a list of objects", _is_objects),
    "tool_choice": ("an object", _is_object),
    "metadata": ("an object", _is_object),
    "thinking": ("an object", _is_object),
    "output_config": ("an object", _is_object),
    "output_format": ("an object", _is_object),
}
