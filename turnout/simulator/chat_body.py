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
    return model


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
