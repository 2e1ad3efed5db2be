"""One worker: serves on a listening socket until it is told to stop, then drains.

Sanic's own process manager is not used: it hangs when it is stopped before every worker has come
up (sanic issue 2997), and its answer to a second signal is to kill the whole process group.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP

from turnout.settings import Settings

from .admission import raise_open_files
from .app import App, GatewayFactory, create_app
from .connection import Connection
from .greeting import Greeting
from .stop import Stop
from .tls import Certificate

# What is left to run after the bound: handlers that were cancelled, connections being closed.
_AFTERMATH_S = 2.0
_STEP_S = 0.02
_BREATH_S = 0.005
_SWITCH_S = 0.0005
BACKLOG = 1024
STOPPED = "stopped"  # logged once, by the process that was started

_log = logging.getLogger("turnout.server")


@dataclass(frozen=True, slots=True)
class Ready:
    """What a worker says when it takes requests.

    `digest` is the policy's. `providers` says of each whether it can be called, and `missing` what
    the others lack.
    """

    digest: str
    providers: Mapping[str, bool]
    missing: Mapping[str, str] = field(default_factory=dict)


def run_worker(
    settings: Settings,
    gateway_factory: GatewayFactory,
    listening: socket.socket,
    stop: Stop,
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve on a socket until asked to stop; everything is written out when this returns.

    `on_ready` is called once requests are taken.
    Raises: whatever the factory or the gateway's start raises.
    """
    raise_open_files()
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(settings, gateway_factory, listening, stop, on_ready))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(
    settings: Settings,
    gateway_factory: GatewayFactory,
    listening: socket.socket,
    stop: Stop,
    on_ready: Callable[[Ready], None],
) -> None:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    # A signal's handler in Python runs between bytecodes, so an idle loop needs a push.
    stop.wake_with(lambda: loop.call_soon_threadsafe(woken.set))
    for number in (signal.SIGTERM, signal.SIGINT):
        if callable(signal.getsignal(number)):
            loop.add_signal_handler(number, stop.ask)
    certificate = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
    app = create_app(settings, gateway_factory)
    gateway = app.ctx.gateway

    def look_again() -> None:
        gateway.look_again()
        if certificate is not None:
            certificate.ask()

    if settings.looks_again and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, look_again)
    server = await open_server(app, certificate, sock=listening)
    watching = None if certificate is None else asyncio.create_task(certificate.run())
    # What is there now stays: tables of tokens, prices, code. The collector need not look at it
    # again, which is what a full collection in the middle of a request would spend its time on.
    gc.collect()
    gc.freeze()
    # The journal's thread gives way to the event loop sooner than after the usual 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    try:
        if not stop.asked:
            on_ready(Ready(gateway.digest, dict(gateway.providers), dict(gateway.missing)))
        await woken.wait()
        limits = settings.limits
        bound_s, delay_s = limits.drain_us / 1e6, limits.drain_delay_us / 1e6
        under_way = app.ctx.admission.under_way
        _log.info(
            "%s: %d request%s under way, at most %.0f s",
            "draining" if settings.workers == 1 else f"worker {os.getpid()} is draining",
            under_way,
            "" if under_way == 1 else "s",
            delay_s + bound_s,
        )
        await drain(app, server, bound_s, stop, delay_s)
    finally:
        if watching is not None:
            watching.cancel()
        await server.after_stop()
    if settings.workers == 1:
        _log.info(STOPPED)


async def open_server(app: App, certificate: Certificate | None = None, **where: Any) -> Any:
    """Sanic's server object, taking requests on `sock=` or on `host=` and `port=`.

    With a certificate it speaks HTTPS alone.
    """
    # Sanic looks here for the versions of HTTP it serves, to leave `alt-svc` headers out.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    protocol: Any = Connection if certificate is None else partial(Greeting, certificate)
    server: Any = await app.create_server(
        return_asyncio_server=True,
        backlog=BACKLOG,
        protocol=protocol,
        asyncio_server_kwargs={"start_serving": False},
        **where,
    )
    await server.startup()
    await server.before_start()
    await server.after_start()
    await server.start_serving()
    return server


async def drain(app: App, server: Any, bound_s: float, stop: Stop, delay_s: float = 0.0) -> None:
    """Take nothing new, let requests in flight finish within the bound, then cut them off.

    For `delay_s` before that everything goes on, so that load balancers see that this worker is
    not ready. A request that is cut off gets a 503, or an error event if its stream has begun.
    """
    loop = asyncio.get_running_loop()
    app.ctx.draining = True
    # At least so long that what the kernel has accepted so far is taken.
    await _go_on(max(delay_s, _BREATH_S), stop)
    await server.before_stop()
    server.server.close()
    await _go_on(_BREATH_S, stop)
    app.ctx.admission.close()
    end = loop.time() + bound_s
    _close_idle(server)
    while await _step(server) and loop.time() < end and not stop.hurried:
        pass
    cut_off = list(server.connections)
    if cut_off:
        _log.warning("cutting off %d requests that did not finish in time", len(cut_off))
    for connection in cut_off:
        if connection._task is not None:
            connection._task.cancel()
    end = loop.time() + _AFTERMATH_S
    while await _step(server) and loop.time() < end:
        pass
    for connection in list(server.connections):
        connection.abort()


async def _go_on(seconds: float, stop: Stop) -> None:
    """Serve for so long, unless somebody is in a hurry."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not stop.hurried and (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, _STEP_S))


async def _step(server: Any) -> bool:
    """A moment later: whether a request is still in flight."""
    await asyncio.sleep(_STEP_S)
    _close_idle(server)
    return bool(server.connections)


def _close_idle(server: Any) -> None:
    for connection in list(server.connections):
        connection.close_if_idle()
