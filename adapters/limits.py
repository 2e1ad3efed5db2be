"""What a provider's headers say of its rate limits, under the names that clients read.

OpenAI's six names pass as they are: their resets are durations (`6ms`, `1m2.5s`). Anthropic's are
instants, and become durations; under their own names they go to clients of its protocol only.
Nothing is made up: a provider that says nothing leaves nothing.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from turnout.engine.request import Operation

_OF = ("requests", "tokens")
_OPENAI = tuple(
    f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in _OF
)
_ANTHROPIC = "anthropic-ratelimit-"
# A number, a duration, an instant or one of Anthropic's words: nothing that could be a key.
_VALUE = re.compile(
    r"-?\d{1,20}(\.\d{1,9})?|[\dhmsuµn.]{1,30}|\d{4}-\d\d-\d\d[Tt][\d:.Zz+-]{1,30}|[a-z_]{1,24}"
)
_LONGEST_S = 31 * 86_400


def limits(
    headers: Iterable[tuple[bytes, bytes]], operation: Operation, now_s: float
) -> dict[str, str]:
    """The headers about rate limits that a client may have; `now_s` is Unix time."""
    told = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in headers
        if b"ratelimit" in name or b"RateLimit" in name
    }
    if not told:
        return told
    found = {name: told[name] for name in _OPENAI if name in told}
    own = {name: value for name, value in told.items() if name.startswith(_ANTHROPIC)}
    if own and not found:
        found = _as_openai(own, now_s)
    if operation is Operation.MESSAGES:
        found |= own
    return {name: value for name, value in found.items() if _VALUE.fullmatch(value)}


def _as_openai(own: Mapping[str, str], now_s: float) -> dict[str, str]:
    found: dict[str, str] = {}
    for of in _OF:
        for what in ("limit", "remaining"):
            if (value := own.get(f"{_ANTHROPIC}{of}-{what}")) is not None:
                found[f"x-ratelimit-{what}-{of}"] = value
        reset = _until(own.get(f"{_ANTHROPIC}{of}-reset"), now_s)
        if reset is not None:
            found[f"x-ratelimit-reset-{of}"] = reset
    return found


def _until(instant: str | None, now_s: float) -> str | None:
    """The time from now to an instant (RFC 3339), as a duration; None for none."""
    if instant is None:
        return None
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    left = min(max(0.0, at.timestamp() - now_s), _LONGEST_S)
    return f"{left:.3f}".rstrip("0").rstrip(".") + "s"
