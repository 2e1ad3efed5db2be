"""A server process over a pretended gateway, for tests that send signals: PATH WORKERS DRAIN_S.

It writes a line to the file at PATH for whatever its gateway lives through.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from turnout.engine.request import Reply, Request, StreamReply
from turnout.server.stop import Stop
from turnout.server.worker import Ready, log_to_stderr, run_worker
from turnout.server.workers import run_workers
from turnout.settings import Limits, Settings


class SlowGateway:
    """A chat takes tenths of a second, as many as its `max_tokens`; a stream has ten events."""

    ready = False
    digest = "sha256:0"
    providers: Mapping[str, bool] = {"openai": True}
    missing: Mapping[str, str] = {}

    def __init__(self, log: Path) -> None:
        self.log = log

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    async def start(self) -> None:
        self.ready = True
        self.note("started")

    async def close(self) -> None:
        self.note("closed")

    async def generate(self, request: Request) -> Reply | StreamReply:
        seconds = request.body["max_tokens"] / 10
        self.note("entered")
        if request.stream:
            return StreamReply(200, {}, self.events(seconds))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.note("cancelled")
            raise
        self.note("answered")
        return Reply(200, b"{}")

    async def events(self, seconds: float) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(10):
                yield b"data: {}\n\n"
                await asyncio.sleep(seconds / 10)
            self.note("answered")
        except (asyncio.CancelledError, GeneratorExit):
            self.note("cancelled")
            raise

    async def embeddings(self, request: Request) -> Reply:
        os.kill(os.getpid(), signal.SIGKILL)
        return Reply(200, b"{}")

    def models(self) -> list[dict[str, Any]]:
        return [{"id": str(os.getpid())}]

    def model(self, name: str) -> dict[str, Any]:
        return {"id": name}

    async def explain(self, request: Request) -> dict[str, Any]:
        return {}

    async def trace(self, request_id: str, tenant: str) -> dict[str, Any]:
        return {}

    def health(self) -> dict[str, Any]:
        return {}


def build(settings: Settings) -> SlowGateway:
    return SlowGateway(settings.home / "log")


def build_nothing(settings: Settings) -> SlowGateway:
    raise RuntimeError("no gateway today")


def main() -> None:
    home, workers, drain_s, factory = sys.argv[1:5]
    stop = Stop()
    stop.catch(signal.SIGTERM, signal.SIGINT)
    settings = Settings(
        home=Path(home),
        workers=int(workers),
        limits=Limits(drain_us=int(float(drain_s) * 1e6)),
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        print(f"bound {port}", flush=True)
        log_to_stderr(settings)

        def announce(ready: Ready) -> None:
            print(f"ready {port}", flush=True)

        run = run_worker if settings.workers == 1 else run_workers
        run(settings, globals()[factory], listening, stop, announce)


if __name__ == "__main__":
    main()
