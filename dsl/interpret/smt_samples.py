r"""Texts that pass given tests, and patterns that say no more than an ordinary test of text.

A sample of a pattern is thought of by reading the pattern as it is mostly written (groups,
alternatives, classes, repetitions), and RE2 has the last word: what it does not find is no sample.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product

from turnout.dsl.classes import OTHER
from turnout.dsl.kleene import TEXT_TESTS
from turnout.dsl.pattern import finder, problem

Test = tuple[str, str]  # the kind of a `core.TextTest`, and its text

OTHERS = (OTHER, "x")  # texts without any meaning
MAX_SAMPLES = 8
MAX_LENGTH = 400  # characters of a sample
_PLAIN = re.compile(r"(\^?)((?:[A-Za-z0-9 _/:,@=<>&%#~-]|\\\.)*)(\$?)")
_KINDS = {("", ""): "has", ("^", ""): "starts_with", ("", "$"): "ends_with", ("^", "$"): "=="}
_GROUP = re.compile(r"\((?:\?P?<\w+>|\?[a-zA-Z-]*:|(?!\?))")
_FLAGS = re.compile(r"\(\?[a-zA-Z-]+\)")
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_TIMES = re.compile(r"([*+?]|\{(\d+)(?:,\d*)?\})\??")
_ESCAPED = re.compile(r"\\(?:[pP](?:\{\^?\w+\}|\w)|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_TRIED = "x0X_ -./:é\n"  # what stands for a class, whichever of these it has first


def plain_test(pattern: str) -> tuple[str, str] | None:
    r"""The kind and the text of a test that means the same; None where there is none.

    >>> plain_test("^gpt-4"), plain_test(r"^gpt-4\.1$"), plain_test("a|b")
    (('starts_with', 'gpt-4'), ('==', 'gpt-4.1'), None)
    """
    found = _PLAIN.fullmatch(pattern)
    if found is None:
        return None
    start, text, end = found.groups()
    return _KINDS[start, end], text.replace("\\.", ".")


@lru_cache(maxsize=1_024)
def samples(pattern: str) -> tuple[str, ...]:
    """A few texts in which the pattern is found; none where none was thought of.

    >>> samples("^a[ds]*$"), samples("(?i)free|pro")
    (('a', 'ad', 'as'), ('free', 'pro', 'FREE', 'PRO'))
    """
    is_found = finder(pattern)
    thought_of: dict[str, None] = {}
    for branch, least in product(range(3), (0, 1)):
        text = _Reader(pattern, branch, least).text()
        if text is not None and len(text) <= MAX_LENGTH and is_found(text):
            thought_of[text] = None
    for text in (*thought_of, *map(str.swapcase, thought_of)):
        if is_found(text):
            thought_of[text] = None
    return tuple(thought_of)[:MAX_SAMPLES]


def made_up(new: Test, tests: Iterable[Test]) -> Iterator[str]:
    """Texts that may pass a test, alone first, then beside each other test of the same text."""
    by_kind = _by_kind(tests)
    kind, text = new
    if kind == "matches":
        plain = (*samples(text), *OTHERS)
    else:
        plain = (*(some for one in by_kind["matches"] for some in samples(one)), *OTHERS)
        by_kind = _by_kind([new])
    heads = (*by_kind["starts_with"], *by_kind["has"], OTHER)
    tails = (*by_kind["ends_with"], *by_kind["has"], OTHER)
    yield from plain
    yield from (head + some for head in heads for some in plain)
    yield from (some + tail for tail in tails for some in plain)
    yield from (head + some + tail for head in heads for tail in tails for some in plain)


def texts_with(outcomes: Mapping[Test, bool], marks: str) -> Iterator[str]:
    """Texts that may have these outcomes. The first has for sure all but those of patterns.

    `marks` is a text that no character of any test is in.
    """
    by_kind = _by_kind(test for test, is_passed in outcomes.items() if is_passed)
    head = max(by_kind["starts_with"], key=len, default="")
    tail = max(by_kind["ends_with"], key=len, default="")
    parts: list[str] = []
    for part in sorted(by_kind["has"], key=lambda one: (-len(one), one)):
        if not any(part in whole for whole in (head, tail, *parts)):
            parts.append(part)
    inside = marks.join(parts)
    yield marks.join((head, inside, tail)) if inside else head + marks + tail
    yield head + inside + tail
    for pattern in by_kind["matches"]:
        for some in samples(pattern):
            yield head + inside + some + tail


def passes_all(text: str, outcomes: Mapping[Test, bool]) -> bool:
    """Whether the outcomes of these tests are those of the text."""
    return all(
        TEXT_TESTS[kind](text, wanted) is is_passed
        for (kind, wanted), is_passed in outcomes.items()
    )


def _by_kind(tests: Iterable[Test]) -> dict[str, list[str]]:
    by_kind: dict[str, list[str]] = {kind: [] for kind in TEXT_TESTS}
    for kind, text in tests:
        by_kind[kind].append(text)
    return by_kind


class _Reader:
    """Reads a pattern once: of alternatives the one of a number, of `*` the least given.

    Of characters that a class stands for it takes one after the other, from that number on.
    """

    def __init__(self, pattern: str, branch: int, least: int) -> None:
        self._pattern = pattern
        self._branch = branch
        self._turn = branch
        self._least = least
        self._at = 0

    def text(self) -> str | None:
        """A text, or None where the pattern was not understood."""
        try:
            text = self._alternatives()
        except RecursionError:
            return None
        return text if self._at == len(self._pattern) else None

    def _alternatives(self) -> str:
        read = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            read.append(self._sequence())
        return read[self._branch % len(read)]

    def _sequence(self) -> str:
        return "".join(self._repeated())

    def _repeated(self) -> Iterator[str]:
        while self._peek() not in ("", "|", ")"):
            start = self._at
            part = self._part()
            times = self._take(_TIMES)
            if times is None:
                yield part
                continue
            end = self._at
            for left in range(self._count(times), 0, -1):
                yield part
                if left > 1:  # read anew: a class has its next character then
                    self._at = start
                    part = self._part()
            self._at = end

    def _count(self, times: re.Match[str]) -> int:
        if times[2] is not None:
            return min(int(times[2]), MAX_LENGTH + 1)
        return 1 if times[1] == "+" else self._least

    def _part(self) -> str:
        if self._take(_FLAGS):
            return ""
        if self._take(_GROUP):
            inside = self._alternatives()
            self._at += 1  # its bracket
            return inside
        found = self._take(_CLASS)
        if found is not None:
            inside = found[0].strip("[^]")
            return self._one_of(found[0], inside)
        if self._pattern.startswith("\\Q", self._at):
            quoted, _, _ = self._pattern[self._at + 2 :].partition("\\E")
            self._at += len(quoted) + 4
            return quoted
        found = self._take(_ESCAPED)
        if found is not None:
            is_place = found[0][1] in "bBAzQE"
            return "" if is_place else self._one_of(found[0], found[0][1:])
        character = self._peek()
        self._at += 1
        return {"^": "", "$": "", ".": "x"}.get(character, character)

    def _one_of(self, written: str, named: str) -> str:
        """The next character that a class or an escape stands for."""
        fitting = _fitting(written, "".join(dict.fromkeys(_TRIED + named)))
        self._turn += 1
        return fitting[(self._turn - 1) % len(fitting)] if fitting else ""

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self, expected: re.Pattern[str]) -> re.Match[str] | None:
        found = expected.match(self._pattern, self._at)
        if found is not None:
            self._at = found.end()
        return found


@lru_cache(maxsize=1_024)
def _fitting(written: str, tried: str) -> str:
    whole = f"^(?s:{written})$"
    if problem(whole) is not None:
        return ""
    return "".join(filter(finder(whole), tried))
