"""The events of a response: the tape they are written on, and the items that write them.

Each item knows how it opens, grows and closes; `item` says what it is so far.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from .responses_answer import (
    Frame,
    Json,
    call_item,
    message_item,
    reasoning_item,
    refusal_part,
    text_of,
    text_part,
)


class Tape:
    """The events of one response, numbered; `take` hands out what was written since."""

    def __init__(self, number: int = 0) -> None:
        """Start at this sequence number."""
        self._number = number
        self._written: list[bytes] = []

    def write(self, type: str, **members: Any) -> None:
        """Add an event."""
        event = {"type": type, "sequence_number": self._number, **members}
        self._number += 1
        self._written.append(b"event: %b\ndata: %b\n\n" % (type.encode(), orjson.dumps(event)))

    def take(self) -> bytes:
        """What was added since the last time."""
        written, self._written = b"".join(self._written), []
        return written


class Item(Protocol):
    """An item of the output that is being written."""

    def item(self, status: str) -> Json:
        """It as it is so far."""

    def close(self, status: str) -> None:
        """Write that nothing more is to come."""


class Thoughts:
    """A reasoning item; its summary is all that was thought."""

    def __init__(self, tape: Tape, frame: Frame, index: int) -> None:
        """Open at this place of the output."""
        self._tape = tape
        self._at: Json = {"item_id": frame.item_id("rs", index), "output_index": index}
        self._texts: list[str] = []
        self._blocks: list[Json] = []
        tape.write("response.output_item.added", output_index=index, item=self.item(""))

    def item(self, status: str) -> Json:
        """It as it is so far."""
        return reasoning_item(self._at["item_id"], "".join(self._texts), self._blocks)

    def add(self, text: str, blocks: list[Json]) -> None:
        """Write more of them; `blocks` have a provider's signature."""
        self._blocks += blocks
        if not text:
            return
        if not self._texts:
            part = {"type": "summary_text", "text": ""}
            self._write("response.reasoning_summary_part.added", part=part)
        self._texts.append(text)
        self._write("response.reasoning_summary_text.delta", delta=text)

    def close(self, status: str) -> None:
        """Write that nothing more is to come."""
        if self._texts:
            text = "".join(self._texts)
            self._write("response.reasoning_summary_text.done", text=text)
            part = {"type": "summary_text", "text": text}
            self._write("response.reasoning_summary_part.done", part=part)
        _write_done(self._tape, self.item(status), self._at["output_index"])

    def _write(self, type: str, **members: Any) -> None:
        self._tape.write(type, **self._at, summary_index=0, **members)


class Words:
    """A message; its last part is open, of the kind `_refuses` says."""

    def __init__(self, tape: Tape, frame: Frame, index: int) -> None:
        """Open at this place of the output."""
        self._tape = tape
        self._at: Json = {"item_id": frame.item_id("msg", index), "output_index": index}
        self._parts: list[Json] = []
        self._texts: list[str] = []
        self._logprobs: list[Json] = []
        self._annotations: list[Json] = []
        self._refuses: bool | None = None
        item = self.item("in_progress")
        tape.write("response.output_item.added", output_index=index, item=item)

    def item(self, status: str) -> Json:
        """It as it is so far."""
        open_part = [] if self._refuses is None else [self._part()]
        return message_item(self._at["item_id"], [*self._parts, *open_part], status)

    def say(self, text: str, logprobs: list[Json], annotations: list[Json]) -> None:
        """Write more of what is shown."""
        self._turn_to(False)
        self._annotations += annotations
        if text or logprobs:
            self._texts.append(text)
            self._logprobs += logprobs
            self._write("response.output_text.delta", delta=text, logprobs=logprobs)

    def refuse(self, text: str) -> None:
        """Write more of a refusal."""
        self._turn_to(True)
        self._texts.append(text)
        self._write("response.refusal.delta", delta=text)

    def close(self, status: str) -> None:
        """Write that nothing more is to come."""
        self._end_part()
        _write_done(self._tape, self.item(status), self._at["output_index"])

    def _turn_to(self, refuses: bool) -> None:
        if self._refuses is refuses:
            return
        self._end_part()
        self._refuses = refuses
        self._write("response.content_part.added", part=self._part())

    def _end_part(self) -> None:
        if self._refuses is None:
            return
        part = self._part()
        if self._refuses:
            self._write("response.refusal.done", refusal=part["refusal"])
        else:
            whole = {"text": part["text"], "logprobs": part["logprobs"]}
            self._write("response.output_text.done", **whole)
        self._write("response.content_part.done", part=part)
        self._parts.append(part)
        self._texts, self._logprobs, self._annotations = [], [], []
        self._refuses = None

    def _part(self) -> Json:
        text = "".join(self._texts)
        if self._refuses:
            return refusal_part(text)
        return text_part(text, list(self._logprobs), list(self._annotations))

    def _write(self, type: str, **members: Any) -> None:
        self._tape.write(type, **self._at, content_index=len(self._parts), **members)


class Call:
    """A call of a function; its arguments may come in turns with those of others."""

    def __init__(self, tape: Tape, frame: Frame, index: int, call: Mapping[str, Any]) -> None:
        """Open at this place of the output."""
        self._tape = tape
        self._at: Json = {"item_id": frame.item_id("fc", index), "output_index": index}
        self._arguments: list[str] = []
        self._call: Json = {"id": call.get("id"), "name": text_of(_function(call).get("name"))}
        item = self.item("in_progress")
        tape.write("response.output_item.added", output_index=index, item=item)

    def item(self, status: str) -> Json:
        """It as it is so far."""
        function = {"name": self._call["name"], "arguments": "".join(self._arguments)}
        return call_item(self._at["item_id"], {**self._call, "function": function}, status)

    def add(self, call: Mapping[str, Any]) -> None:
        """Write more of the arguments, from a delta of chat."""
        if call.get("extra_content") is not None:
            self._call["extra_content"] = call["extra_content"]
        function = _function(call)
        self._call["name"] = self._call["name"] or text_of(function.get("name"))
        if arguments := text_of(function.get("arguments")):
            self._arguments.append(arguments)
            self._tape.write("response.function_call_arguments.delta", **self._at, delta=arguments)

    def close(self, status: str) -> None:
        """Write that nothing more is to come."""
        whole = {"name": self._call["name"], "arguments": "".join(self._arguments)}
        self._tape.write("response.function_call_arguments.done", **self._at, **whole)
        _write_done(self._tape, self.item(status), self._at["output_index"])


def _write_done(tape: Tape, item: Json, index: int) -> None:
    tape.write("response.output_item.done", output_index=index, item=item)


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else {}
