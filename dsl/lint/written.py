"""The expressions of a policy as written, and their parts, seen by the rules of lint."""

from collections.abc import Iterator

from turnout.dsl import tree

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
