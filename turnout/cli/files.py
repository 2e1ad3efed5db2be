"""The files that a command names on its command line, read as text or refused in words."""

import sys
from pathlib import Path

from turnout.dsl.include import Load
from turnout.dsl.source import Source
from turnout.engine.include import MAX_BYTES, beside

from .dispatch import CommandError

DEFAULT_POLICY = "routing.yml"


def read_source(name: str) -> Source:
    """A file, or standard input for `-`, as a source under the name the user wrote.

    A byte order mark is dropped; line ends stay as they are.
    Raises: CommandError if it cannot be read or is not UTF-8.
    """
    shown = "<stdin>" if name == "-" else name
    data = _bytes_of(name, shown)
    if len(data) > MAX_BYTES:
        raise CommandError(f"`{shown}` is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return Source(shown, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"`{shown}` is not UTF-8 text (byte {error.start + 1}, line {line})",
            help="save the file as UTF-8",
        ) from None


def read_policy(name: str) -> tuple[Source, Load]:
    """A policy file, and what reads the files that it includes from the same folder.

    Of standard input it is the folder where the command runs. Raises: CommandError.
    """
    source = read_source(name)
    return source, beside(source.name)


def _bytes_of(name: str, shown: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
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
