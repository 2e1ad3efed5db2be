"""A policy file in its form: the few things put right that people need not decide.

Edits the text where it is not in form and leaves all else as it stands: comments, the order of
keys, columns aligned inside a line, quotes that YAML or people need. Conditions are put into
normal spelling where more differs than aligned white space.

Laws: the text made means the same, its comments are the same, and formatting it changes nothing.

What does not belong here: white space and lines (`layout`), how conditions are spelt
(`spelling`); reading and writing files. Over 300 lines because where to edit, the edits and the
check that they keep the meaning read one document the same way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from .diagnostic import Diagnostic, PolicyError, sort
from .document import (
    MAX_CHARACTERS,
    Hole,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    examine,
    hop_form,
    written,
)
from .layout import STEP, comments, laid_out
from .lines import on_lines
from .source import Source
from .spelling import Conditions
from .vocabulary import HOP_OPTIONS, MapOf, Value, places

_Path = tuple[str, ...]

# Where conditions and hops stand, as keys from the top; `*` is any item or key of the author's.
_OF_HOPS = [key.name for key in HOP_OPTIONS.keys if key.kind is Value.CONDITION]
_HOPS = frozenset(path for path, kind in places() if kind is Value.HOP)
_CONDITIONS = frozenset(path for path, kind in places() if kind is Value.CONDITION) | {
    (*path, key) for path in _HOPS for key in _OF_HOPS
}
_OWN_KEYS = frozenset(path for path, kind in places() if isinstance(kind, MapOf))
# Where texts stand that somebody else wrote: their quotes stay.
_TEXTS: tuple[_Path, ...] = (
    ("lists",), ("providers", "*", "headers"), ("routing_policy", "*", "set"),
    ("defaults", "set"), ("tests", "*", "given"),
)  # fmt: skip

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*")
_NO_WORD = re.compile(r"true|false|null|yes|no|on|off|y|n|inf|nan", re.IGNORECASE)
_TYPED = re.compile(r"-?[0-9]+|true|True|TRUE|false|False|FALSE|null|Null|NULL")
_COMMENT = re.compile(r"([ \t]+)#")
_KEY_INDENT = re.compile(r"[ ]*(?:-[ ]+)*")

_Edit = tuple[int, int, str]


class MeaningChanged(Exception):
    """The formatter would have changed what a file means: a defect of ours, nothing is written."""


def formatted(source: Source) -> str:
    """The text of a policy file, or of a file it includes, in form.

    Raises PolicyError where the text cannot be read: YAML's traps and syntax errors of conditions.
    What else is wrong with the policy is none of the formatter's business.
    """
    source = Source(source.name, source.text.removeprefix("\ufeff"))
    document = examine(source)
    root = document.root
    if root is None or any(finding.severity == "error" for finding in document.findings):
        raise PolicyError(document.findings)
    conditions = Conditions()
    _refuse_unreadable(root, conditions)
    before = root
    if "\r" in source.text:
        source = Source(source.name, source.text.replace("\r\n", "\n"))
        before = _read(source)
    text = laid_out(_apply(source.text, _edits(before, conditions)))
    after = _read(Source(source.name, text))
    if _meaning(after, (), conditions) != _meaning(before, (), conditions):
        raise MeaningChanged(f"formatting `{source.name}` would change what it means")
    if comments(text) != comments(source.text):
        raise MeaningChanged(f"formatting `{source.name}` would change its comments")
    return text


def _read(source: Source) -> MapNode:
    document = examine(source)
    root = document.root
    if root is None and len(source.text) > MAX_CHARACTERS:
        raise PolicyError(document.findings)
    if root is None:
        raise MeaningChanged(f"formatting `{source.name}` would make it unreadable")
    return root


# --- the parts of a document -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node with the way to it, and what its place asks of its quotes.

    `in_braces`: it stands inside `{…}` or `[…]`. `among_quoted`: in a list of quoted texts.
    """

    node: Node
    path: _Path
    in_braces: bool = False
    among_quoted: bool = False


def _walk(spot: _Spot) -> Iterator[_Spot]:
    """Every node below and at a place; no deeper than a document may be nested."""
    yield spot
    node, path = spot.node, spot.path
    if isinstance(node, ScalarNode | Hole):
        return
    in_braces = spot.in_braces or node.span.excerpt[:1] in ("{", "[")
    if isinstance(node, MapNode):
        for entry in node.entries:
            yield from _walk(_Spot(entry.value, (*path, _step(path, entry.key.text)), in_braces))
        return
    texts = [item for item in node.items if isinstance(item, ScalarNode)]
    below = (*path, "*")
    among_quoted = any(
        _is_quoted(text) and not _is_word(text) and _hop(text, below) is None for text in texts
    )
    for item in node.items:
        yield from _walk(_Spot(item, below, in_braces, among_quoted))


