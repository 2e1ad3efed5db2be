"""Conditions: text to expression trees with true places in the file, and back to canonical text.

The grammar is `grammar.lark`. An error is reported once for a condition, the first one: a second
would be guessing. What is wrong is told by the offending token and by what stands before it.

What does not belong here: names and types (`infer`), and where conditions stand (`parse`). Over
300 lines because reading, the wording of its errors and writing are one language.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from . import habits, tree
from .diagnostic import Diagnostic, PolicyError
from .document import ScalarNode, Style, written
from .nearest import nearest
from .source import Source, Span
from .units import format_usd, literal_value, parse_quantity, parse_time, quote, unquote

if TYPE_CHECKING:  # Lark takes 40 ms to import: only reading a condition needs it
    from lark import Lark, Token, Tree, UnexpectedInput
    from lark.common import LexerConf

MAX_CHARACTERS = 10_000
MAX_DEPTH = 64

KEYWORDS = frozenset(
    {"and", "or", "not", "in", "true", "false", "starts_with", "ends_with", "has", "matches"}
)


def parse_expression(
    source: Source, span: Span | None = None, style: Style = "plain"
) -> tree.Expression:
    """Read a condition that stands at a place of a source; without a span, the whole source.

    Shape: `span` covers the YAML scalar, quotes or block header included; `style` is how it is
    written. Raises PolicyError with exactly one finding.
    """
    return parse_scalar(ScalarNode("", style, span or Span(source, 0, len(source.text))))


def parse_scalar(node: ScalarNode) -> tree.Expression:
    """Read the condition that a scalar of a document holds. Raises PolicyError with one finding."""
    from lark import UnexpectedInput

    text, offsets = written(node)
    place = _Place(node.span.source, text, offsets)
    if not text.strip():
        raise _refuse(
            "RP103", "a condition is missing", node.span, "write one, such as `tokens < 100`"
        )
    if len(text) > MAX_CHARACTERS:
        raise _refuse(
            "RP001",
            f"this condition has more than {MAX_CHARACTERS} characters",
            place.span(0, 1),
            "give its parts names under `let:`",
        )
    _check_brackets(place)
    try:
        parsed = _grammar().parse(text, start="start")
    except UnexpectedInput as error:
        raise PolicyError([_Mistake(place, error).finding()]) from None
    return _Builder(place).build(parsed)


@cache
def _grammar() -> "Lark":
    """The parser, built once in a process when the first condition is read (some 50 ms)."""
    from lark import Lark
    from lark.lexer import ContextualLexer

    def unchecked(conf: "LexerConf", states: Any, always_accept: Any = ()) -> ContextualLexer:
        """Lark compares all terminals with each other where interegular is installed: seconds."""
        conf.skip_validation = True
        return ContextualLexer(conf, states, always_accept=always_accept)

    return Lark(
        Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8"),
        parser="lalr",
        start=["start", "refused"],
        keep_all_tokens=True,
        maybe_placeholders=False,
        _plugins={"ContextualLexer": unchecked},
    )


class _Place:
    """The text of a condition and where each of its characters stands in the file."""

    def __init__(self, source: Source, text: str, offsets: list[int]) -> None:
        self.source = source
        self.text = text
        self.offsets = offsets

    def span(self, start: int, end: int) -> Span:
        last = self.offsets[end - 1] + 1 if end > start else self.offsets[start]
        following = self.offsets[end]
        # an escape is several characters of the file for one of the text
        span = Span(self.source, self.offsets[start], max(last, min(following, last + 9)))
        text = self.text[start:end]
        return span if span.excerpt == text else replace(span, meant=text)

    def between(self, first: Span, last: Span) -> Span:
        """From the start of one part to the end of another."""
        start = bisect_left(self.offsets, first.start)
        return self.span(start, bisect_left(self.offsets, last.end))

    def token(self, token: "Token") -> Span:
        start = token.start_pos or 0
        return self.span(start, start + len(token))

    def end(self) -> Span:
        size = len(self.text.rstrip())
        return Span(self.source, self.offsets[size], self.offsets[size])


# --- building ------------------------------------------------------------------------------------

_KINDS: dict[str, str] = {
    "NUMBER": "number",
    "QUANTITY": "quantity",
    "MONEY": "money",
    "RATE": "rate",
    "PERCENT": "percent",
    "TIME": "time",
    "DATE": "date",
    "STRING": "string",
    "BOOL": "bool",
}
_Part = tree.Expression | tree.Range | tree.Listing


class _Builder:
    """Turns Lark's tree into ours, leaves first: no recursion, whatever was written."""

    def __init__(self, place: _Place) -> None:
        self.place = place

    def build(self, parsed: "Tree[Token]") -> tree.Expression:
        built: dict[int, _Part] = {}
        depths: dict[int, int] = {}
        for node in parsed.iter_subtrees():
            parts: list[Token | _Part] = []
            for child in node.children:
                parts.append(child if _is_token(child) else built[id(child)])
            inner = (depths[id(child)] for child in node.children if not _is_token(child))
            depth = depths[id(node)] = 1 + max(inner, default=0)
            part = _BUILDERS[node.data](self, parts, self.around(parts))
            if depth > MAX_DEPTH:
                raise _too_deep(part.span)
            built[id(node)] = part
        return cast(tree.Expression, built[id(parsed)])

    def around(self, parts: "list[Token | _Part]") -> Span:
        first, last = parts[0], parts[-1]
        return self.place.between(self.span(first), self.span(last))

    def span(self, part: "Token | _Part") -> Span:
        return self.place.token(part) if _is_token(part) else cast(_Part, part).span

    def name(self, token: "Token") -> tree.Name:
        return tree.Name(str(token), self.place.token(token))

    def literal(self, token: "Token") -> tree.Literal:
        span = self.place.token(token)
        kind, text = _KINDS[token.type], str(token)
        try:
            if kind == "string":
                text = unquote(text[1:-1])
            literal = tree.Literal(kind, text, span)  # type: ignore[arg-type]
            literal_value(literal)
        except ValueError as problem:
            raise _unreadable(problem, span) from None
        return literal


