"""The OpenAI wire as an upstream: bodies pass through, only `model` and usage are touched.

A request is spliced byte by byte; unknown members, big integers and number formats reach the
provider as the client wrote them. Of the quirks of its imitations those are mended that break
clients: usage beside choices, a repeated finish reason, changing ids, tool calls without index,
content as parts, `error: null`, a missing `content`.

Over 300 lines because a chat's request, answer and stream share what a delta is.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Chunk, ProviderError
from turnout.engine.request import Operation, Usage

from . import fault
from .kind import Kind
from .splice import splice
from .sse import Event
from .upstream import END_WAIT_S, USAGE_WAIT_S
from .usage import read_usage
from .vectors import embeddings_body, read_embeddings

Json = dict[str, Any]
Finish = Callable[[str, bool], str]
"""Of the provider's finish reason, and whether tools were called: the one a client expects."""

# What a client shows or acts on, in a delta or a message.
_SHOWN = (
    "content",
    "tool_calls",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "refusal",
    "function_call",
    "audio",
    "images",
)
_DONE = b"[DONE]"


class OpenAIDialect(Kind):
    """A `Provider` on the OpenAI wire; kinds subclass it with an address and their departures."""

    kind = "openai"

    async def answer(self, call: Call) -> Answer:
        """Chat without streaming, or embeddings. Raises: ProviderError."""
        secrets = self._upstream.secrets
        if call.request.operation is Operation.EMBEDDINGS:
            raw = await self._upstream.fetch("/embeddings", embeddings_body(call), call)
            return read_embeddings(raw, call, secrets)
        body = chat_body(call, self.departures(call.body, call))
        raw = await self._upstream.fetch("/chat/completions", body, call)
        return read_chat(raw, call, secrets, self.finish)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Chat as chunks. Raises: ProviderError, at any point."""
        body = chat_body(call, self.departures(call.body, call))
        relay = Relay(call, self._upstream.secrets, self.finish)
        events = await self._upstream.open("/chat/completions", body, call)
        try:
            while batch := await events.next():
                for event in batch:
                    if (chunk := relay.take(event)) is not None:
                        yield chunk
                if relay.done:
                    events.patience_s = END_WAIT_S
                elif relay.complete:
                    events.patience_s = USAGE_WAIT_S
            if (chunk := relay.finish()) is not None:
                yield chunk
        except ProviderError as error:
            error.usage = relay.usage
            raise
        finally:
            await events.aclose()

    def departures(self, body: Mapping[str, Any], call: Call) -> Mapping[str, bytes]:
        """Members (as JSON) that this provider wants otherwise than the client wrote them."""
        return {}

    @staticmethod
    def finish(reason: str, tools: bool) -> str:
        """The finish reason to show for the provider's; `tools`: whether tools were called."""
        return reason


# --- requests ------------------------------------------------------------------------------------


def chat_body(call: Call, departures: Mapping[str, bytes]) -> bytes:
    """The request's own bytes with the upstream's model and what the policy sets.

    A stream also asks for usage. Adds to `call.dropped`.
    """
    request = call.request
    members = {"model": orjson.dumps(call.upstream_model), **overrides(call), **departures}
    for name in sorted(call.refused):
        if call.body.get(name) not in (None, 1):
            members[name] = b"null"
            call.dropped.append(name)
    options = request.body.get("stream_options")
    if request.stream:
        if not _wants_usage(request.body):
            written = options if isinstance(options, dict) else {}
            members["stream_options"] = orjson.dumps({**written, "include_usage": True})
    elif options is not None:
        # Clients send it without streaming, and OpenAI refuses that.
        members["stream_options"] = b"null"
    return splice(request.raw, request.body, members)


def overrides(call: Call) -> dict[str, bytes]:
    """Members (as JSON) that the policy writes over the client's; null where one gives way."""
    if not call.sets:
        return {}
    return {
        name: orjson.dumps(value)
        for name, value in call.body.items()
        if name in call.sets or value is not call.request.body[name]
    }


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


# --- answers -------------------------------------------------------------------------------------


