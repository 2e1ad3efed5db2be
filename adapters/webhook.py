"""Tells an operator's webhook of something: JSON by POST, signed where there is a secret.

The address may hold a secret itself (chats' do): it is in no message, log or repr. Redirects are
not followed, TLS is verified, and no more is read of an answer than its status.
"""

import asyncio
import hashlib
import hmac
import ipaddress

import httpx

from .transport import Transport, pooled

PATIENCE_S = 5.0  # for all of it
SIGNATURE = "x-turnout-signature"


class Webhook:
    """One address that messages go to."""

    def __init__(self, url: str, secret: str | None = None) -> None:
        """Take an address of `https`, or of `http` on this machine.

        Raises: ValueError, a sentence that does not repeat the address.
        """
        self._url = _checked(url)
        self._secret = secret
        self._transport: Transport | None = None

    async def send(self, body: bytes) -> str | None:
        """Send JSON; None: it was taken (2xx), else why not, in words. Never raises."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await self._post(body)
        except TimeoutError:
            return f"no answer within {PATIENCE_S:.0f} s"
        except (httpx.HTTPError, OSError, ValueError) as error:
            return f"the connection failed ({type(error).__name__})"
        if 300 <= status < 400:
            return f"it answers with status {status}, and redirects are not followed"
        return None if 200 <= status < 300 else f"it answers with status {status}"

    async def _post(self, body: bytes) -> int:
        if self._transport is None:  # made in a thread: certificates are read from files
            self._transport = await asyncio.to_thread(pooled)
        headers = {"content-type": "application/json", "user-agent": "turnout"}
        if self._secret is not None:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        waits = dict.fromkeys(("connect", "pool", "write", "read"), PATIENCE_S)
        request = httpx.Request(
            "POST", self._url, headers=headers, content=body, extensions={"timeout": waits}
        )
        response = await self._transport.handle_async_request(request)
        try:
            return response.status_code
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Let go of connections."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None


def _checked(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        text.encode("ascii")
    except (httpx.InvalidURL, UnicodeEncodeError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValueError("write an address as in `https://hooks.example.com/…`")
    if url.scheme == "http" and not _is_here(url.host):
        raise ValueError("write an address of `https`: `http` is for this machine only")
    return url


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
