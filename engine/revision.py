"""The policies that were put in force, one after the other, and the last of them on disk.

The last good one is kept under `TURNOUT_HOME`, so that it survives what happens to its file; a
worker that starts later takes it from there.
"""

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .bundle import Bundle
from .folder import make_closed

_FOLDER = "policies"
_FORMAT = 1
_LAST_US = 253_402_300_800_000_000  # the year 10000, which no calendar here goes beyond


@dataclass(frozen=True, slots=True)
class Revision:
    """A policy that was put in force: which one in the row, when (UTC), and its texts.

    Numbers only grow, over restarts too. Number 0: it was never kept.
    """

    number: int
    at_us: int
    bundle: Bundle


class Kept:
    """The last good policy of one path, on disk."""

    def __init__(self, home: Path, path: str) -> None:
        """Keep it in a file of its own, for the path as it was named, under `home`.

        `key` stands for the path wherever it is made part of a name: letters only.
        """
        digest = hashlib.sha256(os.path.abspath(path).encode()).digest()
        self.key = "".join(chr(ord("a") + byte % 26) for byte in digest[:16])
        self._name = path
        self._file = home / _FOLDER / f"{self.key}.json"

    def read(self) -> Revision | None:
        """What is kept; None where nothing is, or nothing that can be read. Blocks."""
        try:
            if not self._file.is_file():  # a pipe would be waited for
                return None
            data = json.loads(self._file.read_bytes())
            included = {str(path): str(text) for path, text in data["included"].items()}
            # Under today's name: the same file may be named from another folder now.
            bundle = Bundle(self._name, str(data["main"]), included)
            is_whole = data["format"] == _FORMAT and data["digest"] == bundle.digest
            revision = Revision(int(data["number"]), int(data["at_us"]), bundle)
            is_whole = is_whole and 0 <= revision.at_us < _LAST_US and revision.number >= 0
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
            return None
        except RecursionError:
            return None
        return revision if is_whole else None

    def write(self, revision: Revision) -> None:
        """Keep this one instead: wholly or not at all, also where power fails. Blocks.

        Raises: OSError.
        """
        data = {
            "format": _FORMAT,
            "number": revision.number,
            "at_us": revision.at_us,
            "digest": revision.bundle.digest,
            **revision.bundle.to_json(),
        }
        make_closed(self._file.parent)
        beside = self._file.with_name(f".{self.key}.{secrets.token_hex(4)}")
        try:
            with open(beside, "xb", opener=_for_us_alone) as stream:
                stream.write(json.dumps(data).encode())
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
