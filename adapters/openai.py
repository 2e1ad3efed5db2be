"""OpenAI itself, and whatever imitates it under a `base_url` of its own."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.provider import Call

from .dialect_openai import OpenAIDialect

# Reasoning models refuse `max_tokens`.
_REASONING = re.compile(r"(o\d|gpt-[5-9])")


class OpenAI(OpenAIDialect):
    """The OpenAI wire as it is."""

    kind = "openai"
    default_base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"

    def departures(self, body: Mapping[str, Any], call: Call) -> Mapping[str, bytes]:
        """Name the output limit as the target accepts it: the client may not know the target."""
        limit = body.get("max_tokens")
        if (
            limit is None
            or body.get("max_completion_tokens") is not None
            or not _REASONING.match(call.upstream_model)
        ):
            return {}
        return {"max_tokens": b"null", "max_completion_tokens": orjson.dumps(limit)}
