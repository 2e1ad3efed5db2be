"""Which tools a prompt asks for, where a model may call several at once."""

import re
from typing import Any

from .text import tool_asked_for

_CALL = re.compile(r"\bcall\s+([\w.`-]+(?:(?:\s*,\s*|\s+and\s+)[\w.`-]+)*)")
_JOINT = re.compile(r"\s*,\s*|\s+and\s+")


def tools_asked_for(prompt: str, names: list[str], choice: Any) -> list[str]:
    """Return the tools to call: `call a and b` calls both, and one is enough where one is forced.

    `choice` is as `tool_asked_for` takes it; no tool comes twice.
    """
    if not names or choice == "none":
        return []
    asked = [
        name
        for listed in _CALL.findall(prompt)
        for word in _JOINT.split(listed)
        if (name := word.strip("`").rstrip(".")) in names
    ]
    if asked and not isinstance(choice, dict):
        return list(dict.fromkeys(asked))
    one = tool_asked_for(prompt, names, choice)
    return [] if one is None else [one]
