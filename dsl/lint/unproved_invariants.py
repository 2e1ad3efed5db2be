"""The invariants of the policy were read and typed, but not proved in this run.

The proofs were left out (`--no-prove`), or z3 is not installed (`pip install 'turnout[prove]'`).
Names, units and targets were checked, so a misspelt one is found; whether a request breaks them is
not known. What has to hold whatever happens is written as a limit: the gateway holds it.

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
    """One finding for all of them, at the first."""
    if not policy.invariants:
        return
    count = len(policy.invariants)
    one = count == 1
    what = "this invariant is" if one else f"these {count} invariants are"
    yield Diagnostic(
        CODE,
        LEVEL,
        f"{what} typed, but not proved in this run: a request may break {'it' if one else 'them'}",
        policy.invariants[0].name.span,
        "prove it: `pip install 'turnout[prove]'`, and no `--no-prove`",
    )
