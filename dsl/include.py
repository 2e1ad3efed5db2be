"""A policy and the files it includes, as one document.

Reads no file itself: `load` is handed in. Paths are relative to the file that names them and stay
inside the folder of the main file; there is no cycle, and no more than MAX_FILES. What is wrong
with a path or behind it is a finding at the line that names it; what is wrong inside a file is a
finding in that file.

What does not belong here: opening files, and links that lead out of the folder (whoever loads).
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from . import traps
from .diagnostic import Diagnostic, Related
from .document import MAX_CHARACTERS, MAX_NODES, Entry, ListNode, MapNode, Node, ScalarNode, examine
from .fields import Reader
from .source import Source, Span
from .vocabulary import INCLUDED, POLICY, ListOf, MapOf

MAX_FILES = 64

Load = Callable[[str], Source]
"""The text of a file by its path from the main file's folder. Raises: NotLoaded."""

_ABSOLUTE = re.compile(r"[/~]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]+://")


class NotLoaded(Exception):
    """A file that cannot be included; `message` and `help` are those of the finding."""

    def __init__(self, message: str, help: str | None = None) -> None:
        """Hold what the author is told."""
        super().__init__(message)
        self.message = message
        self.help = help


def no_files(path: str) -> Source:
    """The loader of a policy that is a text alone."""
    raise NotLoaded(
        "this policy is read on its own, without other files", "write what it needs into this file"
    )


@dataclass(frozen=True, slots=True)
class Whole:
    """The merged document. `root` is None where the main file cannot be read.

    `broken`: a file is missing or unreadable, so that what it holds is not here.
    """

    root: MapNode | None
    sources: tuple[Source, ...]
    findings: tuple[Diagnostic, ...]
    broken: bool


def gather(main: Source, load: Load) -> Whole:
    """The main file with everything that it includes. Never raises."""
    return _Gathering(main, load).run()


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    root: MapNode


