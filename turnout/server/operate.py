"""What operators ask: traces, health, readiness, metrics. None of it calls a provider."""

import asyncio
from urllib.parse import unquote

from sanic import HTTPResponse

from turnout.engine.metrics import CONTENT_TYPE
from turnout.engine.request import RequestError

from .gate import may_administer
from .identity import identity_of
from .wire import Answer, Incoming, headers_of, json_value, station

_FOR_ALL = ("status", "gateway")  # of `/health`


async def show_trace(incoming: Incoming, name: str) -> HTTPResponse:
    """The trace document of one of the caller's own requests; an operator's key shows all.

    A key of a user shows that user's, a key of a team the team's, others their tenant's; a key of a
    provider those of requests that came with one.
    """
    here = station(incoming)
    who = identity_of(incoming)
    caller = who.caller
    if who.sees_all:
        document = await here.gateway.trace(unquote(name), None)
    elif who.is_stranger:
        document = await here.gateway.trace(unquote(name), caller.tenant, of_strangers=True)
    else:
        document = await here.gateway.trace(unquote(name), caller.tenant, caller.team, caller.user)
    return json_value(incoming, document)


async def health(incoming: Incoming) -> HTTPResponse:
    """Whether this worker is alive; operators, and whoever is on this machine, see how."""
    here = station(incoming)
    told = here.gateway.health()
    if not await may_administer(incoming):
        return json_value(incoming, {name: told[name] for name in _FOR_ALL})
    admission = here.admission
    load = {
        "requests": {
            "under_way": admission.under_way,
            "waiting": admission.waiting,
            "most": admission.most,
        },
        "connections": {"open": here.connections.open, "most": here.connections.most},
    }
    return json_value(incoming, told | load)


async def ready(incoming: Incoming) -> HTTPResponse:
    """Whether this worker wants traffic: not before it started, not once it is stopping.

    And not while it cannot record what it does.
    """
    here = station(incoming)
    if here.draining or not here.gateway.ready:
        raise RequestError(
            503,
            "service_unavailable_error",
            "draining" if here.draining else "starting",
            "The gateway is shutting down." if here.draining else "The gateway is starting.",
        )
    if (why := here.gateway.refuses) is not None:
        # Another replica may have a disk with room.
        raise RequestError(
            503,
            "service_unavailable_error",
            why,
            "The gateway cannot record requests at the moment and takes none.",
        )
    return json_value(incoming, {"status": "ready"})


async def metrics(incoming: Incoming) -> HTTPResponse:
    """The counters of all workers, for Prometheus."""
    # With several workers it reads their files.
    text = await asyncio.to_thread(station(incoming).metrics.render)
    return Answer(text, 200, headers_of(incoming), CONTENT_TYPE)
