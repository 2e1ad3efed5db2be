"""OpenAI's Responses as an upstream: request, answer and events pass through as they came.

Only the model's name changes, in the response and in the events that hold one. What the ledger and
the commit point need is read on the way: usage, text, the finish, where content begins.

Decisions that are not obvious:

- `response.failed` and `error` are faults, wherever they come: before the content another hop can
  still answer, after it the gateway tells the client itself, without the provider's own words.
- Thoughts that another provider signed, which a client sends back in `encrypted_content`, are
  taken out: OpenAI would refuse what it has not encrypted.
- Any event that is not known to be mere framing counts as content: a tool that is new tomorrow
  must not be held back, nor run twice.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk, ProviderError
from turnout.engine.request import SEALED, Usage

from . import fault
from .openai_native import NativeWire, as_written, native_of, written_over
from .relayed import Relay
from .splice import splice, splice_inside
from .sse import Event
from .upstream import Events, Upstream
from .usage import is_count

Json = dict[str, Any]

# This protocol's names for what a policy sets; None: it has no such parameter.
_NAMES: Mapping[str, str | None] = {
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "seed": None,
    "presence_penalty": None,
    "frequency_penalty": None,
}
# What frames the content and is none.
_BEAT = "keepalive"
_FRAMING = frozenset(
    {
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
        _BEAT,
    }
)
# Items that are empty when they are added.
_EMPTY_ITEMS = frozenset({"message", "reasoning"})
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_DONE = b"[DONE]"


def responses_body(call: Call) -> bytes:
    """The client's own bytes with the upstream's model and what the policy sets.

    Adds to `call.dropped`.
    """
    native = native_of(call)
    members = written_over(call, _NAMES)
    if "reasoning_effort" in call.sets:
        effort = {"effort": call.sets["reasoning_effort"]}
        members["reasoning"] = orjson.dumps({**(native.body.get("reasoning") or {}), **effort})
    given = native.body.get("input")
    if isinstance(given, list) and any(_is_sealed(item) for item in given):
        members["input"] = orjson.dumps([item for item in given if not _is_sealed(item)])
    return splice(native.raw, native.body, members)


def _is_sealed(item: object) -> bool:
    encrypted = item.get("encrypted_content") if isinstance(item, dict) else None
    return isinstance(encrypted, str) and encrypted.startswith(SEALED)


def _says(call: Call) -> bool:
    """Whether this protocol can say what the policy sets: it knows no `stop`."""
    return "stop" not in call.sets


async def _answer(upstream: Upstream, path: str, call: Call) -> Answer:
    raw = await upstream.fetch(path, responses_body(call), call)
    return read_response(raw, call, upstream.secrets)


async def _open(upstream: Upstream, path: str, call: Call) -> tuple[Events, Relay]:
    relay = ResponseRelay(call, upstream.secrets)
    return await upstream.open(path, responses_body(call), call), relay


# --- answers -------------------------------------------------------------------------------------


def read_response(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's response of the provider's. Raises: ProviderError."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("output"), list):
        raise fault.no_answer(raw, "a response", secrets)
    if parsed.get("status") == "failed" or parsed.get("error"):
        raise _failure(parsed, secrets)
    body = splice(raw, parsed, {"model": orjson.dumps(call.shown_model)})
    texts = "".join(_item_text(item) for item in parsed["output"])
    usage, finish = read_responses_usage(parsed.get("usage")), _finish(parsed)
    return Answer(body, usage, texts, finish, _model(parsed))


def read_responses_usage(usage: object) -> Usage | None:
    """What a response's `usage` reports; None if it reports nothing that can be counted."""
    given, made = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if not isinstance(usage, dict) or given is None or made is None:
        return None
    before, after = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return Usage(
        given,
        made,
        _count(before, "cached_tokens") or 0,
        _count(before, "cache_write_tokens") or 0,
        _count(after, "reasoning_tokens") or 0,
    )


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if is_count(value) else None


