"""Responses told again: whole from their last event, and in events from a whole one.

The last event has the whole response: nothing is put together. Items of kinds that are not known
here are told whole, where they begin and where they end.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from turnout.engine.request import Request, Usage

from .again import (
    Json,
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
from .again_chat import by_tokens

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_DONE = b'"response.output_item.done"'
# What is not known before the end.
_LATE = ("usage", "completed_at", "incomplete_details", "error")
# Items that grow by a text, with the name of their events.
_GROWING = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


class ResponsesAgain:
    """A `Form`: responses."""

    def is_complete(self, body: bytes) -> bool:
        """Whether the response is completed."""
        response = whole_object(body)
        if response is None or not are_objects(response.get("output")):
            return False
        return response.get("status") == "completed"

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """The response that the last event has."""
        try:
            return _whole([*datas(events)])
        except Unfit:
            return None

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """The events of a response, the last among them."""
        try:
            return list(_Tape(load_object(body)).play())
        except Unfit:
            return []


def _whole(told: list[bytes]) -> bytes:
    last = load_object(told[-1]) if told else unfit("no events")
    response = last.get("response")
    if last.get("type") not in _ENDS or not isinstance(response, dict):
        unfit("no end")
    done: dict[int, Any] = {}
    for data in told:
        if _DONE in data:
            event = load_object(data)
            if type(event.get("output_index")) is int:
                done[event["output_index"]] = event.get("item")
    output = response.get("output")
    if output is None:
        # Official clients take the items that were told.
        response["output"] = [done[index] for index in sorted(done)]
    elif not isinstance(output, list) or len(output) < len(done):
        unfit("an end without what was told")
    return dump(response)


class _Tape:
    """The events of one response, numbered."""

    def __init__(self, response: Json) -> None:
        output = response.get("output")
        self._response = response
        self._output: list[Any] = output if isinstance(output, list) else unfit("no output")
        self._number = 0

    def play(self) -> Iterator[bytes]:
        """All events. Raises: Unfit."""
        response = self._response
        begun = {**response, "status": "in_progress", "output": []}
        begun |= {name: None for name in _LATE if name in response}
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=begun)
        for index, item in enumerate(self._output):
            yield from self._item(index, item if isinstance(item, dict) else unfit("no item"))
        kind = f"response.{response.get('status')}"
        yield self._event(kind if kind in _ENDS else _ENDS[0], response=response)

    def _event(self, type: str, **members: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return named(type, {"sequence_number": number, **members})

    def _item(self, index: int, item: Json) -> Iterator[bytes]:
        kind = item.get("type")
        begun = dict(item)
        if "status" in item:
            begun["status"] = "in_progress"
        at: Json = {"item_id": item.get("id") or f"{kind}_{index}", "output_index": index}
        inner: Iterator[bytes] = iter(())
        match item:
            case {"type": "message", "content": list() as parts}:
                begun["content"] = []
                inner = self._parts(at, parts)
            case {"type": "function_call" | "custom_tool_call" as called}:
                name, events = _GROWING[called]
                if isinstance(text := item.get(name), str):
                    begun[name] = ""
                    inner = self._grown(events, name, text, at, item)
            case {"type": "reasoning"}:
                begun |= {name: [] for name in ("summary", "content") if _is_list(item, name)}
                inner = self._thoughts(at, item)
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield from inner
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _grown(self, events: str, name: str, text: str, at: Json, item: Json) -> Iterator[bytes]:
        for piece in pieces(text):
            yield self._event(f"{events}.delta", **at, delta=piece)
        called = {"name": item["name"]} if name == "arguments" and "name" in item else {}
        yield self._event(f"{events}.done", **at, **called, **{name: text})

    def _thoughts(self, at: Json, item: Json) -> Iterator[bytes]:
        summary = item["summary"] if _is_list(item, "summary") else []
        for number, part in enumerate(summary):
            here = {**at, "summary_index": number}
            text = _text(part, "text")
            begun = {**part, "text": ""} if text is not None else part
            yield self._event("response.reasoning_summary_part.added", **here, part=begun)
            kind = "response.reasoning_summary_text"
            for piece in pieces(text or ""):
                yield self._event(f"{kind}.delta", **here, delta=piece)
            if text is not None:
                yield self._event(f"{kind}.done", **here, text=text)
            yield self._event("response.reasoning_summary_part.done", **here, part=part)
        yield from self._parts(at, item["content"] if _is_list(item, "content") else [])

    def _parts(self, at: Json, parts: list[Any]) -> Iterator[bytes]:
        for number, part in enumerate(parts):
            here = {**at, "content_index": number}
            match part:
                case {"type": "output_text", "text": str()}:
                    begun = {**part, "text": ""}
                    begun |= {n: [] for n in ("annotations", "logprobs") if _is_list(part, n)}
                    inner = self._said(here, part)
                case {"type": "refusal", "refusal": str() as text}:
                    begun = {**part, "refusal": ""}
                    inner = self._plain("response.refusal", here, "refusal", text)
                case {"type": "reasoning_text", "text": str() as text}:
                    begun = {**part, "text": ""}
                    inner = self._plain("response.reasoning_text", here, "text", text)
                case _:
                    begun, inner = part, iter(())
            yield self._event("response.content_part.added", **here, part=begun)
            yield from inner
            yield self._event("response.content_part.done", **here, part=part)

    def _said(self, here: Json, part: Json) -> Iterator[bytes]:
        text, rows = part["text"], part["logprobs"] if _is_list(part, "logprobs") else []
        kind = "response.output_text"
        for piece, some in by_tokens(text, rows):
            yield self._event(f"{kind}.delta", **here, delta=piece, logprobs=some)
        for number, one in enumerate(part["annotations"] if _is_list(part, "annotations") else []):
            members = {**here, "annotation_index": number, "annotation": one}
            yield self._event(f"{kind}.annotation.added", **members)
        yield self._event(f"{kind}.done", **here, text=text, logprobs=rows)

    def _plain(self, kind: str, here: Json, name: str, text: str) -> Iterator[bytes]:
        for piece in pieces(text):
            yield self._event(f"{kind}.delta", **here, delta=piece)
        yield self._event(f"{kind}.done", **here, **{name: text})


def _text(part: Any, name: str) -> str | None:
    text = part.get(name) if isinstance(part, dict) else None
    return text if isinstance(text, str) else None


def _is_list(holder: Json, name: str) -> bool:
    return isinstance(holder.get(name), list)
