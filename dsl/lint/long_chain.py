"""A request may be sent to more than eight targets, one after the other.

With one retry for each, which is the default, eight hops are all that the 16 attempts of a request
allow; and whoever waits for the ninth has waited for eight. Nobody watches a fallback so far down,
so it is rarely there when it is needed.

Avoid:

    defaults: {retries: 0, timeout: 10s}
    providers:
      own: {kind: ollama, base_url: "http://localhost:11434"}
    targets: {own/a: {price: 0}, own/b: {price: 0}, own/c: {price: 0}, own/d: {price: 0}}
    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain:
      - groq/llama-3-70b
      - openai/gpt-4
      - groq/llama-3-8b
      - anthropic/claude-sonnet
      - own/a
      - own/b
      - own/c
      - own/d

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain: [groq/llama-3-70b, anthropic/claude-sonnet]
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.hops import plans_of
from turnout.dsl.source import Span

CODE = "RP317"
LEVEL: Severity = "warning"

MOST_HOPS = 8


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """The first hop too many of each chain, with the first rule that comes to it."""
    if program is None:
        return
    seen: set[Span] = set()
    for clause in program.clauses:
        for hops in plans_of(program, clause.plan):
            if len(hops) <= MOST_HOPS or hops[MOST_HOPS].span in seen:
                continue
            seen.add(hops[MOST_HOPS].span)
            yield Diagnostic(
                CODE,
                LEVEL,
                f"`{clause.name}` may go to {len(hops)} targets in a row",
                hops[MOST_HOPS].span,
                f"keep the {MOST_HOPS} that matter, the route included",
                (Related("the route", hops[0].span),),
            )
