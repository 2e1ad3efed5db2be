"""A chat request of the OpenAI wire as a body of Anthropic's `/messages`.

Nothing is lost in silence: parameters that shape the answer and have no counterpart raise
`UNSUPPORTED`, those that only steer it are named in `call.dropped`. Nulls and defaults count as
absent. Members of Anthropic's own API (`top_k`, `thinking`, `cache_control` on a text) pass.

Over 300 lines because every part of a message has its own small translation.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import orjson

from turnout.engine.provider import Call, Fault, ProviderError

Json = dict[str, Any]

# Anthropic demands a limit; this one every model of theirs takes.
_MAX_TOKENS = 4096

_TRANSLATED = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens stop temperature top_p "
    "tools tool_choice parallel_tool_calls user safety_identifier top_k thinking".split()
)
# What changes the answer's shape: by name, the values that ask for nothing.
_SHAPING: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "web_search_options": (),
}
# What only steers: the values that ask for nothing. Unknown members are treated the same.
_STEERING: dict[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "metadata": ({},),
    "service_tier": ("auto", "default"),
}


def messages_body(call: Call) -> bytes:
    """The request as Anthropic's. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.

    Adds to `call.dropped`.
    """
    body = {name: value for name, value in call.body.items() if value is not None}
    for name in sorted(call.refused & body.keys()):
        if body.pop(name) != 1:
            call.dropped.append(name)
    _refuse_shaping(body)
    _drop_steering(body, call.dropped)
    system, messages = _conversation(body.get("messages"))
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
    for name in ("top_p", "top_k", "thinking"):
        if name in body:
            translated[name] = body[name]
    if tools := body.get("tools"):
        translated["tools"] = [_tool(tool, call.dropped) for tool in _each(tools, "tools")]
        if choice := _tool_choice(body):
            translated["tool_choice"] = choice
    if user := body.get("safety_identifier") or body.get("user"):
        translated["metadata"] = {"user_id": user}
    if call.request.stream:
        translated["stream"] = True
    try:
        return orjson.dumps(translated)
    except orjson.JSONEncodeError:
        _bad("messages", "the request holds text that is not valid Unicode")


# --- parameters ----------------------------------------------------------------------------------


def _refuse_shaping(body: Mapping[str, Any]) -> None:
    for name, defaults in _SHAPING.items():
        if name in body and body[name] not in defaults:
            _unsupported(name, f"`{name}` is not supported by this provider")


def _drop_steering(body: Mapping[str, Any], dropped: list[str]) -> None:
    for name, value in body.items():
        if name in _TRANSLATED or name in _SHAPING or value in _STEERING.get(name, ()):
            continue
        dropped.append(name)


def _limit(body: Mapping[str, Any], call: Call) -> int:
    asked = body.get("max_completion_tokens", body.get("max_tokens"))
    if not isinstance(asked, int):
        return call.max_output or _MAX_TOKENS
    # A limit above the model's own promises nothing more, and Anthropic refuses it.
    return min(asked, call.max_output) if call.max_output else asked


def _stops(stop: object) -> list[Any]:
    stops = stop if isinstance(stop, list) else [stop] if stop else []
    for text in stops:
        if not isinstance(text, str) or not text.strip():
            _unsupported("stop", "`stop` of white space alone is not supported by this provider")
    return stops


def _temperature(value: object, dropped: list[str]) -> object:
    if isinstance(value, int | float) and value > 1:
        dropped.append("temperature")
        return 1
    return value


def _tool(tool: Json, dropped: list[str]) -> Json:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        _unsupported("tools", "only tools of the type `function` are supported by this provider")
    if function.get("strict") and "tools.strict" not in dropped:
        dropped.append("tools.strict")
    translated = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        "cache_control": tool.get("cache_control"),
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
        _unsupported("tool_choice", "this `tool_choice` is not supported by this provider")
    if one_at_a_time:
        translated["disable_parallel_tool_use"] = True
    return translated


# --- messages ------------------------------------------------------------------------------------


def _conversation(messages: object) -> tuple[str | list[Json], list[Json]]:
    """The system text, hoisted and joined, and the turns: roles alternate, nothing is empty."""
    system: list[Json] = []
    turns: list[tuple[str, list[Json]]] = []
    for position, message in enumerate(_each(messages, "messages")):
        where = f"messages[{position}]"
        role = message.get("role")
        if role in ("system", "developer"):
            system += _texts(message.get("content"), where)
            continue
        if role == "assistant":
            blocks = _assistant(message, where)
        elif role == "user":
            blocks = _blocks(message.get("content"), where)
        elif role == "tool":
            role, blocks = "user", [_tool_result(message, where)]
        elif role == "function":
            _unsupported(where, "messages of the role `function` are not supported here")
        else:
            _bad(f"{where}.role", f"`{role}` is not a role")
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if not turns:
        _unsupported("messages", "this provider needs a message that is not empty")
    return _plain(system, "\n"), [
        {"role": role, "content": _plain(blocks) if len(blocks) == 1 else blocks}
        for role, blocks in turns
    ]


def _plain(blocks: list[Json], joint: str = "") -> str | list[Json]:
    """Blocks that are bare texts as one string."""
    if all(block.keys() == {"type", "text"} for block in blocks):
        return joint.join(block["text"] for block in blocks)
    return blocks


def _assistant(message: Mapping[str, Any], where: str) -> list[Json]:
    blocks = _blocks(message.get("content"), where)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append({"type": "text", "text": refusal})
    if message.get("function_call"):
        _unsupported(where, "`function_call` is not supported by this provider; use `tool_calls`")
    for number, tool in enumerate(_each(message.get("tool_calls") or [], where)):
        function = tool.get("function")
        if not isinstance(function, dict):
            _unsupported(where, "only tool calls of the type `function` are supported here")
        blocks.append(
            {
                "type": "tool_use",
                "id": tool.get("id"),
                "name": function.get("name"),
                "input": _arguments(function.get("arguments"), f"{where}.tool_calls[{number}]"),
            }
        )
    return blocks


def _arguments(text: object, where: str) -> Json:
    if not text:
        return {}
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        _bad(f"{where}.function.arguments", "a tool call's `arguments` must be a JSON object")
    return arguments


def _tool_result(message: Mapping[str, Any], where: str) -> Json:
    blocks = _blocks(message.get("content"), where)
    return {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        "content": _plain(blocks) if len(blocks) <= 1 else blocks,
    }


def _texts(content: object, where: str) -> list[Json]:
    blocks = _blocks(content, where)
    if any(block["type"] != "text" for block in blocks):
        _unsupported(where, "a system message of more than text is not supported by this provider")
    return blocks


def _blocks(content: object, where: str) -> list[Json]:
    """Content as blocks; empty texts, which Anthropic refuses, are left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = (_block(part, where) for part in _each(content, f"{where}.content"))
    return [block for block in blocks if block.get("text", "-")]


