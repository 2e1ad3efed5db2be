"""Logs of one JSON object per line, read as a stream: plain, gzipped, or standard input.

Memory does not grow with the file: lines come out of blocks of a megabyte, and a line longer than
that is passed over and said so.
"""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from .dispatch import CommandError
from .report import printable

_BLOCK_BYTES = 1024 * 1024
LONGEST_LINE_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"  # of UTF-8, as some editors put in front

TOO_LONG = None  # stands for a line that was passed over


def total_bytes(names: list[str]) -> int | None:
    """The size of these files together as they lie on disk; None where one has no size.

    Raises: CommandError where one is not there, before hours are spent on those before it.
    """
    total = 0
    known = True
    for name in names:
        if name == "-":
            known = False
            continue
        with _open(name) as file:
            size = os.fstat(file.fileno()).st_size
        known = known and size > 0
        total += size
    return total if known else None


def lines(name: str, moved: Callable[[int], None]) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a log with their numbers from 1; blank ones are left out.

    `moved` is told how many bytes of the file (as it lies on disk) were read. A line that is too
    long is TOO_LONG. Raises: CommandError.
    """
    shown = "<stdin>" if name == "-" else printable(name)
    with _open(name) as raw:
        number = 0
        try:
            rest, is_passing = b"", False
            for block in _blocks(raw, moved):
                parts = (rest + block).split(b"\n")
                rest = parts.pop()
                for part in parts:
                    number += 1
                    if is_passing or len(part) > LONGEST_LINE_BYTES:
                        is_passing = False
                        yield number, TOO_LONG
                    elif part.strip():
                        yield number, part
                if len(rest) > LONGEST_LINE_BYTES:
                    rest, is_passing = b"", True
            if is_passing:
                yield number + 1, TOO_LONG
            elif rest.strip():
                yield number + 1, rest
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CommandError(
                f"`{shown}` is damaged after line {number}: {str(error).lower()}",
                help="compress it anew, or decide its first lines with `--limit`",
            ) from None
        except OSError as error:
            raise CommandError(f"`{shown}` cannot be read: {_reason(error)}") from None


def _blocks(raw: BufferedIOBase, moved: Callable[[int], None]) -> Iterator[bytes]:
    first = raw.read(len(_MARK))
    moved(len(first))
    source = _Counted(first.removeprefix(_MARK), raw, moved)
    reader = gzip.GzipFile(fileobj=source) if first.startswith(_GZIP) else source
    while block := reader.read(_BLOCK_BYTES):
        yield block


class _Counted(io.RawIOBase):
    """A file whose first bytes were looked at already, and whose bytes are counted."""

    def __init__(self, first: bytes, file: BufferedIOBase, moved: Callable[[int], None]) -> None:
        self._first = first
        self._file = file
        self._moved = moved

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; none at the end."""
        data, self._first = self._first[:size], self._first[size:]
        if not data:
            data = self._file.read1(size)
            self._moved(len(data))
        return data


def _open(name: str) -> AbstractContextManager[BufferedIOBase]:
    if name == "-":
        return nullcontext(cast(BufferedIOBase, sys.stdin.buffer))
    shown = printable(name)
    try:
        return Path(name).open("rb")
    except FileNotFoundError:
        raise CommandError(
            f"there is no file `{shown}`", help="name a log with one JSON object per line"
        ) from None
    except IsADirectoryError:
        raise CommandError(
            f"`{shown}` is a folder", help=f"name the files in it, such as `{shown}/*.jsonl`"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise CommandError(f"`{shown}` cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return told.lower()
