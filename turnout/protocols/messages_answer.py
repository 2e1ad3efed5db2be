"""Chat answers told as Anthropic's messages, whole and as a stream of events.

Blocks of a stream stand one after the other: a client may act on a tool's call as soon as its block
ends. What is said while a call is not whole waits until it is. Usage that comes at the end is told
at the end, over the zeros of the start.

Thinking that nobody signed has an empty signature. Where it comes back to Anthropic, the gateway
leaves it out.

Over 300 lines because a whole message and a streamed one share what a block is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from turnout.engine.request import Request, RequestError

from .fields import is_deep
from .messages_calls import Calls, Written

Json = dict[str, Any]

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_DATA = b"data: "
_SAID = ("reasoning_content", "reasoning", "thinking_blocks", "content")
_MOST_WAITING = 8 * 1024 * 1024  # bytes of chunks


class Translated:
    """Tells one chat answer as a message; no I/O. Who ends a stream early has `failed`."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""
        self.request_id = request.id
        self._model = request.model
        self._begun = False
        self._usage: Json | None = None
        self._finish: str | None = None
        self._refused = ""
        # The block that is being written: its kind, and its index.
        self._open: str | None = None
        self._index = -1
        self._calls = Calls()
        self._called = False
        # What was said while a call was not whole, and the bytes of its chunks.
        self._waiting: list[Json] = []
        self._waiting_bytes = 0

    def whole(self, body: bytes) -> bytes:
        """The message for a chat completion."""
        answer = orjson.loads(body)
        choice = _first(answer.get("choices"))
        message = _object(choice.get("message"))
        content = [*_thoughts(message), *_texts(message), *_called(message)]
        called = any(block["type"] == "tool_use" for block in content)
        refusal = message.get("refusal")
        return orjson.dumps(
            {
                **self._head(answer),
                "content": content,
                **_end(choice.get("finish_reason"), called, refusal),
                "usage": _usage(answer.get("usage")),
            }
        )

    def event(self, event: bytes) -> bytes:
        """The events for one chunk; empty for nothing. Raises: RequestError if too much waits."""
        chunk = orjson.loads(event.removeprefix(_DATA))
        told: list[bytes] = []
        if not self._begun:
            told.append(self._beginning(chunk))
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choice = _first(chunk.get("choices"))
        if choice.get("index", 0) == 0:
            delta = _object(choice.get("delta"))
            told += self._delta(delta, len(event))
            self._finish = choice.get("finish_reason") or self._finish
        return b"".join(told)

    def end(self) -> bytes:
        """What is left of the blocks, why the message ended, what it used, and the closing mark."""
        told = [] if self._begun else [self._beginning({})]
        told += self._held_back()
        end = _end(self._finish, self._called, self._refused)
        told.append(_event("message_delta", delta=end, usage=_usage(self._usage)))
        told.append(_event("message_stop"))
        return b"".join(told)

    # --- streams ---------------------------------------------------------------------------------

    def _head(self, answer: Mapping[str, Any]) -> Json:
        told = answer.get("id")
        known = told if isinstance(told, str) and told else self.request_id
        return {
            "id": "msg_" + known.removeprefix("chatcmpl-"),
            "type": "message",
            "role": "assistant",
            "model": answer.get("model") or self._model,
        }

    def _beginning(self, chunk: Mapping[str, Any]) -> bytes:
        self._begun = True
        start = {**self._head(chunk), "content": [], "stop_reason": None, "stop_sequence": None}
        return _event("message_start", message={**start, "usage": _usage(None)})

    def _delta(self, delta: Json, size: int) -> Iterator[bytes]:
        if self._open == "tool" and any(map(delta.get, _SAID)) and not self._calls.whole:
            self._wait(delta, size)
        else:
            yield from self._said(delta)
        if isinstance(refusal := delta.get("refusal"), str):
            self._refused += refusal
        for call in _list(delta.get("tool_calls")):
            if isinstance(call, dict):
                self._called = True
                for written in self._calls.take(call):
                    yield from self._call(written)
        if self._waiting and self._calls.whole:
            yield from self._waited()

    def _said(self, delta: Json) -> Iterator[bytes]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield from self._write("thinking", {"type": "thinking_delta", "thinking": thought})
        for block in _list(delta.get("thinking_blocks")):
            yield from self._thought(block)
        text = delta.get("content")
        if isinstance(text, str) and text:
            yield from self._write("text", {"type": "text_delta", "text": text})

    def _wait(self, delta: Json, size: int) -> None:
        self._waiting_bytes += size
        if self._waiting_bytes > _MOST_WAITING:
            told = "The provider did not end a tool call; the answer is incomplete."
            raise RequestError(502, "upstream_error", "bad_gateway", told)
        self._waiting.append({name: delta[name] for name in _SAID if name in delta})

    def _waited(self) -> Iterator[bytes]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for delta in waiting:
            yield from self._said(delta)

    def _write(self, kind: str, delta: Json) -> Iterator[bytes]:
        if self._open != kind:
            yield from self._close()
            yield self._start(kind, _EMPTY[kind])
        yield self._add(delta)

    def _thought(self, block: Any) -> Iterator[bytes]:
        """A whole block of thinking; its text was told already, as far as it was written out."""
        match block:
            case {"type": "redacted_thinking", "data": str() as data}:
                yield from self._close()
                yield self._start("redacted", {"type": "redacted_thinking", "data": data})
            case {"type": "thinking", "signature": str() as signature}:
                if self._open != "thinking":
                    yield from self._write(
                        "thinking",
                        {"type": "thinking_delta", "thinking": block.get("thinking") or ""},
                    )
                yield self._add({"type": "signature_delta", "signature": signature})
            case _:
                return
        yield from self._close()

    def _call(self, written: Written) -> Iterator[bytes]:
        if written.begins:
            yield from self._stop()
            named = {"id": written.id, "name": written.name, "input": {}}
            yield self._start("tool", {"type": "tool_use", **named})
        if written.arguments:
            yield self._add({"type": "input_json_delta", "partial_json": written.arguments})

    def _held_back(self) -> Iterator[bytes]:
        for written in self._calls.rest():
            yield from self._call(written)
        yield from self._waited()
        yield from self._close()

    def _start(self, kind: str, block: Json) -> bytes:
        self._open = kind
        self._index += 1
        return _event("content_block_start", index=self._index, content_block=block)

    def _add(self, delta: Json) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> Iterator[bytes]:
        """End the block that is being written, for something that is not the next call."""
        if self._open == "tool":
            self._calls.interrupted()
        yield from self._stop()

    def _stop(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield _event("content_block_stop", index=self._index)


_EMPTY: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


# --- parts of an answer --------------------------------------------------------------------------


def _thoughts(message: Json) -> Iterator[Json]:
    blocks = [one for block in _list(message.get("thinking_blocks")) if (one := _proven(block))]
    yield from blocks
    thought = message.get("reasoning_content") or message.get("reasoning")
    if not blocks and isinstance(thought, str) and thought:
        yield {"type": "thinking", "thinking": thought, "signature": ""}


def _proven(block: Any) -> Json | None:
    """A block of thinking with a provider's proof of it; None for anything else."""
    match block:
        case {"type": "redacted_thinking", "data": str() as data}:
            return {"type": "redacted_thinking", "data": data}
        case {"type": "thinking", "signature": str()}:
            return {**block, "thinking": block.get("thinking") or ""}
        case _:
            return None


def _texts(message: Json) -> Iterator[Json]:
    text = message.get("content")
    if isinstance(text, str) and text:
        yield {"type": "text", "text": text}


def _called(message: Json) -> Iterator[Json]:
    for number, call in enumerate(_list(message.get("tool_calls"))):
        call = _object(call)
        function = _object(call.get("function"))
        yield {
            "type": "tool_use",
            "id": call.get("id") or f"toolu_{number}",
            "name": function.get("name") or "",
            "input": _input(function.get("arguments")),
        }


def _input(arguments: object) -> Json:
    """A call's arguments as an object; what is none goes along under a name of its own."""
    if not arguments:
        return {}
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else None
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict) and not is_deep(parsed):
        return parsed
    return {"arguments": arguments}


def _end(finish: object, called: bool, refusal: object) -> Json:
    """Why a message ended, and what a refusal says.

    Which of several stop sequences it was, chat does not say.
    """
    reason = _STOP.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    if called and reason == "end_turn":
        reason = "tool_use"
    if isinstance(refusal, str) and refusal:
        reason = "refusal"
    end: Json = {"stop_reason": reason, "stop_sequence": None}
    if reason == "refusal":
        end["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal or None}
    return end


def _usage(usage: object) -> Json:
    """What was used, in Anthropic's convention: cached tokens are no input tokens."""
    told = _object(usage)
    details = _object(told.get("prompt_tokens_details"))
    read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    shown: Json = {
        "input_tokens": max(_count(told, "prompt_tokens") - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _count(told, "completion_tokens"),
    }
    thought = _count(_object(told.get("completion_tokens_details")), "reasoning_tokens")
    if thought:
        shown["output_tokens_details"] = {"thinking_tokens": thought}
    return shown


def _count(holder: Json, name: str) -> int:
    value = holder.get(name)
    return value if type(value) is int and value > 0 else 0


def _first(choices: object) -> Json:
    return _object(choices[0]) if isinstance(choices, list) and choices else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _event(kind: str, **members: Any) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
