"""A comparison with its constant first.

`100 > tokens` means `tokens < 100`, and reads backwards: what is tested comes first everywhere else
in a policy, in traces and in explanations.

Avoid:

    condition: 100 > tokens

Prefer:

    condition: tokens < 100
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity

from .written import conditions, parts

CODE = "RP601"
LEVEL: Severity = "info"

_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Comparisons of a constant with something that is none."""
    for condition in conditions(policy):
        for part in parts(condition):
            if not isinstance(part, tree.Comparison) or part.operator not in _TURNED:
                continue
            if isinstance(part.left, tree.Literal) and not isinstance(part.right, tree.Literal):
                turned = f"{part.right.span.text} {_TURNED[part.operator]} {part.left.span.text}"
                yield Diagnostic(
                    CODE,
                    LEVEL,
                    "the constant stands before what it is compared with",
                    part.left.span,
                    f"write `{turned}`",
                )
