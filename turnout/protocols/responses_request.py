"""A Responses request said as chat: what both have is renamed, the rest is named.

Decisions that are not obvious:

- What the model said in one turn (thoughts, words, calls) comes as items of their own and becomes
  one message of the assistant, so that parallel calls stand in one message before their outputs.
- `allowed_tools` becomes the tools that are left and a plain `tool_choice`: the same choice, for
  providers that do not know the word.
- Thoughts that a provider signed go to the client and come back in `encrypted_content`, see
  `responses_seal`. What OpenAI itself has encrypted nobody else can read: it is lost elsewhere.
- Tools, items and parts that only the provider of this protocol has stay as they are: nobody else
  will be sent them, but a policy sees that they are there, and they are counted.
- A stream always asks for usage: a response ends with it.

Over 300 lines because every kind of item and part has its own small translation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .client import AsChat
from .responses_seal import unsealed
from .responses_shape import TEXT_PARTS, type_of

Json = dict[str, Any]

LOGPROBS = "message.output_text.logprobs"
"""What `include` holds where the probabilities of tokens are asked for."""

# The same in both.
_SAME = frozenset(
    "model stream temperature top_p parallel_tool_calls metadata user safety_identifier "
    "prompt_cache_key prompt_cache_retention service_tier store".split()
)
# Read by a function of its own below.
_READ = frozenset(
    "input instructions max_output_tokens tools tool_choice text reasoning include top_logprobs "
    "stream_options".split()
)
# Nobody else has what these ask for.
_ONLY = ("previous_response_id", "conversation", "prompt", "background", "moderation")
# What asks for nothing.
_IDLE: Mapping[str, object] = {"truncation": "disabled", "background": False}


def as_chat(body: dict[str, Any]) -> AsChat:
    """Say a checked body as chat."""
    said = _Said()
    for name, value in body.items():
        if value is None or (name in _IDLE and value == _IDLE[name]) or name in _READ:
            continue
        if name in _SAME:
            said.body[name] = value
        elif name in _ONLY:
            said.only.append(name)
        else:
            said.lost.append(name)
    said.body["messages"] = _messages(body, said)
    if body.get("max_output_tokens") is not None:
        said.body["max_completion_tokens"] = body["max_output_tokens"]
    _say_tools(body, said)
    _say_text(body.get("text") or {}, said)
    _say_reasoning(body.get("reasoning") or {}, said)
    if LOGPROBS in (body.get("include") or ()):
        said.body["logprobs"] = True
        said.body["top_logprobs"] = body.get("top_logprobs") or 0
    if body.get("stream") is True:
        said.body["stream_options"] = {"include_usage": True}
    return AsChat(said.body, tuple(said.only), tuple(dict.fromkeys(said.lost)))


@dataclass(slots=True)
class _Said:
    """What has been said so far, and what could not be."""

    body: Json = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


# --- parameters ----------------------------------------------------------------------------------


def _say_tools(body: Mapping[str, Any], said: _Said) -> None:
    tools = body.get("tools") or []
    for index, tool in enumerate(tools):
        if tool["type"] != "function":
            said.only.append(f"tools[{index}].type")
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        match choice.get("type"):
            case "function" if isinstance(choice.get("name"), str):
                choice = {"type": "function", "function": {"name": choice["name"]}}
            case "allowed_tools" if (names := _allowed(choice)) is not None:
                tools = [tool for tool in tools if tool.get("name") in names]
                choice = choice.get("mode") or "auto"
            case _:
                said.only.append("tool_choice")
                choice = None
    if tools:
        said.body["tools"] = [
            _function(tool) if tool["type"] == "function" else tool for tool in tools
        ]
        if choice is not None:
            said.body["tool_choice"] = choice


def _function(tool: Mapping[str, Any]) -> Json:
    function = {
        name: tool[name]
        for name in ("name", "description", "parameters", "strict")
        if tool.get(name) is not None
    }
    said: Json = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        said["cache_control"] = tool["cache_control"]
    return said


def _allowed(choice: Mapping[str, Any]) -> set[str] | None:
    """The functions that may be called; None where other tools may be too."""
    tools = choice.get("tools")
    if not isinstance(tools, list) or choice.get("mode") not in (None, "auto", "required"):
        return None
    names = set()
    for tool in tools:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            return None
        names.add(str(tool.get("name")))
    return names


def _say_text(text: Mapping[str, Any], said: _Said) -> None:
    form = text.get("format") or {}
    match form.get("type"):
        case None | "text":
            pass
        case "json_object":
            said.body["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {
                name: value for name, value in form.items() if name != "type" and value is not None
            }
            said.body["response_format"] = {"type": "json_schema", "json_schema": schema}
        case _:
            said.only.append("text.format")
    if text.get("verbosity") is not None:
        said.body["verbosity"] = text["verbosity"]


def _say_reasoning(reasoning: Mapping[str, Any], said: _Said) -> None:
    for name, value in reasoning.items():
        if value is None:
            continue
        if name == "effort":
            said.body["reasoning_effort"] = value
        else:
            said.lost.append(f"reasoning.{name}")


# --- input ---------------------------------------------------------------------------------------


def _messages(body: Mapping[str, Any], said: _Said) -> list[Json]:
    talk = _Talk(said)
    if body.get("instructions"):
        talk.messages.append({"role": "system", "content": body["instructions"]})
    given = body.get("input")
    if isinstance(given, str):
        talk.messages.append({"role": "user", "content": given})
    for index, item in enumerate(given if isinstance(given, list) else ()):
        talk.take(item, f"input[{index}]")
    talk.take_prompt(body.get("prompt"))
    messages = [message for message in talk.messages if not _is_mere_thought(message)]
    if len(messages) < len(talk.messages):
        said.lost.append("input.reasoning")
    # Without any, all that is asked is kept at the provider, or of kinds that only it knows.
    return messages or [{"role": "user", "content": ""}]


def _is_mere_thought(message: Json) -> bool:
    """Whether a turn has thoughts that led to nothing: no provider takes it in chat."""
    return (
        message["role"] == "assistant"
        and message["content"] is None
        and message.keys().isdisjoint(("tool_calls", "refusal"))
    )


class _Talk:
    """Messages from items; `_turn` is the assistant's message that further items may join."""

    def __init__(self, said: _Said) -> None:
        self.messages: list[Json] = []
        self._said = said
        self._turn: Json | None = None

    def take(self, item: Mapping[str, Any], where: str) -> None:
        """Say one item."""
        match type_of(item):
            case "message" if item["role"] == "assistant":
                self._say_words(item["content"], where)
            case "message":
                self._turn = None
                content = self._content(item["content"], f"{where}.content")
                self.messages.append({"role": item["role"], "content": content})
            case "function_call":
                self._say_call(item)
            case "function_call_output":
                self._turn = None
                content = self._content(item["output"], f"{where}.output")
                self.messages.append(
                    {"role": "tool", "tool_call_id": item["call_id"], "content": content}
                )
            case "reasoning":
                self._say_thoughts(item)
            case _:
                self._said.only.append(where)
                self._turn = None
                self.messages.append({"role": "tool", "content": _foreign(item)})

    def take_prompt(self, prompt: object) -> None:
        """Say what goes into a prompt that is kept at the provider."""
        values = prompt.get("variables") if isinstance(prompt, dict) else None
        given = list(values.values()) if isinstance(values, dict) else []
        if given:
            parts = [one if _is_part(one) else {"type": "variable", "text": one} for one in given]
            self.messages.append({"role": "system", "content": parts})

    def _open(self, may_join: Callable[[Json], bool]) -> Json:
        """The assistant's message that an item joins, or a new one."""
        if self._turn is None or not may_join(self._turn):
            self._turn = {"role": "assistant", "content": None}
            self.messages.append(self._turn)
        return self._turn

    def _say_words(self, content: str | list[Any], where: str) -> None:
        turn = self._open(lambda turn: turn["content"] is None and "refusal" not in turn)
        if isinstance(content, str):
            turn["content"] = content
            return
        texts: list[str] = []
        for index, part in enumerate(content):
            if part["type"] in TEXT_PARTS:
                texts.append(part["text"])
            elif part["type"] == "refusal" and isinstance(part.get("refusal"), str):
                turn["refusal"] = turn.get("refusal", "") + part["refusal"]
            else:
                self._said.only.append(f"{where}.content[{index}]")
        if texts or "refusal" not in turn:
            turn["content"] = "".join(texts)

    def _say_call(self, item: Mapping[str, Any]) -> None:
        turn = self._open(lambda turn: True)
        function = {"name": item["name"], "arguments": item["arguments"]}
        call: Json = {"id": item["call_id"], "type": "function", "function": function}
        if item.get("extra_content") is not None:
            call["extra_content"] = item["extra_content"]
        turn.setdefault("tool_calls", []).append(call)

    def _say_thoughts(self, item: Mapping[str, Any]) -> None:
        text = "\n\n".join(_thoughts(item))
        encrypted = item.get("encrypted_content")
        blocks = unsealed(encrypted) if encrypted else None
        if encrypted and blocks is None:
            self._said.lost.append("input.encrypted_content")
        if not text and not blocks:
            return
        # Words end a turn, unless calls follow, whose outputs are still to come.
        turn = self._open(lambda turn: turn["content"] is None or "tool_calls" in turn)
        if text:
            before = turn.get("reasoning_content")
            turn["reasoning_content"] = f"{before}\n\n{text}" if before else text
        if blocks:
            turn.setdefault("thinking_blocks", []).extend(blocks)

    def _content(self, content: str | list[Any], where: str) -> str | list[Json]:
        if isinstance(content, str):
            return content
        parts: list[Json] = []
        for index, part in enumerate(content):
            said = _part(part)
            if said is None:
                self._said.only.append(f"{where}[{index}]")
                parts.append(part)
                continue
            if part.get("cache_control") is not None:
                said["cache_control"] = part["cache_control"]
            parts.append(said)
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            return str(parts[0]["text"])
        return parts


def _foreign(item: Mapping[str, Any]) -> list[Any]:
    """An item that chat has no word for, as parts: what a tool has shown, else the item."""
    output = item.get("output")
    if isinstance(output, dict) and "image_url" in output:
        return [{**output, "type": "input_image"}]
    if isinstance(output, list) and output and all(map(_is_part, output)):
        return output
    return [{**item, "type": type_of(item)}]


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _thoughts(item: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a reasoning item: the reasoning itself where it is there, else its summary."""
    for part in item.get("content") or item.get("summary") or ():
        if isinstance(part.get("text"), str) and part["text"]:
            yield part["text"]


def _part(part: Mapping[str, Any]) -> Json | None:
    """A part of content as chat writes it; None where chat has no such thing."""
    kind = part["type"]
    if kind in TEXT_PARTS:
        return {"type": "text", "text": part["text"]}
    if kind == "input_image" and part.get("image_url") and not part.get("file_id"):
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and part.get("file_data") and not part.get("file_id"):
        file = {"file_data": part["file_data"]}
        if part.get("filename") is not None:
            file["filename"] = part["filename"]
        return {"type": "file", "file": file}
    if kind == "input_audio" and part.get("input_audio"):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    return None
