"""What a content filter refuses is sent to another target, although limits are set.

`catch: content_filter` asks the next model until one answers. A policy with hard limits says that
where a request goes matters; a way round a refusal undoes that quietly.

Avoid:

    require:
      - {name: images_need_eyes, when: has_images, target: vision}
    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain:
      - {to: anthropic/claude-sonnet, catch: [timeout, content_filter]}

Prefer:

    require:
      - {name: images_need_eyes, when: has_images, target: vision}
    routing_policy:
      - {name: default, route: openai/gpt-4o}
    fallback_chain:
      - {to: anthropic/claude-sonnet, catch: [timeout, overloaded]}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity

from .written import hop_options

CODE = "RP307"
LEVEL: Severity = "error"

_FAULT = "content_filter"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Every `catch` that names the fault, where the policy has a limit."""
    if not policy.limits:
        return
    limit = policy.limits[0].name
    for options in hop_options(policy):
        for fault in options.catch or ():
            if fault.value == _FAULT:
                yield Diagnostic(
                    CODE,
                    LEVEL,
                    "what a content filter refuses is tried elsewhere, in a policy with limits",
                    fault.span,
                    f"remove `{_FAULT}`: the refusal is the answer then",
                    (Related("one of the limits", limit.span),),
                )
