"""JSON schemas as models take them that keep to a schema: objects have to be closed."""

from typing import Any

# What in a schema is no schema itself, and what has schemas by names.
_LITERAL = frozenset(("enum", "const", "default", "examples", "required"))
_NAMED = frozenset(("properties", "$defs", "definitions", "patternProperties"))


def closed(schema: Any) -> Any:
    """The schema whose objects have no other members than it names, where it does not say."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: _within(name, value) for name, value in schema.items()}
    if told.get("type") == "object" or "properties" in told:
        told.setdefault("additionalProperties", False)
    return told


def _within(name: str, value: Any) -> Any:
    if name in _LITERAL:
        return value
    if name in _NAMED and isinstance(value, dict):
        return {key: closed(one) for key, one in value.items()}
    return closed(value)
