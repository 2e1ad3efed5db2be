"""`GET /v1/models` and `GET /v1/models/{id}`; an id may hold `/` and `:`, escaped or not."""

from urllib.parse import unquote

from sanic import HTTPResponse

from .wire import Incoming, json_value, station


async def list_models(incoming: Incoming) -> HTTPResponse:
    """What a client may ask for."""
    models = station(incoming).gateway.models()
    return json_value(incoming, {"object": "list", "data": models})


async def show_model(incoming: Incoming, name: str) -> HTTPResponse:
    """One model."""
    return json_value(incoming, station(incoming).gateway.model(unquote(name)))
