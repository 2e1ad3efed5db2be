"""A body of Anthropic's Messages said as chat.

What any provider can honour becomes chat's own; what only steers Anthropic is `lost`; what nobody
else can do (tools that Anthropic runs itself, containers, files of its own) is `only`. That stays
in the chat as it is: nobody is sent it, but the policy sees that it is there, and it is counted.

Where the two differ:

- Results of tools stand first in a turn and become messages of their own; images in them follow in
  the user's next message, because a tool's message in chat is text. A failed call (`is_error`)
  says so in its text.
- Thinking goes along as `thinking_blocks`, and as `reasoning_content` for whoever knows only that.
- A budget of thinking is also said as `reasoning_effort`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from .client import AsChat

Json = dict[str, Any]

# Budgets of thinking and the effort that each stands for, at most.
_EFFORTS = ((2048, "low"), (8192, "medium"), (16384, "high"))
_MOST_EFFORT = "xhigh"

_SAID = frozenset(
    "model messages max_tokens system stop_sequences temperature top_p top_k stream tools "
    "tool_choice metadata thinking output_config output_format".split()
)
_ONLY = ("container", "mcp_servers", "context_management", "compaction")
# What asks for nothing.
_IDLE: Mapping[str, tuple[object, ...]] = {
    "service_tier": ("auto",),
    "speed": ("standard",),
    "mcp_servers": ([],),
    "context_management": ({},),
}
_TOOL = frozenset("type name description input_schema cache_control strict".split())


def as_chat(body: Json) -> AsChat:
    """A checked body as chat."""
    return _Saying(body).said()


class _Saying:
    """One body on its way to chat; notes what does not come along."""

    def __init__(self, body: Json) -> None:
        self._body = {name: value for name, value in body.items() if value is not None}
        self._only: list[str] = []
        self._lost: list[str] = []
        self._named: dict[str, str] = {}

    def said(self) -> AsChat:
        body = self._body
        chat: Json = {"model": body["model"]}
        for name in ("max_tokens", "temperature", "top_p", "top_k", "stream"):
            if name in body:
                chat[name] = body[name]
        if body.get("stream"):
            chat["stream_options"] = {"include_usage": True}
        if stops := body.get("stop_sequences"):
            chat["stop"] = stops
        self._note_others()
        self._say_metadata(chat)
        self._say_thinking(chat)
        self._say_tools(chat)
        chat["messages"] = [*self._system(), *self._messages()]
        return AsChat(
            chat,
            tuple(dict.fromkeys(self._only)),
            tuple(dict.fromkeys(self._lost)),
            self._named,
        )

    # --- parameters ------------------------------------------------------------------------------

    def _note_others(self) -> None:
        for name, value in self._body.items():
            if name in _SAID or value in _IDLE.get(name, ()):
                continue
            (self._only if name in _ONLY else self._lost).append(name)

    def _say_metadata(self, chat: Json) -> None:
        metadata = self._body.get("metadata", {})
        if isinstance(user := metadata.get("user_id"), str):
            chat["user"] = user
            self._named["user"] = "metadata.user_id"
        self._lost += [f"metadata.{name}" for name in metadata if name != "user_id"]

    def _say_thinking(self, chat: Json) -> None:
        config = self._body.get("output_config", {})
        self._lost += [f"output_config.{one}" for one in config if one not in ("effort", "format")]
        form = config.get("format") or self._body.get("output_format")
        if isinstance(form, dict):
            if form.get("type") == "json_schema":
                named = {"name": "answer", "schema": form.get("schema"), "strict": True}
                chat["response_format"] = {"type": "json_schema", "json_schema": named}
            else:
                self._only.append("output_config.format")
        thinking = self._body.get("thinking")
        effort = config.get("effort")
        if isinstance(thinking, dict):
            chat["thinking"] = thinking
            budget = thinking.get("budget_tokens")
            if effort is None and isinstance(budget, int):
                effort = next((name for most, name in _EFFORTS if budget <= most), _MOST_EFFORT)
        if isinstance(effort, str):
            chat["reasoning_effort"] = _MOST_EFFORT if effort == "max" else effort
            said_so = "effort" in config and config["effort"] is not None
            self._named["reasoning_effort"] = "output_config.effort" if said_so else "thinking"

    def _say_tools(self, chat: Json) -> None:
        tools = self._body.get("tools") or []
        said = [self._tool(number, tool) for number, tool in enumerate(tools)]
        servers = self._body.get("mcp_servers")
        for server in servers if isinstance(servers, list) else ():
            # What these offer is known at Anthropic only; without what authorizes it there.
            named = server.get("name") if isinstance(server, dict) else None
            said.append({"type": "mcp", "name": named})
        if said:
            chat["tools"] = said
        choice = self._body.get("tool_choice")
        if not isinstance(choice, dict) or "tools" not in chat:
            return
        kind = choice.get("type")
        if kind == "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        else:
            chat["tool_choice"] = {"any": "required", "none": "none"}.get(str(kind), "auto")
        if choice.get("disable_parallel_tool_use") is True:
            chat["parallel_tool_calls"] = False

    def _tool(self, number: int, tool: Json) -> Json:
        if tool.get("type") not in (None, "custom"):
            self._only.append(f"tools[{number}]")
            return tool
        function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
        for name in ("description", "strict"):
            if tool.get(name) is not None:
                function[name] = tool[name]
        self._lost += [f"tools.{name}" for name in tool if name not in _TOOL]
        return {"type": "function", "function": function, **_cached(tool)}

    # --- messages --------------------------------------------------------------------------------

    def _system(self) -> list[Json]:
        system = self._body.get("system")
        return [self._instruction(system)] if system else []

    def _instruction(self, content: str | list[Json]) -> Json:
        if isinstance(content, str):
            return {"role": "system", "content": content}
        parts = [{"type": "text", "text": block.get("text"), **_cached(block)} for block in content]
        return {"role": "system", "content": parts}

    def _messages(self) -> list[Json]:
        said: list[Json] = []
        for number, message in enumerate(self._body["messages"]):
            content = message["content"]
            where = f"messages[{number}].content"
            role = message["role"]
            if role == "system":
                said.append(self._instruction(content))
            elif isinstance(content, str):
                said.append({"role": role, "content": content})
            elif role == "assistant":
                said.append(self._assistant(content, where))
            else:
                said += self._user(content, where)
        return said

    def _assistant(self, blocks: list[Json], where: str) -> Json:
        texts: list[Json] = []
        thoughts: list[Json] = []
        calls: list[Json] = []
        for number, block in enumerate(blocks):
            kind = block["type"]
            if kind == "text":
                texts.append({"type": "text", "text": block.get("text"), **_cached(block)})
            elif kind in ("thinking", "redacted_thinking"):
                thoughts.append(block)
            elif kind == "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            else:
                texts += self._foreign(block, f"{where}[{number}]")
        message: Json = {"role": "assistant", "content": _plain(texts) if texts else None}
        if signed := [one for one in thoughts if one.get("signature") or one.get("data")]:
            message["thinking_blocks"] = signed
        if shown := "".join(str(one.get("thinking") or "") for one in thoughts):
            message["reasoning_content"] = shown
        if calls:
            message["tool_calls"] = calls
        elif not texts:
            message["content"] = ""
        return message

    def _user(self, blocks: list[Json], where: str) -> list[Json]:
        results: list[Json] = []
        parts: list[Json] = []
        for number, block in enumerate(blocks):
            if block["type"] == "tool_result":
                result, images = self._result(block, f"{where}[{number}]")
                results.append(result)
                parts += images
            else:
                parts += self._part(block, f"{where}[{number}]")
        return [*results, {"role": "user", "content": _plain(parts)}] if parts else results

    def _result(self, block: Json, where: str) -> tuple[Json, list[Json]]:
        """A tool's message, and what has to be shown beside it."""
        content = block.get("content")
        given = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        parts = [
            part
            for number, inner in enumerate(given)
            for part in self._part(inner, f"{where}.content[{number}]")
        ]
        texts = [part for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if block.get("is_error") is True:
            texts.insert(0, {"type": "text", "text": "Error: " if texts else "Error"})
        elif others and not texts:
            texts.append({"type": "text", "text": "The result is shown in the next message."})
        message = {"role": "tool", "tool_call_id": block.get("tool_use_id")}
        return {**message, "content": _joined(texts) if texts else ""}, others

    def _part(self, block: Json, where: str) -> list[Json]:
        """A block of the user's as parts of chat."""
        kind, source = block.get("type"), block.get("source")
        if kind == "text":
            if block.get("citations"):
                self._lost.append("citations")
            return [{"type": "text", "text": block.get("text"), **_cached(block)}]
        if kind == "image" and isinstance(source, dict) and (url := _url(source)) is not None:
            return [{"type": "image_url", "image_url": {"url": url}, **_cached(block)}]
        if kind == "document" and isinstance(source, dict):
            citations = block.get("citations")
            if isinstance(citations, dict) and citations.get("enabled"):
                self._lost.append("citations")
            return self._document(block, source, where)
        return self._foreign(block, where)

    def _document(self, block: Json, source: Json, where: str) -> list[Json]:
        kind = source.get("type")
        if kind == "text":
            return [{"type": "text", "text": source.get("data"), **_cached(block)}]
        if kind == "base64":
            file = {"filename": block.get("title") or "document.pdf", "file_data": _url(source)}
            return [{"type": "file", "file": file, **_cached(block)}]
        content = source.get("content")
        if kind == "content" and isinstance(content, str):
            return [{"type": "text", "text": content, **_cached(block)}]
        if kind == "content" and isinstance(content, list) and all(map(_is_block, content)):
            return [
                part
                for number, inner in enumerate(content)
                for part in self._part(inner, f"{where}.source.content[{number}]")
            ]
        return self._foreign(block, where)

    def _foreign(self, block: Json, where: str) -> list[Json]:
        """A block that nobody else can read."""
        self._only.append(where)
        # Images have a name of their own in chat, by which they are seen.
        return [{**block, "type": "image_url"} if block.get("type") == "image" else block]


def _is_block(value: object) -> bool:
    return isinstance(value, dict)


def _url(source: Json) -> str | None:
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return None


def _cached(block: Mapping[str, Any]) -> Json:
    mark = block.get("cache_control")
    return {} if mark is None else {"cache_control": mark}


def _plain(parts: list[Json]) -> str | list[Json]:
    """A single bare text as a string, as most clients of chat write it."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _joined(texts: list[Json]) -> str:
    return "".join(str(part["text"]) for part in texts)
