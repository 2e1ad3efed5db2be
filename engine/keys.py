"""Clients' keys: what one may do, how it is written, and how a presented one is compared.

A key is a text, `tk_<id>_<secret>`, that is shown once and kept as a sha256. No slow hash: the
secret is 200 random bits, which nobody finds by trying, whatever one try costs; a slow hash is for
passwords, and here it would cost each request milliseconds. The last six characters are a checksum,
so that scanners of texts know a key from what only looks like one, and a mistyped key is told from
an unknown one without a look into the database.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from functools import cached_property

from .request import ALL_SCOPES, READ, WRITE, Caller

PREFIX = "tk_"
DEFAULT_SCOPES = frozenset({READ, WRITE})
"""What a key may do where nothing is said: all but to administer."""

FORM = r"tk_[0-9a-hjkmnp-tv-z]{12}_[0-9a-hjkmnp-tv-z]{46}"
"""A key as a regular expression, for scanners of texts."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS, _SECRET_CHARS, _CHECK_CHARS = 12, 40, 6  # 60, 200 and 30 bits
_ID_ENDS = len(PREFIX) + _ID_CHARS
_CHARS = _ID_ENDS + 1 + _SECRET_CHARS + _CHECK_CHARS
_FORM = re.compile(FORM)
_FINGERPRINT_DIGITS = 12


class NoSuchKeyError(Exception):
    """There is no key of this id."""


class RevokedError(Exception):
    """The key was revoked, and nothing makes it good again."""


class SpoiledError(Exception):
    """What is kept of the key cannot be read: all that can be done with it is to revoke it."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key; the secret is not.

    `id` is `key_…`, and its part after `_` is the one in the key's text. `models` as in `Caller`.
    `rpm` and `tpm`: requests and tokens a minute. `digest` is of the whole text. After a rotation
    the old text is good until `previous_until_us`. `changed` rises with each change of any key.
    """

    id: str
    name: str
    tenant: str
    digest: str = field(repr=False)
    created_us: int
    team: str | None = None
    user: str | None = None
    tier: str | None = None
    scopes: frozenset[str] = DEFAULT_SCOPES
    models: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    previous_digest: str | None = field(default=None, repr=False)
    previous_until_us: int | None = None
    changed: int = 0

    @property
    def fingerprint(self) -> str:
        """What tells this secret from others in logs, and tells nothing of it."""
        return f"sha256:{self.digest[:_FINGERPRINT_DIGITS]}"

    @cached_property
    def caller(self) -> Caller:
        """Who asks with this key."""
        return Caller(
            tenant=self.tenant,
            tier=self.tier or "default",
            team=self.team,
            user=self.user,
            key_id=self.id,
            scopes=self.scopes,
            models=self.models,
            rpm=self.rpm,
            tpm=self.tpm,
        )

    def is_expired(self, now_us: int) -> bool:
        """Whether its time is over."""
        return self.expires_us is not None and self.expires_us <= now_us

    def matches(self, digest: str, now_us: int) -> bool:
        """Whether a presented text has this digest, or that of before a rotation in its grace.

        Takes the same time wherever two digests differ.
        """
        if same(digest, self.digest):
            return True
        previous, until_us = self.previous_digest, self.previous_until_us
        return (
            previous is not None
            and until_us is not None
            and now_us < until_us
            and same(digest, previous)
        )


def new_id() -> str:
    """An id for a new key."""
    return "key_" + _random(_ID_CHARS)


def new_text(id: str) -> str:
    """A new text for the key of this id: the only moment at which the secret is there."""
    bare = f"{PREFIX}{id.removeprefix('key_')}_{_random(_SECRET_CHARS)}"
    return bare + _checksum(bare)


def id_of(text: str) -> str | None:
    """The id that a key's text names, None where it has not the length and marks of one.

    >>> id_of("tk_0123456789ab_" + 46 * "x"), id_of("sk-proj-1")
    ('key_0123456789ab', None)
    """
    if len(text) != _CHARS or not text.startswith(PREFIX) or text[_ID_ENDS] != "_":
        return None
    return "key_" + text[len(PREFIX) : _ID_ENDS]


def is_well_formed(text: str) -> bool:
    """Whether a text is one that `new_text` may have made: its characters and its checksum."""
    return (
        _FORM.fullmatch(text) is not None
        and _checksum(text[:-_CHECK_CHARS]) == text[-_CHECK_CHARS:]
    )


def digest_of(text: str) -> str:
    """What is kept of a key's text: its sha256, as hex."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two digests are equal; takes the same time wherever they differ."""
    return hmac.compare_digest(one, other)


def unknown_scopes(scopes: frozenset[str]) -> list[str]:
    """Those of these that are no scopes."""
    return sorted(scopes - ALL_SCOPES)


def _random(chars: int) -> str:
    return "".join([_DIGITS[byte & 31] for byte in secrets.token_bytes(chars)])


def _checksum(bare: str) -> str:
    value = zlib.crc32(bare.encode())
    return "".join([_DIGITS[value >> shift & 31] for shift in range(0, 5 * _CHECK_CHARS, 5)])
