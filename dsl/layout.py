"""The white space of a policy file: indentation, dashes, blank lines, ends of lines.

Works on YAML's tokens, not on its values: what stands between two tokens of a line is left as it
is, because people align columns there. Lines inside a text or in braces move with their start.

What does not belong here: how values are spelt, and whether the meaning is kept (`format`).
Over 300 lines because tokens, the columns they get and the lines made of them are one thing.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from .document import mask_hops

STEP = 2

_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_TABS = re.compile(r"[ \t]*\t[ \t]*")
_SIZED = re.compile(r"[|>][+-]?[1-9]")


def laid_out(text: str) -> str:
    """The text with two spaces per level and a dash per item, without needless blank lines.

    Takes text that YAML can read, with LF as line end.
    """
    text = _without_tabs(text)
    plan = _Plan(text, _tokens(text))
    return _Page(text, plan).text()


def comments(text: str) -> list[str]:
    """Every comment of a readable text in its order, without the white space behind it."""
    if "#" not in text:
        return []
    return [
        line[line.index("#") :].rstrip()
        for start, end in _gaps(text, _tokens(text))
        for line in text[start:end].split("\n")
        if "#" in line
    ]


def _tokens(text: str) -> list[yaml.Token]:
    """The tokens of a text; `target (timeout: 2s)` is one of them."""
    loader = yaml.CSafeLoader(mask_hops(text)[0])
    tokens: list[yaml.Token] = []
    try:
        while (token := loader.get_token()) is not None:
            tokens.append(token)
    finally:
        loader.dispose()
    return tokens


def _at(token: yaml.Token) -> int:
    return int(token.start_mark.index)


def _end(text: str, token: yaml.Token) -> int:
    """Where a token ends; of a block text, without the empty lines below it that mean nothing."""
    end = int(token.end_mark.index)
    if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
        raw = text[_at(token) : end]
        header, _, body = raw.partition("\n")
        if "+" in header.partition("#")[0]:
            return end - raw.endswith("\n")
        return _at(token) + len(header) + (1 + len(_said(body)) if body.strip() else 0)
    return end


def _said(body: str) -> str:
    """A block text without its last lines that are empty; more spaces than its own are text."""
    lines = body.split("\n")
    column = min(_indent(line) for line in lines if line.strip())
    while not lines[-1].strip(" ") and len(lines[-1]) <= column:
        lines.pop()
    return "\n".join(lines)


def _gaps(text: str, tokens: list[yaml.Token]) -> Iterator[tuple[int, int]]:
    """The stretches between tokens: white space and comments."""
    done = 0
    for token in tokens:
        if _at(token) > done:
            yield done, _at(token)
        header = _header(text, token)
        if header is not None:
            yield header
        done = max(done, _end(text, token))
    if done < len(text):
        yield done, len(text)


def _header(text: str, token: yaml.Token) -> tuple[int, int] | None:
    """A comment behind the `|` of a block text stands inside the token."""
    if not (isinstance(token, yaml.ScalarToken) and token.style in ("|", ">")):
        return None
    end = text.find("\n", _at(token))
    end = len(text) if end < 0 else end
    mark = text.find(" #", _at(token), end)
    return None if mark < 0 else (mark, end)


def _without_tabs(text: str) -> str:
    """Tabs between the parts of a line as spaces; inside texts and comments they stay."""
    if "\t" not in text:
        return text
    parts: list[str] = []
    done = 0
    for start, end in _gaps(text, _tokens(text)):
        parts += [text[done:start], _spaced(text[start:end])]
        done = end
    return "".join([*parts, text[done:]])


def _spaced(gap: str) -> str:
    lines = gap.split("\n")
    for index, line in enumerate(lines):
        space, mark, comment = line.partition("#")
        if index:
            space = space.expandtabs(STEP)
        else:
            space = _TABS.sub("  " if mark else " ", space)
        lines[index] = f"{space}{mark}{comment}"
    return "\n".join(lines)


# --- columns -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Level:
    """An open list or mapping of lines: the column it has and the one it gets."""

    is_list: bool
    old: int
    new: int
    has_dash_of_key: bool = False  # a list whose dashes stand in the column of its key


@dataclass(slots=True)
class _Row:
    """A line that starts with a token: where it starts, and the levels open at its end."""

    old: int
    new: int
    dashes: list[tuple[int, int]] = field(default_factory=list)  # white space behind each dash
    levels: list[tuple[int, int]] = field(default_factory=list)
    joins: bool = False  # nothing but a dash: what follows belongs behind it

    def column(self, old: int) -> int:
        """The new column of what stands in this line."""
        lost = sum(end - start - 1 for start, end in self.dashes if end <= old)
        return old - self.old + self.new - lost


@dataclass(slots=True)
class _Leaf:
    """A value over several lines: how far they move, and the column they must not go below."""

    first: int
    last: int
    by: int
    least: int


class _Plan:
    """Which column each line gets, by one pass over the tokens."""

    def __init__(self, text: str, tokens: list[yaml.Token]) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.rows: dict[int, _Row] = {}
        self.leaves: list[_Leaf] = []
        self.verbatim: set[int] = set()  # lines whose end belongs to a text
        self.inner: set[int] = set()  # lines that start inside a text
        self.levels: list[_Level] = []
        self.keeps_columns = False
        self.depth = 0
        self.dash: yaml.Token | None = None
        for token in tokens:
            if self.depth:
                self._in_braces(token)
            else:
                self._in_lines(token)
        if self.keeps_columns:
            self.leaves.clear()
            for row in self.rows.values():
                row.new, row.dashes, row.joins = row.old, [], False
                row.levels = [(old, old) for old, _ in row.levels]

    def _in_braces(self, token: yaml.Token) -> None:
        if isinstance(token, yaml.ScalarToken):
            self._protect(token)
        elif isinstance(token, _OPENING):
            self.depth += 1
        elif isinstance(token, _CLOSING):
            self.depth -= 1
            if not self.depth:
                self.leaves[-1].last = token.end_mark.line

    def _in_lines(self, token: yaml.Token) -> None:
        match token:
            case yaml.StreamStartToken() | yaml.StreamEndToken():
                return
            case yaml.BlockMappingStartToken() | yaml.BlockSequenceStartToken():
                is_list = isinstance(token, yaml.BlockSequenceStartToken)
                self.levels.append(_Level(is_list, token.start_mark.column, self._inside()))
                return
            case yaml.BlockEndToken():
                self._leave_list_of_key()
                self.levels.pop()
                return
            case yaml.BlockEntryToken():
                if not self.levels[-1].is_list:
                    column = token.start_mark.column
                    self.levels.append(_Level(True, column, self._inside(), True))
                self._note(token, self.levels[-1].new)
                self.dash = token
                return
            case yaml.KeyToken():
                self._leave_list_of_key()
                self.keeps_columns |= token.end_mark.index > token.start_mark.index
                self._note(token, self.levels[-1].new)
            case yaml.ValueToken():
                return
            case yaml.DirectiveToken() | yaml.DocumentStartToken() | yaml.DocumentEndToken():
                self._note(token, 0)
            case _:
                self._note(token, self._inside())
                self._leaf(token)

    def _inside(self) -> int:
        return self.levels[-1].new + STEP if self.levels else 0

    def _leave_list_of_key(self) -> None:
        if self.levels and self.levels[-1].has_dash_of_key:
            self.levels.pop()

    def _note(self, token: yaml.Token, new: int) -> None:
        line, column = token.start_mark.line, token.start_mark.column
        row = self.rows.setdefault(line, _Row(column, new))
        if self.dash is not None:
            before, at = self.dash.end_mark, self.dash.end_mark.column
            if before.line == line:
                row.dashes.append((at, column))
            elif before.line + 1 == line and not self.lines[before.line][at:].strip():
                is_below = column > self.dash.start_mark.column  # else the item is empty
                self.rows[before.line].joins = is_below and isinstance(token, yaml.KeyToken)
            self.dash = None
        row.levels = [(level.old, level.new) for level in self.levels]

    def _leaf(self, token: yaml.Token) -> None:
        line, column = token.start_mark.line, token.start_mark.column
        delta = self.rows[line].column(column) - column
        parent = self.levels[-1].new if self.levels else 0
        if isinstance(token, _OPENING):
            self.depth = 1
            self.leaves.append(_Leaf(line, line, delta, parent))
        elif isinstance(token, yaml.ScalarToken):
            self._protect(token)
            last = self._last_line(token)
            if last > line:
                self.leaves.append(_Leaf(line, last, delta, parent + 1))

    def _protect(self, token: yaml.ScalarToken) -> None:
        first, last = token.start_mark.line, self._last_line(token)
        self.inner |= set(range(first + 1, last + 1))
        if token.style in ("'", '"'):
            self.verbatim |= set(range(first, last))
        elif token.style in ("|", ">"):
            self.verbatim |= set(range(first + 1, last + 1))
            self.keeps_columns |= bool(_SIZED.match(self.text, _at(token)))

    def _last_line(self, token: yaml.ScalarToken) -> int:
        start = _at(token)
        return int(token.start_mark.line) + self.text.count("\n", start, _end(self.text, token))


# --- lines ---------------------------------------------------------------------------------------


class _Page:
    """The lines of a text in their new columns."""

    def __init__(self, text: str, plan: _Plan) -> None:
        self.plan = plan
        self.lines = text.split("\n")
        self.shifts: dict[int, int] = {}
        self.starts = sorted(plan.rows)
        self.columns: dict[tuple[int, int], int] = {}
        for leaf in plan.leaves:
            self._shift(leaf)

    def _shift(self, leaf: _Leaf) -> None:
        within = range(leaf.first + 1, leaf.last + 1)
        least = min(
            (_indent(self.lines[i]) for i in within if self.lines[i].strip()), default=leaf.least
        )
        by = max(leaf.by, leaf.least - least) if leaf.by else 0
        self.shifts |= dict.fromkeys(within, by)

    def text(self) -> str:
        out: list[str] = []
        joined = ""
        needed = 0  # lines up to the end of the last text
        for number, line in enumerate(self.lines):
            made = self._line(number, line)
            if joined:
                made, joined = joined + made.lstrip(" "), ""
            row = self.plan.rows.get(number)
            if row is not None and row.joins:
                joined = f"{made} "
            elif made or number in self.plan.inner or (out and out[-1]):
                out.append(made)
            if number in self.plan.inner:
                needed = len(out)
        while len(out) > needed and not out[-1]:
            out.pop()
        # Where the file ends in the last line of a block text, a line end would be part of it.
        is_cut = len(self.lines) - 1 in self.plan.inner & self.plan.verbatim
        return "\n".join(out if is_cut else [*out, ""])

    def _line(self, number: int, line: str) -> str:
        plan = self.plan
        row = plan.rows.get(number)
        if number in self.shifts:
            made = self._moved(number, line, self.shifts[number])
        elif row is not None:
            made = " " * row.new + _tight(line, row)
        elif number in plan.inner:
            made = line
        elif line.strip():
            made = " " * self._comment_column(number, _indent(line)) + line.lstrip(" ")
        else:
            made = ""
        return made if number in plan.verbatim else made.rstrip(" \t")

    def _moved(self, number: int, line: str, by: int) -> str:
        if not line.strip() and number not in self.plan.verbatim:
            return ""
        if by >= 0:
            return " " * by + line if line else line
        return line[min(-by, _indent(line)) :]

    def _comment_column(self, number: int, column: int) -> int:
        """A comment goes with the line below it, or with the level above that it stands in."""
        place = bisect_left(self.starts, number)
        if (place, column) not in self.columns:
            self.columns[place, column] = self._column_at(place, column)
        return self.columns[place, column]

    def _column_at(self, place: int, column: int) -> int:
        rows = self.plan.rows
        below = rows[self.starts[place]] if place < len(self.starts) else None
        above = rows[self.starts[place - 1]] if place else None
        if below is not None and below.old == column:
            return below.new
        levels = [*(above.levels if above else ()), *(below.levels if below else ())]
        nearest = max((level for level in levels if level[0] <= column), default=(0, 0))
        exact = [new for old, new in levels if old == column]
        return min(exact) if exact else column + nearest[1] - nearest[0]


def _tight(line: str, row: _Row) -> str:
    """A line from its first token on, with one space behind each dash."""
    parts, done = [], row.old
    for start, end in row.dashes:
        parts += [line[done:start], " "]
        done = end
    return "".join([*parts, line[done:]])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
