"""What a place of the file could hold, written out for a message, from the table of its keys.

What does not belong here: which keys there are (`vocabulary`).
"""

import re

from .schema import Type
from .units import parse_quantity
from .vocabulary import Either, Key, Kind, ListOf, MapOf, Section, Value, Words

_SINGLE: dict[Value, str] = {
    Value.TEXT: "a_text",
    Value.NAME: "a_name",
    Value.TARGET: "openai/gpt-4",
    Value.HOP: "openai/gpt-4",
    Value.FLAG: "true",
    Value.COUNT: "32k",
    Value.INTEGER: "7",
    Value.NUMBER: "0.7",
    Value.VERSION: "1",
    Value.STATUS: "403",
    Value.DURATION: "5s",
    Value.DATE: "2026-10-01",
    Value.SHARE: "5%",
    Value.MONEY: "$0.01",
    Value.RATE: "$2.50/Mtok",
    Value.ALLOWANCE: "$20/day",
    Value.FREE: "0",
    Value.CONDITION: "tokens < 100",
    Value.GIVEN: "80",
}
_MEASURED: dict[Value, tuple[Type, ...]] = {
    Value.COUNT: (Type.NUMBER,),
    Value.DURATION: (Type.DURATION,),
    Value.SHARE: (Type.PERCENT,),
    Value.MONEY: (Type.MONEY,),
    Value.RATE: (Type.RATE,),
}
_SHAPED: dict[Value, re.Pattern[str]] = {
    Value.TARGET: re.compile(r"[\w.-]+/[\w./:@+-]+"),
    Value.STATUS: re.compile(r"[45][0-9]{2}"),
    Value.DATE: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    Value.ALLOWANCE: re.compile(r"\$[0-9.]+/[a-z]+"),
}
# Keys whose kind alone does not tell what stands there.
_WRITTEN = {
    "name": "a_name",
    "kind": "openai",
    "region": "eu",
    "tier": "pro",
    "ttl": "1h",
    "failures": "10",
    "concurrency": "20",
    "expect": "cheap_for_simple",
    "given": "{tokens: 80}",
    "include": "[models.yml]",
    "attributes": "{tier: [free, pro]}",
    "let": "{is_long: tokens > 8k}",
    "lists": "{vips: [acme, initech]}",
    "providers": "{openai: {base_url: https://host.example/v1}}",
    "headers": "{x-team: search}",
    "targets": "{openai/gpt-4: {region: eu}}",
    "above": "{200k: {input: $5/Mtok, output: $20/Mtok}}",
    "models": "{auto: policy}",
    "tenants": "{acme: {tier: pro}}",
    "budgets": "[{name: team, scope: team, limit: $20/day}]",
    "at": "{80%: alert, 100%: reject}",
    "require": "[{name: eu_only, target: region == 'eu'}]",
    "invariants": "[{name: bounded_bill, never: worst_case(cost) > $2}]",
    "routing_policy": "[{name: default, route: openai/gpt-4}]",
    "fallback_chain": "[openai/gpt-4, groq/llama-3-8b]",
    "fallback": "[openai/gpt-4, groq/llama-3-8b]",
    "first_of": "[openai/gpt-4, groq/llama-3-8b]",
    "fastest_of": "[openai/gpt-4, groq/llama-3-8b]",
    "cheapest_of": "[openai/gpt-4, groq/llama-3-8b]",
    "split": "{openai/gpt-4: 95%, groq/llama-3-8b: 5%}",
    "tests": "[{given: {tokens: 80}, expect: cheap_for_simple}]",
    "tags": "[fast, eu]",
    "set": "{max_tokens: 1k}",
}


_CLEARER: dict[tuple[str, Value], str] = {
    ("target", Value.CONDITION): "region == 'eu'",
    ("never", Value.CONDITION): "worst_case(cost) > $2",
    ("to", Value.DATE): "2026-10-08",
}
_ADDRESS = re.compile(r"https?://\S+")


def mapping(section: Section, given: str = "") -> str:
    """A section as it may be written, with the text that its author gave where it fits.

    >>> from .vocabulary import MIRROR
    >>> mapping(MIRROR), mapping(MIRROR, "10%")
    ('{to: openai/gpt-4, sample: 5%}', '{to: openai/gpt-4, sample: 10%}')
    """
    fitting = next((key for key in section.keys if _fits(key, given)), None)
    shown = [key for key in section.keys if key.required or key is fitting] or section.keys[:1]
    if [key.name for key in shown] == ["name"]:
        shown = [*section.keys[:2]]  # a name of nothing says nothing
    parts = [f"{key.name}: {given if key is fitting else _value(key)}" for key in shown]
    if section.rest is not None:
        parts.insert(0, f"{_kind(section.rest.key)}: {_kind(section.rest.value)}")
    return f"{{{', '.join(parts)}}}"


def of(what: str) -> str | None:
    """The value of a key, `what` being the key in backticks; None where none is kept.

    >>> of("`include`"), of("the list `vips`")
    ('[models.yml]', None)
    """
    return _WRITTEN.get(what[1:-1])


def _value(key: Key) -> str:
    if isinstance(key.kind, Value) and (key.name, key.kind) in _CLEARER:
        return _CLEARER[key.name, key.kind]
    return _WRITTEN.get(key.name) or _kind(key.kind)


def _kind(kind: Kind) -> str:
    match kind:
        case Value():
            return _SINGLE[kind]
        case Words(words):
            return words[0]
        case ListOf(item):
            return f"[{_kind(item)}]"
        case MapOf(key, value):
            return f"{{{_kind(key)}: {_kind(value)}}}"
        case Either(kinds):
            return _kind(kinds[0])
        case Section():
            return mapping(kind)


def _fits(key: Key, text: str) -> bool:
    """Whether a text is surely the value of a key; what could be anything fits none."""
    kind = key.kind
    if key.name == "base_url":
        return bool(_ADDRESS.fullmatch(text))
    if not isinstance(kind, Value) or not text:
        return isinstance(kind, Words) and text in kind.words
    if kind in _SHAPED:
        return bool(_SHAPED[kind].fullmatch(text))
    try:
        return parse_quantity(text)[0] in _MEASURED.get(kind, ())
    except ValueError:
        return False
