"""A server process over a pretended gateway, for tests that send signals.

Its arguments: PATH WORKERS DRAIN_S FACTORY, and DELAY_S if there is one.

It writes a line to the file at PATH for whatever its gateway lives through.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from turnout.engine.audit import Audit, Unheard
from turnout.engine.draw import Draw
from turnout.engine.keyring import Keyring, NoKeys
from turnout.engine.offered import Asking
from turnout.engine.request import Caller, Reply, Request, StreamReply
from turnout.engine.seats import Leave, nothing
from turnout.server import workers as supervisor
from turnout.server.log import log_to_stderr
from turnout.server.stop import Stop
from turnout.server.worker import Ready, run_worker
from turnout.server.workers import run_workers
from turnout.settings import Limits, Settings, SettingsError


class SlowGateway:
    """A chat takes tenths of a second, as many as its `max_tokens`; a stream has ten events."""

    ready = False
    digest = "sha256:0"
    providers: Mapping[str, bool] = {"openai": True}
    missing: Mapping[str, str] = {}
    refuses: str | None = None
    audit: Audit = Unheard()
    keys = Keyring(NoKeys())

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

    async def seat(self, tenant: str, patience_s: float) -> Leave | None:
        return nothing

    def seats_of(self, tenant: str) -> int | None:
        return None

    async def draw(self, caller: Caller) -> Draw | None:
        return None

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

    def models(self, asking: Asking) -> list[dict[str, Any]]:
        return [{"id": str(os.getpid())}]

    def model(self, name: str, asking: Asking) -> dict[str, Any]:
        return {"id": name}

    async def explain(self, request: Request) -> dict[str, Any]:
        return {}

    async def trace(self, request_id: str, tenant: str) -> dict[str, Any]:
        return {}

    def health(self) -> dict[str, Any]:
        return {}


def build(settings: Settings) -> SlowGateway:
    return SlowGateway(settings.home / "log")


class HangingGateway(SlowGateway):
    """Never lets go of the event loop again, once it was asked."""

    async def generate(self, request: Request) -> Reply | StreamReply:
        self.note("entered")
        while True:
            time.sleep(1)


def build_hanging(settings: Settings) -> SlowGateway:
    return HangingGateway(settings.home / "log")


def build_nothing(settings: Settings) -> SlowGateway:
    raise RuntimeError("no gateway today")


def build_two(settings: Settings) -> SlowGateway:
    """The first two that are built start; what a third needs is gone."""
    log = settings.home / "log"
    gateway = SlowGateway(log)
    if log.exists() and log.read_text().count("built") >= 2:
        raise SettingsError(("the key is gone",))
    gateway.note("built")
    return gateway


def build_dying(settings: Settings) -> SlowGateway:
    """The first two that are built die of it, as if something had killed them."""
    gateway = SlowGateway(settings.home / "log")
    if not gateway.log.exists() or gateway.log.read_text().count("dying") < 2:
        gateway.note("dying")
        os.kill(os.getpid(), signal.SIGKILL)
    return gateway


def build_missing(settings: Settings) -> SlowGateway:
    """What it needs is not there, which another try would not change."""
    SlowGateway(settings.home / "log").note("built")
    raise SettingsError(("the key is gone",))


def main() -> None:
    home, workers, drain_s, factory, *delay_s = sys.argv[1:]
    # How long a supervisor waits for workers beyond their drain; nobody wants to here.
    supervisor._CLOSING_S = 3.0
    stop = Stop()
    stop.catch(signal.SIGTERM, signal.SIGINT)
    settings = Settings(
        home=Path(home),
        workers=int(workers),
        limits=Limits(
            drain_us=int(float(drain_s) * 1e6),
            drain_delay_us=int(float(delay_s[0]) * 1e6) if delay_s else 0,
        ),
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
