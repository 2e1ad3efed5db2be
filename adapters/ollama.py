"""Ollama: the OpenAI wire on one's own machine, without a key."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from turnout.engine.provider import Call

from .dialect_openai import OpenAIDialect


class Ollama(OpenAIDialect):
    """Ollama's OpenAI-compatible API."""

    kind = "ollama"
    default_base_url = "http://localhost:11434/v1"
    key_variable = "OLLAMA_API_KEY"
    needs_credential = False

    @classmethod
    def prefix(cls, base_url: str) -> str:
        """Ollama's address is usually written without the path of its OpenAI-compatible API."""
        bare = urlsplit(base_url).path in ("", "/")
        return base_url.rstrip("/") + "/v1" if bare else base_url

    def departures(self, body: Mapping[str, Any], call: Call) -> Mapping[str, bytes]:
        """Name the output limit `max_tokens`: the newer name would be ignored, not refused."""
        limit = body.get("max_completion_tokens")
        if limit is None or body.get("max_tokens") is not None:
            return {}
        return {"max_tokens": orjson.dumps(limit)}

    @staticmethod
    def finish(reason: str, tools: bool) -> str:
        """Older versions end tool calls with `stop`, and agents then miss them."""
        return "tool_calls" if tools and reason == "stop" else reason
