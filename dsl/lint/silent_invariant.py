"""An invariant that cannot be broken where a fact of the target is not known.

`never` is broken where its condition is true. A fact that neither the file nor the catalogue tells
is unknown, and what is unknown is not true: of such a target the invariant says nothing, whatever
it is really like. Declare the fact, or write the invariant with `always`, which what is unknown
breaks.

Avoid:

    attributes: {tenant.region: [eu, us]}
    targets:
      anthropic/claude-sonnet: {region: eu}
    invariants:
      - {name: eu_stays, never: tenant.region == "eu" and region != "eu"}
    routing_policy:
      - {name: legal, condition: has_tools, route: anthropic/claude-sonnet}
      - {name: default, route: openai/gpt-4o}

Prefer:

    attributes: {tenant.region: [eu, us]}
    targets:
      anthropic/claude-sonnet: {region: eu}
      openai/gpt-4o: {region: eu}
    invariants:
      - {name: eu_stays, never: tenant.region == "eu" and region != "eu"}
    routing_policy:
      - {name: legal, condition: has_tools, route: anthropic/claude-sonnet}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator
from dataclasses import dataclass

from turnout.dsl.core import Clause, Const, Invariant, Known, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.facts import COST, PREFIX, WORST_CASE, facts
from turnout.dsl.logic import FALSE, all_of, any_of, is_not_false, is_true, negation
from turnout.dsl.paths import Path
from turnout.dsl.prove import Witness
from turnout.dsl.residual import simplify
from turnout.dsl.schema import Target
from turnout.dsl.scope import ROUTE
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Span
from turnout.dsl.walk import leaves_first, reads, rewrite

from .survey import IS_GENERATION, Asked, Survey, listed

CODE = "RP322"
LEVEL: Severity = "warning"
_COSTS = frozenset((COST, WORST_CASE))
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Silence:
    """A target of which an invariant says nothing, the facts it lacks, and where that is so."""

    facts: tuple[str, ...]
    where: Term


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Of each `never` the targets that requests reach and that it cannot tell of."""
    for entry, invariant in zip(survey.policy.invariants, survey.program.invariants, strict=True):
        # What a request costs is no fact: of a condition about it nothing is concluded here.
        keys = set(reads([invariant.test]))
        is_of_facts = any(key.startswith(PREFIX) for key in keys) and _COSTS.isdisjoint(keys)
        if invariant.kind == "never" and is_of_facts:
            finding = _look(survey, invariant, entry.name.span)
            if finding is not None:
                yield finding


def _look(survey: Survey, invariant: Invariant, span: Span) -> Diagnostic | None:
    beside = () if "request_type" in reads([invariant.test]) else (IS_GENERATION,)
    subject = f"whether `{invariant.name}` says something of every target"
    found: dict[str, tuple[str, ...]] = {}
    of_targets: dict[str, _Silence] = {}
    shown: tuple[Snapshot, tuple[Asked, ...]] | None = None
    for taken, paths in _goes(survey):
        silent: dict[int, dict[str, Term]] = {}  # by hop: of `requested` there are many
        for path in paths:
            if path.row is None or path.target in found:
                continue
            if path.target not in of_targets:
                of_targets[path.target] = _silence(invariant, path.row)
            where = all_of((path.when, of_targets[path.target].where))
            if where is not FALSE:
                silent.setdefault(id(path.hop), {})[path.target] = where
        for group in silent.values():
            terms = (*taken, *beside, any_of(group.values()))
            seen = survey.ask(CODE, subject, span, *terms)
            if seen is not None:
                found |= {target: of_targets[target].facts for target in group}
                shown = shown or (seen, terms)
    if shown is None:
        return None
    names = list(dict.fromkeys(fact for missing in found.values() for fact in missing))
    it = "it" if len(found) == 1 else "them"
    return Diagnostic(
        CODE,
        LEVEL,
        f"nothing is known of the {listed(names)} of {_named(list(found))}, so "
        f"`{invariant.name}` says nothing about {it}",
        span,
        f"declare {'it' if len(names) == 1 else 'them'} under `targets:`, or write the invariant "
        "with `always`, which what is unknown breaks",
        witness=survey.example(shown[0], *shown[1]),
    )


def _goes(survey: Survey) -> Iterator[tuple[tuple[Asked, ...], list[Path]]]:
    """The hops of each rule and of what no rule takes, and what holds of their requests."""
    for clause in survey.live():
        yield survey.fires(clause.index), [*survey.paths(clause), *_copies(survey, clause)]
    if isinstance(survey.gap, Witness):
        yield tuple(survey.left), list(survey.ways.of_chain())


def _copies(survey: Survey, clause: Clause) -> Iterator[Path]:
    mirror = clause.plan.mirror
    if mirror is not None:
        target = mirror.hop.target
        sampled = all_of((is_true(mirror.sampled), survey.ways.allowed(target)))
        yield Path(mirror.hop, target, sampled, False, survey.program.targets.get(target))


def _silence(invariant: Invariant, target: Target) -> _Silence:
    """Where it is the facts that leave the condition unknown, and nothing of the request."""
    keys = tuple(key for key in reads([invariant.test]) if key.startswith(PREFIX))
    values = {**facts(target, keys), ROUTE: target.id}

    def known(term: Read) -> Term:
        value = values.get(term.key)
        return term if value is None else Const(value, term.type, term.span)

    def lacked(term: Read) -> Term:
        return Const(None, term.type, term.span) if term.key in values else term

    test = simplify(rewrite(invariant.test, known), {})
    lacks = tuple(key for key in reads([test]) if key in values)
    if not lacks:
        return _Silence((), FALSE)
    test = simplify(rewrite(test, lacked), {})
    said = {term.key: Known(term) for term in leaves_first([test]) if isinstance(term, Read)}
    return _Silence(
        tuple(key.removeprefix(PREFIX) for key in lacks),
        all_of((is_not_false(test), negation(is_true(test)), *said.values())),
    )


def _named(targets: list[str]) -> str:
    if len(targets) <= _MOST_NAMED + 1:
        return listed(targets)
    more = len(targets) - _MOST_NAMED
    return f"{', '.join(f'`{name}`' for name in targets[:_MOST_NAMED])} and {more} others"
