"""What an answer of Anthropic's says, whole or in a stream: its text, why it ended, what it used.

A stop reason that nobody knows becomes `stop`, never its raw name; so does `pause_turn`, because
the server tools that cause it cannot be asked for in chat.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.request import Usage

from .usage import is_count

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}
_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
# What a block or a delta is written in, and what is no text of the model's own.
_WRITTEN = ("thinking", "text", "partial_json")


def finish_of(reason: object) -> str:
    """The finish reason for a stop reason."""
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"


def text_of(block: object) -> str:
    """Everything that is written in a block or a delta: thoughts, words, a tool's name and input.

    Tools that the provider runs itself are its own affair, but paid for all the same.
    """
    if not isinstance(block, dict):
        return ""
    if block.get("type") in ("tool_use", "server_tool_use"):
        name = block.get("name")
        given = block.get("input")
        written = orjson.dumps(given).decode() if given else ""
        return (name if isinstance(name, str) else "") + written
    return "".join(text for name in _WRITTEN if isinstance(text := block.get(name), str))


class Counts:
    """The counts that were reported so far; each replaces what was said before."""

    def __init__(self) -> None:
        """Nothing was reported yet."""
        self._counts: dict[str, int] = {}

    def note(self, usage: object) -> None:
        """Take a `usage` object; what it leaves out stays as it was."""
        if not isinstance(usage, dict):
            return
        self._counts |= {n: usage[n] for n in _COUNTS if is_count(usage.get(n))}
        details = usage.get("output_tokens_details")
        if isinstance(details, dict) and is_count(details.get("thinking_tokens")):
            self._counts["thinking_tokens"] = details["thinking_tokens"]

    def usage(self) -> Usage | None:
        """The usage, in the engine's convention; None while a count is missing."""
        counts = self._counts
        if "input_tokens" not in counts or "output_tokens" not in counts:
            return None
        read = counts.get("cache_read_input_tokens", 0)
        written = counts.get("cache_creation_input_tokens", 0)
        prompt = counts["input_tokens"] + written + read
        thought = min(counts.get("thinking_tokens", 0), counts["output_tokens"])
        return Usage(prompt, counts["output_tokens"], read, written, thought)


def shown_usage(usage: Usage) -> dict[str, Any]:
    """A usage as chat shows it."""
    shown: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
    }
    if usage.reasoning:
        shown["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return shown


def thinking_block(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """A block of thinking with what it takes to send it back; None for any other block."""
    match block:
        case {"type": "thinking", "signature": str() as signature}:
            text = block.get("thinking")
            thinking = text if isinstance(text, str) else ""
            return {"type": "thinking", "thinking": thinking, "signature": signature}
        case {"type": "redacted_thinking", "data": str() as data}:
            return {"type": "redacted_thinking", "data": data}
    return None
