"""A chat request of the OpenAI wire as the body of Bedrock's `converse`.

Shaped as in AWS's own model of the service. Nothing is lost in silence: what shapes the answer and
has no counterpart raises `UNSUPPORTED`, what only steers it is named in `call.dropped`.

Over 300 lines because every part of a message has its own small translation.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import orjson

from turnout.engine.provider import Call

from . import fault
from .bedrock_reasoning import additional, maker, verifies_thinking
from .dialect_bedrock import PACKED
from .misshapen import arguments, bad
from .parameters import honoured, unsupported
from .schemas import closed

Json = dict[str, Any]

LACKS = frozenset(
    "n logprobs top_logprobs functions function_call modalities audio prediction "
    "web_search_options seed presence_penalty frequency_penalty logit_bias parallel_tool_calls "
    "verbosity user safety_identifier prompt_cache_key prompt_cache_retention store".split()
)
"""The parameters of chat that Converse has no place for, whatever the model."""

_TRANSLATED = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens stop temperature top_p "
    "top_k tools tool_choice thinking reasoning_effort response_format metadata "
    "service_tier".split()
)
_MODEL = re.compile(r"[A-Za-z0-9:._/-]+")
_TOOL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9()\[\]-]+")
_METADATA = re.compile(r"[A-Za-z0-9\s:_@$#=/+,.-]{0,256}")
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_TIERS = ("flex", "priority")


def model_path(model: str, action: str) -> str:
    """The path of an action on a model: an id or an ARN, encoded as AWS's clients sign it.

    Raises: ProviderError BAD_OUTPUT for a name that no model has.
    """
    if not _MODEL.fullmatch(model) or model in (".", ".."):
        raise fault.bad_output(
            "the provider does not know the model that the gateway asked for", should_retry=False
        )
    return f"/model/{quote(model, safe='-._~')}/{action}"


def converse_body(call: Call) -> bytes:
    """The request as Converse's. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.

    Adds to `call.dropped`.
    """
    return _written(converse_request(call))


def count_body(call: Call) -> bytes:
    """The request as `count-tokens` takes it. Raises: ProviderError."""
    counted = ("messages", "system", "toolConfig", "additionalModelRequestFields")
    request = converse_request(call)
    return _written({"input": {"converse": {n: request[n] for n in counted if n in request}}})


def converse_request(call: Call) -> Json:
    """Converse's members of a request. Raises: ProviderError. Adds to `call.dropped`."""
    body = honoured(call, LACKS)
    call.dropped.extend(name for name in body if name not in _TRANSLATED)
    system, messages = _conversation(body.get("messages"), call.upstream_model)
    request: Json = {"messages": messages}
    if system:
        request["system"] = system
    if limits := _inference(body, call):
        request["inferenceConfig"] = limits
    fields, output = additional(body, call)
    if tools := _tool_config(body, messages, call):
        request["toolConfig"] = tools
    if fields:
        request["additionalModelRequestFields"] = fields
    if "response_format" in body:
        output["textFormat"] = _text_format(body["response_format"])
    if output:
        request["outputConfig"] = output
    if "metadata" in body:
        if _is_metadata(body["metadata"]):
            request["requestMetadata"] = body["metadata"]
        else:
            call.dropped.append("metadata")
    if "service_tier" in body:
        if body["service_tier"] in _TIERS:
            request["serviceTier"] = {"type": body["service_tier"]}
        else:
            call.dropped.append("service_tier")
    return request


def _written(request: Json) -> bytes:
    try:
        return orjson.dumps(request)
    except orjson.JSONEncodeError:
        bad("messages", "the request holds text that is not valid Unicode")


# --- parameters ----------------------------------------------------------------------------------


def _inference(body: Mapping[str, Any], call: Call) -> Json:
    limits: Json = {}
    asked = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(asked, int):
        # A limit above the model's own promises nothing more, and is refused.
        limits["maxTokens"] = min(asked, call.max_output) if call.max_output else asked
    if (temperature := body.get("temperature")) is not None:
        if isinstance(temperature, int | float) and temperature > 1:
            call.dropped.append("temperature")
            temperature = 1
        limits["temperature"] = temperature
    if "top_p" in body:
        limits["topP"] = body["top_p"]
    if "stop" in body:
        limits["stopSequences"] = _stops(body["stop"], call)
    return limits


def _stops(stop: object, call: Call) -> list[Any]:
    stops = stop if isinstance(stop, list) else [stop]
    for text in stops:
        blank = not isinstance(text, str) or not text.strip()
        if blank and (not text or maker(call.upstream_model) == "anthropic"):
            raise unsupported("stop", "`stop` of white space alone is not supported here")
    return stops


