"""From a command line to an exit code: finds the command, runs it, and puts failures in words.

What does not belong here: which commands exist (`__init__`) and what they do (their modules).
"""

import argparse
import ast
import atexit
import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, Protocol, TextIO, cast

from turnout.dsl.diagnostic import PolicyError

from .colour import palette_of

FINDINGS = 1
INPUT_ERROR = 2
INTERNAL_ERROR = 3
INTERRUPTED = 130
PIPE_CLOSED = 141

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class CommandError(Exception):
    """A command that cannot do its work, for a reason that is not a defect of ours.

    `message` is one sentence in the style of diagnostics; `help` says what to do instead.
    """

    def __init__(self, message: str, *, help: str | None = None, status: int = INPUT_ERROR) -> None:
        """Hold what the user is told and the exit code."""
        super().__init__(message)
        self.message = message
        self.help = help
        self.status = status


class Command(Protocol):
    """What a command's module offers."""

    __doc__: str | None
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


@dataclass(frozen=True, slots=True)
class Group:
    """A program and the names of its commands, each a module of this package."""

    program: str
    about: str
    commands: tuple[str, ...]
    groups: Mapping[str, "Group"] = field(default_factory=dict)


def run(group: Group, argv: Sequence[str]) -> int:
    """Carry out a command line and return the exit code. Never raises."""
    words = list(argv)
    _have_streams()
    _write_anything(sys.stdout)
    _write_anything(sys.stderr)
    try:
        try:
            status = _carry_out(group, words)
        except SystemExit as stop:  # argparse: 0 after --help, 2 after a wrong command line
            status = _status_of(stop)
        sys.stdout.flush()
        return status
    except CommandError as error:
        return _refuse(group.program, error)
    except PolicyError as error:
        return _refuse_policy(error)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:
            return _own_defect(group.program, error, debug="--debug" in words)
        _forget_stdout()
        reason = (error.strerror or str(error)).lower()
        return _refuse(group.program, CommandError(f"the output cannot be written: {reason}"))
    except Exception as error:
        return _own_defect(group.program, error, debug="--debug" in words)


def leave(status: int) -> NoReturn:
    """End the process now that everything is said.

    What is left in memory is left to the system: a solver frees its own, formula by formula, for
    longer than many a proof takes.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
    finally:
        os._exit(status)


def _carry_out(group: Group, words: list[str]) -> int:
    name = words[0] if words else None
    if name is None or name in ("-h", "--help"):
        print(_overview(group), end="")
        return 0 if name else INPUT_ERROR
    if name == "--version":
        print(_version(group), end="")
        return 0
    if name == "--debug":
        return _carry_out(group, [*words[1:], name] if words[1:] else [])
    if name in group.groups:
        return _carry_out(group.groups[name], words[1:])
    if name not in group.commands:
        raise _unknown(group, name)
    command = _load(name)
    parser = argparse.ArgumentParser(
        prog=f"{group.program} {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of a defect instead of filing it"
    )
    command.configure(parser)
    return command.run(parser.parse_args(words[1:]))


def _version(group: Group) -> str:
    from turnout import __version__
    from turnout.engine.catalog import origin

    listed = origin()
    prices = f"prices of {listed['source']} {listed['version']}, taken on {listed['made']}"
    return f"{group.program} {__version__}\n{prices}\n"


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(f"{__package__}.{_module(name)}"))


def _module(name: str) -> str:
    """The module of a command: `why-not` is in `why_not`."""
    return name.replace("-", "_")


def _overview(group: Group) -> str:
    """The help page of a group; the commands' files are read for it, not imported."""
    names = [*group.commands, *group.groups]
    width = max(map(len, names)) + 2
    rows = [f"  {name:{width}}{_summary(name)}" for name in group.commands]
    rows += [f"  {name:{width}}{inner.about}" for name, inner in group.groups.items()]
    return "\n".join(
        [
            f"usage: {group.program} COMMAND …",
            "",
            group.about,
            "",
            "commands:",
            *rows,
            "",
            f"`{group.program} COMMAND --help` says more about each.",
            "",
        ]
    )


def _summary(name: str) -> str:
    text = Path(__file__).with_name(f"{_module(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _unknown(group: Group, name: str) -> CommandError:
    names = [*group.commands, *group.groups]
    if name.startswith("-"):
        return CommandError(
            f"unknown option `{name}`", help=f"options come after the command: {', '.join(names)}"
        )
    close = get_close_matches(name, names, n=1)
    # A command of the other program: `turnout lint` is meant as `turnout policy lint`.
    inner = [f"{g} {name}" for g, members in group.groups.items() if name in members.commands]
    meant = inner or close
    return CommandError(
        f"unknown command `{name}`",
        help=f"did you mean `{group.program} {meant[0]}`?"
        if meant
        else f"the commands are {', '.join(f'`{known}`' for known in names)}",
    )


def _refuse(program: str, error: CommandError) -> int:
    print(f"{program}: {error.message}", file=sys.stderr)
    if error.help:
        print(f"  help: {error.help}", file=sys.stderr)
    return error.status


def _refuse_policy(error: PolicyError) -> int:
    from .report import render_text, summary

    names = dict.fromkeys(finding.span.source.name for finding in error.diagnostics)
    print(render_text(error.diagnostics, palette_of(sys.stderr)), file=sys.stderr)
    print(summary(error.diagnostics, list(names)), file=sys.stderr)
    return FINDINGS


def _own_defect(program: str, error: Exception, *, debug: bool) -> int:
    import tempfile
    import traceback

    from turnout.engine.redaction import KNOWN
    from turnout.settings import secret_values

    KNOWN.learn(*secret_values(os.environ))
    told = KNOWN.cut(f"{program}: internal error: {type(error).__name__}: {_first_line(error)}")
    # Whoever files it sends it to others.
    trace = KNOWN.cut("".join(traceback.format_exception(error)))
    if debug:
        print(trace, end="", file=sys.stderr)
        print(told, file=sys.stderr)
        return INTERNAL_ERROR
    try:
        handle, path = tempfile.mkstemp(prefix=f"{program}-", suffix=".traceback", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(trace)
        print(f"{told} (the traceback is in {path}; `--debug` shows it)", file=sys.stderr)
    except OSError:
        print(f"{told} (`--debug` shows the traceback)", file=sys.stderr)
    if (help := getattr(error, "help", None)) is not None:  # what to do about it
        print(f"  help: {help}", file=sys.stderr)
    return INTERNAL_ERROR


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _status_of(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _forget_stdout() -> None:
    """Let nothing complain at exit about output that nobody reads."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, io.UnsupportedOperation):
        pass


def _have_streams() -> None:
    """Python has no stream at all for one that was closed by whoever started us."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def _write_anything(stream: TextIO) -> None:
    """Characters that the terminal's encoding lacks are written as escapes, never raised."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
