"""Who may talk to a gateway that asks for no key: nobody whom a hostile web page could speak for.

A page in a browser on this machine can send requests here (it cannot read the answers unless DNS
rebinding makes this host its own). So the `Host` must be ours, and a `POST` must be JSON, which a
page may only send after a preflight that we refuse.

The address that a connection was made to is ours too: kubelet and Prometheus name a pod by it, and
rebinding takes a name.
"""

import ipaddress
from functools import lru_cache

from sanic import HTTPResponse

from turnout.settings import Auth, Settings, host_name, is_loopback

from .errors import failed
from .wire import UNPARSED, Answer, Incoming, headers_of, refusal, station

# Addresses to listen on that are nobody's name: browsers let pages reach `0.0.0.0`.
_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})


def admit(request: Incoming) -> HTTPResponse | None:
    """Refuse a request for another host, and answer a preflight; None lets it pass."""
    if request.method == UNPARSED:
        return None
    settings = station(request).settings
    if settings.auth is Auth.OFF:
        hosts = request.headers.getall("host", [])
        if len(hosts) != 1:
            told = "no `Host` header" if not hosts else "more than one `Host` header"
            return failed(request, refusal(400, "bad_host", f"The request has {told}."))
        if not (
            _is_ours(hosts[0], settings.allowed_hosts, settings.host)
            or _is_reached(hosts[0], _reached(request))
        ):
            return failed(
                request,
                refusal(
                    403,
                    "host_not_allowed",
                    "This gateway does not answer for the host of this request; its operator "
                    "can list further names in `TURNOUT_ALLOWED_HOSTS`.",
                ),
            )
    if request.method == "OPTIONS" and settings.cors_origins:
        return _preflight(request, settings)
    return None


@lru_cache(maxsize=1024)
def _is_ours(authority: str, allowed: frozenset[str], bound: str) -> bool:
    name = host_name(authority.strip())
    # What the operator told the gateway to listen on is a name of its own.
    return (
        is_loopback(name) or name in allowed or (name == bound.lower() and name not in _EVERYWHERE)
    )


# What those add who forward a request for somebody else.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_local(request: Incoming) -> bool:
    """Whether a request came from this machine itself, as far as can be told.

    The gateway listens where only this machine can reach it, is called by a name of loopback's, and
    nobody says that he forwards it. (A proxy on this machine that hides all of that speaks for
    everybody: it must not forward what operators alone are shown.)
    """
    if not is_loopback(station(request).settings.host):
        return False
    headers = request.headers
    hosts = headers.getall("host", [])
    return (
        len(hosts) == 1
        and _is_loopbacks(hosts[0])
        and not any(name in headers for name in _FORWARDED)
    )


@lru_cache(maxsize=1024)
def _is_loopbacks(authority: str) -> bool:
    return is_loopback(host_name(authority.strip()))


def _reached(request: Incoming) -> str:
    """The address of ours that this connection was made to; empty where there is none."""
    info = request.conn_info
    local = None if info is None else info.sockname
    return str(local[0]) if isinstance(local, tuple) else ""


@lru_cache(maxsize=1024)
def _is_reached(authority: str, reached: str) -> bool:
    """Whether an authority is an address, written as such, and the one that was reached."""
    asked = _address(host_name(authority.strip()))
    return asked is not None and asked == _address(reached)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, without the zone that says on which link; IPv4 as such, mapped or not."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def _preflight(request: Incoming, settings: Settings) -> HTTPResponse | None:
    origin = request.headers.get("origin", "")
    if (
        origin.lower() not in settings.cors_origins
        or "access-control-request-method" not in request.headers
    ):
        return None
    headers = {
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": request.headers.get("access-control-request-headers", "*"),
        "access-control-max-age": "600",
        "vary": "origin, access-control-request-headers",
    }
    return Answer(None, 204, headers_of(request, headers))


def check_json(request: Incoming) -> None:
    """Refuse a body that is not announced as JSON. Raises: RequestError 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        shown = f"not `{kind}`" if kind else "and the request names none"
        raise refusal(
            415,
            "unsupported_media_type",
            f"The content type must be `application/json`, {shown}.",
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise refusal(
            415, "unsupported_encoding", f"The body must not be compressed (`{encoding}`)."
        )
