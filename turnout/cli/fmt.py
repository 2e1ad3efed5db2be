"""Put policy files into their form: spelling of conditions, indentation, white space.

Comments, the order of keys and aligned columns stay as they are. Exit code 0 if every file is in
form now, 1 with --check if one is not, 2 if a file cannot be read, by its syntax too.
"""

import argparse
import difflib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.format import formatted
from turnout.dsl.source import Source

from .colour import palette_of
from .dispatch import FINDINGS, INPUT_ERROR, CommandError
from .files import DEFAULT_POLICY, read_source
from .report import printable, render_text, summary

_STDIN = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files",
        nargs="*",
        default=[DEFAULT_POLICY],
        metavar="FILE",
        help=f"policy files, `-` for standard input to standard output (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; the exit code is 1 if a file is not in form",
    )
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; print what would be changed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Format every file that can be read; say of the others why they cannot."""
    status = 0
    for name in dict.fromkeys(arguments.files):
        source = read_source(name)
        try:
            text = formatted(source)
        except PolicyError as error:
            print(render_text(error.diagnostics, palette_of(sys.stderr)), file=sys.stderr)
            print(f"{summary(error.diagnostics, [source.name])}, left as it is", file=sys.stderr)
            status = INPUT_ERROR
            continue
        changed = _differs(name, source, text)
        if arguments.diff:
            print(_diff(source, text), end="")
        elif name == _STDIN and not arguments.check:
            print(text, end="")
        elif changed and arguments.check:
            print(f"{printable(source.name)}: not in form", file=sys.stderr)
        elif changed:
            _replace(Path(name), source, text)
            print(f"{printable(source.name)}: formatted", file=sys.stderr)
        if changed and arguments.check:
            status = max(status, FINDINGS)
    return status


def _differs(name: str, source: Source, text: str) -> bool:
    """Whether a file is not in form; a byte order mark is not part of the source."""
    return source.text != text or (name != _STDIN and _has_mark(Path(name)))


def _has_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\xef\xbb\xbf"


def _diff(source: Source, text: str) -> str:
    name = printable(source.name)
    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), text.splitlines(keepends=True), name, name
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replace(path: Path, source: Source, text: str) -> None:
    """Write a file as a whole or not at all, with the mode it had.

    Raises: CommandError if it cannot be written, or was changed since it was read.
    """
    path = path.resolve()  # a link stays a link
    temporary = None
    try:
        if not os.access(path, os.W_OK):
            raise CommandError(f"`{source.name}` is write-protected")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        if path.read_bytes().decode("utf-8-sig") != source.text:
            raise CommandError(f"`{source.name}` was changed meanwhile", help="format it again")
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"`{source.name}` cannot be written: {reason}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
