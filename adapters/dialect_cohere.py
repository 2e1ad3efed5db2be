"""Cohere's wire (v2) as an upstream: chat and embeddings are translated both ways.

Thinking and the plan before tool calls (`tool_plan`) are shown as `reasoning_content`: neither is
meant for the reader. Citations are left out: OpenAI's wire has none for documents.

Tokens are those that Cohere bills (`billed_units`): `tokens` also counts its own preamble, which
costs nothing. Log probabilities come for pieces of text; a piece of several tokens has their sum.

Over 300 lines because answer, stream and embeddings share counts and finish reasons.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import orjson

from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.request import Operation, Usage

from . import fault
from .cohere_request import LACKS, chat_body, dumped
from .kind import Carries, Kind
from .listing import Paged
from .parameters import refuse_foreign
from .relayed import Relay, relayed
from .sse import Event
from .upstream import Events, Upstream
from .usage import MOST_TOKENS
from .vectors import embeddings_answer, texts_of

Json = dict[str, Any]

_MODELS = Paged("models", "name", "page_size", "page_token", "next_page_token")
_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
_FAILED = {"ERROR": Fault.SERVER, "TIMEOUT": Fault.TIMEOUT}

# Texts in one request for embeddings, and how many requests at a time.
_BATCH = 96
_AT_ONCE = 4
# Members of a request for embeddings that are Cohere's own.
_OF_EMBED = ("truncate", "max_tokens", "priority")

_BLOCKED = 498  # what Cohere answers for a deny-listed text; elsewhere it means "overloaded"


class CohereDialect(Kind):
    """A `Provider` on Cohere's wire."""

    kind = "cohere"
    lists = "`GET /v1/models`, page by page"
    probes = "one model of it"
    lacks = LACKS
    carries = Carries(embeddings=True, images=True, image_urls=True, reasoning=True)

    async def answer(self, call: Call) -> Answer:
        """Generation without streaming, or embeddings. Raises: ProviderError."""
        try:
            if call.request.operation is Operation.EMBEDDINGS:
                return await self._embedded(call)
            raw = await self._upstream.fetch("/chat", chat_body(call), call)
        except ProviderError as error:
            raise _explained(error) from None
        return read_chat(raw, call, self._upstream.secrets)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""
        return relayed(partial(self._open, call))

    async def _open(self, call: Call) -> tuple[Events, Relay]:
        translation = Translation(call, self._upstream.secrets)
        try:
            return await self._upstream.open("/chat", chat_body(call), call), translation
        except ProviderError as error:
            raise _explained(error) from None

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that it lists. Raises: ProviderError."""
        return await _MODELS.every(self._lists(), patience_us)

    async def probe(self, patience_us: int) -> bool:
        """List one. Raises: ProviderError."""
        await _MODELS.one(self._lists(), patience_us)
        return True

    def _lists(self) -> Upstream:
        """Where models are listed: beside the second version, in the first."""
        upstream = self._upstream
        return upstream.at(f"{upstream.origin}{upstream.path.removesuffix('/v2')}/v1")

    async def _embedded(self, call: Call) -> Answer:
        """Embeddings, in as many requests as the number of texts makes."""
        texts = await texts_of(call)
        asked = _embed_members(call)
        batches = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(batch: list[str]) -> _Embedded:
            body = dumped({**asked, "texts": batch})
            async with gate:
                raw = await self._upstream.fetch("/embed", body, call)
            return _read_embedded(raw, len(batch), self._upstream.secrets)

        tasks: list[asyncio.Task[_Embedded]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(batch)) for batch in batches]
        except* ProviderError as failures:
            error = _first(failures)
            # What other batches used is billed all the same.
            done = [t.result() for t in tasks if not t.cancelled() and t.exception() is None]
            error.usage = _summed(done) if done else None
            raise error from None
        parts = [task.result() for task in tasks]
        vectors = [vector for part in parts for vector in part.vectors]
        return embeddings_answer(vectors, call, _summed(parts), None)


def _first(failures: BaseExceptionGroup[ProviderError]) -> ProviderError:
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ProviderError)
    return error


def _explained(error: ProviderError) -> ProviderError:
    """The fault that a status stands for with Cohere, where it is not the usual one."""
    if error.status != _BLOCKED:
        return error
    message = "the provider blocked the request for what it says"
    return ProviderError(Fault.CONTENT_FILTER, message, status=error.status)


# --- answers -------------------------------------------------------------------------------------


def read_chat(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's chat answer of the provider's. Raises: ProviderError."""
    parsed = _object(raw)
    message = parsed.get("message")
    if not isinstance(message, dict):
        # An error has a message too: a text.
        if isinstance(message, str):
            raise fault.from_error(parsed, secrets)
        raise fault.no_answer(raw, "a chat answer", secrets)
    reason = parsed.get("finish_reason")
    if isinstance(reason, str) and reason in _FAILED:
        raise _failed(reason)
    texts: list[str] = []
    thoughts = [_string(message, "tool_plan")]
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
    for part in content if isinstance(content, list) else ():
        texts.append(_string(part, "text"))
        thoughts.append(_string(part, "thinking"))
    tools = [_tool(tool) for tool in _listed(message.get("tool_calls"))]
    text, thought = "".join(texts), "".join(thoughts)
    shown: Json = {
        "role": "assistant",
        "content": text if text or not tools else None,
        "refusal": None,
    }
    if thought:
        shown["reasoning_content"] = thought
    if tools:
        shown["tool_calls"] = tools
    finish = _finish(reason, bool(tools))
    usage = _usage(parsed.get("usage"))
    answer: Json = {
        "id": _chat_id(parsed.get("id"), call),
        "object": "chat.completion",
        "created": call.request.received_us // 1_000_000,
        "model": call.shown_model,
        "choices": [
            {
                "index": 0,
                "message": shown,
                "logprobs": _logprobs(_listed(parsed.get("logprobs"))),
                "finish_reason": finish,
            }
        ],
    }
    if usage is not None:
        answer["usage"] = _shown_usage(usage)
    called = [tool["function"]["name"] + tool["function"]["arguments"] for tool in tools]
    return Answer(orjson.dumps(answer), usage, "".join([thought, text, *called]), finish, None)


