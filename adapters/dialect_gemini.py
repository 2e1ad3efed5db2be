"""The Gemini wire as an upstream: chat requests and answers are translated both ways.

Decisions that are not obvious:

- A prompt that was blocked has no answer: it is the fault `CONTENT_FILTER`, whole and in a stream.
  An answer that was blocked ends with the finish reason `content_filter`.
- A finish reason that says that the model's own output is no answer (a call that cannot be parsed)
  is `BAD_OUTPUT`, so that the next hop is tried. One that nobody knows becomes `stop`.
- Tool calls get ids where Gemini gives none: made of the answer's id, so that they are the same
  however the stream is cut, and differ between answers. Google's names for signatures are its own
  of its OpenAI endpoint: `extra_content.google.thought_signature`.
- Gemini repeats its counts in each event; the client is told the last, once.
- Embeddings are normalised where `dimensions` was asked for: Gemini shortens vectors without, and
  OpenAI's always have the length 1.
"""

from collections.abc import AsyncGenerator, Collection, Iterator
from typing import Any, ClassVar

import orjson

from turnout.engine.provider import Answer, Call, Chunk, ProviderError
from turnout.engine.request import Operation, Usage

from . import fault, sse
from .gemini_answer import (
    answer_id_of,
    blocked_prompt,
    candidates_of,
    count_of,
    deltas_of,
    finish_of,
    logprobs_of,
    parsed_of,
    read_generation,
    shown_usage,
    text_of,
    usage_of,
)
from .gemini_embeddings import BATCH, batch, drop_others, normal, read_vectors
from .gemini_request import LACKS, address, generation, resource, written
from .kind import Carries, Kind
from .listing import Paged
from .sse import Event
from .upstream import END_WAIT_S, USAGE_WAIT_S
from .vectors import embeddings_answer, texts_of

Json = dict[str, Any]

_MODELS = Paged("models", "name", "pageSize", "pageToken", "nextPageToken")


