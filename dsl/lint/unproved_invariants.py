"""The invariants of the policy are read and typed, but not yet proved.

They are checked for names, units and targets, so a misspelt one is found. That no request breaks
them is not shown by this version: what has to hold whatever happens is written as a limit too.

Avoid:

    invariants:
      - {name: images_are_seen, never: has_images and route == "groq/llama-3-8b"}

Prefer:

    require:
      - {name: images_are_seen, when: has_images, target: vision}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity

CODE = "RP329"
LEVEL: Severity = "info"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """One note for all of them, at the first."""
    if not policy.invariants:
        return
    count = len(policy.invariants)
    one = count == 1
    what = "this invariant is" if one else f"these {count} invariants are"
    yield Diagnostic(
        CODE,
        LEVEL,
        f"{what} typed, but not proved: a request may still break {'it' if one else 'them'}",
        policy.invariants[0].name.span,
        "write what must never happen as a limit under `require:` too",
    )
