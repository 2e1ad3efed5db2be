"""A request may match no rule, and there is no fallback chain.

Then it is answered 404 `no_rule_matched`. A last rule without a condition, or a `fallback_chain`,
says where the rest goes.

Avoid:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: long, condition: tokens >= 100, route: openai/gpt-4o}

Prefer:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: long, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity

CODE = "RP203"
LEVEL: Severity = "info"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """What is certain without a proof: no rule takes all, and nothing comes after the rules."""
    if program is None or not policy.rules or policy.fallback_chain:
        return
    if all(rule.condition is not None for rule in policy.rules):
        yield Diagnostic(
            CODE,
            LEVEL,
            "every rule has a condition and there is no `fallback_chain`: a request that no rule "
            "takes is answered 404 `no_rule_matched`",
            policy.rules[-1].name.span,
            "end with a rule without `condition`, or write a `fallback_chain`",
        )
