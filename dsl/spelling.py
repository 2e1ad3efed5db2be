"""How the formatter spells conditions: canonical text, but for parentheses that help to read.

What does not belong here: the canonical text itself (`expression.unparse`).
"""

from dataclasses import fields, replace
from typing import Any, cast

from . import tree
from .brackets import is_enclosed
from .document import ScalarNode
from .expression import parse_scalar, unparse


class Conditions:
    """The conditions of a file, each text of them read once. Raises PolicyError where it cannot."""

    def __init__(self) -> None:
        """Start with none read."""
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

    def normal(self, node: ScalarNode) -> str:
        """The canonical text of a condition: what it means."""
        return self._of(node)[0]

    def spelling(self, node: ScalarNode) -> str:
        """The canonical text, with the parentheses that help to read it."""
        return self._of(node)[1]

    def _of(self, node: ScalarNode) -> tuple[str, str]:
        key = (node.style, node.span.excerpt)
        if key not in self._known:
            expression = parse_scalar(node)
            spelling = unparse(_with_groups(expression, within=None))
            self._known[key] = (unparse(expression), spelling)
        return self._known[key]


def _with_groups(node: tree.Expression, within: object) -> tree.Expression:
    """The expression with a group that was written for its reader as if it were a name."""
    inner: tree.Expression = _rebuilt(node)
    match node:
        case tree.Default():
            helps = within is not None and not isinstance(within, tree.Call)
        case tree.Junction("and"):
            helps = isinstance(within, tree.Junction)
        case _:
            helps = False
    if helps and is_enclosed(node.span.text):
        return tree.Name(f"({unparse(inner)})", node.span)
    return inner


def _rebuilt(node: Any) -> Any:
    """A node with its parts rewritten; no deeper than a condition may be nested."""
    changes: dict[str, object] = {}
    for field in fields(node):
        part = getattr(node, field.name)
        if isinstance(part, tuple):
            changes[field.name] = tuple(_part(item, node) for item in part)
        else:
            changes[field.name] = _part(part, node)
    return replace(node, **changes)


def _part(part: Any, within: object) -> Any:
    if isinstance(part, tree.Range | tree.Listing):
        return _rebuilt(part)
    if isinstance(part, _COMPOUND):
        return _with_groups(cast(tree.Expression, part), within)
    return part


_COMPOUND = (
    tree.Call, tree.Negate, tree.Arithmetic, tree.Default, tree.Comparison, tree.Membership,
    tree.Not, tree.Junction,
)  # fmt: skip