def _object(raw: bytes) -> Json:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _tool(tool: object) -> Json:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(function, dict):
        raise fault.bad_output("the provider's answer holds a tool call that is none")
    return {
        "id": _string(tool, "id"),
        "type": "function",
        "function": {
            "name": _string(function, "name"),
            "arguments": _string(function, "arguments") or "{}",
        },
    }


def _finish(reason: object, tools: bool) -> str:
    """The client's finish reason; tools were called whatever Cohere calls the end then."""
    finish = _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"
    return "tool_calls" if tools and finish == "stop" else finish


def _failed(reason: str) -> ProviderError:
    told = "took too long" if reason == "TIMEOUT" else "failed"
    return ProviderError(_FAILED[reason], f"the provider {told} while it was answering")


def _chat_id(given: object, call: Call) -> str:
    return "chatcmpl-" + (given if isinstance(given, str) and given else call.request.id)


def _string(holder: object, name: str) -> str:
    text = holder.get(name) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _logprobs(items: list[Any]) -> Json | None:
    content: list[Json] = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            continue
        values = [value for value in _listed(item.get("logprobs")) if _is_number(value)]
        text = item["text"]
        content.append(
            {
                "token": text,
                "logprob": float(sum(values)),
                "bytes": list(text.encode()),
                "top_logprobs": [],
            }
        )
    return {"content": content, "refusal": None} if content else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(holder: object, name: str) -> int | None:
    """A count, which the wire may write with a fraction of zero."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not _is_number(value) or not 0 <= value < MOST_TOKENS:
        return None
    return int(value)


def _usage(usage: object) -> Usage | None:
    """What was used, as it is billed; None where the answer does not say."""
    if not isinstance(usage, dict):
        return None
    for counts in (usage.get("billed_units"), usage.get("tokens")):
        given, made = _count(counts, "input_tokens"), _count(counts, "output_tokens")
        if given is not None and made is not None:
            # Counted with the preamble, so it can be more than what is billed.
            cached = min(_count(usage, "cached_tokens") or 0, given)
            return Usage(given, made, cached)
    return None


def _shown_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


# --- streams -------------------------------------------------------------------------------------


class Translation:
    """One stream from Cohere's events to the client's chunks; no I/O.

    `ended`: the finish reason came, and the usage with it.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.ended = False
        self.usage: Usage | None = None
        options = call.request.body.get("stream_options")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._call = call
        self._secrets = secrets
        self._head: Json | None = None
        self._content = False
        # By Cohere's index: our number of the tool call, and whether arguments came.
        self._tools: dict[int, tuple[int, bool]] = {}
        self._count = 0

    @property
    def complete(self) -> bool:
        """Nothing follows the end."""
        return self.ended

    def take(self, event: Event) -> Chunk | None:
        """The client's chunk for one event, if it gives one. Raises: ProviderError."""
        if self.ended:
            return None
        parsed = fault.object_of(event.data)
        kind = parsed.get("type")
        delta = parsed.get("delta")
        message = delta.get("message") if isinstance(delta, dict) else None
        if kind in ("content-delta", "content-start"):
            return self._piece(message, parsed.get("logprobs"))
        if kind == "tool-plan-delta":
            plan = _string(message, "tool_plan")
            return self._chunk({"reasoning_content": plan}, plan) if plan else None
        if kind == "tool-call-start":
            return self._tool_start(_index(parsed), _one(message, "tool_calls"))
        if kind == "tool-call-delta":
            return self._tool_delta(_index(parsed), _one(message, "tool_calls"))
        if kind == "tool-call-end":
            return self._tool_end(_index(parsed))
        if kind == "message-start":
            return self._start(parsed.get("id"))
        if kind == "message-end":
            return self._end(delta if isinstance(delta, dict) else {})
        if event.name == b"error" or kind == "error" or (kind is None and "message" in parsed):
            raise fault.from_error(parsed.get("error") or parsed, self._secrets)
        return None

    def finish(self) -> Chunk | None:
        """The usage chunk, if the client wants one. Raises: ProviderError if the end is early."""
        if not self.ended:
            raise fault.bad_output("the provider's stream ended early")
        if not self._asked or self.usage is None:
            return None
        chunk = {**(self._head or {}), "choices": [], "usage": _shown_usage(self.usage)}
        return Chunk(_event(chunk), self._content, usage=self.usage)

    def _start(self, given: object) -> Chunk | None:
        if self._head is not None:
            return None
        self._head = {
            "id": _chat_id(given, self._call),
            "object": "chat.completion.chunk",
            "created": self._call.request.received_us // 1_000_000,
            "model": self._call.shown_model,
        }
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _piece(self, message: object, logprobs: object) -> Chunk | None:
        content = message.get("content") if isinstance(message, dict) else None
        if thought := _string(content, "thinking"):
            return self._chunk({"reasoning_content": thought}, thought)
        text = _string(content, "text")
        items = logprobs if isinstance(logprobs, list) else [logprobs]
        told = _logprobs(items)
        if not text and told is None:
            return None
        return self._chunk({"content": text}, text, logprobs=told)

    def _tool_start(self, index: int | None, tool: Json) -> Chunk:
        shown = _tool(tool)
        arguments = _string(tool.get("function"), "arguments")
        number, self._count = self._count, self._count + 1
        self._tools[number if index is None else index] = (number, bool(arguments))
        shown["function"]["arguments"] = arguments
        text = shown["function"]["name"] + arguments
        return self._chunk({"tool_calls": [{"index": number, **shown}]}, text)

    def _tool_delta(self, index: int | None, tool: Json) -> Chunk | None:
        text = _string(tool.get("function"), "arguments")
        held = self._held(index)
        if not text or held is None:
            return None
        number = self._tools[held][0]
        self._tools[held] = (number, True)
        return self._arguments(number, text)

    def _tool_end(self, index: int | None) -> Chunk | None:
        held = self._held(index)
        if held is None or self._tools[held][1]:
            return None
        # Without arguments nothing came, and clients parse them as JSON.
        number = self._tools[held][0]
        self._tools[held] = (number, True)
        return self._arguments(number, "{}")

    def _held(self, index: int | None) -> int | None:
        """The call that an event is about; without a number it is the latest."""
        if index is None:
            return max(self._tools, key=lambda one: self._tools[one][0], default=None)
        return index if index in self._tools else None

    def _end(self, delta: Json) -> Chunk | None:
        self.usage = _usage(delta.get("usage")) or self.usage
        reason = delta.get("finish_reason")
        if isinstance(reason, str) and reason in _FAILED:
            raise _failed(reason)
        if _string(delta, "error"):
            raise fault.from_error(delta["error"], self._secrets)
        if not isinstance(reason, str) or not reason:
            return None
        self.ended = True
        chunk = self._chunk({}, finish=_finish(reason, bool(self._tools)))
        chunk.usage = self.usage
        return chunk

    def _arguments(self, number: int, text: str) -> Chunk:
        function = {"arguments": text}
        return self._chunk({"tool_calls": [{"index": number, "function": function}]}, text)

    def _chunk(
        self,
        delta: Json,
        text: str = "",
        finish: str | None = None,
        logprobs: Json | None = None,
    ) -> Chunk:
        if self._head is None:
            raise fault.bad_output("the provider's stream does not start with a message")
        self._content = self._content or bool(text) or finish is not None
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk: Json = {**self._head, "choices": [choice]}
        if self._asked:
            chunk["usage"] = None
        return Chunk(_event(chunk), self._content, text, None, finish, None)


