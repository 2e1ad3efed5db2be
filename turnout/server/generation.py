"""A request for generation, in whatever protocol it came, answered in that protocol."""

from sanic import HTTPResponse

from turnout.engine.request import StreamReply
from turnout.protocols.client import ClientProtocol

from .body import receive
from .stream import relay
from .wire import Incoming, json_bytes, station


async def generated(incoming: Incoming, protocol: ClientProtocol) -> HTTPResponse | None:
    """Answer a request for generation; None where the answer was streamed."""
    here = station(incoming)
    request = await receive(incoming, here, protocol)
    reply = await here.gateway.generate(request)
    reply.headers.update(protocol.headers(incoming.id))
    voice = (protocol.passing if reply.native else protocol.translating)(request)
    if isinstance(reply, StreamReply):
        await relay(incoming, here, reply, voice)
        return None
    return json_bytes(incoming, voice.whole(reply.body), reply.status, reply.headers)
