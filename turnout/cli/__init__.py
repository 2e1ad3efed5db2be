"""The command line: one command per file.

A command is a module with a docstring (its first line is its help), `configure(parser)` and
`run(arguments) -> int`, and its name in `COMMANDS` or `POLICY_COMMANDS` here. Only the module of
the command that was asked for is imported, so that `policy lint` starts without the gateway.

Exit codes: 0 nothing to complain about, 1 findings or a failed test, 2 input that cannot be read
or a wrong command line, 3 a defect of ours, 130 interrupted, 141 the reader of a pipe went away.
"""

import sys
from collections.abc import Sequence

from .dispatch import Group, leave, run

# The names of modules in this folder.
COMMANDS = (
    "serve",
    "demo",
    "keys",
    "tenants",
    "trace",
    "costs",
    "budget",
    "cache",
    "shadow",
    "conformance",
    "simulator",
    "providers",
    "audit",
    "trim",
)
POLICY_COMMANDS = (
    "lint",
    "fmt",
    "explain",
    "test",
    "why-not",
    "show",
    "simulate",
    "diff",
    "prove",
    "bounds",
    "schema",
)

POLICY = Group(
    program="policy",
    about="Check, test and explain a routing policy.",
    commands=POLICY_COMMANDS,
)
TURNOUT = Group(
    program="turnout",
    about="Route LLM requests by a declarative policy, behind the OpenAI API.",
    commands=COMMANDS,
    groups={"policy": POLICY},
)


def main(argv: Sequence[str] | None = None) -> int:
    """The `turnout` command."""
    words = sys.argv[1:] if argv is None else argv
    status = run(TURNOUT, words)
    if argv is None and words[:1] == ["policy"]:
        leave(status)
    return status


def policy(argv: Sequence[str] | None = None) -> int:
    """The `policy` command; `turnout policy …` is the same."""
    if argv is not None:
        return run(POLICY, argv)
    leave(run(POLICY, sys.argv[1:]))