def _block(part: Json, where: str) -> Json:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        block: Json = {"type": "text", "text": part.get(kind)}
        if not isinstance(block["text"], str):
            _bad(f"{where}.content", f"a part of the type `{kind}` needs its text")
    elif kind == "image_url" and isinstance(part.get("image_url"), dict):
        block = {"type": "image", "source": _source(part["image_url"].get("url"), where)}
    elif kind == "file" and isinstance(part.get("file"), dict) and "file_data" in part["file"]:
        block = {"type": "document", "source": _source(part["file"]["file_data"], where)}
    else:
        _unsupported(where, f"content of the type `{kind}` is not supported by this provider")
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _source(url: object, where: str) -> Json:
    """A data URL's content, or the URL for Anthropic to fetch: the gateway fetches nothing."""
    if isinstance(url, str):
        if url.startswith(("https://", "http://")):
            return {"type": "url", "url": url}
        head, comma, data = url.partition(",")
        if head.startswith("data:") and head.endswith(";base64") and comma:
            media_type = head[5:-7].partition(";")[0]
            return {"type": "base64", "media_type": media_type, "data": data}
    _bad(f"{where}.content", "an image is given as an `https://` or base64 `data:` URL")


def _each(items: object, where: str) -> Iterable[Json]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        _bad(where, f"`{where}` must be a list of objects")
    return items


def _unsupported(param: str, message: str) -> NoReturn:
    raise ProviderError(Fault.UNSUPPORTED, message, param=param)


def _bad(param: str, message: str) -> NoReturn:
    raise ProviderError(Fault.BAD_REQUEST, message, param=param)
