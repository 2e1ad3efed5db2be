"""The Anthropic wire as an upstream: chat requests and answers are translated both ways.

A stop reason that nobody knows becomes `stop`, never its raw name; so does `pause_turn`, because
the server tools that cause it cannot be asked for here. Thinking is shown as `reasoning_content`.

Over 300 lines because answer and stream share finish reasons, counts and what text is.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

import orjson

from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.request import Operation, Usage

from . import fault
from .anthropic_request import messages_body
from .kind import Kind
from .sse import Event
from .upstream import END_WAIT_S, USAGE_WAIT_S

Json = dict[str, Any]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}
_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)


class AnthropicDialect(Kind):
    """A `Provider` on the Anthropic wire."""

    kind = "anthropic"
    fixed_headers: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}

    @classmethod
    def authorization(cls, credential: str) -> dict[str, str]:
        """The headers that carry a credential."""
        return {"x-api-key": credential}

    async def answer(self, call: Call) -> Answer:
        """Chat without streaming. Raises: ProviderError, for embeddings always."""
        if call.request.operation is not Operation.CHAT:
            raise ProviderError(Fault.UNSUPPORTED, "this provider has no embeddings")
        raw = await self._upstream.fetch("/messages", messages_body(call), call)
        return read_message(raw, call, self._upstream.secrets)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Chat as chunks. Raises: ProviderError, at any point."""
        translation = Translation(call, self._upstream.secrets)
        events = await self._upstream.open("/messages", messages_body(call), call)
        try:
            while batch := await events.next():
                for event in batch:
                    if (chunk := translation.take(event)) is not None:
                        yield chunk
                if translation.complete:
                    events.patience_s = END_WAIT_S
                elif translation.ended:
                    events.patience_s = USAGE_WAIT_S
            if (chunk := translation.finish()) is not None:
                yield chunk
        except ProviderError as error:
            error.usage = translation.usage
            raise
        finally:
            await events.aclose()


# --- answers -------------------------------------------------------------------------------------


def read_message(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
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
    tools: list[Json] = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block, "text"))
        elif kind == "thinking":
            thoughts.append(_text(block, "thinking"))
        elif kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            tools.append({"id": block.get("id"), "type": "function", "function": function})
    message: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts or not tools else None,
        "refusal": None,
    }
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if tools:
        message["tool_calls"] = tools
    finish = _finish(parsed.get("stop_reason"))
    counts = _counts(parsed.get("usage"))
    usage = _usage(counts)
    answer: Json = {
        "id": _chat_id(parsed.get("id"), call),
        "object": "chat.completion",
        "created": call.request.received_us // 1_000_000,
        "model": call.shown_model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        answer["usage"] = _shown_usage(usage)
    called = [t["function"]["name"] + t["function"]["arguments"] for t in tools if _named(t)]
    model = parsed.get("model")
    return Answer(
        orjson.dumps(answer),
        usage,
        "".join([*thoughts, *texts, *called]),
        finish,
        model if isinstance(model, str) else None,
    )


def _finish(reason: object) -> str:
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"


def _named(tool: Json) -> bool:
    return isinstance(tool["function"]["name"], str)


def _text(holder: object, name: str) -> str:
    text = holder.get(name) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""


def _chat_id(message_id: object, call: Call) -> str:
    told = message_id if isinstance(message_id, str) and message_id else call.request.id
    return "chatcmpl-" + told.removeprefix("msg_")


def _counts(usage: object) -> dict[str, int]:
    """The counts that a `usage` object has; the others may come later, or never."""
    if not isinstance(usage, dict):
        return {}
    return {n: usage[n] for n in _COUNTS if type(usage.get(n)) is int and usage[n] >= 0}


def _usage(counts: Mapping[str, int]) -> Usage | None:
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    read = counts.get("cache_read_input_tokens", 0)
    written = counts.get("cache_creation_input_tokens", 0)
    prompt = counts["input_tokens"] + written + read
    return Usage(prompt, counts["output_tokens"], read, written)


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
    """One stream from Anthropic's events to the client's chunks; no I/O.

    `ended`: the stop reason came; `complete`: so did the closing mark. `usage` stays None until
    the provider's final word on the output: what `message_start` says of it is a placeholder.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.complete = False
        self.ended = False
        self.usage: Usage | None = None
        options = call.request.body.get("stream_options")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._call = call
        self._secrets = secrets
        self._upstream_model: str | None = None
        self._head: Json | None = None
        self._counts: dict[str, int] = {}
        self._content = False
        # By the provider's block: our number of the tool call, and whether arguments came.
        self._tools: dict[int, tuple[int, bool]] = {}

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        try:
            parsed = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if self.complete:
                return None
            raise fault.bad_output("the provider's stream holds malformed JSON") from None
        if not isinstance(parsed, dict):
            raise fault.bad_output("the provider's stream holds an event that is no object")
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
        chunk = {**(self._head or {}), "choices": [], "usage": _shown_usage(self.usage)}
        return Chunk(_event(chunk), self._content, usage=self.usage)

    def _start(self, message: object) -> Chunk:
        message = message if isinstance(message, dict) else {}
        model = message.get("model")
        self._upstream_model = model if isinstance(model, str) else None
        self._counts = _counts(message.get("usage"))
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
        if block.get("type") == "tool_use":
            number = len(self._tools)
            given = block.get("input") or None
            arguments = orjson.dumps(given).decode() if given else ""
            self._tools[index] = (number, bool(given))
            function = {"name": block.get("name"), "arguments": arguments}
            tool = {"index": number, "id": block.get("id"), "type": "function"}
            text = _text(block, "name") + arguments
            return self._chunk({"tool_calls": [{**tool, "function": function}]}, text)
        if text := _text(block, "text"):
            return self._chunk({"content": text}, text)
        return None

    def _delta(self, index: int, delta: object) -> Chunk | None:
        if text := _text(delta, "text"):
            return self._chunk({"content": text}, text)
        if text := _text(delta, "thinking"):
            return self._chunk({"reasoning_content": text}, text)
        if (text := _text(delta, "partial_json")) and index in self._tools:
            number = self._tools[index][0]
            self._tools[index] = (number, True)
            return self._arguments(number, text)
        return None

    def _block_end(self, index: int) -> Chunk | None:
        number, has_arguments = self._tools.get(index, (0, True))
        # Without input nothing came, and clients parse the arguments as JSON.
        return None if has_arguments else self._arguments(number, "{}")

    def _end(self, parsed: Json) -> Chunk | None:
        # Cumulative: each count replaces what was said before.
        self._counts |= _counts(parsed.get("usage"))
        self.usage = _usage(self._counts)
        delta = parsed.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if reason is None:
            return Chunk(b"", self._content, usage=self.usage)
        self.ended = True
        chunk = self._chunk({}, finish=_finish(reason))
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
