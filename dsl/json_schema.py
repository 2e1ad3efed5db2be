"""The JSON Schema of a policy file, for editors: made from `vocabulary`, never written by hand.

It knows keys and the shape of single values. What only the language can tell (types in conditions,
names that exist) stays with `policy lint`. YAML as editors read it makes numbers and truths of some
texts, and a mapping of `target (timeout: 2s)`: so these are accepted where such a text is.

Source: JSON Schema, draft 2020-12.
"""

import re
from typing import Any

from .vocabulary import (
    MAIN_ONLY,
    OPTIONS,
    POLICY,
    Either,
    Key,
    Kind,
    ListOf,
    MapOf,
    Section,
    Value,
    Words,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NUMBER = r"[0-9]+(\.[0-9]+)?"
_TEXT = {"type": ["string", "number", "boolean"]}
_TARGET = {"type": "string", "minLength": 1}
_VALUES: dict[Value, dict[str, Any]] = {
    Value.TEXT: _TEXT,
    Value.NAME: {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    Value.TARGET: _TARGET,
    Value.FLAG: {"type": "boolean"},
    Value.COUNT: {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": f"^{_NUMBER}[kM]$"},
        ]
    },
    Value.INTEGER: {"type": "integer"},
    Value.NUMBER: {"type": "number"},
    Value.VERSION: {"anyOf": [{"const": 1}, {"type": "string", "pattern": "^ *1 *$"}]},
    Value.STATUS: {"type": "integer", "minimum": 400, "maximum": 599},
    Value.DURATION: {"type": "string", "pattern": f"^{_NUMBER}(ms|s|m|h|d)$"},
    Value.DATE: {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    Value.SHARE: {"type": "string", "pattern": f"^{_NUMBER}%$"},
    Value.MONEY: {"anyOf": [{"const": 0}, {"type": "string", "pattern": rf"^\${_NUMBER}$"}]},
    Value.RATE: {"anyOf": [{"const": 0}, {"type": "string", "pattern": rf"^\${_NUMBER}/Mtok$"}]},
    Value.ALLOWANCE: {"type": "string", "pattern": rf"^\${_NUMBER}/(day|week|month)$"},
    Value.FREE: {"enum": [0, "$0", "$0/Mtok"]},
    Value.CONDITION: _TEXT,
    Value.GIVEN: {"type": ["string", "number", "boolean", "null"]},
    # YAML takes `target (timeout: 2s)` for a mapping with one odd key.
    Value.HOP: {
        "anyOf": [
            _TARGET,
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "patternProperties": {
                    rf"^\S+ *\( *({'|'.join(OPTIONS)}|when)$": {"type": "string", "pattern": r"\)$"}
                },
                "additionalProperties": False,
            },
        ]
    },
}


def json_schema() -> dict[str, Any]:
    """The schema as plain data: of a policy file, and of a file that one includes."""
    writing = _Writing()
    top = writing.section(POLICY)
    del top["required"]
    return {
        "$schema": DIALECT,
        "title": "A Turnout policy",
        "description": "A routing policy, or a file that one includes.",
        **top,
        # An included file has no rules, and nothing else that stands in the main file alone.
        "anyOf": [
            {"required": [key.name for key in POLICY.keys if key.required]},
            {"not": {"anyOf": [{"required": [name]} for name in MAIN_ONLY]}},
        ],
        "$defs": writing.definitions,
    }


class _Writing:
    """Writes kinds as schemas; a section is written once, under `$defs`."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[int, str] = {}

    def kind(self, kind: Kind) -> dict[str, Any]:
        match kind:
            case Value():
                return _VALUES[kind]
            case Words(words):
                return {"enum": list(words)}
            case ListOf(item, least):
                return {"type": "array", "items": self.kind(item), "minItems": least}
            case MapOf(key, value):
                return self._mapping(key, value)
            case Either(kinds):
                return {"anyOf": [self.kind(one) for one in kinds]}
            case Section():
                return self._reference(kind)

    def section(self, section: Section) -> dict[str, Any]:
        """A section in full."""
        written: dict[str, Any] = {
            "type": "object",
            "properties": {key.name: self._property(key) for key in section.keys},
            "additionalProperties": False,
        }
        if section.rest is not None:
            written["patternProperties"] = {"/": self.kind(section.rest.value)}
        required = [key.name for key in section.keys if key.required]
        if required:
            written["required"] = required
        return written

    def _property(self, key: Key) -> dict[str, Any]:
        return {"description": key.doc, **self.kind(key.kind)}

    def _mapping(self, key: Value, value: Kind) -> dict[str, Any]:
        inner = self.kind(value)
        if isinstance(value, Section) and not any(one.required for one in value.keys):
            inner = {"anyOf": [inner, {"type": "null"}]}  # `openai:` alone says that it is there
        mapping: dict[str, Any] = {"type": "object", "additionalProperties": inner}
        if key in (Value.NAME, Value.SHARE):
            mapping["propertyNames"] = {"pattern": _VALUES[key]["pattern"]}
        return mapping

    def _reference(self, section: Section) -> dict[str, Any]:
        name = self._names.get(id(section))
        if name is None:
            word = re.sub(r"^an? |`", "", section.what).replace(" ", "_")
            name = word
            while name in self._names.values():
                name += "_"
            self._names[id(section)] = name
            self.definitions[name] = self.section(section)
        return {"$ref": f"#/$defs/{name}"}
