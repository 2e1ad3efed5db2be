"""`POST /v1/messages` and `POST /v1/messages/count_tokens`, as Anthropic's clients speak them."""

from sanic import HTTPResponse

from turnout.protocols.messages import COUNTED, MESSAGES

from .body import receive
from .generation import generated
from .wire import Incoming, json_bytes, station


async def converse(incoming: Incoming) -> HTTPResponse | None:
    """Answer a request; None where the answer was streamed."""
    return await generated(incoming, MESSAGES)


async def count_tokens(incoming: Incoming) -> HTTPResponse:
    """The tokens of a prompt: `{"input_tokens": …}`."""
    here = station(incoming)
    request = await receive(incoming, here, COUNTED)
    reply = await here.gateway.count(request)
    reply.headers.update(COUNTED.headers(incoming.id))
    return json_bytes(incoming, reply.body, reply.status, reply.headers)
