"""Parentheses in the text of a condition; those inside quotes are text."""

import re

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[()]')


def is_enclosed(text: str) -> bool:
    """Whether one pair of parentheses holds all of a text.

    >>> is_enclosed("(a or b)"), is_enclosed("(a) or (b)"), is_enclosed('(tier == ")")')
    (True, False, True)
    """
    if not text.startswith("("):
        return False
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end() == len(text)
    return False
