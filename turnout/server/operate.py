"""What operators ask: traces, health, readiness, metrics. None of it calls a provider."""

import asyncio
from urllib.parse import unquote

from sanic import HTTPResponse

from turnout.engine.metrics import CONTENT_TYPE
from turnout.engine.request import RequestError

from .identity import identity_of
from .wire import Answer, Incoming, headers_of, json_value, station


async def show_trace(incoming: Incoming, name: str) -> HTTPResponse:
    """The trace document of one of the caller's own requests."""
    here = station(incoming)
    document = await here.gateway.trace(unquote(name), identity_of(incoming).caller.tenant)
    return json_value(incoming, document)


async def health(incoming: Incoming) -> HTTPResponse:
    """Whether this worker is alive, with its vital signs."""
    here = station(incoming)
    admission = here.admission
    load = {
        "requests": {
            "under_way": admission.under_way,
            "waiting": admission.waiting,
            "most": admission.most,
        },
        "connections": {"open": here.connections.open, "most": here.connections.most},
    }
    return json_value(incoming, here.gateway.health() | load)


async def ready(incoming: Incoming) -> HTTPResponse:
    """Whether this worker wants traffic: not before it started, and not once it is stopping."""
    here = station(incoming)
    if here.draining or not here.gateway.ready:
        raise RequestError(
            503,
            "service_unavailable_error",
            "draining" if here.draining else "starting",
            "The gateway is shutting down." if here.draining else "The gateway is starting.",
        )
    return json_value(incoming, {"status": "ready"})


async def metrics(incoming: Incoming) -> HTTPResponse:
    """The counters of all workers, for Prometheus."""
    # With several workers it reads their files.
    text = await asyncio.to_thread(station(incoming).metrics.render)
    return Answer(text, 200, headers_of(incoming), CONTENT_TYPE)
