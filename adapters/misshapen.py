"""What no provider could make sense of in a chat request, found while it is translated."""

from typing import Any, NoReturn

import orjson

from turnout.engine.provider import Fault, ProviderError


def bad(param: str, message: str) -> NoReturn:
    """Refuse it. Raises: ProviderError BAD_REQUEST."""
    raise ProviderError(Fault.BAD_REQUEST, message, param=param)


def arguments(text: object, where: str) -> dict[str, Any]:
    """The arguments of a tool call at `where`, for wires that take an object; nothing is none.

    Raises: ProviderError BAD_REQUEST.
    """
    if not text:
        return {}
    try:
        parsed = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        bad(f"{where}.function.arguments", "a tool call's `arguments` must be a JSON object")
    return parsed
