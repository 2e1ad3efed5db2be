"""Legacy completions as an upstream: request, answer and chunks pass through as they came.

Only the model's name changes. A stream is asked for its usage, which the client gets if it asked.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk
from turnout.engine.request import Usage

from . import fault
from .openai_native import Members, NativeWire, as_written, native_of, written_over
from .relayed import Relay
from .splice import splice
from .sse import Event
from .upstream import Events, Upstream
from .usage import read_usage

Json = dict[str, Any]

# What a policy sets and this protocol does not have.
_NAMES: Mapping[str, str | None] = {
    "reasoning_effort": None,
    "parallel_tool_calls": None,
    "service_tier": None,
}
_DONE = b"[DONE]"


def completions_body(call: Call) -> bytes:
    """The client's own bytes with the upstream's model and what the policy sets.

    A stream also asks for usage. Adds to `call.dropped`.
    """
    native = native_of(call)
    members = written_over(call, _NAMES)
    options = native.body.get("stream_options")
    if call.request.stream:
        if not _wants_usage(native.body):
            written = options if isinstance(options, dict) else {}
            members["stream_options"] = orjson.dumps({**written, "include_usage": True})
    elif options is not None:
        # Clients send it without streaming, and OpenAI refuses that.
        members["stream_options"] = None
    return splice(native.raw, native.body, members)


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _says(call: Call) -> bool:
    """Whether this protocol can say what the policy sets: whatever shapes an answer, it can."""
    return True


async def _answer(upstream: Upstream, path: str, call: Call) -> Answer:
    raw = await upstream.fetch(path, completions_body(call), call)
    return read_completion(raw, call, upstream.secrets)


async def _open(upstream: Upstream, path: str, call: Call) -> tuple[Events, Relay]:
    relay = CompletionRelay(call, upstream.secrets)
    return await upstream.open(path, completions_body(call), call), relay


def read_completion(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's completion of the provider's. Raises: ProviderError."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict) or parsed.get("error") or not _choices(parsed):
        raise fault.no_answer(raw, "a completion", secrets)
    members: Members = {"model": orjson.dumps(call.shown_model)}
    if "error" in parsed:
        members["error"] = None
    choices = _choices(parsed)
    reason = choices[0].get("finish_reason")
    return Answer(
        splice(raw, parsed, members),
        read_usage(parsed.get("usage")),
        "".join(_text(choice) for choice in choices),
        reason if isinstance(reason, str) else None,
        _model(parsed),
    )


class CompletionRelay:
    """One stream of chunks; `complete` once the provider said that it ended."""

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.usage: Usage | None = None
        self.complete = False
        assert call.request.native is not None
        self._asked = _wants_usage(call.request.native.body)
        self._expected = _answers(call.request.native.body)
        self._shown_model = orjson.dumps(call.shown_model)
        self._upstream_model: str | None = None
        self._secrets = secrets
        self._content = False
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether every choice that began has ended, and as many as were asked for."""
        return len(self._finished) >= self._expected and self._finished >= self._begun

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        if self.complete:
            return None
        if event.data == _DONE:
            self.complete = True
            return None
        chunk = self._parsed(event)
        if chunk is None:
            return None
        self.usage = read_usage(chunk.get("usage")) or self.usage
        self._upstream_model = self._upstream_model or _model(chunk)
        choices = _choices(chunk)
        if not choices and not (self._asked and chunk.get("usage")):
            # Usage that only the gateway asked for, or a provider's own event.
            return Chunk(b"", self._content, usage=self.usage) if chunk.get("usage") else None
        members: Members = {"model": self._shown_model}
        if "error" in chunk:
            members["error"] = None
        if "usage" in chunk and not self._asked:
            members["usage"] = None
        text, finish = "", None
        for choice in choices:
            text += _text(choice)
            finish = finish or self._ended(choice)
        self._content = self._content or bool(text or finish)
        data = splice(event.data, chunk, members)
        written = as_written(event, data)
        return Chunk(written, self._content, text, self.usage, finish, self._upstream_model)

    def finish(self) -> None:
        """Look whether it was the end. Raises: ProviderError if the end is early."""
        closed = self.complete and self._finished and self._finished >= self._begun
        if not (closed or self.ended):
            raise fault.bad_output("the provider's stream ended early")

    def _ended(self, choice: Mapping[str, Any]) -> str | None:
        index = choice.get("index")
        index = index if type(index) is int else 0
        self._begun.add(index)
        reason = choice.get("finish_reason")
        if not reason:
            return None
        self._finished.add(index)
        return reason if isinstance(reason, str) else None

    def _parsed(self, event: Event) -> Json | None:
        is_error = event.name == b"error"
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if is_error:
                raise fault.from_error({}) from None
            if self.ended or not event.data.strip():
                return None
            raise fault.bad_output("the provider's stream holds malformed JSON") from None
        if not isinstance(chunk, dict):
            raise fault.bad_output("the provider's stream holds an event that is no chunk")
        if is_error or chunk.get("error"):
            raise fault.from_error(chunk.get("error") or chunk, self._secrets)
        return chunk


def _answers(body: Mapping[str, Any]) -> int:
    """How many choices a request asks for: as many for each of its prompts."""
    prompt, each = body.get("prompt"), body.get("n")
    several = isinstance(prompt, list) and not all(type(one) is int for one in prompt)
    return (each if type(each) is int else 1) * (len(prompt) if several and prompt else 1)


def _choices(parsed: Mapping[str, Any]) -> list[Json]:
    choices = parsed.get("choices")
    held = isinstance(choices, list) and all(isinstance(one, dict) for one in choices)
    return choices if held and isinstance(choices, list) else []


def _text(choice: Mapping[str, Any]) -> str:
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def _model(parsed: Mapping[str, Any]) -> str | None:
    model = parsed.get("model")
    return model if isinstance(model, str) and model else None


COMPLETIONS = NativeWire("/completions", _says, _answer, _open)
