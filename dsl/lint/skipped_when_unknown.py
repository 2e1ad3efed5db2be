"""A rule is skipped where a value is unknown, and then no rule takes the request.

An unknown value makes no comparison true, and its opposite neither: `== "eu"` and `!= "eu"` both
leave out a caller whose region nobody knows. `??` says what counts then, or a last rule without a
condition takes the rest.

Avoid:

    attributes: {tenant.region: [eu, us]}
    routing_policy:
      - {name: europe, condition: tenant.region == "eu", route: openai/gpt-4o}
      - {name: elsewhere, condition: tenant.region != "eu", route: groq/llama-3-8b}

Prefer:

    attributes: {tenant.region: [eu, us]}
    routing_policy:
      - {name: europe, condition: tenant.region == "eu", route: openai/gpt-4o}
      - {name: elsewhere, route: groq/llama-3-8b}
"""

from collections.abc import Iterator

from turnout.dsl.core import Clause, Known, Not, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.interpret.traced import value_of
from turnout.dsl.keys import attribute_of, written_key
from turnout.dsl.prove import Witness
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Span
from turnout.dsl.walk import leaves_first, reads

from .survey import IS_GENERATION, Survey

CODE = "RP210"
LEVEL: Severity = "warning"


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """The rules that a request comes through for want of a value, and only for that."""
    if not isinstance(survey.gap, Witness):
        return
    slots = survey.program.slots
    missing = [slots[key] for key in reads(survey.taken) if _may_be_unknown(survey, key)]
    known = [Known(Read(slot.key, slot.attribute.type)) for slot in missing]
    if not missing or not survey.never(IS_GENERATION, *survey.left, *known):
        return  # where everything is known, too, some request matches no rule
    for clause in survey.program.clauses:
        if clause.test is None:
            continue
        subject = f"when `{clause.name}` is skipped"
        is_skipped = Not(Known(clause.test))
        seen = survey.ask(CODE, subject, clause.span, IS_GENERATION, *survey.left, is_skipped)
        if seen is not None:
            yield _found(survey, clause, seen, IS_GENERATION, *survey.left, is_skipped)
            return


def _may_be_unknown(survey: Survey, key: str) -> bool:
    slot = survey.program.slots.get(key)
    return slot is not None and not slot.attribute.always_known and attribute_of(key) != "held"


def _found(survey: Survey, clause: Clause, seen: Snapshot, *terms: Term) -> Diagnostic:
    key, place = _unknown_in(clause.test, seen) or ("a value", None)
    name = survey.rule(clause.index).name
    told = f"`{written_key(key)}`" if place is not None else key
    return Diagnostic(
        CODE,
        LEVEL,
        f"the rule `{name.value}` is skipped where {told} is unknown, and no later rule takes such "
        "a request",
        place or name.span,
        f"say what counts then, such as `{written_key(key)} ?? …`, or end with a rule without "
        "`condition`",
        witness=survey.example(seen, *terms),
    )


def _unknown_in(test: Term | None, seen: Snapshot) -> tuple[str, Span | None] | None:
    for term in leaves_first([] if test is None else [test]):
        if isinstance(term, Read) and value_of(term, seen) is None and term.span is not None:
            return term.key, term.span
    return None
