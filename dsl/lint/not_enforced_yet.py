"""A section is read and checked, but the gateway of this version does not act on it.

Budgets, the rates of tenants and the cache are typed, so that a policy that has them is sound. Yet
no request is refused for a spent budget, none is slowed down, and nothing is answered from a cache.
`tier` and `region` of `tenants` are not meant: they decide.

Avoid:

    budgets:
      - {name: team, scope: team, limit: $100/month}

Prefer:

    routing_policy:
      - name: too_dear
        condition: cost("openai/gpt-4o") > $0.50
        route: groq/llama-3-70b
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.source import Span

CODE = "RP339"
LEVEL: Severity = "info"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """One note for all of them, at the first in the policy."""
    places = list(_places(policy))
    if not places:
        return
    listed = [name for name, _ in places]
    one = len(listed) == 1
    told = listed[0] if one else f"{', '.join(listed[:-1])} and {listed[-1]}"
    yield Diagnostic(
        CODE,
        LEVEL,
        f"{told} {'is' if one else 'are'} checked, but not enforced by this version of the gateway",
        places[0][1],
        "do not rely on it yet" if one else "do not rely on them yet",
    )


def _places(policy: tree.Policy) -> Iterator[tuple[str, Span]]:
    """What is without effect, each with the place to look at."""
    if policy.budgets:
        yield "`budgets`", policy.budgets[0].name.span
    for key in ("rpm", "tpm", "budget"):
        having = [one.name.span for one in policy.tenants if getattr(one, key) is not None]
        if having:
            yield f"`{key}` of `tenants`", having[0]
    if policy.cache is not None:
        yield "`cache`", policy.key_spans.get("cache", policy.cache.span)
