"""`idle` is so short that healthy streams are cut.

Between two chunks a model may pause for a second and more: it thinks, calls a tool, or its network
drops a packet. A stream that is cut after its first content cannot go on elsewhere: the client gets
an error in the middle of an answer.

Avoid:

    routing_policy:
      - {name: default, route: openai/gpt-4o, idle: 300ms}

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4o, idle: 20s}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.schema import Type
from turnout.dsl.units import format_value

from .written import hop_options

CODE = "RP315"
LEVEL: Severity = "warning"

LEAST_US = 1_000_000


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Each `idle` below a second."""
    for options in hop_options(policy):
        if options.idle_us is not None and options.idle_us < LEAST_US:
            yield Diagnostic(
                CODE,
                LEVEL,
                f"a stream that pauses for {format_value(options.idle_us, Type.DURATION)} is cut, "
                "and no other hop can go on with it",
                options.spans["idle"],
                "write `10s` or more; the built-in value is `120s`",
            )
