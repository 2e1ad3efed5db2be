"""Every word of the examples, one edit away from what was meant: material for a test.

A word is a key or a name of the language, or a reference to what the file declares; `Mutant` is
the word misspelt in its file. Words that the author declares are of the kind `declared`.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from turnout.dsl import tree
from turnout.dsl.document import ListNode, MapNode, Node, ScalarNode, hop_form, read
from turnout.dsl.expression import parse_scalar
from turnout.dsl.source import Source, Span

_CONDITIONS = {"condition", "when", "where", "only", "never", "always"}
_NAMED = {"let", "providers", "targets", "lists", "tenants"}  # keys are the author's
_ENUMS = {"sticky", "by", "scope", "kind", "catch"}
_REFERENCES = {"route", "to", "fallback", "cheapest_of", "fastest_of", "first_of", "expect", "rule"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WEEKDAYS = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a file: what kind it is, and where it stands."""

    kind: str
    text: str
    start: int
    line: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one word misspelt."""

    path: Path
    word: Word
    edit: str
    misspelt: str
    text: str

    def __str__(self) -> str:
        """The mutant in a line, for a report."""
        return (
            f"{self.path.name}:{self.word.line} {self.word.kind} {self.edit}: "
            f"`{self.word.text}` -> `{self.misspelt}`"
        )


def mutants(path: Path, seed: int = 1) -> Iterator[Mutant]:
    """One mutant for each word and each of the four edits, at a place drawn by the seed."""
    text = path.read_text(encoding="utf-8")
    for word in words(Source(path.name, text)):
        for edit in ("drop", "double", "swap", "replace"):
            chance = random.Random(f"{seed}:{path.name}:{word.start}:{edit}")
            misspelt = _misspelt(word.text, edit, chance)
            if misspelt is not None:
                end = word.start + len(word.text)
                whole = text[: word.start] + misspelt + text[end:]
                yield Mutant(path, word, edit, misspelt, whole)


def _misspelt(word: str, edit: str, chance: random.Random) -> str | None:
    """A letter dropped, doubled, swapped with its neighbour or replaced; None where none can be."""
    places = [i for i, c in enumerate(word) if c.isalpha() and not word[i : i + 2] == "//"]
    chance.shuffle(places)
    for at in places:
        head, letter, tail = word[:at], word[at], word[at + 1 :]
        match edit:
            case "drop":
                made = head + tail
            case "double":
                made = head + letter + letter + tail
            case "swap":
                made = head + tail[:1] + letter + tail[1:] if tail[:1].isalpha() else word
            case _:
                made = head + chance.choice(_LETTERS) + tail
        if made not in ("", word) and not made.startswith((".", "-", "/")):
            return made
    return None


def words(source: Source) -> list[Word]:
    """The words of a file, in the order of their places."""
    found: dict[int, Word] = {}
    for kind, span in _spans(read(source), (), _domains(source)):
        bare = re.fullmatch(r"[\"']?([^\"']*)[\"']?", span.excerpt)
        if bare is not None and any(c.isalpha() for c in bare[1]):
            start = span.start + bare.start(1)
            found.setdefault(start, Word(kind, bare[1], start, source.position(start)[0]))
    return [found[start] for start in sorted(found)]


def _domains(source: Source) -> set[str]:
    declared = next((e.value for e in read(source).entries if e.key.text == "attributes"), None)
    names = (
        {entry.key.text for entry in declared.entries} if isinstance(declared, MapNode) else set()
    )
    return names | {
        "request_type",
        "complexity",
        "task",
        "breaker",
        "tier",
        "tenant.region",
        "region",
    }


def _spans(node: Node, path: tuple[str, ...], enums: set[str]) -> Iterator[tuple[str, Span]]:
    last = next((key for key in reversed(path) if key != "*"), "")
    if isinstance(node, MapNode):
        for entry in node.entries:
            yield from _key(entry.key, path, enums)
            yield from _spans(entry.value, (*path, entry.key.text), enums)
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from _spans(item, (*path, "*"), enums)
    elif isinstance(node, ScalarNode) and not node.is_null:
        if _holds_condition(path, last):
            yield from _of_expression(parse_scalar(node), enums)
        elif last in _ENUMS or (path[0] == "budgets" and path[-2:-1] == ("at",)):
            yield "enum", node.span
        elif last in _REFERENCES or (path[:2] == ("embed", "target")) or path[:1] == ("models",):
            form = hop_form(node)
            if form is not None and form[1] is not None:
                yield "target", form[0].span
                yield from _spans(form[1], path, enums)
            else:
                yield ("expected" if path[0] == "tests" else "target"), node.span


def _holds_condition(path: tuple[str, ...], last: str) -> bool:
    if path[:1] == ("tests",):
        return False
    return last in _CONDITIONS or path[:1] == ("let",) or path[::2] == ("require", "target")


def _key(key: ScalarNode, path: tuple[str, ...], enums: set[str]) -> Iterator[tuple[str, Span]]:
    top = path[:1]
    if len(path) == 1 and path[0] in _NAMED:
        yield "declared", key.span
    elif path == ("models",) or key.text.startswith(("header.", "meta.")):
        return  # what clients write, no word of the file
    elif path == ("attributes",):
        yield "attribute", key.span
    elif path[-1:] in (("split",), ("ramp",)) and "/" in key.text:
        yield "target", key.span
    elif top == ("tests",) and path[-1:] == ("given",):
        yield "given", key.span
    elif path[-1:] == ("headers",) or path[-1:] == ("above",) or "%" in key.text:
        return
    else:
        yield "key", key.span


def _of_expression(node: Any, enums: set[str]) -> Iterator[tuple[str, Span]]:
    match node:
        case tree.Name(text, span):
            yield ("weekday" if text in _WEEKDAYS else "name"), span
            return
        case tree.Index(name):
            yield "name", name.span
            return
        case tree.Call(name, arguments, part=part):
            yield "function", name.span
            if part is not None:
                yield "function", part.span
            for argument in arguments:
                if isinstance(argument, tree.Literal) and name.text not in ("matches", "bucket"):
                    if argument.kind == "string":
                        yield "argument", argument.span
                else:
                    yield from _of_expression(argument, enums)
            return
        case tree.Comparison(left=tree.Name(text), right=tree.Literal(kind="string", span=span)):
            yield "name", node.left.span
            if text in enums:
                yield "enum", span
            return
        case tree.Membership(operand=tree.Name(text), collection=tree.Listing(items)):
            yield "name", node.operand.span
            for item in items if text in enums else ():
                yield "enum", item.span
            return
    if is_dataclass(node):
        for field in fields(node):
            value = getattr(node, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if is_dataclass(part) and not isinstance(part, Span | Source | tree.Literal):
                    yield from _of_expression(part, enums)