def _failure(response: Mapping[str, Any], secrets: tuple[str, ...]) -> ProviderError:
    error = fault.from_error(response.get("error") or {}, secrets)
    error.usage = read_responses_usage(response.get("usage"))
    return error


def _finish(response: Mapping[str, Any]) -> str | None:
    """The finish reason that chat has for how a response ended; None: it has not ended."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _INCOMPLETE.get(reason, "length") if isinstance(reason, str) else "length"
    if response.get("status", "completed") != "completed":
        return None
    output = response.get("output")
    called = isinstance(output, list) and any(
        isinstance(item, dict) and item.get("type") in ("function_call", "custom_tool_call")
        for item in output
    )
    return "tool_calls" if called else "stop"


def _model(response: Mapping[str, Any]) -> str | None:
    model = response.get("model")
    return model if isinstance(model, str) and model else None


def _item_text(item: object) -> str:
    """Everything written in an item: words, thoughts, a refusal, what a tool is given."""
    if not isinstance(item, dict):
        return ""
    texts = [item.get(name) for name in ("name", "arguments", "input")]
    for parts in (item.get("summary"), item.get("content")):
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                texts += [part.get("text"), part.get("refusal")]
    return "".join(text for text in texts if isinstance(text, str))


# --- streams -------------------------------------------------------------------------------------


class ResponseRelay:
    """One stream of events; `complete` once the response came to an end."""

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.usage: Usage | None = None
        self.complete = False
        self._model = {"model": orjson.dumps(call.shown_model)}
        self._upstream_model: str | None = None
        self._secrets = secrets
        self._content = False

    @property
    def ended(self) -> bool:
        """Its usage comes with its end."""
        return self.complete

    def take(self, event: Event) -> Chunk | None:
        """The client's event for the provider's; None for nothing. Raises: ProviderError."""
        if self.complete or event.data == _DONE:
            return None
        data = fault.object_of(event.data)
        kind = data.get("type") or event.name.decode("utf-8", "replace")
        if kind == "error" or data.get("error"):
            raise fault.from_error(data.get("error") or data, self._secrets)
        if not isinstance(kind, str) or not kind:
            raise fault.bad_output("the provider's stream holds an event without a type")
        response = data.get("response")
        raw = event.data
        if isinstance(response, dict):
            self._upstream_model = self._upstream_model or _model(response)
            self.usage = read_responses_usage(response.get("usage")) or self.usage
            if "model" in response:
                raw = splice_inside(raw, data, "response", self._model)
        if kind == "response.failed":
            raise _failure(_or_empty(response), self._secrets)
        finish = None
        if kind in ("response.completed", "response.incomplete"):
            self.complete = True
            finish = _finish({**_or_empty(response), "status": kind.partition(".")[2]})
        self._content = self._content or _is_content(kind, data)
        return Chunk(
            as_written(event, raw),
            self._content,
            _delta_text(kind, data),
            self.usage,
            finish,
            self._upstream_model,
            kind == _BEAT,
        )

    def finish(self) -> None:
        """Look whether it was the end. Raises: ProviderError if the end is early."""
        if not self.complete:
            raise fault.bad_output("the provider's stream ended early")


def _or_empty(response: object) -> Mapping[str, Any]:
    return response if isinstance(response, dict) else {}


def _is_content(kind: str, data: Mapping[str, Any]) -> bool:
    if kind in _FRAMING:
        return False
    if kind == "response.output_item.added":
        item = data.get("item")
        return isinstance(item, dict) and str(item.get("type")) not in _EMPTY_ITEMS
    return data.get("delta") != "" if kind.endswith(".delta") else True


def _delta_text(kind: str, data: Mapping[str, Any]) -> str:
    """The output in an event: each piece once, in the event that brings it."""
    if kind == "response.output_item.added":
        item = data.get("item")
        return _item_text(item) if isinstance(item, dict) else ""
    delta = data.get("delta") if kind.endswith(".delta") else None
    return delta if isinstance(delta, str) else ""


RESPONSES = NativeWire("/responses", _says, _answer, _open)
