"""A chat request of the OpenAI wire as a body of Cohere's `/v2/chat`.

System and developer messages are hoisted and joined. Where an assistant called tools, its
`reasoning_content` goes back as Cohere's `tool_plan`, else as a part of the type `thinking`.
Members of Cohere's own API (`documents`, `safety_mode` …) pass; any other unknown one is left out
and named in `call.dropped`.

Over 300 lines because every part of a message has its own small translation.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from turnout.engine.provider import Call

from .misshapen import bad
from .parameters import honoured, unsupported

Json = dict[str, Any]

# What this wire has no counterpart for; the rest of `PARAMETERS` is translated below.
LACKS = frozenset(
    "n top_logprobs modalities audio prediction web_search_options functions function_call "
    "logit_bias parallel_tool_calls verbosity user safety_identifier prompt_cache_key "
    "prompt_cache_retention metadata store service_tier".split()
)
_OWN = ("documents", "citation_options", "safety_mode", "strict_tools", "priority")
_READ = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens stop temperature top_p "
    "top_k seed presence_penalty frequency_penalty tools tool_choice response_format logprobs "
    "reasoning_effort thinking".split()
)
_CACHING = "cache_control"
_MOST_STOPS = 5
_MOST_K = 500

# What a tool that gave nothing gave: its wire refuses results without a word.
_EMPTY_RESULT = '""'


def chat_body(call: Call) -> bytes:
    """The request as Cohere's. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.

    Adds to `call.dropped`.
    """
    body = honoured(call, LACKS)
    _drop_unknown(body, call.dropped)
    translated: Json = {
        "model": call.upstream_model,
        "messages": _conversation(body.get("messages"), call.dropped),
        **_tools(body, call.dropped),
        **_format(body),
        **_sampling(body, call.dropped),
        **_thinking(body, call.dropped),
        **{name: body[name] for name in _OWN if name in body},
    }
    if (limit := _limit(body, call)) is not None:
        translated["max_tokens"] = limit
    if stops := _stops(body.get("stop")):
        translated["stop_sequences"] = stops
    if body.get("logprobs"):
        translated["logprobs"] = True
    # Either way: the API demands it.
    translated["stream"] = call.request.stream
    return dumped(translated)


def dumped(body: Json) -> bytes:
    """The body as JSON. Raises: ProviderError BAD_REQUEST for what JSON cannot hold."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        bad("messages", "the request holds text that is not valid Unicode")


# --- parameters ----------------------------------------------------------------------------------


def _drop_unknown(body: Mapping[str, Any], dropped: list[str]) -> None:
    """Name what has no place here; marks of what to cache too, for they change the price."""
    dropped.extend(name for name in body if name not in _READ and name not in _OWN)
    if _CACHING not in body and (_marks(body.get("tools")) or _marks(body.get("messages"))):
        dropped.append(_CACHING)


def _marks(items: object) -> bool:
    return isinstance(items, list) and any(
        isinstance(item, dict) and (_CACHING in item or _marks(item.get("content")))
        for item in items
    )


def _limit(body: Mapping[str, Any], call: Call) -> int | None:
    asked = body.get("max_completion_tokens", body.get("max_tokens"))
    if type(asked) is not int:
        return None
    return min(asked, call.max_output) if call.max_output else asked


def _stops(stop: object) -> list[Any]:
    stops = stop if isinstance(stop, list) else [stop] if stop else []
    if len(stops) > _MOST_STOPS:
        raise unsupported("stop", f"this provider takes {_MOST_STOPS} `stop` sequences at most")
    return stops


