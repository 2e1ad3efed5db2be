"""The HTTP server of one worker: its routes, and what surrounds each of them.

To add a route: a handler in a file of this folder and its row in `ROUTES`. A handler raises
`RequestError` for whatever it refuses; `errors` renders it.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NamedTuple

from sanic import HTTPResponse, Sanic
from sanic.config import Config

from turnout.engine.draw import CODE as OVER_RATE
from turnout.engine.metrics import Metrics, of_process
from turnout.engine.request import ADMIN, READ, WRITE, RequestError
from turnout.engine.seats import Leave
from turnout.settings import Settings

from . import (
    admin,
    admin_audit,
    admin_keys,
    cache,
    chat,
    completions,
    costs,
    embeddings,
    messages,
    models,
    operate,
    responses,
)
from .admission import Admission, capacity
from .body import let_go
from .connection import Connections
from .errors import EnvelopeHandler
from .gate import ADMIN_AFAR, PUBLIC, WRITE_OR_ADMIN, gated
from .guard import admit
from .identity import identity_of
from .refusals import Refusals
from .wire import Gateway, Incoming, Station, station

GatewayFactory = Callable[[Settings], Gateway]
App = Sanic[Config, Station]


class Route(NamedTuple):
    """A path with its method, and the scope that it takes (`gate`); `GET` stands for `HEAD` too."""

    method: str
    path: str
    handler: Callable[..., Any]
    scope: str


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/chat/completions", chat.complete, WRITE),
    Route("POST", "/v1/completions", completions.continue_text, WRITE),
    Route("POST", "/v1/responses", responses.respond, WRITE),
    Route("POST", "/v1/messages", messages.converse, WRITE),
    Route("POST", "/v1/messages/count_tokens", messages.count_tokens, WRITE),
    Route("POST", "/v1/embeddings", embeddings.embed, WRITE),
    Route("POST", "/v1/explain", chat.explain, READ),
    Route("GET", "/v1/models", models.list_models, READ),
    Route("GET", "/v1/models/<name:path>", models.show_model, READ),
    Route("GET", "/v1/traces/<name:str>", operate.show_trace, READ),
    Route("GET", "/v1/costs", costs.show_costs, READ),
    Route("GET", "/v1/budgets", costs.show_budgets, READ),
    Route("GET", "/v1/cache", cache.show_cache, READ),
    Route("POST", "/v1/cache/invalidate", cache.invalidate, WRITE_OR_ADMIN),
    Route("GET", "/v1/admin/tenants", admin.list_tenants, ADMIN),
    Route("GET", "/v1/admin/tenants/<name:path>", admin.show_tenant, ADMIN),
    Route("PUT", "/v1/admin/tenants/<name:path>", admin.put_tenant, ADMIN),
    Route("PATCH", "/v1/admin/tenants/<name:path>", admin.patch_tenant, ADMIN),
    Route("DELETE", "/v1/admin/tenants/<name:path>", admin.remove_tenant, ADMIN),
    Route("POST", "/v1/admin/keys", admin_keys.create_key, ADMIN),
    Route("GET", "/v1/admin/keys", admin_keys.list_keys, ADMIN),
    Route("POST", "/v1/admin/keys/<name:str>/rotate", admin_keys.rotate_key, ADMIN),
    Route("POST", "/v1/admin/keys/<name:str>/revoke", admin_keys.revoke_key, ADMIN),
    Route("GET", "/v1/admin/audit", admin_audit.list_audit, ADMIN),
    Route("GET", "/health", operate.health, PUBLIC),
    Route("GET", "/ready", operate.ready, PUBLIC),
    Route("GET", "/metrics", operate.metrics, ADMIN_AFAR),
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
        reads_body = route.method in ("POST", "PUT", "PATCH")
        # Operators get in however many requests are under way.
        takes_room = reads_body and route.scope not in (ADMIN, WRITE_OR_ADMIN)
        app.add_route(
            gated(
                f"{route.method} {route.path}",
                route.scope,
                _admitted(route.handler) if takes_room else route.handler,
                reads_body=reads_body,
            ),
            route.path,
            methods=["GET", "HEAD"] if route.method == "GET" else [route.method],
            name=route.handler.__name__,
            # Bodies are read by `body`, which bounds their time as well as their size.
            stream=True,
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


Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]


def _admitted(handler: Handler) -> Handler:
    """A handler that begins only where there is room, and holds it until its stream has ended."""

    @wraps(handler)
    async def admitted(incoming: Incoming, **of_path: Any) -> HTTPResponse | None:
        here = station(incoming)
        try:
            leave = await _enter(incoming, here)
        except RequestError:
            await let_go(incoming)
            raise
        try:
            return await handler(incoming, **of_path)
        except RequestError as error:
            if error.code == OVER_RATE:  # its tokens are known only once its body is
                here.refusals("over_rate")
            raise
        finally:
            leave()

    return admitted


async def _enter(incoming: Incoming, here: Station) -> Leave:
    """Take a seat and a request of the caller's rates; what is returned ends both.

    Raises: RequestError.
    """
    caller = identity_of(incoming).caller
    leave = await here.admission.enter(caller.tenant, here.gateway.seat, here.gateway.seats_of)
    try:
        draw = incoming.draw = await here.gateway.draw(caller)
    except BaseException as error:
        leave()
        if isinstance(error, RequestError) and error.code == OVER_RATE:
            here.refusals("over_rate")
        raise
    if draw is None:
        return leave

    def end() -> None:
        draw.close()
        leave()

    return end


async def _start(app: App) -> None:
    await app.ctx.gateway.start()
    app.ctx.metrics.policy(app.ctx.gateway.digest)


async def _close(app: App) -> None:
    app.ctx.refusals.say()
    await app.ctx.gateway.close()