def _index(parsed: Mapping[str, Any]) -> int | None:
    index = parsed.get("index")
    return index if type(index) is int else None


def _one(message: object, name: str) -> Json:
    """A member that is documented as one object, and written as a list of one here and there."""
    value = message.get(name) if isinstance(message, dict) else None
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


# --- embeddings ----------------------------------------------------------------------------------


class _Embedded(NamedTuple):
    """The vectors of one request, floats or base64, and the tokens it was billed for."""

    vectors: list[list[float] | str]
    tokens: int | None


def _embed_members(call: Call) -> Json:
    """A request for embeddings as Cohere's, without the texts. Adds to `call.dropped`."""
    refuse_foreign(call)
    body = {name: value for name, value in call.body.items() if value is not None}
    known = {"model", "input", "encoding_format", "dimensions", "input_type", *_OF_EMBED}
    call.dropped.extend(name for name in body if name not in known)
    as_text = body.get("encoding_format") == "base64"
    asked: Json = {
        "model": call.upstream_model,
        # Cohere demands to know what the vectors are for.
        "input_type": body.get("input_type", "search_document"),
        "embedding_types": ["base64" if as_text else "float"],
        **{name: body[name] for name in _OF_EMBED if name in body},
    }
    if "dimensions" in body:
        asked["output_dimension"] = body["dimensions"]
    return asked


def _read_embedded(raw: bytes, expected: int, secrets: tuple[str, ...]) -> _Embedded:
    parsed = _object(raw)
    given = parsed.get("embeddings")
    vectors: object = None
    if isinstance(given, dict):
        vectors = given.get("base64") or given.get("float")
    if not isinstance(vectors, list) or not all(isinstance(v, list | str) for v in vectors):
        if isinstance(parsed.get("message"), str):
            raise fault.from_error(parsed, secrets)
        raise fault.no_answer(raw, "embeddings", secrets)
    if len(vectors) != expected:
        raise fault.bad_output("the provider's answer does not have one embedding per input")
    meta = parsed.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    return _Embedded(vectors, _count(billed, "input_tokens"))


def _summed(parts: list[_Embedded]) -> Usage | None:
    counts = [part.tokens for part in parts]
    if any(count is None for count in counts):
        return None
    return Usage(sum(count or 0 for count in counts), 0)
