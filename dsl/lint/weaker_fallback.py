"""No fallback of a rule can answer what the rule sends.

The targets behind the route have a smaller context window, or cannot use tools or see images, so
they are passed over: where the first target fails, the request fails. What only some requests of a
rule are too much for is told on request (`--notes`).

Avoid:

    targets:
      groq/llama-3-70b: {vision: false}
    routing_policy:
      - name: images
        condition: has_images
        route: openai/gpt-4o
        fallback: [groq/llama-3-70b]
      - {name: default, route: openai/gpt-4o}

Prefer:

    targets:
      groq/llama-3-70b: {vision: false}
    routing_policy:
      - name: images
        condition: has_images
        route: openai/gpt-4o
        fallback: [anthropic/claude-sonnet]
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from turnout.dsl.core import REQUESTED, Clause, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.hops import first_hops
from turnout.dsl.logic import FALSE, TRUE, all_of, any_of, is_true, negation
from turnout.dsl.paths import Path
from turnout.dsl.routes import NEEDS
from turnout.dsl.schema import Type
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads

from .abilities import can_serve, lacking
from .survey import Asked, Survey, holds

CODE = "RP306"
LEVEL: Severity = "warning"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Rules whose requests, all or those it is about, no fallback can answer."""
    found: list[Diagnostic] = []
    for clause in survey.live():
        first = [path for path in survey.paths(clause) if not path.is_fallback]
        behind = [path for path in survey.paths(clause) if path.is_fallback]
        if any(hop.target == REQUESTED for hop in first_hops(clause.plan)) or not behind:
            continue
        finding = _look(survey, clause, first, behind)
        if finding is not None:
            found.append(finding)
    yield from found


def _look(
    survey: Survey, clause: Clause, first: Sequence[Path], behind: Sequence[Path]
) -> Diagnostic | None:
    served = any_of(all_of((path.when, can_serve(path.row))) for path in first)
    helped = any_of(all_of((path.when, can_serve(path.row))) for path in behind)
    if served is FALSE or all(can_serve(path.row) is TRUE for path in behind):
        return None
    sent = (*survey.fires(clause.index), *survey.usable, served)
    alone = (any_of(path.when for path in behind), negation(helped))
    kinds = list(_kinds(clause, behind))
    if not survey.notes and not kinds and _is_known_to_help(survey, clause, served, helped):
        return None
    subject = f"whether the fallbacks of `{clause.name}` can answer what it sends"
    seen = survey.ask(CODE, subject, clause.span, *sent, *alone)
    if seen is None:
        return None
    name = f"`{clause.name}`"
    if survey.never(*sent, helped):
        message = f"no request that {name} takes can be answered by its fallbacks"
        return _found(survey, clause, behind, message, seen, *sent, *alone)
    for kind, needs in kinds:
        some = survey.ask(CODE, subject, clause.span, *sent, *alone, needs)
        if some is not None and survey.never(*sent, helped, needs):
            message = f"no request with {kind} that {name} takes can be answered by its fallbacks"
            return _found(survey, clause, behind, message, some, *sent, *alone, needs)
    if survey.notes:
        message = f"not every request that {name} takes can be answered by its fallbacks"
        return replace(
            _found(survey, clause, behind, message, seen, *sent, *alone), severity="info"
        )
    return None


def _is_known_to_help(survey: Survey, clause: Clause, served: Term, helped: Term) -> bool:
    """Whether a request is known that a fallback can answer."""
    both = all_of((served, helped))
    return any(holds(both, seen) for seen in survey.taking(clause.index, both))


_KINDS = {"tools": "tools", "vision": "images", "audio": "audio", "json": "a schema"}


def _kinds(clause: Clause, behind: Sequence[Path]) -> Iterator[tuple[str, Term]]:
    """What the rule itself tests, and a fallback lacks."""
    tested = set(reads([clause.applies]))
    rows = [path.row for path in behind if path.row is not None]
    for ability, attribute in NEEDS:
        if attribute in tested and any(row.abilities.get(ability) is False for row in rows):
            yield _KINDS[ability], is_true(Read(attribute, Type.BOOL))


def _found(
    survey: Survey,
    clause: Clause,
    behind: Sequence[Path],
    message: str,
    seen: Snapshot,
    *terms: Asked,
) -> Diagnostic:
    is_own = clause.plan.fallback is not None
    place = behind[0].hop.span if is_own else survey.rule(clause.index).name.span
    rows = {path.target: path.row for path in behind if path.row is not None}
    lacks = [f"`{id}` {lack}" for id, row in rows.items() if (lack := lacking(row, seen))]
    return Diagnostic(
        CODE,
        LEVEL,
        f"{message}: {', '.join(lacks)}",
        place,
        "add a fallback that can",
        witness=survey.example(seen, *terms),
    )