def _text_format(response_format: object) -> Json:
    schema = response_format.get("json_schema") if isinstance(response_format, dict) else None
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise unsupported(
            "response_format", "of `response_format` only `json_schema` is supported here"
        )
    described = {
        "name": schema.get("name"),
        "description": schema.get("description"),
        "schema": orjson.dumps(closed(schema["schema"])).decode(),
    }
    kept = {name: value for name, value in described.items() if value}
    return {"type": "json_schema", "structure": {"jsonSchema": kept}}


def _is_metadata(metadata: object) -> bool:
    """Whether AWS's log of invocations takes these pairs."""
    return (
        isinstance(metadata, dict)
        and 1 <= len(metadata) <= 16
        and all(
            key
            and isinstance(value, str)
            and _METADATA.fullmatch(key)
            and _METADATA.fullmatch(value)
            for key, value in metadata.items()
        )
    )


def _tool_config(body: Mapping[str, Any], messages: list[Json], call: Call) -> Json | None:
    choice = body.get("tool_choice")
    tools = list(_each(body.get("tools") or [], "tools"))
    if not tools or choice == "none":
        if any("toolUse" in b or "toolResult" in b for m in messages for b in m["content"]):
            # Converse demands the tools of every call in the conversation, and has no `none`.
            if tools:
                message = "with tool calls before it, `tool_choice` cannot be `none` here"
                raise unsupported("tool_choice", message)
            raise unsupported("tools", "a conversation with tool calls needs its `tools` here")
        return None
    specs: list[Json] = []
    for tool in tools:
        specs += _with_cache_point({"toolSpec": _tool_spec(tool)}, tool)
    config: Json = {"tools": specs}
    if choice == "required":
        config["toolChoice"] = {"any": {}}
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        config["toolChoice"] = {"tool": {"name": choice["function"].get("name")}}
    elif choice not in (None, "auto"):
        raise unsupported("tool_choice", "this `tool_choice` is not supported by this provider")
    return config


def _tool_spec(tool: Json) -> Json:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise unsupported("tools", "only tools of the type `function` are supported here")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    spec: Json = {"name": function.get("name"), "inputSchema": {"json": schema}}
    if function.get("description"):
        spec["description"] = function["description"]
    if function.get("strict") is True:
        spec["strict"] = True
    return spec


# --- messages ------------------------------------------------------------------------------------


def _conversation(messages: object, model: str) -> tuple[list[Json], list[Json]]:
    """The system blocks, hoisted, and the turns: roles alternate, nothing is empty."""
    system: list[Json] = []
    turns: list[Json] = []
    for position, message in enumerate(_each(messages, "messages")):
        where = f"messages[{position}]"
        role = message.get("role")
        if role in ("system", "developer"):
            system += _system(message.get("content"), where)
            continue
        if role == "assistant":
            blocks = _assistant(message, where, model)
        elif role == "user":
            blocks = _blocks(message.get("content"), where)
        elif role == "tool":
            role, blocks = "user", _tool_result(message, where)
        elif role == "function":
            raise unsupported(where, "messages of the role `function` are not supported here")
        else:
            bad(f"{where}.role", f"`{role}` is not a role")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise unsupported("messages", "this provider needs a message that is not empty")
    _name_apart(turns)
    return system, turns


def _name_apart(turns: list[Json]) -> None:
    """Number documents of one name: AWS refuses two."""
    seen: dict[str, int] = {}
    for turn in turns:
        for block in turn["content"]:
            inner = block["toolResult"]["content"] if "toolResult" in block else [block]
            for document in (one["document"] for one in inner if "document" in one):
                name = document["name"]
                seen[name] = seen.get(name, 0) + 1
                if seen[name] > 1:
                    document["name"] = f"{name} {seen[name]}"


def _system(content: object, where: str) -> list[Json]:
    blocks = _blocks(content, where)
    if any("text" not in block and "cachePoint" not in block for block in blocks):
        raise unsupported(where, "a system message of more than text is not supported here")
    return blocks


def _assistant(message: Mapping[str, Any], where: str, model: str) -> list[Json]:
    blocks: list[Json] = []
    if verifies_thinking(model):
        blocks += _thoughts(message.get("thinking_blocks"))
    blocks += _blocks(message.get("content"), where)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append({"text": refusal})
    if message.get("function_call"):
        raise unsupported(where, "`function_call` is not supported here; use `tool_calls`")
    for number, tool in enumerate(_each(message.get("tool_calls") or [], where)):
        function = tool.get("function")
        if not isinstance(function, dict):
            raise unsupported(where, "only tool calls of the type `function` are supported here")
        given = arguments(function.get("arguments"), f"{where}.tool_calls[{number}]")
        use = {"toolUseId": _tool_id(tool.get("id")), "name": function.get("name")}
        blocks.append({"toolUse": {**use, "input": given}})
    return blocks


