"""Who sent a request: found out before anything else, and asked by every route."""

from dataclasses import dataclass

from turnout.engine.request import Caller, OwnKey

from .wire import Incoming, station


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, with what it may spend: its own provider key, or the gateway's credentials."""

    caller: Caller
    own: OwnKey | None = None
    gateway_pays: bool = True


def identity_of(incoming: Incoming) -> Identity:
    """Who sent this request; `guard` has made sure that there is somebody."""
    return Identity(Caller(tenant=station(incoming).settings.tenant))
