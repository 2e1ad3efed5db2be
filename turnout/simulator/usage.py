"""Answers that report another usage than they had."""

from typing import Any

import orjson

from .reply import Reply, Whole

# What the wires call it; of OpenAI's Responses and Anthropic's Messages it lies deeper.
_NAMES = ("usage", "usageMetadata")
_DATA = b"data: "


def reporting(reply: Reply, reported: dict[str, Any] | None) -> Reply:
    """The same answer with this usage wherever it reports one; None: without any.

    Only where it is JSON, whole or as events; anything else stays as it is.
    """
    if isinstance(reply, Whole):
        reply.body = _rewritten(reply.body, reported)
    else:
        reply.events = [_event(one, reported) for one in reply.events]
    return reply


def _event(event: bytes, reported: dict[str, Any] | None) -> bytes:
    lines = event.split(b"\n")
    return b"\n".join(
        _DATA + _rewritten(line.removeprefix(_DATA), reported) if line.startswith(_DATA) else line
        for line in lines
    )


def _rewritten(data: bytes, reported: dict[str, Any] | None) -> bytes:
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    return orjson.dumps(_replaced(told, reported)) if isinstance(told, dict) else data


def _replaced(told: dict[str, Any], reported: dict[str, Any] | None) -> dict[str, Any]:
    replaced: dict[str, Any] = {}
    for name, value in told.items():
        if not isinstance(value, dict):
            replaced[name] = value
        elif name not in _NAMES:
            replaced[name] = _replaced(value, reported)
        elif reported is not None:
            replaced[name] = reported
    return replaced