def _is_token(part: object) -> "TypeGuard[Token]":
    return isinstance(part, str)  # Lark's tokens are strings with places


_Make = Callable[[_Builder, "list[Token | _Part]", Span], _Part]


def _nodes(parts: "list[Token | _Part]") -> "tuple[tree.Expression, ...]":
    return tuple(cast(tree.Expression, part) for part in parts if not _is_token(part))


def _two(parts: "list[Token | _Part]") -> tuple[tree.Expression, tree.Expression]:
    left, right = _nodes(parts)
    return left, right


def _token(parts: "list[Token | _Part]", index: int) -> "Token":
    return cast("Token", parts[index])


def _comparison(b: _Builder, p: "list[Token | _Part]", span: Span) -> _Part:
    left, right = _two(p)
    operator = _token(p, 1)
    return tree.Comparison(str(operator), left, right, span, b.place.token(operator))  # type: ignore[arg-type]


def _membership(b: _Builder, p: "list[Token | _Part]", span: Span) -> _Part:
    collection = cast("tree.Range | tree.Listing | tree.Name", p[-1])
    return tree.Membership(cast(tree.Expression, p[0]), collection, len(p) == 4, span)


def _arithmetic(b: _Builder, p: "list[Token | _Part]", span: Span) -> _Part:
    left, right = _two(p)
    return tree.Arithmetic(str(_token(p, 1)), left, right, span)  # type: ignore[arg-type]


def _call(b: _Builder, p: "list[Token | _Part]", span: Span) -> _Part:
    part = None
    last = _token(p, -1)
    if last.type == "PART":
        start = last.start_pos or 0
        part = tree.Name(str(last)[1:], b.place.span(start + 1, start + len(last)))
    return tree.Call(b.name(_token(p, 0)), _nodes(p), span, part)


_BUILDERS: dict[str, _Make] = {
    "disjunction": lambda b, p, span: tree.Junction("or", _nodes(p), span),
    "conjunction": lambda b, p, span: tree.Junction("and", _nodes(p), span),
    "negation": lambda b, p, span: tree.Not(_nodes(p)[0], span),
    "comparison": _comparison,
    "membership": _membership,
    "exclusion": _membership,
    "listing": lambda b, p, span: tree.Listing(_nodes(p), span),
    "range": lambda b, p, span: tree.Range(*_two(p), span),
    "default": lambda b, p, span: tree.Default(*_two(p), span),
    "arithmetic": _arithmetic,
    "negative": lambda b, p, span: tree.Negate(_nodes(p)[0], span),
    "literal": lambda b, p, span: b.literal(_token(p, 0)),
    "name": lambda b, p, span: b.name(_token(p, 0)),
    "index": lambda b, p, span: tree.Index(b.name(_token(p, 0)), b.literal(_token(p, 2)), span),
    "call": _call,
    "group": lambda b, p, span: replace(_nodes(p)[0], span=span),
}

