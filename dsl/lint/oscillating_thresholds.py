"""Two rules stand on both sides of one threshold of a live value, and send traffic back and forth.

One is for values above it, the other for those below, and there is no room between them: a value
that moves around the threshold moves the traffic with it, which moves the value. `hold` makes that
slower; a band between the two ends it.

Avoid:

    targets: {openai/gpt-4: {expected: {p95: 4s}}}
    routing_policy:
      - name: slow
        condition: p95("openai/gpt-4") > 8s and stream
        route: anthropic/claude-sonnet
        hold: 2m
      - {name: quick, condition: p95("openai/gpt-4") <= 8s, route: openai/gpt-4, hold: 2m}
      - {name: default, route: openai/gpt-4o}

Prefer:

    targets: {openai/gpt-4: {expected: {p95: 4s}}}
    routing_policy:
      - name: slow
        condition: p95("openai/gpt-4") > 8s and stream
        route: anthropic/claude-sonnet
        hold: 2m
      - {name: quick, condition: p95("openai/gpt-4") < 5s, route: openai/gpt-4, hold: 2m}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator
from dataclasses import dataclass

from turnout.dsl.core import Clause, Compare, Const, Named, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.logic import TRUE, all_of
from turnout.dsl.paths import fires
from turnout.dsl.prove import Witness
from turnout.dsl.schema import Type
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Span
from turnout.dsl.units import format_value
from turnout.dsl.walk import leaves_first, rewrite

from .survey import Survey

CODE = "RP404"
LEVEL: Severity = "warning"

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class _Threshold:
    """Where a comparison turns: it is true of `edge` and beyond, upwards or downwards."""

    clause: Clause
    read: Read
    edge: int
    is_above: bool
    span: Span


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Pairs of rules between which one step of a live value moves a request."""
    found: dict[str, list[_Threshold]] = {}
    for clause in survey.program.clauses:
        for threshold in _thresholds(survey, clause):
            found.setdefault(threshold.read.key, []).append(threshold)
    for rows in found.values():
        for at, one in enumerate(rows):
            for other in rows[at + 1 :]:
                if one.clause is not other.clause and one.is_above is not other.is_above:
                    yield from _look(survey, one, other)


def _thresholds(survey: Survey, clause: Clause) -> Iterator[_Threshold]:
    for term in leaves_first([clause.applies]):
        if not isinstance(term, Compare) or term.operator not in _FLIPPED or term.span is None:
            continue
        read, constant = _plain(term.left), _plain(term.right)
        operator: str = term.operator
        if isinstance(read, Const):
            operator, read, constant = _FLIPPED[operator], constant, read
        if not isinstance(read, Read) or not isinstance(constant, Const):
            continue
        slot = survey.program.slots.get(read.key)
        if slot is None or not slot.attribute.live or not isinstance(constant.value, int):
            continue
        is_above = operator in (">", ">=")
        step = {">": 1, "<": -1}.get(operator, 0)
        yield _Threshold(clause, read, constant.value + step, is_above, term.span)


def _plain(term: Term) -> Term:
    while isinstance(term, Named):
        term = term.operand
    return term


def _look(survey: Survey, one: _Threshold, other: _Threshold) -> Iterator[Diagnostic]:
    """A finding where the two touch, and a request is moved from one rule to the other there."""
    above, below = (one, other) if one.is_above else (other, one)
    if above.edge != below.edge + 1:
        return
    if survey.plans[above.clause.index] == survey.plans[below.clause.index]:
        return
    moves = all_of(_at(fires(survey.program, side.clause.index), side) for side in (above, below))
    answer = survey.prover.find(moves)
    if not isinstance(answer, Witness):
        return
    seen = Snapshot({**answer.snapshot, above.read.key: above.edge})
    names = [survey.rule(side.clause.index).name.value for side in (above, below)]
    value = format_value(below.edge, above.read.type)
    first, second = sorted((above, below), key=lambda side: side.clause.index)
    yield Diagnostic(
        CODE,
        LEVEL,
        f"around {value} a request moves between `{names[0]}` and `{names[1]}`, and back: "
        "nothing is left between their thresholds",
        second.span,
        "leave a band between the two, or let one of them be about everything else",
        (Related("the other side of it", first.span),),
        survey.shown(seen, moves),
    )


def _at(term: Term, side: _Threshold) -> Term:
    """The term where the live value stands at the edge of this side, and nothing is held."""

    def told(read: Read) -> Term:
        if read.key == side.read.key:
            return Const(side.edge, read.type)
        if read.key.startswith("held("):
            return Const(False, Type.BOOL)
        return read

    return rewrite(term, told) if term is not TRUE else term
