"""What a client's `model` stands for: a target, the policy, or nothing known.

A known name is one of the policy's `models`, of the built-in mapping, or `provider/model` of a
configured provider. An unknown one is refused: never a silent default on a paid route.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cachetools import LRUCache

from turnout.dsl.core import Program
from turnout.dsl.schema import Catalog, Target, Tariff

from .request import RequestError

AUTO = "auto"
NAMES_KEPT = 4096
_LONGEST_KEPT = 256


@dataclass(frozen=True, slots=True)
class Requested:
    """What the client asked for; `target` None where it left the choice to the policy."""

    name: str
    target: Target | None


class Names:
    """The names that a program and its providers know."""

    def __init__(self, program: Program, catalog: Catalog) -> None:
        """Lay the policy's `models` over the catalogue's own names."""
        self._program = program
        self._catalog = catalog
        self._listings: dict[frozenset[str], Mapping[str, str]] = {}
        self._requestable: Mapping[str, Target] = catalog.requestable(program.providers)
        # Bounded: a caller can make up any number of `ft:` names of a known model.
        self._seen: LRUCache[str, Requested] = LRUCache(NAMES_KEPT)

    def resolve(self, name: str) -> Requested:
        """The target that a client's model name stands for.

        Raises: RequestError 404 `model_not_found`; 400 `model_unpriced` where a configured
        provider's model has no known price.
        """
        found = self._seen.get(name)
        if found is None:
            found = self._look_up(name)
            if len(name) <= _LONGEST_KEPT:
                self._seen[name] = found
        return found

    def _look_up(self, name: str) -> Requested:
        if name in self._program.models:
            target_id = self._program.models[name]
            return Requested(name, None if target_id is None else self._program.targets[target_id])
        if name == AUTO:
            return Requested(name, None)
        target = (
            self._program.targets.get(name)
            or self._requestable.get(name)
            or self._catalog.find(name)
            or self._of_a_provider(name)
        )
        if target is None or target.provider not in self._program.providers:
            raise _not_found(name)
        if target.tariff is None:
            raise RequestError(
                400,
                "invalid_request_error",
                "model_unpriced",
                f"The model `{name}` has no known price. Declare one under `targets:` in the "
                "policy (`price: 0` if it is free).",
                param="model",
            )
        return Requested(name, target)

    def _of_a_provider(self, name: str) -> Target | None:
        """Any `provider/model` of a provider that the program knows: free, or without a price."""
        provider, _, model = name.partition("/")
        known = self._program.providers.get(provider)
        if known is None or not model:
            return None
        free = self._program.schema.providers.get(known.kind, False)
        return Target(name, provider, model, Tariff(0, 0) if free else None)

    def listed(self, usable: frozenset[str]) -> Mapping[str, str]:
        """Model names to list, with who owns them; names of unusable providers are left out."""
        if usable not in self._listings:
            self._listings[usable] = self._list(usable)
        return self._listings[usable]

    def _list(self, usable: frozenset[str]) -> Mapping[str, str]:
        listed = {AUTO: "turnout"}
        for name, target_id in self._program.models.items():
            listed[name] = "turnout" if target_id is None else target_id.partition("/")[0]
        for target in self._program.targets.values():
            if target.provider in usable:
                listed.setdefault(target.id, target.provider)
        for name, target in self._requestable.items():
            if target.provider in usable:
                listed.setdefault(name, target.provider)
        return listed


def _not_found(name: str) -> RequestError:
    return RequestError(
        404,
        "invalid_request_error",
        "model_not_found",
        f"The model `{name}` does not exist or you do not have access to it.",
    )
