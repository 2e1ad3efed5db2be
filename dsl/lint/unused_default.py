"""The last rule has no condition, and the rules before it leave nothing for it.

Nothing is wrong: it stands there for the day when a rule is removed or a value is added. Until then
it does not run.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: long, condition: tokens >= 100, route: openai/gpt-4o}
    - {name: default, route: openai/gpt-4}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl.diagnostic import Diagnostic, Severity

from .survey import Survey

CODE = "RP208"
LEVEL: Severity = "info"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """A default behind rules that cover everything between them, all of them in use."""
    spare = survey.spare_default
    if spare is not None:
        name = survey.rule(spare.index).name
        yield Diagnostic(
            CODE,
            LEVEL,
            f"`{name.value}` is never used: the rules before it take every request",
            name.span,
            "nothing has to be done",
        )
