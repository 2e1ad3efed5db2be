"""A rule that can never run.

Rules are tried in order and the first match wins. Behind a rule that takes every request, nothing
is ever reached.

Avoid:

    - {name: default, route: openai/gpt-4o}
    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.walk import reads

CODE = "RP202"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """What is certain without a proof: rules behind one that has no condition."""
    if program is None:
        return
    rules = list(zip(policy.rules, program.clauses, strict=True))
    first = next((i for i, (rule, _) in enumerate(rules) if rule.condition is None), len(rules))
    for rule, clause in rules[first + 1 :]:
        # A rule about the request's kind may be about what the unconditional one leaves.
        if clause.test is not None and "request_type" in reads([clause.test]):
            continue
        all_taken = rules[first][0].name
        yield Diagnostic(
            CODE,
            LEVEL,
            f"the rule `{rule.name.value}` can never run: `{all_taken.value}` has no condition and "
            "takes every request before it",
            rule.name.span,
            f"move it above `{all_taken.value}`",
            (Related("takes every request", all_taken.span),),
        )
