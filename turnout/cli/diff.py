"""Compare two versions of a policy: which requests move, each pair of rules with an example.

  policy diff main                   the file at the revision `main`, and as it is now
  policy diff main HEAD              the file at two revisions
  policy diff main policies/big.yml  another file than routing.yml
  policy diff old.yml new.yml        two files
  policy diff                        the file at HEAD, and as it is now

`equivalent` is said only where it is proved. Exit code 0 on any verdict, 1 where a gate is broken
or not decided, or a version does not compile; 2 where one cannot be read.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from turnout.dsl.check import compile_policy
from turnout.dsl.compare import Comparison, compare
from turnout.dsl.core import Program
from turnout.dsl.include import Load
from turnout.dsl.settings import new_origins
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

from .colour import palette_of
from .compared import Compared, Gate, as_json, as_markdown, as_text
from .dispatch import FINDINGS, CommandError
from .files import DEFAULT_POLICY, read_policy
from .proofs import configure_timeout, prover_within
from .report import plural, printable
from .revisions import is_revision, revision

if TYPE_CHECKING:
    from turnout.engine.moved import Moved

NO_NEW = "no-new:"
NO_NEW_ORIGIN = "no-new-origin"

_TELL_EVERY = 256  # rows
_AS_IT_IS = ""  # stands for the revision of a file as it lies there


@dataclass(frozen=True, slots=True)
class _Side:
    """One version: a file, at a revision or as it is."""

    file: str
    at: str = _AS_IT_IS

    def read(self) -> tuple[Source, Load]:
        """The policy and what reads what it includes. Raises: CommandError."""
        if self.at == _AS_IT_IS:
            return read_policy(self.file)
        path = Path(self.file)
        return revision(self.at, path.parent).read(path.name)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "sides",
        nargs="*",
        metavar="VERSION",
        help=f"revisions or policy files, the old one first (default: HEAD {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--traffic",
        action="append",
        default=[],
        metavar="LOG",
        help="recorded requests: how many move, and what that costs; may be repeated",
    )
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        type=_gate,
        metavar="GATE",
        help=f"`{NO_NEW}openai/*`: no request newly comes to such a target; `{NO_NEW_ORIGIN}`: no "
        "provider has a new address or header; may be repeated",
    )
    parser.add_argument(
        "--format",
        choices=["text", "json", "markdown"],
        default="text",
        help="how it is printed (default: text)",
    )
    configure_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare two versions and print what moves."""
    sides = _sides(arguments.sides)
    if [side.file for side in sides].count("-") + arguments.traffic.count("-") > 1:
        raise CommandError("standard input can be read once only", help="name a file")
    read = [side.read() for side in sides]
    old, new = (compile_policy(source, language_schema(), load) for source, load in read)
    protected = [gate.removeprefix(NO_NEW) for gate in arguments.gate if gate != NO_NEW_ORIGIN]
    found = compare(old, new, prover_within(arguments.timeout), protected)
    moved = _moved(old, new, arguments.traffic) if arguments.traffic else None
    gates = tuple(_judged(gate, found, old, new) for gate in dict.fromkeys(arguments.gate))
    old_name, new_name = (source.name for source, _ in read)
    compared = Compared(old_name, new_name, old, new, found, gates, moved)
    match arguments.format:
        case "json":
            print(as_json(compared))
        case "markdown":
            print(as_markdown(compared))
        case _:
            print("\n".join(as_text(compared, palette_of(sys.stdout))))
    return FINDINGS if any(gate.status != "kept" for gate in gates) else 0


# --- what is compared ----------------------------------------------------------------------------


def _sides(words: Sequence[str]) -> tuple[_Side, _Side]:
    """The two versions that are meant. Raises: CommandError."""
    words = [word for word in words if word != "--"]
    files = [word for word in words if _is_file(word)]
    revisions = [word for word in words if word not in files]
    match len(revisions), len(files):
        case (0, 0) | (0, 1):
            return _Side(_file(files), "HEAD"), _Side(_file(files))
        case (0, 2):
            return _Side(files[0]), _Side(files[1])
        case (1, 0) | (1, 1) if words[0] in revisions or not files:
            return _Side(_file(files), revisions[0]), _Side(_file(files))
        case (1, 1):
            return _Side(files[0]), _Side(files[0], revisions[0])
        case (2, 0) | (2, 1):
            return _Side(_file(files), revisions[0]), _Side(_file(files), revisions[1])
        case _:
            raise CommandError(
                "these are not two versions of a policy",
                help="write `policy diff main`, `policy diff main HEAD` or "
                "`policy diff old.yml new.yml`",
            )


def _file(files: Sequence[str]) -> str:
    return files[0] if files else DEFAULT_POLICY


def _is_file(word: str) -> bool:
    """Whether a word names a file; what may also be a revision is asked for in full."""
    if word == "-":
        return True
    is_there = Path(word).exists()
    is_path = PurePath(word).suffix in (".yml", ".yaml") or word.startswith((".", "/", "~"))
    if is_there and not is_path and is_revision(word, Path()):
        shown = printable(word)
        raise CommandError(
            f"`{shown}` is a file and a revision",
            help=f"write `./{shown}` for the file, or `refs/heads/{shown}` for the branch",
        )
    return is_there or is_path


# --- gates ---------------------------------------------------------------------------------------


def _gate(text: str) -> str:
    if text == NO_NEW_ORIGIN or (text.startswith(NO_NEW) and text != NO_NEW):
        return text
    raise argparse.ArgumentTypeError(
        f"`{printable(text)}` is no gate: write `{NO_NEW}openai/*` or `{NO_NEW_ORIGIN}`"
    )


def _judged(gate: str, found: Comparison, old: Program, new: Program) -> Gate:
    if gate == NO_NEW_ORIGIN:
        origins = new_origins(old, new)
        return Gate(gate, "broken" if origins else "kept", origins=origins)
    newly = tuple(one for one in found.newly if one.glob == gate.removeprefix(NO_NEW))
    if newly:
        return Gate(gate, "broken", newly)
    return Gate(gate, "not_decided" if found.open or found.assumed else "kept")


# --- recorded requests ---------------------------------------------------------------------------


def _moved(old: Program, new: Program, logs: list[str]) -> "Moved":
    """What recorded requests do. Raises: CommandError where none can be read."""
    from turnout.engine.moved import Movement
    from turnout.engine.replay import Replay

    from .recorded import Logs, Reading

    before, after = Replay(old), Replay(new)
    recorded, reading = Logs(logs), Reading()
    movement = Movement(before, after)
    try:
        for number, (row, past, old_row) in enumerate(recorded.rows(after, before, reading), 1):
            movement.take(row, past, old_row)
            if number % _TELL_EVERY == 0:
                recorded.progress.tell(number)
    finally:
        recorded.progress.close()
    unread = reading.unreadable
    if unread.rows:
        first = unread.first[0]
        told = (
            f"{plural(unread.rows, 'row')} cannot be read, the first is {first.file}:{first.line}"
        )
        if not movement.result.requests:
            raise CommandError(f"{told}: {first.reason}")
        print(f"policy: {told}: {first.reason}", file=sys.stderr)
    return movement.result
