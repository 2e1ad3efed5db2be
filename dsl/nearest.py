"""The known word most like a misspelt one, for a did-you-mean."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The closest known word, None if none is close.

    One edit away (a letter more, less, other, or two swapped) is always found; longer words may be
    further off. Of equals the one in the same case wins, then the first in alphabetical order.

    >>> nearest("tokns", ["time", "tokens"]), nearest("xyz", ["tokens"])
    ('tokens', None)
    """
    best: tuple[int, int, str] | None = None
    for candidate in sorted(set(known)):
        if candidate == word:
            continue
        allowed = max(1, min(len(word), len(candidate)) // 3)
        if abs(len(word) - len(candidate)) > allowed:
            continue
        edits = _edits(word.lower(), candidate.lower())
        if edits <= allowed and (best is None or edits <= best[0]):
            found = (edits, _edits(word, candidate), candidate)
            best = found if best is None else min(best, found)
    return None if best is None else best[2]


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """A help text that names the closest known word, None if none is close."""
    close = nearest(word, known)
    return None if close is None else f"did you mean `{close}`?"


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
