"""`POST /v1/responses`, streamed or not."""

from sanic import HTTPResponse

from turnout.protocols.responses import RESPONSES

from .generation import generated
from .wire import Incoming


async def respond(incoming: Incoming) -> HTTPResponse | None:
    """Answer a request of the Responses protocol; None where the answer was streamed."""
    return await generated(incoming, RESPONSES)
