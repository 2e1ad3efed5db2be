"""How long a model takes: to its first token, and from each token to the next."""

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "": 1_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|)\Z")


class Latency(NamedTuple):
    """Microseconds to the first token, and between tokens."""

    first_us: int
    gap_us: int


# The first pattern that fits wins; rough figures of the models' own status pages.
DEFAULTS: tuple[tuple[str, Latency], ...] = (
    ("*embed*", Latency(15_000, 0)),
    ("groq/*8b*", Latency(30_000, 1_000)),
    ("groq/*", Latency(60_000, 3_000)),
    ("*8b*", Latency(60_000, 4_000)),
    ("*mini*", Latency(90_000, 5_000)),
    ("*haiku*", Latency(90_000, 5_000)),
    ("*sonnet*", Latency(200_000, 8_000)),
    ("*opus*", Latency(300_000, 12_000)),
    ("*", Latency(150_000, 8_000)),
)


def duration_us(text: str) -> int:
    """Return a duration such as `20ms`, `1.5s` or `500us` in microseconds; bare means ms.

    Raises: ValueError.
    """
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError(f"`{text}` is no duration: write it like `20ms` or `1.5s`")
    return round(float(match[1]) * _UNITS_US[match[2]])


def parse_latency(text: str) -> tuple[str, Latency]:
    """Read `PATTERN=FIRST[/GAP]`, for example `groq/llama-*=20ms/1ms`.

    Raises: ValueError.
    """
    pattern, sign, times = text.rpartition("=")
    if not sign or not pattern:
        raise ValueError(f"`{text}` is no latency: write it like `groq/llama-*=20ms/1ms`")
    first, _, gap = times.partition("/")
    return pattern, Latency(duration_us(first), duration_us(gap) if gap else 0)


class LatencyTable:
    """Latency by model: patterns over `provider/model` or the bare model, the first fit wins."""

    def __init__(self, own: list[tuple[str, Latency]] | None = None) -> None:
        """Put the patterns given before the built-in ones."""
        rows = (*(own or ()), *DEFAULTS)

        @lru_cache(maxsize=256)
        def find(provider: str, model: str) -> Latency:
            fits = (latency for pattern, latency in rows if matches(pattern, provider, model))
            return next(fits, Latency(0, 0))

        self.of = find


def matches(pattern: str, provider: str, model: str) -> bool:
    """Tell whether a pattern means this model, by its bare name or with its provider."""
    return fnmatchcase(f"{provider}/{model}", pattern) or fnmatchcase(model, pattern)
