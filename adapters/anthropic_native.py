"""A request in Anthropic's own protocol, passed through: only what the gateway must know is read.

The body leaves as its client wrote it, but for the model, what the policy sets and a limit above
the model's own; the answer comes back as it came, but for the model. Events of a stream likewise.

One thing more is taken out: thinking without a signature. Anthropic refuses it, and it can only be
another provider's, shown by this gateway in an earlier turn of the conversation. Where tools were
called in that turn, and their results come now, a budget for thinking goes out too: Anthropic
refuses one whose turn did not begin with thinking.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk
from turnout.engine.request import OUTPUT_LIMITS, Native, Usage

from . import fault
from .anthropic_answer import Counts, finish_of, text_of
from .anthropic_models import model
from .anthropic_request import limited
from .anthropic_thinking import comes_with_thinking, thinking
from .splice import splice, value_span
from .sse import Event

Json = dict[str, Any]

# What gives way to thinking.
_SAMPLING = ("temperature", "top_p", "top_k")
_FEATURES = ("anthropic-beta", "anthropic-version")


def native_body(call: Call, native: Native) -> bytes:
    """The client's bytes with the upstream's model, what the policy sets and the model's limit.

    Adds to `call.dropped`.
    """
    members: dict[str, bytes | None] = {"model": orjson.dumps(call.upstream_model)}
    asked = native.body.get("max_tokens")
    written = call.sets.get("max_tokens", asked)
    if (limit := limited(written, call.max_output)) != asked and "max_tokens" in native.body:
        members["max_tokens"] = orjson.dumps(limit)
    for name, value in call.sets.items():
        if name in OUTPUT_LIMITS or name == "reasoning_effort":
            continue
        if not _set(name, value, native, call, members):
            call.dropped.append(name)
    if "reasoning_effort" in call.sets:
        # Last, because other members give way to thinking.
        _think(call.sets["reasoning_effort"], limit, native, call, members)
    for name in sorted(call.refused & native.body.keys()):
        gone = members.get(name, b"") is None
        if name not in call.sets and not gone and native.body[name] not in (None, 1):
            members[name] = None
            call.dropped.append(name)
    if _is_without_its_thinking(native.body, members.get("thinking")):
        # What the policy set is gone with it, and nothing of it was named yet.
        members["thinking"] = None
        call.dropped.append("thinking")
    return _spliced(native, members)


def _is_without_its_thinking(body: Json, written: bytes | None) -> bool:
    """Whether a budget is asked for in the middle of calls that were made without thinking."""
    thinking = orjson.loads(written) if written is not None else body.get("thinking")
    if _object(thinking).get("type") != "enabled":
        return False
    turns = _signed(body.get("messages")) or body.get("messages")
    return not comes_with_thinking(turns if isinstance(turns, list) else [])


def _set(
    name: str, value: Any, native: Native, call: Call, members: dict[str, bytes | None]
) -> bool:
    """Write what the policy sets over the client's; whether Anthropic has anything for it."""
    body, manner = native.body, model(call.upstream_model)
    if name in _SAMPLING:
        if value != 1 and (name in call.refused or not manner.sampling):
            return False
        written: tuple[str, Any] = (name, min(value, 1) if name == "temperature" else value)
    elif name == "stop":
        written = ("stop_sequences", [value])
    elif name == "user":
        written = ("metadata", {**_object(body.get("metadata")), "user_id": value})
    elif name == "parallel_tool_calls" and body.get("tools"):
        choice = {"type": "auto", **_object(body.get("tool_choice"))}
        written = ("tool_choice", {**choice, "disable_parallel_tool_use": value is False})
    else:
        return False
    members[written[0]] = orjson.dumps(written[1])
    return True


def _think(
    value: Any, limit: int, native: Native, call: Call, members: dict[str, bytes | None]
) -> None:
    """Write how much the policy lets it think over the client's; other members may give way.

    Adds to `call.dropped`.
    """
    body = native.body
    asked: Json = {"max_tokens": limit, "messages": _signed(body["messages"]) or body["messages"]}
    for name in ("output_config", "tool_choice", *_SAMPLING):
        written = members[name] if name in members else body.get(name)
        if isinstance(written, bytes):
            written = orjson.loads(written)
        if written is not None:
            asked[name] = dict(written) if isinstance(written, dict) else written
    if "type" not in _object(asked.get("tool_choice")):
        asked.pop("tool_choice", None)
    before = dict(asked)
    thinking({"reasoning_effort": value}, asked, model(call.upstream_model), call.dropped)
    if (wanted := asked.get("thinking")) is not None:
        given = _object(body.get("thinking"))
        kept = given if given.get("type") == wanted["type"] else {}
        members["thinking"] = orjson.dumps({**kept, **wanted})
    if (config := asked.get("output_config")) is not None:
        members["output_config"] = orjson.dumps(config)
    for name in before.keys() - asked.keys():
        members[name] = None


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def counted_body(call: Call, native: Native) -> bytes:
    """The client's bytes with the upstream's model: nothing else bears on a count."""
    members: dict[str, bytes | None] = {"model": orjson.dumps(call.upstream_model)}
    if _is_without_its_thinking(native.body, None):
        members["thinking"] = None
    return _spliced(native, members)


