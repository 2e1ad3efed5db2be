"""What an OpenAI `usage` object reports, in the forms that its imitations give it."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from turnout.engine.request import Usage

MOST_TOKENS = 2**30
"""A count from here on is nonsense, not usage."""

_TOTALS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = frozenset(("prompt_tokens_details", "completion_tokens_details"))


def read_usage(usage: object) -> Usage | None:
    """What a `usage` object reports; None if it reports nothing that can be counted."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens")
    output = _count(usage, "completion_tokens")
    if prompt is None:
        return None
    if output is None:
        total = _count(usage, "total_tokens")
        if total is None or total < prompt:
            return None
        output = total - prompt
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens") or 0
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens") or 0
    if reasoning > output or (
        reasoning and _count(usage, "total_tokens") == prompt + output + reasoning
    ):
        # Some count the reasoning beside the output, not in it.
        output = output + reasoning
    # More than all of the prompt cannot have been cached, whatever it says.
    cached = min(cached, prompt)
    written = min(_count(details, "cache_write_tokens") or 0, prompt - cached)
    return Usage(prompt, output, cached, written, reasoning)


def shown_usage(reported: object, read: Usage | None) -> dict[str, Any] | None:
    """What was reported, in the form that clients know: counts are numbers, and all are there.

    `read` is what `read_usage` made of it; None: there is nothing to show. Members that nobody
    knows stay.
    """
    if read is None or not isinstance(reported, dict):
        return None
    mended: dict[str, Any] = {}
    counts = (read.input, read.output, read.input + read.output)
    for name, count in zip(_TOTALS, counts, strict=True):
        if _count(reported, name) is None:
            mended[name] = count
    for name in _DETAILS & reported.keys():
        details = reported[name]
        if details is None:
            continue
        mended[name] = _counts_of(details)
    return reported | mended


def _counts_of(details: object) -> dict[str, Any] | None:
    """Details without what ought to be a count and is none."""
    if not isinstance(details, dict):
        return None
    return {
        name: value
        for name, value in details.items()
        if not name.endswith("_tokens") or value is None or _count(details, name) is not None
    }


def is_count(value: object) -> TypeGuard[int]:
    """Whether this is a number of tokens that can be: sums of such stay within 64 bits."""
    return type(value) is int and 0 <= value < MOST_TOKENS


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if is_count(value) else None
