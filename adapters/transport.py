"""The way out: one pooled HTTP/1.1 transport for a worker's upstream requests.

This is the seam: adapters see `httpx.AsyncBaseTransport` alone, so a leaner transport takes this
one's place without their knowing. Called directly, a transport has no redirects, cookies, proxies
from the environment or netrc. TCP_NODELAY is asyncio's (and uvloop's) default for TCP sockets.
"""

import httpx

from turnout.engine.provider import Call

# Idle connections are dropped before the usual 60 s of load balancers: a request that meets a
# closing connection fails for nothing.
_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=45.0)


def pooled() -> httpx.AsyncBaseTransport:
    """Make a transport with a connection pool; certificates are always verified.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` add certificate authorities. Close it with `aclose`, after
    the last stream.
    """
    return httpx.AsyncHTTPTransport(http1=True, http2=False, retries=0, limits=_LIMITS)


def clocks(call: Call) -> dict[str, float]:
    """The call's clocks as httpx's `timeout` extension, in seconds."""
    connect = call.connect_us / 1_000_000
    idle = call.idle_us / 1_000_000
    return {"connect": connect, "pool": connect, "write": idle, "read": idle}