def _sampling(body: Mapping[str, Any], dropped: list[str]) -> Json:
    """Temperature and the like, within the ranges that Cohere takes."""
    sampling: Json = {}
    for name in ("temperature", "presence_penalty", "frequency_penalty"):
        value = body.get(name)
        if value is None:
            continue
        within = min(max(value, 0), 1) if _is_number(value) else value
        if within != value:
            dropped.append(name)
        if name == "temperature" or within:
            sampling[name] = within
    if "seed" in body:
        if type(body["seed"]) is int and 0 <= body["seed"] < 2**63:
            sampling["seed"] = body["seed"]
        else:
            dropped.append("seed")
    if "top_p" in body:
        top = body["top_p"]
        # Cohere's scale ends short of OpenAI's at both ends.
        sampling["p"] = min(max(top, 0.01), 0.99) if _is_number(top) else top
    if "top_k" in body:
        top = body["top_k"]
        sampling["k"] = min(top, _MOST_K) if _is_number(top) else top
    return sampling


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _thinking(body: Mapping[str, Any], dropped: list[str]) -> Json:
    """Whether to think: models that can do so unless told otherwise, and know no effort."""
    asked = body.get("thinking")
    if isinstance(asked, dict) and asked.get("type") in ("enabled", "disabled"):
        if "reasoning_effort" in body:
            dropped.append("reasoning_effort")
        thinking: Json = {"type": asked["type"]}
        budget = asked.get("token_budget", asked.get("budget_tokens"))
        if budget is not None and asked["type"] == "enabled":
            thinking["token_budget"] = budget
        return {"thinking": thinking}
    if asked is not None:
        dropped.append("thinking")
    effort = body.get("reasoning_effort")
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort is not None:
        dropped.append("reasoning_effort")
    return {}


