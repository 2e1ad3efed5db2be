"""The messages of a chat as Anthropic's turns of content blocks.

System and developer messages are hoisted, turns of one role merged, the results of one turn's tools
stand in one user turn. Thinking goes back where its signature came with it (`thinking_blocks`);
`reasoning_content` alone, which nobody signed, stays behind.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from turnout.engine.provider import Fault, ProviderError

from .misshapen import arguments, bad

Json = dict[str, Any]

# What Anthropic takes as the id of a tool's call; other providers' have more in them.
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")


def conversation(messages: object, dropped: list[str]) -> tuple[str | list[Json], list[Json]]:
    """The system text, hoisted and joined, and the turns: roles alternate, nothing is empty.

    Adds to `dropped`. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.
    """
    system: list[Json] = []
    turns: list[tuple[str, list[Json]]] = []
    for position, message in enumerate(each(messages, "messages")):
        where = f"messages[{position}]"
        role = message.get("role")
        if message.get("name") is not None and "messages.name" not in dropped:
            dropped.append("messages.name")
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
            unsupported(where, "messages of the role `function` are not supported here")
        else:
            bad(f"{where}.role", f"`{role}` is not a role")
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if not turns:
        unsupported("messages", "this provider needs a message that is not empty")
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
    blocks = [*_thoughts(message.get("thinking_blocks")), *_blocks(message.get("content"), where)]
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append({"type": "text", "text": refusal})
    if message.get("function_call"):
        unsupported(where, "`function_call` is not supported by this provider; use `tool_calls`")
    for number, tool in enumerate(each(message.get("tool_calls") or [], where)):
        function = tool.get("function")
        if not isinstance(function, dict):
            unsupported(where, "only tool calls of the type `function` are supported here")
        blocks.append(
            {
                "type": "tool_use",
                "id": _tool_id(tool.get("id")),
                "name": function.get("name"),
                "input": arguments(function.get("arguments"), f"{where}.tool_calls[{number}]"),
            }
        )
    return blocks


def _thoughts(blocks: object) -> Iterable[Json]:
    """The thinking that Anthropic itself signed or sealed."""
    for block in blocks if isinstance(blocks, list) else ():
        match block:
            case {"type": "thinking", "thinking": str() as text, "signature": str() as signature}:
                if signature:
                    yield {"type": "thinking", "thinking": text, "signature": signature}
            case {"type": "redacted_thinking", "data": str() as data}:
                yield {"type": "redacted_thinking", "data": data}


def _tool_id(given: object) -> object:
    return _NO_ID.sub("_", given) if isinstance(given, str) else given


def _tool_result(message: Mapping[str, Any], where: str) -> Json:
    blocks = _blocks(message.get("content"), where)
    return {
        "type": "tool_result",
        "tool_use_id": _tool_id(message.get("tool_call_id")),
        "content": _plain(blocks) if len(blocks) <= 1 else blocks,
    }


def _texts(content: object, where: str) -> list[Json]:
    blocks = _blocks(content, where)
    if any(block["type"] != "text" for block in blocks):
        unsupported(where, "a system message of more than text is not supported by this provider")
    return blocks


def _blocks(content: object, where: str) -> list[Json]:
    """Content as blocks; empty texts, which Anthropic refuses, are left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = (_block(part, where) for part in each(content, f"{where}.content"))
    return [block for block in blocks if block.get("text", "-")]


def _block(part: Json, where: str) -> Json:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        block: Json = {"type": "text", "text": part.get(kind)}
        if not isinstance(block["text"], str):
            bad(f"{where}.content", f"a part of the type `{kind}` needs its text")
    elif kind == "image_url" and isinstance(part.get("image_url"), dict):
        block = {"type": "image", "source": _source(part["image_url"].get("url"), where)}
    elif kind == "file" and isinstance(part.get("file"), dict) and "file_data" in part["file"]:
        block = _document(part["file"], where)
    else:
        unsupported(where, f"content of the type `{kind}` is not supported by this provider")
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _document(file: Mapping[str, Any], where: str) -> Json:
    """A file as a document: a PDF as it is, plain text as text."""
    source = _source(file["file_data"], where)
    if source.get("media_type") == "text/plain":
        try:
            text = base64.b64decode(source["data"], validate=True).decode()
        except (binascii.Error, ValueError):
            bad(f"{where}.content", "the text of a file must be UTF-8 in base64")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    block: Json = {"type": "document", "source": source}
    if isinstance(name := file.get("filename"), str) and name:
        block["title"] = name
    return block


def _source(url: object, where: str) -> Json:
    """A data URL's content, or the URL for Anthropic to fetch: the gateway fetches nothing."""
    if isinstance(url, str):
        if url.startswith(("https://", "http://")):
            return {"type": "url", "url": url}
        head, comma, data = url.partition(",")
        if head.startswith("data:") and comma:
            media_type, _, form = head[5:].partition(";")
            if form.rpartition(";")[2] != "base64":
                data = base64.b64encode(unquote_to_bytes(data)).decode()
            return {"type": "base64", "media_type": media_type, "data": data}
    bad(f"{where}.content", "an image or a file is given as an `https://` or a `data:` URL")


def each(items: object, where: str) -> Iterable[Json]:
    """The objects of a list. Raises: ProviderError BAD_REQUEST."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        bad(where, f"`{where}` must be a list of objects")
    return items


def unsupported(param: str, message: str) -> NoReturn:
    """Refuse what this wire cannot carry."""
    raise ProviderError(Fault.UNSUPPORTED, message, param=param)
