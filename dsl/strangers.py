"""Model names that clients of one version may ask for and clients of the other may not.

The gateway refuses a name that nobody knows before any rule is looked at. So every request with
such a name is treated otherwise by the two, whatever their rules say; all others are for the rules.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property

from .asked import ASKED, MODEL
from .core import Member, Program, Term, TextTest
from .destination import AUTO, named_target
from .logic import any_of, is_true, negation
from .schema import Value

_A_LIST = re.compile(r"\[!?(\]?[^]])[^]]*\]")  # the wildcard that is one of several letters
_ANY = "any-model"  # of a provider that takes every name


class Strangers:
    """The names that `host` knows and `program` does not."""

    def __init__(self, program: Program, host: Program) -> None:
        """Look up what the host lists, and the providers that it has alone."""
        self._program = program
        self._host = host
        self.prefixes = tuple(
            f"{name}/"
            for name in host.providers
            if name not in program.providers or (_is_free(host, name) > _is_free(program, name))
        )
        self.names = tuple(name for name in self._listed if self._is_known_to_host_alone(name))
        self._found = frozenset(self.names)

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        listed = dict.fromkeys((*self._host.targets, *self._host.models))
        if {*self._host.providers} - {*self._program.providers}:
            catalog = self._host.schema.catalog
            before = set(catalog.requestable(self._program.providers))
            after = catalog.requestable(self._host.providers)
            listed |= dict.fromkeys(name for name in after if name not in before)
        return tuple(listed)

    def has(self, name: str) -> bool:
        """Whether only the host knows a name."""
        is_of_a_provider = bool(self.prefixes) and name.startswith(self.prefixes)
        return name in self._found or (is_of_a_provider and self._is_known_to_host_alone(name))

    def _is_known_to_host_alone(self, name: str) -> bool:
        return _knows(self._host, name) and not _knows(self._program, name)

    def are_asked(self) -> Term:
        """Whether such a name is asked for; never unknown."""
        names = frozenset[Value](self.names)
        terms = [is_true(Member(read, names)) for read in (MODEL, ASKED) if names]
        for prefix in self.prefixes:
            of_both = frozenset[Value](
                name
                for name in (*self._listed, *self._program.models, *self._program.targets)
                if name.startswith(prefix) and not self.has(name)
            )
            is_of_it = is_true(TextTest("starts_with", MODEL, prefix))
            terms.append(
                is_of_it
                if not of_both
                else negation(any_of((negation(is_of_it), is_true(Member(MODEL, of_both)))))
            )
        return any_of(terms)

    def examples(self) -> Iterator[str]:
        """Each name that the host declares, and one of each provider that it has alone."""
        declared = {*self._host.targets, *self._host.models}
        yield from (name for name in self.names if name in declared)
        for prefix in self.prefixes:
            listed = (name for name in self.names if name.startswith(prefix))
            name = prefix + _ANY if self.has(prefix + _ANY) else next(listed, None)
            if name is not None and name not in declared:
                yield name

    def matching(self, glob: str) -> Iterator[str]:
        """Names that stand for a target of a glob though nobody lists it, as far as one is made."""
        filled = _A_LIST.sub(r"\1", glob).replace("*", _ANY).replace("?", "a")
        for prefix in self.prefixes:
            for name in (
                prefix + _ANY,
                filled,
                prefix + filled,
                prefix + filled.rpartition("/")[2],
            ):
                target = named_target(self._host, name)
                if target is not None and fnmatchcase(target.id, glob) and self.has(name):
                    yield name
                    break

    def may_match(self, glob: str) -> bool:
        """Whether a name that nobody lists may stand for a target of a glob."""
        provider, slash, _ = glob.partition("/")
        is_open = not slash or any(wild in provider for wild in "*?[")
        return any(is_open or prefix == f"{provider}/" for prefix in self.prefixes)


def _is_free(program: Program, provider: str) -> bool:
    row = program.providers.get(provider)
    return row is not None and program.schema.providers.get(row.kind, False)


def _knows(program: Program, name: str) -> bool:
    return name == AUTO or name in program.models or named_target(program, name) is not None
