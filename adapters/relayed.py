"""The walk of a stream from the provider's events to the client's, which every dialect shares."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from turnout.engine.provider import Chunk, ProviderError
from turnout.engine.request import Usage

from .sse import Event
from .upstream import END_WAIT_S, USAGE_WAIT_S, Events


class Relay(Protocol):
    """Reads the events of one answer; no I/O. `usage`: the latest that was reported."""

    usage: Usage | None

    @property
    def ended(self) -> bool:
        """Whether the answer is whole, so that only its usage may follow."""

    @property
    def complete(self) -> bool:
        """Whether nothing that matters may follow."""

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""

    def finish(self) -> Chunk | None:
        """The last chunk, if there is one. Raises: ProviderError if the end is early."""


Opening = Callable[[], Awaitable[tuple[Events, Relay]]]
"""Sends a request; it is asked when the first chunk is."""


async def relayed(opening: Opening) -> AsyncGenerator[Chunk, None]:
    """The chunks of a stream. Raises: ProviderError at any point, with the usage known by then."""
    events, relay = await opening()
    try:
        while batch := await events.next():
            for event in batch:
                if (chunk := relay.take(event)) is not None:
                    yield chunk
            if relay.complete:
                events.patient(END_WAIT_S)
            elif relay.ended:
                events.patient(USAGE_WAIT_S)
        if (chunk := relay.finish()) is not None:
            yield chunk
    except ProviderError as error:
        error.usage = relay.usage
        raise
    finally:
        await events.aclose()