def read_chat(raw: bytes, call: Call, secrets: tuple[str, ...], finish: Finish) -> Answer:
    """Make the client's chat answer of the provider's. Raises: ProviderError."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    if not _is_chat(parsed):
        raise fault.no_answer(raw, "a chat completion", secrets)
    mended = parsed.pop("error", parsed) is not parsed
    texts: list[str] = []
    for choice in parsed["choices"]:
        message = choice["message"]
        mended |= _joined(message)
        if "content" not in message:
            message["content"] = None
            mended = True
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and message.get("tool_calls"):
            choice["finish_reason"] = finish(reason, True)
            mended |= choice["finish_reason"] != reason
        texts.append(_text(message))
    model = parsed.get("model")
    if mended:
        parsed["model"] = call.shown_model
        body = orjson.dumps(parsed)
    else:
        body = splice(raw, parsed, {"model": orjson.dumps(call.shown_model)})
    reason = parsed["choices"][0].get("finish_reason")
    return Answer(
        body,
        read_usage(parsed.get("usage")),
        "".join(texts),
        reason if isinstance(reason, str) else None,
        model if isinstance(model, str) else None,
    )


def _is_chat(parsed: object) -> bool:
    if not isinstance(parsed, dict) or parsed.get("error"):
        return False
    choices = parsed.get("choices")
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices)
    )


def _joined(message: Json) -> bool:
    """Put content that came as parts (thinking among them) into strings; true if it did."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return False
    message["content"] = "".join(_part_text(part) for part in parts)
    thoughts = "".join(
        _part_text(inner)
        for part in parts
        if isinstance(part, dict) and part.get("type") == "thinking"
        for inner in _listed(part.get("thinking"))
    )
    if thoughts:
        message["reasoning_content"] = thoughts
    return True


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def _text(message: Mapping[str, Any]) -> str:
    """Everything written in a message or delta: words, thoughts, a refusal, tool arguments."""
    content = message.get("content")
    if len(message) <= 2 and isinstance(content, str):
        return content
    texts = [
        message.get("reasoning_content") or message.get("reasoning"),
        content,
        message.get("refusal"),
    ]
    for tool in _listed(message.get("tool_calls")):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments")]
    return "".join(text for text in texts if isinstance(text, str))


# --- streams -------------------------------------------------------------------------------------


