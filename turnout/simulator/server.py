"""The simulator: providers on ports, one book of faults and one count of traffic for all."""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson
from pydantic import ValidationError

from .connection import Connection, Turn
from .faults import (
    ORDER,
    ErrorEvent,
    Fault,
    FaultBook,
    Order,
    Refuse,
    Status,
    means_provider,
)
from .latency import Latency, LatencyTable
from .received import Received
from .reply import Refusal, Reply, Stream, Whole
from .script import write
from .traffic import KEPT, Tally, Traffic
from .usage import reporting
from .wire import Public, Signed, Wire

_AT_ONCE = Latency(0, 0)
# What reading a body of the wrong shape ends in; the wires check only what providers explain.
_MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
CONTROL = "control"
"""The name of the listener that plays no provider and obeys `/_sim/` only."""


class Listener:
    """One port: a provider's, or the control's where `wire` is None."""

    def __init__(self, simulator: "Simulator", wire: Wire | None, host: str, port: int) -> None:
        """Bind nothing yet; port 0 picks a free one on `open`."""
        self.name = CONTROL if wire is None else wire.provider
        self.wire = wire
        self.host = host
        self.port = port
        self._simulator = simulator
        self._serving: asyncio.Task[None] | None = None
        self._connections: set[Connection] = set()
        self._reopening: asyncio.TimerHandle | None = None

    @property
    def base_url(self) -> str:
        """The provider's base URL, with the path that the real one has."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.wire.prefix if self.wire else ''}"

    def open(self) -> None:
        """Listen from this moment on; `port` is the true one then. Raises: OSError."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._serving is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            bound = socket.create_server((self.host, self.port), family=family, backlog=2048)
            bound.setblocking(False)
            self.port = bound.getsockname()[1]
            self._serving = asyncio.get_running_loop().create_task(self._serve(bound))

    def close(self) -> None:
        """Stop listening and drop all clients, idle and busy."""
        self._stop_serving()
        for connection in list(self._connections):
            connection.abort()

    def refuse(self, for_us: int | None) -> None:
        """Close, for a time or until `open`; clients are dropped once the caller has returned."""
        self._stop_serving()
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            loop.call_soon(connection.drop)
        if for_us is not None:
            self._reopening = loop.call_later(for_us / 1e6, self.open)

    async def _serve(self, bound: socket.socket) -> None:
        make = partial(
            Connection,
            partial(self._simulator.respond, self),
            self._accept,
            self._connections.discard,
        )
        server = await asyncio.get_running_loop().create_server(make, sock=bound)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()

    def _stop_serving(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None

    def _accept(self, connection: Connection) -> bool:
        self._connections.add(connection)
        return self.wire is None or not self._simulator.faults.at_accept(self.name)


@dataclass
class Simulator:
    """Answers for all listeners. `key` None accepts any key.

    `kept`: how many of the last requests can be shown.
    """

    latency: LatencyTable
    key: str | None = None
    kept: int = KEPT

    def __post_init__(self) -> None:
        """Start with no fault and no traffic."""
        self.faults = FaultBook()
        self.traffic = Traffic(self.kept)
        self.listeners: list[Listener] = []

    def listen(self, wire: Wire | None, host: str, port: int) -> Listener:
        """Open a port for a provider, or for control only. Raises: OSError."""
        listener = Listener(self, wire, host, port)
        listener.open()
        self.listeners.append(listener)
        return listener

    def close(self) -> None:
        """Close all ports."""
        for listener in self.listeners:
            listener.close()

    def respond(self, listener: Listener, received: Received) -> Turn:
        """Answer one request."""
        if received.path.startswith("/_sim/"):
            return self._control(received)
        wire = listener.wire
        if wire is None:
            return self._plain(Whole(404, b'{"error":"only /_sim/ is served here"}'))
        if received.method == "HEAD":  # what follows its headers would be taken for an answer
            return self._plain(Whole(404, b"", dict(_JSON)))
        looked_up = wire.looked_up(received.path) if received.method == "GET" else None
        if looked_up is not None:
            return self._models(wire, received, looked_up)
        endpoint = wire.endpoint(received.path) if received.method == "POST" else None
        if endpoint is None:
            message = f"Invalid URL ({received.method} {received.path})"
            return self._plain(wire.error(Refusal(404, message, code="unknown_url")))
        if endpoint.asked is not None:
            endpoint = endpoint.asked(received.query)
        body: dict[str, Any] = {}
        bad_body = None
        try:
            body = received.json_object()
        except Refusal as refusal:
            bad_body = refusal
        model, stream = endpoint.means(body)
        tally = self.traffic.note(wire.provider, model, received)
        fault = self.faults.for_request(wire.provider, model, stream)
        if fault is not None:
            self.traffic.spoil(fault.kind)
        outcome = "completed"
        reply: Reply | None = self._ordered(wire, fault)
        if reply is None:
            try:
                wire.authorize(received.headers, self.key)
                if isinstance(wire, Signed):
                    wire.verify(received, self.key)
                if bad_body is not None:
                    raise bad_body
                reply = endpoint.answer(body)
            except Refusal as refusal:
                outcome, reply = "refused", wire.error(refusal)
            except _MISSHAPEN:
                message = "The request body has a value of an unexpected type."
                outcome, reply = "refused", wire.error(Refusal(400, message))
        if isinstance(fault, ErrorEvent) and isinstance(reply, Stream):
            broken = Refusal(fault.status, fault.message, type=fault.type, code=fault.code)
            events = reply.events[: min(fault.after, reply.finish_at)]
            last = (reply.broken or wire.error_event)(broken)
            reply = Stream([*events, last], len(events), reply.headers)
        if (usage := self.faults.reported(wire.provider, model)) is not None:
            reply = reporting(reply, usage.reported)
            if fault is None and usage.reported is None:
                self.traffic.spoil(usage.kind)
        latency = self.latency.of(wire.provider, model)
        if wire.provider == "openai" and outcome == "completed":
            reply.headers["openai-processing-ms"] = str(latency.first_us // 1000)
        return Turn(write(reply, latency, fault), tally, "faulted" if fault else outcome)

    def _models(self, wire: Wire, received: Received, name: str) -> Turn:
        self.traffic.note_look(wire.provider)
        fault = self.faults.for_look(wire.provider)
        reply: Reply | None = self._ordered(wire, fault)
        if reply is None:
            try:
                if not (isinstance(wire, Public) and wire.is_public(name)):
                    wire.authorize(received.headers, self.key)
                if isinstance(wire, Signed):
                    wire.verify(received, self.key)
                query = {key: values[0] for key, values in parse_qs(received.query).items()}
                reply = wire.model(name) if name else wire.listing(query)
            except Refusal as refusal:
                reply = wire.error(refusal)
        return Turn(write(reply, _AT_ONCE, fault), Tally(), "completed")

    def _ordered(self, wire: Wire, fault: Fault | None) -> Whole | None:
        """Return the error that a fault orders, if it orders one."""
        if not isinstance(fault, Status):
            return None
        refusal = Refusal(
            fault.status, fault.message, type=fault.type, code=fault.code, param=fault.param
        )
        reply = wire.error(refusal)
        if fault.retry_after is not None:
            reply.headers["retry-after"] = str(fault.retry_after)
        return reply

    def _control(self, received: Received) -> Turn:
        query = parse_qs(received.query)
        match (received.method, received.path.removeprefix("/_sim/")):
            case ("POST", "faults"):
                return self._plain(self._order(received.body))
            case ("GET", "faults"):
                return self._json({"faults": self.faults.listing()})
            case ("DELETE", "faults"):
                self.faults.clear()
                for listener in self.listeners:
                    listener.open()
                return self._json({"faults": []})
            case ("GET", "stats"):
                return self._json(self.traffic.stats())
            case ("DELETE", "stats"):
                self.traffic.clear()
                return self._json(self.traffic.stats())
            case ("GET", "requests"):
                last = query.get("last", ["10"])[0]
                number = int(last) if last.isdecimal() else 10
                return self._json({"requests": self.traffic.last(number)})
        return self._plain(Whole(404, b'{"error":"no such control"}', _JSON))

    def _order(self, body: bytes) -> Whole:
        try:
            order: Order = ORDER.validate_json(body)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            ]
            return Whole(400, orjson.dumps({"error": "; ".join(problems)}), dict(_JSON))
        if isinstance(order.fault, Refuse):
            meant = [one for one in self.listeners if means_provider(order.model, one.name)]
            for listener in _providers(meant):
                listener.refuse(order.fault.for_us)
            return Whole(200, b'{"id":0}', dict(_JSON))
        return Whole(200, orjson.dumps({"id": self.faults.add(order)}), dict(_JSON))

    def _json(self, value: Any) -> Turn:
        return self._plain(Whole(200, orjson.dumps(value), dict(_JSON)))

    def _plain(self, reply: Whole) -> Turn:
        return Turn(write(reply, _AT_ONCE, None), Tally(), "completed")


_JSON = {"content-type": "application/json"}


def _providers(listeners: Iterable[Listener]) -> Iterable[Listener]:
    return (listener for listener in listeners if listener.wire is not None)
