"""Findings that the policy's author takes back: `# turnout: ignore RP403 because <reason>`.

The comment stands at the end of the finding's line, or alone on the line above; of a text of more
than one line at the end of its first or its last, or above it. Errors cannot be ignored. A comment
that is not in this form, or that takes nothing back, is a finding of its own.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .diagnostic import NAMES, Diagnostic, Related, sort
from .document import ListNode, MapNode, Node, ScalarNode, examine
from .nearest import suggestion
from .refusal import warning
from .source import Source, Span

FORM = "# turnout: ignore RP403 because <reason>"

_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[ \t]*turnout[ \t]*:[^\n]*", re.MULTILINE)
_FORM = re.compile(
    r"#[ \t]*turnout[ \t]*:[ \t]*ignore\b[ \t]*(?P<codes>[^\n]*?)[ \t]*"
    r"(?:\bbecause\b[ \t]*(?P<reason>[^\n]*?)[ \t\r]*)?",
)
_OWN = ("RP011", "RP012")
_QUOTES = ("'", '"')


@dataclass(frozen=True, slots=True)
class Ignored:
    """A finding that is not shown, and why."""

    finding: Diagnostic
    reason: str


@dataclass(frozen=True, slots=True)
class _Comment:
    """A comment in the right form: one code, and the line it is about."""

    code: str
    reason: str
    line: int
    span: Span


def ignore(
    findings: Iterable[Diagnostic], sources: Iterable[Source]
) -> tuple[tuple[Diagnostic, ...], tuple[Ignored, ...]]:
    """The findings that stay, those about the comments included, and those that are ignored."""
    rows = tuple(findings)
    comments: list[_Comment] = []
    own: list[Diagnostic] = []
    texts: dict[str, list[Span]] = {}
    for source in dict.fromkeys(sources):
        matches = list(_COMMENT.finditer(source.text))
        if not matches:
            continue
        texts[source.name] = sorted(_texts(source), key=lambda span: span.start)
        for found in _comments(source, matches, texts[source.name]):
            if isinstance(found, _Comment):
                comments.append(found)
            else:
                own.append(found)
    if not comments:
        return sort((*rows, *own)), ()
    by_place = {(c.span.source.name, c.line, c.code): c for c in comments}
    used: set[_Comment] = set()
    kept: list[Diagnostic] = []
    ignored: list[Ignored] = []
    for row in rows:
        name = row.span.source.name
        lines = _lines(row.span, texts.get(name, []))
        places = (by_place.get((name, line, row.code)) for line in lines)
        comment = next(filter(None, places), None)
        if comment is None:
            kept.append(row)
            continue
        used.add(comment)
        if row.severity == "error":
            kept.append(row)
            own.append(_not_for_errors(comment, row))
        else:
            ignored.append(Ignored(row, comment.reason))
    # Where an error stopped the rules of lint, nobody knows what they would have found.
    if not any(row.severity == "error" for row in rows):
        own += [_unused(comment) for comment in comments if comment not in used]
    return sort((*kept, *own)), tuple(ignored)


def _comments(
    source: Source, matches: Iterable[re.Match[str]], texts: Sequence[Span]
) -> Iterator[_Comment | Diagnostic]:
    meant: dict[int, int] = {}
    for match in matches:
        text = _around(match.start(), texts)
        if text is None or match.start() < _first_character(text):
            span = Span(source, match.start(), match.start() + len(match[0].rstrip()))
            yield from _read(span, meant)


def _read(span: Span, meant: dict[int, int]) -> Iterator[_Comment | Diagnostic]:
    form = _FORM.fullmatch(span.excerpt)
    if form is None:
        yield warning(
            "RP011", "this comment says nothing that lint understands", span, f"write `{FORM}`"
        )
        return
    codes = [code for code in re.split(r"[,\s]+", form["codes"]) if code]
    if not codes:
        yield warning("RP011", "this comment names no code to ignore", span, f"write `{FORM}`")
        return
    if not form["reason"]:
        yield warning(
            "RP011",
            f"no reason is given for ignoring `{codes[0]}`, so it is not ignored",
            span,
            f"write `# turnout: ignore {', '.join(codes)} because <reason>`",
        )
        return
    line = _line_meant(span, meant)
    for code in codes:
        if code not in NAMES or code in _OWN:
            yield warning(
                "RP011",
                f"`{code}` is no code that can be ignored",
                span,
                suggestion(code, [known for known in NAMES if known not in _OWN])
                or "write the code as lint prints it, such as `RP403`",
            )
        else:
            yield _Comment(code, form["reason"], line, span)


def _line_meant(span: Span, meant: dict[int, int]) -> int:
    """The comment's own line; of a comment that stands alone, the next line with more than one.

    `meant` keeps what was found for the lines of comments and blank lines passed on the way.
    """
    source, first = span.source, span.line
    if source.line_text(first)[: span.column - 1].strip():
        return first
    last = source.position(len(source.text))[0]
    line = first
    while line <= last and line not in meant:
        text = source.line_text(line).strip()
        if text and not text.startswith("#"):
            break
        line += 1
    found = meant.get(line, line)
    meant |= dict.fromkeys(range(first, line), found)
    return first if found > last else found


def _lines(place: Span, texts: Sequence[Span]) -> tuple[int, ...]:
    """The lines whose comments are about a place: its own, and those where its text has an edge."""
    text = _around(place.start, texts)
    return (place.line,) if text is None else (place.line, text.line, text.end_line)


def _around(offset: int, texts: Sequence[Span]) -> Span | None:
    """The text that an offset is part of."""
    before = bisect_right(texts, offset, key=lambda span: span.start) - 1
    return texts[before] if before >= 0 and offset < texts[before].end else None


def _first_character(text: Span) -> int:
    """Where a text begins in which a `#` is no comment: of a block after the line of its sign."""
    if text.excerpt[:1] in _QUOTES:
        return text.start
    return text.start + text.excerpt.find("\n")


def _texts(source: Source) -> Iterator[Span]:
    """Where texts stand that are quoted, blocks, or longer than a line."""
    root = examine(source).root
    stack: list[Node] = [] if root is None else [root]
    while stack:
        match stack.pop():
            case ScalarNode(_, style, span):
                if style != "plain" or span.line != span.end_line:
                    yield span
            case ListNode(items):
                stack += items
            case MapNode(entries):
                stack += [part for entry in entries for part in (entry.key, entry.value)]
            case _:
                pass


def _not_for_errors(comment: _Comment, row: Diagnostic) -> Diagnostic:
    return Diagnostic(
        "RP011",
        "warning",
        f"`{comment.code}` is an error here, and errors cannot be ignored",
        comment.span,
        "mend it, and remove this comment",
        (Related("the error", row.span),),
    )


def _unused(comment: _Comment) -> Diagnostic:
    return warning(
        "RP012",
        f"there is no `{comment.code}` in line {comment.line} that this comment could take back",
        comment.span,
        "remove the comment, or move it to the line of the finding",
    )
