"""Who changed what, and who was refused: append-only, each row bound to the one before it."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

Outcome = Literal["done", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that somebody did or was kept from doing.

    `actor`: a key's id, `admin` (the operator's own key), `cli` (a command on this machine),
    `gateway` (itself), `anonymous`; never a secret. `action` is `noun.verb` (`key.create`,
    `tenant.change`, `policy.load`, `request.refuse`). `object` is what it was about, by name.
    `detail` holds what else matters, by name, each fit to be exported.
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
        """Keep an event; never blocks, never raises. Time is added where there is none."""


class Unheard:
    """An audit that keeps nothing: for gateways whose operator is their only caller."""

    def note(self, event: Event) -> None:
        """Forget it."""
