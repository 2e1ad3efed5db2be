"""No test of the policy reaches this rule.

The file has tests, so somebody relies on them; a rule that none of them fires can be changed, moved
or broken without any of them noticing.

Avoid:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
    tests:
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

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.expect import run
from turnout.dsl.nearest import nearest
from turnout.dsl.refusal import warning

CODE = "RP501"
LEVEL: Severity = "warning"

_MOST = 100_000  # rules to be tried in all tests together; beyond that, `policy test --coverage`


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Rules that no test fires, where there are tests."""
    if program is None or not policy.tests:
        return
    if len(policy.tests) * len(program.clauses) > _MOST:
        return
    names = [rule.name.value for rule in policy.rules]
    fired: set[str | None] = set()
    for outcome in run(program, policy.tests):
        wanted = outcome.expected_rule
        fired.add(outcome.rule)
        if outcome.snapshot is None and wanted is not None:
            # It could not be decided, which is told elsewhere: once mended it is about this rule.
            fired.add(wanted if wanted in names else nearest(wanted, names))
    for rule in policy.rules:
        if rule.name.value not in fired:
            yield warning(
                CODE,
                f"no test fires the rule `{rule.name.value}`",
                rule.name.span,
                f"add a test that ends with `expect: {rule.name.value}`",
            )
