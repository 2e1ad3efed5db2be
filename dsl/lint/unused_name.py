"""A name is declared, and nothing in the file uses it.

A definition under `let`, a list, `embed` without `similar_to`: it may be left over, or another name
is in use where this one was meant. What an included file declares may be there for other policies.
Budgets and tenants need nobody to name them.

Avoid:

    let:
      tiny: tokens < 100
    routing_policy:
      - {name: short, condition: tokens < 1k, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}

Prefer:

    let:
      tiny: tokens < 100
    routing_policy:
      - {name: short, condition: tiny, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterable, Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.source import Span

from .written import conditions, parts

CODE = "RP337"
LEVEL: Severity = "info"

_COMPARES = "similar_to"
_OF_LISTS = (_COMPARES, "contains_any")


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Definitions that no condition comes to, lists that none names, `embed` for nothing."""
    own = policy.source_span.source
    if program is None:
        return
    used = _definitions_used(policy)
    for entry in policy.definitions:
        if entry.name.value not in used and entry.name.span.source == own:
            yield _unused("the name", entry.name.value, entry.name.span, "name it in a condition")
    if not policy.lists and policy.embed is None:
        return
    lists = _lists_used(policy)
    for listed in policy.lists:
        if listed.name.value not in lists and listed.name.span.source == own:
            yield _unused("the list", listed.name.value, listed.name.span, "name it in a condition")
    embed = policy.embed
    if embed is not None and embed.span.source == own and not _compares(policy):
        place = policy.key_spans.get("embed", embed.span)
        yield _unused("", "embed", place, 'ask for `similar_to("list")` in a condition')


def _unused(what: str, name: str, place: Span, use: str) -> Diagnostic:
    told = f"{what} `{name}`".lstrip()
    return Diagnostic(CODE, LEVEL, f"nothing uses {told}", place, f"remove it, or {use}")


def _definitions_used(policy: tree.Policy) -> set[str]:
    """The definitions that a condition names, or another one that is used."""
    written = {entry.name.value: entry.expression for entry in policy.definitions}
    in_definitions = {id(expression) for expression in written.values()}
    used: set[str] = set()
    stack = [c for c in conditions(policy) if id(c) not in in_definitions] if written else []
    while stack:
        for part in parts(stack.pop()):
            if isinstance(part, tree.Name) and part.text in written and part.text not in used:
                used.add(part.text)
                stack.append(written[part.text])
    return used


def _lists_used(policy: tree.Policy) -> set[str]:
    used: set[str] = set()
    for part in _all_parts(policy):
        match part:
            case tree.Membership(collection=tree.Name(name)):
                used.add(name)
            case tree.Call(tree.Name(name), (tree.Literal(text=text), *_)) if name in _OF_LISTS:
                used.add(text)
            case _:
                pass
    return used


def _compares(policy: tree.Policy) -> bool:
    calls = (part for part in _all_parts(policy) if isinstance(part, tree.Call))
    return any(call.name.text == _COMPARES for call in calls)


def _all_parts(policy: tree.Policy) -> Iterable[object]:
    return (part for condition in conditions(policy) for part in parts(condition))
