"""Texts as finite classes of truths: which constant it is, and which tests any other text passes.

A condition tells texts apart only by its own constants. So a text is one of the constants it is
tested with, all outcomes computed, or any other: then its outcomes are free but for what holds of
every text (two prefixes of one text are prefixes of each other, what holds a part holds the part's
parts). That is exact: a text is written from such outcomes by `prefix…part…suffix`, with a mark
between that no constant has. Patterns alone are opaque. Their outcomes are computed for the
constants and for some made-up texts, `Word.settled` asks for these; else they are chosen freely,
and `Reading.is_exact` says whether the text written really has them.

Constants and tests may come at any time; all that is required stays true when more come.
Over 300 lines because what is required of a text and how one is read from a model are one proof.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from turnout.dsl.classes import OTHER
from turnout.dsl.kleene import TEXT_TESTS

from .smt_logic import Formula, Logic
from .smt_samples import Test, made_up, passes_all, plain_test, texts_with

Require = Callable[[Formula], None]
# Texts made up for a test beside patterns; each costs a formula for every test of the word.
MOST_MADE_UP, LEAST_MADE_UP = 40, 2
MANY = 200  # constants of a word, from which on there are but the least
_MARKS = (OTHER, "·", "•", *map(chr, range(0xE000, 0xF8FF)))


@dataclass(frozen=True, slots=True)
class Reading:
    """A text of a model. `choice` is the class it was written from, where it may not be of it."""

    text: str
    is_exact: bool
    choice: Formula


class Texts:
    """All texts of one solver."""

    def __init__(self, logic: Logic, require: Require) -> None:
        """`require` makes a formula hold for good."""
        self._logic = logic
        self._require = require
        self._words: dict[str, Word] = {}
        self._characters: set[str] = set()

    def declare(self, key: str, domain: Iterable[str] | None) -> None:
        """There is a text of this snapshot key; `domain` is None where it is open."""
        closed = None if domain is None else frozenset(domain)
        self._characters.update(*(closed or ()))
        self._words[key] = Word(self._logic, self._require, self._characters, closed)

    def word(self, key: str) -> "Word":
        """The text of a declared key."""
        return self._words[key]

    @property
    def has_patterns(self) -> bool:
        """Whether some text's class is not told by a model alone."""
        return any(word.has_patterns for word in self._words.values())

    def settled(self) -> Iterator[Formula]:
        """For each text with patterns: whether it is of a class that likely is one of a text."""
        return (word.settled() for word in self._words.values() if word.has_patterns)

    def constant(self) -> Iterator[Formula]:
        """For each text with patterns: whether it is one of its constants."""
        return (word.constant() for word in self._words.values() if word.has_patterns)

    def read(self, model: Any, is_known: Callable[[str], bool]) -> dict[str, Reading]:
        """The texts of a model by key, of those keys that are known in it."""
        mark = next(mark for mark in _MARKS if mark not in self._characters)
        found: dict[Word, Reading] = {}
        return {
            key: word.read(model, mark, found) for key, word in self._words.items() if is_known(key)
        }


