"""A negation of something that is negated already.

`not (tier != "free")` is `tier == "free"`. Two negations have to be undone in the head by everyone
who reads the rule, at three in the morning too.

Avoid:

    condition: not (tokens >= 100)

Prefer:

    condition: tokens < 100
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity

from .written import conditions, parts

CODE = "RP602"
LEVEL: Severity = "info"

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Negations whose operand has an opposite of its own."""
    for condition in conditions(policy):
        for part in parts(condition):
            meant = _meant(part.operand) if isinstance(part, tree.Not) else None
            if meant is not None:
                yield Diagnostic(
                    CODE,
                    LEVEL,
                    f"`{' '.join(part.span.text.split())}` can be said without `not`",
                    part.span,
                    f"write `{meant}`",
                )


def _meant(operand: tree.Expression) -> str | None:
    """The negation of an operand without a `not` in front; unknown stays unknown in both."""
    match operand:
        case tree.Not(inner):
            return _text(inner)
        case tree.Comparison(operator, left, right) if operator in _OPPOSITE:
            return f"{_text(left)} {_OPPOSITE[operator]} {_text(right)}"
        case tree.Membership(inner, collection, negated):
            return f"{_text(inner)} {'in' if negated else 'not in'} {_text(collection)}"
        case _:
            return None


def _text(part: tree.Expression | tree.Range | tree.Listing) -> str:
    return " ".join(part.span.text.split())
