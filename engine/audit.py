"""Who changed what, and who was refused: append-only, each row bound to the one before it.

What may stand in the log is decided here: the actions there are, how long a value may be, and that
nothing that looks like a secret goes in. How rows are bound to each other is in `audit_chain`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from .redaction import KNOWN

Outcome = Literal["done", "refused", "failed"]

# Every action that is noted, with what it means; docs/audit.md has the same table.
ACTIONS: Mapping[str, str] = {
    "gateway.start": "a worker process takes requests",
    "gateway.stop": "a worker process has ended as it was told to",
    "policy.load": "a policy, or its shadow, is in force",
    "policy.reject": "the files of a policy, or of its shadow, were refused",
    "policy.restore": "the files of a policy are again what is in force",
    "key.create": "a client's key was made",
    "key.rotate": "a client's key got a new secret",
    "key.revoke": "a client's key was ended",
    "tenant.create": "a tenant was made",
    "tenant.change": "a tenant's tier, budgets or rates were changed",
    "tenant.delete": "a tenant was taken away",
    "cache.invalidate": "kept answers were removed, so that they are not given again",
    "budget.correct": "unconfirmed spend was settled by hand",
    "budget.repair": "a counter was set to what the ledger says",
    "request.refuse": "a caller was kept out: no key, no right, a rate, a budget",
    "admin.refuse": "somebody without the right asked for what only operators may",
    "trim.run": "what was older than its days was removed",
    "disk.full": "paid work is refused, since nothing can be recorded",
    "disk.free": "there is room again, and paid work is taken",
    "audit.export": "the log was exported",
    "audit.trim": "the oldest rows of the log were removed; names the last of them",
    "audit.gap": "so many events could not be kept",
}

NAME_CHARS = 256  # of actor, action and object
VALUE_CHARS = 500  # of a value of `detail`
MOST_DETAILS = 24
WITHHELD = "(withheld: it looks like a secret)"

# A digest or fingerprint under its method's name, which tells nothing of what it was made of.
_PUBLIC = re.compile(r"\bsha256:[0-9a-f]{4,64}\b")
# What no pattern knows: long, without a gap, of small and capital letters and digits alike.
_RANDOM = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*[0-9])(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])"
    r"[A-Za-z0-9_-]{32,}"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that somebody did or was kept from doing.

    `actor`: a key's id, `admin` (the operator's own key), `cli` (a command on this machine),
    `gateway` (itself), `file` (whoever writes the policy), `anonymous`; never a secret. `action` is
    one of `ACTIONS`. `object` is what it was about, by name. `detail` holds what else matters, by
    name, each fit to be exported.
    """

    actor: str
    action: str
    object: str
    outcome: Outcome = "done"
    detail: dict[str, str | int | None] = field(default_factory=dict)
    time_us: int = 0


class Audit(Protocol):
    """Where events go; used from the event loop and from threads."""

    def note(self, event: Event) -> None:
        """Keep an event; never blocks, never raises. Time is added where there is none.

        Of refusals that are alike, the first of each minute is kept at once and the others are
        counted, so that a caller who is refused over and over does not fill the log.
        """

    def close(self) -> None:
        """Write what waits; blocks for as long as that takes, but bounded. Never raises."""


class Unheard:
    """An audit that keeps nothing: for gateways whose operator is their only caller."""

    def note(self, event: Event) -> None:
        """Forget it."""

    def close(self) -> None:
        """There is nothing to write."""


def looks_secret(text: str) -> bool:
    """Whether a text holds what may be a key, a token or a password; digests by name do not."""
    rest = _PUBLIC.sub("", text)
    return KNOWN.cut(rest) != rest or _RANDOM.search(rest) is not None


def fit(event: Event, now_us: int) -> Event:
    """The event as it may be kept: bounded, encodable, with a time, and without secrets."""
    detail = dict(list(event.detail.items())[:MOST_DETAILS])
    return replace(
        event,
        actor=_text(event.actor, NAME_CHARS),
        action=_text(event.action, NAME_CHARS),
        object=_text(event.object, NAME_CHARS),
        detail={
            _text(name, NAME_CHARS): _text(value, VALUE_CHARS) if isinstance(value, str) else value
            for name, value in detail.items()
        },
        time_us=event.time_us or now_us,
    )


def _text(value: str, most: int) -> str:
    text = value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    if looks_secret(text):
        return WITHHELD
    return text if len(text) <= most else f"{text[: most - 1]}…"


MINUTE_US = 60_000_000
_MOST_KINDS = 1_000  # of refusals that are told apart within a minute


class Sparing:
    """Lets the first refusal of each kind and minute through, and counts the others.

    A kind is actor, action, object and the detail `code`. When its minute is over, one event says
    how many more there were (`more`). Beyond 1 000 kinds in a minute the rest count as one kind,
    `others`. Not for several threads at once. Costs about 1 µs.
    """

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def through(self, event: Event, now_us: int) -> bool:
        """Whether an event is to be kept by itself; where it is not, it was counted."""
        if event.outcome != "refused":
            return True
        key = (event.actor, event.action, event.object, event.detail.get("code"))
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) >= _MOST_KINDS:
            event = Event("anonymous", event.action, "others", "refused")
            key = (event.actor, event.action, event.object, None)
            kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(event, now_us + MINUTE_US, 1)
                return False
        if kind is None:
            self._kinds[key] = _Kind(event, now_us + MINUTE_US)
            return True
        kind.more += 1
        return False

    def over(self, now_us: int | None = None) -> Iterator[Event]:
        """What was counted in minutes that are over; of all that is left where no time is given."""
        ended = [
            key for key, kind in self._kinds.items() if now_us is None or kind.until_us <= now_us
        ]
        for key in ended:
            kind = self._kinds.pop(key)
            if kind.more:
                first = kind.first
                yield replace(first, detail={**first.detail, "more": kind.more}, time_us=0)


@dataclass(slots=True)
class _Kind:
    first: Event
    until_us: int
    more: int = 0
