"""What the simulated Anthropic answers: blocks, whole or as events."""

from collections.abc import Iterator
from typing import Any

import orjson

from .anthropic_body import thinks
from .anthropic_thinking import sealed, signature
from .calls import tools_asked_for
from .text import Saying, answer, example, say

Json = dict[str, Any]

# Documented by Anthropic, for tests of clients.
REFUSE = "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_"
SEAL = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_"
_CHOICES = {"any": "required", "none": "none", "auto": "auto"}


class Block:
    """A block of an answer: how it begins, and what is written in it, under which name."""

    def __init__(self, block: Json, saying: Saying, kind: str, field: str, sign: str = "") -> None:
        """Hold its parts; without `kind` nothing of it is written out."""
        self.block = block
        self.saying = saying
        self.kind = kind
        self.field = field
        self.sign = sign

    def whole(self) -> Json:
        """The block as it stands in a whole message."""
        if self.field == "partial_json":
            try:
                return {**self.block, "input": orjson.loads(self.saying.text)}
            except orjson.JSONDecodeError:  # cut by max_tokens
                return self.block
        if not self.field:
            return self.block
        signed = {"signature": self.sign} if self.sign else {}
        return {**self.block, self.field: self.saying.text if self.kind else "", **signed}

    def events(self, index: int) -> Iterator[bytes]:
        """The block as a stream has it."""
        yield event("content_block_start", {"index": index, "content_block": self.block})
        if self.kind:
            before, _, after = event(
                "content_block_delta",
                {"index": index, "delta": {"type": self.kind, self.field: "?"}},
            ).partition(b'"?"')
            for piece in self.saying.pieces:
                yield before + orjson.dumps(piece) + after
        if self.sign:
            delta = {"type": "signature_delta", "signature": self.sign}
            yield event("content_block_delta", {"index": index, "delta": delta})
        yield event("content_block_stop", {"index": index})


def thinking(body: Json, prompt: str) -> Block | None:
    """The thought before the answer, where one is asked for."""
    if not thinks(body):
        return None
    told = f"I think about: {' '.join(prompt.split()[:12])}"
    budget = body["thinking"].get("budget_tokens")
    saying = say(told, min(budget or body["max_tokens"], body["max_tokens"]))
    if SEAL in prompt:
        return Block({"type": "redacted_thinking", "data": sealed(told)}, saying, "", "")
    block = {"type": "thinking", "thinking": "", "signature": ""}
    shown = body["thinking"].get("display") != "omitted"
    sign = signature(saying.text)
    return Block(block, saying, "thinking_delta" if shown else "", "thinking", sign)


def calls(body: Json, prompt: str, answered: bool) -> list[tuple[str, Any]]:
    """The tools that are called, with the schemas of what they take."""
    tools = {
        str(tool.get("name")): tool.get("input_schema") or {} for tool in body.get("tools") or ()
    }
    choice = body.get("tool_choice") or {}
    kind = choice.get("type")
    names = (
        []
        if answered
        else tools_asked_for(
            prompt, list(tools), choice if kind == "tool" else _CHOICES.get(str(kind))
        )
    )
    if choice.get("disable_parallel_tool_use"):
        names = names[:1]
    return [(name, tools[name]) for name in names]


def words(body: Json, model: str, prompt: str, limit: int) -> Block:
    """The answer in words, or in the form that is asked for."""
    stops = tuple(body.get("stop_sequences") or ())
    told = answer(model, prompt)
    form = (body.get("output_config") or {}).get("format")
    if form is not None:
        told = orjson.dumps(example(form["schema"], prompt)).decode()
    return Block({"type": "text", "text": ""}, say(told, limit, stops), "text_delta", "text")


def events(message: Json, blocks: list[Block], end: Json, used: Json) -> Iterator[bytes]:
    """The events of a streamed message."""
    yield event("message_start", {"message": message})
    for index, block in enumerate(blocks):
        written = block.events(index)
        yield next(written)
        if index == 0:
            yield event("ping", {})
        yield from written
    yield event("message_delta", {"delta": end, "usage": used})
    yield event("message_stop", {})


def event(name: str, data: Json) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **data}))
