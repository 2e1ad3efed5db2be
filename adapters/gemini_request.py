"""A chat request of the OpenAI wire as a body of Gemini's `generateContent`.

Nothing is lost in silence: see `parameters`. Schemas of tools and of answers go as the JSON Schema
that they are (`parametersJsonSchema`, `responseJsonSchema`), not in Google's own form of them.
Safety settings stay Google's defaults. Of what Google's OpenAI endpoint takes beyond OpenAI's,
`extra_body.google` passes with its `thinking_config` and `cached_content`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from turnout.engine.provider import Call, Fault, ProviderError

from .gemini_thinking import family, thinking_config
from .gemini_turns import turns_of
from .parameters import honoured, unsupported

Json = dict[str, Any]

LACKS = frozenset(
    "functions function_call modalities audio prediction web_search_options logit_bias "
    "parallel_tool_calls verbosity user safety_identifier prompt_cache_key prompt_cache_retention "
    "metadata store".split()
)
_TRANSLATED = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens n logprobs top_logprobs "
    "response_format tools tool_choice stop temperature top_p top_k seed presence_penalty "
    "frequency_penalty reasoning_effort thinking service_tier extra_body".split()
)
# Numbers that go as they are: chat's name, Gemini's.
_AS_IT_IS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "n": "candidateCount",
}
_TIERS = ("flex", "priority", "standard")
_MOST_STOPS = 5
_VALIDATES = (2, 5)  # from here on calls can be held to their schema


def generation(call: Call) -> Json:
    """The request as Gemini's. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.

    Adds to `call.dropped`.
    """
    body = honoured(call, LACKS)
    call.dropped.extend(name for name in body if name not in _TRANSLATED)
    model = call.upstream_model
    version = family(model)
    system, contents = turns_of(body.get("messages"), version, call.dropped)
    translated: Json = {"contents": contents}
    if system is not None:
        translated["systemInstruction"] = system
    translated |= _tools(body, version, call.dropped)
    google = _own(body.get("extra_body"), call.dropped)
    if isinstance(cached := google.get("cached_content"), str):
        translated["cachedContent"] = cached
    if (tier := body.get("service_tier")) in _TIERS:
        translated["serviceTier"] = tier
    elif tier is not None:
        call.dropped.append("service_tier")
    config = _config(body, call)
    thinking = _camel(google.get("thinking_config"))
    if not thinking:
        thinking = thinking_config(body, model, call.dropped)
    else:
        # Google's own word wins over chat's.
        call.dropped.extend(name for name in ("reasoning_effort", "thinking") if name in body)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        translated["generationConfig"] = config
    return translated


def written(body: Json) -> bytes:
    """A body as JSON. Raises: ProviderError BAD_REQUEST for text that is none."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ProviderError(
            Fault.BAD_REQUEST,
            "the request holds text that is not valid Unicode",
            param="messages",
        ) from None


def address(model: str, method: str) -> str:
    """The path of a model's method; a tuned model says that it is one."""
    kind, slash, name = model.partition("/")
    if not slash or kind not in ("models", "tunedModels"):
        kind, name = "models", model
    return f"/{kind}/{quote(name, safe='')}:{method}"


def resource(model: str) -> str:
    """A model's name where a body holds it."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


# --- parameters ----------------------------------------------------------------------------------


def _config(body: Mapping[str, Any], call: Call) -> Json:
    config = {theirs: body[ours] for ours, theirs in _AS_IT_IS.items() if ours in body}
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        # A limit above the model's own promises nothing more, and Google refuses it.
        bounded = isinstance(limit, int) and call.max_output
        config["maxOutputTokens"] = min(limit, call.max_output) if bounded else limit
    seed = body.get("seed")
    if isinstance(seed, int) and -(2**31) <= seed < 2**31:
        config["seed"] = seed
    elif seed is not None:
        call.dropped.append("seed")
    if stops := _stops(body.get("stop")):
        config["stopSequences"] = stops
    if body.get("logprobs"):
        config["responseLogprobs"] = True
        if body.get("top_logprobs"):
            config["logprobs"] = body["top_logprobs"]
    return config | _format(body.get("response_format"))


def _stops(stop: object) -> list[Any]:
    stops = stop if isinstance(stop, list) else [stop] if stop else []
    if len(stops) > _MOST_STOPS:
        raise unsupported("stop", f"this provider takes at most {_MOST_STOPS} texts in `stop`")
    return stops


def _format(asked: object) -> Json:
    if asked is None:
        return {}
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    held = asked.get("json_schema") if isinstance(asked, dict) else None
    if kind != "json_schema" or not isinstance(held, dict):
        raise unsupported("response_format", "this `response_format` is not supported here")
    schema = held.get("schema")
    told: Json = {"responseMimeType": "application/json"}
    return {**told, "responseJsonSchema": schema} if schema else told


def _own(extra: object, dropped: list[str]) -> Json:
    """What is said to Google alone; the rest of `extra_body` is named as dropped."""
    google = extra.get("google") if isinstance(extra, dict) else None
    known = google if isinstance(google, dict) else {}
    if extra and (not known or not known.keys() <= {"thinking_config", "cached_content"}):
        dropped.append("extra_body")
    return known


def _camel(config: object) -> Json:
    if not isinstance(config, dict):
        return {}
    names = (str(name).split("_") for name in config)
    camel = (first + "".join(word.title() for word in rest) for first, *rest in names)
    return dict(zip(camel, config.values(), strict=True))


# --- tools ---------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any], version: tuple[int, int], dropped: list[str]) -> Json:
    tools = body.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise unsupported("tools", "`tools` must be a list")
    functions = [_function(tool) for tool in tools]
    mode, names = _choice(body.get("tool_choice"))
    if mode == "AUTO" and names:
        # Names restrict forced calls only; what may not be called is not declared.
        functions = [one for one in functions if one.get("name") in names]
        names = None
    if any(one.get("strict") for one in functions) and mode == "AUTO":
        if version >= _VALIDATES:
            mode = "VALIDATED"
        else:
            dropped.append("tools.strict")
    if any(isinstance(tool, dict) and tool.get("cache_control") for tool in tools):
        dropped.append("cache_control")
    told: Json = {"tools": [{"functionDeclarations": [_declared(one) for one in functions]}]}
    if mode != "AUTO":
        calling = {"mode": mode, **({"allowedFunctionNames": names} if names else {})}
        told["toolConfig"] = {"functionCallingConfig": calling}
    return told


def _function(tool: object) -> Json:
    function = tool.get("function") if isinstance(tool, dict) else None
    kind = tool.get("type", "function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or kind != "function":
        raise unsupported(
            "tools", "only tools of the type `function` are supported by this provider"
        )
    return function


def _declared(function: Json) -> Json:
    told = {
        "name": function.get("name"),
        "description": function.get("description"),
        "parametersJsonSchema": function.get("parameters") or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _choice(choice: object) -> tuple[str, list[Any] | None]:
    """The mode of function calling, and the names that it is restricted to."""
    if choice is None or choice == "auto":
        return "AUTO", None
    if choice == "none":
        return "NONE", None
    if choice == "required":
        return "ANY", None
    if isinstance(choice, dict):
        if isinstance(function := choice.get("function"), dict):
            return "ANY", [function.get("name")]
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
            named = [one.get("function") for one in allowed["tools"] if isinstance(one, dict)]
            names = [one.get("name") for one in named if isinstance(one, dict)]
            return "ANY" if allowed.get("mode") == "required" else "AUTO", names
    raise unsupported("tool_choice", "this `tool_choice` is not supported by this provider")
