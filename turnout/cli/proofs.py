"""Provers for commands: within a bounded time, and only where z3 is installed."""

import argparse
import importlib.util
import time
from collections.abc import Callable

from turnout.dsl.core import Program
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Type
from turnout.dsl.units import parse_quantity

from .dispatch import CommandError
from .report import printable

INSTALL = "pip install 'turnout[prove]'"
_TIMEOUT = "60s"
_REASONS = {
    "time": "the time was over; `--timeout` gives more",
    "opaque": "it hangs on what cannot be searched: patterns, similarity, models nobody lists",
}


def is_installed() -> bool:
    """Whether there is z3 to prove with."""
    return importlib.util.find_spec("z3") is not None


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

    The maker raises: CommandError where z3 is not installed.
    """
    ends_at = time.monotonic() + timeout_us / 1e6

    def make(*programs: Program) -> Prover:
        if not is_installed():
            raise CommandError(
                "z3 is not installed, and nothing is proved without it",
                help=f"install it with `{INSTALL}`",
            )
        return Prover(*programs, time_left=lambda: ends_at - time.monotonic())

    return make


def reason_of(reason: str) -> str:
    """Why something was not decided, in words."""
    return _REASONS[reason]