class GeminiDialect(Kind):
    """A `Provider` on the Gemini wire."""

    kind = "gemini"
    lists = "`GET /models`, page by page"
    probes = "one model of it"
    lacks = LACKS
    carries: ClassVar[Carries] = Carries(
        embeddings=True,
        images=True,
        image_urls=True,
        audio=True,
        documents=True,
        reasoning=True,
        signatures=True,
        counts=True,
    )

    @classmethod
    def authorization(cls, credential: str) -> dict[str, str]:
        """The headers that carry a credential: never the address, where Google takes it too."""
        return {"x-goog-api-key": credential}

    async def answer(self, call: Call) -> Answer:
        """Chat without streaming, or embeddings. Raises: ProviderError."""
        if call.request.operation is Operation.EMBEDDINGS:
            return await self._embedded(call)
        body = written(generation(call))
        path = address(call.upstream_model, "generateContent")
        raw = await self._upstream.fetch(path, body, call)
        return read_generation(raw, call, self._upstream.secrets)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Chat as chunks. Raises: ProviderError, at any point."""
        body = written(generation(call))
        path = address(call.upstream_model, "streamGenerateContent") + "?alt=sse"
        translation = Translation(call, self._upstream.secrets)
        events = await self._upstream.open(path, body, call, GeminiParser)
        try:
            while batch := await events.next():
                for event in batch:
                    for chunk in translation.take(event):
                        yield chunk
                if translation.complete:
                    events.patient(END_WAIT_S)
                elif translation.ended:
                    events.patient(USAGE_WAIT_S)
            yield translation.finish()
        except ProviderError as error:
            error.usage = translation.usage
            raise
        finally:
            await events.aclose()

    async def count(self, call: Call) -> int | None:
        """Google's own count of the prompt, with its instructions and tools."""
        model = call.upstream_model
        body = {"generateContentRequest": {"model": resource(model), **generation(call)}}
        raw = await self._upstream.fetch(address(model, "countTokens"), written(body), call)
        counted = count_of(parsed_of(raw), "totalTokens")
        if counted is None:
            raise fault.no_answer(raw, "a count of tokens", self._upstream.secrets)
        return counted

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that it lists, by their short names. Raises: ProviderError."""
        named = await _MODELS.every(self._upstream, patience_us)
        return [name.removeprefix("models/") for name in named]

    async def probe(self, patience_us: int) -> bool:
        """List one. Raises: ProviderError."""
        await _MODELS.one(self._upstream, patience_us)
        return True

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """Tuned models have a list of their own."""
        if model.startswith("tunedModels/"):
            return True
        return super().offers(model.removeprefix("models/"), listed)

    async def _embedded(self, call: Call) -> Answer:
        texts = await texts_of(call)
        drop_others(call)
        path = address(call.upstream_model, "batchEmbedContents")
        shortened = call.body.get("dimensions") is not None
        vectors: list[list[float]] = []
        usages: list[Usage] = []
        try:
            for start in range(0, len(texts), BATCH):
                some = texts[start : start + BATCH]
                raw = await self._upstream.fetch(path, batch(call, some), call)
                found, usage = read_vectors(raw, len(some), self._upstream.secrets)
                vectors += [normal(vector) for vector in found] if shortened else found
                usages += [] if usage is None else [usage]
        except ProviderError as error:
            # The batches before are paid for.
            error.usage = Usage(sum(usage.input for usage in usages), 0) if usages else None
            raise
        # Counted only where each batch was.
        counted = len(usages) * BATCH >= len(texts)
        total = Usage(sum(usage.input for usage in usages), 0) if counted else None
        return embeddings_answer(vectors, call, total, None)


class GeminiParser(sse.Parser):
    """An event stream that may break off with an error as bare JSON, which is no event."""

    def _read(self, block: bytes) -> Event | None:
        event = super()._read(block)
        if event is not None:
            return event
        bare = block.strip()
        return Event(b"error", bare) if bare.startswith((b"{", b"[")) else None


# --- streams -------------------------------------------------------------------------------------


class Translation:
    """One stream from Gemini's events to the client's chunks; no I/O.

    `ended`: each candidate that was asked for has its finish reason; `complete`: and the counts
    came with it. `usage`: the counts so far.
    """

    def __init__(self, call: Call, secrets: tuple[str, ...]) -> None:
        """Start before the first event."""
        self.usage: Usage | None = None
        self.complete = False
        options = call.request.body.get("stream_options")
        expected = call.body.get("n")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._expected = expected if type(expected) is int else 1
        self._call = call
        self._secrets = secrets
        self._upstream_model: str | None = None
        self._answer_id: str | None = None
        self._content = False
        self._latest: Json = {}
        # By the candidate's index: how many tools it called; and those that ended.
        self._begun: dict[int, int] = {}
        self._finished: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether nothing but counts can follow."""
        return len(self._finished) >= self._expected and self._finished >= self._begun.keys()

    def take(self, event: Event) -> list[Chunk]:
        """The client's chunks for one event. Raises: ProviderError."""
        parsed = self._read(event)
        if parsed is None:
            return []
        candidates = candidates_of(parsed)
        if isinstance(parsed.get("usageMetadata"), dict):
            self._latest = parsed
            self.usage = usage_of(parsed, final=bool(self._finished))
        if not candidates and not self._begun and (blocked := blocked_prompt(parsed)) is not None:
            self.usage = usage_of(parsed, final=True)
            raise blocked
        if self._answer_id is None:
            self._answer_id = answer_id_of(parsed, self._call)
        self._upstream_model = self._upstream_model or text_of(parsed, "modelVersion") or None
        chunks: list[Chunk] = []
        for index, candidate in candidates:
            chunks += self._candidate(candidate, index)
        self.complete = self.complete or (self.ended and self._latest is parsed)
        return chunks

    def finish(self) -> Chunk:
        """The usage, shown if the client wants it. Raises: ProviderError if the end is early."""
        if not self._finished or not self._finished >= self._begun.keys():
            raise fault.bad_output("the provider's stream ended early")
        self.usage = usage_of(self._latest, final=True)
        data = b""
        if self._asked and self.usage is not None:
            data = _event({**self._head(), "choices": [], "usage": shown_usage(self.usage)})
        return Chunk(data, self._content, usage=self.usage)

    def _read(self, event: Event) -> Json | None:
        """The event's object; None for nothing. Raises: ProviderError for errors and garbage."""
        try:
            parsed = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if self.ended:
                return None
            raise fault.bad_output("the provider's stream holds malformed JSON") from None
        if isinstance(parsed, list) and parsed:
            parsed = parsed[0]
        if not isinstance(parsed, dict):
            raise fault.bad_output("the provider's stream holds an event that is no object")
        if parsed.get("error") or event.name == b"error":
            raise fault.from_error(parsed.get("error") or parsed, self._secrets)
        return parsed

    def _candidate(self, candidate: Json, index: int) -> Iterator[Chunk]:
        assert self._answer_id is not None
        parts = list(deltas_of(candidate, index, self._answer_id, self._begun.get(index, 0)))
        reason = candidate.get("finishReason")
        if index not in self._begun:
            self._begun[index] = 0
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})
        logprobs = logprobs_of(candidate)
        for delta, text in parts:
            self._begun[index] += len(delta.get("tool_calls", ()))
            self._content = self._content or bool(text) or "images" in delta
            yield self._chunk(index, delta, text, logprobs if "content" in delta else None)
            if "content" in delta:
                logprobs = None
        if reason and index not in self._finished:
            finish = finish_of(reason, self._begun[index] > 0)
            self._finished.add(index)
            self._content = True
            yield self._chunk(index, {}, "", logprobs, finish)

    def _chunk(
        self,
        index: int,
        delta: Json,
        text: str = "",
        logprobs: Json | None = None,
        finish: str | None = None,
    ) -> Chunk:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk: Json = {**self._head(), "choices": [choice]}
        if self._asked:
            chunk["usage"] = None
        return Chunk(_event(chunk), self._content, text, None, finish, self._upstream_model)

    def _head(self) -> Json:
        return {
            "id": f"chatcmpl-{self._answer_id}",
            "object": "chat.completion.chunk",
            "created": self._call.request.received_us // 1_000_000,
            "model": self._call.shown_model,
        }


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
