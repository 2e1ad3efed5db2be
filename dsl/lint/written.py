"""The expressions of a policy as written, and their parts, seen by the rules of lint."""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import REQUESTED
from turnout.dsl.source import Span

Part = tree.Expression | tree.Range | tree.Listing


def conditions(policy: tree.Policy) -> Iterator[tree.Expression]:
    """Every condition of a policy: rules, their routes and hops, definitions, limits, cache."""
    for definition in policy.definitions:
        yield definition.expression
    for rule in policy.rules:
        if rule.condition is not None:
            yield rule.condition
        if isinstance(rule.route, tree.ChoiceRoute) and rule.route.where is not None:
            yield rule.route.where
        yield from (entry.when for entry in rule.fallback or () if entry.when is not None)
    yield from (entry.when for entry in policy.fallback_chain if entry.when is not None)
    for limit in policy.limits:
        if limit.when is not None:
            yield limit.when
        yield limit.target
    yield from (invariant.test for invariant in policy.invariants)
    if policy.cache is not None:
        yield from (part for part in (policy.cache.only, policy.cache.never) if part is not None)


def parts(expression: tree.Expression) -> Iterator[Part]:
    """An expression and everything in it, in the order of the text."""
    stack: list[Part] = [expression]
    while stack:
        part = stack.pop()
        yield part
        stack.extend(reversed(below(part)))


def below(part: Part) -> tuple[Part, ...]:
    """The parts directly below one."""
    match part:
        case tree.Literal() | tree.Name() | tree.Index():
            return ()
        case tree.Call(_, arguments):
            return arguments
        case tree.Negate(operand) | tree.Not(operand):
            return (operand,)
        case tree.Arithmetic(_, left, right) | tree.Comparison(_, left, right):
            return (left, right)
        case tree.Default(operand, default):
            return (operand, default)
        case tree.Range(low, high):
            return (low, high)
        case tree.Listing(items):
            return items
        case tree.Membership(operand, collection):
            return (operand, collection)
        case tree.Junction(_, operands):
            return operands


def targets(policy: tree.Policy) -> Iterator[tuple[str, Span]]:
    """Every place that names a target outside of `targets`: routes, hops, models, conditions.

    Of conditions these are the texts in quotes, whether a target is meant or not.
    """
    for model in policy.models:
        yield model.to.value, model.to.span
    for rule in policy.rules:
        match rule.route:
            case tree.Text(value, span):
                yield value, span
            case tree.ChoiceRoute(targets=names):
                yield from ((name.value, name.span) for name in names)
            case tree.SplitRoute(shares=shares):
                yield from ((share.target.value, share.target.span) for share in shares)
            case tree.RejectRoute():
                pass
        yield from ((hop.to.value, hop.to.span) for hop in rule.fallback or ())
    yield from ((hop.to.value, hop.to.span) for hop in policy.fallback_chain)
    for options in (policy.rule_defaults, *(rule.extra for rule in policy.rules)):
        if options.mirror is not None:
            yield options.mirror.to.value, options.mirror.to.span
    if policy.embed is not None:
        yield policy.embed.target.value, policy.embed.target.span
    for condition in conditions(policy):
        for part in parts(condition):
            if isinstance(part, tree.Literal) and part.kind == "string":
                yield part.text, part.span
            elif isinstance(part, tree.Name) and part.text == REQUESTED:
                yield REQUESTED, part.span


def hop_options(policy: tree.Policy) -> Iterator[tree.HopOptions]:
    """The options of every hop as written: those of `defaults` first, then of routes and chains."""
    yield policy.defaults
    for rule in policy.rules:
        yield rule.options
        yield from (entry.options for entry in rule.fallback or ())
    yield from (entry.options for entry in policy.fallback_chain)
