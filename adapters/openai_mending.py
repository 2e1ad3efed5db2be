"""Answers and deltas of the OpenAI wire's imitations, put into the form that its clients know.

What breaks clients is mended: tool calls without index, id or type, arguments that are no text,
content as parts, reasoning under another name, finish reasons and tiers that nobody knows.

Over 300 lines because whole answers and deltas are mended alike, each member by a few lines.
"""

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import orjson

from turnout.engine.provider import Call

from . import fault

Json = dict[str, Any]
Finish = Callable[[str, bool], str]
"""Of the provider's finish reason, and whether tools were called: the one a client expects."""

# What a client shows or acts on, in a delta or a message.
_SHOWN = (
    "content",
    "tool_calls",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "refusal",
    "function_call",
    "audio",
    "images",
)

# What clients know, and what the imitations call it.
_REASONS = frozenset(("stop", "length", "tool_calls", "content_filter", "function_call"))
_MEANT = {
    "max_tokens": "length",
    "max_output_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "refusal": "content_filter",
}
_TIERS = frozenset(("auto", "default", "flex", "scale", "priority"))
_TEXT = (str, NoneType)  # a union made anew at each look costs more than the look
# What else a message may hold: in any other form, no client can read it.
_KINDS = (
    ("refusal", (str, NoneType)),
    ("function_call", (dict, NoneType)),
    ("audio", (dict, NoneType)),
    ("annotations", (list, NoneType)),
)
_CALLED = ("function", "custom")
_BROKEN = frozenset(("error", "abort", "aborted", "cancelled"))


def finished(reason: object, tools: bool, finish: Finish) -> str:
    """One of the finish reasons that clients know; a name that nobody knows is just an end."""
    told = finish(reason, tools) if isinstance(reason, str) else ""
    if told in _REASONS:
        return told
    return _MEANT.get(told.lower()) or ("tool_calls" if tools else "stop")


def refuse_broken(reason: object, choice: Json, secrets: tuple[str, ...]) -> None:
    """An answer that broke off is none, whatever came before. Raises: ProviderError."""
    if (isinstance(reason, str) and reason in _BROKEN) or choice.get("error"):
        raise fault.from_error(choice.get("error") or {}, secrets)


def headed(answer: Json, call: Call) -> bool:
    """Give what stands beside the choices a form that clients know; true if it had another."""
    changed = retiered(answer)
    if not isinstance(answer.get("id"), str) or not answer["id"]:
        answer["id"] = own_id(call)
        changed = True
    if type(answer.get("created")) is not int:
        answer["created"] = call.request.received_us // 1_000_000
        changed = True
    return unprinted(answer) or changed


def unprinted(answer: Json) -> bool:
    """Take out a `system_fingerprint` that is none; true if there was one."""
    if isinstance(answer.get("system_fingerprint"), _TEXT):
        return False
    del answer["system_fingerprint"]
    return True


def retiered(answer: Json) -> bool:
    """Give `service_tier` a value that clients know, as Groq does not; true if it had another."""
    tier = answer.get("service_tier")
    if tier is None or (isinstance(tier, str) and tier in _TIERS):
        return False
    answer["service_tier"] = "default"
    return True


def numbered(choice: Json, index: int) -> bool:
    """Give a choice its `index` as a number; true if it had none."""
    if type(choice.get("index")) is int:
        return False
    choice["index"] = _number(choice.get("index"), index)
    return True


def measured(choice: Json) -> bool:
    """Give `logprobs` the form that clients know, which Ollama's lack; true if it had another.

    Older servers, Together among them, tell them as completions do: tokens and values side by side.
    """
    given = choice.get("logprobs")
    if given is None:
        return False
    if not isinstance(given, dict):
        choice["logprobs"] = None
        return True
    if "content" not in given and isinstance(given.get("tokens"), list):
        told = zip(given["tokens"], listed(given.get("token_logprobs")), strict=False)
        given = {"content": [{"token": token, "logprob": value} for token, value in told]}
    content = [_measured(one) for one in listed(given.get("content"))]
    mended = {**given, "content": [one for one in content if one is not None] or None}
    mended.setdefault("refusal", None)
    if mended == choice["logprobs"]:
        return False
    choice["logprobs"] = mended
    return True


