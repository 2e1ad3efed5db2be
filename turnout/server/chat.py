"""`POST /v1/chat/completions`, streamed or not, and `POST /v1/explain`, which calls nobody."""

from sanic import HTTPResponse

from turnout.engine.request import Operation, StreamReply

from .body import receive
from .stream import relay
from .wire import Incoming, json_bytes, json_value, station


async def complete(incoming: Incoming) -> HTTPResponse | None:
    """Answer a chat request; None where the answer was streamed."""
    here = station(incoming)
    request = await receive(incoming, here, Operation.CHAT)
    reply = await here.gateway.chat(request)
    if isinstance(reply, StreamReply):
        await relay(incoming, here, reply)
        return None
    return json_bytes(incoming, reply.body, reply.status, reply.headers)


async def explain(incoming: Incoming) -> HTTPResponse:
    """The decision on a chat body and its trail."""
    here = station(incoming)
    request = await receive(incoming, here, Operation.CHAT)
    return json_value(incoming, await here.gateway.explain(request))
