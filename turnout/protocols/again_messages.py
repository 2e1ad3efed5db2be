"""Anthropic's messages told again: whole from their events, and in events from a whole one.

Deltas and events of kinds that are not known here may say anything: a stream with one is not told
again. Whole blocks of any kind are.

What events cannot carry: nothing. What a whole message cannot: where one delta ended and the next
began, and what the tokens were thought to be at the start.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from turnout.engine.request import Request, Usage

from .again import (
    Json,
    Run,
    Unfit,
    are_objects,
    datas,
    dump,
    load_object,
    named,
    pieces,
    unfit,
    whole_object,
)

COMPLETE = frozenset(("end_turn", "tool_use", "stop_sequence"))
"""Why a message ends that came to its own end."""

# What is known only at the end: of the message, and of what it used.
_AT_END = ("stop_reason", "stop_sequence", "stop_details", "container")
_BESIDE = "context_management"  # beside the delta, not in it
_USED = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)
# What grows in a block, by the delta that brings it.
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_SILENT = frozenset(("content_block_stop", "message_stop", "ping"))


class MessagesAgain:
    """A `Form`: messages."""

    def is_complete(self, body: bytes) -> bool:
        """Whether the message came to its own end."""
        message = whole_object(body)
        if message is None or not are_objects(message.get("content")):
            return False
        reason = message.get("stop_reason")
        return isinstance(reason, str) and reason in COMPLETE

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """The message that events told."""
        try:
            return _Gathered(events).whole(usage)
        except (Unfit, RecursionError):
            return None

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """The events of a message, its closing mark among them."""
        try:
            return list(_told(load_object(body)))
        except Unfit:
            return []


# --- from events ---------------------------------------------------------------------------------


class _Block:
    """A block of a message, as far as it came."""

    def __init__(self, block: Json) -> None:
        self._block = block
        self.grown: dict[str, list[str]] = {}

    def take(self, delta: Mapping[str, Any]) -> None:
        """Read a delta. Raises: Unfit."""
        kind = delta.get("type")
        match kind:
            case "text_delta" | "thinking_delta" | "input_json_delta":
                name = _TEXTS[kind]
                text = delta.get(name)
                if not isinstance(text, str):
                    unfit("a text that is none")
                self.grown.setdefault(name, []).append(text)
            case "citations_delta":
                if not isinstance(self._block.get("citations"), list):
                    self._block["citations"] = []
                self._block["citations"].append(delta.get("citation"))
            case "signature_delta" | "compaction_delta":
                self._block |= {name: delta[name] for name in delta if name != "type"}
            case _:
                unfit("an unknown delta")

    def whole(self) -> Json:
        """The block."""
        block = self._block
        for name, texts in self.grown.items():
            text = "".join(texts)
            if name != "partial_json":
                begun = block.get(name)
                block[name] = (begun if isinstance(begun, str) else "") + text
            elif text:
                block["input"] = load_object(text.encode())
        return block


class _Gathered:
    """The events of one stream."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self._message: Json = {}
        self._blocks: dict[int, _Block] = {}
        self._used: Json | None = None
        self._run = Run()
        for data in datas(events):
            if not self._run.takes(data):
                self._take(data)
        self._run.end()

    def whole(self, usage: Usage | None) -> bytes | None:
        message = self._message
        if not message:
            return None
        message["content"] = [self._blocks[index].whole() for index in sorted(self._blocks)]
        if self._used is not None or usage is not None:
            used = message.get("usage")
            used = dict(used) if isinstance(used, dict) else {}
            if self._used is not None:
                _update(used, self._used)
            elif usage is not None:
                used["output_tokens"] = usage.output
            message["usage"] = used
        return dump(message)

    def _take(self, data: bytes) -> None:
        event = load_object(data)
        kind = event.get("type")
        match kind:
            case "message_start" if not self._message:
                self._message = dict(_object(event.get("message")))
            case "content_block_start":
                index = event.get("index")
                if type(index) is not int or index in self._blocks:
                    unfit("a block without a place")
                self._blocks[index] = _Block(_object(event.get("content_block")))
            case "content_block_delta":
                block = self._blocks.get(event.get("index", 0))
                if block is None:
                    unfit("a delta without a block")
                delta = _object(event.get("delta"))
                block.take(delta)
                self._begin_run(data, event, delta, block)
            case "message_delta" if self._message:
                _update(self._message, _object(event.get("delta")))
                if isinstance(event.get("usage"), dict):
                    self._used = event["usage"]
                known = ("type", "delta", "usage")
                _update(self._message, {name: event[name] for name in event if name not in known})
            case _:
                if kind not in _SILENT:
                    unfit("an unknown event")

    def _begin_run(self, data: bytes, event: Json, delta: Json, block: _Block) -> None:
        """The events that follow may bring more of the same text."""
        name = _TEXTS.get(str(delta.get("type")))
        if name is not None and len(delta) == 2:
            self._run.begin(data, name, delta[name], block.grown[name])


def _update(held: Json, told: Mapping[str, Any]) -> None:
    """What is told at the end holds, but for what it does not say."""
    for name, value in told.items():
        if value is not None or name not in held:
            held[name] = value


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else unfit("no object")


# --- to events -----------------------------------------------------------------------------------


def _told(message: Json) -> Iterator[bytes]:
    content = message.get("content")
    if not isinstance(content, list):
        unfit("no content")
    used = message.get("usage")
    late = (*_AT_END, _BESIDE)
    begun = {**message, "content": []} | {name: None for name in late if name in message}
    if isinstance(used, dict):
        at_start = {name: used[name] for name in used if name != "output_tokens_details"}
        begun["usage"] = {**at_start, "output_tokens": 0}
    yield named("message_start", {"message": begun})
    for index, block in enumerate(content):
        yield from _block(index, _object(block))
    ending: Json = {"delta": {name: message[name] for name in _AT_END if name in message}}
    if isinstance(used, dict):
        ending["usage"] = {name: used[name] for name in _USED if used.get(name) is not None}
    if message.get(_BESIDE) is not None:
        ending[_BESIDE] = message[_BESIDE]
    yield named("message_delta", ending)
    yield named("message_stop", {})


def _block(index: int, block: Json) -> Iterator[bytes]:
    begun = dict(block)
    deltas = list(_deltas(block, begun))
    yield named("content_block_start", {"index": index, "content_block": begun})
    for delta in deltas:
        yield named("content_block_delta", {"index": index, "delta": delta})
    yield named("content_block_stop", {"index": index})


def _deltas(block: Json, begun: Json) -> Iterator[Json]:
    """The deltas of a block; what they tell is taken out of `begun`."""
    match block:
        case {"type": "text", "text": str() as text}:
            begun["text"] = ""
            for piece in pieces(text):
                yield {"type": "text_delta", "text": piece}
            if isinstance(cited := block.get("citations"), list):
                begun["citations"] = []
                for citation in cited:
                    yield {"type": "citations_delta", "citation": citation}
        case {"type": "thinking", "thinking": str() as thought}:
            begun["thinking"] = ""
            for piece in pieces(thought):
                yield {"type": "thinking_delta", "thinking": piece}
            if isinstance(signature := block.get("signature"), str):
                begun["signature"] = ""
                yield {"type": "signature_delta", "signature": signature}
        case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "input": dict() as given}:
            # Clients read the pieces as JSON, also where there is nothing in it.
            begun["input"] = {}
            for piece in pieces(dump(given).decode()):
                yield {"type": "input_json_delta", "partial_json": piece}