# --- errors --------------------------------------------------------------------------------------

# token that only exists to be refused -> what is wrong, what to write
_REFUSED: dict[str, tuple[str, str]] = {
    "BAD_EQUALS": ("`=` does not compare", "write `==`"),
    "BAD_UNEQUAL": ("`{0}` is no operator", "write `!=`"),
    "BAD_AND": ("`{0}` is no operator", "write `and`"),
    "BAD_OR": ("`{0}` is no operator", "write `or`"),
    "BAD_NOT": ("`!` is no operator", "write `not`"),
    "BAD_TERNARY": ("`?` is no operator", "write two rules, or `x ?? y` for a default"),
    "BAD_QUOTE": ("`{0}` does not quote text", 'write `"`'),
    "BAD_COMMENT": ("a comment cannot stand here", "put it on a line of its own, above the rule"),
    "BAD_POWER": ("`{0}` is no operator", "operators are + - * / and comparisons"),
    "BAD_PATTERN": (
        "`{0}` is no operator",
        'write `x matches "…"`, with `not` in front for the opposite',
    ),
    "BAD_DOT": ("a `.` cannot stand here", "write numbers as `0.5`, ranges as `1..5`"),
}
_ORDER = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "===": "==", "!==": "!="}
_OPERANDS = frozenset({"NAME", "LPAR", *_KINDS})
_SHOWN = {
    "NAME": "a value",
    "LPAR": "`(`",
    "LSQB": "`[`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "AND": "`and`",
    "OR": "`or`",
    "NOT": "`not`",
    "IN": "`in`",
    "COMPARE": "a comparison",
    "$END": "the end",
}


_COLLECTION = "after `in` write a list `[a, b]`, a range `lo..hi` or a name"


