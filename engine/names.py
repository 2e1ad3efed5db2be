"""What a client's `model` stands for: a target, the policy, or nothing known.

A known name is one of the policy's `models`, of the built-in mapping, or `provider/model` of a
configured provider. An unknown one is refused: never a silent default on a paid route.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import nsmallest

from cachetools import LRUCache

from turnout.dsl.core import REQUESTED, Hop, Program
from turnout.dsl.schema import Catalog, Target, Tariff

from .catalog.table import MAKERS, PROVIDER_ALIASES
from .request import RequestError

AUTO = "auto"
NAMES_KEPT = 4096
_LONGEST_KEPT = 256
_LONGEST_GUESSED = 64
_GUESSES = 12
_ALIKE = 0.75
_OUR_WORDS = {theirs: ours for ours, theirs in PROVIDER_ALIASES.items()}


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
        self._alike: dict[frozenset[str], _Alike] = {}
        self._requestable: Mapping[str, Target] = catalog.requestable(program.providers)
        # Bounded: a caller can make up any number of `ft:` names of a known model.
        self._seen: LRUCache[str, Requested] = LRUCache(NAMES_KEPT)

    def resolve(self, name: str, usable: Callable[[], frozenset[str]] = frozenset) -> Requested:
        """The target that a client's model name stands for.

        `usable` is asked only where a name is refused: of what these providers have, and of the
        policy's own names, the one most like it is suggested.

        Raises: RequestError 404 `model_not_found`; 400 `model_unpriced` where a configured
        provider's model has no known price.
        """
        found = self._seen.get(name)
        if found is None:
            found = self._look_up(name, usable)
            if len(name) <= _LONGEST_KEPT:
                self._seen[name] = found
        return found

    def _look_up(self, name: str, usable: Callable[[], frozenset[str]]) -> Requested:
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
            raise not_found(name, self._close_to(name, usable()))
        if target.tariff is None:
            raise unpriced(name, self._close_to(name, usable()))
        return Requested(name, target)

    def _close_to(self, name: str, usable: frozenset[str]) -> str | None:
        """The listed name most like a refused one."""
        if len(name) > _LONGEST_GUESSED:
            return None
        if usable not in self._alike:
            self._alike[usable] = _Alike(self.listed(usable))
        provider, slash, model = name.partition("/")
        if slash and provider not in self._program.providers:
            return self._alike[usable].closest(f"{_OUR_WORDS.get(provider, provider)}/{model}")
        return self._alike[usable].closest(name)

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


class _Alike:
    """Finds the name most like another, at a cost that hardly grows with how many there are."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        self._having: dict[str, list[str]] = {}
        for name in names:
            plain = name.lower()
            if self._names.setdefault(plain, name) == name:
                for part in set(_parts(plain)):
                    self._having.setdefault(part, []).append(plain)

    def closest(self, name: str) -> str | None:
        """The name most like this one; None where none is like it."""
        plain = name.strip().lower()
        shared = Counter(
            known for part in set(_parts(plain)) for known in self._having.get(part, ())
        )
        # Of those that share as much, the ones of about this length: the same at every start.
        few = nsmallest(
            _GUESSES, shared, lambda known: (-shared[known], abs(len(known) - len(plain)), known)
        )
        words = sorted(plain.split("-"))
        meant = next((known for known in few if sorted(known.split("-")) == words), None)
        if meant is None:
            meant = next(iter(get_close_matches(plain, few, n=1, cutoff=_ALIKE)), None)
        if meant is None:
            meant = next((known for known in few if _is_part(plain, known)), None)
        return None if meant is None else self._names[meant]


def _parts(name: str) -> Iterator[str]:
    """Every three letters in a row, those at the ends marked."""
    marked = f" {name} "
    return (marked[at : at + 3] for at in range(len(marked) - 2))


def _is_part(name: str, known: str) -> bool:
    """Whether a known name holds another's model at the same provider: `b/x-1`, `b/a.x-1-v1`."""
    provider, slash, model = name.partition("/")
    theirs, _, whole = known.partition("/")
    return bool(slash and model) and provider == theirs and f".{model}-" in f".{whole}-"


def reached(program: Program, usable: Iterable[str]) -> frozenset[str]:
    """The providers that a policy sends requests to; none where it names no target.

    Where it gives what was asked for, these are also the makers of models, missing or not, and the
    others that can be called and have been given a key for it.
    """
    named = frozenset(target.provider for target in program.targets.values())
    if not named or not any(hop.target == REQUESTED for hop in _hops(program)):
        return named
    free = {n for n, p in program.providers.items() if program.schema.providers.get(p.kind, False)}
    makers = set(MAKERS).intersection(program.providers)
    return named.union(makers, set(usable) - free)


def _hops(program: Program) -> Iterator[Hop]:
    """The targets that routes and chains name alone: among several, `requested` is none."""
    yield from program.chain
    for clause in program.clauses:
        yield from clause.plan.fallback or ()
        if isinstance(clause.plan.route, Hop):
            yield clause.plan.route


def not_found(name: str, close: str | None = None) -> RequestError:
    """What is told of a name that nobody knows, or that the caller may not use: the same."""
    return RequestError(
        404,
        "invalid_request_error",
        "model_not_found",
        f"The model `{name}` does not exist or you do not have access to it."
        + ("" if close is None else f" Did you mean `{close}`?"),
    )


def unpriced(name: str, close: str | None = None) -> RequestError:
    """What is told of a model of a provider that is known, and whose price is not."""
    return RequestError(
        400,
        "invalid_request_error",
        "model_unpriced",
        f"The model `{name}` has no known price. Declare one under `targets:` in the policy "
        "(`price: 0` if it is free)." + ("" if close is None else f" Did you mean `{close}`?"),
        param="model",
    )


def untold(refusal: RequestError, name: str) -> RequestError:
    """The refusal of a name without what it suggests instead."""
    return unpriced(name) if refusal.code == "model_unpriced" else not_found(name)
