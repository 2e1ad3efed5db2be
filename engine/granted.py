"""Which targets a caller may be answered by: its list of models, asked of what is dispatched to.

A list has two kinds of entries. One with a slash is a pattern of targets (`openai/gpt-4o`,
`openai/*`), and so is `*`: whoever may be answered by a target may be so by whatever name it was
asked for, and wherever the policy sends the request. Any other entry is a name that clients ask for
(`gpt-4`, `house-big`): whoever asks by it may be answered by the one target that it stands for at
that time, and by nothing else. A name that the policy declares under `models:` is a name, slash or
not. A name that leaves the choice to the policy (`auto`) stands for no target and so grants none;
nobody needs it granted.
"""

from functools import lru_cache
from typing import NamedTuple

from turnout.dsl.core import Program
from turnout.dsl.schema import Target

UNLISTED = "this key may not be answered by it"
ALL = "*"
_MOST_LISTS = 1024


class _Pattern(NamedTuple):
    """What was written, and its parts between the stars."""

    written: str
    parts: tuple[str, ...]


def is_granted(
    models: tuple[str, ...] | None,
    name: str,
    requested: Target | None,
    program: Program,
    id: str,
) -> bool:
    """Whether a caller with this list (None: it has none) may be answered by a target.

    `name` is the model as the client wrote it, `requested` the target that it stands for.
    Costs nothing without a list, a microsecond or two with one.
    """
    if models is None:
        return True
    names = program.models
    if requested is not None and requested.id == id and name in models:
        # Else it is a pattern, and means what it says.
        if "/" not in name or name in names:
            return True
    return any(
        pattern.written not in names and _fits(pattern.parts, id) for pattern in _patterns(models)
    )


def flaw(entry: str) -> str | None:
    """What is wrong with an entry of a list that can never grant anything; None: nothing is.

    >>> flaw("gpt-*")
    'a name has no `*`; a pattern of targets has a slash, such as `openai/*`'
    """
    if not entry or entry != entry.strip():
        return "it is empty, or has spaces around it"
    if "*" in entry and "/" not in entry and entry != ALL:
        return "a name has no `*`; a pattern of targets has a slash, such as `openai/*`"
    return None


@lru_cache(_MOST_LISTS)
def _patterns(models: tuple[str, ...]) -> tuple[_Pattern, ...]:
    return tuple(_Pattern(one, tuple(one.split("*"))) for one in models if "/" in one or one == ALL)


def _fits(parts: tuple[str, ...], id: str) -> bool:
    """Whether a target's id is made of these parts, with anything between them.

    In one pass: neither the pattern nor the id can make it slow.
    """
    first, *rest = parts
    if not rest:
        return id == first
    last = rest.pop()
    if len(id) < len(first) + len(last) or not (id.startswith(first) and id.endswith(last)):
        return False
    at, end = len(first), len(id) - len(last)
    for part in rest:
        found = id.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
