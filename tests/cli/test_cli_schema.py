"""The JSON Schema: good policies pass, misspelt keys do not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from turnout.cli import policy
from turnout.dsl.json_schema import json_schema
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.source import Source
from turnout.dsl.vocabulary import FORMS, Section, places

POLICIES = sorted(Path("policies").rglob("*.yml"))
SCHEMA = json_schema()
SECTIONS = [kind for _, kind in places() if isinstance(kind, Section)]
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Core(yaml.SafeLoader):
    """Reads YAML as editors do: a day is a text."""


Core.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if "timestamp" not in tag]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Core)


OWN = frozenset(
    {"attributes", "let", "lists", "headers", "given", "targets", "models", "providers"}
)
OWN |= {"tenants"}


def misspelt(data: Any, known: frozenset[str], below: str = "") -> Iterator[tuple[str, Any]]:
    """The data with one key of the language spelt wrong, each in turn."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in known and below not in OWN:
                yield key, {(f"{k}x" if k == key else k): v for k, v in data.items()}
            for word, changed in misspelt(value, known, "" if below in OWN else key):
                yield word, {**data, key: changed}
    elif isinstance(data, list):
        for index, item in enumerate(data):
            for word, changed in misspelt(item, known):
                yield word, [*data[:index], changed, *data[index + 1 :]]


def test_the_command_prints_a_valid_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == SCHEMA
    jsonschema.Draft202012Validator.check_schema(printed)


def test_there_are_policies_to_try() -> None:
    assert len(POLICIES) >= 4


@pytest.mark.parametrize("path", POLICIES, ids=str)
def test_every_example_passes(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(read(path))] == []


@pytest.mark.parametrize("path", POLICIES, ids=str)
def test_a_misspelt_key_does_not_pass(path: Path) -> None:
    known = frozenset(name for section in SECTIONS for name in section.names)
    tried = 0
    for key, data in misspelt(read(path), known):
        tried += 1
        assert not VALIDATOR.is_valid(data), key
    assert tried


@pytest.mark.parametrize(
    "text", ["1", "'1'", '"1"', "' 1 '", "2", "'2'", "v1", "true", "''", "[1]"]
)
def test_a_version_passes_exactly_where_the_language_takes_it(text: str) -> None:
    policy = f"version: {text}\nrouting_policy: [{{name: a, route: requested}}]\n"
    taken, _ = parse_with_warnings(Source("routing.yml", policy))
    assert VALIDATOR.is_valid(yaml.load(policy, Core)) == (taken is not None)


def test_every_key_has_its_description() -> None:
    for section in SECTIONS:
        for key in section.keys:
            assert json.dumps(key.doc, ensure_ascii=False) in json.dumps(SCHEMA, ensure_ascii=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_route_of_each_form_is_in_the_schema(form: str) -> None:
    assert any(form in one.get("properties", {}) for one in SCHEMA["$defs"].values())


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "a", "route": {"reject": 200}},
        {"name": "a", "route": "x/y", "timeout": "2"},
        {"name": "a", "route": "x/y", "timeout": 2},
        {"name": "a", "route": {"split": {"x/y": 50}}},
        {"name": "a", "route": {"first_of": ["x/y"]}},
        {"name": "a", "route": "x/y", "expires": "soon"},
        {"name": "a", "route": "x/y", "catch": ["timeot"]},
        {"name": "a"},
    ],
    ids=str,
)
def test_a_wrong_value_does_not_pass(rule: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"routing_policy": [rule]})
