"""A long list of texts in no order.

In a sorted list a name is found at a glance, one that stands twice is next to itself, and a change
moves one line.

Avoid:

    lists:
      legal: [warranty, claim, contract, damages, lawsuit]
    routing_policy:
      - {name: legal, condition: contains_any("legal"), route: anthropic/claude-sonnet}
      - {name: default, route: openai/gpt-4o}

Prefer:

    lists:
      legal: [claim, contract, damages, lawsuit, warranty]
    routing_policy:
      - {name: legal, condition: contains_any("legal"), route: anthropic/claude-sonnet}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator, Sequence

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.source import Span

from .written import conditions, parts

CODE = "RP603"
LEVEL: Severity = "info"

_LONG = 5  # shorter ones are read as a whole, and may have an order of their own


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Lists of names, in conditions and under `lists`; sentences have no order."""
    for entry in policy.lists:
        words = [item.value for item in entry.items]
        if not any(" " in word for word in words):
            yield from _unsorted(words, [item.span for item in entry.items])
    for condition in conditions(policy):
        for part in parts(condition):
            if isinstance(part, tree.Listing):
                texts = [item for item in part.items if isinstance(item, tree.Literal)]
                if len(texts) == len(part.items) and all(t.kind == "string" for t in texts):
                    yield from _unsorted([t.text for t in texts], [t.span for t in texts])


def _unsorted(words: Sequence[str], places: Sequence[Span]) -> Iterator[Diagnostic]:
    if len(words) < _LONG:
        return
    pairs = zip(words, words[1:], places[1:], strict=False)
    late = next(((word, place) for before, word, place in pairs if word < before), None)
    if late is not None:
        word, place = late
        before = next(other for other in words if other > word)
        yield Diagnostic(
            CODE,
            LEVEL,
            f"this list of {len(words)} is not sorted",
            place,
            f"put `{word}` before `{before}`",
        )
