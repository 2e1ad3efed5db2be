"""The program in force, with what was made of it. Replaced whole, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from turnout.dsl.core import Program

from .decide import Decider
from .embedding import Embedder
from .names import Names, reached
from .provider import Provider


@dataclass(frozen=True, slots=True)
class Live:
    """A program ready to serve. A request keeps the one that it began with."""

    program: Program
    decider: Decider
    names: Names
    providers: Mapping[str, Provider]
    embedder: Embedder

    @property
    def unusable(self) -> frozenset[str]:
        """The providers that lack something to be called."""
        return frozenset(name for name, one in self.providers.items() if not one.usable)

    @property
    def usable(self) -> frozenset[str]:
        """The providers that can be called."""
        return frozenset(name for name, one in self.providers.items() if one.usable)

    @property
    def needed(self) -> Mapping[str, Provider]:
        """The providers that the program needs, in the order of their names.

        Without a declared target that is every provider there is. Where it gives what was asked
        for, it needs the makers of models too.
        """
        named = reached(self.program, self.usable)
        return {
            name: provider
            for name, provider in sorted(self.providers.items())
            if name in named or not named
        }

    @property
    def missing(self) -> Mapping[str, str]:
        """What those of `needed` lack that cannot be called, to be read before `for …`."""
        found = {name: provider.missing for name, provider in self.needed.items()}
        return {name: missing for name, missing in found.items() if missing is not None}


def make_live(program: Program, providers: Mapping[str, Provider]) -> Live:
    """Make a program ready to serve; takes as long as its rules are many (3 s for 10 000)."""
    return Live(
        program,
        Decider(program),
        Names(program, program.schema.catalog),
        providers,
        Embedder(program, providers),
    )
