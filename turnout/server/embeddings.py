"""`POST /v1/embeddings`."""

from sanic import HTTPResponse

from turnout.engine.request import Operation
from turnout.protocols.chat import Chat, told
from turnout.protocols.chat_shape import check_embeddings
from turnout.protocols.client import ClientProtocol

from .body import receive
from .wire import Incoming, json_bytes, station

EMBEDDINGS = ClientProtocol(Operation.EMBEDDINGS, check_embeddings, None, Chat, Chat, told)


async def embed(incoming: Incoming) -> HTTPResponse:
    """Answer an embeddings request."""
    here = station(incoming)
    request = await receive(incoming, here, EMBEDDINGS)
    reply = await here.gateway.embeddings(request)
    return json_bytes(incoming, reply.body, reply.status, reply.headers)
