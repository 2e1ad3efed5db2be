"""Which requests a target can serve, as far as its window and its abilities are known.

Limits decide what a target may serve, this is about what it can: the gateway passes over hops that
cannot.
"""

from collections.abc import Mapping

from turnout.dsl.core import Compare, Const, Read, Term
from turnout.dsl.cost import TOKENS
from turnout.dsl.logic import TRUE, all_of, is_true, negation
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Target, Type, Value

LACKS = {
    "tools": "has no tools",
    "vision": "sees no images",
    "audio": "hears no audio",
    "json": "cannot be held to a schema",
}


def can_serve(row: Target | None) -> Term:
    """Whether a target can serve a request; never unknown. Nothing is known of None."""
    if row is None:
        return TRUE
    needs = [
        negation(is_true(Read(attribute, Type.BOOL)))
        for ability, attribute in NEEDS
        if row.abilities.get(ability) is False
    ]
    return all_of((is_within(row), *needs))


def is_within(row: Target | None) -> Term:
    """Whether the prompt is within a target's window; never unknown."""
    if row is None or row.context_window is None:
        return TRUE
    return is_true(Compare("<=", TOKENS, Const(row.context_window, Type.NUMBER)))


def lacking(row: Target, seen: Mapping[str, Value | None]) -> str | None:
    """In words, why a target cannot serve a request."""
    tokens = seen.get("tokens")
    if row.context_window is not None and isinstance(tokens, int) and tokens > row.context_window:
        return f"has a window of {row.context_window} tokens"
    for ability, attribute in NEEDS:
        if row.abilities.get(ability) is False and seen.get(attribute) is True:
            return LACKS[ability]
    return None