def _thoughts(blocks: object) -> Iterable[Json]:
    """Thinking that the model can verify; without its signature it would be refused."""
    for block in blocks if isinstance(blocks, list) else []:
        if not isinstance(block, dict):
            continue
        text, signature = block.get("thinking"), block.get("signature")
        if isinstance(text, str) and isinstance(signature, str) and signature:
            yield {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
        elif isinstance(data := block.get("data"), str):
            packed = data.removeprefix(PACKED)
            if packed == data:
                packed = b64encode(data.encode("utf-8", "replace")).decode()
            yield {"reasoningContent": {"redactedContent": packed}}


def _tool_id(given: object) -> str:
    """The id of a tool call: another provider's may be longer than AWS takes."""
    text = given if isinstance(given, str) else ""
    if _TOOL_ID.fullmatch(text):
        return text
    return "call_" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _tool_result(message: Mapping[str, Any], where: str) -> list[Json]:
    blocks = _blocks(message.get("content"), where)
    told = [block for block in blocks if "cachePoint" not in block]
    result = {"toolUseId": _tool_id(message.get("tool_call_id")), "content": told}
    # A mark inside the result has its place after it.
    return [{"toolResult": result}, *(block for block in blocks if "cachePoint" in block)]


def _blocks(content: object, where: str) -> list[Json]:
    """Content as blocks; empty texts, which AWS refuses, are left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    blocks: list[Json] = []
    for part in _each(content, f"{where}.content"):
        block = _block(part, where)
        if block.get("text", "-"):
            blocks += _with_cache_point(block, part)
    return blocks


def _with_cache_point(block: Json, part: Mapping[str, Any]) -> list[Json]:
    """A block, and after it the mark that what precedes is to be cached, if `part` has one."""
    control = part.get("cache_control")
    if not isinstance(control, dict):
        return [block]
    point = {"type": "default"}
    if control.get("ttl") in ("5m", "1h"):
        point["ttl"] = control["ttl"]
    return [block, {"cachePoint": point}]


def _block(part: Json, where: str) -> Json:
    kind = part.get("type")
    given = part.get(kind) if isinstance(kind, str) else None
    if kind in ("text", "refusal"):
        if not isinstance(given, str):
            bad(f"{where}.content", f"a part of the type `{kind}` needs its text")
        return {"text": given}
    if kind == "image_url" and isinstance(given, dict):
        media_type, data = _data_url(given.get("url"), where, "an image")
        if media_type not in _IMAGES:
            raise unsupported(where, f"images of the type `{media_type}` are not supported here")
        return {"image": {"format": _IMAGES[media_type], "source": {"bytes": data}}}
    if kind == "file" and isinstance(given, dict) and "file_data" in given:
        return {"document": _document(given, where)}
    if kind == "input_audio" and isinstance(given, dict) and isinstance(given.get("data"), str):
        return {"audio": {"format": given.get("format"), "source": {"bytes": given["data"]}}}
    raise unsupported(where, f"content of the type `{kind}` is not supported by this provider")


def _document(file: Mapping[str, Any], where: str) -> Json:
    media_type, data = _data_url(file["file_data"], where, "a file")
    filename = file.get("filename")
    stem, _, ending = filename.rpartition(".") if isinstance(filename, str) else ("", "", "")
    form = _DOCUMENTS.get(media_type)
    if form is None and ending.lower() in _DOCUMENTS.values():
        form = ending.lower()
    if form is None:
        raise unsupported(where, f"files of the type `{media_type}` are not supported here")
    # AWS takes few characters in a name.
    name = _NOT_IN_A_NAME.sub("-", stem).strip("-")[:150] or "document"
    return {"format": form, "name": name, "source": {"bytes": data}}


def _data_url(url: object, where: str, thing: str) -> tuple[str, str]:
    """The type and the base64 of a data URL. Addresses are refused: AWS fetches none."""
    if isinstance(url, str):
        if url.startswith(("https://", "http://")):
            raise unsupported(where, f"{thing} by its address is not supported here; send its data")
        head, comma, data = url.partition(",")
        if head.startswith("data:") and comma:
            media_type = head[5:].partition(";")[0].lower()
            if head.endswith(";base64"):
                return media_type, data
            if media_type.startswith("text/"):
                return media_type, b64encode(unquote_to_bytes(data)).decode()
    bad(f"{where}.content", f"{thing} is given as a base64 `data:` URL")


def _each(items: object, where: str) -> list[Json]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        bad(where, f"`{where}` must be a list of objects")
    return items