def _step(path: _Path, key: str) -> str:
    return "*" if path in _OWN_KEYS else key


def _hop(node: Node, path: _Path) -> tuple[ScalarNode, MapNode] | None:
    """The target and the options of a `target (timeout: 2s)`."""
    if path not in _HOPS or not isinstance(node, ScalarNode):
        return None
    form = hop_form(node)
    return None if form is None or form[1] is None else (form[0], form[1])


def _is_condition(node: Node, path: _Path) -> bool:
    return path in _CONDITIONS and isinstance(node, ScalarNode) and not node.is_null


def _refuse_unreadable(root: MapNode, conditions: Conditions) -> None:
    """Raise PolicyError with every condition and every hop that cannot be read."""
    findings: list[Diagnostic] = []
    for spot in _walk(_Spot(root, ())):
        node, path = spot.node, spot.path
        scalars = [node] if _is_condition(node, path) else []
        if path in _HOPS and isinstance(node, ScalarNode):
            form = hop_form(node)
            findings += form[2] if form is not None else ()
            options = form[1] if form is not None else None
            scalars += [
                entry.value
                for entry in (options.entries if options is not None else ())
                if _is_condition(entry.value, (*path, entry.key.text))
            ]
        for scalar in scalars:
            try:
                conditions.normal(cast(ScalarNode, scalar))
            except PolicyError as error:
                findings += error.diagnostics
    if findings:
        raise PolicyError(sort(findings))


def _meaning(node: Node, path: _Path, conditions: Conditions) -> object:
    """What a node says, however it is written."""
    hop = _hop(node, path)
    if hop is not None:
        options = _meaning(hop[1], path, conditions)
        return [("to", _meaning(hop[0], (*path, "to"), conditions)), *cast("list[object]", options)]
    match node:
        case ScalarNode() if _is_condition(node, path):
            return conditions.normal(node)
        case ScalarNode(text, "plain") if _TYPED.fullmatch(text) or node.is_null:
            return (text,)
        case ScalarNode(text):
            return text
        case ListNode(items):
            return [[_meaning(item, (*path, "*"), conditions)] for item in items]
        case MapNode(entries):
            pairs = [(entry, (*path, _step(path, entry.key.text))) for entry in entries]
            return [(e.key.text, _meaning(e.value, below, conditions)) for e, below in pairs]
        case Hole():
            return None


# --- edits ---------------------------------------------------------------------------------------


def _edits(root: MapNode, conditions: Conditions) -> list[_Edit]:
    """What is to be written instead of what, by place."""
    found: dict[int, _Edit] = {}  # by start: a repeated node (an alias) is met more than once
    for spot in _walk(_Spot(root, ())):
        for edit in _edits_of(spot, conditions):
            found.setdefault(edit[0], edit)
    return [found[start] for start in sorted(found)]


def _edits_of(spot: _Spot, conditions: Conditions) -> Iterator[_Edit]:
    node = spot.node
    hop = _hop(node, spot.path)
    if isinstance(node, MapNode):
        for entry in node.entries:
            if re.match(r":\s", node.span.source.text[entry.key.span.end : entry.key.span.end + 2]):
                yield from _bare(entry.key)
    elif not isinstance(node, ScalarNode):
        return
    elif hop is not None:
        yield from _spread(node, *hop, spot.path, conditions)
    elif _is_condition(node, spot.path):
        yield from _condition(node, spot.in_braces, conditions)
    elif not spot.among_quoted and not any(spot.path[: len(p)] == p for p in _TEXTS):
        yield from _bare(node)


def _spread(
    node: ScalarNode, target: ScalarNode, options: MapNode, path: _Path, conditions: Conditions
) -> Iterator[_Edit]:
    """`target (timeout: 2s)` as `{to: target, timeout: 2s}`."""
    if node.style != "plain" and len(node.text) != len(node.span.excerpt) - 2:
        return  # with escapes in it, nobody knows where its parts stand
    if "\n" in node.span.excerpt:
        return
    name = target.text if _fits(target.text, in_braces=True) else _single(target.text)
    parts = []
    for entry in options.entries:
        start, end = entry.key.span.start, entry.value.span.end
        spot = _Spot(entry.value, (*path, entry.key.text), in_braces=True)
        edits = [(low - start, high - start, new) for low, high, new in _edits_of(spot, conditions)]
        parts.append(_apply(node.span.source.text[start:end], edits))
    yield node.span.start, node.span.end, f"{{{', '.join([f'to: {name}', *parts])}}}"


