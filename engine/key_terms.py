"""What an operator writes of a key, at the command line or as JSON, read strictly; and keys shown.

    {"tenant": "acme", "team": "search", "user": "ana", "scopes": ["ai:read", "ai:write"],
     "models": ["openai/*", "gpt-4"], "rpm": 60, "tpm": 100000, "expires": "30d"}

An unknown word is refused, so that nobody relies on what is not there.
"""

import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from turnout.dsl.nearest import suggestion
from turnout.dsl.schema import Type
from turnout.dsl.units import parse_quantity

from .granted import flaw
from .keys import Key, digest_of, new_id, new_text
from .request import ALL_SCOPES

GRACE = "24h"
"""How long a secret stays good after a rotation where nothing is said."""

_DAY_US = 86_400_000_000
_LONGEST_GRACE_US = 90 * _DAY_US
_LONGEST_US = 3_653 * _DAY_US  # ten years
_NAME_CHARS = 128
_MOST_MODELS = 200
_MOST_RATE = 10**12


class WrongTerms(Exception):
    """What cannot be said of a key: why, what to write instead, and by which word."""

    def __init__(self, message: str, param: str | None = None, help: str | None = None) -> None:
        """Hold a sentence, and another that helps."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.help = help


def new_key(terms: Mapping[str, Any], now_us: int) -> tuple[Key, str]:
    """A key on these terms, and its text, which is nowhere else. Raises: WrongTerms."""
    for word in terms:
        if word not in _READERS:
            help = suggestion(word, _READERS) if _shown(word) == word else None
            raise WrongTerms(f"a key has no `{_shown(word)}`", _shown(word), help)
    found = {
        word: read(terms[word], word)
        for word, read in _READERS.items()
        if terms.get(word) is not None
    }
    if "tenant" not in found:
        raise WrongTerms("a key needs a `tenant`", "tenant")
    if "expires" in found:
        found["expires_us"] = _instant(found.pop("expires"), now_us)
    id = new_id()
    text = new_text(id)
    found.setdefault("name", found.get("user") or found.get("team") or found["tenant"])
    return Key(id=id, digest=digest_of(text), created_us=now_us, **found), text


def grace_us(text: str) -> int:
    """For how long a rotated secret stays good; `0` ends it at once. Raises: WrongTerms."""
    if text.strip() == "0":
        return 0
    amount = _duration(text)
    if amount is None or amount > _LONGEST_GRACE_US:
        raise WrongTerms(
            f"`{_shown(text)}` is not how long the secret of before may stay good",
            "grace",
            "write `24h`, at most `90d`, or `0`",
        )
    return amount


def shown(key: Key, now_us: int) -> dict[str, Any]:
    """A key as JSON shows it: all but what it could be used or guessed with."""
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "team": key.team,
        "user": key.user,
        "tier": key.tier,
        "scopes": sorted(key.scopes),
        "models": None if key.models is None else list(key.models),
        "rpm": key.rpm,
        "tpm": key.tpm,
        "status": status(key, now_us),
        "created": moment(key.created_us),
        "expires": moment(key.expires_us),
        "revoked": moment(key.revoked_us),
        "previous_until": moment(
            key.previous_until_us
            if key.previous_until_us is not None and key.previous_until_us > now_us
            else None
        ),
        "fingerprint": key.fingerprint,
    }


def status(key: Key, now_us: int) -> str:
    """`active`, `expired` or `revoked`."""
    if key.revoked_us is not None:
        return "revoked"
    return "expired" if key.is_expired(now_us) else "active"


def moment(time_us: int | None) -> str | None:
    """An instant as it is written: `2026-03-01T12:00:00Z`."""
    if time_us is None:
        return None
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- readers -------------------------------------------------------------------------------------


def _name(value: object, word: str) -> str:
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= _NAME_CHARS
        or not value.isprintable()
        or value != value.strip()
    ):
        raise WrongTerms(
            f"`{word}` must be a text of 1 to {_NAME_CHARS} printable characters", word
        )
    # Two spellings that look the same would be two names, and a budget of one not of the other.
    if (plain := unicodedata.normalize("NFKC", value)) != value:
        raise WrongTerms(
            f"`{word}` has characters that look like others", word, f"write `{plain}`, as it reads"
        )
    return value


def _texts(value: object, word: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or len(value) > _MOST_MODELS:
        raise WrongTerms(f"`{word}` must be a list of 1 to {_MOST_MODELS} texts", word)
    return tuple(dict.fromkeys(_name(one, word) for one in value))


def _scopes(value: object, word: str) -> frozenset[str]:
    found = _texts(value, word)
    for one in found:
        if one not in ALL_SCOPES:
            known = ", ".join(f"`{scope}`" for scope in sorted(ALL_SCOPES))
            raise WrongTerms(
                f"there is no scope `{_shown(one)}`",
                word,
                suggestion(one, ALL_SCOPES) or f"the scopes are {known}",
            )
    return frozenset(found)


def _models(value: object, word: str) -> tuple[str, ...]:
    found = _texts(value, word)
    for one in found:
        if any(character.isspace() or character == "," for character in one):
            raise WrongTerms(
                f"`{_shown(one)}` is no model",
                word,
                "write targets, such as `openai/*`, or names that clients ask for",
            )
        if (why := flaw(one)) is not None:
            raise WrongTerms(f"`{_shown(one)}` would grant no model", word, why)
    return found


def _rate(value: object, word: str) -> int:
    found: object = value
    if isinstance(value, str):
        try:
            kind, found = parse_quantity(value.strip())
        except ValueError:
            kind, found = Type.NUMBER, None
        if kind is not Type.NUMBER:
            found = None
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= _MOST_RATE:
        raise WrongTerms(f"`{word}` must be a whole number above 0, such as `60` or `200k`", word)
    return found


def _expiry(value: object, word: str) -> str:
    return _name(value, word).strip()


_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "name": _name,
    "tenant": _name,
    "team": _name,
    "user": _name,
    "tier": _name,
    "scopes": _scopes,
    "models": _models,
    "rpm": _rate,
    "tpm": _rate,
    "expires": _expiry,
}


def _instant(text: str, now_us: int) -> int:
    """The instant that `30d` or a date means; a date without a time is good to its end (UTC)."""
    amount = _duration(text)
    if amount is None:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise WrongTerms(
                f"`{_shown(text)}` is not when a key expires",
                "expires",
                "write how long it is good (`30d`), a date (`2027-01-31`) or an instant "
                "(`2027-01-31T12:00:00Z`)",
            ) from None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        amount = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) - now_us
        if len(text) == len("2027-01-31"):
            amount += _DAY_US  # not `at`, which may be the last day that there is
    if not 0 < amount <= _LONGEST_US:
        raise WrongTerms(
            f"`{_shown(text)}` is over already, or more than ten years away", "expires"
        )
    return now_us + amount


def _duration(text: str) -> int | None:
    try:
        kind, amount = parse_quantity(text.strip())
    except ValueError:
        return None
    return amount if kind is Type.DURATION and amount > 0 else None


def _shown(text: object) -> str:
    """Short, and nothing that could be a secret put into the wrong place."""
    told = str(text)
    return told if len(told) <= 40 and told.isprintable() else "…"