class _Mistake:
    """The first error of a condition, put into words."""

    def __init__(self, place: _Place, error: "UnexpectedInput") -> None:
        self.place = place
        self.error = error

    def finding(self) -> Diagnostic:
        from lark import UnexpectedToken

        error = self.error
        if not isinstance(error, UnexpectedToken):  # the grammar leaves no such character
            start = error.pos_in_stream or 0
            return _diagnostic(
                "this character cannot stand here", self.place.span(start, start + 1), None
            )
        token = error.token
        interactive = error.interactive_parser
        stack = interactive.parser_state.value_stack
        before = stack[-1] if stack else None
        for told in (self._bare_target(token), self._leading_word()):
            if told is not None:
                return told
        if token.type.startswith("BAD_"):
            return self._refused(token)
        accepts: set[str] = interactive.accepts()  # type: ignore[no-untyped-call]
        if "NAME" in accepts:
            return self._value_expected(token, before)
        return self._operator_expected(token, stack, accepts)

    def _refused(self, token: "Token") -> Diagnostic:
        text, span = str(token), self.place.token(token)
        if token.type == "BAD_DOT" and self.place.text[: token.start_pos].rstrip().endswith(")"):
            help = 'only a call has parts: write such as `budget("team").left`'
            return _diagnostic("a `.` cannot stand here", span, help)
        if text in "€£¥%":
            apart = self._unit_apart(token)
            if apart is not None:
                return apart
        if token.type in _REFUSED:
            message, help = _REFUSED[token.type]
            return _diagnostic(message.format(text), span, help)
        match token.type:
            case "BAD_ORDER" | "BAD_TRIPLE":
                meant = _ORDER.get(text, "==")
                return _diagnostic(f"`{text}` is no operator", span, f"write `{meant}`")
            case "BAD_STRING":
                text = text.rstrip()
                start = token.start_pos or 0
                span = self.place.span(start, start + len(text))
                mark = text[0]
                if _cut_by_comment(span):
                    help = "YAML cuts the value at ` #`: quote the whole condition"
                else:
                    help = f"close it: `{mark}{_middle(text[1:])}{mark}`"
                return _diagnostic("this text is not closed", span, help)
            case "BAD_UNIT" if (hour := _HOUR.fullmatch(text)) and 1 <= int(hour[1]) <= 12:
                at = int(hour[1]) % 12 + (12 if hour[2].lower() == "pm" else 0)
                return _diagnostic(f"`{text}` is not a time", span, f"write `{at:02}:00`")
            case "BAD_MONEY" if _NAMED.match(self.place.text, token.start_pos or 0):
                name = _NAMED.match(self.place.text, token.start_pos or 0)
                help = f"write `{name[1] if name else ''}`"
                return _diagnostic("a name stands alone, without a mark", span, help)
            case "BAD_MONEY" if text.startswith("$."):
                return _diagnostic(f"`{text}` is not a number", span, f"write `$0{text[1:]}`")
            case "BAD_UNIT" | "BAD_MONEY" | "BAD_NUMBER":
                return _complain(lambda: parse_quantity(text), span, f"`{_middle(text)}`")
            case "BAD_TIME":
                return _complain(lambda: parse_time(text), span, f"`{_middle(text)}`")
        amount = re.match(r"[0-9]+(?:\.[0-9]+)?", self.place.text[(token.start_pos or 0) + 1 :])
        if text in "€£¥" and amount is not None:
            help = f"money is written in dollars, such as `${amount[0]}`"
            return _diagnostic(f"`{text}` cannot stand here", span, help)
        return _diagnostic(f"`{_visible(text)}` cannot stand here", span, _instead_of(text))

    def _value_expected(self, token: "Token", before: object) -> Diagnostic:
        after = f" after `{before}`" if before is not None and _is_token(before) else ""
        if token.type == "$END":
            return _diagnostic(
                f"the condition ends{after} where a value is expected",
                self.place.end(),
                'write a value, such as `100` or `"free"`',
            )
        span = self.place.token(token)
        if token.type == "RSQB" and str(before) == "[":
            return _diagnostic("this list is empty", span, "write what may be in it")
        help = 'write a value, such as `100` or `"free"`'
        if token.type == "NOT":
            help = "put `not` in front of the whole comparison, or `(…)` around it"
        elif token.type == "LSQB":
            help = "a list can only follow `in`"
        return _diagnostic(f"a value is expected{after}, not `{token}`", span, help)

    def _operator_expected(
        self, token: "Token", stack: list[object], accepts: set[str]
    ) -> Diagnostic:
        opening = _open_bracket(stack)
        ends = self._two_ends(token) if "DOTS" in accepts else None
        if ends is not None:
            return ends
        if token.type == "$END":
            if opening is not None:
                closing = "]" if str(opening) == "[" else ")"
                return _diagnostic(
                    f"this `{opening}` is never closed",
                    self.place.token(opening),
                    f"add the `{closing}`",
                )
            help = _COLLECTION if "DOTS" in accepts else _expected(accepts)
            return _diagnostic("the condition is not finished", self.place.end(), help)
        text, span = str(token), self.place.token(token)
        before = stack[-1]
        if accepts == {"STRING"}:
            return _diagnostic("a text is expected in `[…]`", span, f'write `"{_middle(text)}"`')
        if accepts == {"IN"}:
            between = _BETWEEN.match(self.place.text, token.start_pos or 0)
            if between is not None:
                meant = f"not in {between[1]}..{between[2]}"
                return _diagnostic("`not between` is no operator", span, f"write `{meant}`")
            help = "write `not in`, or put `not` in front of the whole comparison"
            return _diagnostic(f"`in` is expected after `not`, not `{_middle(text)}`", span, help)
        if "DOTS" in accepts:
            if token.type == "COMMA":
                help = "write the list in square brackets: `[a, b]`"
            else:
                help = _COLLECTION
            return _diagnostic(f"`{_middle(text)}` cannot stand here", span, help)
        thousands = self._thousands(token)
        if thousands is not None:
            return thousands
        if token.type == "DOTS" and opening is not None and str(opening) == "[":
            return _diagnostic("a range stands in no list", span, "write `in lo..hi`, without `[`")
        if token.type == "COMMA" and accepts == {"RPAR"}:
            help = "write a list in square brackets: `[a, b]`"
            return _diagnostic("`,` cannot stand here", span, help)
        if token.type == "COMMA" and opening is None:
            return _diagnostic("`,` cannot stand here", span, "write `and` or `or`")
        if token.type in ("COMPARE", "IN") and not accepts & {"COMPARE", "IN"}:
            if opening is not None and str(opening) == "[":
                return _diagnostic("a list holds values only", span, "take the comparison out")
            return _diagnostic("comparisons cannot be chained", span, "write `a < b and b < c`")
        if token.type in ("RPAR", "RSQB"):
            if opening is None:
                return _diagnostic(f"this `{text}` closes nothing", span, "remove it")
            return _diagnostic(f"`{text}` cannot close `{opening}`", span, _expected(accepts))
        if token.type == "PART":
            help = 'only a call has parts, such as `budget("team").left`'
            return _diagnostic(f"`{_middle(text)}` cannot stand here", span, help)
        if token.type == "NAME":
            unit = self._unit_apart(token)
            if unit is not None:
                return unit
            if _is_token(before) and getattr(before, "type", "") == "NAME":
                is_not = str(before).lower() == "not" or nearest(str(before), ("not",))
                if is_not and "LSQB" in accepts:
                    return _diagnostic(
                        f"`{before}` is no operator", self.place.token(before), "write `not`"
                    )
            said = self._phrase(token, before)
            if said is not None:
                return said
            close = nearest(text, KEYWORDS - {"true", "false"})
            if close is not None:
                return _diagnostic(f"`{text}` is no operator", span, f"write `{close}`")
        if token.type in _OPERANDS or token.type == "NOT":
            if token.type == "STRING" and "AND" not in accepts:
                return _diagnostic(f"`{text}` cannot stand here", span, _expected(accepts))
            if str(opening or "") == "[" or (opening is not None and "COMMA" in accepts):
                return _diagnostic("a `,` is missing here", span, f"write `, {text}`")
            if _is_token(before) and getattr(before, "type", "") == "NAME" and "LSQB" in accepts:
                return _diagnostic(
                    f"an operator is missing between `{before}` and `{_middle(text)}`",
                    span,
                    "write `and`, `or` or a comparison such as `==`",
                )
            return _diagnostic(
                f"an operator is missing before `{_middle(text)}`",
                span,
                "write `and`, `or` or a comparison such as `==`",
            )
        return _diagnostic(f"`{_middle(text)}` cannot stand here", span, _expected(accepts))

    def _thousands(self, token: "Token") -> Diagnostic | None:
        """`1,000`: a comma inside a number."""
        start = token.start_pos or 0
        if token.type != "COMMA":
            return None
        head = re.search(r"(?<![\w.])[0-9]{1,3}$", self.place.text[:start])
        tail = re.match(r"(?:,[0-9]{3})+(?![0-9])", self.place.text[start:])
        if head is None or tail is None:
            return None
        whole = head[0] + tail[0].replace(",", "")
        span = self.place.span(head.start(), start + tail.end())
        short = f" or `{whole[:-3]}k`" if whole.endswith("000") else ""
        short = f" or `{whole[:-6]}M`" if whole.endswith("000000") else short
        return _diagnostic("a number holds no commas", span, f"write `{whole}`{short}")

    def _leading_word(self) -> Diagnostic | None:
        """`if tokens < 100`: a word of other languages in front of the whole condition."""
        match = _LED.match(self.place.text)
        if match is None or match[1].lower() not in habits.LEADING:
            return None
        message = f"a condition needs no `{match[1]}` in front"
        return _diagnostic(message, self.place.span(*match.span(1)), f"remove `{match[1]}`")

    def _phrase(self, token: "Token", before: object) -> Diagnostic | None:
        """`is not null`, `greater than`: words of other languages behind a value."""
        start = token.start_pos or 0
        words = list(islice(_WORD.finditer(self.place.text, start), habits.LONGEST))
        for count in range(len(words), 0, -1):
            phrase = " ".join(word[0] for word in words[:count]).lower()
            end = words[count - 1].end()
            if any(c not in " \t" for c in _WORD.sub("", self.place.text[start:end])):
                continue
            said, span = self.place.text[start:end], self.place.span(start, end)
            if phrase in habits.TESTS:
                value = self.place.text[_start(before) : start].strip()
                help = f"write `{habits.TESTS[phrase].format(_middle(value))}`"
                return _diagnostic(f"`{said}` is not how a value is asked for", span, help)
            if phrase in habits.OPERATORS:
                between = _BETWEEN.match(self.place.text, start)
                meant = f"in {between[1]}..{between[2]}" if between else habits.OPERATORS[phrase]
                return _diagnostic(f"`{said}` is no operator", span, f"write `{meant}`")
        return None

    def _two_ends(self, token: "Token") -> Diagnostic | None:
        """`in 18:00-02:00`, `in 1 to 5`: the ends of a range without its `..`."""
        at = len(self.place.text) if token.type == "$END" else token.start_pos or 0
        for match in _ENDS.finditer(self.place.text):
            low, sign, high = match.groups()
            if match.start(2) == at or not self.place.text[match.end() : at].strip():
                help = f"write `in {low}..{high}`"
                span = self.place.span(*match.span(2))
                return _diagnostic(f"`{sign}` makes no range", span, help)
        return None

    def _bare_target(self, token: "Token") -> Diagnostic | None:
        """`p95(openai/gpt-4o)`: a target without its quotes."""
        start = token.start_pos or 0
        for match in _BARE_TARGET.finditer(self.place.text):
            if match.start(2) < start <= match.end(2):
                return _diagnostic(
                    f"`{match[1]}` takes a target in quotes",
                    self.place.span(match.start(2), match.end(2)),
                    f"write `{match[1]}({quote(match[2])})`",
                )
        return None

    def _unit_apart(self, token: "Token") -> Diagnostic | None:
        """`800 ms`: a number and its unit, written apart."""
        start = token.start_pos or 0
        number = re.search(r"(?<![0-9.])\$?[0-9][0-9.]*+[ \t]*+$", self.place.text[:start])
        if number is None:
            return None
        if _CURRENCY.fullmatch(str(token)):
            span = self.place.span(number.start(), start + len(token))
            amount = number[0].strip().removeprefix("$")
            if str(token).lower().startswith("cent"):
                amount = format_usd(round(float(amount) * 10**7))
            help = f"write `${amount}`"
            return _diagnostic("money is written in dollars, with `$` in front", span, help)
        together = f"{number[0].rstrip()}{token}"
        try:
            parse_quantity(together)
        except ValueError as problem:
            if "write" not in str(problem):
                return None
            together = str(problem).rpartition("write `")[2].rstrip("`")
        span = self.place.span(number.start(), start + len(token))
        return _diagnostic("a unit belongs right after its number", span, f"write `{together}`")


