"""Thinking as Anthropic signs it: what comes back must be what was given out.

A signature holds the whole thought, also where the thought was not shown (`display: omitted`).
It is Claude's wherever Claude is served: what Anthropic signed, Bedrock takes, and the reverse.
"""

import base64
import hashlib
import hmac
from typing import Any

from .reply import Refusal

_KEY = b"the simulator's own key"
_MAC = 16


def signature(thought: str) -> str:
    """Sign a thought."""
    return base64.b64encode(_mac(thought) + thought.encode()).decode()


def sealed(thought: str) -> str:
    """Hide a thought, signed."""
    return base64.b64encode(_mac(thought) + thought.encode()[::-1]).decode()


def check_thought(block: dict[str, Any], where: str) -> None:
    """Check a block of thinking that comes back. Raises: Refusal."""
    if block.get("type") == "thinking":
        thought = _opened(block.get("signature"), backwards=False)
        if thought is None or block.get("thinking") not in ("", thought):
            raise Refusal(400, f"{where}: Invalid `signature` in `thinking` block")
    elif _opened(block.get("data"), backwards=True) is None:
        raise Refusal(400, f"{where}: Invalid `data` in `redacted_thinking` block")


def _mac(thought: str) -> bytes:
    return hmac.digest(_KEY, thought.encode(), hashlib.sha256)[:_MAC]


def _opened(text: Any, *, backwards: bool) -> str | None:
    try:
        raw = base64.b64decode(text, validate=True)
        thought = (raw[_MAC:][::-1] if backwards else raw[_MAC:]).decode()
    except (ValueError, TypeError):
        return None
    return thought if hmac.compare_digest(raw[:_MAC], _mac(thought)) else None
