"""Whether a provider's address can be reached at all, before anything is asked there."""

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from enum import Enum
from functools import lru_cache

import httpx


class Stage(Enum):
    """How far one came on the way to a provider."""

    RESOLVES = "resolves"
    CONNECTS = "connects"


class Unreached(Exception):
    """A host that cannot be reached: at which `stage`, and `reason`, in our own words."""

    def __init__(self, stage: Stage, host: str, reason: str) -> None:
        """Hold where it ended, and why."""
        super().__init__(reason)
        self.stage = stage
        self.host = host
        self.reason = reason


async def reach(origin: str, patience_us: int) -> None:
    """Resolve the name of an origin and connect, with TLS where it is `https`, and leave.

    `patience_us` bounds both together. Raises: Unreached.
    """
    url = httpx.URL(origin)
    host, secure = url.raw_host.decode("ascii"), url.scheme == "https"
    port = url.port or (443 if secure else 80)
    stage = Stage.RESOLVES
    try:
        async with asyncio.timeout(patience_us / 1_000_000):
            addresses = await _resolved(host, port)
            stage = Stage.CONNECTS
            await _connect(addresses, host, port, secure)
    except TimeoutError:
        asked = "resolving the name" if stage is Stage.RESOLVES else "connecting"
        raise Unreached(stage, f"{host}:{port}", f"{asked} took too long") from None
    except (OSError, UnicodeError) as error:
        raise Unreached(stage, f"{host}:{port}", _reason(stage, error)) from None


def _reason(stage: Stage, error: Exception) -> str:
    if stage is Stage.RESOLVES:
        return "the name cannot be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection can be made"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    return "the connection breaks"


async def _resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, asked for by a thread that nobody has to wait for at the end.

    Raises: OSError, UnicodeError.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(addresses: list[str], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def ask() -> None:
        addresses: list[str] = []
        failure: Exception | None = None
        try:
            told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(address[0]) for *_, address in told]
        except (OSError, UnicodeError) as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(tell, addresses, failure)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await found


async def _connect(addresses: list[str], host: str, port: int, secure: bool) -> None:
    """Try one address after the other. Raises: the last one's OSError."""
    for at, address in enumerate(addresses, 1):
        try:
            _, writer = await asyncio.open_connection(
                address,
                port,
                ssl=_verifying() if secure else None,
                server_hostname=host if secure else None,
            )
        except OSError:
            if at == len(addresses):
                raise
        else:
            writer.transport.abort()
            return


@lru_cache(1)
def _verifying() -> ssl.SSLContext:
    # Reading the authorities takes 20 ms.
    return httpx.create_ssl_context()
