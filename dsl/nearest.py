"""The known words most like a misspelt one, for a did-you-mean."""

from collections.abc import Callable, Iterable
from itertools import islice

MOST_SHOWN = 3
MOST_LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The closest known word, None if none is close; of equals the first in alphabetical order.

    >>> nearest("tokns", ["time", "tokens"]), nearest("xyz", ["tokens"])
    ('tokens', None)
    """
    return next(iter(closest(word, known)), None)


def closest(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The known words that are equally close, in alphabetical order; none if none is close.

    One edit away (a letter more, less, other, or two swapped) is always found; longer words may be
    further off. Of those as many edits away one in the same case, then one of the same letters is
    closer.

    >>> closest("u", ["eu", "us", "asia"]), closest("tokns", ["time", "tokens"])
    (('eu', 'us'), ('tokens',))
    """
    best: tuple[int, int, bool] | None = None
    found: list[str] = []
    for candidate in sorted(set(known)):
        if candidate == word:
            continue
        allowed = max(1, min(len(word), len(candidate)) // 3)
        if abs(len(word) - len(candidate)) > allowed:
            continue
        edits = _edits(word.lower(), candidate.lower())
        if edits > allowed or (best is not None and edits > best[0]):
            continue
        away = (edits, _edits(word, candidate), sorted(word) != sorted(candidate))
        if best is None or away < best:
            best, found = away, []
        if away == best:
            found.append(candidate)
    return tuple(found)


def misspelt(word: str, known: Iterable[str]) -> str | None:
    """The known word of which this is almost surely a misspelling: one edit of a letter away.

    Names that differ in digits and signs alone are other versions, no misspellings.

    >>> misspelt("qwenn2.5:7b", ["qwen2.5:7b"]), misspelt("qwen2.5:14b", ["qwen2.5:7b"])
    ('qwen2.5:7b', None)
    """
    return next(
        (
            candidate
            for candidate in sorted(set(known))
            if abs(len(word) - len(candidate)) <= 1
            and _letters(word) != _letters(candidate)
            and _edits(word, candidate) == 1
        ),
        None,
    )


def suggestion(word: str, known: Iterable[str], form: Callable[[str], str] = str) -> str | None:
    """A help text that names the closest known words in their form, None if none is close."""
    close = [f"`{form(one)}`" for one in closest(word, known)[:MOST_SHOWN]]
    if len(close) > 1:
        close[-2:] = [f"{close[-2]} or {close[-1]}"]
    return f"did you mean {', '.join(close)}?" if close else None


def listed(words: Iterable[str]) -> str:
    """Words one after the other, not more of them than people read.

    >>> listed(["a", "b"]), listed(str(number) for number in range(20))[-7:]
    ('`a`, `b`', '`11`, …')
    """
    shown = [f"`{word}`" for word in islice(words, MOST_LISTED + 1)]
    return ", ".join([*shown[:MOST_LISTED], *(["…"] if len(shown) > MOST_LISTED else [])])


def _letters(word: str) -> str:
    return "".join(letter for letter in word if letter.isalpha())


def _edits(a: str, b: str) -> int:
    """How many single edits lead from one word to the other; swapped neighbours are one."""
    least = min(len(a), len(b))
    start = next((i for i in range(least) if a[i] != b[i]), least)
    a, b = a[start:], b[start:]
    least -= start
    end = next((i for i in range(least) if a[-1 - i] != b[-1 - i]), least)
    a, b = a[: len(a) - end], b[: len(b) - end]
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row, older = row, [i], before
        for j, y in enumerate(b, 1):
            edits = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                edits = min(edits, older[j - 2] + 1)
            row.append(edits)
        before = last
    return row[-1]
