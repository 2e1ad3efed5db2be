"""A split of conversations that draws anew for every request.

Without `sticky` each request has a bucket of its own, so one conversation is answered by several
models in turn: their styles mix, their prompt caches are cold, and a comparison of the arms by
conversation says nothing.

Avoid:

    condition: tokens < 100
    route: {split: {groq/llama-3-8b: 5%, groq/llama-3-70b: 95%}}

Prefer:

    condition: tokens < 100
    route: {split: {groq/llama-3-8b: 5%, groq/llama-3-70b: 95%}, sticky: session}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.refusal import warning

from .written import parts

CODE = "RP420"
LEVEL: Severity = "warning"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Splits without `sticky`, but for those of rules about embeddings only."""
    for rule in policy.rules:
        route = rule.route
        if isinstance(route, tree.SplitRoute) and route.sticky is None and _has_chat(rule):
            yield warning(
                CODE,
                f"the split of `{rule.name.value}` draws anew for every request of a conversation",
                route.shares[0].target.span if route.shares else route.span,
                "write `sticky: session` beside `split:`",
            )


def _has_chat(rule: tree.Rule) -> bool:
    """Whether conversations reach the rule, as far as its own words about the kind tell."""
    if rule.condition is None:
        return True
    kinds: set[str] = set()
    for part in parts(rule.condition):
        if isinstance(part, tree.Comparison) and _is_kind(part.left):
            if part.operator != "==":
                return True
            kinds |= {p.text for p in parts(part.right) if isinstance(p, tree.Literal)}
        elif isinstance(part, tree.Membership) and _is_kind(part.operand):
            if part.negated or not isinstance(part.collection, tree.Listing):
                return True
            kinds |= {p.text for p in part.collection.items if isinstance(p, tree.Literal)}
    return kinds != {"embeddings"}


def _is_kind(part: tree.Expression) -> bool:
    return isinstance(part, tree.Name) and part.text == "request_type"
