"""A model of a provider that answers for free is used, and declared nowhere.

Such a provider has whatever models were put there, so any name is taken as written. Where another
name of the file is one letter away, one of the two is probably misspelt. A declaration lets lint
tell the difference, and says how long a request the model can take.

Avoid:

    - {name: short, condition: tokens < 100, route: ollama/my-lama}
    - {name: long, condition: tokens > 4k, route: ollama/my-llama}

Prefer:

    targets:
      ollama/my-llama: {price: 0, context_window: 32k}
    routing_policy:
      - {name: short, condition: tokens < 100, route: ollama/my-llama}
      - {name: default, route: openai/gpt-4o}
"""

from collections import Counter
from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.nearest import misspelt
from turnout.dsl.refusal import warning

from .written import targets

CODE = "RP334"
LEVEL: Severity = "warning"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Once for each model: a warning at the rarer of two names that are alike, else a note."""
    if program is None:
        return
    used = Counter(name for name, _ in targets(policy))
    declared = {entry.name.value for entry in policy.targets}
    open_names = {
        name for name in used if name not in declared and _is_taken_as_written(name, program)
    }
    noted: set[str] = set()
    for name, span in targets(policy):
        if name not in open_names or name in noted:
            continue
        noted.add(name)
        meant = misspelt(name, open_names - {name})
        if meant is not None and (
            used[name] < used[meant] or (used[name] == used[meant] and meant not in noted)
        ):
            yield warning(
                CODE,
                f"`{name}` is declared nowhere, and looks like `{meant}`",
                span,
                f"did you mean `{meant}`? declare both under `targets:` if not",
            )
        else:
            yield Diagnostic(
                CODE,
                "info",
                f"`{name}` is declared nowhere, so nobody can tell whether it is misspelt",
                span,
                f"write `{name}: {{price: 0}}` under `targets:`",
            )


def _is_taken_as_written(name: str, program: Program) -> bool:
    target = program.targets.get(name)
    provider = None if target is None else program.providers.get(target.provider)
    return (
        provider is not None
        and program.schema.providers.get(provider.kind, False)
        and program.schema.catalog.find(name) is None
    )
