"""A test of the policy that cannot be right, whatever the rules say.

It gives a value that no request has, in a way that cannot be read, or it expects a rule or a route
that is not in the file. Such a test fails whatever is changed, and watches over nothing.

Avoid:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
    tests:
      - {given: {tokns: 50}, expect: short}
      - {given: {tokens: 500}, expect: default}

Prefer:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
    tests:
      - {given: {tokens: 50}, expect: short}
      - {given: {tokens: 500}, expect: default}
"""

from collections.abc import Iterator
from itertools import islice

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.expect import broken
from turnout.dsl.fields import MAX_FINDINGS
from turnout.dsl.refusal import warning

CODE = "RP504"
LEVEL: Severity = "warning"

# Names that may be meant are compared with each that is not there: these many in all.
_MOST = 100_000


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """What `policy test` would say of its tests before it decides anything."""
    if program is None or not policy.tests:
        return
    names = len(program.clauses) + len(program.slots)
    most = min(MAX_FINDINGS, 1 + _MOST // names)
    for message, help, span in islice(broken(program, policy.tests), most):
        yield warning(CODE, message, span, help)
