"""A threshold on a live value, and nothing that holds the decision: the route can flap.

Latency and errors move around any threshold. Each crossing sends traffic away, the values recover
because of it, and it comes back: two providers take turns at being overloaded. `hold:` keeps the
comparison true for a while once it was.

Avoid:

    targets: {openai/gpt-4: {expected: {p95: 4s}}}
    routing_policy:
      - name: around_a_slow_provider
        condition: p95("openai/gpt-4") > 8s
        route: anthropic/claude-sonnet
      - {name: default, route: openai/gpt-4}

Prefer:

    targets: {openai/gpt-4: {expected: {p95: 4s}}}
    routing_policy:
      - name: around_a_slow_provider
        condition: p95("openai/gpt-4") > 8s
        route: anthropic/claude-sonnet
        hold: 2m
      - {name: default, route: openai/gpt-4}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import REQUESTED, Compare, Named, Program, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.refusal import warning
from turnout.dsl.schema import Parameter, Type
from turnout.dsl.source import Span
from turnout.dsl.walk import children, leaves_first

CODE = "RP403"
LEVEL: Severity = "warning"

_MOVING = (Type.DURATION, Type.PERCENT, Type.NUMBER)


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """One finding for each rule that could flap, at its first threshold."""
    if program is None or policy.rule_defaults.hold_us is not None:
        return
    for clause, rule in zip(program.clauses, policy.rules, strict=True):
        if clause.test is None or rule.extra.hold_us is not None:
            continue
        place = next(_thresholds(clause.test, program), None)
        if place is not None:
            yield warning(
                CODE,
                f"nothing holds what `{clause.name}` decides by a live value, so its route can "
                "flap",
                place,
                "write `hold: 2m` beside its condition",
            )


def _thresholds(condition: Term, program: Program) -> Iterator[Span]:
    """The comparisons that `hold` could keep, in the order of the text."""
    stack: list[tuple[Term, Span | None]] = [(condition, None)]
    while stack:
        term, place = stack.pop()
        if isinstance(term, Named) and place is None:
            place = term.span  # a definition may serve many rules: point at this one
        if isinstance(term, Compare):
            span = place or term.span
            is_threshold = term.operator not in ("==", "!=")
            if span is not None and is_threshold and _is_live(term, program):
                yield span
            continue
        stack.extend((child, place) for child in reversed(children(term)))


def _is_live(comparison: Compare, program: Program) -> bool:
    """Whether it compares live values of named targets and nothing else."""
    keys = {term.key for term in leaves_first([comparison]) if isinstance(term, Read)}
    slots = [program.slots.get(key) for key in keys]
    return bool(slots) and all(
        slot is not None
        and slot.attribute.live
        and slot.attribute.type in _MOVING
        and slot.attribute.parameter is Parameter.TARGET
        and slot.argument != REQUESTED
        for slot in slots
    )
