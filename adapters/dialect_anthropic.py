"""The Anthropic wire as an upstream: its own protocol passes through, chat is translated."""

from collections.abc import AsyncGenerator, Collection, Mapping
from functools import partial
from typing import ClassVar

import orjson

from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.request import Native, Operation

from . import fault
from .anthropic_native import Relay, counted_body, features, native_body, read_native
from .anthropic_request import LACKS, count_body, messages_body
from .dialect_anthropic_chat import Translation, read_message
from .kind import Carries, Kind
from .listing import Paged
from .relayed import Relay as Relaying
from .relayed import relayed
from .upstream import Events

__all__ = ["AnthropicDialect", "Translation", "read_message"]

_COUNT = "/messages/count_tokens"
_MODELS = Paged("data", "id", "limit", "after_id", "last_id", "has_more")


class AnthropicDialect(Kind):
    """A `Provider` on the Anthropic wire."""

    kind = "anthropic"
    lists = "`GET /models`, page by page"
    probes = "one model of it"
    fixed_headers: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}
    lacks = LACKS
    carries = Carries(
        images=True,
        image_urls=True,
        documents=True,
        reasoning=True,
        signatures=True,
        counts=True,
        native=frozenset((Operation.MESSAGES,)),
    )

    @classmethod
    def authorization(cls, credential: str) -> dict[str, str]:
        """The headers that carry a credential."""
        return {"x-api-key": credential}

    async def answer(self, call: Call) -> Answer:
        """Generation without streaming. Raises: ProviderError, for embeddings always."""
        _refuse_embeddings(call)
        secrets = self._upstream.secrets
        if (native := _native(call)) is not None:
            raw = await self._upstream.fetch(
                "/messages", native_body(call, native), call, self._features(call)
            )
            call.native = True
            return read_native(raw, call, secrets)
        asked = messages_body(call, self.lacks)
        raw = await self._upstream.fetch("/messages", asked.encoded(), call)
        return read_message(raw, call, secrets, asked.answer_tool)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""
        return relayed(partial(self._open, call))

    async def _open(self, call: Call) -> tuple[Events, Relaying]:
        _refuse_embeddings(call)
        secrets = self._upstream.secrets
        relay: Relay | Translation
        headers: Mapping[str, str] = {}
        if (native := _native(call)) is not None:
            body, headers, relay = (
                native_body(call, native),
                self._features(call),
                Relay(call, secrets),
            )
            call.native = True
        else:
            asked = messages_body(call, self.lacks)
            body, relay = asked.encoded(), Translation(call, secrets, asked.answer_tool)
        return await self._upstream.open("/messages", body, call, headers=headers), relay

    async def count(self, call: Call) -> int | None:
        """The provider's own count of the prompt's tokens. Raises: ProviderError."""
        native = _native(call)
        if native is None:
            raw = await self._upstream.fetch(_COUNT, count_body(call, self.lacks), call)
        else:
            body = counted_body(call, native)
            raw = await self._upstream.fetch(_COUNT, body, call, self._features(call))
        try:
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError:
            parsed = None
        counted = parsed.get("input_tokens") if isinstance(parsed, dict) else None
        if type(counted) is not int or counted < 0:
            raise fault.no_answer(raw, "a count of tokens", self._upstream.secrets)
        return counted

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that it lists. Raises: ProviderError."""
        return await _MODELS.every(self._upstream, patience_us)

    async def probe(self, patience_us: int) -> bool:
        """List one. Raises: ProviderError."""
        await _MODELS.one(self._upstream, patience_us)
        return True

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """By an alias too (`claude-sonnet-4-0`), which only means a dated name that is listed."""
        return super().offers(model.removesuffix("-0"), listed)

    def _features(self, call: Call) -> dict[str, str]:
        return features(call.request.headers, self._upstream.header("anthropic-beta"))


def _native(call: Call) -> Native | None:
    return call.request.native if call.request.operation is Operation.MESSAGES else None


def _refuse_embeddings(call: Call) -> None:
    if call.request.operation is Operation.EMBEDDINGS:
        raise ProviderError(Fault.UNSUPPORTED, "this provider has no embeddings")
