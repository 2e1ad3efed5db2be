"""A chat stream told as the events of a response, and a native one closed where it broke off.

An item of thoughts or words ends where something else begins. Calls of tools stay open to the end:
their arguments may come in turns, and each keeps its place in the output.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from turnout.engine.request import Request, RequestError

from .responses_answer import (
    Frame,
    Json,
    annotations_of,
    error_of,
    incomplete_for,
    logprobs_of,
    objects_of,
    response_of,
    status_for,
    text_of,
    thoughts_of,
)
from .responses_events import Call, Item, Tape, Thoughts, Words

_DATA = b"data: "


class Translating:
    """Tells an answer in chat as a Response."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""
        self._request = request
        self._frame = Frame(request)
        self._tape = Tape()
        self._begun = False
        self._items: list[Item] = []
        self._open: Thoughts | Words | None = None
        self._calls: dict[int, Call] = {}
        self._usage: object = None
        self._finish: object = None

    def whole(self, body: bytes) -> bytes:
        """The Response of a chat completion."""
        return response_of(self._request, body)

    def event(self, event: bytes) -> bytes:
        """The events that one chunk of chat becomes."""
        chunk = orjson.loads(event.removeprefix(_DATA))
        self._frame.note_tier(chunk)
        self._begin()
        self._usage = chunk.get("usage") or self._usage
        for choice in objects_of(chunk.get("choices")):
            if choice.get("index") in (0, None):
                self._take(choice)
        return self._tape.take()

    def end(self) -> bytes:
        """The ends of the items that are open, and the whole response."""
        self._begin()
        if not any(isinstance(item, Words | Call) for item in self._items):
            self._words().say("", [], [])
        incomplete = incomplete_for(self._finish)
        status = status_for(incomplete)
        # The last item is always among those that are open: only what follows closes another.
        statuses = ["completed"] * (len(self._items) - 1) + [status]
        for item, ends in zip(self._items, statuses, strict=True):
            if item is self._open or isinstance(item, Call):
                item.close(ends)
        output = [item.item(ends) for item, ends in zip(self._items, statuses, strict=True)]
        told = self._frame.response(status, output, self._usage, None, incomplete)
        self._tape.write(f"response.{status}", response=told)
        return self._tape.take()

    def failed(self, error: RequestError) -> bytes:
        """The response with what was said of it, and the error."""
        self._begin()
        output = [
            item.item("incomplete" if item is self._open or isinstance(item, Call) else "completed")
            for item in self._items
        ]
        told = self._frame.response("failed", output, self._usage, error_of(error))
        self._tape.write("response.failed", response=told)
        return self._tape.take()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            for type in ("response.created", "response.in_progress"):
                self._tape.write(type, response=self._frame.response("in_progress", []))

    def _take(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        thoughts, blocks = thoughts_of(delta), objects_of(delta.get("thinking_blocks"))
        if thoughts or blocks:
            self._thoughts().add(thoughts, blocks)
        text, logprobs = text_of(delta.get("content")), logprobs_of(choice)
        annotations = annotations_of(delta)
        if text or logprobs or annotations:
            self._words().say(text, logprobs, annotations)
        if refusal := text_of(delta.get("refusal")):
            self._words().refuse(refusal)
        for call in objects_of(delta.get("tool_calls")):
            self._called(call).add(call)
        self._finish = choice.get("finish_reason") or self._finish

    def _thoughts(self) -> Thoughts:
        if isinstance(self._open, Thoughts):
            return self._open
        self._close_open()
        self._open = Thoughts(self._tape, self._frame, len(self._items))
        self._items.append(self._open)
        return self._open

    def _words(self) -> Words:
        if isinstance(self._open, Words):
            return self._open
        self._close_open()
        self._open = Words(self._tape, self._frame, len(self._items))
        self._items.append(self._open)
        return self._open

    def _called(self, call: Mapping[str, Any]) -> Call:
        number = call.get("index") or 0
        if number not in self._calls:
            self._close_open()
            self._calls[number] = Call(self._tape, self._frame, len(self._items), call)
            self._items.append(self._calls[number])
        return self._calls[number]

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close("completed")
            self._open = None


class Passing:
    """Tells an answer that is a Response already; only what broke off needs an end."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""
        self._request = request
        self._first = self._last = b""
        self._done: list[bytes] = []

    def whole(self, body: bytes) -> bytes:
        """The body itself."""
        return body

    def event(self, event: bytes) -> bytes:
        """The event itself."""
        self._first = self._first or event
        self._last = event
        if b"response.output_item.done" in event[:200]:
            self._done.append(event)
        return event

    def end(self) -> bytes:
        """Nothing: the last event says that it is the last."""
        return b""

    def failed(self, error: RequestError) -> bytes:
        """The response as the provider began it, with the items that were whole, and the error."""
        begun = _data_of(self._first).get("response")
        number = _data_of(self._last).get("sequence_number")
        tape = Tape(number + 1 if type(number) is int else 0)
        told = begun if isinstance(begun, dict) else Frame(self._request).response("failed", [])
        told |= {
            "status": "failed",
            "error": error_of(error),
            "output": list(_items_of(self._done)),
        }
        tape.write("response.failed", response=told)
        return tape.take()


def _items_of(events: list[bytes]) -> Iterable[Json]:
    for event in events:
        item = _data_of(event).get("item")
        if isinstance(item, dict):
            yield item


def _data_of(event: bytes) -> Json:
    """The object in an event; the adapter has read it before, so that it is one."""
    lines = [line.removeprefix(_DATA) for line in event.split(b"\n") if line.startswith(_DATA)]
    data = orjson.loads(b"\n".join(lines)) if lines else {}
    return data if isinstance(data, dict) else {}
