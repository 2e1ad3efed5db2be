"""A rule's fallback names a target that was tried already.

A target is tried once for a request, so this entry never runs: the fallback is shorter than it
looks. (The global chain may repeat a rule's target; it is skipped there.)

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b, fallback: [groq/llama-3-8b]}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b, fallback: [openai/gpt-4o]}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity

CODE = "RP303"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Targets that a rule's own fallback names again.

    What a choice or a split names may stand in the fallback too: only one of them is tried first.
    """
    for rule in policy.rules:
        seen = {rule.route.value: rule.route.span} if isinstance(rule.route, tree.Text) else {}
        for entry in rule.fallback or ():
            name = entry.to.value
            if name in seen:
                yield Diagnostic(
                    CODE,
                    LEVEL,
                    f"`{name}` is tried already, so this entry never runs",
                    entry.to.span,
                    "remove it, or name another target",
                    (Related("it is named here first", seen[name]),),
                )
            else:
                seen[name] = entry.to.span
