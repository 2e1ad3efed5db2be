"""What an OpenAI `usage` object reports, in the forms that its imitations give it."""

from turnout.engine.request import Usage


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
    if reasoning and _count(usage, "total_tokens") == prompt + output + reasoning:
        # Some count the reasoning beside the output, not in it.
        output = output + reasoning
    return Usage(prompt, output, cached, _count(details, "cache_write_tokens") or 0, reasoning)


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if type(value) is int and value >= 0 else None
