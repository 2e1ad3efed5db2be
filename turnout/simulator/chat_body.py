"""Reads the body of a chat completion as OpenAI would: what it refuses, and what it asks."""

import re
from typing import Any

from .reply import Refusal

_REASONING = re.compile(r"o\d|gpt-5")


def checked_chat(body: dict[str, Any]) -> str:
    """Return the model of a body that OpenAI would accept. Raises: Refusal."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "you must provide a model parameter")
    if messages is None:
        message = "Missing required parameter: 'messages'."
        raise Refusal(400, message, code="missing_required_parameter", param="messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        message = "Invalid type for 'messages': expected an array of objects."
        raise Refusal(400, message, code="invalid_type", param="messages")
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead."
        )
        raise Refusal(400, message, code="empty_array", param="messages")
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            message = (
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got "
                f"{limit} instead."
            )
            raise Refusal(400, message, code="integer_below_min_value", param=name)
    if body.get("max_tokens") is not None and _REASONING.match(model):
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        )
        raise Refusal(400, message, code="unsupported_parameter", param="max_tokens")
    _check_messages(messages)
    _check_members(body)
    return model


def _check_messages(messages: list[dict[str, Any]]) -> None:
    for index, one in enumerate(messages):
        where = f"messages[{index}]"
        if one.get("role") is None:
            message = f"Missing required parameter: '{where}.role'."
            raise Refusal(400, message, code="missing_required_parameter", param=f"{where}.role")
        for name, kinds in (("role", str), ("content", str | list | None)):
            if not isinstance(one.get(name), kinds):
                raise _wrong_type(f"{where}.{name}")


_KINDS: dict[str, Any] = {
    "temperature": int | float | None,
    "top_p": int | float | None,
    "n": int | None,
    "stream": bool | None,
    "tools": list | None,
    "response_format": dict | None,
}
_RANGES = {"temperature": ("decimal", 0, 2), "top_p": ("decimal", 0, 1), "n": ("integer", 1, 128)}


def _check_members(body: dict[str, Any]) -> None:
    for name, kinds in _KINDS.items():
        value = body.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and name != "stream"):
            raise _wrong_type(name)
    for name, (kind, least, most) in _RANGES.items():
        value = body.get(name)
        if value is None or least <= value <= most:
            continue
        below = value < least
        sign, bound = (">=", least) if below else ("<=", most)
        shown = f"{kind} {'below minimum' if below else 'above maximum'} value"
        raise Refusal(
            400,
            f"Invalid '{name}': {shown}. Expected a value {sign} {bound}, but got {value} instead.",
            code=f"{kind}_{'below_min' if below else 'above_max'}_value",
            param=name,
        )


def _wrong_type(where: str) -> Refusal:
    message = f"Invalid type for '{where}'."
    return Refusal(400, message, code="invalid_type", param=where)


def last_words(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last message that is not the model's own."""
    for message in reversed(messages):
        if message.get("role") in ("user", "tool", "function"):
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = content if isinstance(content, list) else ()
            texts = (part.get("text") for part in parts if isinstance(part, dict))
            return " ".join(text for text in texts if isinstance(text, str))
    return ""


def stops(stop: Any) -> tuple[str, ...]:
    """Return the stop sequences of either form."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