def _spliced(native: Native, members: dict[str, bytes | None]) -> bytes:
    if (messages := _signed(native.body.get("messages"))) is not None:
        members["messages"] = orjson.dumps(messages)
    return splice(native.raw, native.body, members)


def features(headers: Mapping[str, str], configured: str | None) -> dict[str, str]:
    """The client's headers that switch Anthropic's features, beside those that are configured."""
    found = {
        name: headers[name]
        for name in _FEATURES
        if name in headers and headers[name].isascii() and headers[name].isprintable()
    }
    if configured and "anthropic-beta" in found:
        found["anthropic-beta"] = f"{configured},{found['anthropic-beta']}"
    return found


def _signed(messages: object) -> list[Any] | None:
    """The messages without thinking that nobody signed; None where there is none."""
    turns = messages if isinstance(messages, list) else []
    if not any(_is_unsigned(block) for turn in turns for block in _blocks(turn)):
        return None
    kept = []
    for turn in turns:
        blocks = _blocks(turn)
        signed = [block for block in blocks if not _is_unsigned(block)]
        if len(signed) == len(blocks):
            kept.append(turn)
        elif signed:
            kept.append({**turn, "content": signed})
    return kept


def _blocks(turn: object) -> list[Any]:
    content = turn.get("content") if isinstance(turn, dict) else None
    return content if isinstance(content, list) else []


def _is_unsigned(block: object) -> bool:
    return (
        isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")
    )


# --- answers -------------------------------------------------------------------------------------


def read_native(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """The provider's message as the client's. Raises: ProviderError."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    content = parsed.get("content") if isinstance(parsed, dict) else None
    if not isinstance(parsed, dict) or not isinstance(content, list):
        raise fault.no_answer(raw, "a message", secrets)
    if parsed.get("type") == "error":
        raise fault.from_error(parsed.get("error") or {}, secrets)
    counts = Counts()
    counts.note(parsed.get("usage"))
    named = parsed.get("model")
    return Answer(
        splice(raw, parsed, {"model": orjson.dumps(call.shown_model)}),
        counts.usage(),
        "".join(text_of(block) for block in content),
        finish_of(parsed.get("stop_reason")),
        named if isinstance(named, str) else None,
    )


class Relay:
    """One stream from the provider's events to the client's, which are the same; no I/O.

    `ended`: the stop reason came; `complete`: so did the closing mark. `usage` stays None until the
    provider's final word on the output.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.complete = False
        self.ended = False
        self.usage: Usage | None = None
        self._call = call
        self._secrets = secrets
        self._counts = Counts()
        self._upstream_model: str | None = None
        self._begun = False
        self._content = False

    def take(self, event: Event) -> Chunk | None:
        """The client's event for one of the provider's. Raises: ProviderError."""
        if self.complete:
            return None
        parsed = fault.object_of(event.data)
        kind = parsed.get("type")
        if kind == "error" or event.name == b"error" or parsed.get("error"):
            raise fault.from_error(parsed.get("error") or {}, self._secrets)
        if not isinstance(kind, str) or not kind:
            raise fault.bad_output("the provider's stream holds an event without a type")
        data, text, finish = event.data, "", None
        if kind == "message_start":
            data = self._start(data, parsed)
        elif not self._begun and kind != "ping":
            raise fault.bad_output("the provider's stream does not start with a message")
        elif kind == "content_block_start":
            text = text_of(parsed.get("content_block"))
        elif kind == "content_block_delta":
            text = text_of(parsed.get("delta"))
        elif kind == "message_delta":
            finish = self._end(parsed)
        elif kind == "message_stop":
            if not self.ended:
                raise fault.bad_output("the provider's stream ended early")
            self.complete = True
        self._content = self._content or bool(text) or finish is not None
        usage = self.usage if kind == "message_delta" else None
        name = event.name or kind.encode()
        return Chunk(
            b"event: %b\ndata: %b\n\n" % (name, data.replace(b"\n", b"\ndata: ")),
            self._content,
            text,
            usage,
            finish,
            self._upstream_model,
            kind == "ping",
        )

    def finish(self) -> Chunk | None:
        """The closing mark, if it never came. Raises: ProviderError if the end is early."""
        if not self.ended:
            raise fault.bad_output("the provider's stream ended early")
        if self.complete:
            return None
        self.complete = True
        return Chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n', self._content)

    def _start(self, data: bytes, parsed: Json) -> bytes:
        message = parsed.get("message")
        if not isinstance(message, dict) or (span := value_span(data, "message")) is None:
            raise fault.bad_output("the provider's stream does not start with a message")
        self._begun = True
        named = message.get("model")
        self._upstream_model = named if isinstance(named, str) else None
        self._counts.note(message.get("usage"))
        start, end = span
        shown = splice(data[start:end], message, {"model": orjson.dumps(self._call.shown_model)})
        return data[:start] + shown + data[end:]

    def _end(self, parsed: Json) -> str | None:
        self._counts.note(parsed.get("usage"))
        self.usage = self._counts.usage()
        delta = parsed.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if reason is None:
            return None
        self.ended = True
        return finish_of(reason)
