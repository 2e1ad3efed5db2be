"""A section is read and checked, but the gateway of this version does not act on it.

The cache is typed, so that a policy that has one is sound. Yet nothing is answered from it: every
request goes to a provider.

Avoid:

    cache: {ttl: 24h}
    routing_policy:
      - {name: default, route: openai/gpt-4o}

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity

CODE = "RP339"
LEVEL: Severity = "info"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """One note, at the section."""
    if policy.cache is not None:
        yield Diagnostic(
            CODE,
            LEVEL,
            "`cache` is checked, but not enforced by this version of the gateway",
            policy.key_spans.get("cache", policy.cache.span),
            "do not rely on it yet",
        )