class Word:
    """One text: truths for the constants it may be, and for the tests it may pass."""

    def __init__(
        self,
        logic: Logic,
        require: Require,
        characters: set[str],
        domain: frozenset[str] | None,
    ) -> None:
        """Start with a text that is not tested yet."""
        self._logic = logic
        self._require = require
        self._characters = characters
        self._domain = domain
        self._equal: dict[str, Formula] = {}
        # Entry i: whether the text is one of the first i + 1 constants.
        self._among: list[Formula] = []
        self._constants: list[str] = []
        self._tests: dict[Test, Formula] = {}
        self._pairs: dict[Word, _Pair] = {}
        self._settled: tuple[int, Formula] = (-1, True)
        self.has_patterns = False
        # What z3 compares with another text; equality there is transitive over however many.
        self.identity = logic.text()
        for text in sorted(domain or ()):
            self._add(text)
        if domain is not None:
            require(self._among[-1] if self._among else False)

    # --- what is asked of a text ---------------------------------------------------------------

    def equals(self, text: str) -> Formula:
        """Whether it is this constant."""
        self._characters.update(text)
        return self._equals(text)

    def passes(self, kind: str, text: str) -> Formula:
        """Whether it passes a test, as `core.TextTest` has it."""
        if kind == "matches":
            plain = plain_test(text)
            if plain is not None:
                kind, text = plain
        if kind == "==":
            return self.equals(text)
        if not text and kind != "matches":
            return True
        self._characters.update("" if kind == "matches" else text)
        return self._passes((kind, text))

    def same(self, other: "Word") -> Formula:
        """Whether it is the same text as another."""
        if self is other:
            return True
        pair = self._pairs.get(other)
        if pair is None:
            pair = self._pairs[other] = other._pairs[self] = _Pair(
                self._logic, self._require, self, other
            )
            for text in (*self._equal, *other._equal):
                pair.meet_at(text)
            for test in (*self._tests, *other._tests):
                pair.agree_on(test)
        return pair.is_same

    def settled(self) -> Formula:
        """Whether it is of a class whose outcomes of patterns are likely to be those of a text.

        Either a constant, or a text that the patterns treat like one without any meaning.
        """
        version = len(self._equal) + len(self._tests)
        if self._settled[0] != version:
            logic = self._logic
            usual = (
                logic.alike(passed, TEXT_TESTS[kind](OTHER, text))
                for (kind, text), passed in self._tests.items()
                if kind == "matches"
            )
            self._settled = (version, logic.either(self.constant(), logic.all_of(usual)))
        return self._settled[1]

    def constant(self) -> Formula:
        """Whether it is one of the constants, made-up ones with them."""
        return self._among[-1] if self._among else False

    # --- constants -----------------------------------------------------------------------------

    def _equals(self, text: str) -> Formula:
        if self._domain is not None:
            return self._equal.get(text, False)
        if text not in self._equal:
            self._add(text)
        return self._equal[text]

    def _add(self, text: str) -> None:
        logic = self._logic
        is_it = self._equal[text] = logic.truth()
        before = self.constant()
        among = logic.truth()
        self._require(logic.alike(among, logic.either(before, is_it)))
        self._require(logic.negate(logic.both(before, is_it)))
        self._among.append(among)
        self._constants.append(text)
        for test, passed in self._tests.items():
            self._outcome(text, is_it, test, passed)
        for pair in tuple(self._pairs.values()):
            pair.meet_at(text)

    def _outcome(self, text: str, is_it: Formula, test: Test, passed: Formula) -> None:
        kind, wanted = test
        is_passed = TEXT_TESTS[kind](text, wanted)
        self._require(
            self._logic.implies(is_it, passed if is_passed else self._logic.negate(passed))
        )

    # --- tests ---------------------------------------------------------------------------------

    def _passes(self, test: Test) -> Formula:
        if test not in self._tests:
            logic = self._logic
            passed = logic.truth()
            for other, its in self._tests.items():
                for law in _laws(test, passed, other, its, logic):
                    self._require(law)
            self._tests[test] = passed
            for text, is_it in self._equal.items():
                self._outcome(text, is_it, test, passed)
            for pair in tuple(self._pairs.values()):
                pair.agree_on(test)
            self.has_patterns |= test[0] == "matches" and self._domain is None
            self._make_up(test)
        return self._tests[test]

    def _make_up(self, new: Test) -> None:
        """Texts that pass the new test, alone and beside others, where patterns are opaque."""
        if self.has_patterns:
            most = MOST_MADE_UP if len(self._equal) < MANY else LEAST_MADE_UP
            unknown = (made for made in made_up(new, self._tests) if made not in self._equal)
            for made in tuple(islice(unknown, most)):
                self._equals(made)

    # --- texts of models -----------------------------------------------------------------------

    def read(self, model: Any, mark: str, found: dict["Word", Reading]) -> Reading:
        """The text it is in a model. `found` are those that were read before; it joins them."""
        reading = self._read(model, mark, found)
        found[self] = reading
        return reading

    def _read(self, model: Any, mark: str, found: dict["Word", Reading]) -> Reading:
        logic = self._logic
        if self._among and logic.value(model, self._among[-1]):
            return Reading(self._constant_in(model), True, True)
        for other, pair in self._pairs.items():
            if other in found and logic.value(model, pair.is_same):
                return found[other]
        outcomes = {test: logic.value(model, passed) for test, passed in self._tests.items()}
        # Two marks: one may be a made-up text. Texts that are compared each have their own number.
        number = 2 if self._pairs or self.has_patterns else 1
        number += sum(1 for other in found if other._pairs and self._pairs)
        first, *more = texts_with(outcomes, mark * number)
        if self._pairs:  # another way to write it could be another word's text
            more = []
        for made in (first, *more):
            if made not in self._equal and passes_all(made, outcomes):
                return Reading(made, True, True)
        signs = (
            passed if outcomes[test] else logic.negate(passed)
            for test, passed in self._tests.items()
        )
        choice = logic.all_of((logic.negate(self.constant()), *signs))
        return Reading(first, False, choice)

    def _constant_in(self, model: Any) -> str:
        low, high = 0, len(self._among) - 1
        while low < high:
            middle = (low + high) // 2
            if self._logic.value(model, self._among[middle]):
                high = middle
            else:
                low = middle + 1
        return self._constants[low]


class _Pair:
    """Two texts that are compared: equal ones are the same constant, or of the same class."""

    def __init__(self, logic: Logic, require: Require, one: Word, other: Word) -> None:
        self._logic = logic
        self._require = require
        self._words = (one, other)
        self._done: set[str | Test] = set()
        self.is_same = logic.same_text(one.identity, other.identity)

    def meet_at(self, text: str) -> None:
        """Both have a constant: they are equal where both are it, and never where one is."""
        if text in self._done:
            return
        self._done.add(text)
        one, other = (word._equals(text) for word in self._words)
        self._require(self._logic.implies(self.is_same, self._logic.alike(one, other)))
        self._require(self._logic.implies(self._logic.both(one, other), self.is_same))

    def agree_on(self, test: Test) -> None:
        """Equal texts pass the same tests."""
        if test in self._done:
            return
        self._done.add(test)
        one, other = (word._passes(test) for word in self._words)
        self._require(self._logic.implies(self.is_same, self._logic.alike(one, other)))


def _laws(one: Test, passed: Formula, other: Test, its: Formula, logic: Logic) -> Iterator[Formula]:
    """What holds of the outcomes of two tests whatever the text."""
    (kind, text), (its_kind, its_text) = one, other
    if "matches" in (kind, its_kind):
        return
    if _follows(kind, text, its_kind, its_text):
        yield logic.implies(passed, its)
    if _follows(its_kind, its_text, kind, text):
        yield logic.implies(its, passed)
    if kind == its_kind != "has" and not (
        TEXT_TESTS[kind](text, its_text) or TEXT_TESTS[kind](its_text, text)
    ):
        yield logic.negate(logic.both(passed, its))


def _follows(kind: str, text: str, other_kind: str, other_text: str) -> bool:
    """Whether every text that passes the first test passes the second."""
    if other_kind == "has":
        return other_text in text
    return kind == other_kind and TEXT_TESTS[kind](text, other_text)
