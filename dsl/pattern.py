"""Patterns of `matches`: RE2, so that no text can make one slow.

The library is loaded by the first pattern: only policies that use it pay for it.
"""

from collections.abc import Callable
from functools import lru_cache

MAX_LENGTH = 1_000  # characters


@lru_cache(maxsize=1_024)
def finder(pattern: str) -> Callable[[str], bool]:
    """Whether a pattern is found anywhere in a text, in time linear in the text.

    Raises: `re2.error` where it does not compile.

    >>> finder("^gpt-[0-9]+")("gpt-4o"), finder("^gpt-[0-9]+")("my gpt-4o")
    (True, False)
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    search = re2.compile(pattern, options).search

    def is_found(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and UTF-8 cannot
            return search(text.encode("utf-8", "replace").decode()) is not None

    return is_found


def problem(pattern: str) -> str | None:
    """What is wrong with a pattern, in RE2's words where it does not compile; None if nothing is.

    >>> problem("^gpt-[0-9]+"), problem("(?=a)")
    (None, 'invalid perl operator: (?=')
    """
    import re2

    if len(pattern) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    try:
        finder(pattern)
    except UnicodeEncodeError:
        return "it holds half a surrogate pair"
    except re2.error as error:
        message = error.args[0] if error.args else "it cannot be read"
        return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return None
