"""Texts as finite classes: what a program can tell apart, and one text that stands for each.

A caller's text may be a secret or a person's name, and is not to be kept. All that a program ever
learns of it are the outcomes of its own tests, so any text with the same outcomes decides the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .core import (
    Compare,
    Const,
    Member,
    Program,
    Read,
    Term,
    TextTest,
)
from .kleene import TEXT_TESTS
from .walk import leaves_first, program_terms

# Stands for what no test names. A policy can hold it too; the outcomes are compared in any case.
OTHER = "…"


@dataclass(frozen=True, slots=True)
class TextClasses:
    """The tests that a program makes of one text.

    `is_opaque`: it is compared with another text of the snapshot, so no class tells enough.
    """

    equal: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    is_opaque: bool = False

    def outcomes(self, text: str) -> tuple[frozenset[str], ...]:
        """Which of the tests hold for a text."""
        return (
            self.equal & {text},
            frozenset(filter(text.startswith, self.prefixes)),
            frozenset(filter(text.endswith, self.suffixes)),
            frozenset(part for part in self.parts if part in text),
            frozenset(p for p in self.patterns if TEXT_TESTS["matches"](text, p)),
        )

    def representative(self, text: str) -> str | None:
        """A text of the same class made of the program's own words; None if there is none."""
        if self.is_opaque:
            return None
        wanted = self.outcomes(text)
        same, prefixes, suffixes, parts, _ = wanted
        if same:
            return text
        prefix, suffix = max(prefixes, key=len, default=""), max(suffixes, key=len, default="")
        inside = OTHER.join(sorted(parts))
        for made in (
            OTHER.join(filter(None, (prefix, inside, suffix))) or OTHER,
            OTHER.join((prefix, inside, suffix)),
            prefix + OTHER + suffix,
            prefix + suffix,
            prefix,
            suffix,
        ):
            if self.outcomes(made) == wanted:
                return made
        return None


def text_classes(program: Program, keys: Iterable[str]) -> Mapping[str, TextClasses]:
    """The tests that a program makes of the texts in these slots."""
    found = {key: _Tests() for key in keys}
    for term in leaves_first(program_terms(program)):
        match term:
            case Compare(_, left, right):
                for side, other in ((left, right), (right, left)):
                    for tests in _of(found, side):
                        tests.compare(other)
            case Member(operand, values):
                for tests in _of(found, operand):
                    tests.equal.update(value for value in values if isinstance(value, str))
            case TextTest(kind, operand, text):
                for tests in _of(found, operand):
                    tests.by_kind[kind].add(text)
            case _:
                pass
    return {key: tests.frozen() for key, tests in found.items()}


class _Tests:
    def __init__(self) -> None:
        self.equal: set[str] = set()
        self.by_kind: dict[str, set[str]] = {kind: set() for kind in TEXT_TESTS}
        self.is_opaque = False

    def compare(self, other: Term) -> None:
        if isinstance(other, Const) and isinstance(other.value, str):
            self.equal.add(other.value)
        elif not isinstance(other, Const):
            self.is_opaque = True

    def frozen(self) -> TextClasses:
        return TextClasses(
            frozenset(self.equal),
            frozenset(self.by_kind["starts_with"]),
            frozenset(self.by_kind["ends_with"]),
            frozenset(self.by_kind["has"]),
            frozenset(self.by_kind["matches"]),
            self.is_opaque,
        )


def _of(found: Mapping[str, _Tests], operand: Term) -> Iterator[_Tests]:
    """The texts that may reach an operand: read by it, or by what it is made of."""
    for term in leaves_first([operand]):
        if isinstance(term, Read) and term.key in found:
            yield found[term.key]
