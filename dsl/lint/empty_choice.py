"""`where` can leave a choice nothing to choose from, and nothing comes behind it.

A choice drops the candidates for which `where` is false. Where it drops them all, the fallbacks of
the rule are tried; without any, the request fails. `where` that drops all of them for every request
is a choice that is never made.

Avoid:

    targets: {openai/gpt-4o: {expected: {p95: 4s}}, groq/llama-3-8b: {expected: {p95: 1s}}}
    routing_policy:
      - name: default
        route: {first_of: [openai/gpt-4o, groq/llama-3-8b], where: p95 < 8s}

Prefer:

    targets: {openai/gpt-4o: {expected: {p95: 4s}}, groq/llama-3-8b: {expected: {p95: 1s}}}
    routing_policy:
      - name: default
        route: {first_of: [openai/gpt-4o, groq/llama-3-8b], where: p95 < 8s}
        fallback: [anthropic/claude-sonnet]
"""

from collections.abc import Iterator
from dataclasses import replace

from turnout.dsl.core import Choice, Clause
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.logic import any_of, negation

from .survey import Asked, Survey

CODE = "RP311"
LEVEL: Severity = "warning"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Choices that `where` empties: for every request, or for one that then goes nowhere."""
    found: list[Diagnostic] = []
    for clause in survey.live():
        route = clause.plan.route
        if not isinstance(route, Choice) or all(one.where is None for one in route.candidates):
            continue
        finding = _look(survey, clause, route)
        if finding is not None:
            found.append(finding)
    yield from found


def _look(survey: Survey, clause: Clause, route: Choice) -> Diagnostic | None:
    taken = (*survey.fires(clause.index), *survey.usable)
    chosen = any_of(path.when for path in survey.paths(clause) if not path.is_fallback)
    behind = any_of(path.when for path in survey.paths(clause) if path.is_fallback)
    without = tuple(replace(one, where=None) for one in route.candidates)
    free = replace(clause, plan=replace(clause.plan, route=replace(route, candidates=without)))
    could_be = any_of(path.when for path in survey.ways.of(free) if not path.is_fallback)
    rule = survey.rule(clause.index)
    subject = f"whether `where` leaves `{clause.name}` a candidate"
    emptied: tuple[Asked, ...] = (*taken, could_be, negation(chosen))
    seen = survey.ask(CODE, subject, route.span, *emptied)
    if seen is None:
        return None
    if survey.never(*taken, chosen):
        message = f"`where` drops every candidate of `{rule.name.value}`, whatever the request"
        help = "loosen `where`, or write the fallback as the route"
    else:
        emptied = (*emptied, negation(behind))
        seen = survey.ask(CODE, subject, route.span, *emptied)
        if seen is None:
            return None
        message = f"`where` can drop every candidate of `{rule.name.value}`, and nothing is behind"
        help = "write a `fallback` for the rule, or a `fallback_chain`"
    example = survey.example(seen, *emptied)
    return Diagnostic(CODE, LEVEL, message, route.span, help, witness=example)
