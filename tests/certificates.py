"""Certificates for tests, made by the `openssl` command: an authority, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


class Authority:
    """Signs certificates for this machine; `file` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "authority.pem"
        self._key = folder / "authority.key"
        _openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30".split(),
            *("-subj", "/CN=authority of tests", "-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", str(self._key), "-out", str(self.file)),
        )

    def sign(self, name: str) -> Pair:
        """A certificate for `localhost` and 127.0.0.1; `name` is whose it says it is."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        _openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30".split(),
            *("-subj", f"/CN={name}", "-CA", str(self.file), "-CAkey", str(self._key)),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(pair.key), "-out", str(pair.cert)),
        )
        pair.key.chmod(0o600)
        return pair

    def encrypted(self, pair: Pair) -> Path:
        """The pair's key again, with a password."""
        out = pair.key.with_suffix(".encrypted")
        words = ("pkey", "-in", str(pair.key), "-aes256", "-passout", "pass:secret")
        _openssl(*words, "-out", str(out))
        return out
