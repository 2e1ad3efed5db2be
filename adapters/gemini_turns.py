"""The messages of a chat as Gemini's turns.

Roles alternate and consecutive messages are merged, but for results of functions: these are a turn
of their own right after the calls, as Gemini demands. A call's `thoughtSignature` is what the
answer gave the client as `extra_content.google.thought_signature` of that tool call (of a text: of
that message). Gemini 3 refuses calls of which it did not sign the first: history that another model
wrote gets the value that Google documents for it.
"""

import mimetypes
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from .gemini_thinking import Family
from .misshapen import arguments, bad
from .parameters import unsupported

Json = dict[str, Any]

_UNSIGNED = "skip_thought_signature_validator"
_SIGNS: Family = (3, 0)  # from here on signatures are demanded, and results may hold media
_FORMAT = re.compile(r"[\w.+-]{1,40}")


def turns_of(
    messages: object, version: Family, dropped: list[str]
) -> tuple[Json | None, list[Json]]:
    """What stands above the conversation, and its turns; none is empty.

    Adds to `dropped`. Raises: ProviderError UNSUPPORTED or BAD_REQUEST.
    """
    turns = _Turns(version, dropped)
    for position, message in enumerate(_each(messages, "messages")):
        turns.add(message, f"messages[{position}]")
    if not turns.told:
        raise unsupported("messages", "this provider needs a message that is not empty")
    system = {"parts": turns.system} if turns.system else None
    return system, [{"role": role, "parts": parts} for role, _, parts in turns.told]


