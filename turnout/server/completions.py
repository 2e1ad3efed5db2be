"""`POST /v1/completions`, streamed or not."""

from sanic import HTTPResponse

from turnout.protocols.completions import COMPLETIONS

from .generation import generated
from .wire import Incoming


async def continue_text(incoming: Incoming) -> HTTPResponse | None:
    """Answer a request of the legacy completions; None where the answer was streamed."""
    return await generated(incoming, COMPLETIONS)
