"""`POST /v1/chat/completions`, streamed or not, and `POST /v1/explain`, which calls nobody."""

from sanic import HTTPResponse

from turnout.engine.request import Operation
from turnout.protocols.chat import Chat, told
from turnout.protocols.chat_shape import check_chat
from turnout.protocols.client import ClientProtocol

from .body import receive
from .generation import generated
from .wire import Incoming, json_value, station

CHAT = ClientProtocol(Operation.CHAT, check_chat, None, Chat, Chat, told)


async def complete(incoming: Incoming) -> HTTPResponse | None:
    """Answer a chat request; None where the answer was streamed."""
    return await generated(incoming, CHAT)


async def explain(incoming: Incoming) -> HTTPResponse:
    """The decision on a chat body and its trail."""
    here = station(incoming)
    request = await receive(incoming, here, CHAT)
    return json_value(incoming, await here.gateway.explain(request))
