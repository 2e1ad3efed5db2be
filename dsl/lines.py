"""A condition that its author wrote on several lines, in normal spelling on the same lines.

The two texts hold the same words in the same order; only white space, parentheses, commas and
quotes may differ. So a line begins in front of the same word as before.

What does not belong here: the normal spelling (`spelling`), and where in the file it goes
(`format`).
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r"|(?:(?!\.\.)[\w.$%:])+|\?\?|\.\.|[=!<>]=|\S"
)
_BREAK = re.compile(r"\n\s*")
_BETWEEN = frozenset("(),")  # what the normal spelling may add or leave out


def on_lines(written: str, normal: str) -> list[str] | None:
    r"""The lines of a normal text broken as the written one, each as deep as below the first there.

    Of several empty lines one stays. None where the two do not hold the same words.

    >>> on_lines("  tokens<5\n    and (stream)\n", "tokens < 5 and stream")
    ['tokens < 5', '  and stream']
    """
    old, new = list(_words(written)), list(_words(normal))
    if [_shape(word[0]) for word in old] != [_shape(word[0]) for word in new]:
        return None
    first = depth = _depth(written, old[0].start()) if old else 0
    lines: list[str] = []
    done = 0
    for before, word, at in zip(old, old[1:], new[1:], strict=False):
        breaks = _BREAK.findall(written[before.end() : word.start()])
        if not breaks:
            continue
        start = _with_opening(normal, at.start())
        lines.append(" " * (depth - first) + normal[done:start].strip())
        lines += [""] if any(line.count("\n") > 1 for line in breaks) else []
        done, depth = start, max(first, _depth(written, word.start()))
    lines.append(" " * (depth - first) + normal[done:].strip())
    return lines


def _words(text: str) -> Iterator[re.Match[str]]:
    return (match for match in _TOKEN.finditer(text) if match[0] not in _BETWEEN)


def _shape(word: str) -> str:
    """A word as it compares with its other spelling: texts differ in quotes and escapes."""
    return '"' if word[0] in "\"'" else word


def _with_opening(text: str, at: int) -> int:
    """Where the parentheses begin that open in front of a word, those of a call left out."""
    start = len(text[:at].rstrip("("))
    return start if start == 0 or text[start - 1].isspace() else at


def _depth(text: str, at: int) -> int:
    line = text[text.rfind("\n", 0, at) + 1 :]
    return len(line) - len(line.lstrip(" "))