class _Turns:
    """The turns so far, and the names of the functions that were called, by the call's id."""

    def __init__(self, version: Family, dropped: list[str]) -> None:
        self.system: list[Json] = []
        # role, whether these are results of functions, parts
        self.told: list[tuple[str, bool, list[Json]]] = []
        self._version = version
        self._dropped = dropped
        self._called: dict[object, object] = {}

    def add(self, message: Json, where: str) -> None:
        role = message.get("role")
        if role in ("system", "developer"):
            parts = self._parts(message.get("content"), where)
            if any("text" not in part for part in parts):
                raise unsupported(
                    where, "a system message of more than text is not supported by this provider"
                )
            self.system += parts
        elif role == "user":
            self._append("user", False, self._parts(message.get("content"), where))
        elif role == "assistant":
            self._append("model", False, self._said(message, where))
        elif role == "tool":
            self._append("user", True, [self._result(message, where)])
        elif role == "function":
            raise unsupported(where, "messages of the role `function` are not supported here")
        else:
            bad(f"{where}.role", f"`{role}` is not a role")

    def _append(self, role: str, results: bool, parts: list[Json]) -> None:
        if not parts:
            return
        if not self.told or self.told[-1][:2] != (role, results):
            self.told.append((role, results, []))
        turn = self.told[-1][2]
        if self._version >= _SIGNS and not any("functionCall" in part for part in turn):
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", _UNSIGNED)
        turn += parts

    def _said(self, message: Mapping[str, Any], where: str) -> list[Json]:
        """An assistant's message: text, then calls."""
        if message.get("function_call"):
            raise unsupported(
                where, "`function_call` is not supported by this provider; use `tool_calls`"
            )
        parts = self._parts(message.get("content"), where)
        if isinstance(refusal := message.get("refusal"), str) and refusal:
            parts.append({"text": refusal})
        if parts and (signature := _signature(message)):
            parts[-1]["thoughtSignature"] = signature
        for number, tool in enumerate(_each(message.get("tool_calls") or [], where)):
            parts.append(self._call(tool, f"{where}.tool_calls[{number}]"))
        return parts

    def _call(self, tool: Json, where: str) -> Json:
        function = tool.get("function")
        if not isinstance(function, dict):
            raise unsupported(where, "only tool calls of the type `function` are supported here")
        name, call_id = function.get("name"), tool.get("id")
        if not isinstance(name, str):
            bad(f"{where}.function.name", "a tool call needs the `name` of its function")
        call: Json = {"name": name, "args": arguments(function.get("arguments"), where)}
        if isinstance(call_id, str):
            call["id"] = call_id
            self._called[call_id] = name
        part: Json = {"functionCall": call}
        if signature := _signature(tool):
            part["thoughtSignature"] = signature
        return part

    def _result(self, message: Mapping[str, Any], where: str) -> Json:
        call_id = message.get("tool_call_id")
        call_id = call_id if isinstance(call_id, str) else None
        name = self._called.get(call_id, message.get("name"))
        if not isinstance(name, str):
            bad(
                f"{where}.tool_call_id",
                f"`{where}` answers no tool call of an earlier message; "
                "give the `id` of one as `tool_call_id`",
            )
        parts = self._parts(message.get("content"), where)
        text = "".join(part.get("text", "") for part in parts)
        result: Json = {"name": name, "response": _response(text)}
        if call_id is not None:
            result["id"] = call_id
        media = [part for part in parts if "text" not in part]
        if media and self._version < _SIGNS:
            raise unsupported(where, "a tool's result of more than text is not supported here")
        if media:
            result["parts"] = media
        return {"functionResponse": result}

    # --- parts -------------------------------------------------------------------------------

    def _parts(self, content: object, where: str) -> list[Json]:
        """Content as parts; empty texts, which Gemini refuses, are left out."""
        if content is None:
            return []
        if isinstance(content, str):
            return [{"text": content}] if content else []
        parts = [self._part(part, where) for part in _each(content, f"{where}.content")]
        return [part for part in parts if part.get("text", "-")]

    def _part(self, part: Json, where: str) -> Json:
        if part.get("cache_control") is not None:
            self._drop("cache_control")
        kind = part.get("type")
        held = part.get(kind) if isinstance(kind, str) else None
        if kind in ("text", "refusal"):
            if not isinstance(held, str):
                bad(f"{where}.content", f"a part of the type `{kind}` needs its text")
            return {"text": held}
        if kind == "image_url" and isinstance(held, dict):
            if held.get("detail") not in (None, "auto"):
                self._drop("image_url.detail")
            return _media(held.get("url"), where)
        if kind == "input_audio" and isinstance(held, dict):
            name, data = held.get("format"), held.get("data")
            if not (isinstance(name, str) and _FORMAT.fullmatch(name) and isinstance(data, str)):
                bad(f"{where}.content", "audio needs its `data` in base64 and its `format`")
            return {"inlineData": {"mimeType": f"audio/{name}", "data": data}}
        if kind == "file" and isinstance(held, dict) and "file_data" in held:
            return _media(held["file_data"], where)
        raise unsupported(where, f"content of the type `{kind}` is not supported by this provider")

    def _drop(self, name: str) -> None:
        if name not in self._dropped:
            self._dropped.append(name)


def _media(url: object, where: str) -> Json:
    """A data URL's content, or the URL for Google to fetch: the gateway fetches nothing."""
    if isinstance(url, str):
        if url.startswith(("https://", "http://")):
            return {"fileData": {**_guessed(url), "fileUri": url}}
        head, comma, data = url.partition(",")
        if head.startswith("data:") and head.endswith(";base64") and comma:
            media_type = head[5:-7].partition(";")[0]
            return {"inlineData": {"mimeType": media_type, "data": data}}
    bad(f"{where}.content", "media is given as an `https://` or base64 `data:` URL")


def _guessed(url: str) -> Json:
    try:
        guessed = mimetypes.guess_type(urlsplit(url).path)[0]
    except ValueError:
        return {}
    return {"mimeType": guessed} if guessed else {}


def _signature(holder: Mapping[str, Any]) -> str | None:
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _response(text: str) -> Json:
    """A result as the object that Gemini wants: the object that it is, or one around it."""
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"result": text}


def _each(items: object, where: str) -> Iterable[Json]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        bad(where, f"`{where}` must be a list of objects")
    return items
