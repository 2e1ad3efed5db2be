"""The certificate that the gateway shows: read at the start, and again when its files are others.

A connection gets the one that is in force when it begins; those that are open go on. A new one that
cannot be used changes nothing and is told. TLS 1.2 and newer, with the ciphers of Python's own
server side, which are those of OpenSSL without the weak ones.
"""

import asyncio
import logging
import os
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path

from turnout.settings import SettingsError

LOOK_S = 5.0

_log = logging.getLogger("turnout.tls")

Marks = tuple[tuple[int, int, int, int] | None, ...]
"""What tells one version of the files from another, links followed."""


class Certificate:
    """A certificate and its key in PEM files, as TLS takes them.

    `context` is for every handshake: it hands each over to what is in force. One per worker.
    """

    name = "certificate"

    def __init__(self, cert: Path, key: Path, look_s: float = LOOK_S) -> None:
        """Read them; `look_s` is between two looks at the files. Raises: SettingsError."""
        self._cert = cert
        self._key = key
        self._look_s = look_s
        self._asked = asyncio.Event()
        self._marks = self._look()
        self.context = self._now = _read(cert, key)
        self.context.sni_callback = self._hand_over

    def _hand_over(
        self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext
    ) -> None:
        # OpenSSL asks here for every handshake, also of clients that name no host.
        if self._now is not self.context:
            handshake.context = self._now

    def ask(self) -> None:
        """Look at the files soon."""
        self._asked.set()

    async def run(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the files where they are others than before, and show what they hold from now on."""
        marks = self._look()
        if marks == self._marks:
            return
        self._marks = marks
        try:
            self._now = _read(self._cert, self._key)
        except SettingsError as error:
            _log.error("the new certificate is not shown, the one before stays: %s", error)
        else:
            _log.info("the certificate in `%s` is a new one, and shown from now on", self._cert)

    def _look(self) -> Marks:
        return tuple(_mark(path) for path in (self._cert, self._key))


def warnings(key: Path) -> Sequence[str]:
    """What is wrong with a key file that can be used all the same."""
    try:
        mode = key.stat().st_mode
    except OSError:
        return ()
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return (f"the TLS key `{key}` can be read by everybody on this machine: chmod 600 it",)
    return ()


def _mark(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class _Encrypted(Exception):
    """A key that asks for a password."""


def _ask() -> str:
    raise _Encrypted


def _read(cert: Path, key: Path) -> ssl.SSLContext:
    """A context of the server's side. Raises: SettingsError, in whose words is nothing of a key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    for what, path in (("cert", cert), ("key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise _wrong(what, f"`{path}` cannot be read: {reason}") from None
    try:
        context.load_cert_chain(cert, key, _ask)
    except _Encrypted:
        raise _wrong(
            "key", f"`{key}` is encrypted: give one without a password, which only we can read"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _wrong("key", f"`{key}` is not the key of the certificate in `{cert}`") from None
        what, path = ("cert", cert) if not _has(cert, "CERTIFICATE") else ("key", key)
        wanted = "a certificate (its chain after it)" if what == "cert" else "a private key"
        raise _wrong(what, f"`{path}` holds no {wanted[2:]} in PEM") from None
    except (OSError, ValueError):
        raise _wrong("cert", f"`{cert}` and `{key}` cannot be used together") from None
    return context


def _has(path: Path, what: str) -> bool:
    try:
        return f"-----BEGIN {what}-----".encode() in path.read_bytes()
    except OSError:
        return False


def _wrong(what: str, told: str) -> SettingsError:
    return SettingsError((f"`--tls-{what}` (`TURNOUT_TLS_{what.upper()}`): {told}",))