def _start(part: object) -> int:
    """Where a part that the parser has read begins in the text."""
    while not _is_token(part):
        part = cast("Tree[Token]", part).children[0]
    return part.start_pos or 0


def _open_bracket(stack: list[object]) -> "Token | None":
    """The innermost bracket that is still open where the parser stopped."""
    closed = 0
    for part in reversed(stack):
        if not _is_token(part):
            continue
        if str(part) in (")", "]"):
            closed += 1
        elif str(part) in ("(", "["):
            if not closed:
                return part
            closed -= 1
    return None


def _expected(accepts: set[str]) -> str | None:
    shown = sorted({_SHOWN[name] for name in accepts if name in _SHOWN})
    return f"expected: {', '.join(shown)}" if shown else None


def _visible(text: str) -> str:
    return text if text.isprintable() else f"U+{ord(text[0]):04X}"


def _instead_of(character: str) -> str:
    """What to write for a character that the language does not have."""
    plain = unicodedata.normalize("NFKC", character).strip()
    if character.isspace():
        return "write a plain space"
    if character in "€£¥":
        return "money is written in dollars, such as `$0.02`"
    if plain != character and plain.isascii() and plain:
        return f"write `{plain}`"
    if character.isalpha():
        return "names are written in plain letters a to z, text in double quotes"
    if character in "%^":
        return "operators are + - * / and comparisons"
    if character in ";\\@{}" or not character.isprintable():
        return "remove it"
    return "text is written in double quotes"


