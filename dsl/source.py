"""Where text came from: a named source and spans in it.

Every node of every tree carries a `Span`, so that a diagnostic can point at the very characters.
Positions are code points, end exclusive. Files are read elsewhere: this module sees text only.
"""

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """One text with its name (a path as the user wrote it, or a word such as `archive`)."""

    name: str
    text: str = field(repr=False)
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find where each line starts, once."""
        starts = [0]
        starts += [i + 1 for i, character in enumerate(self.text) if character == "\n"]
        object.__setattr__(self, "_starts", tuple(starts))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line (from 1), without its end."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column, both counted from 1."""
        return self._starts[line - 1] + column - 1


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source: `start` included, `end` excluded, in code points."""

    source: Source
    start: int
    end: int
    meant: str | None = field(default=None, compare=False, repr=False)
    """What the characters mean where YAML's own escapes make it another text."""

    @property
    def line(self) -> int:
        """The line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column of the first character, from 1."""
        return self.source.position(self.start)[1]

    @property
    def end_line(self) -> int:
        """The line of the end, from 1."""
        return self.source.position(self.end)[0]

    @property
    def end_column(self) -> int:
        """The column just after the last character, from 1."""
        return self.source.position(self.end)[1]

    @property
    def excerpt(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    @property
    def text(self) -> str:
        """What was meant by the characters: those of the file, YAML's escapes resolved."""
        return self.excerpt if self.meant is None else self.meant

    def to(self, other: "Span") -> "Span":
        """From the start of this span to the end of another of the same source."""
        return Span(self.source, self.start, other.end)
