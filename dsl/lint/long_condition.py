"""A condition that is too long to be read at once.

Beyond a handful of comparisons nobody sees what a rule is about, and its explanation is as long.
Names under `let:` say it, can be shared between rules, and show their own value in a trace.

Avoid:

    condition: >-
      (tokens < 100 or messages < 2) and not has_tools and not has_images and not stream
      and (weekday in Mon..Fri and time in 09:00..18:00 or weekday == Sat)

Prefer:

    let:
      small: (tokens < 100 or messages < 2) and not has_tools and not has_images
      open: weekday in Mon..Fri and time in 09:00..18:00 or weekday == Sat
    routing_policy:
      - {name: quick, condition: small and open and not stream, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.source import Span

from .written import below

CODE = "RP604"
LEVEL: Severity = "info"

_MANY = 7  # tests in one condition


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Conditions of rules with too many tests."""
    for rule in policy.rules:
        count = 0 if rule.condition is None else _tests(rule.condition)
        if rule.condition is not None and count > _MANY:
            start = rule.condition.span
            yield Diagnostic(
                CODE,
                LEVEL,
                f"the condition of `{rule.name.value}` has {count} tests",
                Span(start.source, start.start, start.start + 1),
                "give its parts names under `let:`",
            )


def _tests(condition: tree.Expression) -> int:
    """How many parts are joined by `and`, `or` and `not`."""
    count = 0
    stack: list[object] = [condition]
    while stack:
        part = stack.pop()
        if isinstance(part, tree.Junction | tree.Not):
            stack.extend(below(part))
        else:
            count += 1
    return count
