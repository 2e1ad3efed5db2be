"""Bedrock's Converse as chat: whole answers, and streams of binary events.

`inputTokens` is what was neither read from the cache nor written to it (AWS, "Prompt caching"): the
prompt is the sum of the three. `outputTokens` includes thinking, which AWS does not tell apart.

A stop reason that nobody knows becomes `stop`. `malformed_tool_use` and `malformed_model_output`
are no answers. Thinking is shown as `reasoning_content`, its signatures in `thinking_blocks`.

Over 300 lines because answer and stream share finish reasons, counts and what text is.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk, ProviderError
from turnout.engine.request import Usage

from . import fault
from .event_stream import BROKEN, EXCEPTION
from .sse import Event
from .usage import is_count

Json = dict[str, Any]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
PACKED = "base64:"
"""What hidden thinking begins with that only this wire can read."""

_NO_ANSWER = ("malformed_model_output", "malformed_tool_use")
_COUNTS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


# --- answers -------------------------------------------------------------------------------------


def read_converse(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's chat answer of the provider's. Raises: ProviderError."""
    parsed = parsed_object(raw)
    output = parsed.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise fault.no_answer(raw, "a message", secrets)
    texts: list[str] = []
    thinking: list[Json] = []
    tools: list[Json] = []
    for block in content:
        if isinstance(use := block.get("toolUse"), dict):
            if not _is_servers(use):
                tools.append(_tool(use, orjson.dumps(use.get("input") or {}).decode()))
        elif (thought := _thinking(block.get("reasoningContent"))) is not None:
            thinking.append(thought)
        else:
            texts.append(_shown_text(block))
    finish = _finish(parsed.get("stopReason"))
    usage = _usage(parsed.get("usage"))
    thoughts = "".join(block.get("thinking", "") for block in thinking)
    shown: Json = {
        "role": "assistant",
        "content": "".join(texts) if any(texts) or not tools else None,
        "refusal": None,
    }
    if thoughts:
        shown["reasoning_content"] = thoughts
    if any("signature" in block or "data" in block for block in thinking):
        shown["thinking_blocks"] = thinking
    if tools:
        shown["tool_calls"] = tools
    answer: Json = {
        **_head(call, "chat.completion"),
        "choices": [{"index": 0, "message": shown, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        answer["usage"] = _shown_usage(usage)
    called = [tool["function"]["name"] + tool["function"]["arguments"] for tool in tools]
    return Answer(orjson.dumps(answer), usage, "".join([thoughts, *texts, *called]), finish, None)


def parsed_object(raw: bytes) -> Json:
    """The object that JSON says; empty for anything else."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _head(call: Call, kind: str) -> Json:
    return {
        "id": "chatcmpl-" + call.request.id.removeprefix("req_"),
        "object": kind,
        "created": call.request.received_us // 1_000_000,
        "model": call.shown_model,
    }


def _tool(use: Json, arguments: str) -> Json:
    function = {"name": text_of(use, "name"), "arguments": arguments}
    return {"id": text_of(use, "toolUseId"), "type": "function", "function": function}


def _is_servers(use: Mapping[str, Any]) -> bool:
    """Whether AWS runs this tool itself: its calls are not the client's."""
    return use.get("type") == "server_tool_use"


def _thinking(reasoning: object) -> Json | None:
    """A block of thinking as chat has it; None for none."""
    if not isinstance(reasoning, dict):
        return None
    if redacted := text_of(reasoning, "redactedContent"):
        return {"type": "redacted_thinking", "data": redacted_data(redacted)}
    told = reasoning.get("reasoningText")
    block: Json = {"type": "thinking", "thinking": text_of(told, "text")}
    if signature := text_of(told, "signature"):
        block["signature"] = signature
    return block


def redacted_data(content: str) -> str:
    """Hidden thinking as its maker has it, so that it survives a change of provider.

    AWS's wire packs Claude's text as bytes. What is no text stays packed, and says so.
    """
    try:
        return b64decode(content, validate=True).decode("ascii")
    except ValueError:
        return PACKED + content


def _shown_text(block: Json) -> str:
    """A block's text; cited text comes in pieces."""
    cited = block.get("citationsContent")
    pieces = cited.get("content") if isinstance(cited, dict) else None
    if isinstance(pieces, list):
        return "".join(text_of(piece, "text") for piece in pieces)
    return text_of(block, "text")


def text_of(holder: object, name: str) -> str:
    """A member that is a text; empty for anything else."""
    text = holder.get(name) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""


def _finish(reason: object) -> str:
    if reason in _NO_ANSWER:
        raise fault.bad_output("the model's output could not be used", status=200)
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    counts = {n: usage[n] for n in _COUNTS if is_count(usage.get(n))}
    if "inputTokens" not in counts or "outputTokens" not in counts:
        return None
    read, written = counts.get("cacheReadInputTokens", 0), counts.get("cacheWriteInputTokens", 0)
    return Usage(counts["inputTokens"] + read + written, counts["outputTokens"], read, written)


def _shown_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
    }


# --- streams -------------------------------------------------------------------------------------


class Translation:
    """One stream from Converse's events to the client's chunks; no I/O.

    `ended`: the stop reason came; `complete`: so did the usage, which follows it.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.complete = False
        self.ended = False
        self.usage: Usage | None = None
        options = call.request.body.get("stream_options")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._secrets = secrets
        self._head = _head(call, "chat.completion.chunk")
        self._started = False
        self._content = False
        # By the provider's block: our number of the tool call, and whether arguments came.
        self._tools: dict[int, tuple[int, bool]] = {}
        # By the provider's block: the thinking as it grows.
        self._thinking: dict[int, Json] = {}

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        if event.name == BROKEN:
            self._damaged("the provider's stream holds a damaged event")
            return None
        if event.name.startswith(EXCEPTION):
            raise self._failure(event)
        if self.ended and event.name != b"metadata":
            return None
        try:
            parsed = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            self._damaged("the provider's stream holds malformed JSON")
            return None
        if not isinstance(parsed, dict):
            self._damaged("the provider's stream holds an event that is no object")
            return None
        if event.name == b"contentBlockDelta":
            return self._delta(_index(parsed), parsed.get("delta"))
        if event.name == b"contentBlockStart":
            return self._block(_index(parsed), parsed.get("start"))
        if event.name == b"contentBlockStop":
            return self._block_end(_index(parsed))
        if event.name == b"messageStart":
            return self._start()
        if event.name == b"messageStop":
            return self._end(parsed)
        if event.name == b"metadata":
            self.usage = _usage(parsed.get("usage"))
            self.complete = self.ended
            return Chunk(b"", self._content, usage=self.usage)
        return None

    def finish(self) -> Chunk | None:
        """The usage chunk, if the client wants one. Raises: ProviderError if the end is early."""
        if not self.ended:
            raise fault.bad_output("the provider's stream ended early")
        if not self._asked or self.usage is None:
            return None
        chunk = {**self._head, "choices": [], "usage": _shown_usage(self.usage)}
        return Chunk(_event(chunk), self._content, usage=self.usage)

    def _failure(self, event: Event) -> ProviderError:
        name = event.name.removeprefix(EXCEPTION).decode("latin-1")
        return fault.from_amazon(name, event.data, self._secrets)

    def _damaged(self, message: str) -> None:
        """Once the answer has ended, what follows is only its usage."""
        if not self.ended:
            raise fault.bad_output(message)

    def _start(self) -> Chunk:
        self._started = True
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _block(self, index: int, start: object) -> Chunk | None:
        use = start.get("toolUse") if isinstance(start, dict) else None
        if not isinstance(use, dict) or _is_servers(use):
            return None
        number = len(self._tools)
        self._tools[index] = (number, False)
        return self._chunk(
            {"tool_calls": [{"index": number, **_tool(use, "")}]}, text_of(use, "name")
        )

    def _delta(self, index: int, delta: object) -> Chunk | None:
        if not isinstance(delta, dict):
            return None
        if text := text_of(delta, "text"):
            return self._chunk({"content": text}, text)
        if text := text_of(delta.get("toolUse"), "input"):
            if index not in self._tools:
                return None
            number = self._tools[index][0]
            self._tools[index] = (number, True)
            return self._arguments(number, text)
        if isinstance(reasoning := delta.get("reasoningContent"), dict):
            return self._thought(index, reasoning)
        return None

    def _thought(self, index: int, reasoning: Json) -> Chunk | None:
        block = self._thinking.setdefault(index, {"type": "thinking", "thinking": ""})
        if redacted := text_of(reasoning, "redactedContent"):
            data = redacted_data(redacted)
            self._thinking[index] = {"type": "redacted_thinking", "data": data}
        elif signature := text_of(reasoning, "signature"):
            block["signature"] = block.get("signature", "") + signature
        elif text := text_of(reasoning, "text"):
            block["thinking"] = block.get("thinking", "") + text
            return self._chunk({"reasoning_content": text}, text)
        return None

    def _block_end(self, index: int) -> Chunk | None:
        thought = self._thinking.pop(index, {})
        if "signature" in thought or "data" in thought:
            return self._chunk({"thinking_blocks": [thought]})
        number, has_arguments = self._tools.get(index, (0, True))
        # Without input nothing came, and clients parse the arguments as JSON.
        return None if has_arguments else self._arguments(number, "{}")

    def _end(self, parsed: Json) -> Chunk:
        finish = _finish(parsed.get("stopReason"))
        self.ended = True
        return self._chunk({}, finish=finish)

    def _arguments(self, number: int, text: str) -> Chunk:
        function = {"arguments": text}
        return self._chunk({"tool_calls": [{"index": number, "function": function}]}, text)

    def _chunk(self, delta: Json, text: str = "", finish: str | None = None) -> Chunk:
        if not self._started:
            raise fault.bad_output("the provider's stream does not start with a message")
        self._content = self._content or bool(text) or finish is not None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: Json = {**self._head, "choices": [choice]}
        if self._asked:
            chunk["usage"] = None
        return Chunk(_event(chunk), self._content, text, None, finish)


def _index(parsed: Json) -> int:
    index = parsed.get("contentBlockIndex")
    return index if type(index) is int else 0


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
