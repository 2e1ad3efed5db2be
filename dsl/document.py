"""YAML text to marked nodes: every key and value with the place where it stands.

String-first: a scalar is its text, whatever YAML 1.1 would make of `on`, `22:30` or `0123`; what a
text means is decided by the place where it stands, in `parse`. Files are untrusted: foreign tags
are refused, size, depth and aliases are bounded, nothing recurses deeper than the bound.

`target (timeout: 2s, retries: 1)` is no YAML string. Before YAML reads the text, what would break
such an entry apart is masked, one character for one, so that all places stay true; `hop_form`
reads the entry then.

What does not belong here: the sections of a policy (`parse`), and the wording of YAML's own errors
(`traps`). Over 300 lines because the node types, the reader and the two scalar forms are one thing.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import yaml

from . import traps
from .diagnostic import Diagnostic, PolicyError, Related
from .source import Source, Span

Style = Literal["plain", "single", "double", "literal", "folded"]

MAX_CHARACTERS = 2_000_000  # ten thousand rules of a few lines
MAX_NODES = 100_000  # ten thousand rules of three keys are 70 000
MAX_DEPTH = 32

_STYLES: dict[str, Style] = {"'": "single", '"': "double", "|": "literal", ">": "folded"}
_CORE = re.compile(r"tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq)|!")
_HOP = re.compile(
    r"(?<![\w./:@+-])[\w./:@+-]++[ \t]*+"
    r"\([ \t]*[A-Za-z_]+(?:[ =]+[\w.%]+[ \t]*,[ \t]*[A-Za-z_]+)?[ \t]*:[^()\n]*\)"
)
_LACKS_COLON = re.compile(
    r"[A-Za-z_]+(?:[ ]*=|[ ])[ ]*(?!(?:and|or|not|in|has|matches)\b)[\w$./-]+%?"
)
_OPEN_HOP = re.compile(r"[^\s(\"']+[ \t]*(\([ \t]*[A-Za-z_]*)")
_HEAD = re.compile(r"(?<![\w.,])[0-9]{1,3}$")
_INDEXED = re.compile(r"[\w.]+\[[^\]\n]*\]")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_ODD_INDENT = re.compile(r"^[ ]*(?!\t)([^\S \r\n])[^\S\r\n]*[^\s#]", re.MULTILINE)
_TABBED = re.compile(r"^[ ]*(\t)[ \t]*[^\s#]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A text as it stands; `text` is what YAML makes of it, `span` includes the quotes."""

    text: str
    style: Style
    span: Span

    @property
    def is_null(self) -> bool:
        """Whether nothing was written here."""
        return self.style == "plain" and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list with its items."""

    items: tuple["Node", ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping with its value."""

    key: ScalarNode
    value: "Node"


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping with its entries in the order of the file; no key stands twice."""

    entries: tuple[Entry, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Hole:
    """Where something unreadable stood; a finding says so already, readers pass over it."""

    span: Span


Node = ScalarNode | ListNode | MapNode | Hole


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds. `root` is None where nothing could be read; findings say why."""

    root: MapNode | None
    findings: tuple[Diagnostic, ...]


def read(source: Source) -> MapNode:
    """Read a policy's text as marked nodes. Raises PolicyError with every finding."""
    document = examine(source)
    if document.root is None or document.findings:
        raise PolicyError(document.findings)
    return document.root


def examine(source: Source) -> Document:
    """Read as far as possible; never raises."""
    text = source.text
    if text.startswith("\ufeff"):  # a byte order mark would shift every column of line 1
        source = Source(source.name, text[1:])
        text = source.text
    refusal = _refusal(source)
    if refusal is not None:
        return Document(None, (refusal,))
    masked, unmask = mask_hops(text)
    reader = _Reader(source, 0, unmask)
    root = reader.compose(masked)
    if not reader.broken:
        reader.findings += _tabs_in_text(source, reader.multiline)
        odd = _odd_indentation(source, reader.multiline)
        if odd is not None:  # keys are not where they seem to be: all else would follow from that
            return Document(None, (odd,))
    if reader.broken or root is None or isinstance(root, Hole):
        return Document(None, tuple(reader.findings) or (_nothing_written(source),))
    if not isinstance(root, MapNode):
        return Document(None, (*reader.findings, _not_a_mapping(source, root)))
    return Document(root, tuple(reader.findings))


