"""The HTTP server of one worker: its routes, and what surrounds each of them.

To add a route: a handler in a file of this folder and its row in `ROUTES`. A handler raises
`RequestError` for whatever it refuses; `errors` renders it.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NamedTuple

from sanic import HTTPResponse, Sanic
from sanic.config import Config

from turnout.engine.metrics import Metrics, of_process
from turnout.engine.request import RequestError
from turnout.settings import Settings

from . import chat, completions, embeddings, messages, models, operate, responses
from .admission import Admission, capacity
from .body import let_go
from .connection import Connections
from .errors import EnvelopeHandler
from .guard import admit
from .identity import identity_of
from .refusals import Refusals
from .wire import Gateway, Incoming, Station, station

GatewayFactory = Callable[[Settings], Gateway]
App = Sanic[Config, Station]


class Route(NamedTuple):
    """A path with its method; `GET` stands for `HEAD` too."""

    method: str
    path: str
    handler: Callable[..., Any]


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/chat/completions", chat.complete),
    Route("POST", "/v1/completions", completions.continue_text),
    Route("POST", "/v1/responses", responses.respond),
    Route("POST", "/v1/messages", messages.converse),
    Route("POST", "/v1/messages/count_tokens", messages.count_tokens),
    Route("POST", "/v1/embeddings", embeddings.embed),
    Route("POST", "/v1/explain", chat.explain),
    Route("GET", "/v1/models", models.list_models),
    Route("GET", "/v1/models/<name:path>", models.show_model),
    Route("GET", "/v1/traces/<name:str>", operate.show_trace),
    Route("GET", "/health", operate.health),
    Route("GET", "/ready", operate.ready),
    Route("GET", "/metrics", operate.metrics),
)

HEADER_BYTES = 16_384


def create_app(
    settings: Settings, gateway_factory: GatewayFactory, metrics: Metrics | None = None
) -> App:
    """A server with a gateway of its own; the gateway starts and closes with the server.

    `metrics` defaults to those of the process. Raises: whatever the factory raises.
    """
    counted = metrics or of_process()
    room = capacity(settings.limits)
    refusals = Refusals(counted.turned_away)
    here = Station(
        settings,
        gateway_factory(settings),
        counted,
        Admission(settings.limits, room.concurrency, refusals),
        Connections(settings.limits, room.connections, refusals),
        refusals,
    )
    app: App = Sanic(
        "turnout",
        config=_config(settings),
        ctx=here,
        request_class=Incoming,
        error_handler=EnvelopeHandler(),
        configure_logging=False,
    )
    for route in ROUTES:
        reads_body = route.method == "POST"
        app.add_route(
            _admitted(route.handler) if reads_body else route.handler,
            route.path,
            methods=[route.method] if reads_body else ["GET", "HEAD"],
            name=route.handler.__name__,
            # Bodies are read by `body`, which bounds their time as well as their size.
            stream=reads_body,
        )
    app.register_middleware(admit, "request")
    app.register_listener(_start, "before_server_start")
    app.register_listener(_close, "after_server_stop")
    return app


def _config(settings: Settings) -> Config:
    # No prefix: an environment meant for another Sanic server changes nothing here.
    config = Config(env_prefix="", keep_alive=True)
    config.update(
        ACCESS_LOG=False,
        AUTO_EXTEND=False,
        MOTD=False,
        REQUEST_MAX_HEADER_SIZE=HEADER_BYTES,
        REQUEST_MAX_SIZE=settings.limits.body_bytes,
    )
    return config


Handler = Callable[[Incoming], Coroutine[Any, Any, HTTPResponse | None]]


def _admitted(handler: Handler) -> Handler:
    """A handler that begins only where there is room, and holds it until its stream has ended."""

    @wraps(handler)
    async def admitted(incoming: Incoming) -> HTTPResponse | None:
        here = station(incoming)
        try:
            leave = await here.admission.enter(
                identity_of(incoming).caller.tenant, here.gateway.seat, here.gateway.seats_of
            )
        except RequestError:
            await let_go(incoming)
            raise
        try:
            return await handler(incoming)
        finally:
            leave()

    return admitted


async def _start(app: App) -> None:
    await app.ctx.gateway.start()
    app.ctx.metrics.policy(app.ctx.gateway.digest)


async def _close(app: App) -> None:
    app.ctx.refusals.say()
    await app.ctx.gateway.close()
