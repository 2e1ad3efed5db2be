"""The text of a request that attributes look at. It is read where it stands and never kept."""

from collections.abc import Iterator
from typing import Any

from .request import Request

_TEXT_PARTS = ("text", "input_text")


def last_user_text(request: Request) -> str | None:
    """The text of the last user message, its parts joined by newlines; of embeddings, the input.

    None where there is no such message or it holds no text (an image alone).
    """
    body = request.body
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user":
                return _joined(message.get("content"))
        return None
    given = body.get("input")
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return "\n".join(given) or None
    return _joined(given)


def user_turns(request: Request) -> int:
    """How many messages of the user there are."""
    messages = request.body.get("messages")
    if not isinstance(messages, list):
        return 0
    return sum(isinstance(one, dict) and one.get("role") == "user" for one in messages)


def instructions_length(request: Request) -> int:
    """How many characters the system and developer messages have."""
    messages = request.body.get("messages")
    if not isinstance(messages, list):
        return 0
    return sum(
        len(_joined(message.get("content")) or "")
        for message in messages
        if isinstance(message, dict) and message.get("role") in ("system", "developer")
    )


def _joined(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    if isinstance(content, list):
        return "\n".join(_texts(content)) or None
    return None


def _texts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
            text = part.get("text")
            if isinstance(text, str):
                yield text