def hop_form(node: ScalarNode) -> tuple[ScalarNode, MapNode | None, tuple[Diagnostic, ...]] | None:
    """Read `target (timeout: 2s)` as the target and the mapping of its options.

    None where the text has no parenthesis. The mapping is None where the options are unreadable;
    the findings say why.
    """
    text, offsets = written(node)
    opening = text.find("(")
    if opening < 0:
        return None
    source = node.span.source
    name = text[:opening].rstrip()
    target = ScalarNode(name, node.style, Span(source, offsets[0], offsets[len(name)]))
    inner = text[opening:].rstrip()
    span = Span(source, offsets[opening], offsets[opening + len(inner)])
    problem = None
    if not inner.endswith(")"):
        problem = traps.unclosed_options(span, name)
    elif not name or "(" in inner[1:] or ")" in inner[:-1] or len(inner) != len(span.excerpt):
        problem = Diagnostic(
            "RP002",
            "error",
            f"`{traps.shown(node.span.excerpt)}` is not a target with options",
            node.span,
            help="write `groq/llama-3-8b (timeout: 2s, retries: 1)`",
        )
    if problem is not None:
        return target, None, (problem,)
    reader = _Reader(source, span.start, {})
    options = reader.compose("{" + inner[1:-1] + "}")
    if not isinstance(options, MapNode):
        return target, None, tuple(reader.findings)
    return target, MapNode(options.entries, span), tuple(reader.findings)


def written(node: ScalarNode) -> tuple[str, list[int]]:
    """The text of a scalar, each character with its offset in the file.

    The list is one longer than the text: its last number is the end. Line breaks are kept as they
    are written, not folded.
    """
    source, start, end = node.span.source, node.span.start, node.span.end
    raw = source.text[start:end]
    if node.style == "plain":
        return raw, list(range(start, end + 1))
    if node.style in ("literal", "folded"):
        header = raw.find("\n") + 1 or len(raw)
        return raw[header:], list(range(start + header, end + 1))
    characters: list[str] = []
    offsets: list[int] = []
    pieces = _double(raw[1:-1]) if node.style == "double" else _single(raw[1:-1])
    for at, character in pieces:
        characters.append(character)
        offsets.append(start + 1 + at)
    return "".join(characters), [*offsets, end - 1]


# --- reading -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Frame:
    """An open list or mapping: what was read of it so far."""

    start: int
    is_map: bool
    in_braces: bool
    anchor: str | None
    foreign: bool
    items: list[Node] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    keys: dict[str, Span] = field(default_factory=dict)
    key: Node | None = None
    size: int = 1
    lacks_dash: bool = False