class _Gathering:
    """One main file, and what was read on the way."""

    def __init__(self, main: Source, load: Load) -> None:
        self.main = main
        self.load = load
        self.reader = Reader()
        self.sources: list[Source] = []
        self.files: dict[str, MapNode | None] = {}
        self.merged: dict[str, Entry] = {}
        self.characters = 0
        self.nodes = 0
        self.broken = False
        self.full = False  # no more is read, whatever is named

    def run(self) -> Whole:
        path = posixpath.basename(self.main.name.replace("\\", "/"))
        root = self.read(path, self.main)
        if root is None:
            return Whole(None, tuple(self.sources), tuple(self.reader.findings), True)
        for entry in root.entries:
            if entry.key.text != "include":
                self.merged[entry.key.text] = entry
        self.follow(path, root, (path,))
        merged = MapNode(tuple(self.merged.values()), root.span)
        return Whole(merged, tuple(self.sources), tuple(self.reader.findings), self.broken)

    def read(self, path: str, source: Source) -> MapNode | None:
        document = examine(source)
        self.reader.findings += document.findings
        root = document.root
        self.files[path] = root
        self.sources.append(source if root is None else root.span.source)
        self.characters += len(source.text)
        self.nodes += 0 if root is None else _size(root)
        self.broken = self.broken or root is None
        return root

    def follow(self, path: str, root: MapNode, way: tuple[str, ...]) -> None:
        """Read what a file includes; `way` leads to it from the main file."""
        node = next((e.value for e in root.entries if e.key.text == "include"), None)
        if node is None:
            return
        single = isinstance(node, ScalarNode) and not node.is_null
        named: dict[str, Span] = {}
        for item in (node,) if single else self.reader.items(node, "`include`"):
            text = self.reader.text(item, "the path of an included file")
            inner = None if text is None else self.resolve(text.value, text.span, path)
            if text is None or inner is None:
                self.broken = True
            elif inner in named:
                related = (Related("first named here", named[inner]),)
                message = f"`{traps.shown(text.value)}` is named twice"
                self.reader.find("RP004", message, text.span, "name it once", related=related)
            else:
                named[inner] = text.span
                self.include(inner, text.span, way)

    def include(self, path: str, span: Span, way: tuple[str, ...]) -> None:
        if path in way:
            loop = " -> ".join((*way[way.index(path) :], path))
            message = f"`{traps.shown(path)}` includes itself: {traps.shown(loop)}"
            self.refuse(message, span, "remove one of these includes")
            return
        if path in self.files or self.full:
            return  # read by another way: it counts once
        if len(self.sources) >= MAX_FILES:
            self.refuse(
                f"a policy has at most {MAX_FILES} files", span, "put some of them together"
            )
            return
        try:
            source = self.load(path)
        except NotLoaded as problem:
            self.refuse(problem.message, span, problem.help)
            return
        root = None
        if self.characters + len(source.text) <= MAX_CHARACTERS:
            root = self.read(path, source)
            self.full = self.nodes > MAX_NODES or (root is None and len(source.text) > MAX_NODES)
        else:
            self.full = True
        if self.full:
            most = f"{MAX_CHARACTERS} characters or {MAX_NODES} values"
            message = f"the files together hold more than {most}"
            self.refuse(message, span, "a policy of this size is a mistake: split it")
        if root is None or self.full:
            return
        for entry in root.entries:
            if entry.key.text in INCLUDED.names:
                if entry.key.text != "include":
                    self.merge(entry)
            else:
                self.reader.unknown_key(entry.key, INCLUDED)
        self.follow(path, root, (*way, path))

    def resolve(self, written: str, span: Span, path: str) -> str | None:
        """The path from the main file's folder, None where it must not be used."""
        if "\\" in written:
            self.refuse(
                "paths are written with `/`", span, f"write `{written.replace(chr(92), '/')}`"
            )
        elif "${" in written:
            self.refuse("a path holds no variables", span, "write the path itself")
        elif _ABSOLUTE.match(written):
            message = f"`{traps.shown(written)}` is not a path beside this file"
            self.refuse(message, span, "write a path relative to this file, such as `models.yml`")
        else:
            whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), written))
            if whole == ".." or whole.startswith("../"):
                message = f"`{traps.shown(written)}` is outside the folder of `{self.main.name}`"
                self.refuse(message, span, "put it into that folder, or below it")
            else:
                return whole
        return None

    def refuse(self, message: str, span: Span, help: str | None) -> None:
        self.broken = True
        self.reader.find("RP006", message, span, help)

    def merge(self, entry: Entry) -> None:
        """Add a section of an included file to what there is of it."""
        key = entry.key.text
        if isinstance(entry.value, ScalarNode) and entry.value.is_null and entry.value.text == "":
            if key in self.merged:
                return
        first = self.merged.get(key)
        if first is None:
            self.merged[key] = entry
            return
        kind = next(k.kind for k in POLICY.keys if k.name == key)
        if isinstance(kind, ListOf) and _are_lists(first.value, entry.value):
            items = (*first.value.items, *entry.value.items)  # type: ignore[union-attr]
            self.merged[key] = Entry(first.key, ListNode(items, first.value.span))
        elif isinstance(kind, MapOf) and _are_maps(first.value, entry.value):
            self.merged[key] = Entry(first.key, self.united(first.value, entry.value))
        else:
            self.twice(key, entry.key.span, first.key.span)

    def united(self, one: Node, other: Node) -> MapNode:
        assert isinstance(one, MapNode) and isinstance(other, MapNode)
        known = {entry.key.text: entry.key.span for entry in one.entries}
        added: list[Entry] = []
        for entry in other.entries:
            if entry.key.text in known:
                self.twice(entry.key.text, entry.key.span, known[entry.key.text])
            else:
                added.append(entry)
        return MapNode((*one.entries, *added), one.span)

    def twice(self, key: str, span: Span, first: Span) -> None:
        message = f"`{traps.shown(key)}` is written in two files"
        related = (Related("first written here", first),)
        self.reader.find("RP004", message, span, "keep one of the two", related=related)


def _are_lists(one: Node, other: Node) -> bool:
    return isinstance(one, ListNode) and isinstance(other, ListNode)


def _are_maps(one: Node, other: Node) -> bool:
    return isinstance(one, MapNode) and isinstance(other, MapNode)


def _size(node: Node) -> int:
    """How many values a node holds; nodes are never deeper than a document may be."""
    match node:
        case ListNode(items):
            return 1 + sum(map(_size, items))
        case MapNode(entries):
            return 1 + sum(1 + _size(entry.value) for entry in entries)
        case _:
            return 1
