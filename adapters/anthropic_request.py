"""A chat request of the OpenAI wire as a body of Anthropic's `/messages`.

Nothing is lost in silence: what the wire lacks goes through `parameters`, what a model lacks is
refused or named here. Members of Anthropic's own API (`top_k`, `thinking`, `cache_control` on parts
and tools) pass.

`response_format`: a JSON schema is `output_config.format`, its objects closed where they do not say
(Anthropic takes no open ones). A model without that is given one tool to call, and the tool's input
becomes the answer's text; so is `json_object`, for which Anthropic has nothing, with an open
schema. Where other tools are there too, or no tool can be forced, the request is refused.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from turnout.engine.provider import Call

from .anthropic_blocks import conversation, each, unsupported
from .anthropic_models import Model, model
from .anthropic_thinking import thinking
from .misshapen import bad
from .parameters import PARAMETERS, honoured

Json = dict[str, Any]

# Anthropic demands a limit; this one every model of theirs takes.
MAX_TOKENS = 4096

LACKS = frozenset(
    "n logprobs top_logprobs modalities audio functions function_call web_search_options "
    "prediction seed presence_penalty frequency_penalty logit_bias verbosity prompt_cache_key "
    "prompt_cache_retention metadata store service_tier".split()
)
"""The parameters of chat that Anthropic's wire has nothing for."""

_TRANSLATED = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens tool_choice".split()
)
# What `/messages/count_tokens` takes.
_COUNTED = ("model", "system", "messages", "tools", "tool_choice", "thinking", "output_config")
_ANSWER_TOOL = "answer"


class Asked(NamedTuple):
    """A body for Anthropic; `answer_tool` is the tool whose input is the answer, if one is."""

    body: Json
    answer_tool: str | None

    def encoded(self) -> bytes:
        """The body as bytes. Raises: ProviderError BAD_REQUEST."""
        try:
            return orjson.dumps(self.body)
        except orjson.JSONEncodeError:
            bad("messages", "the request holds text that is not valid Unicode")


def messages_body(call: Call, lacks: frozenset[str] = LACKS) -> Asked:
    """The request as Anthropic's. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.

    Adds to `call.dropped`.
    """
    body = honoured(call, lacks)
    manner = model(call.upstream_model)
    for name in body:
        if name not in _TRANSLATED and name not in PARAMETERS:
            call.dropped.append(name)
    system, messages = conversation(body.get("messages"), call.dropped)
    translated: Json = {
        "model": call.upstream_model,
        "max_tokens": _limit(body, call),
        **({"system": system} if system else {}),
        "messages": messages,
    }
    if stops := _stops(body.get("stop")):
        translated["stop_sequences"] = stops
    if "temperature" in body:
        translated["temperature"] = _temperature(body["temperature"], call.dropped)
    for name in ("top_p", "top_k"):
        if name in body:
            translated[name] = body[name]
    if tools := body.get("tools"):
        translated["tools"] = [_tool(tool, manner, call) for tool in each(tools, "tools")]
        if choice := _tool_choice(body):
            translated["tool_choice"] = choice
            if choice["type"] in ("any", "tool") and not manner.forced:
                unsupported("tool_choice", "this model cannot be made to call a tool")
    answer_tool = _form(body.get("response_format"), translated, manner)
    thinking(body, translated, manner, call.dropped)
    if user := body.get("safety_identifier") or body.get("user"):
        translated["metadata"] = {"user_id": user}
    if call.request.stream:
        translated["stream"] = True
    return Asked(translated, answer_tool)


def count_body(call: Call, lacks: frozenset[str] = LACKS) -> bytes:
    """The request as a body of `/messages/count_tokens`. Raises: as `messages_body`."""
    asked = messages_body(call, lacks)
    counted = {name: asked.body[name] for name in _COUNTED if name in asked.body}
    return Asked(counted, None).encoded()


