"""Gateways that a test opens, requests as the server makes them, and what one is refused with."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import orjson
import pytest

from turnout.engine.gateway import Gateway
from turnout.engine.request import Caller, Operation, Request, RequestError


class HasGateway(Protocol):
    """Whatever tests put around a gateway."""

    gateway: Gateway


B = TypeVar("B", bound=HasGateway)


@asynccontextmanager
async def benches(make: Callable[..., B]) -> AsyncIterator[Callable[..., Awaitable[B]]]:
    """What makes benches and starts their gateways; they are closed at the end."""
    made: list[B] = []

    async def started(*given: Any, **named: Any) -> B:
        one = make(*given, **named)
        await one.gateway.start()
        made.append(one)
        return one

    yield started
    for one in made:
        await one.gateway.close()


def request_of(
    body: Mapping[str, Any],
    caller: Caller | None = None,
    *,
    id: str = "req_1",
    operation: Operation = Operation.CHAT,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """A request with this body, received now."""
    body = {"model": "auto"} | dict(body)
    return Request(
        id=id,
        operation=operation,
        body=body,
        raw=orjson.dumps(body),
        model=body["model"],
        stream=body.get("stream") is True,
        caller=caller or Caller(),
        headers=dict(headers or {}),
        received_us=time.time_ns() // 1000,
        started_ns=time.monotonic_ns(),
    )


async def refused(work: Awaitable[Any]) -> RequestError:
    """What it is refused with."""
    with pytest.raises(RequestError) as caught:
        await work
    return caught.value
