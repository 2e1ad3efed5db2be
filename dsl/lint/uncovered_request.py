"""A request may match no rule.

Then it goes to the `fallback_chain` as if a rule had failed, or without one is answered 404
`no_rule_matched`. A value that is unknown makes no condition true, and its opposite neither. A last
rule without a condition says where the rest goes.

Avoid:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: long, condition: tokens > 100, route: openai/gpt-4o}

Prefer:

    routing_policy:
      - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
      - {name: long, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.prove import NotDecided, Witness

from .constants import takes_all
from .survey import IS_GENERATION, Survey

CODE = "RP203"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """What is certain without a proof: no rule takes all, and nothing comes after the rules."""
    if program is None or not policy.rules or policy.fallback_chain:
        return
    if not any(takes_all(clause) for clause in program.clauses):
        yield Diagnostic(
            CODE,
            "info",
            "every rule has a condition and there is no `fallback_chain`: a request that no rule "
            "takes is answered 404 `no_rule_matched`",
            policy.rules[-1].name.span,
            "end with a rule without `condition`, or write a `fallback_chain`",
        )


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """A request for generation that comes through all the rules."""
    if not survey.policy.rules:
        return
    last = survey.policy.rules[-1].name
    match survey.gap:
        case NotDecided() as answer:
            survey.leave_open(CODE, "whether every request is taken by a rule", last.span, answer)
        case Witness(snapshot):
            goes = "is answered 404 `no_rule_matched`"
            if survey.program.chain:
                goes = "goes to the `fallback_chain` as if a rule had failed"
            yield Diagnostic(
                CODE,
                LEVEL,
                f"some requests match no rule: such a request {goes}",
                last.span,
                "end with a rule without `condition`",
                witness=survey.example(snapshot, IS_GENERATION, *survey.left),
            )
        case _:
            pass
