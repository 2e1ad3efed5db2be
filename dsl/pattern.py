"""What a pattern of `matches` may be: RE2, so that no text can make one slow."""

import re2

from .kleene import pattern

MAX_LENGTH = 1_000  # characters


def problem(written: str) -> str | None:
    """What is wrong with a pattern, in RE2's words where it does not compile; None if nothing is.

    >>> problem("^gpt-[0-9]+"), problem("(?=a)")
    (None, 'invalid perl operator: (?=')
    """
    if len(written) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    try:
        pattern(written)
    except UnicodeEncodeError:
        return "it holds half a surrogate pair"
    except re2.error as error:
        message = error.args[0] if error.args else "it cannot be read"
        return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return None
