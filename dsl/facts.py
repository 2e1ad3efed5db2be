"""The facts of a target that limits and `where` may test: ONE table.

A limit reads them as the keys `target.<name>`; of a candidate or a named target they are constants.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .schema import Target, Type, Value


@dataclass(frozen=True, slots=True)
class Fact:
    """Something declared or catalogued about a target; unknown (None) where nothing is."""

    name: str
    type: Type
    doc: str
    of: Callable[[Target], Value | None]


def _ability(name: str, doc: str) -> Fact:
    return Fact(name, Type.BOOL, doc, lambda target: target.abilities.get(name))


FACTS: Mapping[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("region", Type.TEXT, "Where it runs.", lambda target: target.region),
        Fact("provider", Type.TEXT, "The provider's name.", lambda target: target.provider),
        Fact("owner", Type.TEXT, "Who answers for it.", lambda target: target.owner),
        Fact(
            "context_window",
            Type.NUMBER,
            "Its context window, in tokens.",
            lambda target: target.context_window,
        ),
        Fact(
            "max_output",
            Type.NUMBER,
            "The longest answer it gives, in tokens.",
            lambda target: target.max_output,
        ),
        Fact(
            "price_in",
            Type.RATE,
            "The list price of input.",
            lambda target: None if target.tariff is None else target.tariff.input,
        ),
        Fact(
            "price_out",
            Type.RATE,
            "The list price of output.",
            lambda target: None if target.tariff is None else target.tariff.output,
        ),
        _ability("vision", "Whether it sees images."),
        _ability("audio", "Whether it hears audio."),
        _ability("tools", "Whether it can use tools."),
        _ability("json", "Whether it can be held to a JSON schema."),
    )
}

PREFIX = "target."
TAG = "target.tag."  # `"fast" in tags` reads `target.tag.fast`
# What a request costs on the target that an invariant is about; no constants, but terms.
COST = "target.cost"
WORST_CASE = "target.worst_case"


def facts(target: Target, keys: tuple[str, ...]) -> dict[str, Value | None]:
    """The values of these `target.…` keys for a target."""
    return {key: _fact(target, key) for key in keys if key.startswith(PREFIX)}


def _fact(target: Target, key: str) -> Value | None:
    if key.startswith(TAG):
        return key.removeprefix(TAG) in target.tags
    return FACTS[key.removeprefix(PREFIX)].of(target)