def limited(asked: object, most: int | None) -> int:
    """An output limit that Anthropic takes; a limit above the model's own promises nothing more."""
    if not isinstance(asked, int):
        return most or MAX_TOKENS
    return min(asked, most) if most else asked


def _limit(body: Mapping[str, Any], call: Call) -> int:
    return limited(body.get("max_completion_tokens", body.get("max_tokens")), call.max_output)


def _stops(stop: object) -> list[Any]:
    stops = stop if isinstance(stop, list) else [stop] if stop else []
    for text in stops:
        if not isinstance(text, str) or not text.strip():
            unsupported("stop", "`stop` of white space alone is not supported by this provider")
    return stops


def _temperature(value: object, dropped: list[str]) -> object:
    if isinstance(value, int | float) and value > 1:
        dropped.append("temperature")
        return 1
    return value


def _tool(tool: Json, manner: Model, call: Call) -> Json:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        unsupported("tools", "only tools of the type `function` are supported by this provider")
    strict = function.get("strict") is True
    if strict and not manner.formats and "tools.strict" not in call.dropped:
        call.dropped.append("tools.strict")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    translated = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": _closed(schema) if strict and manner.formats else schema,
        "cache_control": tool.get("cache_control"),
        "strict": True if strict and manner.formats else None,
    }
    return {name: value for name, value in translated.items() if value is not None}


def _tool_choice(body: Mapping[str, Any]) -> Json | None:
    choice = body.get("tool_choice")
    one_at_a_time = body.get("parallel_tool_calls") is False
    translated: Json
    if choice is None and not one_at_a_time:
        return None
    if choice == "none":
        return {"type": "none"}
    if choice is None or choice == "auto":
        translated = {"type": "auto"}
    elif choice == "required":
        translated = {"type": "any"}
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        translated = {"type": "tool", "name": choice["function"].get("name")}
    else:
        unsupported("tool_choice", "this `tool_choice` is not supported by this provider")
    if one_at_a_time:
        translated["disable_parallel_tool_use"] = True
    return translated


# --- the answer's form ---------------------------------------------------------------------------


def _form(wanted: object, translated: Json, manner: Model) -> str | None:
    """Ask for an answer of this form; the tool that stands for it, if one does."""
    if not isinstance(wanted, dict):
        return None
    kind = wanted.get("type")
    given = wanted.get("json_schema") if kind == "json_schema" else None
    if kind not in ("json_schema", "json_object") or (given and not isinstance(given, dict)):
        unsupported("response_format", "this `response_format` is not supported by this provider")
    described = given if isinstance(given, dict) else {}
    schema = described.get("schema")
    if not isinstance(schema, dict):
        schema = {}
    open_object = schema.keys() <= {"type"} and schema.get("type", "object") == "object"
    if manner.formats and not open_object:
        translated["output_config"] = {"format": {"type": "json_schema", "schema": _closed(schema)}}
        return None
    is_object = schema.get("type", "object") == "object"
    if "tools" in translated or not manner.forced or not is_object:
        unsupported("response_format", "this `response_format` is not supported by this model here")
    tool = {
        "name": _ANSWER_TOOL,
        "description": described.get("description") or "Give the answer to the user.",
        "input_schema": {"type": "object", **schema},
    }
    translated["tools"] = [tool]
    translated["tool_choice"] = {"type": "tool", "name": _ANSWER_TOOL}
    return _ANSWER_TOOL


def _closed(schema: Any) -> Any:
    """A JSON schema whose objects say that they have no other members, where they do not say."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        name: value if name in _LITERAL else _members(value) if name in _NAMED else _closed(value)
        for name, value in schema.items()
    }
    if closed.get("type") == "object" or "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


# What a schema holds that is no schema, and what holds schemas by names.
_LITERAL = frozenset(("enum", "const", "default", "examples", "required"))
_NAMED = frozenset(("properties", "$defs", "definitions", "patternProperties"))


def _members(schemas: Any) -> Any:
    if not isinstance(schemas, dict):
        return schemas
    return {name: _closed(schema) for name, schema in schemas.items()}
