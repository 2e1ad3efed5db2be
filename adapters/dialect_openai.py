"""The OpenAI wire as an upstream: bodies pass through, only `model` and usage are touched.

A request is spliced byte by byte; unknown members, big integers and number formats reach the
provider as the client wrote them. Of the quirks of its imitations those are mended that break
clients: usage beside choices, a repeated finish reason, changing ids, tool calls without index,
content as parts, `error: null`, a missing `content`.

Over 300 lines because a chat's request, answer and stream share what a delta is.
"""

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, ClassVar

import orjson

from turnout.engine.provider import Answer, Call, Chunk
from turnout.engine.request import Operation, Usage

from . import fault
from .kind import Carries, Kind
from .listing import Page, named
from .listing import listed as listed_models
from .openai_completions import COMPLETIONS
from .openai_mending import (
    Finish,
    Thoughts,
    Tools,
    called,
    finished,
    headed,
    identified,
    index_of,
    listed,
    measured,
    mended_message,
    numbered,
    own_id,
    refuse_broken,
    retiered,
    shows,
    text_of,
    unprinted,
)
from .openai_native import NativeWire
from .openai_request import Departures, Wants, chat_body, messages_for, wants_usage
from .openai_responses import RESPONSES
from .parameters import unsupported
from .relayed import Relay as Relaying
from .relayed import relayed
from .splice import splice
from .sse import Event
from .upstream import Events
from .usage import read_usage, shown_usage
from .vectors import embeddings_body, read_embeddings

Json = dict[str, Any]

_HEAD = frozenset(("id", "object", "created", "model", "choices", "error"))
_DONE = b"[DONE]"
_NATIVE = {Operation.RESPONSES: RESPONSES, Operation.COMPLETIONS: COMPLETIONS}


