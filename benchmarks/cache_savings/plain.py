"""Sanic with nothing of ours: the most that a server written with it can answer.

python -m benchmarks.cache_savings.plain BODY_BYTES    (the benchmark starts it)
"""

import asyncio
import signal
import socket
import sys

import uvloop
from sanic import Request, Sanic
from sanic.response import HTTPResponse


def main() -> int:
    """Answer each POST with so many bytes, on a free port, printed in one line."""
    body = b'{"text":"%s"}' % (b"a" * (int(sys.argv[1]) - 11))
    app = Sanic("plain", configure_logging=False)

    @app.post("/v1/chat/completions")
    async def answer(request: Request) -> HTTPResponse:
        assert request.json  # read, as whoever answers it must
        return HTTPResponse(body, content_type="application/json")

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(_serve(app, listening))
    return 0


async def _serve(app: Sanic, listening: socket.socket) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await app.create_server(sock=listening, return_asyncio_server=True, access_log=False)
    assert server is not None
    await server.startup()
    await server.start_serving()
    print(f"plain serves {listening.getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    sys.exit(main())