def _middle(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:37]}..."


def _cut_by_comment(span: Span) -> bool:
    rest = span.source.line_text(span.line)[span.end_column - 1 :]
    return rest.lstrip().startswith("#") and rest[:1] in " \t"


def _complain(read: Callable[[], object], span: Span, what: str) -> Diagnostic:
    try:
        read()
    except ValueError as problem:
        return _unreadable(problem, span).diagnostics[0]
    return _diagnostic(f"{what} cannot stand here", span, "write a number such as `100` or `0.5`")


def _unreadable(problem: ValueError, span: Span) -> PolicyError:
    message, _, help = str(problem).partition(": ")
    return PolicyError([_diagnostic(message, span, help or None)])


def _diagnostic(message: str, span: Span, help: str | None) -> Diagnostic:
    return Diagnostic("RP001", "error", message, span, help=help)


def _refuse(code: str, message: str, span: Span, help: str) -> PolicyError:
    return PolicyError([Diagnostic(code, "error", message, span, help=help)])


def _too_deep(span: Span) -> PolicyError:
    return _refuse(
        "RP001",
        f"this condition is nested deeper than {MAX_DEPTH}",
        Span(span.source, span.start, span.start + 1),
        "give its parts names under `let:`",
    )


_BARE_TARGET = re.compile(
    r"(?<![\w.])([A-Za-z_][\w.]*)\([ \t]*([A-Za-z_][\w.-]*/[\w./:-]+)[ \t]*\)"
)
_HOUR = re.compile(r"([0-9]{1,2})(am|pm)", re.IGNORECASE)
_NAMED = re.compile(r"\$\{?([A-Za-z_][\w.]*)")
_LED = re.compile(
    r"\s*([A-Za-z]+)\s+(?!(?:and|or|in|not\s+in|has|matches|starts_with|ends_with|is)\b)[\w$\"'(-]"
)
_WORD = re.compile(r"[A-Za-z_]\w*(?![\w.(\[])")
_END = r"[0-9]{4}-[0-9]{2}-[0-9]{2}|\$?[0-9]+(?:[.:][0-9]+)*[A-Za-z%]*|[A-Z][a-z]{2}"
_ENDS = re.compile(rf"\bin\s+({_END})\s*(-|–|—|to\b|until\b|till\b|through\b)\s*({_END})(?!\w)")  # noqa: RUF001
_BETWEEN = re.compile(rf"between\s+({_END})\s+and\s+({_END})(?!\w)", re.IGNORECASE)
_CURRENCY = re.compile(r"[€£¥]|(?:usd|eur|euros?|gbp|jpy|chf|dollars?|cents?)", re.IGNORECASE)
_BRACKETS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[()\[\]]')


