"""What YAML stumbled over, said in the words of a policy: one finding for each YAML error.

libyaml tells a problem and two places, of which now one, now the other is where the author erred.
Each method turns one kind of trouble into a finding with what to write instead; to add one, write
it and name it in `finding`, before the more general ones.

Over 300 lines because the order in which the explanations are asked is part of what they say.
"""

import re
import unicodedata
from typing import Protocol

import yaml

from .diagnostic import Diagnostic
from .source import Source, Span

_KEY = re.compile(r"[ \t]*(?:-[ \t]+)*([A-Za-z_][\w.-]*)[ \t]*:(?=[ \t]|$)[ \t]*")
# a space that is none, `-name:` without its space, a dash that is none
_ODD_START = re.compile(
    r"(?:-[ ]*)?([^\S ]+)[ ]*\S|"
    r"(-(?=[A-Za-z_{\"'])|\*(?= )|[\u2010-\u2015\u2212\u2022](?=[ \w]))(.*)"
)
_GLUED = re.compile(r"([A-Za-z_]\w*):(\S.*)")
_OPTIONS = re.compile(r"(?<!\S)([^\s(\"':][^\s(]*+)[ \t]*+(\()[ \t]*[A-Za-z_]+[ \t]*:[^)]*$")
_YODA = re.compile(r"(\"[^\"]*\"|'[^']*')\s*(==|!=)\s*([A-Za-z_][\w.]*)")
_GOES_ON = re.compile(r"(?:==|!=|[<>]|(?:in|not|and|or|has|starts_with|ends_with)\b)")
_LIST_HAS = re.compile(r"\s*(?:has|contains|includes)\s+([A-Za-z_][\w.]*)\s*")
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)[ ]*=(?!=)[ ]*(\S.*)")
_ITEM = re.compile(r"^[ \t]*(-)[ \t]", re.MULTILINE)
_INDENT = re.compile(r"[ \t]*(?:-[ \t]+)*")
_TAB = re.compile(r" *(\t)")


class Scalar(Protocol):
    """The last text that YAML could read before it failed."""

    @property
    def span(self) -> Span:
        """Where it stands."""

    @property
    def style(self) -> str:
        """`plain`, or how it is quoted."""


