"""Who sent a request: found out from its headers alone, before anything else of it is looked at.

A presented key is never logged, echoed or put into an exception; what is told of one that was known
is its id.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from turnout.engine.keyring import Reason, Refused
from turnout.engine.keys import PREFIX, Key, digest_of, same
from turnout.engine.request import ADMIN, READ, WRITE, Caller, OwnKey, RequestError
from turnout.settings import Auth

from .guard import is_local
from .wire import Incoming, Station, refusal, station

# How keys of providers begin; the first that fits. What fits none is a key of whoever's protocol is
# spoken.
_PROVIDERS_BY_PREFIX = (
    ("sk-ant-", "anthropic"),
    ("sk-or-", "openrouter"),
    ("sk-", "openai"),
    ("gsk_", "groq"),
    ("xai-", "xai"),
    ("AIza", "gemini"),
    ("fw_", "fireworks"),
    ("tgp_", "together"),
)
_ANTHROPICS_PATH = "/v1/messages"
# A key of ours where it should not be: after a second scheme, in quotes, in a list, in capitals.
# Within a word it must be a whole beginning: keys of providers are random, and may hold `tk_`.
_OURS = re.compile(rf"(?i:(?:^|[^\w-]){PREFIX})|{PREFIX}[0-9a-hjkmnp-tv-z]{{12}}_")
_WORD = re.compile(r"[^\s\"',;]+")
_RETRY_US = 1_000_000
ANONYMOUS = "anonymous"
_MOST_PRESENTED = 8  # texts that are compared with the admin key where none is asked for

_TOLD: dict[Reason, str] = {
    "malformed": "The key is none of this gateway's: those begin with `tk_`, and are sent whole.",
    "unknown": "The key is not known here.",
    "expired": "The key `{}` has expired.",
    "revoked": "The key `{}` was revoked.",
}


_OR_OWN = "; or a provider's own key in its place, which then pays for the answer"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, with what it may spend: its own provider key, or the gateway's credentials.

    `actor` is what the audit log calls it.
    """

    caller: Caller
    own: OwnKey | None = None
    gateway_pays: bool = True
    actor: str = ANONYMOUS

    @property
    def sees_all(self) -> bool:
        """Whether it is shown what is other tenants' too: that takes a key, also on loopback."""
        return ADMIN in self.caller.scopes and self.actor != ANONYMOUS

    @property
    def is_stranger(self) -> bool:
        """Whether nobody knows who it is: a provider's key came, which nobody here has checked."""
        return not self.gateway_pays


class Unidentified(RequestError):
    """A request of nobody. `reason` is a word for counters and the audit log.

    `key` is the one that was presented, where it was right but good no more.
    """

    def __init__(self, reason: str, error: RequestError, key: Key | None = None) -> None:
        """Be that error, for a reason."""
        super().__init__(
            error.status,
            error.type,
            error.code,
            error.message,
            retry_after_us=error.retry_after_us,
        )
        self.reason = reason
        self.key = key
        if error.status == 401:
            self.headers["www-authenticate"] = "Bearer"


def identity_of(incoming: Incoming) -> Identity:
    """Who sent this request, as the gate found out."""
    return incoming.identity


async def identify(incoming: Incoming) -> Identity:
    """Find out who sent a request.

    Costs some microseconds where the key is known. Raises: Unidentified 400, 401, 503.
    """
    here = station(incoming)
    settings = here.settings
    if settings.auth is Auth.OFF:
        if _has_admin_key(incoming.headers, here):
            return _unasked(settings.tenant, "admin", True)
        trusted = settings.admin_digest is None and is_local(incoming)
        return _unasked(settings.tenant, ANONYMOUS, trusted)
    headers = incoming.headers
    presented = _one(_credentials(headers))
    turnout_key = _one(_stripped(headers.getall("x-turnout-key", ())))
    if presented is None:
        return await _of_turnout(here, turnout_key)
    # What is ours no provider may see.
    if settings.auth is Auth.KEYS or _is_ours(here, presented):
        one = presented if turnout_key is None else _one([presented, turnout_key])
        return await _of_turnout(here, one)
    own = OwnKey(_provider_of(presented, incoming.path), presented)
    if turnout_key is None:
        return Identity(_stranger(settings.tenant), own, gateway_pays=False)
    known = await _of_turnout(here, turnout_key)
    return Identity(known.caller, own, actor=known.actor)


