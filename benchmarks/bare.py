"""The gateway's HTTP server with nothing behind it, to tell its share of a request's cost.

python -m benchmarks.bare        (a process of its own; the benchmark starts it)
"""

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from turnout.adapters.scripted import said, spoken
from turnout.engine.draw import Draw
from turnout.engine.request import Caller, Reply, Request, StreamReply
from turnout.engine.seats import Leave, nothing
from turnout.server.stop import Stop
from turnout.server.worker import run_worker
from turnout.settings import Settings

_HEADERS = {
    "x-turnout-policy": "sha256:" + "0" * 64,
    "x-turnout-cache": "BYPASS",
    "x-turnout-attempts": "1",
    "x-turnout-rule": "bare",
    "x-turnout-model": "openai/gpt-4",
    "x-turnout-cost": "0.00000218",
}


class Bare:
    """A gateway that answers at once with an answer made before."""

    ready = True
    digest = _HEADERS["x-turnout-policy"]

    def __init__(self, chunks: int) -> None:
        """Make the answers."""
        self.providers = {"openai": True}
        self.missing: dict[str, str] = {}
        self._whole = said("an answer").body
        self._events = [chunk.data for chunk in spoken(*["word "] * chunks) if chunk.data]

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""

    async def seat(self, tenant: str, patience_s: float) -> Leave | None:
        """There is always one."""
        return nothing

    def seats_of(self, tenant: str) -> int | None:
        """Nobody has a bound."""
        return None

    async def draw(self, caller: Caller) -> Draw | None:
        """Nobody has a rate."""
        return None

    async def generate(self, request: Request) -> Reply | StreamReply:
        """The answer made before."""
        if request.stream:
            return StreamReply(200, _HEADERS, self._stream())
        return Reply(200, self._whole, _HEADERS)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        for event in self._events:
            yield event
            await asyncio.sleep(0)  # one write per event, as when they come one by one

    def __getattr__(self, name: str) -> Any:
        """Whatever else a gateway has is not asked for here."""
        raise AttributeError(name)


def main() -> int:
    """Serve on a free port, printed in one line, until a signal."""
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    stop = Stop()
    stop.catch(signal.SIGTERM, signal.SIGINT)
    with tempfile.TemporaryDirectory(prefix="turnout-bare-") as home, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        settings = Settings(home=Path(home))
        run_worker(
            settings,
            lambda _: Bare(chunks),  # type: ignore[arg-type, return-value]
            listening,
            stop,
            lambda _: print(f"bare serves {port}", flush=True),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
