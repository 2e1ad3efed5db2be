"""Patterns of `matches`: RE2, so that no text can make one slow.

The library is loaded by the first pattern: only policies that use it pay for it.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

MAX_LENGTH = 1_000  # characters
# One pattern of more words than this could outgrow RE2's memory.
_WORDS_AT_ONCE = 200


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


def finder_of_any(words: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of some texts stands anywhere in another, whatever the case of its letters.

    >>> finder_of_any(["refund", "1+1"])("A REFUND, please"), finder_of_any([""])("anything")
    (True, False)
    """
    import re2

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    listed = [word for word in words if word]
    searches = [
        re2.compile("|".join(map(re2.escape, listed[at : at + _WORDS_AT_ONCE])), options).search
        for at in range(0, len(listed), _WORDS_AT_ONCE)
    ]

    def is_found(text: str) -> bool:
        # RE2 takes UTF-8; half a surrogate pair has none.
        data = text.encode("utf-8", "replace")
        return any(search(data) is not None for search in searches)

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