def _measured(one: object) -> Json | None:
    """One token with its probability and those of its rivals; None for what is none."""
    if not isinstance(one, dict) or not isinstance(one.get("token"), str):
        return None
    if type(one.get("logprob")) not in (int, float):
        return None
    rivals = [rival for given in listed(one.get("top_logprobs")) if (rival := _rival(given))]
    octets = one.get("bytes", list(one["token"].encode()))
    known = octets is None or (isinstance(octets, list) and all(type(o) is int for o in octets))
    return {**one, "bytes": octets if known else None, "top_logprobs": rivals}


def _rival(given: object) -> Json | None:
    if not isinstance(given, dict) or not isinstance(given.get("token"), str):
        return None
    if type(given.get("logprob")) not in (int, float):
        return None
    octets = given.get("bytes")
    known = isinstance(octets, list) and all(type(one) is int for one in octets)
    return {**given, "bytes": octets if known else None}


def _number(value: object, otherwise: int | None) -> int | None:
    """An index, which some write as a string."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if type(value) is int else otherwise


def called(message: Json) -> bool:
    """Look at the tool calls of a whole answer; true if one had to be completed.

    Raises: ProviderError for a call of nothing.
    """
    changed = False
    for tool in listed(message.get("tool_calls")):
        if tool.setdefault("type", "function") != "function":
            continue
        function = tool.get("function")
        if not isinstance(function, dict) or not function.get("name"):
            raise fault.bad_output("the provider's answer calls a tool without its name")
        if function.get("arguments") is None:
            function["arguments"] = ""
            changed = True
    return changed


def mended_message(message: Json) -> bool:
    """Put a message or a delta into the form that clients know; true if it had another.

    Raises: ProviderError for text that is no text and tools that are none.
    """
    if len(message) == 1 and type(message.get("content")) is str:
        return False  # nearly every delta
    changed = _joined(message)
    if "role" in message and message["role"] != "assistant":
        message["role"] = "assistant"
        changed = True
    for name, kind in _KINDS:
        if name in message and not isinstance(message[name], kind):
            del message[name]
            changed = True
    if "tool_calls" in message:
        tools = message["tool_calls"]
        if not tools:
            del message["tool_calls"]
            changed = True
        elif isinstance(tools, dict):
            message["tool_calls"] = [tools]
            changed = True
        elif not isinstance(tools, list):
            raise fault.bad_output("the provider's answer holds tool calls that are none")
    thoughts = message.get("reasoning")
    if isinstance(thoughts, str) and thoughts and not message.get("reasoning_content"):
        # Half of them call it one, half the other; clients too.
        message["reasoning_content"] = thoughts
        changed = True
    for tool in listed(message.get("tool_calls")):
        changed |= _mended_tool(tool)
    return changed


def identified(message: Json, call: Call) -> bool:
    """Give tool calls an id where they have none; true if one had none."""
    nameless = [tool for tool in listed(message.get("tool_calls")) if not tool.get("id")]
    for number, tool in enumerate(nameless):
        tool["id"] = _own_tool_id(call, number)
    return bool(nameless)


def own_id(call: Call) -> str:
    """An id for an answer that has none."""
    return f"chatcmpl-{call.request.id.removeprefix('req_')}"


def _own_tool_id(call: Call, number: int) -> str:
    return f"call_{call.request.id.removeprefix('req_')}_{number}"


def _mended_tool(tool: object) -> bool:
    """Arguments as a string, an id as a string; in a whole answer's calls their type, too."""
    if not isinstance(tool, dict):
        raise fault.bad_output("the provider's answer holds a tool call that is no object")
    changed = False
    call_id = tool.get("id")
    if call_id is not None and not isinstance(call_id, str):
        if type(call_id) is not int:
            raise fault.bad_output("the provider's answer holds a tool call whose id is none")
        tool["id"] = str(call_id)
        changed = True
    function = tool.get("function")
    if function is not None and not isinstance(function, dict):
        raise fault.bad_output("the provider's answer holds a tool call without a function")
    if function is not None:
        if not isinstance(function.get("name"), _TEXT):
            raise fault.bad_output("the provider's answer calls a tool whose name is none")
        if tool.get("type") is None and function.get("name"):
            tool["type"] = "function"
            changed = True
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            function["arguments"] = orjson.dumps(arguments).decode()
            changed = True
        elif not isinstance(arguments, _TEXT):
            raise fault.bad_output("the provider's answer holds arguments that are none")
    if "type" in tool and tool["type"] not in _CALLED:
        tool["type"] = "function"
        changed = True
    return changed