def shown(text: str) -> str:
    """User text short enough for a message, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def quoted(value: str) -> str:
    """A value as a single-quoted YAML string."""
    return "'" + shown(value).replace("'", "''") + "'"


def tab(span: Span) -> Diagnostic:
    """A line that is indented with a tab."""
    return _trap(span, "a tab indents this line", "indent with spaces: replace the tab by spaces")


def odd_space(span: Span, where: str) -> Diagnostic:
    """What looks like a space and is none, where YAML wants plain ones."""
    character = span.excerpt[:1]
    name = unicodedata.name(character, "").lower() or {"\t": "tab"}.get(character, "")
    what = f"U+{ord(character):04X}" + (f" ({name})" if name else "")
    return _trap(span, f"only plain spaces can {where}, not {what}", "replace it by a space")


def unclosed_options(span: Span, target: str) -> Diagnostic:
    """The `(` of `target (timeout: 2s` without its `)`."""
    help = f"write `{shown(target)} (timeout: 2s)`, on one line"
    return _trap(span, "this `(` is never closed", help)


def foreign_tag(span: Span, tag: str) -> Diagnostic:
    """A `!word`, which YAML takes for a tag and an author for `not`."""
    rest = span.excerpt[1:].strip()
    if tag.startswith("!") and rest and not rest.startswith("!"):
        first = span.excerpt.split()[0]
        return _trap(span, f"YAML reads `{shown(first)}` as a tag", f"write `not {shown(rest)}`")
    word = span.excerpt.split()[0] if span.excerpt.strip() else tag
    return _trap(span, f"the tag `{shown(word)}` is not allowed", "remove the tag")


def unknown_alias(span: Span) -> Diagnostic:
    """A `*word` that repeats nothing."""
    return _trap(
        span,
        f"YAML reads `{shown(span.excerpt)}` as a repetition of an anchor, and there is none",
        f"quote the value: `{quoted(span.excerpt)}`",
    )


def explain(
    source: Source, base: int, error: yaml.MarkedYAMLError, last: Scalar | None
) -> Diagnostic:
    """The finding for a YAML error; `base` is the offset in the source where YAML began."""
    return _Trouble(source, base, error, last).finding()


class _Trouble:
    """A YAML error with its surroundings."""

    def __init__(
        self, source: Source, base: int, error: yaml.MarkedYAMLError, last: Scalar | None
    ) -> None:
        size = len(source.text)
        problem = error.problem_mark or error.context_mark
        context = error.context_mark or problem
        self.source = source
        self.text = source.text
        self.problem = error.problem or "not YAML"
        self.context = error.context or ""
        self.at = min(size, base + problem.index) if problem else base
        self.began = min(size, base + context.index) if context else base
        self.last = last
        self.line, self.column = source.position(self.at)
        self.here = self.text[self.at : self.at + 1]

    def finding(self) -> Diagnostic:
        """Ask each explanation in turn; the first that knows the trouble answers."""
        for explanation in (
            self._tab,
            self._dash,
            self._quote,
            self._escape,
            self._after_quote,
            self._options,
            self._colon,
            self._no_colon,
            self._tag,
            self._block_text,
            self._brackets,
            self._bad_start,
            self._list_start,
            self._indentation,
        ):
            found = explanation()
            if found is not None:
                return found
        return _trap(
            self._character(self.at), f"YAML cannot read this: {self.problem}", "quote the value"
        )

    def _tab(self) -> Diagnostic | None:
        for line in (self.line, self.line - 1):
            start = self.source.offset(line, 1) if line else 0
            match = _TAB.match(self.text, start)
            if line and match:
                return tab(Span(self.source, match.start(1), match.end(1)))
        return None

    def _dash(self) -> Diagnostic | None:
        """`-name: a`, a dash that is none, or what looks like a space in front of a key."""
        for line in (self.line, self.line - 1):
            text = self.source.line_text(line) if line else ""
            lead = len(text) - len(text.lstrip(" "))
            odd = _ODD_START.match(text, lead)
            if odd is None:
                continue
            found = odd.lastindex == 1
            start, end = odd.span(1 if found else 2)
            span = Span(
                self.source, self.source.offset(line, start + 1), self.source.offset(line, end + 1)
            )
            if found:
                where = "follow a `-`" if "-" in text[:start] else "indent a line"
                return odd_space(span, where)
            message = (
                "a space is missing after this `-`"
                if odd[2] == "-"
                else f"`{odd[2]}` starts no entry of a list"
            )
            return _trap(span, message, f"write `- {shown(odd[3].strip())}`")
        return None

    def _quote(self) -> Diagnostic | None:
        begun = None
        if "quoted scalar" in self.context and "end of stream" in self.problem:
            begun = self.began
        elif "quoted scalar" in self.context and "document indicator" in self.problem:
            begun = self.began
        elif self.last and self.last.style in ("single", "double"):
            span = self.last.span
            if span.line < span.end_line <= self.line <= span.end_line + 1:
                begun = span.start
        if begun is None:
            return None
        mark = self.text[begun]
        return _trap(
            self._character(begun),
            "this quote is not closed on its line",
            f"put the closing `{mark}` at the end of the text",
        )

    def _escape(self) -> Diagnostic | None:
        if "escape" not in self.problem:
            return None
        span = Span(self.source, self.at, min(len(self.text), self.at + 2))
        return _trap(
            span,
            f"`{shown(span.excerpt)}` means nothing between double quotes",
            "write `\\\\` for a backslash, or use single quotes",
        )

    def _after_quote(self) -> Diagnostic | None:
        """`"free" == tier`: YAML takes the quoted part for the whole value."""
        last = self.last
        if last is None or last.style not in ("single", "double") or self.here in (":", ""):
            return None
        if last.span.end_line != self.line or self.at < last.span.end:
            return None
        if not ("expected key" in self.problem or "expected ','" in self.problem):
            return None
        closes = "}]" if "flow" in self.context else ""
        between = self.text[last.span.end : self.at].strip()
        if between:
            return self._after_list(closes) if between == "]" else None
        span = self._value(last.span.start, closes)
        mark, inner = span.excerpt[0], span.excerpt[1:-1]
        other = "'" if mark == '"' else '"'
        goes_on = _GOES_ON.match(self.text, self.at)
        if not goes_on and span.excerpt.count(mark) % 2:
            return _trap(
                self._character(last.span.start),
                f"this `{mark}` begins a text that ends at the next `{mark}`",
                "remove it, or quote the whole value in single quotes",
            )
        if not goes_on and span.excerpt.endswith(mark) and mark in inner and other not in inner:
            return _trap(
                self._character(last.span.end - 1),
                f"this `{mark}` closes the text early",
                f"write `{other}{shown(inner)}{other}`",
            )
        yoda = _YODA.fullmatch(span.excerpt)
        turned = f"`{yoda[3]} {yoda[2]} {yoda[1]}`, or " if yoda else ""
        return _trap(
            span,
            f"YAML reads only `{shown(last.span.excerpt)}` of this value",
            f"write {turned}`{quoted(span.excerpt)}`",
        )

    def _after_list(self, closes: str) -> Diagnostic | None:
        """`["a"] has tier`: YAML takes the list for the whole value."""
        line = self.source.offset(self.line, 1)
        opening = self.text.rfind("[", line, self.at)
        closing = self.text.rfind("]", opening, self.at)
        if opening < 0 or closing < 0:
            return None
        span = self._value(opening, closes)
        listed = self.text[opening : closing + 1]
        turned = _LIST_HAS.fullmatch(self.text[closing + 1 : span.end])
        meant = f"{turned[1]} in {listed}" if turned else span.excerpt
        return _trap(
            span,
            f"YAML reads only `{shown(listed)}` of this value",
            f"write `{quoted(meant)}`",
        )

    def _options(self) -> Diagnostic | None:
        match = _OPTIONS.search(self.source.line_text(self.line))
        if match is None or "(" in self.context:
            return None
        at = self.source.offset(self.line, match.start(2) + 1)
        return unclosed_options(Span(self.source, at, at + 1), match[1])

    def _colon(self) -> Diagnostic | None:
        if "mapping values" not in self.problem:
            return None
        last = self.last
        if last and last.style == "plain" and last.span.line < self.line:
            return self._swallowed(last.span)
        key = _KEY.match(self.source.line_text(self.line))
        if key is None or self.column - 1 < key.end():
            return None
        value = self._value(self.source.offset(self.line, key.end() + 1))
        if " ? " in value.excerpt[: self.at - value.start]:
            help = f"there is no `? :`: write two rules, or quote the value {quoted(value.excerpt)}"
        else:
            help = f"quote the whole value: `{key[1]}: {quoted(value.excerpt)}`"
        return _trap(self._character(self.at), "YAML reads this `:` as the end of a key", help)

    def _swallowed(self, text: Span) -> Diagnostic:
        """A text that ran on into the next line and took its key in."""
        first = self.source.line_text(text.line)[text.column - 1 :].rstrip()
        glued = _GLUED.match(first)
        if glued:
            at = text.start + len(glued[1])
            return _trap(
                self._character(at),
                "a space is missing after this `:`",
                f"write `{glued[1]}: {shown(glued[2])}`",
            )
        key = _KEY.match(self.source.line_text(text.line))
        if key is None or key.end() > text.column:
            span = Span(self.source, text.start, text.start + len(first))
            return _trap(span, f"`{shown(first)}` lacks its `:`", with_colon(first))
        line = self.source.line_text(self.line)
        indent = len(line) - len(line.lstrip())
        start = self.source.offset(self.line, indent + 1)
        return _trap(
            Span(self.source, start, self.at),
            f"this line is indented deeper than `{key[1]}` above it",
            f"start it in column {key.start(1) + 1}, as `{key[1]}` does",
        )

    def _no_colon(self) -> Diagnostic | None:
        if "expected ':'" not in self.problem:
            return None
        line, column = self.source.position(self.began)
        words = self.source.line_text(line)[column - 1 :].rstrip()
        span = Span(self.source, self.began, self.began + len(words))
        odd = re.match(r"[A-Za-z_]\w*:([^\S \t]+)", words)
        if odd:
            start = self.began + odd.start(1)
            return odd_space(Span(self.source, start, self.began + odd.end(1)), "follow a `:`")
        glued = _GLUED.fullmatch(words)
        if glued:
            at = self.began + len(glued[1])
            return _trap(
                self._character(at), "a space is missing after this `:`", with_colon(words)
            )
        return _trap(span, f"`{shown(words)}` lacks its `:`", with_colon(words))

    def _tag(self) -> Diagnostic | None:
        if "tag" not in self.context:
            return None
        return foreign_tag(self._value(self.began), "!")

    def _block_text(self) -> Diagnostic | None:
        if "block scalar" not in self.context:
            return None
        span = self._value(self.began)
        return _trap(
            span,
            f"YAML reads the `{span.excerpt[:1]}` at the start as the mark of a long text",
            f"write what is compared in front of it, or quote the value: `{quoted(span.excerpt)}`",
        )

    def _brackets(self) -> Diagnostic | None:
        if "flow" not in self.context:
            return None
        start, _ = self.source.position(self.began)
        last = self.last
        if start < self.line and self._ends_open(start):
            return self._never_closed()
        if self.here in ("[", "{", '"', "'") and last and last.span.end <= self.at:
            value = self._value(last.span.start, closes="}]")
            return _trap(
                self._character(self.at),
                f"inside `{{…}}` YAML ends a value before `{self.here}`",
                f"quote the whole value: `{quoted(value.excerpt)}`",
            )
        if start == self.line and self.here == ":":
            return _trap(
                self._character(self.at),
                "this `:` makes a key of the word before it",
                "write a comma before that word, or quote the whole value",
            )
        if start < self.line or self.here in ("", "\n"):
            return self._never_closed()
        return None

    def _ends_open(self, line: int) -> bool:
        """Whether a line that opens a bracket is not made to go on in the next one."""
        end = self.source.line_text(line).partition(" #")[0].rstrip()
        goes_on = self.source.line_text(line + 1).lstrip()
        return goes_on.startswith("- ") or (
            not end.endswith((",", "{", "[")) and not goes_on.startswith((",", "}", "]"))
        )

    def _never_closed(self) -> Diagnostic:
        at = self.began
        if not self.text[at : at + 1].strip():  # YAML tells where it gave up, not what was open
            at = max(0, self.text.rfind("{", 0, at), self.text.rfind("[", 0, at))
        opening = self.text[at : at + 1]
        closing = {"[": "]", "{": "}"}.get(opening, opening)
        return _trap(
            self._character(at),
            f"this `{opening}` is never closed",
            f"add the `{closing}`",
        )

    def _bad_start(self) -> Diagnostic | None:
        known = ("cannot start", "expected node content", "mapping keys are not allowed")
        if not any(words in self.problem for words in known):
            return None
        value = self._value(self.at)
        return _trap(
            self._character(self.at),
            f"a value cannot start with `{self.here}`" if self.here else "a value is missing",
            f"quote the value: `{quoted(value.excerpt)}`" if self.here else "write a value",
        )

    def _list_start(self) -> Diagnostic | None:
        if "block sequence entries" not in self.problem:
            return None
        return _trap(
            self._character(self.at),
            "a list cannot start on the line of its key",
            "start it on the next line, two spaces further in",
        )

    def _indentation(self) -> Diagnostic | None:
        if "expected key" not in self.problem and "expected '-'" not in self.problem:
            return None
        line, column = self.source.position(self.began)
        word = self.text[self.at : self.at + 40].split(None, 1)[:1]
        span = Span(self.source, self.at, self.at + len(word[0]) if word else self.at)
        if self.source.position(self.at)[1] == 1 and column == 1:
            return _trap(
                span,
                "a list and keys cannot stand side by side",
                "put the list under a key such as `routing_policy:`",
            )
        start = self.source.offset(self.line, 1)
        if self.text[start : self.at].strip():
            return _trap(
                span,
                f"the value ends before this `{shown(span.excerpt)}`",
                "remove it, or quote the whole value",
            )
        above = self.text[:start].rstrip()
        items = list(_ITEM.finditer(above))
        if span.excerpt != "-" and items:
            dash = self.source.position(items[-1].start(1))[1]
            if dash == self.source.position(self.at)[1]:
                key = shown(self.source.line_text(self.line).strip())
                help = f"write `- {key}` if another entry starts here, else indent it by two more"
                return _trap(span, "this line starts where a `-` is expected", help)
        if span.excerpt == "-":
            if items:
                line, column = self.source.position(items[-1].start(1))
        else:
            line = above.count("\n") + 1
            column = _INDENT.match(self.source.line_text(line)).end() + 1  # type: ignore[union-attr]
        return _trap(
            span,
            "this line does not line up with what it belongs to",
            f"start it in column {column}, as line {line} does",
        )

    def _character(self, at: int) -> Span:
        return Span(self.source, at, min(len(self.text), at + 1))

    def _value(self, start: int, closes: str = "") -> Span:
        """From a value's start to where its author ended it: the line, a comment, a bracket."""
        depth, mark, at = 0, "", start
        while at < len(self.text) and self.text[at] not in "\r\n":
            character = self.text[at]
            if mark:
                mark = "" if character == mark else mark
            elif character in "\"'":
                mark = character
            elif character in "([{":
                depth += 1
            elif not depth and (character in closes or (closes and character == ",")):
                break
            elif character in ")]}":
                depth -= 1
            elif character == "#" and self.text[at - 1] in " \t":
                break
            at += 1
        return Span(self.source, start, start + len(self.text[start:at].rstrip()))


def with_colon(words: str) -> str:
    """What to write for a key whose `:` is missing, or which has another sign for it."""
    glued = _GLUED.fullmatch(words)
    if glued:
        return f"write `{glued[1]}: {shown(glued[2])}`"
    assigned = _ASSIGNED.fullmatch(words)
    if assigned:
        return f"write `{assigned[1]}: {shown(assigned[2])}`"
    key, _, value = words.partition(" ")
    return f"write `{shown(f'{key}: {value}'.strip())}`"


def _trap(span: Span, message: str, help: str) -> Diagnostic:
    return Diagnostic("RP002", "error", message, span, help=help)
