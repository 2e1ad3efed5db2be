"""Rules that divide the day among them overlap, or leave some minutes out.

Rules with the same conditions but for their windows of time belong together. Windows are half-open,
so `09:00..17:00` and `17:00..22:00` meet. Two that cut into each other, and a short gap between two
that were surely meant to meet, are found.

Avoid:

    - {name: day, condition: time in 09:00..17:59, route: openai/gpt-4o}
    - {name: night, condition: time in 18:00..09:00, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4}

Prefer:

    - {name: day, condition: time in 09:00..18:00, route: openai/gpt-4o}
    - {name: night, condition: time in 18:00..09:00, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4}
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from turnout.dsl.core import And, Clause, Compare, Const, Named, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.interpret.traced import value_of
from turnout.dsl.logic import all_of, is_true
from turnout.dsl.meaning import Meanings
from turnout.dsl.prove import Witness
from turnout.dsl.schema import Type
from turnout.dsl.source import Span
from turnout.dsl.units import format_value
from turnout.dsl.walk import leaves_first, reads

from .survey import Survey

CODE = "RP402"
LEVEL: Severity = "warning"

_DAY = 24 * 60
_SLIP = 5  # minutes; a gap of no more is a slip, whatever else there is
_HOUR = 60  # of a gap between windows that meet everywhere else


@dataclass(frozen=True, slots=True)
class _Window:
    """The stretch of a rule: from `start` on, for `length` minutes, round midnight."""

    clause: Clause
    start: int
    length: int
    span: Span

    @property
    def end(self) -> int:
        return (self.start + self.length) % _DAY


@dataclass(frozen=True, slots=True)
class _Slip:
    """Minutes that two windows share, or leave out between them."""

    first: _Window
    second: _Window
    start: int
    end: int
    is_gap: bool


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Windows of sibling rules that cut into each other, or nearly meet."""
    meanings = Meanings()
    groups: dict[object, list[_Window]] = {}
    for clause in survey.program.clauses:
        read = _window(clause, meanings)
        if read is not None:
            groups.setdefault(read[0], []).append(read[1])
    for windows in groups.values():
        for slip in _slips(survey, windows):
            yield from _found(survey, slip)


def _window(clause: Clause, meanings: Meanings) -> tuple[object, _Window] | None:
    """The one window of a rule, beside what else it asks."""
    operands = tuple(_operands(clause.test))
    about_time = [term for term in operands if reads([term]) == ("time",)]
    others = [term for term in operands if term not in about_time]
    if not about_time or any("time" in reads([term]) for term in others):
        return None
    stretch = _stretch(about_time)
    if stretch is None:
        return None
    rest = frozenset(meanings.number(term) for term in others)
    span = about_time[0].span or clause.span
    return rest, _Window(clause, *stretch, span)


def _operands(term: Term | None) -> Iterator[Term]:
    """What has to be true together; names of `let` are taken apart, comparisons are not."""
    plain = term
    while isinstance(plain, Named):
        plain = plain.operand
    if isinstance(plain, And) and plain.span is not None:
        for operand in plain.operands:
            yield from _operands(operand)
    elif term is not None:
        yield term


def _stretch(terms: Sequence[Term]) -> tuple[int, int] | None:
    """First minute and length of what terms about the time let through, if it is one stretch."""
    edges = {0}
    for part in leaves_first(terms):
        if isinstance(part, Const) and part.type is Type.TIME and isinstance(part.value, int):
            edges |= {part.value % _DAY, (part.value + 1) % _DAY}
    cuts = sorted(edges)
    inside = [_lets_through(terms, minute) for minute in cuts]
    starts = [at for at, is_in in enumerate(inside) if is_in and not inside[at - 1]]
    ends = [at for at, is_in in enumerate(inside) if not is_in and inside[at - 1]]
    if len(starts) != 1 or len(ends) != 1:
        return None
    start, end = cuts[starts[0]], cuts[ends[0]]
    return start, (end - start) % _DAY


def _lets_through(terms: Sequence[Term], minute: int) -> bool:
    return all(value_of(term, {"time": minute}) is True for term in terms)


def _slips(survey: Survey, windows: list[_Window]) -> Iterator[_Slip]:
    for at, one in enumerate(windows):
        for other in windows[at + 1 :]:
            if survey.plans[one.clause.index] != survey.plans[other.clause.index]:
                yield from _overlaps(one, other)
    yield from _gaps(windows)


def _overlaps(one: _Window, other: _Window) -> Iterator[_Slip]:
    """Where the end of one lies in the other; a window inside the other is meant so."""
    for first, second in ((one, other), (other, one)):
        into = (second.start - first.start) % _DAY
        is_cut = 0 < into < first.length < into + second.length
        if is_cut and first.length - into < _DAY - max(first.length, second.length):
            yield _Slip(first, second, second.start, first.end, is_gap=False)


def _gaps(windows: list[_Window]) -> Iterator[_Slip]:
    if len(windows) < 2:
        return
    ordered = sorted(windows, key=lambda window: window.start)
    following = [*ordered[1:], ordered[0]]
    gaps = [(b.start - a.end) % _DAY for a, b in zip(ordered, following, strict=True)]
    covered = sum(window.length for window in ordered)
    if covered + sum(gaps) != _DAY:
        return  # they overlap somewhere
    for gap, first, second in zip(gaps, ordered, following, strict=True):
        others_meet = sum(gaps) == gap
        if 0 < gap <= _SLIP or (0 < gap <= _HOUR and others_meet):
            yield _Slip(first, second, first.end, second.start, is_gap=True)


def _found(survey: Survey, slip: _Slip) -> Iterator[Diagnostic]:
    """A finding, if a request comes to these minutes at all: rules before may have taken them."""
    minute = Const(slip.start, Type.TIME)
    is_then = is_true(Compare("==", Read("time", Type.TIME), minute))
    pair = sorted((slip.first.clause.index, slip.second.clause.index))
    if slip.is_gap:
        others = [term for window in (slip.first, slip.second) for term in _beside(window.clause)]
        terms = (is_then, *others, *survey.left[: max(pair) + 1])
    else:
        early, late = (survey.taken[index] for index in pair)
        terms = (is_then, *survey.left[: pair[0]], early, late)
    answer = survey.prover.find(*terms)
    if not isinstance(answer, Witness):
        return
    names = [survey.rule(index).name for index in pair]
    first, last = format_value(slip.start, Type.TIME), format_value(slip.end, Type.TIME)
    where = f"from {first} to {last}"
    if slip.is_gap:
        message = f"`{names[0].value}` and `{names[1].value}` leave the time {where} out"
        help = f"let one end where the other begins, at {first} or at {last}"
    else:
        message = (
            f"the windows of `{names[0].value}` and `{names[1].value}` overlap {where}: "
            f"`{names[0].value}` takes these minutes"
        )
        help = f"let one end where the other begins, at {first} or at {last}"
    place = slip.second if slip.second.clause.index == pair[1] else slip.first
    other = slip.first if place is slip.second else slip.second
    yield Diagnostic(
        CODE,
        LEVEL,
        message,
        place.span,
        help,
        (Related("the other window", other.span),),
        survey.shown(answer.snapshot, *terms),
    )


def _beside(clause: Clause) -> Iterator[Term]:
    """What a rule asks beside the time."""
    operands = tuple(_operands(clause.test))
    yield all_of(
        is_true(term) for term in operands if term is not None and "time" not in reads([term])
    )
