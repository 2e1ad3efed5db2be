"""A limit, an invariant or a `where` compares a fact with a text that no target of the file has.

The region, the provider, the owner and the tags of targets are what the file and the catalogue say.
Of a text that none of them has the outcome is the same for every target, and a limit fails closed.
The `route` of an invariant is the name of a target that the file or the catalogue knows.

Avoid:

    targets:
      openai/gpt-4o: {region: eu}
    require:
      - {name: stays, target: region == "ue"}

Prefer:

    targets:
      openai/gpt-4o: {region: eu}
    require:
      - {name: stays, target: region == "eu"}
"""

from collections.abc import Iterator, Set

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.facts import FACTS, PREFIX
from turnout.dsl.nearest import nearest, suggestion
from turnout.dsl.refusal import warning
from turnout.dsl.schema import Type
from turnout.dsl.scope import ROUTE, TAGS
from turnout.dsl.units import quote

from .written import parts

CODE = "RP336"
LEVEL: Severity = "warning"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Each such text, in limits, invariants, the `where` of choices, and what these name."""
    if program is None:
        return
    known = _known(program)
    # In a `let`, the request's own attribute of that name is meant.
    of_requests = known.keys() & program.schema.attributes.keys()
    for expression, other in (*_about_targets(policy), *_definitions(policy, of_requests)):
        for part in parts(expression):
            for name, literal in _compared(part):
                fact = name.removeprefix(PREFIX)
                words = None if name in other else known.get(fact)
                if name == ROUTE and literal.kind == "string":
                    yield from _of_route(program, literal)
                if words is not None and literal.kind == "string" and literal.text not in words:
                    yield warning(
                        CODE,
                        f"no target has the {_NOUNS.get(fact, fact)} `{literal.text}`",
                        literal.span,
                        suggestion(literal.text, words, quote) or _listed(fact, words),
                    )


def _of_route(program: Program, literal: tree.Literal) -> Iterator[Diagnostic]:
    """A target that nobody knows: nothing is ever routed there."""
    name, catalog = literal.text, program.schema.catalog
    if name in program.targets or catalog.find(name) is not None:
        return
    close = nearest(name, program.targets) or catalog.close_to(name)
    yield warning(
        CODE,
        f"there is no target `{name}`",
        literal.span,
        f"did you mean `{quote(close)}`?" if close else "write `provider/model`",
    )


_NOUNS = {TAGS: "tag"}


def _listed(fact: str, words: set[str]) -> str:
    if not words:
        return f"write `{fact}:` for the targets it is known of, under `targets:`"
    return f"there are {', '.join(f'`{quote(word)}`' for word in sorted(words)[:12])}"


def _known(program: Program) -> dict[str, set[str]]:
    """What the targets have, by fact."""
    rows = program.targets.values()
    known = {
        fact.name: {str(value) for row in rows if (value := fact.of(row)) is not None}
        for fact in FACTS.values()
        if fact.type is Type.TEXT
    }
    return {**known, TAGS: {tag for row in rows for tag in row.tags}}


def _about_targets(policy: tree.Policy) -> Iterator[tuple[tree.Expression, Set[str]]]:
    """The expressions in which the name of a fact is one."""
    nothing: frozenset[str] = frozenset()
    yield from ((limit.target, nothing) for limit in policy.limits)
    yield from ((invariant.test, nothing) for invariant in policy.invariants)
    for rule in policy.rules:
        if isinstance(rule.route, tree.ChoiceRoute) and rule.route.where is not None:
            yield rule.route.where, nothing


def _definitions(
    policy: tree.Policy, other: Set[str]
) -> Iterator[tuple[tree.Expression, Set[str]]]:
    """The definitions, with the names of facts that mean something else there."""
    yield from ((definition.expression, other) for definition in policy.definitions)


def _compared(part: object) -> Iterator[tuple[str, tree.Literal]]:
    """The names of facts, each with a text that it is compared with."""
    match part:
        case tree.Comparison("==" | "!=", tree.Name(name), tree.Literal() as literal):
            yield name, literal
        case tree.Comparison("==" | "!=", tree.Literal() as literal, tree.Name(name)):
            yield name, literal
        case tree.Membership(tree.Name(name), tree.Listing(items)):
            for item in items:
                if isinstance(item, tree.Literal):
                    yield name, item
        case tree.Membership(tree.Literal() as literal, tree.Name(name)):
            yield name, literal