class OpenAIDialect(Kind):
    """A `Provider` on the OpenAI wire; kinds subclass it with an address and their departures."""

    kind = "openai"
    # What a server of this wire may carry; kinds that are known to carry less say so.
    carries = Carries(
        embeddings=True, images=True, image_urls=True, audio=True, documents=True, reasoning=True
    )
    wants: ClassVar[Wants] = Wants()

    async def answer(self, call: Call) -> Answer:
        """Chat without streaming, or embeddings. Raises: ProviderError."""
        secrets = self._upstream.secrets
        if call.request.operation is Operation.EMBEDDINGS:
            if not self.carries.embeddings:
                raise unsupported("model", "this provider makes no embeddings")
            departures = {**self.vector_departures(call), **await self.embedded(call)}
            body = embeddings_body(call, departures)
            raw = await self._upstream.fetch(self.path("/embeddings", call), body, call)
            return read_embeddings(raw, call, secrets)
        if (native := self.native(call)) is not None:
            return await native.answer(self._upstream, self.path(native.path, call), call)
        body = self.chat_body(call)
        raw = await self._upstream.fetch(self.path("/chat/completions", call), body, call)
        return read_chat(raw, call, secrets, self.finish)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""
        return relayed(partial(self._open, call))

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that it lists. Raises: ProviderError."""
        return await listed_models(self._upstream, "/models", self.page, patience_us)

    @staticmethod
    def page(parsed: Any) -> Page | None:
        """What a list of models holds; None where it is none."""
        names = named(parsed, "data", "id")
        return None if names is None else Page(names)

    async def _open(self, call: Call) -> tuple[Events, Relaying]:
        if (native := self.native(call)) is not None:
            return await native.open(self._upstream, self.path(native.path, call), call)
        body = self.chat_body(call)
        relay = Relay(call, self._upstream.secrets, self.finish)
        path = self.path("/chat/completions", call)
        return await self._upstream.open(path, body, call), relay

    def native(self, call: Call) -> NativeWire | None:
        """The protocol that this request passes through in, as it came; None: it goes as chat."""
        operation = call.request.operation
        if call.request.native is None or operation not in self.carries.native:
            return None
        wire = _NATIVE.get(operation)
        return wire if wire is not None and wire.says(call) else None

    def chat_body(self, call: Call) -> bytes:
        """The request as this provider wants it. Adds to `call.dropped`. Raises: ProviderError."""
        departures = dict(self.departures(call.body, call))
        written = call.body.get("messages")
        # Of what is misshapen the provider says best what is wrong with it.
        if isinstance(written, list) and all(isinstance(one, dict) for one in written):
            messages = self.messages(messages_for(call, written, self.wants, self.carries))
            if messages is not written:
                departures.setdefault("messages", orjson.dumps(messages))
        lacks = self.lacking(call.upstream_model)
        return chat_body(call, departures, lacks, self.wants)

    def lacking(self, model: str) -> frozenset[str]:
        """The parameters that this provider cannot honour for a model: `lacks`, or more."""
        return self.lacks

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """Members that this provider wants otherwise than the client wrote them.

        May add to `call.dropped`. Raises: ProviderError UNSUPPORTED for what it cannot honour.
        """
        return {}

    def vector_departures(self, call: Call) -> Departures:
        """The same for a request for embeddings."""
        return {}

    async def embedded(self, call: Call) -> Departures:
        """What is embedded, as this provider takes it: `input_as_texts` where it knows no ids."""
        return {}

    def messages(self, messages: list[Json]) -> list[Json]:
        """The messages as only this provider wants them; the same list where that is no matter."""
        return messages

    def path(self, path: str, call: Call) -> str:
        """Where something is served, below the provider's address."""
        return path

    @staticmethod
    def finish(reason: str, tools: bool) -> str:
        """The finish reason to show for the provider's; `tools`: whether tools were called."""
        return reason


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
    if parsed.get("object") != "chat.completion":
        parsed["object"] = "chat.completion"
        mended = True
    mended |= headed(parsed, call)
    texts: list[str] = []
    is_ended = True
    for position, choice in enumerate(parsed["choices"]):
        message = choice["message"]
        mended |= numbered(choice, position)
        mended |= mended_message(message)
        mended |= identified(message, call)
        mended |= called(message)
        if message.get("role") is None:
            message["role"] = "assistant"
            mended = True
        if call.request.native is not None:
            # It is to be translated into a protocol that knows them.
            Thoughts().take(message)
            mended = True
        if "content" not in message:
            message["content"] = None
            mended = True
        mended |= measured(choice)
        reason = choice.get("finish_reason")
        refuse_broken(reason, choice, secrets)
        is_ended &= isinstance(reason, str)
        choice["finish_reason"] = finished(reason, bool(message.get("tool_calls")), finish)
        mended |= choice["finish_reason"] != reason
        texts.append(text_of(message))
    usage = read_usage(parsed.get("usage"))
    if "usage" in parsed and (told := shown_usage(parsed["usage"], usage)) != parsed["usage"]:
        parsed["usage"] = told
        mended = True
    if parsed.get("usage", usage) is None:
        mended |= parsed.pop("usage", parsed) is not parsed
    model = parsed.get("model")
    if mended:
        parsed["model"] = call.shown_model
        body = orjson.dumps(parsed)
    else:
        body = splice(raw, parsed, {"model": orjson.dumps(call.shown_model)})
    reason = parsed["choices"][0]["finish_reason"]
    return Answer(
        body,
        usage,
        "".join(texts),
        reason if is_ended else None,
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


# --- streams -------------------------------------------------------------------------------------


class Relay:
    """One stream from the provider's events to the client's; no I/O.

    `ended`: every choice has; `complete`: the provider said that it ended. `usage`: the latest
    that was reported.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...], finish: Finish) -> None:
        """Start before the first event."""
        self.usage: Usage | None = None
        self.complete = False
        expected = call.request.body.get("n")
        self._expected = expected if type(expected) is int else 1
        self._asked = wants_usage(call.request.body)
        self._shown_model = call.shown_model
        self._upstream_model: str | None = None
        self._secrets = secrets
        self._finish = finish
        self._id = ""
        self._call = call
        # What an event before the answer holds: Azure's, of its filters.
        self._preface: Json = {}
        self._created = 0
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._tools: dict[int, Tools] = {}
        self._thoughts: dict[int, Thoughts] = {}
        self._content = False
        # What the usage chunk at the end is made of.
        self._latest: Json = {}
        self._reported: Json | None = None

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
        if not choices and not reported and not self._begun:
            # Many clients look for a choice in every event.
            self._preface |= {name: chunk[name] for name in chunk.keys() - _HEAD}
            return None
        if self._preface:
            chunk |= self._preface
            self._preface = {}
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
        closed = self.complete and self._finished and self._finished >= self._begun
        if not (closed or self.ended):
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
            if self.ended or not event.data.strip():
                return None
            raise fault.bad_output("the provider's stream holds malformed JSON") from None
        if not isinstance(chunk, dict):
            raise fault.bad_output("the provider's stream holds an event that is no chunk")
        if is_error or chunk.get("error") or chunk.get("object") == "error":
            raise fault.from_error(chunk.get("error") or chunk, self._secrets)
        return chunk

    def _note_usage(self, usage: object) -> bool:
        read = read_usage(usage)
        if read is None:
            return False
        self.usage = read
        self._reported = shown_usage(usage, read)
        return True

    def _is_over(self, choice: object) -> bool:
        """Whether nothing in a choice is new: OpenRouter repeats the finish beside the usage."""
        return (
            isinstance(choice, dict)
            and index_of(choice) in self._finished
            and not shows(choice.get("delta"))
        )

    def _set_head(self, chunk: Json) -> None:
        """Same id and time in every chunk, and the model as the client knows it.

        An `error` that is null goes: some SDKs look only whether it is there.
        """
        if not self._id and isinstance(chunk.get("id"), str):
            self._id = chunk["id"]
        if not self._id and chunk.get("choices"):
            self._id = own_id(self._call)
        chunk["id"] = self._id
        created = chunk.get("created")
        if not self._created:
            of_ours = self._call.request.received_us // 1_000_000
            self._created = created if type(created) is int and created > 0 else of_ours
        chunk["created"] = self._created
        model = chunk.get("model")
        if self._upstream_model is None and isinstance(model, str) and model:
            self._upstream_model = model
        chunk["model"] = self._shown_model
        chunk["object"] = "chat.completion.chunk"
        chunk.pop("error", None)
        retiered(chunk)
        unprinted(chunk)
        self._latest = chunk

    def _read(self, choices: list[Any]) -> tuple[str, str | None]:
        """Note what these choices bring, put them right; their text and first finish reason."""
        text = ""
        first_finish: str | None = None
        for choice in choices:
            if not isinstance(choice, dict):
                raise fault.bad_output("the provider's stream holds a choice that is no object")
            index = index_of(choice)
            choice["index"] = index
            delta = choice.get("delta")
            if delta is None:
                delta = choice["delta"] = {}
            elif not isinstance(delta, dict):
                raise fault.bad_output("the provider's stream holds a delta that is no object")
            if index in self._begun:
                # One role per choice: clients that add deltas up get `assistantassistant`.
                delta.pop("role", None)
            self._begun.add(index)
            mended_message(delta)
            if self._call.request.native is not None:
                self._thoughts.setdefault(index, Thoughts()).take(delta)
            # Together says everything twice.
            choice.pop("text", None)
            if tools := listed(delta.get("tool_calls")):
                self._tools.setdefault(index, Tools(self._call)).number(tools)
            reason = choice.get("finish_reason")
            refuse_broken(reason, choice, self._secrets)
            if not reason:
                choice["finish_reason"] = None
            measured(choice)
            if reason:
                self._finished.add(index)
                self._content = True
                reason = finished(reason, index in self._tools, self._finish)
                choice["finish_reason"] = reason
                first_finish = first_finish or reason
            elif not self._content:
                self._content = shows(delta)
            text += text_of(delta)
        return text, first_finish


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
