"""Snapshot keys: how a slot is spelt, which attribute a key belongs to, how conditions write it.

`tokens`, `header.x-team`, `p95(openai/gpt-4)`, `p95(openai/gpt-4, 5m)`, `budget(team).left`.
"""

from .schema import Attribute, Parameter, Type
from .units import format_value, quote

# Names that stand for another attribute.
ALIASES = {
    "prompt_tokens": "tokens",
    "tenant.id": "tenant",
    "latency": "p95",
    "latency.p50": "p50",
    "latency.p90": "p90",
    "latency.p95": "p95",
    "latency.p99": "p99",
}
_DOTTED = ("header", "meta")


def key_of(attribute: Attribute, argument: str | None, window_us: int | None = None) -> str:
    """The key of an attribute asked with an argument, over a window where one was written."""
    name = attribute.name
    if argument is None:
        return name
    match attribute.parameter:
        case Parameter.HEADER | Parameter.META:
            return f"{name}.{argument}"
        case Parameter.BUDGET:
            whole, _, part = name.partition(".")
            return f"{whole}({argument}).{part}"
        case _ if window_us is not None:
            return f"{name}({argument}, {format_value(window_us, Type.DURATION)})"
        case _:
            return f"{name}({argument})"


def attribute_of(key: str) -> str:
    """The name of the attribute that a key belongs to.

    >>> attribute_of("p95(openai/gpt-4, 5m)"), attribute_of("budget(team).left")
    ('p95', 'budget.left')
    >>> attribute_of("header.x-team"), attribute_of("tenant.region")
    ('header', 'tenant.region')
    """
    for name in _DOTTED:
        if key.startswith(f"{name}."):
            return name
    name, opened, rest = key.partition("(")
    return name + rest.rpartition(")")[2] if opened else name


def written_key(key: str) -> str:
    """A snapshot key as a condition would write it.

    >>> written_key("p95(openai/gpt-4)"), written_key("header.x-team")
    ('p95("openai/gpt-4")', 'header["x-team"]')
    >>> written_key("p95(openai/gpt-4, 5m)"), written_key("budget(team).left")
    ('p95("openai/gpt-4", 5m)', 'budget("team").left')
    """
    for table in _DOTTED:
        if key.startswith(f"{table}."):
            return f"{table}[{quote(key.removeprefix(f'{table}.'))}]"
    name, is_call, rest = key.partition("(")
    if is_call:
        argument, _, part = rest.rpartition(")")
        target, comma, window = argument.rpartition(", ")
        if comma and name != "matches" and window[:1].isdigit():
            return f"{name}({quote(target)}, {window}){part}"
        return f"{name}({quote(argument)}){part}"
    if key.startswith("target.tag."):
        return f"{quote(key.removeprefix('target.tag.'))} in tags"
    if key.startswith("target."):
        return key.removeprefix("target.")
    return key
