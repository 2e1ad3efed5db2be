"""The shape of a Responses body: what is read of it here must be what it is taken for.

Items and tools of kinds that chat does not know pass unchecked: only a provider of this protocol
will read them.
"""

from collections.abc import Mapping
from typing import Any

from .fields import (
    Check,
    an_object,
    boolean,
    check_members,
    check_model,
    check_temperature,
    count,
    missing,
    name_or_object,
    number,
    objects,
    refused,
    string,
    strings,
    whole_up_to,
    wrong_type,
)

# What stands for the input, or comes before it, at the provider.
_CONTEXTS = ("previous_response_id", "conversation", "prompt")

TEXT_PARTS = ("input_text", "output_text", "text")
"""The types of parts that hold a text, as `text`."""


def check(body: dict[str, Any]) -> None:
    """Check the members that are read here. Raises: RequestError 400."""
    check_model(body)
    check_members(body, _MEMBERS)
    check_temperature(body)
    given = body.get("input")
    if given is None:
        if not any(body.get(name) for name in _CONTEXTS):
            raise missing("input", "send a string, or an array of items")
    elif isinstance(given, list):
        if not given:
            raise refused("empty_array", "`input` is empty; send at least one item.", "input")
        for index, item in enumerate(given):
            _check_item(item, f"input[{index}]")
    elif not isinstance(given, str):
        raise wrong_type("input", "a string or an array of items", given)
    check_members(body.get("text") or {}, _TEXT, "text.")
    check_members(body.get("reasoning") or {}, _REASONING, "reasoning.")
    for index, tool in enumerate(body.get("tools") or ()):
        where = f"tools[{index}]."
        if tool.get("type") is None:
            raise missing(where + "type", "say what kind of tool it is, such as `function`")
        check_members(tool, _TOOL, where)
        if tool["type"] == "function" and tool.get("name") is None:
            raise missing(where + "name", "name the function")


def type_of(item: Mapping[str, Any]) -> str:
    """The type of an input item; of one that does not say, a message or a reference."""
    if item.get("type") is not None:
        return str(item["type"])
    return "message" if "role" in item or "id" not in item else "item_reference"


def _check_item(item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise wrong_type(where, "an object", item)
    check_members(item, {"type": string}, f"{where}.")
    match type_of(item):
        case "message":
            _need(item, where, "role", string, "send `user`, `assistant`, `system` or `developer`")
            _check_content(item.get("content"), f"{where}.content")
        case "function_call":
            for name in ("call_id", "name", "arguments"):
                _need(item, where, name, string, "send the call as it was answered")
            check_members(item, {"extra_content": an_object}, f"{where}.")
        case "function_call_output":
            _need(item, where, "call_id", string, "say which call this is the output of")
            _check_content(item.get("output"), f"{where}.output")
        case "reasoning":
            members = {"summary": objects, "content": objects, "encrypted_content": string}
            check_members(item, members, f"{where}.")


def _need(item: Mapping[str, Any], where: str, name: str, check: Check, instead: str) -> None:
    if item.get(name) is None:
        raise missing(f"{where}.{name}", instead)
    check_members(item, {name: check}, f"{where}.")


def _check_content(content: Any, where: str) -> None:
    if content is None:
        raise missing(where, "send a string, or an array of parts")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(where, "a string or an array of parts", content)
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}[{index}]", "an object", part)
        path = f"{where}[{index}]."
        kind = part.get("type")
        if not isinstance(kind, str):
            raise missing(path + "type", "say what kind of part it is, such as `input_text`")
        if kind in TEXT_PARTS:
            _need(part, path[:-1], "text", string, "send the text")
        check_members(part, _PARTS.get(kind, {}), path)


_MEMBERS: dict[str, Check] = {
    "instructions": string,
    "stream": boolean,
    "stream_options": an_object,
    "max_output_tokens": count,
    "temperature": number,
    "top_p": number,
    "top_logprobs": whole_up_to(20),
    "tools": objects,
    "tool_choice": name_or_object,
    "text": an_object,
    "reasoning": an_object,
    "include": strings,
    "metadata": an_object,
    "user": string,
    "safety_identifier": string,
    "prompt_cache_key": string,
    "parallel_tool_calls": boolean,
    "store": boolean,
    "background": boolean,
    "truncation": string,
    "max_tool_calls": count,
    "service_tier": string,
    "previous_response_id": string,
}
_TEXT: dict[str, Check] = {"format": an_object, "verbosity": string}
_REASONING: dict[str, Check] = {"effort": string, "summary": string}
_TOOL: dict[str, Check] = {
    "type": string,
    "name": string,
    "description": string,
    "parameters": an_object,
}
_PARTS: dict[str, dict[str, Check]] = {
    "input_image": {"image_url": string, "detail": string, "file_id": string},
    "input_file": {
        "file_data": string,
        "file_url": string,
        "file_id": string,
        "filename": string,
    },
    "input_audio": {"input_audio": an_object},
    "refusal": {"refusal": string},
}
