"""Gates of `policy diff`: what a change must not do, and whether it does."""

import argparse
from collections.abc import Iterator
from fnmatch import fnmatchcase

from turnout.dsl.compare import Comparison
from turnout.dsl.core import Program
from turnout.dsl.nearest import suggestion
from turnout.dsl.settings import new_origins

from .compared import Gate
from .dispatch import CommandError
from .report import printable

NO_NEW = "no-new:"
NO_NEW_ORIGIN = "no-new-origin"


def gate_of(text: str) -> str:
    """A gate of the command line. Raises: ArgumentTypeError where it is none."""
    if text == NO_NEW_ORIGIN or (text.startswith(NO_NEW) and text != NO_NEW):
        return text
    raise argparse.ArgumentTypeError(
        f"`{printable(text)}` is no gate: write `{NO_NEW}openai/*` or `{NO_NEW_ORIGIN}`"
    )


def check_gate(gate: str, old: Program, new: Program) -> None:
    """Refuse a gate that nothing could ever break: its targets are none, by a misspelt name.

    Raises: CommandError.
    """
    glob = gate.removeprefix(NO_NEW)
    if gate == NO_NEW_ORIGIN or _fits(glob, old, new):
        return
    raise CommandError(
        f"the gate `{printable(gate)}` fits no target: no version, provider or price list has one",
        help=printable(_meant(glob, old, new)),
    )


def _meant(glob: str, old: Program, new: Program) -> str:
    """What may have been meant by a glob that fits nothing."""
    provider, slash, model = glob.partition("/")
    if slash:
        known = _providers(old, new)
        meant = suggestion(provider, known, lambda name: f"{NO_NEW}{name}/{model}")
    else:
        close = new.schema.catalog.close_to(glob)
        meant = None if close is None else f"did you mean `{NO_NEW}{close}`?"
    return meant or f"targets are `provider/model`, such as `{NO_NEW}openai/*`"


def _fits(glob: str, old: Program, new: Program) -> bool:
    provider, slash, _ = glob.partition("/")
    if slash and any(fnmatchcase(name, provider) for name in _providers(old, new)):
        return True  # whichever models it has, or will have
    if any(fnmatchcase(name, glob) for name in _targets(old, new)):
        return True
    return new.schema.catalog.find(glob) is not None


def _providers(old: Program, new: Program) -> dict[str, None]:
    return dict.fromkeys((*old.providers, *new.providers, *new.schema.providers))


def _targets(old: Program, new: Program) -> Iterator[str]:
    """Targets of the two, and those that clients may ask for, as `provider/model`."""
    yield from (*old.targets, *new.targets)
    listed = new.schema.catalog.requestable(_providers(old, new))
    yield from (name for name in listed if "/" in name)


def judged(gate: str, found: Comparison, old: Program, new: Program) -> Gate:
    """What became of a gate."""
    if gate == NO_NEW_ORIGIN:
        origins = new_origins(old, new)
        return Gate(gate, "broken" if origins else "kept", origins=origins)
    glob = gate.removeprefix(NO_NEW)
    newly = tuple(one for one in found.newly if one.glob == glob)
    if newly:
        return Gate(gate, "broken", newly)
    if glob not in found.undecided:
        return Gate(gate, "kept")
    left = found.undecided[glob]
    return Gate(gate, "not_decided", open=left, assumed=() if left else found.assumed)
