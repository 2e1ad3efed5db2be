"""The files that a command names on its command line, read as text or refused in words."""

import sys
from pathlib import Path

from turnout.dsl.source import Source

from .dispatch import CommandError

DEFAULT_POLICY = "routing.yml"

_LIMIT_BYTES = 4 * 1024 * 1024


def read_source(name: str) -> Source:
    """A file, or standard input for `-`, as a source under the name the user wrote.

    A byte order mark is dropped; line ends stay as they are.
    Raises: CommandError if it cannot be read or is not UTF-8.
    """
    shown = "<stdin>" if name == "-" else name
    data = _bytes_of(name, shown)
    if len(data) > _LIMIT_BYTES:
        raise CommandError(f"`{shown}` is larger than {_LIMIT_BYTES // 1024 // 1024} MiB")
    try:
        return Source(shown, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"`{shown}` is not UTF-8 text (byte {error.start + 1}, line {line})",
            help="save the file as UTF-8",
        ) from None


def _bytes_of(name: str, shown: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        help = None
        if name == DEFAULT_POLICY:
            help = "name the policy file, or write one as `routing.yml` here"
        raise CommandError(f"there is no file `{shown}`", help=help) from None
    except IsADirectoryError:
        raise CommandError(
            f"`{shown}` is a folder", help=f"name a file in it, such as `{Path(name, '*.yml')}`"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(f"`{shown}` cannot be read: {reason.lower()}") from None