def _format(body: Mapping[str, Any]) -> Json:
    wanted = body.get("response_format")
    if wanted is None:
        return {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("json_object", "json_schema"):
        raise unsupported("response_format")
    if body.get("tools") or body.get("documents"):
        raise unsupported(
            "response_format",
            "`response_format` beside tools or documents is not supported by this provider",
        )
    described = wanted.get("json_schema") if kind == "json_schema" else None
    schema = described.get("schema") if isinstance(described, dict) else None
    translated: Json = {"type": "json_object"}
    if schema:
        translated["json_schema"] = schema
    return {"response_format": translated}


def _tools(body: Mapping[str, Any], dropped: list[str]) -> Json:
    if not body.get("tools"):
        return {}
    offered = list(_each(body["tools"], "tools"))
    translated: Json = {"tools": [_tool(tool) for tool in offered]}
    choice = body.get("tool_choice")
    if choice in ("required", "none"):
        translated["tool_choice"] = choice.upper()
    elif choice not in (None, "auto"):
        # One by its name cannot be demanded, but any of those that are offered: that one alone.
        translated |= {"tools": [_chosen(translated["tools"], choice)], "tool_choice": "REQUIRED"}
    strict = [bool(tool["function"].get("strict")) for tool in offered]
    if "strict_tools" not in body and any(strict):
        # One switch for all of them.
        if all(strict):
            translated["strict_tools"] = True
        else:
            dropped.append("tools.strict")
    return translated


def _chosen(tools: list[Json], choice: object) -> Json:
    """The tool that a `tool_choice` names. Raises: ProviderError UNSUPPORTED for any other form."""
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        for tool in tools:
            if tool["function"].get("name") == function.get("name"):
                return tool
    raise unsupported("tool_choice", "this `tool_choice` is not supported by this provider")


def _tool(tool: Json) -> Json:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise unsupported(
            "tools", "only tools of the type `function` are supported by this provider"
        )
    described = {
        "name": function.get("name"),
        "description": function.get("description"),
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
    }
    shown = {name: value for name, value in described.items() if value is not None}
    return {"type": "function", "function": shown}


# --- messages ------------------------------------------------------------------------------------


def _conversation(messages: object, dropped: list[str]) -> list[Json]:
    system: list[str] = []
    turns: list[Json] = []
    for position, message in enumerate(_each(messages, "messages")):
        where = f"messages[{position}]"
        role = message.get("role")
        if message.get("name") is not None and role != "tool" and "messages.name" not in dropped:
            dropped.append("messages.name")
        if role in ("system", "developer"):
            system.append(_text(message.get("content"), where))
        elif role == "user":
            turns.append({"role": "user", "content": _content(message.get("content"), where)})
        elif role == "assistant":
            turn = _assistant(message, where)
            # Cohere refuses turns that say nothing.
            if turn.get("content") or turn.get("tool_calls"):
                turns.append(turn)
        elif role == "tool":
            turns.append(_tool_result(message, where))
        elif role == "function":
            raise unsupported(where, "messages of the role `function` are not supported here")
        else:
            bad(f"{where}.role", f"`{role}` is not a role")
    hoisted = "\n".join(text for text in system if text)
    if not turns and not hoisted:
        raise unsupported("messages", "this provider needs a message that is not empty")
    return [{"role": "system", "content": hoisted}, *turns] if hoisted else turns


def _assistant(message: Mapping[str, Any], where: str) -> Json:
    if message.get("function_call"):
        raise unsupported(
            where, "`function_call` is not supported by this provider; use `tool_calls`"
        )
    turn: Json = {"role": "assistant"}
    calls = [
        _tool_call(tool, f"{where}.tool_calls[{number}]")
        for number, tool in enumerate(_each(message.get("tool_calls") or [], where))
    ]
    texts = [_text(message.get("content"), where)]
    if isinstance(refusal := message.get("refusal"), str):
        texts.append(refusal)
    said = "".join(texts)
    thought = message.get("reasoning_content")
    thought = thought if isinstance(thought, str) else ""
    if calls:
        turn["tool_calls"] = calls
        if thought:
            turn["tool_plan"] = thought
        if said:
            turn["content"] = said
    elif thought:
        turn["content"] = [
            {"type": "thinking", "thinking": thought},
            {"type": "text", "text": said},
        ]
    else:
        turn["content"] = said
    return turn


def _tool_call(tool: Mapping[str, Any], where: str) -> Json:
    function = tool.get("function")
    if not isinstance(function, dict):
        raise unsupported(where, "only tool calls of the type `function` are supported here")
    arguments = function.get("arguments") or "{}"
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else None
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        bad(f"{where}.function.arguments", "a tool call's `arguments` must be a JSON object")
    return {
        "id": tool.get("id"),
        "type": "function",
        "function": {"name": function.get("name"), "arguments": arguments},
    }


def _tool_result(message: Mapping[str, Any], where: str) -> Json:
    content = message.get("content")
    if isinstance(content, list):
        content = [
            part if part.get("type") == "document" else _text_part(part, where)
            for part in _each(content, f"{where}.content")
        ]
    else:
        content = _text(content, where)
    return {
        "role": "tool",
        "tool_call_id": message.get("tool_call_id"),
        "content": content or _EMPTY_RESULT,
    }


def _text(content: object, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = _each(content, f"{where}.content")
    return "".join(_text_part(part, where)["text"] for part in parts)


def _content(content: object, where: str) -> str | list[Json]:
    if content is None or isinstance(content, str):
        return content or ""
    return [
        _image(part, where) if part.get("type") == "image_url" else _text_part(part, where)
        for part in _each(content, f"{where}.content")
    ]


def _text_part(part: Mapping[str, Any], where: str) -> Json:
    kind = part.get("type")
    if kind not in ("text", "refusal"):
        raise unsupported(
            where, f"content of the type `{kind}` is not supported here by this provider"
        )
    text = part.get(kind)
    if not isinstance(text, str):
        bad(f"{where}.content", f"a part of the type `{kind}` needs its text")
    return {"type": "text", "text": text}


def _image(part: Mapping[str, Any], where: str) -> Json:
    """An image by its address or with its data: Cohere fetches it, the gateway never does."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:")):
        bad(f"{where}.content", "an image is given as an `https://` or base64 `data:` URL")
    shown: Json = {"url": url}
    if isinstance(image, dict) and image.get("detail") is not None:
        shown["detail"] = image["detail"]
    return {"type": "image_url", "image_url": shown}


def _each(items: object, where: str) -> Iterable[Json]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        bad(where, f"`{where}` must be a list of objects")
    return items
