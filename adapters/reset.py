"""When a rate limit is over, for providers that say so without `Retry-After`.

OpenAI's names: what is left of requests and tokens, and the time until the rest is back, as a
duration (`6ms`, `1m2.5s`) or in seconds. OpenRouter and Together have one `x-ratelimit-reset`, an
instant in milliseconds or seconds; Mistral has one for tokens.
"""

import re
from collections.abc import Mapping

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s|us|µs|ns))+")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_SINGLE = ("x-ratelimit-reset", "ratelimitbysize-reset")
# From here on a bare number is an instant (seconds of Unix time), and then its milliseconds.
_INSTANT = 1e9
_INSTANT_MS = 1e12
_MAX_WAIT_S = 3600.0


def reset_us(headers: Mapping[str, str], now_s: float) -> int | None:
    """How long until the limit that was hit is over; `now_s` is Unix time. None: nobody says.

    Where it does not say which limit was hit, tokens: a prompt can be larger than what is left.
    """
    waits: dict[str, float] = {}
    for of in ("requests", "tokens"):
        wait = _wait(headers.get(f"x-ratelimit-reset-{of}"), now_s)
        if wait is not None:
            waits[of] = wait
    spent = [of for of in waits if headers.get(f"x-ratelimit-remaining-{of}", "").strip() == "0"]
    if spent:
        chosen = max(waits[of] for of in spent)
    elif waits:
        chosen = waits.get("tokens", max(waits.values()))
    else:
        told = [_wait(headers.get(name), now_s) for name in _SINGLE]
        found = [wait for wait in told if wait is not None]
        if not found:
            return None
        chosen = found[0]
    # Longer than any window of these limits: a misunderstanding, or a clock that is wrong.
    return round(chosen * 1_000_000) if 0 < chosen <= _MAX_WAIT_S else None


def _wait(written: str | None, now_s: float) -> float | None:
    text = (written or "").strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))
    if not re.fullmatch(r"\d{1,16}(\.\d{1,9})?", text):
        return None
    number = float(text)
    if number >= _INSTANT_MS:
        return number / 1000 - now_s
    return number - now_s if number >= _INSTANT else number
