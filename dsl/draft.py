"""A policy while it is read: its findings, and what stands for each node in the canonical document.

The canonical document is the plain data of the file in which conditions are in normal form and a
`target (timeout: 2s)` is a mapping: whatever does not change a policy's meaning is not in it.

What does not belong here: which sections there are (`parse`), single values (`fields`).
"""

import re

from . import traps, tree
from .diagnostic import PolicyError, Related
from .document import Hole, ListNode, MapNode, Node, ScalarNode
from .expression import parse_scalar, unparse
from .fields import Reader
from .source import Span

_COMMENT = re.compile(r"[ \t]+(#[ \t]*(.*))")
_GOES_ON = re.compile(r"(?:and|or|not|in|has|matches|starts_with|ends_with)\b|[=<>!+*/&|)\]\"'?]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Draft(Reader):
    """Reads values and conditions, and remembers how the canonical document writes them."""

    def __init__(self) -> None:
        """Start with no findings."""
        super().__init__()
        self._plain: dict[int, object] = {}

    def condition(self, node: Node, what: str) -> tree.Expression | None:
        """The condition of a place, a finding where there is none."""
        if isinstance(node, Hole):
            return None
        if not isinstance(node, ScalarNode) or node.is_null:
            found = "a list" if isinstance(node, ListNode) else "keys with values"
            found = "empty" if isinstance(node, ScalarNode) else found
            help = "write a condition such as `tokens < 100`; quote it if YAML takes it apart"
            span = node.span if isinstance(node, ScalarNode) else start_of(node)
            self.find("RP103", f"{what} is {found} where a condition must be", span, help)
            return None
        try:
            expression = parse_scalar(node)
        except PolicyError as error:
            self.take(error)
            return None
        self._plain[id(node)] = unparse(expression)
        self._cut_by_comment(node)
        return expression

    def texts(self, node: Node, what: str, item: str) -> tuple[tree.Text, ...]:
        """A list of texts, none of them twice."""
        found: dict[str, tree.Text] = {}
        for part in self.items(node, what):
            text = self.text(part, item)
            if text is not None and text.value in found:
                self.twice(text, found[text.value], f"`{traps.shown(text.value)}` is listed twice")
            elif text is not None:
                found[text.value] = text
        return tuple(found.values())

    def name(self, text: tree.Text, taken: dict[str, tree.Text], what: str) -> None:
        """Keep a name that must be another than those taken, `what` being plural."""
        if text.value in taken:
            message = f"two {what} are called `{traps.shown(text.value)}`"
            self.twice(text, taken[text.value], message, "rename one of the two")
        else:
            taken[text.value] = text

    def identifier(self, key: ScalarNode, keywords: frozenset[str]) -> None:
        """A word that conditions can use as a name."""
        if not _NAME.fullmatch(key.text) or key.text in keywords:
            help = "write letters, digits and `_`, such as `long_doc`"
            self.find("RP010", f"`{traps.shown(key.text)}` cannot be a name", key.span, help)

    def twice(
        self, text: tree.Text, first: tree.Text, message: str, help: str = "keep one of the two"
    ) -> None:
        """Refuse what is written a second time."""
        related = (Related("first written here", first.span),)
        self.find("RP004", message, text.span, help, related=related)

    def missing(self, values: dict[str, Node], key: str, what: str, span: Span, help: str) -> None:
        """Refuse a mapping that lacks a key."""
        if key not in values:
            self.find("RP008", f"{what} has no `{key}`", span, help)

    def recovered(self, node: Node, target: str, options: MapNode) -> None:
        """Keep `target (timeout: 2s)` as a mapping in the canonical document."""
        self._plain[id(node)] = _Recovered(target, options)

    def data(self, node: Node) -> object:
        """A node as plain data, conditions in canonical form and hops as mappings."""
        known = self._plain.get(id(node))
        if isinstance(known, _Recovered):
            return {"to": known.target, **self._mapping(known.options)}
        if known is not None:
            return known
        match node:
            case ScalarNode(text, style):
                if style != "plain":
                    return text
                if node.is_null:
                    return None
                return int(text) if _INTEGER.fullmatch(text) else _TRUTHS.get(text, text)
            case ListNode(items):
                return [self.data(item) for item in items]
            case MapNode():
                return self._mapping(node)
            case _:
                return None

    def _mapping(self, node: MapNode) -> dict[str, object]:
        return {entry.key.text: self.data(entry.value) for entry in node.entries}

    def _cut_by_comment(self, node: ScalarNode) -> None:
        """Warn where a comment reads as if it were meant to go on with the condition."""
        span = node.span
        if node.style != "plain":
            return
        rest = span.source.line_text(span.end_line)[span.end_column - 1 :]
        comment = _COMMENT.match(rest)
        if comment and _GOES_ON.match(comment[2]):
            start = span.end + comment.start(1)
            whole = f"{span.excerpt}{rest.rstrip()}"
            self.find(
                "RP003",
                "this `#` cuts the condition short: what follows is a comment",
                Span(span.source, start, start + 1),
                f"quote the whole condition: `{traps.quoted(whole)}`, or remove the comment",
                severity="warning",
            )


class _Recovered:
    """Stands for a `target (timeout: 2s)` among the plain data."""

    def __init__(self, target: str, options: MapNode) -> None:
        self.target = target
        self.options = options


def start_of(node: Node) -> Span:
    """The beginning of a node, for a finding about all of it: its first key or character."""
    if isinstance(node, MapNode) and node.entries:
        return node.entries[0].key.span
    return Span(node.span.source, node.span.start, min(node.span.start + 1, node.span.end))
