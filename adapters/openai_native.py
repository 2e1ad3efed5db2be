"""Protocols of OpenAI's beside chat, passed through as they came: what they have in common.

A request that a provider can be asked in its own words leaves with them, but for the model and
what the policy sets; its answer comes back the same way. Unknown members survive both ways.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import orjson

from turnout.engine.provider import Answer, Call
from turnout.engine.request import Native

from .parameters import asks_nothing
from .relayed import Relay
from .sse import Event
from .upstream import Events, Upstream

Members = dict[str, bytes | None]
"""Members to write over a body's, as JSON; None takes one out."""


class NativeWire(NamedTuple):
    """A protocol that passes through; `says` tells whether it can say what the policy sets.

    `path` is what the protocol has after the provider's address.
    """

    path: str
    says: Callable[[Call], bool]
    answer: Callable[[Upstream, str, Call], Awaitable[Answer]]
    open: Callable[[Upstream, str, Call], Awaitable[tuple[Events, Relay]]]


def native_of(call: Call) -> Native:
    """The request in its own protocol; the call is marked as answered in it."""
    assert call.request.native is not None
    call.native = True
    return call.request.native


def written_over(call: Call, names: Mapping[str, str | None]) -> Members:
    """What the policy sets and the target refuses, over the client's members.

    `names` are this protocol's for chat's parameters where they differ; None: it has none.
    Adds to `call.dropped`.
    """
    members: Members = {"model": orjson.dumps(call.upstream_model)}
    for name, value in call.sets.items():
        told = names.get(name, name)
        if told is None:
            if not asks_nothing(name, value):
                call.dropped.append(name)
        elif "." not in told:
            members[told] = orjson.dumps(value)
    for name in sorted(call.refused):
        if call.body.get(name) is not None:
            members[name] = None
            if call.body[name] != 1:
                call.dropped.append(name)
    return members


def as_written(event: Event, data: bytes) -> bytes:
    """The event with its name and this data, which may have lines."""
    name = b"event: %b\n" % event.name if event.name else b""
    return name + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