class Relay:
    """One stream from the provider's events to the client's; no I/O.

    `done`: the provider said that it ended. `usage`: the latest that was reported.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...], finish: Finish) -> None:
        """Start before the first event."""
        self.usage: Usage | None = None
        self.done = False
        expected = call.request.body.get("n")
        self._expected = expected if type(expected) is int else 1
        self._asked = _wants_usage(call.request.body)
        self._shown_model = call.shown_model
        self._upstream_model: str | None = None
        self._secrets = secrets
        self._finish = finish
        self._id = ""
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._tools: dict[int, _Tools] = {}
        self._content = False
        # What the usage chunk at the end is made of.
        self._latest: Json = {}
        self._reported: Json | None = None

    @property
    def complete(self) -> bool:
        """Whether every choice that began has ended, and as many as were asked for."""
        return len(self._finished) >= self._expected and self._finished >= self._begun

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        if event.data == _DONE:
            self.done = True
            return None
        chunk = self._parsed(event)
        if chunk is None:
            return None
        reported = False
        groq = chunk.get("x_groq")
        if isinstance(groq, dict):
            if groq.get("error"):
                raise fault.from_error(groq["error"], self._secrets)
            reported = self._note_usage(groq.get("usage"))
        reported |= self._note_usage(chunk.pop("usage", None))
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            # Neither choices nor an error: a provider's own event. Clients do not know it.
            choices = []
            if not reported:
                return None
        self._set_head(chunk)
        if reported and all(self._is_over(choice) for choice in choices):
            # Kept for the end, so that it comes once and last.
            return Chunk(b"", self._content, usage=self.usage)
        text, finish = self._read(choices)
        if self._asked:
            chunk["usage"] = None
        return Chunk(
            _event(chunk),
            self._content,
            text,
            self.usage if reported else None,
            finish,
            self._upstream_model,
        )

    def finish(self) -> Chunk | None:
        """The usage chunk, if the client wants one. Raises: ProviderError if the end is early."""
        ended = self.done and self._finished and self._finished >= self._begun
        if not (ended or self.complete):
            raise fault.bad_output("the provider's stream ended early")
        if not self._asked or self._reported is None:
            return None
        data = _event({**self._latest, "choices": [], "usage": self._reported})
        return Chunk(data, self._content, usage=self.usage)

    def _parsed(self, event: Event) -> Json | None:
        """The event's object; None for nothing. Raises: ProviderError for errors and garbage."""
        is_error = event.name == b"error"
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if is_error:
                raise fault.from_error({}) from None
            if self.complete or not event.data.strip():
                return None
            raise fault.bad_output("the provider's stream holds malformed JSON") from None
        if not isinstance(chunk, dict):
            raise fault.bad_output("the provider's stream holds an event that is no chunk")
        if is_error or chunk.get("error"):
            raise fault.from_error(chunk.get("error") or chunk, self._secrets)
        return chunk

    def _note_usage(self, usage: object) -> bool:
        read = read_usage(usage)
        if read is None:
            return False
        assert isinstance(usage, dict)
        self.usage = read
        self._reported = usage
        return True

    def _is_over(self, choice: object) -> bool:
        """Whether nothing in a choice is new: OpenRouter repeats the finish beside the usage."""
        return (
            isinstance(choice, dict)
            and _index(choice) in self._finished
            and not _shows(choice.get("delta"))
        )

    def _set_head(self, chunk: Json) -> None:
        """Same id in every chunk, whatever the provider does, and the model as the client knows it.

        An `error` that is null goes: some SDKs look only whether it is there.
        """
        self._id = self._id or chunk.get("id") or ""
        chunk["id"] = self._id
        model = chunk.get("model")
        if self._upstream_model is None and isinstance(model, str) and model:
            self._upstream_model = model
        chunk["model"] = self._shown_model
        chunk["object"] = "chat.completion.chunk"
        chunk.pop("error", None)
        self._latest = chunk

    def _read(self, choices: list[Any]) -> tuple[str, str | None]:
        """Note what these choices bring, put them right; their text and first finish reason."""
        text = ""
        first_finish: str | None = None
        for choice in choices:
            if not isinstance(choice, dict):
                raise fault.bad_output("the provider's stream holds a choice that is no object")
            index = _index(choice)
            delta = choice.get("delta")
            if delta is None:
                delta = choice["delta"] = {}
            elif not isinstance(delta, dict):
                raise fault.bad_output("the provider's stream holds a delta that is no object")
            if index in self._begun:
                # One role per choice: clients that add deltas up get `assistantassistant`.
                delta.pop("role", None)
            self._begun.add(index)
            _joined(delta)
            if tools := _listed(delta.get("tool_calls")):
                self._tools.setdefault(index, _Tools()).number(tools)
            if reason := choice.get("finish_reason"):
                self._finished.add(index)
                self._content = True
                if isinstance(reason, str):
                    reason = self._finish(reason, index in self._tools)
                    choice["finish_reason"] = reason
                    first_finish = first_finish or reason
            elif not self._content:
                self._content = _shows(delta)
            text += _text(delta)
        return text, first_finish


def _shows(delta: object) -> bool:
    return isinstance(delta, dict) and any(delta.get(name) for name in _SHOWN)


def _index(choice: Json) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


class _Tools:
    """Numbers the tool calls of one choice 0, 1, 2 …, however the provider numbers them.

    A new id is a new call: Ollama gives every call index 0, others none.
    """

    def __init__(self) -> None:
        self._count = 0
        # Their index to the id and our index of the call that is being written there.
        self._at: dict[int | None, tuple[object, int]] = {}

    def number(self, tools: list[Any]) -> None:
        """Set `index`, and `type` where a call begins. Raises: ProviderError."""
        for tool in tools:
            if not isinstance(tool, dict):
                raise fault.bad_output("the provider's stream holds a tool call that is no object")
            theirs, call_id = tool.get("index"), tool.get("id")
            theirs = theirs if type(theirs) is int else None
            held = self._at.get(theirs)
            if held is None or (call_id and call_id != held[0]):
                held = (call_id, self._count)
                self._at[theirs] = held
                self._count += 1
                tool.setdefault("type", "function")
            tool["index"] = held[1]


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