async def _of_turnout(here: Station, text: str | None) -> Identity:
    """Who presents this key of the gateway's own. Raises: Unidentified."""
    if text is None:
        raise _not_let_in(
            "key_missing",
            "No key was sent: send one of this gateway's as `authorization: Bearer tk_…`, or in "
            f"`x-api-key`{_OR_OWN if here.settings.auth is Auth.PASSTHROUGH else ''}.",
        )
    if _is_admin(here, text):
        return _operator(here.settings.tenant)
    found = await here.gateway.keys.identify(text)
    if isinstance(found, Refused):
        raise _refused(found)
    return Identity(found.caller, actor=found.id)


def _refused(found: Refused) -> Unidentified:
    if found.reason == "unreadable":
        return Unidentified(
            "keys_unreadable",
            RequestError(
                503,
                "service_unavailable_error",
                "keys_unreadable",
                "The gateway cannot look up this key at the moment.",
                retry_after_us=_RETRY_US,
            ),
        )
    id = "" if found.key is None else found.key.id
    return _not_let_in(f"key_{found.reason}", _TOLD[found.reason].format(id), found.key)


def _not_let_in(reason: str, message: str, key: Key | None = None) -> Unidentified:
    return Unidentified(reason, refusal(401, "invalid_api_key", message), key)


# --- what a request presents ---------------------------------------------------------------------


def _credentials(headers: Any) -> list[str]:
    """What stands in `authorization` and `x-api-key`. Raises: Unidentified 401."""
    found = _stripped(headers.getall("x-api-key", ()))
    for value in headers.getall("authorization", ()):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() != "bearer":
            told = "The `authorization` header must be `Bearer` and a key."
            raise _not_let_in("key_malformed", told)
        if text := rest.strip():
            found.append(text)
    return found


def _stripped(values: Any) -> list[str]:
    return [text for value in values if (text := value.strip())]


def _one(texts: list[str]) -> str | None:
    """The one text that all of these are. Raises: Unidentified 400."""
    if not texts:
        return None
    if any(text != texts[0] for text in texts[1:]):
        raise Unidentified(
            "conflicting_credentials",
            refusal(
                400,
                "conflicting_credentials",
                "The request has two different keys in `authorization`, `x-api-key` and "
                "`x-turnout-key`; send one (a turnout key beside a provider's own goes into "
                "`x-turnout-key`, where the gateway passes keys through).",
            ),
        )
    return texts[0]


def _provider_of(key: str, path: str) -> str:
    """Whose a provider's key is: told by how it begins, else by the protocol that is spoken."""
    for prefix, provider in _PROVIDERS_BY_PREFIX:
        if key.startswith(prefix):
            return provider
    return "anthropic" if f"{path}/".startswith(f"{_ANTHROPICS_PATH}/") else "openai"


# --- those who have no key of the database -------------------------------------------------------


def _is_admin(here: Station, text: str) -> bool:
    wanted = here.settings.admin_digest
    return wanted is not None and same(digest_of(text), wanted)


def _is_ours(here: Station, text: str) -> bool:
    """Whether a key of this gateway is in a text, however it was mistyped."""
    if _OURS.search(text) is not None:
        return True
    words = [text, *_WORD.findall(text)[:_MOST_PRESENTED]]
    return any(_is_admin(here, word) for word in words)


def _has_admin_key(headers: Any, here: Station) -> bool:
    """Whether the admin key is among what is presented, where nothing needs to be."""
    if here.settings.admin_digest is None:
        return False
    values = (
        *headers.getall("authorization", ()),
        *headers.getall("x-api-key", ()),
        *headers.getall("x-turnout-key", ()),
    )
    for value in values[:_MOST_PRESENTED]:
        scheme, _, rest = value.strip().partition(" ")
        if _is_admin(here, rest.strip() if scheme.lower() == "bearer" else value.strip()):
            return True
    return False


@lru_cache(maxsize=16)
def _unasked(tenant: str, actor: str, administers: bool) -> Identity:
    """Everybody, where no keys are asked for.

    The admin key is needed to administer where there is one; else this machine is trusted.
    """
    scopes = frozenset({READ, WRITE, ADMIN} if administers else {READ, WRITE})
    return Identity(Caller(tenant=tenant, scopes=scopes), actor=actor)


@lru_cache(maxsize=16)
def _operator(tenant: str) -> Identity:
    """Who has the admin key: may see and change everything, and spends nothing."""
    return Identity(Caller(tenant=tenant, scopes=frozenset({READ, ADMIN})), actor="admin")


@lru_cache(maxsize=16)
def _stranger(tenant: str) -> Caller:
    """Who brings a provider's key and no other."""
    return Caller(tenant=tenant, scopes=frozenset({READ, WRITE}))
