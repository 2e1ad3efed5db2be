"""Compare two versions of a policy: which requests move, each pair of rules with an example.

  policy diff main                   the file at the revision `main`, and as it is now
  policy diff main HEAD              the file at two revisions
  policy diff main policies/big.yml  another file than routing.yml
  policy diff old.yml new.yml        two files
  policy diff                        the file at HEAD, and as it is now

`equivalent` is said only where it is proved. Exit code 0 on any verdict, 1 where a gate is broken
or not decided, or a version does not compile; 2 where one, a log or a row of it cannot be read
(what can be is counted and printed all the same).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from turnout.dsl.check import compile_policy
from turnout.dsl.compare import compare
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.include import Load
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

from .colour import palette_of
from .comment import as_markdown, not_compiled_markdown
from .compared import Compared, Traffic, as_json, not_compiled_json
from .dispatch import FINDINGS, INPUT_ERROR, CommandError
from .files import DEFAULT_POLICY, read_policy
from .gates import NO_NEW, NO_NEW_ORIGIN, check_gate, gate_of, judged
from .plan_lines import as_text
from .proofs import configure_timeout, prover_within
from .report import plural, printable
from .revisions import is_revision, revision

if TYPE_CHECKING:  # what reads recorded requests is not needed without them
    from .recorded import Logs

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
        type=gate_of,
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
    logs = _logs(arguments.traffic)  # that one is missing is told before anything is proved
    read = [side.read() for side in sides]
    old_name, new_name = (source.name for source, _ in read)
    try:
        old, new = _compiled(read)
    except PolicyError as error:
        _print_not_compiled(arguments.format, old_name, new_name, error)
        raise
    for gate in arguments.gate:
        check_gate(gate, old, new)
    protected = [gate.removeprefix(NO_NEW) for gate in arguments.gate if gate != NO_NEW_ORIGIN]
    found = compare(old, new, prover_within(arguments.timeout), protected)
    traffic = None if logs is None else _traffic(old, new, logs)
    gates = tuple(judged(gate, found, old, new) for gate in dict.fromkeys(arguments.gate))
    compared = Compared(old_name, new_name, old, new, found, gates, traffic)
    match arguments.format:
        case "json":
            print(as_json(compared))
        case "markdown":
            print(as_markdown(compared))
        case _:
            print("\n".join(as_text(compared, palette_of(sys.stdout))))
    unread = 0 if traffic is None else traffic.reading.unreadable.rows
    if unread:
        print(f"policy: {plural(unread, 'row')} cannot be read", file=sys.stderr)
    if any(gate.status != "kept" for gate in gates):
        return FINDINGS
    return INPUT_ERROR if unread else 0


def _compiled(read: Sequence[tuple[Source, Load]]) -> list[Program]:
    """The two programs. Raises: PolicyError with what is wrong in both."""
    programs: list[Program] = []
    findings: list[Diagnostic] = []
    for source, load in read:
        try:
            programs.append(compile_policy(source, language_schema(), load))
        except PolicyError as error:
            findings += error.diagnostics
    if findings:
        raise PolicyError(findings)
    return programs


def _print_not_compiled(form: str, old: str, new: str, error: PolicyError) -> None:
    """Say it where scripts and comments look, too; the findings go to standard error anyway."""
    if form == "json":
        print(not_compiled_json(old, new, error.diagnostics))
    elif form == "markdown":
        print(not_compiled_markdown(old, new, error.diagnostics))


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


# --- recorded requests ---------------------------------------------------------------------------


def _logs(names: list[str]) -> "Logs | None":
    """The logs to read, if any. Raises: CommandError where one is not there."""
    if not names:
        return None
    from .recorded import Logs

    return Logs(names)


def _traffic(old: Program, new: Program, logs: "Logs") -> Traffic:
    """What recorded requests do. Raises: CommandError where none can be read."""
    from turnout.engine.moved import Movement
    from turnout.engine.replay import Replay

    from .recorded import Reading

    before, after = Replay(old), Replay(new)
    reading = Reading()
    movement = Movement(before, after)
    try:
        for number, (row, past, old_row) in enumerate(logs.rows(after, before, reading), 1):
            movement.take(row, past, old_row)
            if number % _TELL_EVERY == 0:
                logs.progress.tell(number)
    finally:
        logs.progress.close()
    unread = reading.unreadable
    if unread.rows and not movement.result.requests:
        first = unread.first[0]
        raise CommandError(
            f"no row can be read; {first.file}:{first.line}: {first.reason}",
            help='write one JSON object per line, such as `{"tokens": 80, "tier": "free"}`',
        )
    return Traffic(movement.result, reading)
