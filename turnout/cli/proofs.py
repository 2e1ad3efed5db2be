"""Provers for commands: within a bounded time, and only where there is a z3 that works."""

import argparse
import contextlib
import importlib.util
import io
import time
from collections.abc import Callable
from functools import cache

from turnout.dsl.core import Compare, Const, Program, Read
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Type
from turnout.dsl.units import parse_quantity

from .dispatch import CommandError
from .report import printable

INSTALL = "pip install 'turnout[prove]'"
_TIMEOUT = "60s"
_LONGEST = 200  # characters of what a broken z3 says
_REASONS = {
    "time": "the time was over; `--timeout` gives more",
    "opaque": "it hangs on what cannot be searched: patterns, similarity, models nobody lists",
}


def is_installed() -> bool:
    """Whether there is something by the name of z3; `obstacle` says whether it is of use."""
    return importlib.util.find_spec("z3") is not None


def obstacle() -> str | None:
    """Why nothing can be proved here, as the beginning of a sentence; None where it can."""
    return _defect() if is_installed() else "z3 is not installed"


@cache
def _defect() -> str | None:
    """What is wrong with the z3 that is there: it has to answer two questions first.

    What goes by that name may be another package, an empty folder, a version that lacks what is
    needed, or one whose library does not load.
    """
    try:
        # What cannot find its library prints advice before it raises.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            is_right = _answers()
    except Exception as error:  # of whatever kind: it is another's code
        said = str(error).strip().partition("\n")[0] or "no reason given"
        return f"z3 does not work ({printable(f'{type(error).__name__}: {said}'[:_LONGEST])})"
    return None if is_right else "z3 does not work (it gives wrong answers)"


def advice() -> str:
    """What to do where there is an obstacle."""
    if is_installed():
        return "install it anew with `pip install --force-reinstall z3-solver`"
    return f"install it with `{INSTALL}`"


def _answers() -> bool:
    """Whether z3 finds what there is, and nothing where there is nothing."""
    from turnout.dsl.interpret.smt import Impossible, Model, Solver  # this is what loads it

    tokens = Read("tokens", Type.NUMBER)
    is_large = Compare(">", tokens, Const(7, Type.NUMBER))
    is_small = Compare("<", tokens, Const(7, Type.NUMBER))
    is_free = Compare("==", Read("tier", Type.TEXT), Const("free", Type.TEXT))
    solver = Solver(())
    found = solver.check(is_large, is_free)
    return (
        isinstance(found, Model)
        and found.values["tier"] == "free"
        and int(found.values["tokens"] or 0) > 7
        and isinstance(solver.check(is_large, is_free, is_small), Impossible)
    )


def configure_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare how long may be searched."""
    parser.add_argument(
        "--timeout",
        type=duration,
        default=_TIMEOUT,
        metavar="TIME",
        help=f"how long may be searched in all (default: {_TIMEOUT})",
    )


def duration(text: str) -> int:
    """A duration of the command line in microseconds."""
    try:
        type_, amount = parse_quantity(text)
    except ValueError:
        type_, amount = Type.NUMBER, 0
    if type_ is not Type.DURATION or amount <= 0:
        raise argparse.ArgumentTypeError(f"`{printable(text)}` is no duration: write it as `60s`")
    return amount


def prover_within(timeout_us: int) -> Callable[..., Prover]:
    """What makes a prover of programs; all of them together have so much time, from now on.

    The maker raises: CommandError where there is no z3 that works.
    """
    ends_at = time.monotonic() + timeout_us / 1e6

    def make(*programs: Program) -> Prover:
        if (why := obstacle()) is not None:
            raise CommandError(f"{why}, and nothing is proved without it", help=advice())
        return Prover(*programs, time_left=lambda: ends_at - time.monotonic())

    return make


def reason_of(reason: str) -> str:
    """Why something was not decided, in words."""
    return _REASONS[reason]
