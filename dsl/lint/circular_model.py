"""A name of `models` leads back to itself, or to another name of `models`.

A name stands for one target and is looked up once: whoever asks for `lab/small` below gets what
`lab/big` is at its provider, never what `models` says of it. Names in a circle, or of itself, say
nothing that can be meant, and are an error; a name that stands for another name is a warning.

Avoid:

    providers:
      lab: {kind: ollama, base_url: "http://localhost:11434"}
    targets:
      lab/small: {price: 0}
      lab/big: {price: 0}
    models:
      lab/small: lab/big
      lab/big: lab/small

Prefer:

    providers:
      lab: {kind: ollama, base_url: "http://localhost:11434"}
    targets:
      lab/small: {price: 0}
      lab/big: {price: 0}
    models:
      small: lab/small
      big: lab/big
"""

from collections.abc import Iterator, Mapping

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity

CODE = "RP309"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Each name that stands for a name of `models`; those in a circle are errors.

    Names that are no targets are refused already (RP301).
    """
    entries = {entry.name.value: entry for entry in policy.models}
    for name, entry in entries.items():
        to = entry.to.value
        if to not in entries or "/" not in to:
            continue
        way = _followed(name, entries)
        is_circle = way[-1] == name
        if to == name:
            message = f"`{name}` stands for itself"
            help = "remove it: whoever asks for a target gets it; its facts stand under `targets:`"
        elif is_circle:
            message = f"`{name}` leads back to itself: {' → '.join(f'`{one}`' for one in way)}"
            help = "give the client's name a word of its own"
        else:
            message = f"`{to}` is a name of `models` too, and what it stands for is not followed"
            help = "give the other name a word of its own"
            if way[-1] not in entries:
                help = f"write `{way[-1]}` if that is meant, or {help}"
        other = Related("that name", entries[to].name.span)
        yield Diagnostic(
            CODE,
            "error" if is_circle else "warning",
            message,
            entry.to.span,
            help,
            () if to == name else (other,),
        )


def _followed(name: str, entries: Mapping[str, tree.ModelEntry]) -> tuple[str, ...]:
    """The names that a name leads to, itself first, until one is no name or was met before."""
    way = [name]
    while way[-1] in entries:
        to = entries[way[-1]].to.value
        is_met = to in way
        way.append(to)
        if is_met:
            break
    return tuple(way)
