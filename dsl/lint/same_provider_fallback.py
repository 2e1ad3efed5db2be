"""Every fallback asks the provider that has just failed.

An outage, a spent quota or a bad key hits a whole provider, not one of its models. A fallback that
stays with the same provider then fails in the same way, only later. One that `catch` keeps for what
is a single model's (`context_exceeded`, `rate_limit`, `bad_output`, `content_filter`) is not meant.

Avoid:

    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain:
      - openai/gpt-4

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain:
      - openai/gpt-4
      - anthropic/claude-sonnet
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.hops import first_hops
from turnout.dsl.source import Span
from turnout.dsl.vocabulary import BREAKER_OPEN

CODE = "RP304"
LEVEL: Severity = "warning"

# What one model of a provider may fail with while its others answer.
_OF_A_MODEL = frozenset(("bad_output", "content_filter", "context_exceeded", "rate_limit"))


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Fallbacks, each once, with the first rule they do not help."""
    if program is None:
        return
    seen: set[Span] = set()
    for clause in program.clauses:
        hops = first_hops(clause.plan)
        after = program.chain if clause.plan.fallback is None else clause.plan.fallback
        tried = {hop.target for hop in hops}
        others = [hop for hop in after if hop.target not in tried and not _is_of_a_model(hop.catch)]
        names = {hop.target for hop in (*hops, *others)}
        if not hops or all(_is_of_a_model(hop.catch) for hop in hops):
            continue
        if not others or REQUESTED in names or others[0].span in seen:
            continue
        providers = {program.targets[name].provider for name in names}
        if len(providers) == 1:
            seen.add(others[0].span)
            (provider,) = providers
            yield Diagnostic(
                CODE,
                LEVEL,
                f"where `{provider}` fails, every fallback of `{clause.name}` asks `{provider}` "
                "again",
                others[0].span,
                "add a target of another provider",
                (Related("the route that fails", hops[0].span),),
            )


def _is_of_a_model(catch: frozenset[str] | None) -> bool:
    return catch is not None and catch - {BREAKER_OPEN} <= _OF_A_MODEL
