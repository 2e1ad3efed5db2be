"""OpenRouter: the OpenAI wire before many providers, with reasoning as an object of its own.

It leaves out by itself, and in silence, what the provider that it chooses does not take; under
`parameters: strict` it is told to choose one that takes everything.
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from turnout.engine.provider import Call

from .dialect_openai import Json, OpenAIDialect
from .kind import Carries
from .listing import Page, listed
from .openai_request import Departures, Wants

_FORMAT = "anthropic-claude-v1"  # of thoughts that Anthropic signed


class OpenRouter(OpenAIDialect):
    """OpenRouter's API."""

    kind = "openrouter"
    lists = "`GET /key`, since anybody may list, then `GET /models`"
    probes = "`GET /key`"
    default_base_url = "https://openrouter.ai/api/v1"
    key_variable = "OPENROUTER_API_KEY"
    carries = Carries(
        embeddings=True,
        images=True,
        image_urls=True,
        audio=True,
        documents=True,
        reasoning=True,
        signatures=True,
    )
    lacks = frozenset(
        "n functions function_call audio safety_identifier prompt_cache_retention store".split()
    )
    wants = Wants(history="reasoning", caches=True, signs=True)

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that it lists; to anybody, so that the key is asked about first."""
        await self.probe(patience_us)
        return await super().models(patience_us)

    async def probe(self, patience_us: int) -> bool:
        """What is known of the key. Raises: ProviderError."""
        await listed(self._upstream, "/key", _about_key, patience_us)
        return True

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """With or without what is chosen behind a colon (`:nitro`, `:online`)."""
        return super().offers(model.partition(":")[0], listed) or model in listed

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """How much to think, as its own object says it; what is asked for strictly."""
        departures: dict[str, bytes | None] = {}
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and body.get("reasoning") is None:
            departures["thinking"] = None
            if (reasoning := _reasoning(thinking)) is not None:
                departures["reasoning"] = orjson.dumps(reasoning)
                if "reasoning_effort" in body:
                    # It refuses both.
                    departures["reasoning_effort"] = None
        provider = body.get("provider")
        if call.strict and (provider is None or isinstance(provider, dict)):
            departures["provider"] = orjson.dumps({"require_parameters": True} | (provider or {}))
        return departures

    def messages(self, messages: list[Json]) -> list[Json]:
        """Thoughts with their signatures, as it hands them on to who signed them."""
        if not any("thinking_blocks" in message for message in messages):
            return messages
        return [_signed(message) for message in messages]


def _about_key(parsed: Any) -> Page | None:
    known = parsed.get("data") if isinstance(parsed, dict) else None
    return Page([]) if isinstance(known, dict) else None


def _reasoning(thinking: Json) -> Json | None:
    if thinking.get("type") == "disabled":
        return {"enabled": False}
    budget = thinking.get("budget_tokens")
    if type(budget) is int:
        return {"max_tokens": budget}
    return {"enabled": True} if thinking.get("type") in ("enabled", "adaptive") else None


def _signed(message: Json) -> Json:
    if "thinking_blocks" not in message:
        return message
    plain = {name: value for name, value in message.items() if name != "thinking_blocks"}
    blocks = message["thinking_blocks"]
    if "reasoning_details" in message or not isinstance(blocks, list):
        return plain
    details: list[Json] = []
    for index, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "thinking":
            told = {"text": block.get("thinking"), "signature": block.get("signature")}
            details.append({"type": "reasoning.text", **told, "format": _FORMAT, "index": index})
        elif kind == "redacted_thinking":
            told = {"data": block.get("data")}
            details.append(
                {"type": "reasoning.encrypted", **told, "format": _FORMAT, "index": index}
            )
    return plain | {"reasoning_details": details} if details else plain
