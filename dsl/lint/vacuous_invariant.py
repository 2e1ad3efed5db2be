"""An invariant that no policy could break: what it forbids is impossible anyway.

Its condition is decided before any rule is looked at, whatever the request and wherever it goes, so
it watches over nothing. Mostly a sign was turned round.

Avoid:

    invariants:
      - {name: middle_is_cheap, never: tokens < 100 and tokens > 500 and route == "openai/gpt-4o"}

Prefer:

    invariants:
      - {name: middle_is_cheap, never: tokens in 100..500 and route == "openai/gpt-4"}
"""

from collections.abc import Iterator

from turnout.dsl.core import And, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.facts import PREFIX
from turnout.dsl.logic import all_of, is_true, negation
from turnout.dsl.scope import ROUTE
from turnout.dsl.walk import reads

from .survey import Survey

CODE = "RP321"
LEVEL: Severity = "info"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Invariants that hold wherever a request might go, whatever the targets are like."""
    for entry, invariant in zip(survey.policy.invariants, survey.program.invariants, strict=True):
        is_never = invariant.kind == "never"
        # What hangs on the targets is true today, and a change of theirs could break it.
        premise = [is_true(part) for part in _parts(invariant.test) if not _is_of_target(part)]
        if not premise or (not is_never and _is_of_target(invariant.test)):
            continue
        if survey.never(*premise if is_never else (negation(all_of(premise)),)):
            yield Diagnostic(
                CODE,
                LEVEL,
                f"the invariant `{invariant.name}` says nothing: its condition is "
                f"{'never' if is_never else 'always'} true, wherever requests go",
                entry.name.span,
                "write what was meant, or remove it",
            )


def _parts(test: Term) -> tuple[Term, ...]:
    return test.operands if isinstance(test, And) else (test,)


def _is_of_target(term: Term) -> bool:
    return any(key == ROUTE or key.startswith(PREFIX) for key in reads([term]))
