"""Answers on the Anthropic wire as chat: whole messages, and streams event by event.

Thinking is shown as `reasoning_content`, and comes in full as `thinking_blocks`, so that a client
who sends these back has the model go on from its own thoughts. Server tools and citations are not
the client's affair. Where a tool stood for the answer's form, its input is the answer's text.
"""

from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk
from turnout.engine.request import Usage

from . import fault
from .anthropic_answer import Counts, finish_of, shown_usage, thinking_block
from .sse import Event

Json = dict[str, Any]


def read_message(
    raw: bytes, call: Call, secrets: tuple[str, ...], answer_tool: str | None = None
) -> Answer:
    """Make the client's chat answer of the provider's. Raises: ProviderError."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    content = parsed.get("content") if isinstance(parsed, dict) else None
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise fault.no_answer(raw, "a message", secrets)
    texts: list[str] = []
    thoughts: list[str] = []
    blocks: list[Json] = []
    tools: list[Json] = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block, "text"))
        elif (thought := thinking_block(block)) is not None:
            blocks.append(thought)
            thoughts.append(_text(block, "thinking"))
        elif kind == "thinking":
            thoughts.append(_text(block, "thinking"))
        elif kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            if answer_tool is not None and block.get("name") == answer_tool:
                texts.append(arguments)
                continue
            call_id, name = _tool_of(block)
            function = {"name": name, "arguments": arguments}
            tools.append({"id": call_id, "type": "function", "function": function})
    message: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts or not tools else None,
        "refusal": _refusal(parsed),
    }
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if blocks:
        message["thinking_blocks"] = blocks
    if tools:
        message["tool_calls"] = tools
    finish = _chat_finish(parsed.get("stop_reason"), answer_tool, bool(tools))
    counts = Counts()
    counts.note(parsed.get("usage"))
    usage = counts.usage()
    answer: Json = {
        "id": _chat_id(parsed.get("id"), call),
        "object": "chat.completion",
        "created": call.request.received_us // 1_000_000,
        "model": call.shown_model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        answer["usage"] = shown_usage(usage)
    called = [t["function"]["name"] + t["function"]["arguments"] for t in tools]
    model = parsed.get("model")
    return Answer(
        orjson.dumps(answer),
        usage,
        "".join([*thoughts, *texts, *called]),
        finish,
        model if isinstance(model, str) else None,
    )


def _chat_finish(reason: object, answer_tool: str | None, tools: bool) -> str:
    finish = finish_of(reason)
    return "stop" if finish == "tool_calls" and answer_tool is not None and not tools else finish


def _refusal(ended: Json) -> str | None:
    """What the provider says about a refusal, where the answer is one."""
    if ended.get("stop_reason") != "refusal":
        return None
    return _text(ended.get("stop_details"), "explanation") or None


def _tool_of(block: Json) -> tuple[str, str]:
    """A tool call's id and name. Raises: ProviderError where it lacks one."""
    call_id, name = _text(block, "id"), _text(block, "name")
    if not call_id or not name:
        raise fault.bad_output("the provider's answer holds a tool call without an id or a name")
    return call_id, name


def _text(holder: object, name: str) -> str:
    text = holder.get(name) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""


def _chat_id(message_id: object, call: Call) -> str:
    told = message_id if isinstance(message_id, str) and message_id else call.request.id
    return "chatcmpl-" + told.removeprefix("msg_")


# --- streams -------------------------------------------------------------------------------------


