"""Fireworks: the OpenAI wire with many extensions, and 400 for members that it does not know.

Its own models may be named without `accounts/fireworks/models/`.
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from turnout.engine.provider import Call

from .dialect_openai import OpenAIDialect
from .kind import Carries
from .openai_request import Departures, Wants
from .vectors import input_as_texts

_OWN = "accounts/fireworks/models/"


class Fireworks(OpenAIDialect):
    """Fireworks' inference API."""

    kind = "fireworks"
    default_base_url = "https://api.fireworks.ai/inference/v1"
    key_variable = "FIREWORKS_API_KEY"
    carries = Carries(embeddings=True, images=True, image_urls=True, reasoning=True)
    lacks = frozenset(
        "modalities audio web_search_options verbosity safety_identifier "
        "prompt_cache_retention store".split()
    )
    wants = Wants(
        system="system",
        refuses=True,
        names=False,
        members=frozenset(("role", "content", "tool_calls", "tool_call_id", "reasoning_content")),
        tiers=frozenset(("auto", "default", "flex", "priority")),
    )

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """By a short name too; what others have deployed is not listed."""
        whole = model if "/" in model else f"{_OWN}{model}"
        return not whole.startswith(_OWN) or super().offers(whole, listed)

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """The whole name of one of its own models."""
        if "/" in call.upstream_model:
            return {}
        return {"model": orjson.dumps(f"{_OWN}{call.upstream_model}")}

    async def embedded(self, call: Call) -> Departures:
        """Texts only: token ids would be those of another vocabulary."""
        return await input_as_texts(call)
