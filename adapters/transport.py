"""The way out: one pooled HTTP/1.1 transport for a worker's upstream requests.

This is the seam: adapters see `httpx.AsyncBaseTransport` alone, so that another transport can take
the place of `http1` without their knowing.
"""

import httpx

from turnout.engine.provider import Call

from .http1 import Http1Transport

Transport = httpx.AsyncBaseTransport
"""A way out, as those see it who only hand it on."""


def pooled() -> Transport:
    """Make a transport with a connection pool; certificates are always verified.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` add certificate authorities. Close it with `aclose`, after
    the last stream.
    """
    return Http1Transport(httpx.create_ssl_context())


def clocks(call: Call) -> dict[str, float]:
    """The call's clocks as httpx's `timeout` extension, in seconds."""
    connect = call.connect_us / 1_000_000
    idle = call.idle_us / 1_000_000
    return {"connect": connect, "pool": connect, "write": idle, "read": idle}
