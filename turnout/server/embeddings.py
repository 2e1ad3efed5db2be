"""`POST /v1/embeddings`."""

from sanic import HTTPResponse

from turnout.engine.request import Operation

from .body import receive
from .wire import Incoming, json_bytes, station


async def embed(incoming: Incoming) -> HTTPResponse:
    """Answer an embeddings request."""
    here = station(incoming)
    request = await receive(incoming, here, Operation.EMBEDDINGS)
    reply = await here.gateway.embeddings(request)
    return json_bytes(incoming, reply.body, reply.status, reply.headers)
