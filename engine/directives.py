"""What a client says about the cache: `x-turnout-cache` and `Cache-Control` of its request."""

from collections.abc import Mapping
from dataclasses import dataclass

from .request import RequestError

OWN = "x-turnout-cache"
_MOST_S = 2**31  # RFC 9111: what is longer counts as this


@dataclass(frozen=True, slots=True)
class Directives:
    """Whether a kept answer may be given, and whether the one that is made may be kept.

    `max_age_us`: only one younger than this. `only`: only a kept one, or none.
    """

    read: bool = True
    write: bool = True
    max_age_us: int | None = None
    only: bool = False


AS_USUAL = Directives()


def directives(headers: Mapping[str, str]) -> Directives:
    """What these headers (lower-case) say. Raises: RequestError 400 for an unknown word of ours."""
    own, standard = headers.get(OWN), headers.get("cache-control")
    if own is None and standard is None:
        return AS_USUAL
    read, write, only = True, True, False
    max_age_us: int | None = None
    match (own or "").strip().lower():
        case "":
            pass
        case "no-store":
            read = write = False
        case "refresh":
            read = False
        case _:
            raise RequestError(
                400,
                "invalid_request_error",
                "invalid_value",
                f"The header `{OWN}` may be `no-store` (neither give a kept answer nor keep this "
                "one) or `refresh` (ask anew and keep what comes).",
                param=OWN,
            )
    for part in (standard or "").lower().split(","):
        name, _, value = part.strip().partition("=")
        match name.strip():
            case "no-store":
                read = write = False
            case "no-cache":
                read = False
            case "only-if-cached":
                only = True
            case "max-age":
                seconds = value.strip().strip('"')
                # What cannot be read counts as no age at all: rather asked anew than too old.
                known = _count(seconds) if seconds.isascii() and seconds.isdecimal() else 0
                age_us = known * 1_000_000
                max_age_us = age_us if max_age_us is None else min(max_age_us, age_us)
    return Directives(read, write, max_age_us, only)


def _count(digits: str) -> int:
    """A number of seconds, at most as many as count; Python reads no integer of any length."""
    digits = digits.lstrip("0")
    return _MOST_S if len(digits) > len(str(_MOST_S)) else min(int(digits or "0"), _MOST_S)