def _joined(message: Json) -> bool:
    """Put content that came as parts (thinking among them) into strings; true if it did."""
    parts = message.get("content")
    if parts is None or isinstance(parts, str):
        return False
    if not isinstance(parts, list):
        raise fault.bad_output("the provider's answer holds content that is no text")
    message["content"] = "".join(_part_text(part) for part in parts)
    thoughts = "".join(
        _part_text(inner)
        for part in parts
        if isinstance(part, dict) and part.get("type") == "thinking"
        for inner in _inner(part.get("thinking"))
    )
    if thoughts:
        message["reasoning_content"] = thoughts
    return True


def _inner(thinking: object) -> list[Any]:
    return [thinking] if isinstance(thinking, str) else listed(thinking)


def listed(value: object) -> list[Any]:
    """The list that this is, if it is one."""
    return value if isinstance(value, list) else []


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def text_of(message: Mapping[str, Any]) -> str:
    """Everything written in a message or delta: words, thoughts, a refusal, tool arguments."""
    content = message.get("content")
    if len(message) <= 2 and isinstance(content, str):
        return content
    texts = [
        message.get("reasoning_content") or message.get("reasoning"),
        content,
        message.get("refusal"),
    ]
    for tool in listed(message.get("tool_calls")):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments")]
    return "".join(text for text in texts if isinstance(text, str))


def shows(delta: object) -> bool:
    """Whether a client would show, or act on, anything in a delta."""
    return isinstance(delta, dict) and any(delta.get(name) for name in _SHOWN)


def index_of(choice: Json) -> int:
    """Which choice this is; the first, if it does not say."""
    return _number(choice.get("index"), None) or 0


class Tools:
    """Numbers the tool calls of one choice 0, 1, 2 …, however the provider numbers them.

    A new id is a new call: Ollama gives every call index 0, others none.
    """

    def __init__(self, call: Call) -> None:
        """Start before the choice's first tool call."""
        self._call = call
        self._count = 0
        # Their index to the id and our index of the call that is being written there.
        self._at: dict[int | None, tuple[object, int]] = {}

    def number(self, tools: list[Any]) -> None:
        """Set `index`, and where a call begins `id` and `type`. Raises: ProviderError."""
        for tool in tools:
            if not isinstance(tool, dict):
                raise fault.bad_output("the provider's stream holds a tool call that is no object")
            theirs, call_id = _number(tool.get("index"), None), tool.get("id")
            held = self._at.get(theirs)
            if held is None or self._begins(tool, theirs, call_id, held[0]):
                held = (call_id, self._count)
                self._at[theirs] = held
                tool.setdefault("type", "function")
                if not call_id:
                    tool["id"] = _own_tool_id(self._call, self._count)
                self._count += 1
            tool["index"] = held[1]

    @staticmethod
    def _begins(tool: Json, theirs: int | None, call_id: object, held_id: object) -> bool:
        if call_id or theirs is not None:
            return bool(call_id) and call_id != held_id
        # Neither id nor index: only a name can say that this is another one.
        function = tool.get("function")
        return isinstance(function, dict) and bool(function.get("name"))


class Thoughts:
    """Anthropic's thinking with its signatures, out of the `reasoning_details` of one choice.

    A block is handed out when it is whole, as `thinking_blocks` has it.
    """

    def __init__(self) -> None:
        """Start before the choice's first thought."""
        self._texts: dict[object, str] = {}

    def take(self, message: Json) -> None:
        """Add to a message or delta the blocks that it completes."""
        blocks = [
            block
            for detail in listed(message.get("reasoning_details"))
            if isinstance(detail, dict) and str(detail.get("format")).startswith("anthropic")
            for block in self._blocks(detail)
        ]
        if blocks:
            message["thinking_blocks"] = blocks

    def _blocks(self, detail: Json) -> list[Json]:
        if detail.get("type") == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            return [{"type": "redacted_thinking", "data": detail["data"]}]
        at, text, signature = str(detail.get("index")), detail.get("text"), detail.get("signature")
        if isinstance(text, str):
            self._texts[at] = self._texts.get(at, "") + text
        if not isinstance(signature, str) or not signature:
            return []
        whole = self._texts.pop(at, "")
        return [{"type": "thinking", "thinking": whole, "signature": signature}]