def _condition(node: ScalarNode, in_braces: bool, conditions: Conditions) -> Iterator[_Edit]:
    """A condition in normal spelling, without needless quotes around it."""
    span = node.span
    if node.style in ("literal", "folded"):
        yield from _block(node, conditions)
        return
    if "\n" in span.excerpt:
        return
    normal = conditions.spelling(node)
    text = node.text.strip()
    if "\t" not in text and " ".join(text.split()) == normal:
        normal = text  # aligned, not misspelt
    if node.style == "plain":
        if normal != text:
            yield span.start, span.end, normal if _fits(normal, in_braces) else _single(normal)
    elif _is_quoted(node) and _fits(normal, in_braces) and not _precedes_comment(node):
        yield span.start, span.end, normal
    elif normal != text:
        yield span.start, span.end, _single(normal)


def _block(node: ScalarNode, conditions: Conditions) -> Iterator[_Edit]:
    """A condition below a `|` or `>`: normal spelling on the lines that its author chose."""
    text, offsets = written(node)
    made = on_lines(text, conditions.spelling(node))
    if made is None or "\t" in text:
        return
    at = text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1
    lines = text[at:].rstrip().splitlines()
    first = _indent(lines[0])
    if [line.split() for line in lines] == [line.split() for line in made]:
        made = [line[min(first, _indent(line)) :].rstrip() for line in lines]  # aligned in itself
    start = node.span.source.offset(node.span.line, 1)
    key = _KEY_INDENT.match(node.span.source.text, start)
    is_sized = re.match(r"[|>][+-]?[1-9]", node.span.excerpt)
    depth = first if is_sized or key is None else key.end() - start + STEP
    moved = (" " * depth + line if line else "" for line in made)
    yield offsets[at], node.span.end, "\n".join(moved)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _bare(node: ScalarNode) -> Iterator[_Edit]:
    """A plain word without its quotes."""
    if _is_quoted(node) and _is_word(node):
        yield node.span.start, node.span.end, node.text


def _is_quoted(node: ScalarNode) -> bool:
    """Whether quotes stand around it that may go."""
    if node.style not in ("single", "double") or "\n" in node.span.excerpt:
        return False
    return node.span.source.text[node.span.end : node.span.end + 1] != "#"  # a comment up close


def _is_word(node: ScalarNode) -> bool:
    return bool(_WORD.fullmatch(node.text)) and not _NO_WORD.fullmatch(node.text)


def _apply(text: str, edits: list[_Edit]) -> str:
    """The text with the edits; a comment behind them keeps its column where there is room."""
    parts: list[str] = []
    done, gained = 0, 0
    for index, (start, end, new) in enumerate(edits):
        parts += [text[done:start], new]
        done = end
        gained += len(new) - (end - start)
        line_end = text.find("\n", end)
        line_end = len(text) if line_end < 0 else line_end
        if index + 1 < len(edits) and edits[index + 1][0] < line_end:
            continue
        comment = _trailing(text, end, line_end)
        if comment is not None and gained:
            parts += [text[done : comment[0]], " " * max(2, comment[1] - comment[0] - gained)]
            done = comment[1]
        gained = 0
    return "".join([*parts, text[done:]])


def _trailing(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The white space in front of a comment in the rest of a line, texts passed over."""
    at = start
    while at < end:
        if text[at] in "\"'" and text[at - 1] in " \t,[{:":
            closing = text.find(text[at], at + 1, end)
            if closing < 0:
                return None
            at = closing + 1
            continue
        match = _COMMENT.match(text, at, end)
        if match:
            return match.span(1)
        at += 1
    return None


# --- YAML's needs --------------------------------------------------------------------------------


def _single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _fits(text: str, in_braces: bool) -> bool:
    """Whether YAML reads the text without quotes as that very text."""
    if "\n" in text or text != text.strip():
        return False
    line = f"a: {{b: {text}, c: d}}\n" if in_braces else f"a: {text}\n"
    document = examine(Source("line", line))
    if document.root is None or document.findings:
        return False
    value = document.root.entries[0].value
    if in_braces:
        if not isinstance(value, MapNode) or [e.key.text for e in value.entries] != ["b", "c"]:
            return False
        value = value.entries[0].value
    return value == ScalarNode(text, "plain", value.span)


def _precedes_comment(node: ScalarNode) -> bool:
    span = node.span
    return bool(_COMMENT.match(span.source.line_text(span.end_line)[span.end_column - 1 :]))
