"""How hard a request looks: a score of 10 000 and a level, from the request alone.

The same request has the same score, always and everywhere: no model, no randomness, integers in the
result. Signs are counted in the last user message (words, symbols, structure) and in the request's
shape (turns, tools, instructions); each is worth so many points up to a cap, and the sum is bent
into 0..10 000. docs/complexity.md says how well that does on public data.

Cost: at most `LOOKED_AT` characters are read, the beginning and the end; 0.9 ms for those.
"""

# ruff: noqa: RUF001 (letters of other scripts; a row is as long as it is)

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from . import prompt
from .attributes import COMPLEXITIES
from .complexity_words import CATEGORIES, PHRASES, WORDS
from .request import Request

LOOKED_AT = 4_000

_, MEDIUM_FROM, HIGH_FROM = (least for least, _ in COMPLEXITIES)

_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")
_SYMBOLS = re.compile(r"[=<>^√∑∏∫∂∇≤≥≠≈∈∉⊂∪∩∀∃→⇒↔⊃∧∨¬·×÷±∞π%$|\\{}]")
# Blanks, but no line's end: a thousand empty lines would else be gone over from each of them.
_LISTED = re.compile(r"^[ \t]*(?:[-*•]|\(?\d{1,2}[.)]|[IVX]{1,4}[.)])\s", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^.*[;{}][ \t]*$|^[ \t]*(?:def |class |import |SELECT |#include)", re.MULTILINE
)
_FORMULA = re.compile(r"[A-Za-z0-9)]\s?[\^_=+*/]\s?[A-Za-z0-9(]|\\[a-z]{2,}|\b[a-zA-Z]\([a-z]\)")
_NEGATED = re.compile(r"\b(?:NOT|EXCEPT|LEAST|FALSE|NEVER)\b")
_UNLIKE_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_STEPS = re.compile(
    r"step[- ]by[- ]step|chain of thought|in detail|edge cases?|trade-?offs?|root cause"
    r"|schritt für schritt|étape par étape|paso a paso|passo a passo|一步一步|段階的",
    re.IGNORECASE,
)


class Signs(NamedTuple):
    """What is counted in a request; every field is a count of 0 or more."""

    length: int  # bits of the number of words: 0, 1, 2, 2, 3, …
    long_words: int  # of 9 letters and more, of 100 words
    numbers: int
    symbols: int
    formulas: int
    code_lines: int
    listed: int  # lines of a list
    questions: int
    negated: int  # NOT, EXCEPT in capitals
    steps: int  # "step by step", "edge cases"
    turns: int  # the user's messages before the last
    tools: int
    schema: int
    instructions: int  # bits of the number of words
    math: int
    science: int
    law: int
    code: int
    effort: int
    reason: int
    constraint: int
    easy: int


class Worth(NamedTuple):
    """Points for each one counted, and how many count at most."""

    points: int
    most: int


WORTH: Mapping[str, Worth] = {
    "length": Worth(120, 12),
    "long_words": Worth(-20, 40),
    "numbers": Worth(100, 15),
    "symbols": Worth(100, 15),
    "formulas": Worth(150, 8),
    "code_lines": Worth(150, 12),
    "listed": Worth(60, 10),
    "questions": Worth(40, 5),
    "negated": Worth(100, 2),
    "steps": Worth(700, 2),
    "turns": Worth(80, 8),
    "tools": Worth(100, 8),
    "schema": Worth(300, 1),
    "instructions": Worth(60, 10),
    "math": Worth(250, 8),
    "science": Worth(190, 6),
    "law": Worth(120, 8),
    "code": Worth(200, 8),
    "effort": Worth(900, 3),
    "reason": Worth(200, 8),
    "constraint": Worth(60, 8),
    "easy": Worth(-400, 3),
}
_WORTH = tuple(WORTH[sign] for sign in Signs._fields)
HALFWAY = 2_500  # as many points make half of the scale


def score(request: Request) -> int:
    """How hard a request looks, 0..10 000."""
    points = sum(
        worth.points * min(count, worth.most)
        for count, worth in zip(signs(request), _WORTH, strict=True)
    )
    points = max(points, 0)
    return points * 10_000 // (points + HALFWAY)


def level(of_score: int) -> str:
    """The level of a score: `low`, `medium` or `high`."""
    if of_score < MEDIUM_FROM:
        return "low"
    return "medium" if of_score < HIGH_FROM else "high"


def signs(request: Request) -> Signs:
    """What is counted in a request."""
    text = looked_at(prompt.last_user_text(request) or "")
    words = _WORD.findall(text.lower())
    counts = dict.fromkeys(CATEGORIES, 0)
    for word, times in Counter(words).items():
        index = WORDS.get(word)
        if index is None and word[-1] == "s" and len(word) > 4:
            index = WORDS.get(word[:-1])
        if index is not None:
            counts[CATEGORIES[index]] += times
    unlike = len(_UNLIKE_WORDS.findall(text))
    if unlike:
        for category, phrases in PHRASES:
            counts[category] += sum(map(text.count, phrases))
    # Two characters of such a script say about as much as a word.
    number = len(words) + unlike // 2
    tools = request.body.get("tools")
    wanted = request.body.get("response_format")
    return Signs(
        length=number.bit_length(),
        long_words=100 * sum(len(word) >= 9 for word in words) // max(number, 1),
        numbers=len(_NUMBER.findall(text)),
        symbols=len(_SYMBOLS.findall(text)),
        formulas=len(_FORMULA.findall(text)),
        code_lines=len(_CODE_LINE.findall(text)),
        listed=len(_LISTED.findall(text)),
        questions=sum(map(text.count, "?？؟")),
        negated=len(_NEGATED.findall(text)),
        steps=len(_STEPS.findall(text)),
        turns=max(prompt.user_turns(request) - 1, 0),
        tools=len(tools) if isinstance(tools, list) else 0,
        schema=int(isinstance(wanted, dict) and wanted.get("type") == "json_schema"),
        instructions=(prompt.instructions_length(request) // 6).bit_length(),
        **counts,
    )


def looked_at(text: str, most: int = LOOKED_AT) -> str:
    """The part of a long text that is looked at: its beginning, and a quarter from its end."""
    if len(text) <= most:
        return text
    head = most * 3 // 4
    return text[:head] + "\n" + text[head - most :]
