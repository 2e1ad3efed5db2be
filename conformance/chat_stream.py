"""A streamed chat answer, put together as a client does it."""

from typing import Any

from .case import Failed
from .exchange import Exchange
from .look import array, mapping, parsed, require, shown, text

DONE = "[DONE]"


class ChatStream:
    """The chunks of a stream, and its choices. Raises: Failed for what no client could read."""

    def __init__(self, exchange: Exchange, *parameters: str) -> None:
        """Read a stream; a model may refuse the parameters (see `Exchange.granted`)."""
        exchange.granted(*parameters)
        self.exchange = exchange
        self.data = [event.text for event in exchange.events.events]
        require(bool(self.data), "the stream has no event")
        self.chunks: list[dict[str, Any]] = [
            mapping(parsed(data, "the data of an event"))
            for data in self.data
            if not data.startswith(DONE)
        ]
        require(bool(self.chunks), "the stream has no chunk")
        for chunk in self.chunks:
            if chunk.get("error"):
                raise Failed(f"the stream broke off with an error: {shown(chunk['error'])}")

    def parts(self, index: int = 0) -> list[dict[str, Any]]:
        """What the chunks hold of one choice, in order."""
        found = []
        for chunk in self.chunks:
            for part in array(chunk, "choices"):
                # One that has no index is a defect of its own, and no reason to read nothing.
                if mapping(part).get("index", 0) == index:
                    found.append(mapping(part))
        return found

    def deltas(self, index: int = 0) -> list[dict[str, Any]]:
        """The deltas of one choice."""
        return [mapping(part, "delta") for part in self.parts(index)]

    def content(self, index: int = 0) -> str:
        """The text of one choice."""
        deltas = self.deltas(index)
        return "".join(text(d, "content") for d in deltas if d.get("content") is not None)

    def finishes(self, index: int = 0) -> list[str]:
        """The finish reasons of one choice; there should be one."""
        return [part["finish_reason"] for part in self.parts(index) if part.get("finish_reason")]

    def calls(self) -> list[dict[str, Any]]:
        """The fragments of tool calls, in order."""
        fragments: list[dict[str, Any]] = []
        for delta in self.deltas():
            fragments += delta.get("tool_calls") or []
        require(bool(fragments), "no chunk has a tool call")
        return fragments

    def with_usage(self) -> list[dict[str, Any]]:
        """The chunks whose usage is more than null."""
        return [chunk for chunk in self.chunks if chunk.get("usage") is not None]
