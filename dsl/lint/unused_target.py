"""A target is declared, and nothing in the file uses it.

No route, fallback, mirror, client's model or condition names it, no rule sends a request to what
the client asked for, and it makes no embeddings, which go where they were asked for. It may be left
over, or the name may be another than the one in use. What an included file declares may be there
for other policies.

Avoid:

    targets:
      openai/gpt-4: {expected: {p95: 4s}}
    routing_policy:
      - {name: default, route: openai/gpt-4o}

Prefer:

    targets:
      openai/gpt-4o: {expected: {p95: 4s}}
    routing_policy:
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.declared import EMBEDS
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.nearest import suggestion

from .written import targets

CODE = "RP335"
LEVEL: Severity = "info"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """One note for each such target."""
    if not policy.targets:
        return
    used = {name for name, _ in targets(policy)}
    if REQUESTED in used:
        return
    declared = {entry.name.value for entry in policy.targets}
    own = policy.source_span.source
    for entry in policy.targets:
        name = entry.name.value
        row = None if program is None else program.targets.get(name)
        if row is not None and row.abilities.get(EMBEDS):
            continue
        if name not in used and entry.name.span.source == own:
            yield Diagnostic(
                CODE,
                LEVEL,
                f"nothing uses the target `{name}`",
                entry.name.span,
                suggestion(name, [other for other in used - declared if "/" in other])
                or "remove it, or name it in a route",
            )
