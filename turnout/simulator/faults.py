"""Faults on demand: which there are, and which request gets which.

A chunk is one event of a stream as sent; the role-only first one counts.
"""

import itertools
import random
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from .latency import duration_us, matches

Duration = Annotated[int, BeforeValidator(lambda v: duration_us(v) if isinstance(v, str) else v)]
"""Microseconds; written as `20ms`."""


class _Kind(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Status(_Kind):
    """Answer with an error status in the provider's shape instead."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after: str | int | None = None
    message: str = "simulated fault"
    type: str | None = None
    code: str | None = None
    param: str | None = None


class Delay(_Kind):
    """Wait: before the headers, before the first token, or before chunk `after`.

    Without `for` it hangs until the client goes.
    """

    kind: Literal["delay"]
    at: Literal["headers", "first_token", "chunk"] = "headers"
    after: int = Field(default=2, ge=0)
    for_us: Duration | None = Field(default=None, alias="for", ge=0)


class Refuse(_Kind):
    """Close the provider's listener and its connections, for a while or until faults are cleared.

    Takes effect at once; `times` and `rate` do not apply.
    """

    kind: Literal["refuse"]
    for_us: Duration | None = Field(default=None, alias="for", ge=0)


class Reset(_Kind):
    """Break the connection with RST: as soon as it is accepted, or when the request is read."""

    kind: Literal["reset"]
    at: Literal["accept", "request"] = "request"


class Cut(_Kind):
    """End the connection after some chunks, or in the middle of a whole body."""

    kind: Literal["cut"]
    after: int = Field(default=3, ge=0)
    by: Literal["fin", "rst"] = "fin"


class Malformed(_Kind):
    """Answer 200 with what cannot be read.

    `json`: cut-off JSON. `html`: a page. `empty`: nothing. `chunk`: one broken event in a stream,
    at `after`, the others as usual.
    """

    kind: Literal["malformed"]
    form: Literal["json", "html", "empty", "chunk"] = "json"
    after: int = Field(default=2, ge=0)


class Unfinished(_Kind):
    """End a stream cleanly after some chunks, with no finish reason and no closing event."""

    kind: Literal["unfinished"]
    after: int = Field(default=3, ge=0)


class ErrorEvent(_Kind):
    """Break a stream off with an error event after some chunks; the status was 200 by then."""

    kind: Literal["error_event"]
    after: int = Field(default=3, ge=0)
    status: int = Field(default=503, ge=400, le=599)
    message: str = "simulated fault"
    type: str | None = None
    code: str | None = None


class Usage(_Kind):
    """Report this usage instead of the true one, as the provider words it; None: leave it out.

    Beside any other fault, and none itself: the answer counts as complete. Only where answers are
    JSON, whole or as events.
    """

    kind: Literal["usage"]
    reported: dict[str, Any] | None = None


Fault = Status | Delay | Refuse | Reset | Cut | Malformed | Unfinished | ErrorEvent | Usage


class Order(BaseModel):
    """A fault and the requests it is for: the body of `POST /_sim/faults`.

    `model` is a pattern over `provider/model` or the bare model. `times` None: until cleared.
    `rate` is the share of requests, chosen by `seed`. `what` is meant: calls to a model, or what is
    looked up of models, where there is nothing but the provider for `model` to mean.
    """

    model_config = ConfigDict(extra="forbid")

    what: Literal["calls", "models"] = "calls"
    model: str = "*"
    fault: Annotated[Fault, Field(discriminator="kind")]
    times: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, ge=0, le=1)
    seed: int = 0


ORDER: TypeAdapter[Order] = TypeAdapter(Order)


@dataclass
class _Standing:
    """An order in force. `hits`: how many requests or connections it met."""

    id: int
    order: Order
    dice: random.Random
    hits: int = 0


@dataclass
class FaultBook:
    """The orders in force, oldest first; the first that is for a request wins."""

    _orders: list[_Standing] = field(default_factory=list)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add(self, order: Order) -> int:
        """Put an order in force and return its id."""
        standing = _Standing(next(self._ids), order, random.Random(order.seed))
        self._orders.append(standing)
        return standing.id

    def clear(self) -> None:
        """End all orders."""
        self._orders.clear()

    def listing(self) -> list[dict[str, object]]:
        """Return the orders in force and how often each was carried out."""
        return [
            {"id": one.id, "hits": one.hits, **one.order.model_dump(by_alias=True)}
            for one in self._orders
        ]

    def for_request(self, provider: str, model: str, stream: bool) -> Fault | None:
        """Return the fault that this request gets, and count it."""
        for standing in self._orders:
            fault = standing.order.fault
            if standing.order.what != "calls":
                continue
            needs_stream = isinstance(fault, Unfinished | ErrorEvent) or (
                isinstance(fault, Malformed) and fault.form == "chunk"
            )
            if _at_accept(fault) or (needs_stream and not stream) or isinstance(fault, Usage):
                continue
            if matches(standing.order.model, provider, model) and _strikes(standing):
                return fault
        return None

    def reported(self, provider: str, model: str) -> Usage | None:
        """Return what this request's usage is said to be instead, and count it."""
        for standing in self._orders:
            order = standing.order
            if (
                isinstance(order.fault, Usage)
                and order.what == "calls"
                and matches(order.model, provider, model)
                and _strikes(standing)
            ):
                return order.fault
        return None

    def for_look(self, provider: str) -> Fault | None:
        """Return the fault that something looked up gets, and count it."""
        for standing in self._orders:
            order = standing.order
            if (
                order.what == "models"
                and means_provider(order.model, provider)
                and not _at_accept(order.fault)
                and not isinstance(order.fault, Unfinished | ErrorEvent | Usage)
                and _strikes(standing)
            ):
                return order.fault
        return None

    def at_accept(self, provider: str) -> bool:
        """Tell whether a new connection is to be reset at once, and count it."""
        return any(
            _at_accept(standing.order.fault)
            and means_provider(standing.order.model, provider)
            and _strikes(standing)
            for standing in self._orders
        )


def means_provider(pattern: str, provider: str) -> bool:
    """Tell whether a pattern of models means any model of this provider."""
    return pattern in ("*", provider) or pattern.startswith(f"{provider}/")


def _at_accept(fault: Fault) -> bool:
    return isinstance(fault, Reset) and fault.at == "accept"


def _strikes(standing: _Standing) -> bool:
    order = standing.order
    if order.times is not None and standing.hits >= order.times:
        return False
    if order.rate is not None and standing.dice.random() >= order.rate:
        return False
    standing.hits += 1
    return True