def _check_brackets(place: _Place) -> None:
    depth = 0
    for match in _BRACKETS.finditer(place.text):
        if match[0] in ("(", "["):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(place.span(match.start(), match.end()))
        elif match[0] in (")", "]"):
            depth -= 1


# --- writing -------------------------------------------------------------------------------------

# how tightly a node binds; a part that binds looser than its place needs parentheses
_OR, _AND, _NOT, _COMPARISON, _DEFAULT, _SUM, _PRODUCT, _UNARY, _PRIMARY = range(1, 10)


def unparse(expression: tree.Expression) -> str:
    """An expression as canonical text: one space, double quotes, no needless parentheses.

    Law: reading the text gives the same expression, but for its spans.
    """
    return _write(expression)[0]


def _write(node: _Part) -> tuple[str, int]:
    match node:
        case tree.Literal(kind="string", text=text):
            return quote(text), _PRIMARY
        case tree.Literal(text=text) | tree.Name(text=text):
            return text, _PRIMARY
        case tree.Index(name, key):
            return f"{name.text}[{quote(key.text)}]", _PRIMARY
        case tree.Call(name, arguments, part=part):
            text = f"{name.text}({', '.join(_at(a, _OR) for a in arguments)})"
            return text if part is None else f"{text}.{part.text}", _PRIMARY
        case tree.Negate(operand):
            return f"-{_at(operand, _UNARY)}", _UNARY
        case tree.Arithmetic(operator, left, right):
            level = _SUM if operator in "+-" else _PRODUCT
            return f"{_at(left, level)} {operator} {_at(right, level + 1)}", level
        case tree.Default(operand, default):
            return f"{_at(operand, _SUM)} ?? {_at(default, _DEFAULT)}", _DEFAULT
        case tree.Comparison(operator, left, right):
            return f"{_at(left, _DEFAULT)} {operator} {_at(right, _DEFAULT)}", _COMPARISON
        case tree.Membership(operand, collection, negated):
            word = "not in" if negated else "in"
            return f"{_at(operand, _DEFAULT)} {word} {_write(collection)[0]}", _COMPARISON
        case tree.Range(low, high):
            return f"{_at(low, _SUM)}..{_at(high, _SUM)}", _PRIMARY
        case tree.Listing(items):
            return f"[{', '.join(_at(item, _SUM) for item in items)}]", _PRIMARY
        case tree.Not(operand):
            return f"not {_at(operand, _NOT)}", _NOT
        case tree.Junction(operator, operands):
            level = _OR if operator == "or" else _AND
            return f" {operator} ".join(_at(o, level + 1) for o in operands), level


def _at(node: tree.Expression, least: int) -> str:
    text, level = _write(node)
    return text if level >= least else f"({text})"