class Translation:
    """One stream from Anthropic's events to the client's chunks; no I/O.

    `ended`: the stop reason came; `complete`: so did the closing mark. `usage` stays None until
    the provider's final word on the output: what `message_start` says of it is a placeholder.
    """

    def __init__(
        self, call: Call, secrets: tuple[str, ...], answer_tool: str | None = None
    ) -> None:
        """Start before the first event."""
        self.complete = False
        self.ended = False
        self.usage: Usage | None = None
        options = call.request.body.get("stream_options")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._call = call
        self._secrets = secrets
        self._answer_tool = answer_tool
        self._upstream_model: str | None = None
        self._head: Json | None = None
        self._counts = Counts()
        self._content = False
        # By the provider's block: our number of the tool call, and whether arguments came.
        self._tools: dict[int, tuple[int, bool]] = {}
        # By the provider's block: thinking that is being written, and the answer as a tool's input.
        self._thoughts: dict[int, Json] = {}
        self._answers: dict[int, bool] = {}

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        if self.complete:
            return None
        parsed = fault.object_of(event.data)
        kind = parsed.get("type")
        if kind == "content_block_delta":
            return self._delta(_index(parsed), parsed.get("delta"))
        if kind == "content_block_start":
            return self._block(_index(parsed), parsed.get("content_block"))
        if kind == "content_block_stop":
            return self._block_end(_index(parsed))
        if kind == "message_start":
            return self._start(parsed.get("message"))
        if kind == "message_delta":
            return self._end(parsed)
        if kind == "message_stop":
            self.complete = True
        elif kind == "error" or event.name == b"error":
            raise fault.from_error(parsed.get("error") or {}, self._secrets)
        return None

    def finish(self) -> Chunk | None:
        """The usage chunk, if the client wants one. Raises: ProviderError if the end is early."""
        if not self.ended:
            raise fault.bad_output("the provider's stream ended early")
        if not self._asked or self.usage is None:
            return None
        chunk = {**(self._head or {}), "choices": [], "usage": shown_usage(self.usage)}
        return Chunk(_event(chunk), self._content, usage=self.usage)

    def _start(self, message: object) -> Chunk:
        message = message if isinstance(message, dict) else {}
        model = message.get("model")
        self._upstream_model = model if isinstance(model, str) else None
        self._counts.note(message.get("usage"))
        self._head = {
            "id": _chat_id(message.get("id"), self._call),
            "object": "chat.completion.chunk",
            "created": self._call.request.received_us // 1_000_000,
            "model": self._call.shown_model,
        }
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _block(self, index: int, block: object) -> Chunk | None:
        if not isinstance(block, dict):
            return None
        kind = block.get("type")
        if kind == "tool_use":
            return self._tool(index, block)
        if kind == "thinking":
            signature = _text(block, "signature")
            thinking = _text(block, "thinking")
            self._thoughts[index] = {"thinking": thinking, "signature": signature}
            return self._chunk({"reasoning_content": thinking}, thinking) if thinking else None
        if (sealed := thinking_block(block)) is not None:
            return self._chunk({"thinking_blocks": [sealed]})
        if kind == "text" and (text := _text(block, "text")):
            return self._chunk({"content": text}, text)
        return None

    def _tool(self, index: int, block: Json) -> Chunk | None:
        given = block.get("input") or None
        arguments = orjson.dumps(given).decode() if given else ""
        if self._answer_tool is not None and block.get("name") == self._answer_tool:
            self._answers[index] = bool(given)
            return self._chunk({"content": arguments}, arguments) if arguments else None
        number = len(self._tools)
        self._tools[index] = (number, bool(given))
        call_id, name = _tool_of(block)
        function = {"name": name, "arguments": arguments}
        tool = {"index": number, "id": call_id, "type": "function"}
        text = _text(block, "name") + arguments
        return self._chunk({"tool_calls": [{**tool, "function": function}]}, text)

    def _delta(self, index: int, delta: object) -> Chunk | None:
        if text := _text(delta, "text"):
            return self._chunk({"content": text}, text)
        if text := _text(delta, "thinking"):
            self._thoughts.setdefault(index, {"thinking": "", "signature": ""})["thinking"] += text
            return self._chunk({"reasoning_content": text}, text)
        if text := _text(delta, "signature"):
            self._thoughts.setdefault(index, {"thinking": "", "signature": ""})["signature"] += text
            return None
        if text := _text(delta, "partial_json"):
            if index in self._answers:
                self._answers[index] = True
                return self._chunk({"content": text}, text)
            if index in self._tools:
                number = self._tools[index][0]
                self._tools[index] = (number, True)
                return self._arguments(number, text)
        return None

    def _block_end(self, index: int) -> Chunk | None:
        thought = self._thoughts.pop(index, None)
        if thought is not None and thought["signature"]:
            return self._chunk({"thinking_blocks": [{"type": "thinking", **thought}]})
        # Without input nothing came, and clients parse the arguments as JSON.
        if self._answers.get(index) is False:
            return self._chunk({"content": "{}"}, "{}")
        number, has_arguments = self._tools.get(index, (0, True))
        return None if has_arguments else self._arguments(number, "{}")

    def _end(self, parsed: Json) -> Chunk | None:
        # Cumulative: each count replaces what was said before.
        self._counts.note(parsed.get("usage"))
        self.usage = self._counts.usage()
        delta = parsed.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if reason is None:
            return Chunk(b"", self._content, usage=self.usage)
        assert isinstance(delta, dict)
        self.ended = True
        refusal = _refusal(delta)
        finish = _chat_finish(reason, self._answer_tool, bool(self._tools))
        chunk = self._chunk({} if refusal is None else {"refusal": refusal}, finish=finish)
        chunk.usage = self.usage
        return chunk

    def _arguments(self, number: int, text: str) -> Chunk:
        function = {"arguments": text}
        return self._chunk({"tool_calls": [{"index": number, "function": function}]}, text)

    def _chunk(self, delta: Json, text: str = "", finish: str | None = None) -> Chunk:
        if self._head is None:
            raise fault.bad_output("the provider's stream does not start with a message")
        self._content = self._content or bool(text) or finish is not None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: Json = {**self._head, "choices": [choice]}
        if self._asked:
            chunk["usage"] = None
        return Chunk(_event(chunk), self._content, text, None, finish, self._upstream_model)


def _index(parsed: Json) -> int:
    index = parsed.get("index")
    return index if type(index) is int else 0


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