class _Reader:
    """Builds nodes from YAML events with a stack of its own, so that depth cannot hurt."""

    def __init__(self, source: Source, base: int, unmask: dict[int, str]) -> None:
        self.source = source
        self.base = base
        self.unmask = unmask
        self.findings: list[Diagnostic] = []
        self.broken = False
        self.multiline: list[tuple[int, int]] = []  # where tabs may indent: quoted and block text
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.open_anchors: set[str] = set()
        self.frames: list[_Frame] = []
        self.root: Node | None = None
        self.nodes = 0
        self.last: ScalarNode | None = None

    def compose(self, text: str) -> Node | None:
        loader = yaml.CSafeLoader(text)
        documents = 0
        try:
            while not self.broken:
                event = loader.get_event()
                if event is None or isinstance(event, yaml.StreamEndEvent):
                    break
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(event, *_SEVERAL)
                else:
                    self._take(event)
        except yaml.MarkedYAMLError as error:
            self.broken = True
            found = traps.explain(self.source, self.base, error, self.last)
            if not any(0 <= found.span.line - f.span.line <= 1 for f in self.findings):
                self.findings.append(found)  # else what was found there has led to it
        except yaml.YAMLError:  # a character that no YAML may hold
            self.broken = True
            whole = Span(self.source, self.base, self.base)
            self.findings.append(Diagnostic("RP002", "error", "this is not YAML", whole))
        finally:
            loader.dispose()
        return self.root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._open(event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._close(event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        start, end = self._range(event)
        style = _STYLES.get(event.style or "", "plain")
        foreign = event.tag is not None and not _CORE.fullmatch(event.tag)
        if foreign:
            self.findings.append(traps.foreign_tag(Span(self.source, start, end), event.tag or ""))
        if event.anchor or event.tag:
            properties = _PROPERTIES.match(self.source.text, start, end)
            start = properties.end() if properties else start
        if style in ("literal", "folded"):
            end = start + len(self.source.text[start:end].rstrip())
        span = Span(self.source, start, end)
        if style != "plain":
            self.multiline.append((start, end))
        node = ScalarNode(event.value.translate(self.unmask), style, span)
        self.last = node
        self._add(Hole(span) if foreign else node, 1, event.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        start, end = self._range(event)
        span = Span(self.source, start, end)
        name = event.anchor
        if name in self.open_anchors:
            self._stop(event, f"`*{name}` stands inside what it repeats", "write the values out")
        elif name not in self.anchors:
            self.findings.append(traps.unknown_alias(span))
            self._add(Hole(span), 1, None)
        else:
            node, size = self.anchors[name]
            if size > 1 and len(self.frames) + _depth(node) > MAX_DEPTH:
                self._stop(event, *_TOO_DEEP)
            else:
                self._add(node, size, None)

    def _open(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        start, end = self._range(event)
        foreign = event.tag is not None and not _CORE.fullmatch(event.tag)
        if foreign:
            self.findings.append(traps.foreign_tag(Span(self.source, start, end), event.tag or ""))
        is_map = isinstance(event, yaml.MappingStartEvent)
        in_braces = is_map and bool(event.flow_style)
        self.frames.append(_Frame(start, is_map, in_braces, event.anchor, foreign))
        if event.anchor:
            self.open_anchors.add(event.anchor)
        if len(self.frames) > MAX_DEPTH:
            self._stop(event, *_TOO_DEEP)

    def _close(self, event: yaml.Event) -> None:
        frame = self.frames.pop()
        _, end = self._range(event)
        children = [entry.value for entry in frame.entries] if frame.is_map else frame.items
        if self.source.text[frame.start : frame.start + 1] not in ("[", "{") and children:
            end = max(frame.start, children[-1].span.end)  # YAML's own end is the next token
        span = Span(self.source, frame.start, max(end, frame.start))
        node: Node = (
            MapNode(tuple(frame.entries), span)
            if frame.is_map
            else ListNode(tuple(frame.items), span)
        )
        if frame.anchor:
            self.open_anchors.discard(frame.anchor)
        self.nodes -= frame.size - 1  # what stands in it was counted when it was read
        self._add(Hole(span) if frame.foreign else node, frame.size, frame.anchor)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = (node, size)
        self.nodes += size
        if self.nodes > MAX_NODES:
            self._refuse(node.span, f"the file has more than {MAX_NODES} values", _LARGE_HELP)
            return
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.size += size
        if not frame.is_map:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = node
        else:
            key, frame.key = frame.key, None
            self._pair(frame, key, node)

    def _pair(self, frame: _Frame, key: Node, value: Node) -> None:
        if not isinstance(key, ScalarNode):
            if not isinstance(key, Hole):
                self._find(key.span, "a key must be plain text", "write `key: value`")
        elif key.text == "<<" and key.style == "plain":
            self._find(key.span, "merge keys are not part of this language", "write the keys out")
        elif key.text in frame.keys:
            if frame.lacks_dash:
                return
            # In a list, the first key once more is the next entry.
            first = next(iter(frame.keys))
            frame.lacks_dash = (
                key.text == first == "name" and bool(self.frames[1:]) and not frame.in_braces
            )
            self.findings.append(
                Diagnostic(
                    "RP004",
                    "error",
                    f"`{traps.shown(key.text)}` is written twice",
                    key.span,
                    help="write `- name: …` if another entry starts here, else keep one of the two"
                    if frame.lacks_dash
                    else "keep one of the two; only one could count",
                    related=(Related("first written here", frame.keys[key.text]),),
                )
            )
        elif self._lacks_colon(frame, key, value):
            self._without_value(frame, key)
        else:
            opening = _OPEN_HOP.fullmatch(key.text) if key.style == "plain" else None
            frame.keys[key.text] = key.span
            if opening is None:
                frame.entries.append(Entry(key, value))
                return
            at = key.span.start + opening.start(1)
            span = Span(self.source, at, key.span.end)
            self.findings.append(
                traps.unclosed_options(span, key.text[: opening.start(1)].rstrip())
            )
            frame.foreign = True

    def _lacks_colon(self, frame: _Frame, key: ScalarNode, value: Node) -> bool:
        if not (frame.in_braces and isinstance(value, ScalarNode) and value.is_null):
            return False
        return value.text == "" and ":" not in self.source.text[key.span.end : value.span.end + 1]

    def _without_value(self, frame: _Frame, key: ScalarNode) -> None:
        """In braces, a comma inside a condition makes a key without value of its second half."""
        before = frame.entries[-1] if frame.entries else None
        head = (
            before and isinstance(before.value, ScalarNode) and _HEAD.search(before.value.text[-8:])
        )
        if before and head and re.match(r"[0-9]{3}(?![0-9])", key.text):
            start = before.value.span.end - len(head[0])
            whole = head[0] + key.text[:3]
            self._find(
                Span(self.source, start, key.span.start + 3),
                "a number holds no commas",
                f"write `{whole}`" + (f" or `{whole[:-3]}k`" if key.text[:3] == "000" else ""),
            )
            frame.entries[-1] = Entry(before.key, Hole(before.value.span))
        elif before and isinstance(before.value, ScalarNode) and _is_cut(before.value.text):
            whole = f"{before.value.span.excerpt}, {key.text}"
            self._find(
                key.span,
                f"in `{{…}}` a comma ends a value: `{traps.shown(key.text)}` is cut off",
                f"quote the whole value: `{before.key.text}: {traps.quoted(whole)}`",
            )
            frame.entries[-1] = Entry(before.key, Hole(before.value.span))
        elif match := re.match(r"([A-Za-z_]+):(\S.*)", key.text):
            self._find(
                key.span,
                f"`{traps.shown(key.text)}` lacks a space after the colon",
                f"write `{match[1]}: {traps.shown(match[2])}`",
            )
            name = ScalarNode(match[1], "plain", key.span)
            frame.entries.append(Entry(name, Hole(key.span)))  # written, if not readable
        elif self.source.text.startswith("[", key.span.end):
            indexed = _INDEXED.match(self.source.text, key.span.start)
            self._find(
                key.span,
                f"in `{{…}}` YAML ends `{traps.shown(key.text)}` before the `[`",
                f"quote it: `{traps.quoted(indexed[0] if indexed else key.text)}`",
            )
        elif _LACKS_COLON.fullmatch(key.text):
            message = f"`{traps.shown(key.text)}` lacks its `:`"
            self._find(key.span, message, traps.with_colon(key.text))
        else:
            self._find(key.span, f"`{traps.shown(key.text)}` has no value", "write `key: value`")

    def _find(self, span: Span, message: str, help: str) -> None:
        self.findings.append(Diagnostic("RP002", "error", message, span, help=help))

    def _refuse(self, span: Span, message: str, help: str) -> None:
        self.broken = True
        self._find(span, message, help)

    def _stop(self, event: yaml.Event, message: str, help: str) -> None:
        self._refuse(Span(self.source, *self._range(event)), message, help)

    def _range(self, event: yaml.Event) -> tuple[int, int]:
        first, last = event.start_mark, event.end_mark
        assert first is not None and last is not None, "the C parser marks every event"
        return self.base + first.index, self.base + last.index


_TOO_DEEP = (f"values are nested deeper than {MAX_DEPTH}", "a policy needs far fewer levels")
_SEVERAL = ("a second document starts here", "a policy is one document: remove the `---`")
_LARGE_HELP = "a policy of this size is a mistake: split it"


def _depth(node: Node) -> int:
    """How deep a node goes; nodes are never deeper than MAX_DEPTH."""
    match node:
        case ListNode(items):
            return 1 + max(map(_depth, items), default=0)
        case MapNode(entries):
            return 1 + max((_depth(entry.value) for entry in entries), default=0)
        case _:
            return 0


def _is_cut(text: str) -> bool:
    return any(text.count(a) > text.count(b) for a, b in ("()", "[]")) or text.count('"') % 2 == 1


def mask_hops(text: str) -> tuple[str, dict[int, str]]:
    """Hide what YAML would read inside `(timeout: 2s, …)`; also the table that undoes it."""
    if "(" not in text:
        return text, {}
    present = set(text)
    spare = (c for c in map(chr, range(0xE000, 0xF8FF)) if c not in present)
    table = dict(zip(" \t,[]{}", spare, strict=False))
    if len(table) < 7:
        return text, {}

    def mask(match: re.Match[str]) -> str:
        target, _, inner = match[0].partition("(")
        hidden = re.sub(r"(?<=:)[ \t]|[,\[\]{}]", lambda m: table[m[0]], inner)
        return f"{target}({hidden}"

    return _HOP.sub(mask, text), {ord(masked): plain for plain, masked in table.items()}


def _single(body: str) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(body):
        yield at, body[at]
        at += 2 if body[at] == "'" else 1


_SHORT = dict(
    zip('0abtnvfre "/\\N_LP', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029', strict=True)
)
_CODE_DIGITS = {"x": 2, "u": 4, "U": 8}


def _double(body: str) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(body):
        if body[at] != "\\" or at + 1 == len(body):
            yield at, body[at]
            at += 1
            continue
        mark = body[at + 1]
        if mark in _CODE_DIGITS:
            digits = body[at + 2 : at + 2 + _CODE_DIGITS[mark]]
            yield at, chr(int(digits, 16))
            at += 2 + len(digits)
        else:
            if mark in _SHORT or mark == "\t":
                yield at, _SHORT.get(mark, mark)
            at += 2  # an escaped line break joins the lines


def _refusal(source: Source) -> Diagnostic | None:
    """Why a text cannot be YAML at all, if so."""
    text = source.text
    if len(text) > MAX_CHARACTERS:
        message = f"the file has more than {MAX_CHARACTERS} characters"
        return Diagnostic("RP002", "error", message, Span(source, 0, 0), help=_LARGE_HELP)
    bad = _FORBIDDEN.search(text)
    if bad is None:
        return None
    ends_line = bad[0] in "\r\x85\u2028\u2029"
    return Diagnostic(
        "RP002",
        "error",
        f"the character U+{ord(bad[0]):04X} is not allowed here",
        Span(source, bad.start(), bad.end()),
        help="only YAML reads it as the end of a line: end lines with LF or CRLF"
        if ends_line
        else "remove it; the file must be UTF-8 text",
    )


# What YAML refuses, and what only YAML takes for the end of a line: nobody sees a line end there.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|\r(?!\n)"
)


def _tabs_in_text(source: Source, quoted: list[tuple[int, int]]) -> list[Diagnostic]:
    """Tabs that indent a line; inside quoted and block text they are part of the text."""
    return [
        traps.tab(Span(source, match.start(1), match.end(1)))
        for match in _TABBED.finditer(source.text)
        if not _is_inside(match.start(1), quoted)
    ][:1]


def _odd_indentation(source: Source, quoted: list[tuple[int, int]]) -> Diagnostic | None:
    """A space that is none in front of a line's first word."""
    for match in _ODD_INDENT.finditer(source.text):
        if not _is_inside(match.start(1), quoted):
            return traps.odd_space(Span(source, match.start(1), match.end(1)), "indent a line")
    return None


def _is_inside(offset: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether it stands inside one of the ranges, which are in order and apart."""
    before = bisect_left(ranges, (offset, 0)) - 1
    return before >= 0 and ranges[before][0] < offset < ranges[before][1]


def _nothing_written(source: Source) -> Diagnostic:
    return Diagnostic(
        "RP008",
        "error",
        "the file is empty",
        Span(source, 0, 0),
        help="a policy needs `routing_policy:` with at least one rule",
    )


def _not_a_mapping(source: Source, root: Node) -> Diagnostic:
    if isinstance(root, ScalarNode) and root.is_null:
        return _nothing_written(source)
    is_list = isinstance(root, ListNode)
    return Diagnostic(
        "RP009",
        "error",
        "the file is a list" if is_list else "the file is a single text",
        Span(source, root.span.start, root.span.start + 1),
        help="put `routing_policy:` above the list"
        if is_list
        else "start with `routing_policy:` and a list of rules",
    )
