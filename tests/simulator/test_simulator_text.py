"""What a prompt can say to the simulated model, beside being repeated."""

import json
from typing import Any

import pytest

from turnout.simulator.text import example, structured, tool_asked_for

STRING: dict[str, Any] = {"type": "string"}
INNER = {"type": "object", "properties": {"age": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "prompt", "value"),
    [
        pytest.param({"type": "object"}, "f(3)", {}, id="nothing_to_give"),
        pytest.param(
            {"properties": {"input": {"type": "integer"}}},
            "what is f(3)?",
            {"input": 3},
            id="called",
        ),
        pytest.param(
            {"properties": {"a": STRING, "b": STRING}},
            'f("x", "y")',
            {"a": "x", "b": "y"},
            id="called_with_two",
        ),
        pytest.param({"properties": {"a": STRING}}, "say f(x)", {"a": "f(x)"}, id="not_json"),
        pytest.param({"properties": {"a": STRING}}, "aside (3)", {"a": "(3)"}, id="no_call"),
        pytest.param(
            {"properties": {"full_name": STRING, "kind": STRING}},
            "a shop named '你好' please",
            {"full_name": "你好", "kind": "please"},
            id="named",
        ),
        pytest.param(
            {"properties": {"who": {"$ref": "#/$defs/Who"}}, "$defs": {"Who": INNER}},
            "it",
            {"who": {"age": 1}},
            id="reference",
        ),
        pytest.param(
            {"properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
            "it",
            {"n": 1},
            id="first_alternative",
        ),
        pytest.param({"$ref": "#"}, "it", None, id="reference_to_itself_ends"),
        pytest.param({"$ref": "#/nowhere"}, "it", "it", id="reference_to_nothing"),
    ],
)
def test_the_made_up_value_fits_schema_and_prompt(
    schema: dict[str, Any], prompt: str, value: Any
) -> None:
    assert example(schema, prompt) == value


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ("a joke", {"answer"}),
        ("a joke as JSON with 'setup' and 'punchline' keys", {"setup", "punchline"}),
        ("JSON with 'a', 'b', and 'c' keys.", {"a", "b", "c"}),
    ],
)
def test_json_without_a_schema_has_the_keys_that_the_prompt_names(
    prompt: str, keys: set[str]
) -> None:
    assert set(json.loads(structured({"type": "json_object"}, "hi", prompt))) == keys


@pytest.mark.parametrize(
    ("prompt", "choice", "called"),
    [
        ("please call get_time now", "auto", "get_time"),
        ("What is the weather in Paris?", None, "get_weather"),
        ("What is the weather in Paris?", "none", None),
        ("What is the mood in Paris?", "auto", None),
        ("What is the weather?", "auto", None),
        ("hello", "required", "get_time"),
    ],
)
def test_a_tool_is_called_when_the_prompt_asks_for_it(
    prompt: str, choice: str | None, called: str | None
) -> None:
    assert tool_asked_for(prompt, ["get_time", "get_weather"], choice) == called
