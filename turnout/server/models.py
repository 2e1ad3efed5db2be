"""`GET /v1/models` and `GET /v1/models/{id}`; an id may hold `/` and `:`, escaped or not.

Whoever sends `anthropic-version` is Anthropic's client, and gets its form of the list, with pages.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from sanic import HTTPResponse

from turnout.engine.request import RequestError
from turnout.protocols import messages

from .identity import identity_of
from .wire import Incoming, error_response, json_value, refusal, station

_PAGE, _LONGEST_PAGE = 20, 1000


async def list_models(incoming: Incoming) -> HTTPResponse:
    """What a client may ask for."""
    models = station(incoming).gateway.models(identity_of(incoming))
    if _speaks_messages(incoming):
        return _for_messages(incoming, lambda: _page(incoming, models))
    return json_value(incoming, {"object": "list", "data": models})


async def show_model(incoming: Incoming, name: str) -> HTTPResponse:
    """One model."""

    def model() -> dict[str, Any]:
        return station(incoming).gateway.model(unquote(name), identity_of(incoming))

    if _speaks_messages(incoming):
        return _for_messages(incoming, lambda: messages.model_item(model()))
    return json_value(incoming, model())


def _speaks_messages(incoming: Incoming) -> bool:
    return "anthropic-version" in incoming.headers


def _for_messages(incoming: Incoming, value: Callable[[], object]) -> HTTPResponse:
    try:
        response = json_value(incoming, value())
    except RequestError as error:
        return error_response(incoming, error, messages.told)
    response.headers.update(messages.marks(incoming.id))
    return response


def _page(incoming: Incoming, models: list[dict[str, Any]]) -> dict[str, object]:
    """The models of one page, after or before the one that the client names."""
    limit = incoming.args.get("limit", str(_PAGE))
    if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit) <= _LONGEST_PAGE:
        raise refusal(
            400, "invalid_value", f"limit: Input should be from 1 to {_LONGEST_PAGE}", "limit"
        )
    names = [model["id"] for model in models]
    start, end = 0, len(models)
    if (after := incoming.args.get("after_id")) in names:
        start = names.index(after) + 1
    if (before := incoming.args.get("before_id")) in names:
        end = names.index(before)
        start = max(start, end - int(limit))
    shown = models[start : min(end, start + int(limit))]
    more = start > 0 if before in names else start + len(shown) < len(models)
    return {
        "data": [messages.model_item(model) for model in shown],
        "has_more": more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
