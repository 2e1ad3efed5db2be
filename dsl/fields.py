"""Readers of marked nodes: a value of the kind that its place wants, or a finding.

Every reader gives None where the value is missing or wrong and has then said so exactly once; a
`Hole`, whose finding exists already, is passed over in silence.

What does not belong here: which keys a section has (`vocabulary`), and what they make (`parse`).
Over 300 lines because each kind of value is read, bounded and put into words in one place.
"""

import re
from collections.abc import Collection
from decimal import Decimal

from . import example
from .diagnostic import Diagnostic, PolicyError, Related, Severity
from .document import Entry, Hole, ListNode, MapNode, Node, ScalarNode
from .nearest import listed, nearest, suggestion
from .schema import Type
from .source import Span
from .traps import shown
from .tree import Text
from .units import format_value, parse_date, parse_quantity
from .vocabulary import PERIODS, Period, Section, Words

MAX_FINDINGS = 200

NOT_YET = "this version does not know it: remove it"
_WANTED = {
    Type.DURATION: ("a duration", "write one such as `2s` or `800ms`"),
    Type.NUMBER: ("a count", "write one such as `100` or `32k`"),
    Type.RATE: ("a price per million tokens", "write one such as `$2.50/Mtok`"),
    Type.MONEY: ("an amount of money", "write one such as `$0.01`"),
    Type.PERCENT: ("a percentage", "write one such as `5%`"),
}
_PERIODS_MEANT = {
    "d": "day",
    "daily": "day",
    "days": "day",
    "w": "week",
    "weekly": "week",
    "weeks": "week",
    "mo": "month",
    "mon": "month",
    "monthly": "month",
    "months": "month",
}
_ALLOWANCE = re.compile(r"([^/\s]+)(?:\s*/\s*(?:1\s*)?|\s+per\s+|\s+a\s+|\s+(?=\w+ly))([A-Za-z]+)")
_DECIMAL = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")


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
        self._wrong_kind(node, what, "keys with values", f"write `{_mapping(what)}`")
        return None

    def section(
        self,
        node: Node,
        section: Section,
    ) -> dict[str, Node] | None:
        """The values of a mapping by key, every key being one of its section.

        Unknown keys are findings, the rest is given. None where there is no mapping.
        """
        if not isinstance(node, MapNode):
            given = node.text.strip() if isinstance(node, ScalarNode) else ""
            help = f"write `{example.mapping(section, given)}`"
            self._wrong_kind(node, section.what, "keys with values", help)
            return None
        legal = section.names
        values: dict[str, Node] = {}
        for entry in node.entries:
            if entry.key.text in legal:
                values[entry.key.text] = entry.value
            else:
                self.unknown_key(entry.key, section)
        return values

    def unknown_key(self, key: ScalarNode, section: Section) -> None:
        """Refuse a key that its section does not have."""
        word, what, legal = key.text, section.what, section.names
        if word in section.later:
            self.find("RP005", f"`{word}` is not known yet in {what}", key.span, NOT_YET)
            return
        if word in section.misplaced:
            message = f"`{word}` has no place in {what}"
            self.find("RP005", message, key.span, section.misplaced[word])
            return
        close = nearest(word, legal) or section.meant.get(word.lower())
        help = f"did you mean `{close}`?" if close else None
        other = nearest(word, (*section.misplaced, *section.later)) if help is None else None
        if other is not None:
            help = section.misplaced.get(other, "it is not known yet: remove it")
            help = f"did you mean `{other}`? {help}"
        help = help or f"keys here: {', '.join(sorted(legal))}"
        self.find("RP005", f"unknown key `{shown(word)}` in {what}", key.span, help)

    def items(self, node: Node, what: str) -> tuple[Node, ...]:
        """The items of a list; empty where there is none."""
        if isinstance(node, ListNode):
            return node.items
        whole = example.of(what) or "[a, b]"
        is_empty = isinstance(node, ScalarNode) and node.is_null
        match node:
            case MapNode(entries) if entries and isinstance(entries[0].value, MapNode):
                first = shown(entries[0].key.text)
                help = f"write `- name: {first}` where an entry starts, its keys below that"
            case MapNode(entries) if entries and f"{entries[0].key.text}:" in whole:
                first = shown(entries[0].key.text)
                help = f"write `- {first}: …` where an entry starts, its other keys below that"
            case ScalarNode() if not node.is_null and not whole.startswith("[{"):
                help = f"write `[{shown(node.text)}]`"
            case _:
                help = f"write `{whole}`" + (", or remove the line" if is_empty else "")
        self._wrong_kind(node, what, "a list", help)
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

    def duration_us(
        self, node: Node, what: str, least: int = 1, most: int | None = None
    ) -> int | None:
        """A duration above zero and within bounds, in microseconds."""
        return self._quantity(node, what, Type.DURATION, least, most)

    def count(self, node: Node, what: str, least: int = 1, most: int | None = None) -> int | None:
        """A whole number within bounds."""
        return self._quantity(node, what, Type.NUMBER, least, most)

    def rate(self, node: Node, what: str) -> int | None:
        """A price per million tokens, in nano-dollars; a bare 0 counts."""
        return self._quantity(node, what, Type.RATE, least=0)

    def money(self, node: Node, what: str) -> int | None:
        """An amount, in nano-dollars; a bare 0 counts."""
        return self._quantity(node, what, Type.MONEY, least=0)

    def share(self, node: Node, what: str, least: int = 1, most: int = 10_000) -> int | None:
        """A percentage, of 10 000."""
        value = self._quantity(node, what, Type.PERCENT, least=0)
        if value is None or least <= value <= most:
            return value
        message = f"{what} must be at most {most // 100}%"
        message = f"{what} must be above zero" if value < least else message
        self.find("RP010", message, node.span, _WANTED[Type.PERCENT][1])
        return None

    def allowance(self, node: Node, what: str) -> tuple[int, Period] | None:
        """An amount for a time, as nano-dollars and the period."""
        text = self.text(node, what)
        if text is None:
            return None
        help = "write one such as `$20/day`, `$100/week` or `$500/month`"
        parts = _ALLOWANCE.fullmatch(text.value)
        amount, word = parts.groups() if parts else (text.value, "")
        try:
            type_, value = parse_quantity(amount)
        except ValueError as problem:
            message, _, fix = str(problem).partition(": ")
            self.find("RP110", message, text.span, fix if fix.startswith("write `") else help)
            return None
        if parts is None and type_ is Type.MONEY:
            message = f"`{shown(amount)}` does not say for which time"
            self.find(
                "RP110", message, text.span, f"write `{shown(amount)}/month`, or `/day`, `/week`"
            )
            return None
        if type_ is not Type.MONEY:
            is_bare = type_ in (Type.NUMBER, Type.SCORE) and amount[-1:].isdigit()
            code = "RP110" if is_bare else "RP111"
            fixed = f"write `${amount}/{word or 'month'}`" if is_bare else help
            message = f"`{shown(text.value)}` is not an amount of money"
            self.find(code, message, text.span, fixed)
            return None
        period = next((known for known in PERIODS if known == word), None)
        if period is None:
            meant = _PERIODS_MEANT.get(word.lower()) or nearest(word, PERIODS)
            fix = f"did you mean `{amount}/{meant}`?" if meant else help
            self.find("RP110", f"`{shown(word)}` is no time of a budget", text.span, fix)
            return None
        if value <= 0:
            self.find("RP010", f"{what} must be above zero", text.span, help)
            return None
        return value, period

    def date(self, node: Node, what: str) -> int | None:
        """A day, as days since 1970-01-01."""
        text = self.text(node, what)
        if text is None:
            return None
        try:
            return parse_date(text.value)
        except ValueError as problem:
            message, _, help = str(problem).partition(": ")
            self.find("RP010", message, text.span, help or None)
            return None

    def integer(self, node: Node, what: str, least: int, most: int, example: str) -> int | None:
        """A whole number without a unit, within bounds."""
        text = self.text(node, what)
        if text is None:
            return None
        if re.fullmatch(r"-?[0-9]{1,18}", text.value) and least <= int(text.value) <= most:
            return int(text.value)
        message = f"{what} is a whole number from {least} to {most}, not `{shown(text.value)}`"
        self.find("RP010", message, text.span, f"write one such as `{example}`")
        return None

    def number(self, node: Node, what: str, least: int, most: int) -> int | float | None:
        """A number without a unit, within bounds."""
        text = self.text(node, what)
        if text is None:
            return None
        value = Decimal(text.value) if _DECIMAL.fullmatch(text.value) else None
        if value is not None and least <= value <= most:
            return float(value) if "." in text.value else int(value)
        message = f"{what} is a number from {least} to {most}, not `{shown(text.value)}`"
        self.find("RP010", message, text.span, "write one such as `0.7`")
        return None

    def word(self, node: Node, what: str, words: Words) -> Text | None:
        """One word of a closed list; a wrong one is a finding and given nevertheless."""
        text = self.text(node, what)
        if text is not None and text.value not in words.words:
            known = words.words
            close = nearest(text.value, known) or words.meant.get(text.value.lower())
            help = f"did you mean `{close}`?" if close else f"write {_either(known)}"
            self.find("RP112", f"unknown {what} `{shown(text.value)}`", text.span, help)
        return text

    def reference(self, text: Text, what: str, known: Collection[str]) -> bool:
        """Whether a word names one of those known; a finding where it does not."""
        if text.value in known:
            return True
        names = listed(sorted(known))
        help = suggestion(text.value, known) or (f"known here: {names}" if names else None)
        self.find("RP101", f"unknown {what} `{shown(text.value)}`", text.span, help)
        return False

    def _quantity(
        self, node: Node, what: str, wanted: Type, least: int, most: int | None = None
    ) -> int | None:
        text = self.text(node, what)
        if text is None:
            return None
        help = _WANTED[wanted][1]
        is_few = wanted is Type.NUMBER and most is not None
        if is_few:
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
            if is_few:
                self.find("RP111", f"`{shown(text.value)}` is not a count", text.span, help)
            else:
                self._wrong_unit(text, what, type_, wanted)
            return None
        if value < least:
            bound = format_value(least, wanted)
            told = "above zero" if least == 1 else f"at least {bound}"
            help = f"write `{bound}`" if least > 1 else help
            self.find("RP010", f"{what} must be {told}", text.span, help)
            return None
        if most is not None and value > most:
            bound = format_value(most, wanted)
            self.find("RP010", f"{what} must be at most {bound}", text.span, f"write `{bound}`")
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
                Type.PERCENT: _percent(type_, value),
            }[wanted]
            help = f"write `{fixed}`"
            if wanted is Type.DURATION and len(value) > 2:  # who writes that may mean milliseconds
                help += f" or `{value}ms`"
            self.find("RP110", f"`{shown(value)}` lacks its unit", text.span, help)
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
        self.find("RP009", f"{what} needs {wanted}, and this is {found}", span, help)


def _percent(type_: Type, bare: str) -> str:
    """A bare number as a percentage: below one it is a part of the whole."""
    is_part = type_ is Type.SCORE and bare.startswith("0.")
    return format_value(parse_quantity(bare)[1], Type.PERCENT) if is_part else f"{bare}%"


def _mapping(what: str) -> str:
    return example.of(what) or "key: value"


def _either(words: Collection[str]) -> str:
    """Words as a choice: `a`, `b` or `c`."""
    quoted = [f"`{word}`" for word in words]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
