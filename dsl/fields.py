"""Readers of marked nodes: a value of the kind that its place wants, or a finding.

Every reader gives None where the value is missing or wrong and has then said so exactly once; a
`Hole`, whose finding exists already, is passed over in silence.

What does not belong here: which keys a section has (`parse`).
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from .diagnostic import Diagnostic, PolicyError, Related, Severity
from .document import Entry, Hole, ListNode, MapNode, Node, ScalarNode
from .nearest import nearest
from .schema import Type
from .source import Span
from .traps import shown
from .tree import Text
from .units import parse_quantity

MAX_FINDINGS = 200

NOT_YET = "this version does not know it: remove it"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_WANTED = {
    Type.DURATION: ("a duration", "write one such as `2s` or `800ms`"),
    Type.NUMBER: ("a count", "write one such as `100` or `32k`"),
    Type.RATE: ("a price per million tokens", "write one such as `$2.50/Mtok`"),
    Type.MONEY: ("an amount of money", "write one such as `$0.01`"),
}


class Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self) -> None:
        """Start with no findings."""
        self.findings: list[Diagnostic] = []

    @property
    def failed(self) -> bool:
        """Whether an error was found."""
        return any(finding.severity == "error" for finding in self.findings)

    def find(
        self,
        code: str,
        message: str,
        span: Span,
        help: str | None = None,
        severity: Severity = "error",
        related: tuple[Related, ...] = (),
    ) -> None:
        """Take a finding down; past MAX_FINDINGS they say nothing new."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Diagnostic(code, severity, message, span, help, related))

    def take(self, error: PolicyError) -> None:
        """Take down the findings of an error."""
        for finding in error.diagnostics:
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)

    def entries(self, node: Node, what: str) -> tuple[Entry, ...] | None:
        """The entries of a mapping whose keys are the author's own words."""
        if isinstance(node, MapNode):
            return node.entries
        self._wrong_kind(node, what, "keys with values", "write `key: value`")
        return None

    def section(
        self,
        node: Node,
        what: str,
        legal: Collection[str],
        later: Collection[str] = (),
        meant: Mapping[str, str] = _NOTHING,
    ) -> dict[str, Node] | None:
        """The values of a mapping by key, every key being one of the language.

        `later`: keys of the language that this version does not read; `meant`: what people write
        for a legal key, however far the spelling is. Unknown keys are findings, the rest is given.
        None where an unknown key may stand for a missing one.
        """
        entries = self.entries(node, what)
        if entries is None:
            return None
        values: dict[str, Node] = {}
        for entry in entries:
            key = entry.key.text
            if key in legal:
                values[key] = entry.value
            elif key in later:
                self.find("RP005", f"`{key}` is not known yet in {what}", entry.key.span, NOT_YET)
            else:
                close = nearest(key, legal) or meant.get(key.lower())
                word = key if close else nearest(key, later)
                help = f"did you mean `{close}`?" if close else None
                if help is None and word:
                    help = f"`{word}` is not known yet: remove it"
                self.find(
                    "RP005",
                    f"unknown key `{shown(key)}` in {what}",
                    entry.key.span,
                    help or f"keys here: {', '.join(sorted(legal))}",
                )
        return values

    def items(self, node: Node, what: str) -> tuple[Node, ...]:
        """The items of a list; empty where there is none."""
        if isinstance(node, ListNode):
            return node.items
        self._wrong_kind(node, what, "a list", "write `- …` for each entry, or `[a, b]`")
        return ()

    def text(self, node: Node, what: str) -> Text | None:
        """A text that is not empty."""
        if not isinstance(node, ScalarNode):
            self._wrong_kind(node, what, "a text", f"write {what} as a single text")
            return None
        if node.is_null or not node.text.strip():
            self.find("RP008", f"{what} is empty", node.span, "write a text")
            return None
        if not node.text.isprintable():
            self.find(
                "RP010",
                f"{what} has a line break or control character",
                node.span,
                "write it on one line",
            )
            return None
        return Text(node.text.strip(), node.span)

    def flag(self, node: Node, what: str) -> bool | None:
        """`true` or `false`."""
        text = self.text(node, what)
        if text is None:
            return None
        word = text.value.lower()
        if word in ("true", "false"):
            return word == "true"
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(word)
        help = f"write `{meant}`" if meant else "write `true` or `false`"
        self.find(
            "RP010", f"{what} is `true` or `false`, not `{shown(text.value)}`", text.span, help
        )
        return None

    def duration_us(self, node: Node, what: str) -> int | None:
        """A duration above zero, in microseconds."""
        return self._quantity(node, what, Type.DURATION, least=1)

    def count(self, node: Node, what: str, least: int = 1, most: int | None = None) -> int | None:
        """A whole number within bounds."""
        return self._quantity(node, what, Type.NUMBER, least, most)

    def rate(self, node: Node, what: str) -> int | None:
        """A price per million tokens, in nano-dollars; a bare 0 counts."""
        return self._quantity(node, what, Type.RATE, least=0)

    def money(self, node: Node, what: str) -> int | None:
        """An amount, in nano-dollars; a bare 0 counts."""
        return self._quantity(node, what, Type.MONEY, least=0)

    def _quantity(
        self, node: Node, what: str, wanted: Type, least: int, most: int | None = None
    ) -> int | None:
        text = self.text(node, what)
        if text is None:
            return None
        help = _WANTED[wanted][1]
        if most is not None:
            help = "write a small whole number, such as `2`"
        try:
            type_, value = parse_quantity(text.value)
        except ValueError as problem:
            message, _, fix = str(problem).partition(": ")
            self.find("RP110", message, text.span, fix if fix.startswith("write `") else help)
            return None
        if value == 0 and text.value == "0" and wanted in (Type.RATE, Type.MONEY):
            return 0
        if type_ is not wanted:
            if most is not None:
                self.find("RP111", f"`{shown(text.value)}` is not a count", text.span, help)
            else:
                self._wrong_unit(text, what, type_, wanted)
            return None
        if value < least:
            bound = "must be above zero" if least == 1 else f"must be at least {least}"
            self.find("RP010", f"{what} {bound}", text.span, help)
            return None
        if most is not None and value > most:
            self.find("RP010", f"{what} must be at most {most}", text.span, f"write `{most}`")
            return None
        return value

    def _wrong_unit(self, text: Text, what: str, type_: Type, wanted: Type) -> None:
        kind, help = _WANTED[wanted]
        value = text.value
        is_bare = value.replace(".", "", 1).isdigit()
        if is_bare and wanted is not Type.NUMBER:
            fixed = {
                Type.DURATION: f"{value}s",
                Type.RATE: f"${value}/Mtok",
                Type.MONEY: f"${value}",
            }[wanted]
            self.find("RP110", f"`{shown(value)}` lacks its unit", text.span, f"write `{fixed}`")
        elif wanted is Type.RATE and type_ is Type.MONEY:
            self.find(
                "RP110",
                f"`{shown(value)}` does not say for how many tokens",
                text.span,
                f"write `{value}/Mtok`",
            )
        else:
            self.find("RP111", f"`{shown(value)}` is not {kind}", text.span, help)

    def _wrong_kind(self, node: Node, what: str, wanted: str, help: str) -> None:
        if isinstance(node, Hole):
            return
        if isinstance(node, ScalarNode):
            if node.is_null:
                self.find("RP008", f"{what} is empty", node.span, help)
                return
            found, span = "a text", node.span
        else:
            found = "a list" if isinstance(node, ListNode) else "keys with values"
            span = Span(node.span.source, node.span.start, node.span.start + 1)
        self.find("RP009", f"{what} is {found} where {wanted} must be", span, help)
